"""``web check``: each thing that it looks at, right and wrong, and the exit code."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

import web
from tests.cli.conftest import Command, Said
from tests.tls.authorities import Authority

HEAD = "import web\nhome = web.GET('/', lambda req: '')\n"
LOOSE = "web.TlsContext('dev-cert.pem', 'loose.pem')"


@pytest.fixture
def check(command: Command, here: Path) -> Command:
    """Of a program that ends in these words."""

    def give(code: str) -> Said:
        (here / "app.py").write_text(HEAD + code)
        sys.modules.pop("app", None)
        return command("check", "app.py")

    return give


def levels(said: Said, words: str) -> list[str]:
    return [line.split()[0] for line in said.out.splitlines() if words in line]


def test_all_is_well(check: Command, here: Path) -> None:
    web.dev_certificate(here)
    said = check("server = web.defserver_tls('127.0.0.1', 0, 'dev-cert.pem', 'dev-key.pem', home, user='nobody')")
    assert (said.code, said.err) == (0, "")
    assert {line.split()[0] for line in said.out.splitlines()} == {"ok"}
    for words in (
        "weblatch ",
        "app.py: 1 route, 0 static folders",
        "connections",
        "certificate for localhost",
        "can be",
    ):
        assert levels(said, words) == ["ok"], words


def test_nothing_is_left_open(check: Command) -> None:
    before = set(os.listdir("/dev/fd"))
    check("server = web.defserver('127.0.0.1', 0, home)")
    assert len(os.listdir("/dev/fd")) == len(before)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("web.defserver_tls('127.0.0.1', 0, 'no.pem', 'no.pem', home)", "no.pem"),
        ("web.defserver_tls('127.0.0.1', 0, 'dev-cert.pem', 'other/dev-key.pem', home)", "does not match"),
        ("web.defserver('192.0.2.1', 1, home)", "this machine has no such address"),
        ("web.defserver('127.0.0.1', 0, home, user='nobody-of-that-name')", "nobody-of-that-name"),
        ("web.defserver('127.0.0.1', 0, home, proxies=web.Proxies('10.0.0.1'))", "says nothing"),
        ("web.defserver('unix:no-such-folder/s', 0, home)", "there is no folder no-such-folder"),
        ("web.defserver('unix:app.py', 0, home)", "the path exists and is no socket"),
        ("web.defserver('unix:/sealed/s', 0, home)", "not permitted; choose a folder"),
        (f"web.defserver('unix:{'x' * 200}', 0, home)", "too long"),
        ("web.defserver('127.0.0.1', 0, web.static('no-such-folder'))", "no-such-folder"),
    ],
)
def test_what_would_fail(check: Command, here: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: True)
    if "/sealed/" in code:  # root may write everywhere
        (here / "sealed").mkdir()
        code = code.replace("/sealed", "sealed")
        monkeypatch.setattr("os.access", lambda path, mode: False)
    web.dev_certificate(here)
    web.dev_certificate(here / "other")
    said = check(f"server = {code}")
    if said.code == 3:  # it is told where it is written
        assert words in said.err
    else:
        assert said.code == 1
        assert levels(said, words) == ["fail"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("web.defserver('0.0.0.0', 0, home)", "0.0.0.0:0 is plain HTTP for whoever reaches it"),
        ("web.defserver('::', 0, home)", "[::]:0 is plain HTTP for whoever reaches it"),
        ("web.defserver('127.0.0.1', 0, home, dev=True)", "dev=True shows tracebacks"),
        ("web.defserver('127.0.0.1', 0, home, workers=1000)", "1000 workers on"),
        ("web.defserver('127.0.0.1', 0, home, limits=web.Limits(connections=10**9))", "file descriptors allow"),
        ("web.defserver_tls('127.0.0.1', 0, 'old.chain', 'old.key', home)", "valid until"),
        (
            "web.defserver_tls('127.0.0.1', 0, 'dev-cert.pem', 'loose.pem', home)",
            "others may read this key (mode 0644)",
        ),
        (
            "web.Server(web.App(home), '', tls=web.TlsContext(*web.dev_certificate('.'), names={'localhost': LOOSE}))",
            "others may read this key (mode 0644)",
        ),
    ],
)
def test_what_is_doubtful(check: Command, here: Path, code: str, words: str) -> None:
    _, key = web.dev_certificate(here)
    old = Authority(here).issue("old", "localhost", begins=-60, days=20)
    old.chain.rename("old.chain")
    old.key.rename("old.key")
    (here / "loose.pem").write_bytes(Path(key).read_bytes())
    (here / "loose.pem").chmod(0o644)
    said = check(f"server = {code.replace('LOOSE', LOOSE)}")
    assert said.code == 0
    assert levels(said, words) == ["warn"]


@pytest.mark.skipif(os.geteuid() != 0, reason="it is asked of root alone")
def test_root(check: Command) -> None:
    assert levels(check("app = web.App(home)"), "it would serve as root") == ["warn"]
    assert levels(check("server = web.defserver('127.0.0.1', 0, home, user='nobody')"), "root") == []


def test_a_port_that_is_taken_may_be_this_very_server(check: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = check(f"server = web.defserver('127.0.0.1', {taken.getsockname()[1]}, home)")
    assert said.code == 0
    assert levels(said, "already does") == ["warn"]


def test_an_address_twice(check: Command) -> None:
    """The second would not be had."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = check(f"server = web.defserver('127.0.0.1', {port}, home)\nserver.listen('0.0.0.0', {port})")
    assert said.code == 1
    assert levels(said, "this server already does by another of its addresses") == ["fail"]


