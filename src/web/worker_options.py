"""``workers(N)``: in how many processes a server runs, and after how much work each of them is replaced."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Workers", "workers"]

_MOST = 1024
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Workers:
    """What ``workers()`` makes. ``count`` 0: no workers, the process itself serves."""

    count: int | Literal["auto"]
    max_requests: int = 0
    max_memory: int = 0

    def __post_init__(self) -> None:
        if self.count != "auto" and (type(self.count) is not int or not 0 <= self.count <= _MOST):
            raise ValueError(f"workers({self.count!r}): give 0 to {_MOST}, or 'auto' (one for each CPU)")
        for name in ("max_requests", "max_memory"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"workers({name}={value!r}): give a whole number; 0: without bound")

    @property
    def number(self) -> int:
        """How many processes that is on this machine."""
        return usable_cpus() if self.count == "auto" else self.count


def workers(count: int | Literal["auto"], *, max_requests: int = 0, max_memory: int = 0) -> Workers:
    """Serve in ``count`` processes that a master watches; ``"auto"``: one for each usable CPU; 0: in this process.

    ``max_requests``: a worker is replaced after so many, and up to a tenth more, so that not all are replaced at once.
    ``max_memory``: bytes of resident memory after which a worker is replaced. 0: never. ``workers=`` of a server wins
    over this form.
    """
    return Workers(count, max_requests, max_memory)


def usable_cpus() -> int:
    """The CPUs that this process may use: by affinity and, on Linux, by the quota of its cgroup, rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no cgroup v2, or "max"
        quota, period = map(int, _CGROUP_QUOTA.read_text().split())
        cpus = min(cpus, -(-quota // period))
    return max(1, cpus)
