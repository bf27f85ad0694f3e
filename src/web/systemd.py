"""systemd's two protocols, by hand: sockets that it passes on (LISTEN_FDS), what a service tells it (NOTIFY_SOCKET).

sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). Without systemd's environment all of this does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from web._core import Loop

__all__ = ["Notifier", "passed_fds"]

_log = logging.getLogger("web")

_FIRST_FD = 3
_passed: list[tuple[str, int]] = []  # (name, fd)


def passed_fds() -> list[tuple[str, int]]:
    """(name, fd) of every socket that systemd passed to this process. The environment is read once and then cleared, so
    that no child takes it for its own."""
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid == str(os.getpid()) and count.isdecimal():
        for place in range(int(count)):
            os.set_inheritable(_FIRST_FD + place, False)
            _passed.append((names[place] if place < len(names) else "unknown", _FIRST_FD + place))
    return _passed


class Notifier:
    """Tells systemd about the service, where it wants to know. A message that cannot be sent is logged, no more."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        pid, period = os.environ.get("WATCHDOG_PID", ""), os.environ.get("WATCHDOG_USEC", "")
        ours = period.isdecimal() and pid in ("", str(os.getpid()))
        self.watchdog = int(period) / 1e6 / 2 if ours and self._address else 0.0
        """Seconds between two signs of life that are asked for: half of what systemd waits; 0: none are."""
        self._closed = threading.Event()

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.connect(self._address)
                sock.send("\n".join(lines).encode())
        except OSError as error:
            _log.warning("systemd cannot be told %s: %s", lines[0], error)

    def ready(self, status: str) -> None:
        """The service answers requests, from the start on or again after ``reloading()``."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """The sign of life that the watchdog waits for."""
        self._tell("WATCHDOG=1")

    def successor(self, pid: int) -> None:
        """The service goes on in another process, which is ready."""
        self._tell(f"MAINPID={pid}", "READY=1")

    def watch_over(self, loop: Loop) -> None:
        """Gives the watchdog its signs of life, in a thread until close(), as long as the loop turns: one that a
        handler holds does not, and systemd may end the service."""
        if self.watchdog:
            threading.Thread(target=self._watch, args=(loop,), name="web watchdog", daemon=True).start()

    def _watch(self, loop: Loop) -> None:
        before = -1
        while True:
            turned_at = loop.turned_at
            if turned_at != before:
                self.alive()
            before = turned_at
            with suppress(OSError):
                loop.wake()
            if self._closed.wait(self.watchdog):
                return

    def close(self) -> None:
        """Nobody is watched over any more."""
        self._closed.set()
