"""How connections spread over two workers: bench/ways.py evenness.

Each connection asks once for the process that answers, and is kept open until all have asked. `one by one`: each opens
when the one before has its answer. `at once`: all are open, with their requests sent, before any worker may run.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter

from bench import harness
from bench.figures import Figure

CONNECTIONS = 1000
SHARE_MOST = 60.0  # per cent
REQUEST = b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n"

Shares = dict[str, list[float]]  # of the busier worker, in per cent, by round


def ask(stack: contextlib.ExitStack, port: int) -> socket.socket:
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
    connection.sendall(REQUEST)
    return connection


def answer(connection: socket.socket) -> int:
    """The process that answers."""
    return int(harness.read_answer(connection).rpartition(b"\r\n\r\n")[2])


def one_by_one(server: harness.Process, port: int) -> Counter[int]:
    with server.awake(), contextlib.ExitStack() as stack:
        return Counter(answer(ask(stack, port)) for _ in range(CONNECTIONS))


def at_once(server: harness.Process, port: int) -> Counter[int]:
    with contextlib.ExitStack() as stack:
        connections = [ask(stack, port) for _ in range(CONNECTIONS)]  # it stands still
        with server.awake():
            return Counter(map(answer, connections))


def measure(rounds: int, cores: harness.Cores, template: str | None) -> Shares:
    shares: Shares = {"one by one": [], "at once": []}
    with contextlib.ExitStack() as stack:
        port = harness.free_port()
        command = harness.app_command(port, harness.AppOptions(workers=2), template)
        server = harness.Process(stack, command, cores.usable)
        server.wait_ready(port)
        for _ in range(rounds):
            for how, count in (("one by one", one_by_one), ("at once", at_once)):
                busiest = count(server, port).most_common(1)[0][1]
                shares[how].append(100 * busiest / CONNECTIONS)
    return shares


def judge(shares: Shares) -> list[Figure]:
    return [
        Figure(f"{CONNECTIONS:,} connections {how}: % of the busier worker", values, SHARE_MOST, each=True)
        for how, values in shares.items()
    ]


def section(shares: Shares) -> str:
    rows = [(how, ", ".join(f"{value:.1f}" for value in values)) for how, values in shares.items()]
    return "### Evenness\n\n" + harness.table(
        (f"{CONNECTIONS:,} connections", "% of the busier worker, by round"), rows
    )
