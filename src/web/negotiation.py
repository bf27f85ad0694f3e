"""Accept-Encoding: which codings a client takes, best first (RFC 9110 12.5.3, with the weights of 12.4.2).

Pure, and defined for every text: a member that is malformed counts for nothing, and nothing raises. What was asked for
last is kept, up to ``_KEPT`` pairs of short headers, so that memory is bounded whatever clients send.

Invariant: ``accepted`` gives ``identity`` exactly once, and of the offered codings those whose weight is above 0.
"""

import re
from functools import lru_cache

__all__ = ["IDENTITY", "accepted"]

IDENTITY = "identity"

_KEPT = 256
_KEPT_LENGTH = 256  # characters; browsers send about 30
_MEMBER = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*"
    r"(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
)
_ALIASES = {"x-gzip": "gzip"}  # RFC 9110 8.4.1.3


def accepted(header: str | None, offered: tuple[str, ...]) -> tuple[str, ...]:
    """The codings in which an answer may be sent, best first: by the client's weight, then in the order of ``offered``.

    ``header``: the value of Accept-Encoding, several fields joined by a comma; None: there was none. ``offered``: the
    server's codings in lower case, its favourite first, without "identity".

    "identity" (as it is, not coded) is always among them, mostly last: before a coding only where the client says that
    it likes it better. A client that refuses it (``identity;q=0``, ``*;q=0``) gets it nevertheless where nothing else
    is left: RFC 9110 12.5.3 permits a 406 there, which would help nobody. Without the header everything is acceptable
    by the letter of the RFC; here it is identity alone, since clients that decode say so.
    """
    if header is None:
        return (IDENTITY,)
    if len(header) > _KEPT_LENGTH:
        return _ranked(header, offered)
    return _kept(header, offered)


def _ranked(header: str, offered: tuple[str, ...]) -> tuple[str, ...]:
    weights = _weights(header)
    other = weights.get("*", 0.0)
    asked = {coding: weights.get(coding, other) for coding in offered}
    asked = {coding: weight for coding, weight in asked.items() if weight > 0} | {
        IDENTITY: weights.get(IDENTITY, other)
    }
    return tuple(sorted(asked, key=lambda coding: -asked[coding]))


_kept = lru_cache(_KEPT)(_ranked)


def _weights(header: str) -> dict[str, float]:
    """Each coding that is named, in lower case, with its weight, 0 to 1. Of one that comes twice the least counts."""
    found: dict[str, float] = {}
    for member in header.split(","):
        match = _MEMBER.fullmatch(member)
        if match is not None:
            coding = match[1].lower()
            coding = _ALIASES.get(coding, coding)
            weight = 1.0 if match[2] is None else float(match[2])
            found[coding] = min(weight, found.get(coding, weight))
    return found
