"""The documents say what the code does: their Python runs, their links lead somewhere, their tables are the code's."""

from __future__ import annotations

import ast
import re
import socket
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import web
from tests.pages import PAGES, ROOT, blocks, codes, linked_pages, name_of, prose, rows, section, slug
from web import hotpath, testing
from web.metrics import Counters

SOURCES = ROOT / "src/web"
ARCHITECTURE = ROOT / "docs/architecture.md"


# ---- the Python in the pages ----


# Examples and the tutorial have tests of their own, which have their files.
ELSEWHERE = (ROOT / "examples", ROOT / "docs/tutorial")
RUN_HERE = [page for page in PAGES if blocks(page, "python") and not {*ELSEWHERE} & {*page.parents}]


@pytest.mark.parametrize("page", RUN_HERE, ids=name_of)
def test_python_runs(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block, as a reader would type them; a block that is marked no-run is compiled."""
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for line, text, to_run in blocks(page, "python"):
        code = compile("\n" * line + text, name_of(page), "exec", dont_inherit=True)
        if to_run:
            exec(code, module.__dict__)


def test_five_lines_are_five() -> None:
    _, text, _ = blocks(ROOT / "README.md", "python")[0]
    assert len(text.splitlines()) == 5


# ---- what the pages lead to ----


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), f"{name_of(page)}: {target}"


def test_every_page_can_be_reached() -> None:
    """By links, from README; most stand in README itself, or on the front page of the site."""
    reached, coming = set[Path](), {ROOT / "README.md"}
    while coming:
        reached |= coming
        coming = {there for page in coming for there in linked_pages(page)} - reached
    assert set(PAGES) <= reached
    near = linked_pages(ROOT / "README.md") | linked_pages(ROOT / "docs/index.md") | {ROOT / "README.md"}
    folders = [ROOT, *(ROOT / "docs" / name for name in ("", "how-to", "reference"))]
    assert {page for page in PAGES if page.parent in folders} <= near


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    """Each target that a page names is one of the Makefile's `.PHONY` ones."""
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    commands = [line for _, text, _ in blocks(page, "sh") for line in text.splitlines()] + codes(prose(page))
    named = {found[1] for one in commands if (found := re.match(r"(?:\w+=\S+ )*make(?: \w+=\S+)* ([a-z-]+)", one))}
    assert named <= set(targets[1].split())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_cited_tests_exist(page: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text()):
        assert (ROOT / path).exists(), f"{name_of(page)}: {path}"
        found = re.search(rf"def {name}\b" if name else "def test_", (ROOT / path).read_text())
        assert found, f"{name_of(page)}: {path}::{name}"


# ---- architecture.md ----


def test_every_part_is_listed() -> None:
    listed = section(ARCHITECTURE, "## The parts")
    # those that only collect or declare are named in the text or need no words
    quiet = {"__init__.py", "testing/__init__.py", "_core.pyi", "py.typed"}
    tracked = {
        str(path.relative_to(SOURCES))
        for pattern in ("*.py", "*.pyx", "*.pxi", "*.h")
        for path in SOURCES.rglob(pattern)
    }
    assert {name for name in tracked - quiet if f"`{name}`" not in listed} == set()
    named = {name for name in codes(listed) if re.fullmatch(r"[\w./]+\.(py|pyx|pxi|h)", name)}
    assert named <= tracked


def test_names_can_be_found() -> None:
    """Every name in code style is a word of the sources, so that a reader finds it with grep."""
    sources = [path.read_text() for path in SOURCES.rglob("*") if path.suffix in (".py", ".pyx", ".pxi", ".h")]
    words = set(re.findall(r"\w+", "\n".join(sources)))
    names = [name for name in codes(prose(ARCHITECTURE)) if re.fullmatch(r"[A-Za-z_][\w.]*(\(\))?", name)]
    assert len(names) > 150
    files = re.compile(r".*\.(pyi?|pyx|pxi|h|md)$")
    reasons = set(close_reasons())
    missing = {
        name
        for name in names
        if not files.match(name) and name not in reasons and not set(name.removesuffix("()").split(".")) <= words
    }
    assert missing == set()


def code_steps(file: str, table: str) -> dict[str, set[str]]:
    """A table of legal steps, as it stands in the code: state -> the states that may follow it."""
    text = (SOURCES / file).read_text()
    prefix = table.removesuffix("_STEPS")
    lines = text.partition(f"{table}[:] = [\n")[2].partition("\n]")[0].splitlines()
    steps = {}
    for line in lines[1:]:  # the first is for no state
        bits, _, comment = line.partition("#")
        steps[comment.split()[0]] = set(re.findall(rf"1 << {prefix}_(\w+)", bits))
    return steps


@pytest.mark.parametrize(
    ("machine", "file"),
    [("Transport", "_core_connection.pxi"), ("Stream", "_core_exchange.pxi"), ("Socket", "_core_socket.pxi")],
)
def test_state_tables_are_those_of_the_code(machine: str, file: str) -> None:
    table = f"{machine.upper()}_STEPS"
    text = section(ARCHITECTURE, f"### {machine} (`{table}`, `{machine.lower()}_step` in `{file}`)")
    written = {row[0]: set(re.findall(r"[A-Z]+", row[-1])) for row in rows(text)[1:]}
    assert written == code_steps(file, table)


def test_the_frame_readers_table_is_that_of_the_code() -> None:
    """Its table is C, with numbers for phases, so that the fuzzer has it without Python."""
    source = (SOURCES / "_core_websocket.pxi").read_text()
    phases = dict(re.findall(r"^    WS_(FIRST|SECOND|LENGTH|MASK|PAYLOAD|CLOSED|FAILED) = (\d)$", source, re.MULTILINE))
    numbered = {number: name for name, number in phases.items()}
    lines = source.partition("web_ws_steps[8] = {\n")[2].partition("};")[0].splitlines()[1:8]
    found = [re.fullmatch(r" *(.*),  */\* (\w+)(?:: ([\w, ]+))? \*/", line) for line in lines]
    table = {one[2]: {numbered[n] for n in re.findall(r"1 << (\d)", one[1])} for one in found if one is not None}
    assert [*table] == [numbered[str(n)] for n in range(1, 8)]
    assert table == {one[2]: set(re.findall(r"\w+", one[3] or "")) for one in found if one is not None}
    text = section(ARCHITECTURE, "### Frame reader (`WS_STEPS`, `ws_step` in `_core_websocket.pxi`)")
    assert {row[0]: set(re.findall(r"[A-Z]+", row[-1])) if len(row) > 2 else set() for row in rows(text)[1:]} == table


def test_deadline_kinds_are_listed() -> None:
    kinds = set(re.findall(r"^    (DEADLINE_\w+) = ", (SOURCES / "_core_deadlines.pxi").read_text(), re.MULTILINE))
    written = {row[0] for row in rows(section(ARCHITECTURE, "## Deadlines"))[1:]}
    assert written == kinds - {"DEADLINE_KINDS", "DEADLINE_NONE"}


# ---- the reference ----


def test_limits_table() -> None:
    table = {codes(row[0])[0]: row for row in rows((ROOT / "docs/reference/limits.md").read_text())[1:]}
    defaults: dict[str, Any] = {field.name: field.default for field in fields(web.Limits)}
    assert {name: row[1] for name, row in table.items()} == {name: str(v) for name, v in defaults.items()}
    for name, row in table.items():
        kind = type(defaults[name])
        least, most = (kind(text) for text in row[3].split(" to "))
        with_room = web.Limits(fields=1 << 24)  # a field is not larger than all fields
        for value in (least, most):
            base = with_room if name == "field" else web.Limits(field=16)
            assert getattr(replace(base, **{name: value}), name) == value
        for value in (least - 1, most + 1):
            with pytest.raises(ValueError):
                replace(with_room, **{name: value})


def close_reasons() -> dict[str, int]:
    """The reasons for which connections close, from a loop that has served nobody."""
    server = web.Server(web.App(), "127.0.0.1", 0)
    server.open()
    closed: dict[str, int] = server.stats()["closed"]
    server.close()
    return closed


def test_counters_table() -> None:
    page = ROOT / "docs/reference/errors.md"
    named = [name for row in rows(section(page, "## What is counted")) for name in codes(row[0])]
    assert sorted(named) == sorted(web.Server(web.App(), "127.0.0.1", 0).stats())
    assert set(Counters.__annotations__) == set(named)
    assert [name for row in rows(section(page, "## Why connections close")) for name in codes(row[0])] == [
        *close_reasons()
    ]


def test_reasons_of_failed_handshakes_are_listed() -> None:
    text = section(ROOT / "docs/reference/errors.md", "## What is counted").partition("Handshakes fail for:")[2]
    assert codes(text) == [*web.Server(web.App(), "127.0.0.1", 0).stats()["handshakes_failed"]]


def test_exceptions_table() -> None:
    table = rows(section(ROOT / "docs/reference/errors.md", "## Exceptions"))[1:]
    kinds = {name: one for name in web.__all__ if isinstance(one := getattr(web, name), type)}
    public = {name for name, one in kinds.items() if issubclass(one, Exception)}
    for row in table:
        path = codes(row[0])[0].split(".")
        exception = getattr(hotpath if path[1] == "hotpath" else web, path[-1])
        assert [base.__name__ for base in exception.__bases__] == row[1].split(", ")
        public.discard(path[-1])
    assert public == set()


@pytest.mark.parametrize("name", ["App", "Server", "Request", "Response", "Connection", "TlsContext", "WebSocket"])
def test_members_are_listed(name: str) -> None:
    written = section(ROOT / "docs/reference/classes.md", f"## {name}")
    classes = [getattr(web, name)] + ([web.Plain, web.Tls] if name == "Connection" else [])
    members = {member for one in classes for member in vars(one) if not member.startswith("_")}
    made = set(codes(section(ROOT / "docs/reference/classes.md", "## Connection"))) if name == "Connection" else set()
    assert {m for m in members - made if not re.search(rf"[`.]{m}\b", written)} == set()


def test_the_test_client_is_listed() -> None:
    """Public names, and the members of what a test touches."""
    page = ROOT / "docs/reference/testing.md"
    classes: dict[str, list[type]] = {
        "## Client and AsyncClient": [testing.Client, testing.AsyncClient],
        "## Reply": [testing.Reply, testing.StreamedReply, testing.AsyncStreamedReply],
        "## Cookies": [testing.Cookies],
        "## WebSockets": [testing.WebSocketSession, testing.AsyncWebSocketSession],
    }
    for heading, kinds in classes.items():
        text = section(page, heading)
        members = {
            name for kind in kinds for one in kind.__mro__ if one.__module__.startswith("web.") for name in vars(one)
        }
        fields = {name for kind in kinds for name in getattr(kind, "__dataclass_fields__", ())}
        named = {name for name in members | fields if not name.startswith("_")}
        assert {name for name in named if not re.search(rf"[`.]{name}\b", text)} == set(), heading
    for kind, heading in (
        (testing.RequestOptions, "## Options of a request"),
        (testing.ClientOptions, "## Client and"),
        (testing.SocketOptions, "## WebSockets"),
    ):
        text = page.read_text().partition(heading)[2]
        assert {name for name in kind.__annotations__ if f"`{name}`" not in text} == set()
    assert {name for name in testing.__all__ if not re.search(rf"\b{name}\b", page.read_text())} == set()


def test_public_names_are_listed() -> None:
    text = "\n".join(page.read_text() for page in sorted((ROOT / "docs/reference").glob("*.md")))
    assert {name for name in web.__all__ if not re.search(rf"\b{name}\b", text)} == set()


# ---- which status when ----

_POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
_LENGTH = _POST + b"Content-Length: "
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"

# (row: status and how its "when" begins, bytes, whether after hooks see the answer)
STATUSES = [
    (("204", "OPTIONS"), b"OPTIONS /echo HTTP/1.1\r\nHost: a\r\n\r\n", True),
    (("308", "a static"), b"GET /folder HTTP/1.1\r\nHost: a\r\n\r\n", True),
    (("400", "a head"), b"GET / HTTP/1.1\r\n\r\n", False),
    (("400", "a head"), _CHUNKED + b"x\r\n", True),
    (("400", "`req.json()`"), b"GET /json HTTP/1.1\r\nHost: a\r\n\r\n", True),
    (("404", "no route"), b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", True),
    (("404", "no route"), b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n", True),
    (("405", "a route"), b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", True),
    (("408", "the head"), b"GET / HTTP/1.1\r\nHo", False),
    (("408", "the body"), _LENGTH + b"9\r\n\r\nab", True),
    (("413", "the body"), _LENGTH + b"1048577\r\n\r\n", True),
    (("414", "the request line"), b"GET /" + b"a" * 9000, False),
    (("415", "`req.text()`"), b"GET /text HTTP/1.1\r\nHost: a\r\nContent-Type: a/b; charset=utf-7\r\n\r\n", True),
    (("417", "an expectation"), _POST + b"Expect: cake\r\n\r\n", False),
    (("421", "a host"), b"GET / HTTP/1.1\r\nHost: other\r\n\r\n", False),
    (("422", "`req.json(type=...)`"), b"GET /typed HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", True),
    (("431", "`field`"), b"GET / HTTP/1.1\r\nHost: " + b"a" * 9000, False),
    (("431", "`field`"), _CHUNKED + b"0\r\na: " + b"a" * 9000, True),
    (("500", "a handler"), b"GET /fails HTTP/1.1\r\nHost: a\r\n\r\n", True),
    (("500", "a handler"), b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n", True),
    (("501", "a method"), b"BREW /echo HTTP/1.1\r\nHost: a\r\n\r\n", True),
    (("501", "a transfer"), _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", False),
    (("505", "an HTTP"), b"GET / HTTP/2.0\r\n\r\n", False),
]

# Proved elsewhere: one needs TLS, one a process that may not read everything, one a process without descriptors.
STATUSES_ELSEWHERE = [("400", "plain HTTP"), ("403", "a file"), ("503", "a file"), ("503", "a body of")]
STATUSES_ELSEWHERE += [(status, "`req.form()`") for status in ("400", "413", "415", "503")]


@pytest.fixture
def any_status(tmp_path: Path) -> web.App:
    """An application that gives every status of the table."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/index.html").write_text("hello")

    def fails(req: web.Request) -> str:
        raise RuntimeError("on purpose")

    nothing: Any = lambda req: None  # noqa: E731 - what no handler may return
    return web.App(
        web.POST("/echo", lambda req: req.body),
        web.GET("/json", lambda req: req.json()),
        web.GET("/typed", lambda req: req.json(type=list[int])),
        web.GET("/text", lambda req: req.text()),
        web.GET("/gone", lambda req: web.Response.file(tmp_path / "gone")),
        web.GET("/fails", fails),
        web.GET("/none", nothing),
        web.static(tmp_path),
        web.hosts(["a"]),
        web.after(lambda req, params, resp: resp.with_header("X-Seen", "yes")),
    )


def status_rows() -> dict[tuple[str, str], list[str]]:
    table = rows(section(ROOT / "docs/reference/errors.md", "## Which status when"))[1:]
    keys = {key for key, _, _ in STATUSES} | set(STATUSES_ELSEWHERE)
    found = {key: row for key in keys for row in table if row[0] == key[0] and row[1].startswith(key[1])}
    assert (len(found), len(found)) == (len(keys), len(table)), "each row has a case, each case a row"
    return found


@pytest.mark.parametrize(("key", "sent", "seen"), STATUSES, ids=lambda one: one[0] if isinstance(one, tuple) else "")
def test_statuses_table(key: tuple[str, str], sent: bytes, seen: bool, any_status: web.App) -> None:
    _, _, connection, hooks = status_rows()[key]
    limits = web.Limits(head_timeout=0.1, body_grace=0.1) if key[0] == "408" else None
    with (
        web.Server(any_status, "127.0.0.1", 0, limits=limits).running() as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as client,
    ):
        client.sendall(sent)
        head = client.recv(65536).partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 " + key[0].encode())
    assert (b"\r\nConnection: close" in head) == (connection == "closes")
    assert (b"\r\nX-Seen: yes" in head) == seen
    assert hooks == ("yes" if seen else "no") or hooks.endswith(" only")


# ---- every start-up error of routing ----


ROUTE_ERRORS = [
    "routing.py", "static.py", "app.py", "groups.py", "hosts.py", "hook_checks.py", "access_log.py", "compress.py",
    "cors.py", "redirect.py", "security_headers.py", "time_limit.py", "websockets.py", "ws_handshake.py",
]  # fmt: skip


def raise_sites() -> set[tuple[str, int]]:
    """(file, first line) of each `raise RouteError(...)`."""
    return {
        (name, node.lineno)
        for name in ROUTE_ERRORS
        for node in ast.walk(ast.parse((SOURCES / name).read_text()))
        if isinstance(node, ast.Raise) and "RouteError" in ast.dump(node)
    }


def test_every_routing_error_is_listed(workplace: Path) -> None:
    page = ROOT / "docs/reference/routing.md"
    namespace: dict[str, Any] = {"__name__": "app"}
    exec(blocks(page, "python")[0][1], namespace)
    missing = raise_sites()
    for row in rows(section(page, "## Every start-up error")):
        if row[0] == "you write":
            continue
        (text,), (message,) = codes(row[0]), codes(row[1])
        with pytest.raises(web.RouteError) as caught:
            eval(text, namespace)
        pattern = ".*".join(re.escape(part) for part in message.split("…"))
        assert re.fullmatch(pattern, str(caught.value)), f"{text}: {caught.value}"
        for entry in caught.traceback:
            path = Path(str(entry.path))
            missing -= {
                site
                for site in missing
                if site[0] == path.name and path.parent.name == "web" and site[1] == entry.lineno + 1
            }
    assert missing == set(), "errors that no row of the tables raises"
