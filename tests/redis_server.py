"""A Redis of its own for a test: started on a port, killed, halted, and started there again. It keeps nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.serving import foreign_environment
from tests.wire.clients import eventually

_PROGRAMS = ("redis-server", "valkey-server")
HOW_TO_GET = "there is no redis-server: apt install redis-server, or brew install redis"


def find_program() -> str:
    """The path of a Redis or Valkey. Where there is none the test is skipped, but in CI it fails."""
    found = next((path for name in _PROGRAMS if (path := shutil.which(name)) is not None), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(HOW_TO_GET)
    return found


class RedisServer:
    """``port`` is chosen when it is made, and stays; ``start()`` and ``kill()`` may follow each other."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._popen: subprocess.Popen[bytes] | None = None
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port: int = sock.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Returns when it answers."""
        with open(self._folder / "redis.log", "ab") as log:
            self._popen = subprocess.Popen(
                [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                 "--daemonize", "no", *options],
                cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=foreign_environment(),
                start_new_session=True,
            )  # fmt: skip
        eventually(self._answers, "redis-server answers")

    def _answers(self) -> bool:
        assert self._popen is not None
        assert self._popen.poll() is None, (self._folder / "redis.log").read_text()
        try:
            return bool(self.ask("PING"))
        except redis.ConnectionError:
            return False

    def ask(self, *command: str | bytes) -> Any:
        """The answer to a command, on a connection of its own."""
        with redis.Redis(host="127.0.0.1", port=self.port, single_connection_client=True) as client:
            ask: Callable[..., Any] = client.execute_command
            return ask(*command)

    def halt(self) -> None:
        """It keeps its connections, and answers nothing, until ``go_on()``."""
        assert self._popen is not None
        self._popen.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._popen is not None
        self._popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        popen, self._popen = self._popen, None
        if popen is not None:
            popen.kill()
            popen.wait()
