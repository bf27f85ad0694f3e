"""How many file descriptors the process may have (RLIMIT_NOFILE), and how many connections that permits."""

from __future__ import annotations

import resource
from contextlib import suppress

__all__ = ["connections_possible", "raise_fd_limit"]

_RESERVED = 64  # that are not connections: the interpreter's, the loop's, files that are being sent


def raise_fd_limit() -> int:
    """Raises the soft limit to the hard one; how many descriptors that permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS: the hard limit may be more than the kernel allows
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


def connections_possible(wanted: int) -> int:
    """As many connections as are wanted, or as descriptors can be had for."""
    return max(1, min(wanted, raise_fd_limit() - _RESERVED))
