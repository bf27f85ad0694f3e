"""``rate_limit()``: how many requests one client may send, by a token bucket for each; 429 past it (RFC 6585 4).

``Buckets`` is the whole state: key -> the moment at which that bucket is full again (the generic cell rate algorithm's
theoretical arrival time, one number instead of tokens and a time). A request moves it by one interval; it may lie at
most ``burst`` intervals ahead.

Invariants: the keys are in the order of last use, and there are never more than ``most``, of at most 48 characters or
so. A bucket that is full again says nothing and is dropped, two for each request. Where all are in use, a new key takes
the place of the one that was not used for longest: whoever keeps asking, refused or not, stays in, so that a flood of
sources does not set a busy one free. One lock, for the threads of blocking handlers; nothing of the
application runs under it. The clock is monotonic. Each worker process counts for itself.
"""

import math
import socket
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any

from web._core import Request
from web.errors import HTTPError
from web.hook_checks import check_function, check_seconds, check_whole
from web.routing import Before, before

__all__ = ["Buckets", "client_key", "rate_limit"]

_MOST = 65_536
_KEY_LENGTH = 48
_ROUNDING = 1e-6  # seconds that many additions may be off
_MAPPED = b"\0" * 10 + b"\xff\xff"  # ::ffff:0:0/96, an IPv4 address on a socket for both (RFC 4291 2.5.5.2)


def rate_limit(
    requests: int,
    per_seconds: float,
    *,
    by: Callable[[Request], str | bytes | int | None] | None = None,
    burst: int | None = None,
) -> Before:
    """Answer with 429 and Retry-After what one client sends beyond ``requests`` in ``per_seconds``.

    ``burst``: how many may come at once after a pause; ``requests`` by default. ``by``: a plain function from the
    request to what counts as one client (str, bytes or int; None: not limited); by default the address of the peer, of
    IPv6 its first 64 bits. Counted in each worker. RouteError: a number that cannot be.
    """
    what = "rate_limit(...)"
    requests = check_whole(what, "requests", requests, 1, 10**9)
    interval = check_seconds(what, "per_seconds", per_seconds) / requests
    depth = requests if burst is None else check_whole(what, "burst", burst, 1, 10**9)
    key_of = client_key if by is None else check_function(what, "by", by)
    buckets = Buckets(interval, depth)

    def limit(req: Request) -> None:
        key = key_of(req)
        if key is None:
            return
        wait = buckets.take(_short(key), monotonic())
        if wait > 0:
            raise HTTPError(429, f"429 Too Many Requests: try again in {math.ceil(wait)} s",
                            headers={"Retry-After": str(math.ceil(wait))})  # fmt: skip

    return before(limit)


class Buckets:
    """Token buckets of ``burst`` requests, refilled by one each ``interval`` seconds; at most ``most`` of them."""

    def __init__(self, interval: float, burst: int, most: int = _MOST) -> None:
        self._interval = interval
        self._span = burst * interval
        self._most = most
        self._full_at: OrderedDict[Any, float] = OrderedDict()  # finds its first key in O(1), which a dict does not
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Any, now: float) -> float:
        """0.0: granted. Else the seconds until the next one will be; nothing was taken."""
        with self._lock:
            before = self._full_at.pop(key, now)
            after = max(before, now) + self._interval
            wait = after - now - self._span
            granted = wait <= _ROUNDING
            self._make_room(now)
            self._full_at[key] = after if granted else before
            return 0.0 if granted else wait

    def _make_room(self, now: float) -> None:
        """For one more: drops up to two that are full again, and one that is not where there are too many."""
        for _ in range(min(2, len(self._full_at))):
            key, full_at = self._full_at.popitem(last=False)
            if full_at > now:
                self._full_at[key] = full_at
                self._full_at.move_to_end(key, last=False)
                break
        if len(self._full_at) >= self._most:
            self._full_at.popitem(last=False)


def client_key(req: Request) -> bytes:
    """The client's IPv4 address, or the first 64 bits of its IPv6 address: a household is given that many. Empty for a
    Unix socket: all its clients are one."""
    client = req.client
    if client is None:
        return b""
    host = client[0].partition("%")[0]
    if ":" not in host:
        return socket.inet_pton(socket.AF_INET, host)
    address = socket.inet_pton(socket.AF_INET6, host)
    return address[12:] if address.startswith(_MAPPED) else address[:8]


def _short(key: object) -> object:
    """A key of bounded size; a long one is told apart by its beginning and its hash, which no client can foresee."""
    if not isinstance(key, (str, bytes, int)):
        raise TypeError(f"rate_limit(by=...): the function gave {key!r}; str, bytes, int or None is needed")
    if isinstance(key, int):
        return hash(key)
    return key if len(key) <= _KEY_LENGTH else (key[:_KEY_LENGTH], hash(key))
