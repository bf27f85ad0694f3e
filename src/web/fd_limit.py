"""How many file descriptors the process may have (RLIMIT_NOFILE), and how many connections that permits."""

from __future__ import annotations

import resource
from contextlib import suppress

__all__ = ["connections_possible", "raise_fd_limit"]

_RESERVED = 64  # that are not connections: the interpreter's, the loop's, files that are being sent
_NO_LIMIT = 1 << 62
_OPEN_MAX = 10240  # macOS: what its kernel allows where the hard limit says more, or that there is none (setrlimit(2))


def raise_fd_limit() -> int:
    """Raises the soft limit to the hard one, or as far as the kernel allows; how many descriptors that permits."""
    soft, hard = (_number(one) for one in resource.getrlimit(resource.RLIMIT_NOFILE))
    for wanted in (hard, min(hard, _OPEN_MAX)):
        if wanted > soft:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (_limit(wanted), _limit(hard)))
                soft = wanted
    return soft


def _number(limit: int) -> int:
    return _NO_LIMIT if limit == resource.RLIM_INFINITY else limit


def _limit(number: int) -> int:
    return resource.RLIM_INFINITY if number == _NO_LIMIT else number


def connections_possible(wanted: int) -> int:
    """As many connections as are wanted, or as descriptors can be had for."""
    return max(1, min(wanted, raise_fd_limit() - _RESERVED))
