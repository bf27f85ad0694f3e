"""Honest HTTPS clients, whose latency and success the stall benchmark measures.

near     one client without network delay, one request after the other: a new connection with its full handshake and
         one request; then a few requests on a connection that stays. Both are timed.
distant  clients at simulated round-trip times, each in a thread. A flight of the client leaves one round trip after the
         flight that it answers came: so a handshake stays unfinished on the server for as long as it would over such
         a network.

TLS is driven by hand over memory buffers: that is where a flight can wait, and the ClientHello is made before the
connection, so that it follows the TCP handshake at once. A client that is itself held up in between is silent for a
server, which may drop it when room is short: such failures are counted apart, as late.

Prints one JSON object. Errors are counted and the first few named; nothing is tried again.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run as a file
from bench import harness

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENCE = 10.0  # seconds that an honest client waits for anything
LATE = 0.001  # seconds from connect() to the ClientHello after which the client itself was held up
KEPT_PER_NEW = 5  # keep-alive requests after each new connection
FAILURES = 100  # after so many a client gives up


class LateError(OSError):
    """The connection failed, and its ClientHello had left late."""


class Client:
    """One TLS connection, handshake done but for the client's last flight, which leaves with the first request."""

    def __init__(self, port: int, source: str, context: ssl.SSLContext, round_trip: float = 0.0) -> None:
        self.round_trip = round_trip
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        hello = self.outgoing.read()
        self.wait()  # SYN and SYN-ACK
        began = time.perf_counter()
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
        late = False
        try:
            self.sock.sendall(hello)
            late = time.perf_counter() - began > LATE
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.handshake()
        except BaseException as error:
            self.sock.close()
            if late and isinstance(error, OSError):
                raise LateError(f"after a late ClientHello: {error}") from error
            raise

    def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self.flush()
                self.receive()

    def wait(self) -> None:
        if self.round_trip:
            time.sleep(self.round_trip)

    def flush(self) -> None:
        """Sends what TLS has written, as one flight."""
        if self.outgoing.pending:
            self.wait()
            self.sock.sendall(self.outgoing.read())

    def receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionResetError("the server closed")
        self.incoming.write(data)

    def ask(self) -> bool:
        """One request and its answer; True when the connection stays (RFC 9112 section 9.3: the server may end it)."""
        self.tls.write(REQUEST)
        self.flush()
        answer = b""
        while (need := harness.answer_length(answer)) is None or len(answer) < need:
            try:
                answer += self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.receive()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"not 200: {answer[:40]!r}")
        return b"\r\nconnection: close\r\n" not in answer.lower()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Failures:
    """What went wrong, counted; the late ones apart."""

    def __init__(self) -> None:
        self.failed = self.late = 0
        self.errors: list[str] = []

    def note(self, error: OSError) -> None:
        if isinstance(error, LateError):
            self.late += 1
        else:
            self.failed += 1
            self.errors = [*self.errors, repr(error)][:3]

    def too_many(self) -> bool:
        return self.failed + self.late >= FAILURES


def near(port: int, context: ssl.SSLContext, source: str, seconds: float) -> dict[str, Any]:
    """Latencies in microseconds: of a new connection from nothing to the last byte of the answer; of a request kept."""
    new: list[float] = []
    kept: list[float] = []
    failures = Failures()
    stays: Client | None = None
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end and not failures.too_many():
            try:
                began = time.perf_counter()
                with Client(port, source, context) as client:
                    client.ask()
                    new.append((time.perf_counter() - began) * 1e6)
                for _ in range(KEPT_PER_NEW):
                    if stays is None:
                        stays = Client(port, source, context)
                        stays.ask()
                    began = time.perf_counter()
                    lives = stays.ask()
                    kept.append((time.perf_counter() - began) * 1e6)
                    if not lives:
                        stays.close()
                        stays = None
            except OSError as error:
                failures.note(error)
                if stays is not None:
                    stays.close()
                    stays = None
    finally:
        if stays is not None:
            stays.close()
    return {"new_us": new, "kept_us": kept} | vars(failures)


def distant(
    port: int,
    context: ssl.SSLContext,
    round_trips: Sequence[float],
    each: int,
    addresses: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    """By round-trip time (ms, as text): clients that begin one request after the other until `seconds` are over."""
    results: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + seconds

    def run(place: dict[str, Any], failures: Failures, round_trip: float, source: str) -> None:
        while time.monotonic() < end and not failures.too_many():
            began = time.monotonic()
            try:
                with Client(port, source, context, round_trip) as client:
                    client.ask()
                place["served"] += 1
                place["seconds_max"] = max(place["seconds_max"], time.monotonic() - began)
            except OSError as error:
                failures.note(error)

    threads, runs = [], []
    places = itertools.cycle(addresses)
    for round_trip in round_trips:
        for _ in range(each):
            runs.append((round_trip, {"served": 0, "seconds_max": 0.0}, Failures()))
            _, place, failures = runs[-1]
            threads.append(threading.Thread(target=run, args=(place, failures, round_trip, next(places)), daemon=True))
            threads[-1].start()
    for thread in threads:
        thread.join(seconds + 10 * PATIENCE)
    for round_trip, place, failures in runs:
        empty = {"served": 0, "seconds_max": 0.0, "failed": 0, "late": 0, "errors": []}
        result = results.setdefault(f"{round_trip * 1000:g}", empty)
        result["served"] += place["served"]
        result["seconds_max"] = max(result["seconds_max"], place["seconds_max"])
        result["failed"] += failures.failed
        result["late"] += failures.late
        result["errors"] += failures.errors
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("near", "distant"))
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    parser.add_argument("--cert", type=Path, required=True, help="the only certificate that is trusted")
    parser.add_argument("--seconds", type=float, default=5.0, help="no request begins later")
    parser.add_argument("--round-trips", default="0.02,0.15,0.6", help="seconds, comma-separated")
    parser.add_argument("--each", type=int, default=4, help="distant clients per round-trip time")
    parser.add_argument("--own-addresses", action="store_true", help="each distant client from an address of its own")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    context = harness.client_context(args.cert)
    if args.kind == "near":
        result = near(args.port, context, "127.0.0.2", args.seconds)
    else:
        round_trips = [float(part) for part in args.round_trips.split(",")]
        own = [f"127.0.0.{10 + number}" for number in range(len(round_trips) * args.each)]
        addresses = own if args.own_addresses else ["127.0.0.2"]
        result = distant(args.port, context, round_trips, args.each, addresses, args.seconds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
