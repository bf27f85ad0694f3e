"""Who listens on a port, as far as it can be known."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from tests.serving import process, program
from web import port_holder
from web.port_holder import holder_of

WAITS = """import socket, time
sock = socket.create_server(('%s', 0), family=%d)
print(sock.getsockname()[1], flush=True)
time.sleep(60)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


@linux
@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_another_process(host: str, family: int) -> None:
    with process(*program(WAITS % (host, family), "\x1b[31m" + "x" * 200)) as child:
        found = holder_of(int(child.line()))
        assert found is not None
        assert f"(pid {child.popen.pid}: " in found
        assert found.endswith("...)")
        assert found.isprintable()


@linux
def test_a_command_that_would_speak_to_the_terminal() -> None:
    with process("-c", WAITS % ("127.0.0.1", 2) + "#\x1b[31m") as child:
        assert (holder_of(int(child.line())) or "\x1b").isprintable()


@linux
def test_a_name_that_would_speak_to_the_terminal() -> None:
    rename = "import ctypes\nctypes.CDLL(None).prctl(15, b'\\xff\\033[31m', 0, 0, 0)\n"  # PR_SET_NAME
    with process("-c", rename + WAITS % ("127.0.0.1", 2)) as child:
        found = holder_of(int(child.line()))
    assert found is not None
    assert found.startswith(f"\ufffd?[31m (pid {child.popen.pid}: ")
    assert found.isprintable()


def test_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert "this process itself" in (holder_of(sock.getsockname()[1]) or "this process itself")


@linux
def test_nobody_and_who_only_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert holder_of(client.getsockname()[1]) is None
    assert holder_of(port) is None


@linux
def test_what_may_not_be_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As where the process is another user's: its folder cannot be read."""
    (tmp_path / "net").mkdir()
    (tmp_path / "7").mkdir()
    (tmp_path / "7/fd").touch()  # no folder, in place of one that may not be read
    line = "0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0 100 0 0 10 0"
    (tmp_path / "net/tcp").write_text(f"heading\n   {line}\n")
    monkeypatch.setattr(port_holder, "_PROC", tmp_path)
    assert holder_of(80) is None
    (tmp_path / "8/fd").mkdir(parents=True)
    os.symlink("socket:[4711]", tmp_path / "8/fd/3")
    assert holder_of(80) == "a process (pid 8)"
    (tmp_path / "8/comm").write_text("nginx\n")
    (tmp_path / "8/cmdline").write_text("nginx: master\0-g\0")
    assert holder_of(80) == "nginx (pid 8: nginx: master -g)"
    assert holder_of(81) is None


def test_by_lsof(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no /proc."""
    monkeypatch.setattr(port_holder, "_PROC", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert holder_of(80) is None
    lsof = tmp_path / "lsof"
    lsof.write_text('#!/bin/sh\n[ "$*" = "-nP -iTCP:80 -sTCP:LISTEN -Fpc" ] && printf "p812\\ncnginx\\nf6\\n"\n')
    lsof.chmod(0o755)
    assert holder_of(80) == "nginx (pid 812)"
    assert holder_of(81) is None
