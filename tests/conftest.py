"""What every test gets: state machines that abort on an illegal step, and a check that no test leaves an fd behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from web import _core

_core.abort_on_illegal_steps(True)


def open_fds() -> dict[int, str]:
    """The process's file descriptors and what they lead to."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    found = {}
    for name in os.listdir(folder):
        try:
            found[int(name)] = os.readlink(f"{folder}/{name}")
        except OSError:
            found[int(name)] = "?"
    return found


@pytest.fixture(autouse=True)
def no_fd_is_left() -> Iterator[None]:
    """Fails the test that leaves a socket, pipe, poller or file open."""
    before = set(open_fds())
    yield
    left = {fd: target for fd, target in open_fds().items() if fd not in before}
    if left:
        gc.collect()
        left = {fd: target for fd, target in open_fds().items() if fd not in before and not target.endswith("/fd")}
    assert not left, f"file descriptors left open: {left}"
