"""``web demo``: starts, prints commands that work, stops by Ctrl-C, and says in one line why it cannot start."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import web
from tests.cli.conftest import Command
from tests.serving import PATIENCE, Process, foreign_environment, process

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def commands(child: Process) -> list[list[str]]:
    """The commands that it prints, as a shell splits them."""
    assert child.line() == "Try it:"
    lines = [shlex.split(child.line()) for _ in range(4)]
    assert re.fullmatch(r"Serving on https?://127\.0\.0\.1:\d+ \(Ctrl-C stops\)", child.ready())
    return lines


def run(command: list[str], cwd: Path) -> str:
    assert command[0] == "curl"
    done = subprocess.run(
        [*command, "--silent", "--show-error", "--noproxy", "*", "--max-time", str(PATIENCE)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        env=foreign_environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_curl
@pytest.mark.parametrize("options", [[], ["--plain"], ["--folder", "a folder"]])
def test_the_commands_that_it_prints_work(options: list[str], tmp_path: Path) -> None:
    with process("-m", "web", "demo", "--port", "0", *options, cwd=tmp_path) as child:
        page, hello, about, echo = (run(command, tmp_path) for command in commands(child))
        if "--plain" in options:
            assert "<b>plain HTTP</b> with <b>no cipher</b>" in page
        else:
            assert re.search(r"<b>TLSv1\.[23]</b> with <b>\S+</b>", page)
        assert hello == "Hello, you!\n"
        assert web.openssl_version() in about
        assert echo == "some text"
        child.says("weblatch ")
        child.signal(signal.SIGINT)
        assert child.finish() == (0, "", "")


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    with process("-m", "web", "demo", "--port", "0", "--folder", str(tmp_path / "d"), cwd=tmp_path) as child:
        commands(child)
        keys = list((tmp_path / "d").glob("*key*"))
        assert [key.stat().st_mode & 0o777 for key in keys] == [0o600]
        child.signal(signal.SIGTERM)
        assert child.finish()[0] == 0


def test_status_3_and_one_line_where_it_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options, words in [
            (["--port", str(taken.getsockname()[1])], "already does"),
            (["--host", "no-such-host.invalid", "--port", "0"], "the host name is not known here"),
            (["--folder", "file", "--port", "0"], "file"),
        ]:
            with process("-m", "web", "demo", *options, cwd=tmp_path) as child:
                status, out, err = child.finish()
            assert (status, out) == (3, "")
            assert err.startswith("web: ")
            assert words in err
            assert err.count("\n") == 1


def test_it_is_said_how_it_is_used(tmp_path: Path) -> None:
    with process("-m", "web", "demo", "--help", cwd=tmp_path) as child:
        status, out, _ = child.finish()
    assert status == 0
    assert "--port" in out
    with process("-m", "web", "demo", "--prot", "0", cwd=tmp_path) as child:
        status, out, err = child.finish()
    assert (status, out) == (2, "")
    assert "--prot" in err


def test_without_a_command_it_is_the_demo(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def demo(options: argparse.Namespace) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr("web.cli.demo.demo", demo)
    assert command().code == 0
    assert (asked[0].port, asked[0].plain) == (8443, False)
