"""The site has every page and every public name; its extensions do what they say. All without Sphinx (`make docs`)."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import web
from tests.pages import PAGES, ROOT, all_blocks, blocks, name_of, slug
from tests.serving import PATIENCE
from web import testing

INDEX = ROOT / "docs/index.md"
EXTENSIONS = ROOT / "docs/extensions"
REFERENCE = {web: ROOT / "docs/reference/api.md", testing: ROOT / "docs/reference/api-testing.md"}


def extension(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of docs/extensions, which find each other by name."""
    monkeypatch.syspath_prepend(EXTENSIONS)
    spec = importlib.util.spec_from_file_location(name, EXTENSIONS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- pages ----


def entries() -> list[str]:
    return [
        line
        for block in all_blocks(INDEX)
        if block.language == "{toctree}"
        for line in block.text.splitlines()
        if line and line[0] != ":"
    ]


def pages_of(entry: str) -> set[Path]:
    """By the patterns of Sphinx: ** is anything, * anything within a folder."""
    top = ROOT if entry.startswith("/") else ROOT / "docs"
    pattern = re.escape(f"{top}/{entry.lstrip('/')}.md").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return {page for page in PAGES if re.fullmatch(pattern, str(page))}


def test_every_page_is_in_the_menu() -> None:
    found = [pages_of(entry) for entry in entries()]
    assert [entry for entry, pages in zip(entries(), found, strict=True) if not pages] == []
    assert set().union(*found) == set(PAGES) - {INDEX}


# ---- the reference from docstrings ----


def directives(page: Path) -> dict[str, str]:
    """Public name -> directive, in the blocks for autodoc."""
    text = "\n".join(block.text for block in all_blocks(page) if block.language == "{eval-rst}")
    return {name: kind for kind, name in re.findall(r"^\.\. ((?:auto|py:)\w+):: (\w+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("module", REFERENCE, ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    found = directives(REFERENCE[module])
    assert sorted(found) == sorted(module.__all__)
    for name, directive in found.items():
        thing = getattr(module, name)
        if isinstance(thing, type):
            assert directive == ("autoexception" if issubclass(thing, Exception) else "autoclass"), name
        elif not isinstance(thing, str):
            assert directive == "autofunction", name


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in REFERENCE for name in module.__all__ if name != "__version__"]
)
def test_every_public_name_has_a_docstring(module: ModuleType, name: str) -> None:
    thing = getattr(module, name)
    own = thing.__dict__.get("__doc__") if isinstance(thing, type) else inspect.getdoc(thing)
    assert own
    assert len(own.split()) > 2


def test_signatures_are_those_of_stub_and_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    written = extension("written_signatures", monkeypatch).written
    assert written("web._core", "Request") == (
        "(raw: bytes, body: bytes=b'', connection: Connection | None=None)", None,
    )  # fmt: skip
    assert written("web._core", "Connection") == ("", None)  # made by nobody
    assert written("web._core", "Connection.plain") == ("(sock: socket.socket)", "Plain")
    assert written("web._core", "WebSocket.close") == ("(code: int=1000, reason: str='')", "Self")
    assert written("web.routing", "GET") == (
        "(pattern: str, handler: Handler, **options: Unpack[RouteOptions])",
        "Route",
    )
    assert written("web._core", "Response.status")[1] == "int"
    assert written("web.limits", "Limits") is None  # a dataclass has none that is written
    assert written("web.nothing", "name") is None


@pytest.mark.parametrize("module", REFERENCE, ids=lambda module: module.__name__)
def test_written_signatures_take_what_the_things_take(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python can tell the signature itself, the names are the same."""
    written = extension("written_signatures", monkeypatch).written
    looked_at = 0
    for name in module.__all__:
        thing = getattr(module, name)
        found = written(getattr(thing, "__module__", ""), getattr(thing, "__qualname__", ""))
        try:
            known = inspect.signature(thing)
        except (ValueError, TypeError):
            continue
        if found is None or not found[0] or name in ("web_client", "openssl_version"):
            continue
        made: dict[str, Any] = {}
        exec(f"from __future__ import annotations\ndef made{found[0].replace('=', '=0 and ')}: ...", made)
        assert [*inspect.signature(made["made"]).parameters] == [*known.parameters], name
        looked_at += 1
    assert looked_at > (5 if module is testing else 25)


def test_docstrings_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    as_text = extension("docstrings", monkeypatch).as_text
    assert as_text('media types, "text/*"; ``a * b`` and **c') == 'media types, "text/\\*"; ``a * b`` and \\*\\*c'


def test_anchors_are_those_of_the_code_host(monkeypatch: pytest.MonkeyPatch) -> None:
    links = extension("plain_links", monkeypatch)
    for page in PAGES:
        for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
            assert links.slug(heading) == slug(heading)


def test_links_to_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without = extension("plain_links", monkeypatch).without_folders
    (tmp_path / "bare").mkdir()
    (tmp_path / "told").mkdir()
    (tmp_path / "told/README.md").touch()
    assert without("[a](bare) [b](told/) [c](x.md#y) ![d](bare)", tmp_path) == (
        "a [b](told/README.md) [c](x.md#y) ![d](bare)"
    )


# ---- curl, as a reader would type it ----

_CURL = re.compile(r"curl [^`\n]*?(https?://(?:localhost|127\.0\.0\.1):(\d+))[^`\n]*")
ENDLESS = {"server-sent-events.md"}  # the answer never ends
ELSEWHERE = {"examples", "tutorial", "when-it-goes-wrong.md"}  # they have tests of their own, which type their commands


def curls(page: Path) -> list[tuple[int, str, str, int]]:
    """(line, command, the server's URL, its port) of each command, in prose and in blocks."""
    text = page.read_text()
    return [(text[: one.start()].count("\n"), one[0], one[1], int(one[2])) for one in _CURL.finditer(text)]


ASKED = [page for page in PAGES if curls(page) and not (ENDLESS | ELSEWHERE) & {*page.relative_to(ROOT).parts}]


@pytest.mark.parametrize("page", ASKED, ids=name_of)
def test_curl_gets_what_the_page_serves(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command asks the server that the page made last, before it, for that port."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    servers: dict[int, web.Server] = {}
    listen: Callable[..., None] = web.Server.listen

    def remembered(self: web.Server, host: str, port: int = 0, *rest: Any, **options: Any) -> None:
        servers[port] = self
        listen(self, host, port, *rest, **options)

    monkeypatch.setattr(web.Server, "listen", remembered)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    parts: list[tuple[int, Any]] = [(line, text) for line, text, to_run in blocks(page, "python") if to_run]
    parts += [(line, rest) for line, *rest in curls(page)]
    for line, part in sorted(parts, key=lambda one: one[0]):
        if isinstance(part, str):
            exec(compile("\n" * line + part, name_of(page), "exec", dont_inherit=True), module.__dict__)
            continue
        command, url, port = part
        assert port in servers, f"{name_of(page)}: nothing listens on port {port}: {command}"
        with servers[port].running() as server:
            here = command.replace(url, url.replace(str(port), str(server.port)))
            done = subprocess.run(
                ["sh", "-c", f"{here} --silent --show-error --fail --noproxy '*' --max-time {PATIENCE}"],
                capture_output=True,
            )
        assert done.returncode == 0, (here, done.stderr)
