"""A worker's side: what it is told, how it is started and ended, and the thread that attends to its master.

A worker is a fork of the master. It serves in its main thread, as a server without workers does. Beside it one
thread, the Attendant, waits for the master's messages, sees by the end of the channel that the master is gone, and
looks once a second whether the worker has reached a bound of ``workers()``; it touches nothing of the loop but what
is for every thread.

SIGTERM stops a worker (a second one at once). SIGINT, SIGHUP and SIGUSR1/2 do nothing here: a terminal sends them to
all processes of a program, and the master tells its workers what is to happen.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import selectors
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from web._core import CertificateError, Loop, TlsError
from web.channel import CERTIFICATES, LEAVE, READY, RETIRE, STOP, Channel, split_files
from web.listeners import Files, Listeners
from web.log import log as _log
from web.worker_options import Workers

__all__ = ["Attendant", "Seat", "live"]

# Seconds between two looks at the bounds, and at a loop that is being left.
_LOOK = 1.0
_LOOK_LEAVING = 0.05


class StopsHere(Protocol):
    """How the attendant ends its process's share of the server."""

    def __call__(self, grace: float | None = None, delay: float = 0.0) -> None: ...


@dataclass(frozen=True)
class Seat:
    """What a worker is given: its slot, of how many, where it counts, the channel to its master, and its bounds."""

    slot: int
    slots: int
    row: int  # of the server's Stats
    channel: Channel
    options: Workers
    leave_within: float  # seconds that idle connections are kept once somebody else accepts

    def ready(self) -> None:
        """Tells the master that requests are answered from now on."""
        with suppress(OSError):  # the master is gone: the attendant sees it
            self.channel.send(READY)

    def ask(self, kind: bytes, content: bytes = b"") -> None:
        """Asks the master for something. It comes, or not, as a message."""
        with suppress(OSError):
            self.channel.send(kind, content)


def live(seat: Seat, work: Callable[[Seat], None], blocked: tuple[signal.Signals, ...]) -> int:
    """The whole life of the new process, which must end with the exit code that this gives: nothing of the program that
    started the master goes on in a worker. ``blocked``: signals that its master blocked for the time of the fork."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _ignore)  # not SIG_IGN, which programs that a handler starts would inherit
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
    try:
        work(seat)
        code = 0
    except SystemExit as error:
        code = _exit_code(error)
        _log.error("worker %d (pid %d): SystemExit", seat.slot, os.getpid(), exc_info=error)
    except BaseException:  # noqa: BLE001 - the process ends with it
        code = 1
        _log.exception("worker %d (pid %d) failed", seat.slot, os.getpid())
    with suppress(Exception):  # a full disk: the process ends all the same
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    return code


def _ignore(*_: object) -> None:
    pass


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1


class Attendant:
    """Attends to the master, in a daemon thread, until the process ends."""

    def __init__(self, seat: Seat, loop: Loop, listeners: Listeners, stop: StopsHere) -> None:
        self._seat = seat
        self._loop = loop
        self._listeners = listeners
        self._stop = stop
        self._leaves_until = 0.0  # 0: it does not leave
        most = seat.options.max_requests
        self._max_requests = most + random.SystemRandom().randrange(most // 10 + 1)
        self._asked = most == 0 and seat.options.max_memory == 0  # for a replacement, or there is no reason to

    def start(self) -> None:
        threading.Thread(target=self._run, name="web attendant", daemon=True).start()

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._seat.channel, selectors.EVENT_READ)
                while True:
                    if selector.select(self._patience()):
                        self._listen()
                    if self._leaves_until:
                        self._end_unless_used()
                    elif not self._asked:
                        self._check_bounds()
        except (EOFError, OSError):
            _log.warning("worker %d (pid %d): its master is gone; it stops", self._seat.slot, os.getpid())
            self._stop()
        except Exception:  # noqa: BLE001 - a worker that cannot be told to end has to end
            _log.critical("worker %d (pid %d) cannot hear its master any more:\n%s", self._seat.slot, os.getpid(),
                          traceback.format_exc())  # fmt: skip
            self._stop()

    def _patience(self) -> float | None:
        if self._leaves_until:
            return _LOOK_LEAVING
        return None if self._asked else _LOOK

    def _listen(self) -> None:
        for kind, content in self._seat.channel.receive():
            if kind == LEAVE:
                self._leaves_until = time.monotonic() + self._seat.leave_within
                self._loop.leave()
            elif kind == STOP:
                self._stop(*map(float, content.split()))
            elif kind == CERTIFICATES:
                self._renew(split_files(content))

    def _renew(self, files: Files) -> None:
        try:
            for old, fresh in self._listeners.renew(files):
                self._loop.use_context(old, fresh)
        except (CertificateError, TlsError) as error:  # the master could use them: memory is short
            _log.error("worker %d (pid %d) keeps the old certificates: %s", self._seat.slot, os.getpid(), error)

    def _end_unless_used(self) -> None:
        """Ends the worker that is being left, once nobody needs it or its time is over."""
        is_unused = self._loop.has_left and self._loop.connections == 0  # in this order: what it still accepted counts
        if is_unused or time.monotonic() >= self._leaves_until:
            self._leaves_until = 0.0
            self._asked = True
            self._stop()

    def _check_bounds(self) -> None:
        options = self._seat.options
        requests = self._loop.requests
        memory = resident_bytes() if options.max_memory else 0
        if options.max_requests and requests >= self._max_requests:
            reason = f"it answered {requests} requests"
        elif options.max_memory and memory >= options.max_memory:
            reason = f"it uses {memory} bytes of memory"
        else:
            return
        self._asked = True
        self._seat.ask(RETIRE, reason.encode())


def resident_bytes() -> int:
    """How much memory of this process is resident; where the system does not tell (macOS): the most that ever was."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
