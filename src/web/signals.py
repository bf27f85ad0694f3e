"""Signals while a loop runs: each calls its action in the thread that runs the loop, between two steps of Python.

They wake the loop by a socket pair in its poller; nothing polls for them.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from web._core import Loop

__all__ = ["hear_signals", "signals_wake"]


@contextmanager
def hear_signals(loop: Loop, actions: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """In the main thread; in others, which get no signals, it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        actions[signal.Signals(number)]()

    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        loop.watch_signals(reading)
        try:
            with signals_wake(writing, actions, on_signal):
                yield
        finally:
            loop.watch_signals(None)


@contextmanager
def signals_wake(
    writing: socket.socket, numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], object]
) -> Iterator[None]:
    """These signals call the handler and write a byte, their number, into the socket, which must not block. Afterwards
    all is as it was."""
    fd_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
        signal.set_wakeup_fd(fd_before)
