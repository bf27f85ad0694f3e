"""The scenarios by name, the slowest first."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.tls.faults.agent import Agent
from tests.tls.faults.client import MARKER, Script
from tests.tls.faults.making import Context, DevCertificate, DevPair, DevPairServes
from tests.tls.faults.scenario import LARGE, Scenario
from tests.tls.faults.serving import Renewal, Serving, asking
from tests.tls.faults.steps import Refusal, Steps
from web import TlsContext

Prepare = Callable[[Agent, Path], Scenario]
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def request(line: str, body: bytes = b"", extra: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\nX-Marker: {MARKER.decode()}\r\n{length}{extra}\r\n"
    return head.encode() + body


TWO = Script((request("GET /small"), request("GET /small")))
LAST = Script((request("GET /small", extra="Connection: close\r\n"),), "stay")
CUT = Script(TWO.requests, "cut")
STAY = Script(TWO.requests, "stay")
DOWNLOAD = Script((request("GET /large"),), sip=32768)
FILE = Script((request("GET /file"),), sip=32768)
UPLOAD = Script((request("POST /upload", LARGE),))

SCENARIOS: dict[str, Prepare] = {
    "steps, 1.3": partial(Steps, version=V13),
    "steps, 1.2": partial(Steps, version=V12),
    "slow download, 1.3": partial(Serving, script=DOWNLOAD, version=V13),
    "slow download, 1.2": partial(Serving, script=DOWNLOAD, version=V12),
    "ktls, slow download": partial(Serving, script=DOWNLOAD, version=V13, ktls=True),
    "file": partial(Serving, script=FILE, version=V13),
    "ktls, file": partial(Serving, script=FILE, version=V12, ktls=True, sendfile=True),
    "upload": partial(Serving, script=UPLOAD, version=V13),
    "requests, 1.2": partial(Serving, script=TWO, version=V12),
    "requests, 1.3": partial(Serving, script=TWO, version=V13),
    "resumed, 1.2": partial(Serving, script=TWO, version=V12, resumed=True),
    "resumed, 1.3": partial(Serving, script=TWO, version=V13, resumed=True),
    "ktls, requests": partial(Serving, script=TWO, version=V12, ktls=True),
    "drain": partial(Serving, script=STAY, version=V13, drains=True),
    "last answer": partial(Serving, script=LAST, version=V13),
    "client cuts off": partial(Serving, script=CUT, version=V13),
    "client certificate, 1.2": partial(Serving, script=TWO, version=V12, shows="good"),
    "client certificate, 1.3": partial(Serving, script=TWO, version=V13, shows="good"),
    "client certificate, resumed, 1.2": partial(Serving, script=TWO, version=V12, shows="good", resumed=True),
    "client certificate, resumed, 1.3": partial(Serving, script=TWO, version=V13, shows="good", resumed=True),
    "no client certificate": partial(Serving, script=LAST, version=V13, shows="", refused=True),
    "revoked client certificate": partial(Serving, script=LAST, version=V12, shows="revoked", refused=True),
    "stranger's client certificate": partial(Serving, script=LAST, version=V13, shows="stranger", refused=True),
    "key log": partial(Serving, script=LAST, version=V13, keylog=True),
    "renewal": partial(Renewal, script=Script((request("GET /small"),)), version=V13, resumed=True),
    "load": partial(Context, make=lambda folder: TlsContext(folder / "chain.pem", folder / "key.pem")),
    "load, encrypted key": partial(
        Context, make=lambda folder: TlsContext(folder / "chain.pem", folder / "locked.pem", password="pass phrase")
    ),
    "load, names and clients": partial(Context, make=asking),
    "refusal": Refusal,
    "refusal of a certificate": partial(Refusal, shows="stranger"),
    "development pair": DevPair,
    "development pair, looked at": DevPairServes,
    "dev_certificate": DevCertificate,
}
