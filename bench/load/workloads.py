"""What is asked of the servers, and the letter that each question has in the tables."""

from __future__ import annotations

import dataclasses
import json

KIB, MIB = 1024, 1024 * 1024
FILES = {"1k.bin": KIB, "1m.bin": MIB, "100m.bin": 100 * MIB}
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
OBJECT = json.dumps({"id": 42, "name": "Ada Lovelace", "tags": ["engine", "notes"]}, separators=(",", ":")).encode()
BASE, HOOKED, CROWDED = "base", "hooked", "crowded"


@dataclasses.dataclass(frozen=True)
class Workload:
    """One load. Those with the same `setting` (how servers are started) and `tls` share servers."""

    letter: str
    name: str
    title: str
    path: str = "/"
    body: bytes | None = b"Hello, World!"  # of the answer; None: a file
    kind: str = TEXT
    tls: bool = False
    setting: str = BASE
    method: str = "GET"
    upload: int = 0  # bytes of the request's body
    depth: int = 1  # requests in one write
    connections: int = 64
    crowd: int = 0  # idle connections beside the busy ones
    handshakes: str = ""  # "full" or "resumed": each request has its own connection
    by_bytes: bool = False  # judged by bytes per second of CPU time, not by CPU time per request


def _static(title: str, name: str, connections: int, *, tls: bool) -> Workload:
    return Workload(
        "G",
        f"G-{name.removesuffix('.bin')}{'-tls' if tls else ''}",
        f"static file, {title}, {'over TLS' if tls else 'plain'}",
        f"/static/{name}",
        None,
        tls=tls,
        connections=connections,
        by_bytes=FILES[name] > KIB,
    )


WORKLOADS = (
    Workload("A", "A", "plain keep-alive, 64 connections"),
    Workload("B", "B", "pipelined 16 deep, 64 connections", depth=16),
    Workload("C", "C", "path parameter", "/users/42", b"42"),
    Workload("D", "D", "JSON", "/json", OBJECT, JSON),
    _static("1 KiB", "1k.bin", 64, tls=False),
    _static("1 MiB", "1m.bin", 16, tls=False),
    _static("100 MiB", "100m.bin", 4, tls=False),
    Workload("K", "K-1k", "POST of 1 KiB", "/upload", b"1024", method="POST", upload=KIB),
    Workload("K", "K-1m", "POST of 1 MiB", "/upload", b"1048576", method="POST", upload=MIB, connections=16),
    Workload("E", "E", "TLS keep-alive, 64 connections", tls=True),
    Workload("F", "F-full", "full TLS 1.3 handshake, request, close", tls=True, handshakes="full"),
    Workload("F", "F-resumed", "resumed TLS 1.3 handshake, request, close", tls=True, handshakes="resumed"),
    _static("1 KiB", "1k.bin", 64, tls=True),
    _static("1 MiB", "1m.bin", 16, tls=True),
    _static("100 MiB", "100m.bin", 4, tls=True),
    Workload("J", "J", "100 routes and 10 hooks", setting=HOOKED),
    Workload("L", "L", "10,000 connections, 64 of them busy", setting=CROWDED, crowd=9936),
)
LETTERS = "".join(sorted({load.letter for load in WORKLOADS}))
