"""web.static: files of a folder, and no way out of it."""

import os
from pathlib import Path

import pytest

from web import GET, POST, App, Request, Response, RouteError, static
from web.mime import CONTENT_TYPES, content_type


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """public/ with files, beside secret.txt and public-secret/, which nothing may reach."""
    public = tmp_path / "public"
    for name in (
        "index.html", "a.txt", "A b.css", "ü.js", "100%.txt", "no-extension", "x.unknown", "a\\b.txt",
        "sub/index.html", "sub/deep/f.json", "empty/f.txt", ".env", ".git/config", "sub/.hidden",
        ".well-known/security.txt", "sub/.well-known/x", "..secret", "folder.html/x", "index-is-folder/index.html/x",
    ):  # fmt: skip
        path = public / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "public-secret").mkdir()
    (tmp_path / "public-secret" / "f.txt").write_text("secret")
    (public / "link-in.txt").symlink_to("a.txt")
    (public / "link-sub").symlink_to("sub")
    (public / "link-absolute.txt").symlink_to(public / "a.txt")
    (public / "link-out.txt").symlink_to("../secret.txt")
    (public / "link-out-dir").symlink_to("..")
    (public / "link-sibling").symlink_to("../public-secret")
    (public / "link-chain.txt").symlink_to("link-out.txt")
    (public / "link-loop").symlink_to("link-loop")
    (public / "link-dangling").symlink_to("nothing")
    (public / "link-root").symlink_to("/")
    os.mkfifo(public / "pipe")
    return public


def ask(app: App, target: str, method: str = "GET") -> Response:
    return app._compile().respond(Request(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()))


def served(folder: Path, target: str) -> str | None:
    """The name below the folder of what is sent, or None for 404."""
    answer = ask(App(static(folder)), target)
    if answer.status == 404:
        assert answer.body == b"Not Found"
        return None
    assert answer.status == 200
    assert answer.path is not None
    assert os.path.realpath(answer.path) == answer.path
    return str(Path(answer.path).relative_to(folder.resolve()))


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/", "index.html"),
        ("/index.html", "index.html"),
        ("/a.txt", "a.txt"),
        ("/a.txt?v=1", "a.txt"),
        ("/%61.txt", "a.txt"),
        ("/A%20b.css", "A b.css"),
        ("/%C3%BC.js", "ü.js"),
        ("/100%25.txt", "100%.txt"),
        ("/sub/", "sub/index.html"),
        ("/sub/deep/f.json", "sub/deep/f.json"),
        ("/link-in.txt", "a.txt"),
        ("/link-absolute.txt", "a.txt"),
        ("/link-sub/deep/f.json", "sub/deep/f.json"),
        ("/.well-known/security.txt", ".well-known/security.txt"),
    ],
)
def test_files_are_found(folder: Path, target: str, name: str) -> None:
    assert served(folder, target) == name


@pytest.mark.parametrize(
    "target",
    [
        "/missing", "/a.txt/", "/a.txt/b", "/empty/", "/empty", "/folder.html", "/folder.html/", "/index-is-folder/",
        "/pipe",
        # dot-dot, in every spelling
        "/../secret.txt", "/..", "/../", "/sub/../../secret.txt", "/sub/../a.txt", "/./a.txt", "/%2e%2e/secret.txt",
        "/%2E%2E%2Fsecret.txt", "/..%2fsecret.txt", "/sub/..%2f..%2fsecret.txt", "/%252e%252e/secret.txt",
        "/.%2e/secret.txt", "/..;/secret.txt", "/...", "/..secret", "/%c0%ae%c0%ae/secret.txt", "/..%5csecret.txt",
        # absolute, empty segments, backslash, NUL
        "//etc/passwd", "///etc/passwd", "/%2Fetc/passwd", "/%2F%2Fetc/passwd", "/sub//index.html", "/sub//",
        "/a%5Cb.txt", "/%5c..%5csecret.txt", "/C:%5Cx", "/sub%2Findex.html",
        # links out
        "/link-out.txt", "/link-chain.txt", "/link-out-dir/secret.txt", "/link-out-dir/", "/link-out-dir",
        "/link-out-dir/public/a.txt", "/link-sibling/f.txt", "/link-root/etc/passwd", "/link-loop", "/link-dangling",
        # hidden
        "/.env", "/.git/config", "/%2egit/config", "/sub/.hidden", "/sub/.well-known/x", "/.",
        # too long
        "/" + "x" * 300, "/" + "x/" * 3000,
    ],
)  # fmt: skip
def test_nothing_else_is(folder: Path, target: str) -> None:
    assert served(folder, target) is None


def test_nul_is_refused_by_the_folder_itself(folder: Path) -> None:
    """The parser refuses %00 before; the folder does not rely on it."""
    form = static(folder)
    for names in ([b"a.txt\0"], [b"\0"], [b"sub", b"\0index.html"]):
        assert form.below.find(names) is None
    assert form.below.find([b"a.txt"]) is not None


