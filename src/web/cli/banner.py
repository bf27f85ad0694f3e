"""What is said once a server serves: where, in how many processes, under which certificates, and of which versions.

Colours only on a terminal, and not where NO_COLOR is set (no-color.org).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

import web
from web._core import Certificate
from web.certificate_watch import last_mark, name_of
from web.server import Server, one_line

__all__ = ["banner", "colour", "expiry", "versions"]

_VERSIONS = {"intermediate": "TLS 1.2 and 1.3", "modern": "TLS 1.3"}  # of a policy
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "bold": 1}
_HURRY = 7  # the mark, days before its end, from which a certificate is urgent


def colour(name: str, text: str, stream: TextIO | None = None) -> str:
    """The text as a terminal shows it in a colour, or bold; as it is where ``stream`` (stderr) is none."""
    stream = stream or sys.stderr
    if stream is None or not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{_COLOURS[name]}m{text}\033[0m"


def versions() -> str:
    """Of weblatch, Python and OpenSSL."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"weblatch {web.__version__}, Python {python}, {web.openssl_version()}"


def banner(server: Server, workers: int) -> str:
    """The lines. ``workers`` 0: it serves in this process."""
    lines = [colour("bold", one_line(server, workers)), *_of_certificates(server), versions()]
    return "\n  ".join(lines)


def _of_certificates(server: Server) -> Iterator[str]:
    for context in server._listeners.contexts:
        for certificate in context.certificates:  # those of names= are among them
            yield f"{_VERSIONS[context.policy]}, certificate {expiry(certificate)}"


def expiry(certificate: Certificate, stream: TextIO | None = None) -> str:
    """``"for localhost, valid until 2026-12-24 (28 days)"``; ``stream``: where it is shown, as for ``colour``."""
    days = (certificate.not_after - datetime.now(UTC)).days
    mark = last_mark(certificate)
    when = f"valid until {certificate.not_after:%Y-%m-%d} ({days} days)"
    if mark is not None:
        when = colour("red" if mark <= _HURRY else "yellow", when, stream)
    return f"for {name_of(certificate)}, {when}"
