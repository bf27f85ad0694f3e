"""What proxies say of a request that they pass on: ``Forwarded`` (RFC 7239) and ``X-Forwarded-*``. Pure, no state.

Each proxy adds, on the right, whom it had the request from. So the list is walked from the right, and what stands there
is believed as long as a trusted proxy wrote it:

- the connection's peer is trusted (else nobody asks here), so the last element is its word;
- where the address in an element is that of a trusted proxy, the element to its left is that one's word;
- the first address that is none is the client's. Left of it anybody may have written anything: it is not looked at.

An element that is malformed, or in which no address stands (``unknown``, an obfuscated name), ends the walk: the
client is then whoever stands right of it, in the end the peer itself. So nothing raises, nothing is repaired, and the
client is never an address that only a client wrote. Several lines of a field are one list (RFC 9110 5.3).

The scheme and the host are what a proxy tells of that same request. In Forwarded: those of the element at which the
walk ended, if it is well-formed. In X-Forwarded-Proto, -Host and -Port: the member that is as far from the right, or
the left-most where there are fewer, because some proxies add to these fields and some set them. A value that cannot be
counts as not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from web._core import is_authority, read_ip

__all__ = ["FORWARDED", "X_FORWARDED", "Origin", "by_forwarded", "by_x_forwarded"]

FORWARDED: frozenset[str] = frozenset(["forwarded"])
X_FORWARDED: frozenset[str] = frozenset(f"x-forwarded-{name}" for name in ("for", "proto", "host", "port"))

# A pair of an element (RFC 7239 4), the name first; behind it stands a semicolon or the end, and no white space.
_PAIR = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([!#$%&'*+.^_`|~0-9A-Za-z-]+|"
                   r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*")(?=;|\Z)')  # fmt: skip
_NODE = re.compile(r"([0-9.]+|\[[0-9A-Fa-f:.]+\])(?::(?:([0-9]{1,5})|_[0-9A-Za-z._-]+))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_USUAL = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Who asked for what. ``client``: port 0 where it is not told; None: a Unix socket."""

    client: tuple[str, int] | None
    scheme: str
    host: str


class _Node(NamedTuple):
    client: tuple[str, int]
    ip: bytes


Trusts = Callable[[bytes], bool]
"""Whether an address, in 4 or 16 bytes, is that of a trusted proxy."""


def by_forwarded(fields: Mapping[str, str], direct: Origin, trusts: Trusts, *, host: bool) -> Origin:
    """``fields``: by their names in lower case. ``direct``: what the connection and the request line say, which stands
    where the fields say nothing. ``host``: whether they may name the host."""
    client = direct.client
    said: dict[str, str] = {}
    for element in _elements(fields.get("forwarded", "")):
        if (pairs := _pairs(element)) is None:
            break
        said = pairs
        node = _node(pairs.get("for", ""), bare=False)
        if node is None:
            break
        client = node.client
        if not trusts(node.ip):
            break
    scheme = _scheme(said.get("proto"), direct)
    return Origin(client, scheme, _host(said.get("host"), None, direct, scheme) if host else direct.host)


def by_x_forwarded(fields: Mapping[str, str], direct: Origin, trusts: Trusts, *, host: bool) -> Origin:
    """As ``by_forwarded``."""
    client = direct.client
    hops = 0
    for member in _members(fields.get("x-forwarded-for", "")):
        hops += 1
        node = _node(member, bare=True)
        if node is None:
            break
        client = node.client
        if not trusts(node.ip):
            break
    scheme = _scheme(_member(fields.get("x-forwarded-proto"), hops), direct)
    if not host:
        return Origin(client, scheme, direct.host)
    port = _member(fields.get("x-forwarded-port"), hops)
    return Origin(client, scheme, _host(_member(fields.get("x-forwarded-host"), hops), port, direct, scheme))


# ---- lists, from the right ----


def _members(value: str) -> Iterator[str]:
    """The members of a list, the last one first; at least one, which may be empty."""
    end = len(value)
    while end >= 0:
        start = value.rfind(",", 0, end)
        yield value[start + 1 : end].strip(" \t")
        end = start


def _member(value: str | None, number: int) -> str | None:
    """The so-manyeth member from the right, or the left-most where there are fewer."""
    if value is None:
        return None
    *_, found = islice(_members(value), number)
    return found


def _elements(value: str) -> Iterator[str]:
    """The elements of Forwarded, the last one first. A comma may stand within quotation marks. Read from the right,
    because what a client wrote on the left may end within such a string."""
    end = at = len(value)
    quoted = False
    while at > 0:
        at -= 1
        if value[at] == '"':
            slashes = at
            while quoted and slashes > 0 and value[slashes - 1] == "\\":
                slashes -= 1
            if (at - slashes) % 2 == 0:  # else it is a part of the string
                quoted = not quoted
        elif value[at] == "," and not quoted:
            yield value[at + 1 : end].strip(" \t")
            end = at
    yield value[:end].strip(" \t")


# ---- what stands in them ----


def _pairs(element: str) -> dict[str, str] | None:
    """The pairs of an element, by their names in lower case, unquoted; None: malformed, or a name comes twice."""
    found: dict[str, str] = {}
    at = 0
    while at < len(element):
        if element[at] == ";":
            at += 1
            continue
        pair = _PAIR.match(element, at)
        if pair is None:
            return None
        name, value = pair[1].lower(), pair[2]
        if name in found:
            return None
        found[name] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value
        at = pair.end()
    return found


def _node(text: str, *, bare: bool) -> _Node | None:
    """An address with or without a port (RFC 7239 6); ``bare``: IPv6 may also stand without brackets, and then has no
    port. None: no address."""
    if bare and (found := read_ip(text)) is not None:
        return _Node((found[0], 0), found[1])
    node = _NODE.fullmatch(text)
    if node is None:
        return None
    port = int(node[2] or 0)
    found = read_ip(node[1].strip("[]"))
    if found is None or port > 65535 or (":" in node[1]) != (node[1][0] == "["):
        return None
    return _Node((found[0], port), found[1])


def _scheme(value: str | None, direct: Origin) -> str:
    lower = "" if value is None else value.lower()
    return lower if lower in _USUAL else direct.scheme


def _host(value: str | None, port: str | None, direct: Origin, scheme: str) -> str:
    """The host that a proxy names, else the request's own; with the port that it names, where the host has none."""
    host = value if value is not None and is_authority(value) else direct.host
    if port is None or not _PORT.fullmatch(port) or int(port) > 65535 or int(port) == _USUAL[scheme]:
        return host
    return f"{host}:{port}" if host and ":" not in host.rpartition("]")[2] else host
