"""A binary upgrade: a master starts its own program anew and hands it the listening sockets.

The old master is the Successor's parent: it makes a pipe, starts the program, and waits for a byte in the pipe. The
new one finds in its environment which sockets it was handed (Predecessor), uses them instead of binding, and writes the
byte once its workers are ready. An end of the pipe without a byte: the new one failed, and the old one goes on.

Each side owns its copies of the sockets and its end of the pipe.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress

from web.sockets import Address

__all__ = ["Predecessor", "Successor"]

_VARIABLE = "WEB_UPGRADE"


class Successor:
    """The program that was started anew, as its parent sees it. OSError: it cannot be started."""

    def __init__(self, places: Iterable[tuple[Address, list[socket.socket]]]) -> None:
        reading, writing = os.pipe()
        try:
            handed = [(address.host, address.port, [sock.fileno() for sock in sockets]) for address, sockets in places]
            facts = {"parent": os.getpid(), "ready": writing, "sockets": handed}
            environment = {**os.environ, _VARIABLE: json.dumps(facts)}
            environment.pop("WATCHDOG_PID", None)  # it is ours; the successor becomes the main process
            self._process = subprocess.Popen(  # noqa: S603 - the command by which this very program was started
                sys.orig_argv,
                executable=sys.executable,
                env=environment,
                pass_fds=[writing, *(fd for _, _, fds in handed for fd in fds)],
            )
            os.set_blocking(reading, False)
            self.pipe = reading
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_ready(self) -> bool:
        """To be called when the pipe is readable, or it has ended: whether it took over; False: it failed."""
        try:
            return os.read(self.pipe, 1) != b""
        except BlockingIOError:
            return False

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def terminate(self) -> None:
        """Stops it in good order: its predecessor is being stopped, too."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it at once; its workers see that, and stop."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Gives up the pipe; the process lives on, if it does, without its parent."""
        os.close(self.pipe)
        if self._process.returncode is None:
            self._process.returncode = 0  # else its destructor warns that it still runs


class Predecessor:
    """The master whose place this process takes. ``find()`` gives it, where there is one."""

    def __init__(self, pipe: int, handed: list[tuple[str, int, list[int]]]) -> None:
        self._pipe = pipe
        self._handed = [(host, port, [socket.socket(fileno=fd) for fd in fds]) for host, port, fds in handed]
        os.set_inheritable(pipe, False)
        for _, _, sockets in self._handed:
            for sock in sockets:
                sock.set_inheritable(False)
                sock.setblocking(False)  # else dup() makes it blocking, for the predecessor's workers too

    @classmethod
    def find(cls) -> Predecessor | None:
        """The one that the environment tells of, which is read once and cleared: what this process starts is no
        successor."""
        text = os.environ.pop(_VARIABLE, None)
        if text is not None:
            facts = json.loads(text)
            if facts["parent"] == os.getppid():  # else it was meant for another process, or that parent is gone
                _found.append(cls(facts["ready"], facts["sockets"]))
        return _found[0] if _found else None

    def take(self, address: Address, place: int = 0) -> list[socket.socket]:
        """Duplicates of the sockets of an address, found as it is written; none: bind it. ``place``: which one,
        of several that are written alike (with port 0)."""
        alike = [sockets for host, port, sockets in self._handed if (host, port) == (address.host, address.port)]
        return [sock.dup() for sock in alike[place]] if place < len(alike) else []

    def relieve(self) -> None:
        """Says that this process serves, so that the predecessor ends; it may have gone already."""
        with suppress(BrokenPipeError):
            os.write(self._pipe, b"1")
        self.close()

    def close(self) -> None:
        """Gives up the pipe and the sockets. Without relieve(), the predecessor goes on."""
        _found.remove(self)
        os.close(self._pipe)
        for _, _, sockets in self._handed:
            for sock in sockets:
                sock.close()


_found: list[Predecessor] = []  # one at most
