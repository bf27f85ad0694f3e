"""web.static(..., max_age=, immutable=, precompressed=, spa=, listing=): what is sent, and what caches are told."""

from __future__ import annotations

import gzip
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import pytest

import web
from tests.asking import made
from web._core import FileCache, Look
from web.listing import MOST, listing_page

PAST = 1_600_000_000
NAVIGATION = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("index.html", "app.js", "assets/app.3f2a.js", "assets/logo.svg", "sub/page.html", ".env"):
        path = tmp_path / "public" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name * 3)
        os.utime(path, (PAST, PAST))
    return tmp_path / "public"


class Asking:
    """A folder that keeps young files, and one that keeps none: both must answer the same."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.form = web.static(folder, **options)
        self.apps = []
        for young in (0.0, 1e6):
            form = web.static(folder, **options)
            object.__setattr__(form, "files", FileCache(form.below.root + "/", young))
            self.apps.append((web.App(form)._compile(), form))

    @property
    def kept(self) -> int:
        return len(self.apps[0][1].files)

    def __call__(self, target: str, *fields: str, method: str = "GET") -> web.Response:
        answers = [app.respond(made(target, method, "\n".join(fields))) for app, _ in self.apps for _ in range(2)]
        first = answers[0]
        for answer in answers:
            assert (answer.status, answer.path, answer.headers) == (first.status, first.path, first.headers)
        return first


def name_of(answer: web.Response) -> str:
    assert answer.status == 200
    assert answer.path is not None
    return Path(answer.path).name


# -- Cache-Control ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "target", "caching"),
    [
        ({}, "/app.js", "no-cache"),
        ({"max_age": 60}, "/app.js", "public, max-age=60"),
        ({"immutable": "assets/*"}, "/assets/app.3f2a.js", "public, max-age=31536000, immutable"),
        ({"immutable": ["*.svg", "*.????.js"]}, "/assets/app.3f2a.js", "public, max-age=31536000, immutable"),
        ({"immutable": "assets/*", "max_age": 60}, "/app.js", "public, max-age=60"),
        ({"immutable": "ASSETS/*"}, "/assets/logo.svg", "no-cache"),
        ({"immutable": "app.js", "at": "/static"}, "/static/app.js", "public, max-age=31536000, immutable"),
        ({"immutable": "index.html"}, "/", "public, max-age=31536000, immutable"),
    ],
)
def test_what_caches_are_told(folder: Path, options: dict[str, Any], target: str, caching: str) -> None:
    assert Asking(folder, **options)(target).headers.get_all("cache-control") == [caching]


def test_what_is_no_file_is_not_cached(folder: Path) -> None:
    ask = Asking(folder, max_age=60, immutable="*")
    assert ask("/none").headers.get("cache-control") is None
    (folder / "sub/index.html").touch()
    assert (ask("/sub").status, ask("/sub").headers.get("cache-control")) == (308, None)


# -- precompressed ---------------------------------------------------------------------------------------------------


def compressed(folder: Path, name: str = "app.js", *extensions: str, when: int = PAST) -> None:
    for extension in extensions or (".br", ".zst", ".gz"):
        (folder / (name + extension)).write_bytes(gzip.compress(extension.encode()))
        os.utime(folder / (name + extension), (when, when))


@pytest.mark.parametrize(
    ("accepts", "name", "coding"),
    [
        ("gzip", "app.js.gz", "gzip"),
        ("x-gzip", "app.js.gz", "gzip"),
        ("gzip, deflate, br, zstd", "app.js.br", "br"),
        ("gzip, zstd", "app.js.zst", "zstd"),
        ("br;q=0.5, gzip", "app.js.gz", "gzip"),
        ("br;q=0, *", "app.js.zst", "zstd"),
        ("identity, gzip;q=0.5", "app.js", None),
        ("deflate", "app.js", None),
        ("", "app.js", None),
        ("gzip;q=0", "app.js", None),
    ],
)
def test_the_best_coding_is_sent(folder: Path, accepts: str, name: str, coding: str | None) -> None:
    compressed(folder)
    ask = Asking(folder, precompressed=True)
    answer = ask("/app.js", f"Accept-Encoding: {accepts}")
    assert name_of(answer) == name
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers.get_all("vary") == ["Accept-Encoding"]
    assert ask.kept == 1


def test_without_the_header_it_is_the_file_itself(folder: Path) -> None:
    compressed(folder)
    assert name_of(Asking(folder, precompressed=True)("/app.js")) == "app.js"


def test_only_where_it_is_asked_for(folder: Path) -> None:
    compressed(folder)
    answer = Asking(folder)("/app.js", "Accept-Encoding: br")
    assert name_of(answer) == "app.js"
    assert answer.headers.get("vary") is None


def test_what_is_there_counts(folder: Path) -> None:
    compressed(folder, "app.js", ".gz")
    ask = Asking(folder, precompressed=True)
    assert name_of(ask("/app.js", "Accept-Encoding: br, zstd, gzip")) == "app.js.gz"
    assert name_of(ask("/app.js", "Accept-Encoding: br")) == "app.js"
    compressed(folder, "app.js", ".br")
    assert name_of(ask("/app.js", "Accept-Encoding: br, zstd, gzip")) == "app.js.br", "the next request sees it"
    assert name_of(ask("/app.js", "Accept-Encoding: br")) == "app.js.br"
    (folder / "app.js.br").unlink()
    assert name_of(ask("/app.js", "Accept-Encoding: br, zstd, gzip")) == "app.js.gz"


def test_one_that_is_older_than_its_file_is_not_sent(folder: Path) -> None:
    compressed(folder, "app.js", ".gz")
    ask = Asking(folder, precompressed=True)
    assert name_of(ask("/app.js", "Accept-Encoding: gzip")) == "app.js.gz"
    os.utime(folder / "app.js", (PAST + 1, PAST + 1))
    assert name_of(ask("/app.js", "Accept-Encoding: gzip")) == "app.js"
    compressed(folder, "app.js", ".gz", when=PAST + 2)
    assert name_of(ask("/app.js", "Accept-Encoding: gzip")) == "app.js.gz"
    (folder / "app.js").unlink()
    assert ask("/app.js", "Accept-Encoding: gzip").status == 404, "it is not there without its file"


def test_a_link_is_no_compressed_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "app.js.gz").symlink_to(tmp_path / "secret")
    (folder / "app.js.br").mkdir()
    assert name_of(Asking(folder, precompressed=True)("/app.js", "Accept-Encoding: br, gzip")) == "app.js"


def test_a_large_file_with_a_small_compressed_one(folder: Path) -> None:
    (folder / "large.txt").write_bytes(b"x" * 100_000)
    os.utime(folder / "large.txt", (PAST, PAST))
    compressed(folder, "large.txt", ".gz")
    ask = Asking(folder, precompressed=True)
    assert name_of(ask("/large.txt", "Accept-Encoding: gzip")) == "large.txt.gz"
    assert ask.kept == 1
    assert name_of(ask("/large.txt")) == "large.txt"
    assert ask.kept == 1


def test_folders_too(folder: Path) -> None:
    compressed(folder, "index.html", ".gz")
    assert name_of(Asking(folder, precompressed=True)("/", "Accept-Encoding: gzip")) == "index.html.gz"


# -- an application that routes in the browser -----------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/users", "/users/7", "/users/7/", "/sub", "/sub/", "/assets", "/a.b/c", "/%C3%BC"])
def test_a_navigation_gets_the_page(folder: Path, target: str) -> None:
    ask = Asking(folder, spa=True)
    answer = ask(target, NAVIGATION)
    assert name_of(answer) == "index.html"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    ask("/another", NAVIGATION)
    assert ask.kept == 1, "clients cannot make many entries"


@pytest.mark.parametrize(
    ("target", "accept"),
    [
        ("/app.4711.js", "*/*"),
        ("/app.4711.js", "text/html"),
        ("/logo.png", NAVIGATION.removeprefix("Accept: ")),
        ("/.env", "text/html"),
        ("/users", "*/*"),
        ("/users", "application/json"),
        ("/users", ""),
    ],
)
def test_what_is_missing_stays_missing(folder: Path, target: str, accept: str) -> None:
    assert Asking(folder, spa=True)(target, f"Accept: {accept}").status == 404


def test_only_below_its_own_path(folder: Path) -> None:
    ask = Asking(folder, spa=True, at="/app")
    assert name_of(ask("/app/users", NAVIGATION)) == "index.html"
    assert ask("/app", NAVIGATION).headers["location"] == "/app/"
    assert ask("/users", NAVIGATION).status == 404
    assert Asking(folder, spa=False)("/users", NAVIGATION).status == 404


def test_files_come_first_and_a_page_that_goes_is_a_404(folder: Path) -> None:
    ask = Asking(folder, spa=True)
    assert name_of(ask("/app.js", NAVIGATION)) == "app.js"
    assert name_of(ask("/users", NAVIGATION)) == "index.html"
    (folder / "index.html").unlink()
    assert ask("/users", NAVIGATION).status == 404


# -- listings --------------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.found += [value or "" for name, value in attrs if name == "href"]


def test_no_listing_unless_it_is_asked_for(folder: Path) -> None:
    assert Asking(folder)("/assets/").status == 404
    assert Asking(folder)("/assets").status == 404


def test_a_listing(folder: Path) -> None:
    (folder / "assets/deep").mkdir()
    (folder / "assets/.hidden").touch()
    (folder / "assets/out").symlink_to("/etc/passwd")
    ask = Asking(folder, listing=True)
    answer = ask("/assets/")
    assert Links(answer.body).found == ["../", "./deep/", "./app.3f2a.js", "./logo.svg"]
    assert b"45" in answer.body, "the size"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert ask("/assets?a=1").headers["location"] == "/assets/?a=1"
    assert name_of(ask("/")) == "index.html"
    (folder / "index.html").unlink()
    assert Links(ask("/").body).found == ["./assets/", "./sub/", "./app.js"]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a\"'&b", "100%", "a:b", "ü", "javascript:x", "?q#f", " "]
)
def test_every_name_is_shown_and_leads_there(folder: Path, name: str) -> None:
    (folder / "assets" / name.replace("/", "-")).write_text("found")
    ask = Asking(folder, listing=True)
    page = Links(ask("/assets/").body)
    assert page.scripts == 0
    (target,) = [link for link in page.found if unquote(link) == "./" + name.replace("/", "-")]
    assert name_of(ask(urljoin("http://a/assets/", target).removeprefix("http://a"))) == name.replace("/", "-")


def test_a_folder_without_end_is_cut() -> None:
    page = listing_page("/", ((str(i), 1) for i in range(MOST + 5)), top=True)
    assert page.count("<tr>") == MOST
    assert f"Only {MOST}" in page
    assert "Only" not in listing_page("/", ((str(i), 1) for i in range(MOST)), top=True)


def test_no_more_names_are_read_than_that(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not served cost time as well."""
    for number in range(20):
        (folder / f"assets/{number}").touch()
    monkeypatch.setattr("web.folders.NAMES_MOST", 5)
    assert len(Links(Asking(folder, listing=True)("/assets/").body).found) == 1 + 5