def test_a_folder_without_the_slash_redirects(folder: Path) -> None:
    answer = ask(App(static(folder)), "/sub?a=b&c")
    assert (answer.status, answer.headers["Location"]) == (308, "/sub/?a=b&c")
    assert ask(App(static(folder)), "/link-sub").headers["Location"] == "/link-sub/"
    assert ask(App(static(folder)), "/%73ub").headers["Location"] == "/%73ub/"


@pytest.mark.parametrize(
    "target", ["//sub", "///sub", "//evil.example/sub", "/%2F/sub", "/%5Csub", "//sub/..", "/\\sub"]
)
def test_a_redirect_never_leaves_the_host(folder: Path, target: str) -> None:
    if "\\" in target:
        with pytest.raises(ValueError, match="400"):
            ask(App(static(folder)), target)
    else:
        assert ask(App(static(folder)), target).status == 404


def test_at(folder: Path) -> None:
    for at in ("/assets", "/assets/"):
        app = App(static(folder, at=at))
        assert ask(app, "/assets/a.txt").path == str(folder.resolve() / "a.txt")
        assert ask(app, "/%61ssets/a.txt").status == 200
        assert ask(app, "/assets/").path == str(folder.resolve() / "index.html")
        assert ask(app, "/assets").headers["Location"] == "/assets/"
        for target in ("/a.txt", "/", "/assetsa.txt", "/assets/../a.txt", "/assets%2Fa.txt", "/x/assets/a.txt"):
            assert ask(app, target).status == 404
    assert ask(App(static(folder, at="/grüße/x")), "/gr%C3%BC%C3%9Fe/x/a.txt").status == 200


def test_routes_come_first_and_folders_in_order(folder: Path) -> None:
    other = folder / "sub"
    (other / "a.txt").write_text("other")
    (other / "only.txt").write_text("other")
    app = App(static(folder), static(other), GET("/a.txt", lambda req: "route"), POST("/x.unknown", lambda req: "post"))
    assert ask(app, "/a.txt").body == b"route"
    assert ask(app, "/only.txt").path == str(other.resolve() / "only.txt")
    assert ask(app, "/").path == str(folder.resolve() / "index.html")
    assert ask(app, "/x.unknown").path is not None
    assert ask(app, "/x.unknown", "POST").body == b"post"


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("HEAD", "/a.txt", 200, None),
        ("POST", "/a.txt", 405, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/a.txt", 204, "GET, HEAD, OPTIONS"),
        ("DELETE", "/missing", 404, None),
        ("OPTIONS", "/missing", 404, None),
        ("OPTIONS", "*", 204, "GET, HEAD, OPTIONS"),
        ("BREW", "/a.txt", 501, None),
    ],
)
def test_methods(folder: Path, method: str, target: str, status: int, allow: str | None) -> None:
    answer = ask(App(static(folder)), target, method)
    assert (answer.status, answer.headers.get("Allow")) == (status, allow)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("A.HTML", "text/html; charset=utf-8"),
        ("x/y.min.js", "text/javascript; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.json", "application/json"),
        ("a.tar.gz", "application/gzip"),
        ("a", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("html", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("x.html/y", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
    ],
)
def test_content_types(name: str, wanted: str) -> None:
    assert content_type(name) == wanted


def test_content_types_are_frozen_and_well_formed() -> None:
    with pytest.raises(TypeError):
        CONTENT_TYPES["x"] = "y"  # type: ignore[index]
    for extension, kind in CONTENT_TYPES.items():
        assert extension == extension.lower()
        assert kind.startswith("text/") == kind.endswith("; charset=utf-8")


def test_content_type_follows_the_name_that_was_asked_for(folder: Path) -> None:
    (folder / "style.css").symlink_to("a.txt")
    assert ask(App(static(folder)), "/style.css").headers["Content-Type"] == "text/css; charset=utf-8"


@pytest.mark.parametrize("at", ["assets", "", "/:x", "/a//b", "/a/../b", "/a*", "/a%20b", "/a?b"])
def test_bad_at(folder: Path, at: str) -> None:
    with pytest.raises(RouteError, match="at"):
        static(folder, at=at)


def test_a_missing_folder_is_a_start_up_error(folder: Path) -> None:
    with pytest.raises(RouteError, match="does not exist"):
        static(folder / "nothing")
    with pytest.raises(RouteError, match="is not a folder"):
        static(folder / "a.txt")


def test_the_folder_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder)
    assert ask(App(static(tmp_path / "current")), "/a.txt").path == str(folder.resolve() / "a.txt")


def test_the_root_folder_can_be_served(folder: Path) -> None:
    assert ask(App(static("/")), f"{folder}/a.txt").status == 200


def test_a_name_that_is_not_utf_8(folder: Path) -> None:
    try:
        (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt"))).write_text("x")
    except OSError:
        pytest.skip("this file system wants UTF-8 names")
    assert ask(App(static(folder)), "/%ff.txt").status == 200
