"""What a newcomer types and reads: the transcripts of docs/how-to/when-it-goes-wrong.md, typed again.

Each section is a folder and a shell of its own. ``$ cat FILE`` shows a file that is not there yet: it is written. A
command that ends in ``&`` and has a log is waited for until it serves.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import PATIENCE, environment, kill_group
from tests.transcripts import Command, commands_in, pattern_of

PAGE = Path(__file__).parents[1] / "docs/how-to/when-it-goes-wrong.md"

pytestmark = pytest.mark.no_asan  # curl and a shell would have the sanitizer loaded into them


def sections() -> Iterator[tuple[str, list[Command]]]:
    """The heading of each section, and its steps."""
    for part in re.split(r"^#+ ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```console\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        yield part.splitlines()[0], [command for block in blocks for command in commands_in(block)]


class Shell:
    """A bash that does one command after the other, in a folder with ``web`` and ``python`` on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "here"
        self.folder.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        for name, arguments in (("python", ""), ("web", "-m weblatch")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            (programs / name).chmod(0o755)
        env = environment()
        self.process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=self.folder,
            env={**env, "PATH": f"{programs}:{env['PATH']}", "no_proxy": "*"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.do('set -m; curl() { command curl --silent --show-error --max-time 15 "$@"; }')  # -m: jobs hear SIGINT

    def do(self, command: str) -> str:
        """What it says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\necho; echo @done\n")
        self.process.stdin.flush()
        said: list[str] = []
        while (line := self.process.stdout.readline()) != "@done\n":
            assert line, f"the shell ended: {''.join(said)}"
            said.append(line)
        text = "".join(said)[:-1]  # without the line end of that echo
        return text if not text or text.endswith("\n") else f"{text}\n"

    def wait_for(self, log: Path) -> None:
        until = time.monotonic() + PATIENCE
        while "weblatch" not in (text := log.read_text() if log.exists() else ""):
            assert time.monotonic() < until, text
            time.sleep(0.01)

    def close(self) -> None:
        self.do("kill $(jobs -p) 2>/dev/null; wait")
        kill_group(self.process.pid)
        self.process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("steps", [pytest.param(steps, id=heading) for heading, steps in sections()])
def test_transcript(steps: list[Command], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shell = Shell(tmp_path)
    try:
        for step in steps:
            line, output = step.line.replace("8000", port), step.output.replace("8000", port)
            if file := re.fullmatch(r"cat (\S+\.py)", line):
                (shell.folder / file[1]).write_text(f"{output}\n")
                continue
            said = shell.do(line)
            if log := re.search(r"2>(\w+) &$", line):
                shell.wait_for(shell.folder / log[1])
            else:
                assert pattern_of(output).fullmatch(said), f"$ {line}\n{said}"
    finally:
        shell.close()


def test_there_are_ten_and_more() -> None:
    assert len([heading for heading, steps in sections() if steps]) > 10
