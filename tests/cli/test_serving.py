"""``web run``: serves what it is given, where it is told to, and says in one line why it cannot."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

import web
from tests.cli.conftest import Command
from tests.serving import body, connect, connect_tls, environment, fetch, get, process

SERVER = """
import web
server = web.defserver("127.0.0.1", 0, web.GET("/", lambda req: "first"))
server.listen("unix:s")
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("import os, web\napp = web.App(web.GET('/', lambda req: f'{os.getpid()}'))\n")
    return tmp_path


def port_of(line: str) -> int:
    found = re.search(r":(\d+)", line.partition("://")[2])
    assert found is not None, line
    return int(found[1])


@pytest.mark.parametrize("program", [("-m", "web"), ("-m", "weblatch")])
def test_an_app_on_a_port(site: Path, program: tuple[str, ...]) -> None:
    with process(*program, "run", "app", "--port", "0", cwd=site) as child:
        port = port_of(child.ready())
        assert child.says("weblatch").startswith(f"  weblatch {web.__version__}, Python 3.")
        assert fetch(port) == str(child.popen.pid)
        child.signal(signal.SIGINT)
        assert child.finish() == (0, "", "")


def test_https_with_workers(site: Path) -> None:
    cert, key = web.dev_certificate(site)
    options = ("--port", "0", "--cert", cert, "--key", key, "--workers", "2")
    with process("-m", "web", "run", "app.py", *options, cwd=site) as child:
        line = child.ready()
        assert re.fullmatch(r"Serving on https://127\.0\.0\.1:\d+ with 2 workers \(Ctrl-C stops\)", line)
        assert re.search(
            r"  TLS 1\.2 and 1\.3, certificate for localhost, valid until \S+ \(29 days\)", child.says("TLS")
        )
        with connect_tls(port_of(line), cert) as sock:
            assert body(get(sock)) != str(child.popen.pid).encode()
            assert isinstance(sock, ssl.SSLSocket)
        child.signal(signal.SIGTERM)
        assert child.finish()[0] == 0


def test_only_the_first_address_is_moved(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SERVER)
    with process("-m", "web", "run", "app:server", "--host", "127.0.0.2", cwd=tmp_path) as child:
        line = child.ready()
        assert re.match(r"Serving on http://127\.0\.0\.2:\d+, http\+unix:s \(Ctrl-C stops\)", line)
        with connect(port_of(line), "127.0.0.2") as sock:
            assert body(get(sock)) == b"first"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "s"))
            assert body(get(sock)) == b"first"
        child.signal(signal.SIGINT)
        assert child.finish()[0] == 0


def test_what_keeps_it_from_starting(command: Command, site: Path) -> None:
    cert, key = web.dev_certificate(site / "one")
    other = web.dev_certificate(site / "two")[1]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, words in [
            (["--port", port], f"cannot listen on 127.0.0.1:{port}: this process itself already does; stop it, or"),
            (["--cert", "no.pem", "--key", key], "no.pem"),
            (["--cert", cert, "--key", other], "does not match"),
            (["--cert", cert], "--cert goes with --key"),
            (["--key", cert], "--key goes with --cert"),
            (["--host", "no-such-host.invalid"], "the host name is not known here"),
        ]:
            said = command("run", "app", *options)
            assert (said.code, said.out) == (3, "")
            assert said.err.startswith("web: ")
            assert words in said.err
            assert said.err.count("\n") == 1


def test_what_cannot_be_imported_is_shown_with_its_traceback(command: Command, here: Path) -> None:
    (here / "app.py").write_text("def f():\n    return 1 / 0\nf()\n")
    said = command("run", "app")
    assert said.code == 3
    assert said.err.startswith("Traceback")
    assert "return 1 / 0" in said.err
    assert said.err.endswith("web: app cannot be imported: ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("code", ["raise ValueError('no database')", "raise OSError('no database')"])
def test_an_application_that_fails_while_it_serves(command: Command, here: Path, code: str) -> None:
    """Its author needs the traceback."""
    (here / "app.py").write_text(f"import web\ndef begin():\n    {code}\napp = web.App(web.on_start(begin))\n")
    said = command("run", "app", "--port", "0")
    assert said.code == 1
    assert 'app.py", line 3, in begin' in said.err
    assert re.search(r"web: the application failed: \w+: no database\n$", said.err)


def test_workers_that_cannot_start(site: Path) -> None:
    (site / "app.py").write_text("import sys, web\napp = web.App(web.on_start(lambda: sys.exit(4)))\n")
    with process("-m", "web", "run", "app", "--port", "0", "--workers", "1", cwd=site) as child:
        code, _, err = child.finish()
    assert code == 3
    assert "5 workers" in err or "worker" in err


def test_ctrl_c_while_it_is_imported(tmp_path: Path) -> None:
    """It ends as the signal ends others, which shells understand, and without a traceback."""
    (tmp_path / "app.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    with process("-m", "web", "run", "app.py", cwd=tmp_path) as child:
        assert child.line() == "begun"
        child.signal(signal.SIGINT)
        assert child.finish() == (-signal.SIGINT, "", "")


def test_who_reads_may_stop(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import web\napp = web.App(web.GET('/', lambda req: ''))\n")
    for arguments in (["routes", "app.py"], ["--version"]):
        with process("-m", "web", *arguments, cwd=tmp_path) as child:
            assert child.popen.stdout is not None
            child.popen.stdout.close()
            assert child.popen.wait() == -signal.SIGPIPE
            assert child.popen.stderr is not None
            assert child.popen.stderr.read() == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_hindrance(tmp_path: Path, closed: str) -> None:
    """As some service managers start programs."""
    (tmp_path / "app.py").write_text("import web\napp = web.App()\n")
    for arguments in ("--version", "check app.py", "routes app.py"):
        command = f'"{sys.executable}" -m web {arguments} {closed}'
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment())
        assert (done.returncode, done.stderr) == (0, "")
    stop = (
        "import os, signal, web\ndef stop(): os.kill(os.getpid(), signal.SIGINT)\napp = web.App(web.on_start(stop))\n"
    )
    (tmp_path / "app.py").write_text(stop)
    command = f'"{sys.executable}" -m web run app.py --port 0 {closed}'
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, env=environment()).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--version"], ["completion", "bash"]])
def test_what_cannot_be_written_is_told(arguments: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "web", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=environment()
        )
    assert (done.returncode, done.stderr) == (3, "web: [Errno 28] No space left on device\n")


def test_messages_are_of_one_line_and_command_no_terminal(command: Command, here: Path) -> None:
    (here / "app.py").write_text("raise ValueError('\\033]0;title\\a')\n")
    said = command("run", "app.py")
    assert said.err.splitlines()[-1] == r"web: app.py cannot be imported: ValueError: \x1b]0;title\x07"
    assert command("run", "no\n\033[2J.py").err == "web: there is no file no\\n\\x1b[2J.py\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "app", "--prot", "1"],
        ["run", "app", "--por", "1"],
        ["run", "app", "--port", "70000"],
        ["run", "app", "--port", "-1"],
        ["run", "app", "--workers", "many"],
        ["rum", "app"],
    ],
)
def test_wrong_usage(command: Command, arguments: list[str]) -> None:
    said = command(*arguments)
    assert (said.code, said.out) == (2, "")
    assert "error: " in said.err


def test_versions(command: Command) -> None:
    said = command("--version")
    assert said.code == 0
    assert said.out.startswith(f"weblatch {web.__version__}, Python 3.")
    assert web.openssl_version() in said.out
