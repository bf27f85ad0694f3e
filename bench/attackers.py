"""Clients that stall TLS handshakes: some send nothing, some send a ClientHello one byte a second.

One epoll loop, bounded in number and time. A connection is open until the server ends it; then its age is recorded
and, while the attack lasts and --reconnect is given, it is opened again at once. After the attack the loop waits
until the server has closed every connection, at most --drain seconds. Runs at SCHED_IDLE: it shares its core with
the honest clients, and their latency is what is measured, so only time that they leave goes to the attack.

Prints one JSON object: what was opened, refused and closed, and the ages (s) at which the server closed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import select
import signal
import socket
import ssl
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run as a file
from typing import TYPE_CHECKING

from bench import harness

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTE_INTERVAL = 1.0  # seconds between two bytes of a slow ClientHello


@dataclasses.dataclass
class Attacker:
    """One place in the attack; `sock` is None while it is not connected."""

    source: str
    slow: bool
    sock: socket.socket | None = None
    opened: float = 0.0
    sent: int = 0


@dataclasses.dataclass
class Ages:
    """What became of the connections; ages in seconds from before connect() to when the server's close was seen."""

    opened: int = 0
    refused: int = 0
    closed: int = 0
    early: int = 0  # closed well before the deadline: to make room
    oldest_early: float = 0.0
    at_deadline: int = 0
    deadline_min: float | None = None
    deadline_max: float | None = None
    answered: int = 0  # the server sent bytes (an alert) first
    left: int = 0  # still open when the drain ended

    def note(self, age: float, deadline: float) -> None:
        self.closed += 1
        if age < 0.9 * deadline:
            self.early += 1
            self.oldest_early = max(self.oldest_early, age)
        else:
            self.at_deadline += 1
            self.deadline_min = age if self.deadline_min is None else min(self.deadline_min, age)
            self.deadline_max = age if self.deadline_max is None else max(self.deadline_max, age)


def client_hello() -> bytes:
    """A real ClientHello (RFC 8446 section 4.1.2) as one TLS record."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def sources(many: bool) -> Iterator[str]:
    """127.0.0.1 for ever, or addresses that differ: 127.1.0.1, 127.1.0.2, ... (at most 62,500)."""
    if not many:
        while True:
            yield "127.0.0.1"
    for number in range(62_500):
        yield f"127.1.{number // 250}.{number % 250 + 1}"


class Attack:
    """The loop. Owns every socket; `by_fd` and `epoll` hold exactly the connected ones."""

    def __init__(self, port: int, silent: int, slow: int, many: bool, deadline: float) -> None:
        addresses = sources(many)
        self.places = [Attacker(next(addresses), number >= silent) for number in range(silent + slow)]
        self.slow = collections.deque(place for place in self.places if place.slow)
        self.port = port
        self.deadline = deadline
        self.hello = client_hello()
        self.epoll = select.epoll()
        self.by_fd: dict[int, Attacker] = {}
        self.ages = Ages()

    def connect(self, place: Attacker) -> None:
        opened = time.monotonic()
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.bind((place.source, 0))
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", self.port))
        except OSError:
            sock.close()
            self.ages.refused += 1
            return
        place.sock, place.opened, place.sent = sock, opened, 0
        self.by_fd[sock.fileno()] = place
        self.epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        self.ages.opened += 1

    def closed_by_server(self, place: Attacker) -> bool:
        """Reads what there is; True when the server has ended the connection (which is then forgotten)."""
        assert place.sock is not None
        try:
            while data := place.sock.recv(4096):
                self.ages.answered += bool(data)
        except BlockingIOError:
            return False
        except OSError:
            pass
        self.forget(place)
        self.ages.note(time.monotonic() - place.opened, self.deadline)
        return True

    def forget(self, place: Attacker) -> None:
        assert place.sock is not None
        self.epoll.unregister(place.sock.fileno())
        del self.by_fd[place.sock.fileno()]
        place.sock.close()
        place.sock = None

    def drip(self, slots: int) -> None:
        """One more byte from each of the next `slots` slow places."""
        for place in [self.slow[number] for number in range(slots)]:
            self.slow.rotate(-1)
            if place.sock is not None and place.sent < len(self.hello) - 1:
                with contextlib.suppress(OSError):  # a dead connection is told by epoll
                    place.sent += place.sock.send(self.hello[place.sent : place.sent + 1])

    def run(self, seconds: float, drain: float, reconnect: bool) -> None:
        start = time.monotonic()
        last = start + seconds + drain
        for place in self.places:
            self.connect(place)
        per_second = len(self.slow) / BYTE_INTERVAL
        dripped = 0
        while (now := time.monotonic()) < last and (self.by_fd or now < start + seconds):
            due = int((now - start) * per_second) - dripped
            if due > 0:
                self.drip(min(due, len(self.slow)))
                dripped += due
            for fd, _ in self.epoll.poll(1 / per_second if per_second else 0.1, 256):
                place = self.by_fd[fd]
                if self.closed_by_server(place) and reconnect and now < start + seconds:
                    self.connect(place)
        self.ages.left = len(self.by_fd)

    def close(self) -> None:
        for place in list(self.by_fd.values()):
            self.forget(place)
        self.epoll.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    parser.add_argument("--silent", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the attack lasts")
    parser.add_argument("--drain", type=float, default=15.0, help="how long it then waits for the server to close")
    parser.add_argument("--deadline", type=float, default=10.0, help="the server's handshake time-out, s")
    parser.add_argument("--reconnect", action="store_true")
    parser.add_argument("--many-addresses", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    harness.yield_core()
    attack = Attack(args.port, args.silent, args.slow, args.many_addresses, args.deadline)
    try:
        attack.run(args.seconds, args.drain, args.reconnect)
        print(json.dumps(dataclasses.asdict(attack.ages)))
    finally:
        attack.close()


if __name__ == "__main__":
    main()
