"""How far the limit of file descriptors is raised: by a stand-in for the kernel."""

from __future__ import annotations

import resource

import pytest

from web import fd_limit

NONE = resource.RLIM_INFINITY


class Kernel:
    """Which allows so many, whatever the hard limit says."""

    def __init__(self, soft: int, hard: int, most: int | None) -> None:
        self.limits = (soft, hard)
        self._most = most

    def getrlimit(self, what: int) -> tuple[int, int]:
        assert what == resource.RLIMIT_NOFILE
        return self.limits

    def setrlimit(self, what: int, limits: tuple[int, int]) -> None:
        assert what == resource.RLIMIT_NOFILE
        if self._most is not None and (limits[0] == NONE or limits[0] > self._most):
            raise ValueError("current limit exceeds maximum limit")
        assert limits[1] == self.limits[1]  # else it could never be had again
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "most", "becomes"),
    [
        (1024, 4096, None, 4096),
        (4096, 4096, None, 4096),
        (1024, NONE, None, NONE),
        (NONE, NONE, None, NONE),
        (256, NONE, 10240, 10240),  # macOS
        (256, 1 << 20, 10240, 10240),
        (20000, NONE, 10240, 20000),  # it stays: less would be worse
        (256, 512, 100, 256),
    ],
)
def test_it_is_raised(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int | None, becomes: int) -> None:
    kernel = Kernel(soft, hard, most)
    monkeypatch.setattr(resource, "getrlimit", kernel.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", kernel.setrlimit)
    permitted = fd_limit.raise_fd_limit()
    assert kernel.limits == (becomes, hard)
    assert permitted >= 1 << 30 if becomes == NONE else permitted == becomes
    wanted = 1 << 29
    assert fd_limit.connections_possible(wanted) == (wanted if becomes == NONE else becomes - 64)


def test_one_connection_is_always_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fd_limit, "raise_fd_limit", lambda: 10)
    assert fd_limit.connections_possible(100) == 1
