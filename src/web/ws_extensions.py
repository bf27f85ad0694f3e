"""permessage-deflate as it is negotiated (RFC 6455 9.1, RFC 7692 5 and 7.1): from Sec-WebSocket-Extensions to what both
sides agreed on. Pure functions; what is agreed is done by ``_core_deflate.pxi``.

- A field that breaks the grammar is None (the handshake is to fail, RFC 6455 9.1); nothing raises, whatever the text.
- An offer with a parameter that is unknown, comes twice, or has a value that it must not have is declined, and the next
  one is looked at; the first acceptable one is taken (RFC 7692 5). Without one the connection is not compressed.
- ``server_max_window_bits=8`` is declined: zlib cannot write raw deflate with so small a window.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TypeAlias

__all__ = ["Agreed", "Deflate", "Offer", "negotiate", "parse_offers"]

Offer: TypeAlias = tuple[str, tuple[tuple[str, str | None], ...]]  # a name, and parameters: name, value

_NAME = "permessage-deflate"
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of RFC 9110 5.6.2
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*({_TOKEN}|{_QUOTED}))?")
_START = re.compile(rf"({_TOKEN})")
_BETWEEN = re.compile(r"[ \t]*(?:,[ \t]*)+")
_BITS = re.compile(r"8|9|1[0-5]")  # RFC 7692 7.1.2: a decimal number without leading zeros
_LARGEST = 15
_RANGES = {
    "server_max_window_bits": (9, 15),
    "client_max_window_bits": (9, 15),
    "mem_level": (1, 9),
    "level": (-1, 9),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """What a server grants. A window is 2 to the power of its bits, in bytes; ValueError outside a range.

    - ``server_max_window_bits`` (9 to 15) and ``mem_level`` (1 to 9) bound zlib's memory for what is sent
    - ``client_max_window_bits`` (9 to 15) bounds it for what comes, where the client lets it be bounded (RFC 7692
      7.1.2.2); browsers do
    - ``level`` of compression, 0 to 9; -1: zlib's choice
    - ``server_no_context_takeover``, ``client_no_context_takeover``: each message for itself; larger, but an idle
      connection holds no memory of zlib's for that direction

    One connection costs by the defaults 39 KiB for sending once it has sent a compressed message, and 14 KiB (where its
    client does not let the window be bounded, 42 KiB) for receiving once it has received one.
    """

    server_max_window_bits: int = 12
    client_max_window_bits: int = 12
    mem_level: int = 5
    level: int = -1
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _RANGES:
                least, most = _RANGES[field.name]
                if type(value) is not int or not least <= value <= most:
                    raise ValueError(f"Deflate({field.name}={value!r}): give a whole number from {least} to {most}")
            elif not isinstance(value, bool):
                raise ValueError(f"Deflate({field.name}={value!r}): give True or False")

    @property
    def send_memory(self) -> int:
        """The most bytes that zlib holds for sending on one connection (zlib 1.2 and 1.3; zlib-ng takes more)."""
        return (1 << self.server_max_window_bits + 2) + (1 << self.mem_level + 9) + 7 * 1024

    @property
    def receive_memory(self) -> int:
        """The most bytes that zlib holds for receiving, where the client lets its window be bounded."""
        return (1 << self.client_max_window_bits) + 10 * 1024


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both sides do on one connection. ``header`` says so in the answer."""

    server_max_window_bits: int = _LARGEST
    client_max_window_bits: int = _LARGEST
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False

    @property
    def header(self) -> str:
        """The value of Sec-WebSocket-Extensions (RFC 7692 7.1)."""
        said = [_NAME]
        if self.server_no_context_takeover:
            said.append("server_no_context_takeover")
        if self.client_no_context_takeover:
            said.append("client_no_context_takeover")
        if self.server_max_window_bits < _LARGEST:
            said.append(f"server_max_window_bits={self.server_max_window_bits}")
        if self.client_max_window_bits < _LARGEST:
            said.append(f"client_max_window_bits={self.client_max_window_bits}")
        return "; ".join(said)


def negotiate(values: Iterable[str], options: Deflate) -> Agreed | None:
    """What is agreed on, for the values of all Sec-WebSocket-Extensions fields; None: no offer is acceptable.

    Never raises; a field that breaks the grammar has no offer.
    """
    for name, parameters in parse_offers(values) or ():
        offer = dict(parameters)
        if name == _NAME and len(offer) == len(parameters) and (agreed := _accept(offer, options)):
            return agreed
    return None


def _accept(offer: dict[str, str | None], options: Deflate) -> Agreed | None:
    server_bits = client_bits = _LARGEST
    for name, value in offer.items():
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return None
        elif name == "server_max_window_bits":
            if value is None or not _BITS.fullmatch(value) or value == "8":
                return None
            server_bits = int(value)
        elif name == "client_max_window_bits":
            if value is not None and not _BITS.fullmatch(value):
                return None
            client_bits = min(options.client_max_window_bits, int(value or _LARGEST))
        else:
            return None
    return Agreed(
        min(server_bits, options.server_max_window_bits),
        client_bits,  # not bounded unless the client says that it can be (RFC 7692 7.1.2.2)
        options.server_no_context_takeover or "server_no_context_takeover" in offer,
        options.client_no_context_takeover or "client_no_context_takeover" in offer,
    )


def parse_offers(values: Iterable[str]) -> list[Offer] | None:
    """The offers in the values of all Sec-WebSocket-Extensions fields, in order (RFC 6455 9.1); None: not the grammar.

    A list may have empty elements (RFC 9110 5.6.1.2). Names keep their case: they are compared as they are.
    """
    text = ", ".join(values)
    offers: list[Offer] = []
    at = _skip(_BETWEEN, text, len(text) - len(text.lstrip(" \t")))
    end = len(text.rstrip(" \t"))
    while at < end:
        start = _START.match(text, at)
        if start is None:
            return None
        at = start.end()
        parameters = []
        while found := _PARAMETER.match(text, at):
            value = _unquoted(found[2])
            if value is not None and not re.fullmatch(_TOKEN, value):
                return None
            parameters.append((found[1], value))
            at = found.end()
        offers.append((start[1], tuple(parameters)))
        if at < end:
            between = _BETWEEN.match(text, at)
            if between is None:
                return None
            at = between.end()
    return offers


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _unquoted(value: str | None) -> str | None:
    if value is None or value[0] != '"':
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1])