def test_plain_http_behind_a_proxy(check: Command) -> None:
    said = check("server = web.defserver('', 0, home, proxies=web.Proxies('10.0.0.1', fields='x-forwarded'))")
    assert said.code == 0
    assert levels(said, "plain HTTP") == []


def test_what_the_program_says_is_no_finding(check: Command) -> None:
    said = check("print('hello')\napp = web.App(home)")
    assert said.err == "hello\n"
    assert {line.split()[0] for line in said.out.splitlines()} <= {"ok", "warn"}


def test_a_unix_socket_that_is_taken(check: Command, here: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(here / "s"))
        sock.listen()
        said = check("server = web.defserver('unix:s', 0, home)")
    assert said.code == 0
    assert levels(said, "another process already does") == ["warn"]


def test_a_socket_of_a_dead_process_stays(check: Command, here: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(here / "s"))
    said = check("server = web.defserver('unix:s', 0, home)")
    assert said.code == 0
    assert levels(said, "unix:s can be listened on") == ["ok"]
    assert (here / "s").exists()


def test_web_py_in_the_same_environment(check: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weblatch.names._has_files_of_web_py", lambda folder: True)
    said = check("app = web.App(home)")
    assert said.code == 1
    assert levels(said, "pip uninstall -y web.py") == ["fail"]


def test_what_the_command_line_says_otherwise(check: Command, command: Command, here: Path) -> None:
    """The same options as web run has."""
    cert, _ = web.dev_certificate(here / "one")
    _, key = web.dev_certificate(here / "two")
    check("app = web.App(home)")
    said = command("check", "app.py", "--cert", cert, "--key", key)
    assert said.code == 1
    assert levels(said, "does not match") == ["fail"]
    said = command("check", "app.py", "--host", "192.0.2.1", "--workers", "1000")
    assert said.code == 1
    assert levels(said, "192.0.2.1:8000: this machine has no such address") == ["fail"]
    assert levels(said, "1000 workers") == ["warn"]
    assert command("check", "app.py", "--cert", cert).code == 3


def test_what_cannot_be_imported(check: Command) -> None:
    said = check("x = (")
    assert said.code == 3
    assert "SyntaxError" in said.err
