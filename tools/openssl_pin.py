"""Reads tools/openssl.pin: which releases of OpenSSL are built here, and the SHA-256 of their archives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PIN = Path(__file__).with_name("openssl.pin")


class Pin(NamedTuple):
    version: str
    sha256: str

    @property
    def url(self) -> str:
        name = f"openssl-{self.version}"
        return f"https://github.com/openssl/openssl/releases/download/{name}/{name}.tar.gz"


def read_pins(text: str) -> dict[str, Pin]:
    """The pins by use; ValueError for a line that is none."""
    pins = {}
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        found = re.fullmatch(r"(\w+) (\d+\.\d+\.\d+) ([0-9a-f]{64})", line)
        if found is None or found[1] in pins:
            raise ValueError(f"{PIN.name}: {line!r} is not 'use version sha256', or the use stands there twice")
        pins[found[1]] = Pin(found[2], found[3])
    return pins


def wheel_pin() -> Pin:
    """The OpenSSL of the wheels that are published."""
    return read_pins(PIN.read_text(encoding="utf-8"))["wheel"]
