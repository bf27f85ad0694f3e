"""The throw-away certificate for development: made by the linked OpenSSL, kept in a folder, replaced in time."""

import fcntl
import ipaddress
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from . import _core

__all__ = ["dev_certificate"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_DAYS = 90
SPARE_SECONDS = 24 * 3600  # a pair with less than a day to live is replaced, so that a day's work does not outlive it
DNS_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*", re.IGNORECASE)


def dev_certificate(
    folder: str | os.PathLike[str], names: Iterable[str] = LOOPBACK, *, days: int = 30
) -> tuple[str, str]:
    """Make a certificate for development, or find the one made before; returns the paths (certificate, key).

    names: DNS names and IP addresses for which it is valid; days: how long, at most 90. The folder is made when it is
    missing, readable by its owner only. The key is readable by its owner at no moment by anyone else. A pair that is
    damaged, readable by others, made for other names or within a day of its end is replaced.

    The certificate is signed by itself, so a client must be told to trust it: curl --cacert, ssl's cafile=.
    A server for others needs a real one; nothing here uses this one by itself.
    """
    hosts, addresses = sort_names(names)
    if not 1 < days <= MAX_DAYS:
        raise ValueError(f"days must be from 2 to {MAX_DAYS}, not {days}")
    place = Path(folder)
    if not place.exists():
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / ".gitignore").write_text("*\n")  # a key is no part of a project
    cert, key = place / "dev-cert.pem", place / "dev-key.pem"
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes that start together must not mix their pairs
        if not is_usable(cert, key, hosts, addresses):
            cert_pem, key_pem = _core.make_dev_pair(hosts, addresses, days)
            replace_file(key, key_pem, 0o600)
            replace_file(cert, cert_pem, 0o644)
    finally:
        os.close(lock)
    return str(cert), str(key)


def sort_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The DNS names and the IP addresses among names. ValueError for what is neither: it would be written as it is."""
    if isinstance(names, str):
        raise TypeError(f'names must be several names, as in ("{names}",)')
    hosts, addresses = [], []
    for name in names:
        try:
            addresses.append(str(ipaddress.ip_address(name)))
        except ValueError:
            if len(name) > 253 or not DNS_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is neither a DNS name nor an IP address") from None
            hosts.append(name)
    if not hosts and not addresses:
        raise ValueError("names must hold at least one name")
    return hosts, addresses


def is_usable(cert: Path, key: Path, hosts: list[str], addresses: list[str]) -> bool:
    try:
        facts = key.lstat()
        pem = cert.read_bytes()
        _core.TlsContext(cert, key).load()
    except (OSError, _core.CertificateError):
        return False
    owned = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o077
    return owned and _core.dev_pair_serves(pem, hosts, addresses, SPARE_SECONDS)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file under another name and move it into place: nobody sees half of it, nor any looser permissions."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