def test_the_title_is_escaped() -> None:
    assert "<b>" not in listing_page("/<b>/", [], top=True)


def test_a_folder_that_goes_while_it_is_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def late(path: str) -> Any:
        monkeypatch.undo()
        shutil.rmtree(folder / "assets")
        return scandir(path)

    form = web.static(folder, listing=True)
    monkeypatch.setattr(os, "scandir", late)
    assert web.App(form)._compile().respond(made("/assets/")).status == 404


# -- all of it -------------------------------------------------------------------------------------------------------


def test_the_decorator_takes_the_options(folder: Path) -> None:
    app = web.App()
    app.static(folder, "/s", max_age=60, immutable="assets/*", precompressed=True, spa=True, listing=True)
    (form,) = app._folders
    assert form == web.static(
        folder, "/s", max_age=60, immutable=("assets/*",), precompressed=True, spa=True, listing=True
    )


def test_a_group_keeps_the_options(folder: Path) -> None:
    app = web.App(web.group("/a", web.static(folder, "/s", max_age=60)))
    assert app._compile().respond(made("/a/s/app.js")).headers["cache-control"] == "public, max-age=60"


def test_looks_are_checked(folder: Path) -> None:
    files = FileCache(f"{folder.resolve()}/", 0)
    path = folder.resolve() / "app.js"
    with pytest.raises(TypeError, match="Looks"):
        files.keep("/app.js", web.Response.file(path), "no look")  # type: ignore[arg-type]
    files.keep("/app.js", web.Response.file(path), Look.__new__(Look))
    assert files.find("/app.js") is None, "a Look that is none holds nothing"
    assert files.look(str(path)).modified == PAST * 10**9
    assert files.look(str(folder)).modified == 0
