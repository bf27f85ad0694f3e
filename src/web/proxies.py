"""``Proxies``: who may speak for clients (``Server(proxies=...)``), and in which words. Checked here, when it is made.

There are two ways in which they speak, each of which must be asked for: header fields of one family (``fields=``), and
the PROXY protocol on listeners that require it (``proxy_protocol=True``). One family, because a proxy that sets the
fields of one passes those of the other on as the client wrote them: who believes both believes the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from web._core import Networks, read_ip
from web.forwarded import FORWARDED, X_FORWARDED, Origin, by_forwarded, by_x_forwarded
from web.sockets import Address

__all__ = ["Proxies", "check_use", "networks_of"]

_FAMILIES = {"forwarded": (FORWARDED, by_forwarded), "x-forwarded": (X_FORWARDED, by_x_forwarded)}


class Proxies:
    """``Proxies("127.0.0.1", "10.0.0.0/8", "unix", fields="x-forwarded")``: trust these networks.

    ``networks``: addresses, blocks of them, and ``"unix"`` for whoever connects to a Unix socket of this server.
    ``fields``: which header fields are believed, ``"x-forwarded"`` (-For, -Proto) or ``"forwarded"`` (RFC 7239); None:
    none. ``host``: whether these may also name the host (X-Forwarded-Host and -Port; ``host=`` of Forwarded).
    ValueError, TypeError: what is wrong with them.
    """

    __slots__ = ("_by", "_has_blocks", "_text", "names", "networks")

    def __init__(
        self, *networks: str, fields: Literal["x-forwarded", "forwarded"] | None = None, host: bool = False
    ) -> None:
        if not networks:
            raise ValueError('Proxies(): nobody is trusted; name networks, like "127.0.0.1", "10.0.0.0/8" or "unix"')
        if fields is not None and fields not in _FAMILIES:
            raise ValueError(f"Proxies(fields={fields!r}): give 'x-forwarded', 'forwarded', or None for no fields")
        if not isinstance(host, bool):
            raise TypeError(f"Proxies(host={host!r}): True or False is needed")
        if host and fields is None:
            raise ValueError("Proxies(host=True): a field names the host; say which are read by fields=")
        blocks = [_block(one) for one in networks if one != "unix"]
        self._text = ", ".join(repr(one) for one in networks)
        if fields is not None:
            self._text += f", fields={fields!r}" + (", host=True" if host else "")
        self._has_blocks = bool(blocks)
        self.networks = Networks(blocks, unix="unix" in networks)
        self.names: frozenset[str] = frozenset() if fields is None else _FAMILIES[fields][0]
        self._by = None if fields is None else (_FAMILIES[fields][1], host)

    def origin(self, direct: Origin, fields: Mapping[str, str]) -> Origin:
        """Who asked, by the fields of a request that a trusted proxy has sent."""
        assert self._by is not None  # else no Dispatcher has it
        by, host = self._by
        return by(fields, Origin(*direct), self.networks.hold, host=host)

    @property
    def reads_fields(self) -> bool:
        """Whether header fields are believed."""
        return self._by is not None

    def can_reach(self, address: Address) -> bool:
        """Whether one of them could connect to what is listened on."""
        if address.unix_path is not None:
            return self.networks.unix
        return self._has_blocks or address.host.startswith("fd:")

    def __repr__(self) -> str:
        return f"Proxies({self._text})"


def networks_of(proxies: Proxies | None, address: Address, proxy_protocol: bool) -> Networks | None:
    """Who may connect to an address by the PROXY protocol; None: it is not spoken there. ValueError: nobody could."""
    if not isinstance(proxy_protocol, bool):
        raise TypeError(f"proxy_protocol: True or False is needed, not {type(proxy_protocol).__name__}")
    if not proxy_protocol:
        return None
    if proxies is None:
        raise ValueError(
            "proxy_protocol=True: whose PROXY headers are believed? Give Server(proxies=web.Proxies(...)) too"
        )
    if not proxies.can_reach(address):
        raise ValueError(
            f"proxy_protocol=True on {address.host!r}: none of {proxies!r} could connect; name their networks, or "
            '"unix"'
        )
    return proxies.networks


def check_use(proxies: Proxies | None, places: Iterable[tuple[Address, bool]]) -> None:
    """ValueError: proxies that would change nothing. ``places``: addresses, and whether the PROXY protocol is spoken
    there."""
    if proxies is None:
        return
    listened = list(places)
    if not proxies.reads_fields:
        if not any(by_protocol for _, by_protocol in listened):
            raise ValueError(
                f"{proxies!r} says nothing: give it fields='x-forwarded' or 'forwarded', or the Server "
                "proxy_protocol=True"
            )
    elif not any(proxies.can_reach(address) for address, _ in listened):
        raise ValueError(
            f"{proxies!r}: none of them could connect to {', '.join(address.host for address, _ in listened)}; name "
            'their networks, or "unix"'
        )


def _block(text: object) -> tuple[bytes, int]:
    """An address or a block of them (RFC 4632 3.1): its bytes, and how many of their bits count."""
    if not isinstance(text, str):
        raise TypeError(f"Proxies(...): {text!r}: text is needed, like '10.0.0.0/8'")
    what = f"Proxies({text!r})"
    written, slash, bits = text.partition("/")
    found = read_ip(written)
    if found is None:
        raise ValueError(f"{what}: no address; write '192.0.2.1', '10.0.0.0/8', '2001:db8::/32' or 'unix'")
    ip = found[1]
    if ":" in written and len(ip) == 4:
        raise ValueError(f"{what}: this is an IPv4 address, and peers that have one count as such: write {found[0]!r}")
    if not slash:
        return ip, 8 * len(ip)
    if not (bits.isascii() and bits.isdecimal()) or int(bits) > 8 * len(ip):
        raise ValueError(f"{what}: behind the slash stands how many bits count, 1 to {8 * len(ip)}")
    prefix = int(bits)
    if prefix == 0:
        raise ValueError(f"{what}: everybody would be trusted, and could be anybody; name the proxies' own networks")
    host_bits = int.from_bytes(ip, "big") & ((1 << (8 * len(ip) - prefix)) - 1)
    if host_bits:
        raise ValueError(
            f"{what}: bits behind the first {prefix} are set; write the block's first address, or {written!r} alone"
        )
    return ip, prefix
