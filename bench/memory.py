"""Is memory bounded? Resident memory of the server under slow downloads and per idle connection.

  downloads   50 clients read a 100 MiB file over TLS at 256 KiB/s for 20 s and leave: growth at the peak under 16
              MiB in all
  idle plain  5,000 keep-alive connections after one request: under 2 KiB each
  idle TLS    the same over TLS: at most what OpenSSL's own heap takes in a bare C server
              (bench/reference/epoll_server.c, RELEASE_BUFFERS on, malloc's own count) in the same run, plus 1,500
              bytes
  silent      5,000 connections to the TLS port that never send a byte: under 1 KiB each
  sockets     10,000 WebSockets on a plain port, each after one message and its echo, with a handler of events and with
              an async one: under 4 KiB each

Bytes per connection are resident memory (smaps_rollup) with the connections minus without, after a small warm-up,
divided by their number. Memory of the kernel's sockets is not in it. Loopback only. Exit status 1 when a bound is
broken.

    python bench/memory.py [--quick] [--output FOLDER]        about 2 minutes
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run as a file
from bench import harness

SOCKET_APP = Path(__file__).resolve().parent / "load/apps/ws_ours.py"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
DOWNLOAD = b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n"
MIB = 2**20
DOWNLOADS_BOUND = 16 * MIB
PLAIN_BOUND = 512
TLS_EXTRA = 1500
SILENT_BOUND = 1024
SOCKET_BOUND = 4096
SOCKETS = {"events": ("plain",), "async": ("async",)}  # form of the handler -> arguments of ws_ours.py
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
HELLO = b"\x81\x85\0\0\0\0hello"  # a text frame, masked with zeros; its echo is not masked
RATE = 256 * 1024  # bytes per second and client
TICK = 0.1  # seconds
SETTLE = 1.0  # seconds between the last connection and the measurement

Connect = Callable[[int], socket.socket]


def plain_connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10)


def tls_connection(context: ssl.SSLContext) -> Connect:
    def connect(port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), 10)
        try:
            return context.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise

    return connect


def open_idle(stack: contextlib.ExitStack, connect: Connect, port: int, number: int, *, ask: bool) -> None:
    """Opens connections that the stack closes; with `ask` each has had one request answered."""
    for _ in range(number):
        connection = stack.enter_context(connect(port))
        if ask:
            connection.sendall(REQUEST)
            harness.read_answer(connection)


def settled(server: harness.Process) -> dict[str, int]:
    time.sleep(SETTLE)
    return harness.memory(server.pid)


def websocket(port: int) -> socket.socket:
    """Opened, and a message sent and received."""
    connection = plain_connection(port)
    try:
        connection.sendall(UPGRADE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        connection.sendall(HELLO)
        echo = connection.recv(7, socket.MSG_WAITALL)
    except BaseException:
        connection.close()
        raise
    if not head.startswith(b"HTTP/1.1 101") or echo != b"\x81\x05hello":
        connection.close()
        raise harness.BenchError(f"no WebSocket was opened: {head[:60]!r} {echo!r}")
    return connection


def warm_up(connect: Connect, port: int) -> None:
    with contextlib.ExitStack() as stack:
        open_idle(stack, connect, port, 20, ask=True)


def idle_cost(
    server: harness.Process, port: int, connect: Connect, number: int, *, ask: bool = True
) -> dict[str, float]:
    """Bytes per connection, by resident and by anonymous memory, of a server that is warm."""
    before, fds = settled(server), harness.fd_count(server.pid)
    with contextlib.ExitStack() as stack:
        open_idle(stack, connect, port, number, ask=ask)
        after = settled(server)
        held = harness.fd_count(server.pid) - fds
        if held < number:
            raise harness.BenchError(
                f"{server.command} holds only {held} of {number} connections: is a limit in the way?"
            )
    return {kind: (after[kind] - before[kind]) / number for kind in ("rss", "anonymous")}


def heap_of(server: harness.Process) -> int:
    """What malloc has handed out in the reference server, in bytes."""
    seen = server.text().count("heap ")
    os.kill(server.pid, signal.SIGUSR1)
    last = time.monotonic() + 5
    while time.monotonic() < last:
        lines = [line for line in server.text().splitlines(keepends=True) if line.endswith("\n")]
        if len(lines) > seen:
            return int(lines[-1].split()[1])
        time.sleep(0.02)
    raise harness.BenchError("the reference server did not report its heap")


def reference_cost(server: harness.Process, port: int, connect: Connect, number: int) -> dict[str, float]:
    """As idle_cost, for the C server, with malloc's own count."""
    before, heap = settled(server), heap_of(server)
    with contextlib.ExitStack() as stack:
        open_idle(stack, connect, port, number, ask=True)
        after, heap_after = settled(server), heap_of(server)
    return {"rss": (after["rss"] - before["rss"]) / number, "heap": (heap_after - heap) / number}


def slow_connection(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """A client with a small receive buffer, so that what it does not read stays with the server."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", port))
        return context.wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise


def downloads(
    server: harness.Process, port: int, context: ssl.SSLContext, clients: int, seconds: float
) -> dict[str, Any]:
    """Growth of resident memory at its peak, and what the clients got, in bytes."""
    with slow_connection(context, port) as first:  # a warm-up
        first.sendall(DOWNLOAD)
        head = first.recv(16384)
        if not head.startswith(b"HTTP/1.1 200") or harness.answer_length(head) is None:
            raise harness.BenchError(f"GET /file was not answered by a file: {head[:60]!r}")
        for _ in range(64):
            first.recv(16384)
    before = peak = settled(server)["rss"]
    received = dict.fromkeys(range(clients), 0)
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(clients):
            connections.append(stack.enter_context(slow_connection(context, port)))
            connections[-1].sendall(DOWNLOAD)
            connections[-1].setblocking(False)
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            allowed = int(now * RATE)
            for number, connection in enumerate(connections):
                while received[number] < allowed:
                    try:
                        data = connection.recv(16384)
                    except (ssl.SSLWantReadError, BlockingIOError):
                        break
                    if not data:
                        raise harness.BenchError(f"the server ended a download after {received[number]} bytes")
                    received[number] += len(data)
            peak = max(peak, harness.memory(server.pid)["rss"])
            time.sleep(TICK)
    after = settled(server)["rss"]
    return {
        "clients": clients, "seconds": seconds, "growth": peak - before, "left_after": after - before,
        "received_min": min(received.values()), "received_max": max(received.values()),
    }  # fmt: skip


class Bench:
    """Starts each server, measures, keeps the results."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.cores = harness.take_cores()
        self.cert, self.key = harness.certificate(folder)
        self.reference = harness.compile_reference("epoll_server.c", folder, tls=True)
        self.context = harness.client_context(self.cert)

    def ours(self, stack: contextlib.ExitStack, *, tls: bool, file: Path | None = None) -> tuple[harness.Process, int]:
        port, room = harness.free_port(), 2 * self.args.connections + 100
        options = harness.AppOptions(
            cert=self.cert if tls else None, key=self.key if tls else None, file=file,
            handshake_timeout=300, handshakes=room, connections=room, idle_timeout=300,
        )  # fmt: skip
        template = self.args.ours_command_tls if tls else self.args.ours_command
        server = harness.Process(stack, harness.app_command(port, options, template), self.cores.server)
        server.wait_ready(port)
        return server, port

    def measure_downloads(self) -> dict[str, Any]:
        file = self.folder / "100MiB"
        with file.open("wb") as f:
            f.truncate(100 * MIB)
        with contextlib.ExitStack() as stack:
            server, port = self.ours(stack, tls=True, file=file)
            clients, seconds = (10, 3.0) if self.args.quick else (50, 20.0)
            return downloads(server, port, self.context, clients, seconds)

    def measure_idle(self) -> dict[str, Any]:
        number, results = self.args.connections, {}
        over_tls = tls_connection(self.context)
        with contextlib.ExitStack() as stack:
            server, port = self.ours(stack, tls=False)
            warm_up(plain_connection, port)
            results["plain"] = idle_cost(server, port, plain_connection, number)
        with contextlib.ExitStack() as stack:
            server, port = self.ours(stack, tls=True)
            warm_up(over_tls, port)
            results["tls"] = idle_cost(server, port, over_tls, number)
        with contextlib.ExitStack() as stack:
            port = harness.free_port()
            command = [str(self.reference), "-p", str(port), "-c", str(self.cert), "-k", str(self.key), "-r"]
            bare = harness.Process(stack, command, self.cores.server)
            bare.wait_ready(port)
            warm_up(over_tls, port)
            results["reference_tls"] = reference_cost(bare, port, over_tls, number)
        with contextlib.ExitStack() as stack:
            server, port = self.ours(stack, tls=True)
            warm_up(over_tls, port)
            results["silent"] = idle_cost(server, port, plain_connection, number, ask=False)
        return results

    def measure_sockets(self) -> dict[str, Any]:
        number, results = self.args.sockets, {}
        for form, arguments in SOCKETS.items():
            with contextlib.ExitStack() as stack:
                port = harness.free_port()
                command = [sys.executable, str(SOCKET_APP), str(port), *arguments]
                server = harness.Process(stack, command, self.cores.server)
                server.wait_ready(port)
                for _ in range(20):
                    websocket(port).close()
                results[form] = idle_cost(server, port, websocket, number, ask=False)
        return results


def judge(down: dict[str, Any], idle: dict[str, Any], sockets: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(what, measured bytes, its bound) of the parts that were measured."""
    found: list[tuple[str, float, float]] = []
    if down:
        found.append((f"{down['clients']} slow downloads over TLS, growth in all", down["growth"], DOWNLOADS_BOUND))
    if idle:
        found += idle_judged(idle)
    for form, cost in sockets.items():
        found.append((f"idle WebSocket, plain, handler: {form}", cost["rss"], SOCKET_BOUND))
    return found


def idle_judged(idle: dict[str, Any]) -> list[tuple[str, float, float]]:
    return [
        ("idle keep-alive connection, plain", idle["plain"]["rss"], PLAIN_BOUND),
        ("idle keep-alive connection, TLS", idle["tls"]["rss"], idle["reference_tls"]["heap"] + TLS_EXTRA),
        ("silent client on the TLS port", idle["silent"]["rss"], SILENT_BOUND),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500 connections, 10 downloads of 3 s, nothing judged")
    parser.add_argument("--connections", type=int, help="idle connections (5,000)")
    parser.add_argument("--sockets", type=int, help="idle WebSockets (10,000)")
    parser.add_argument("--part", choices=("downloads", "idle", "sockets"), help="only this one")
    parser.add_argument("--output", type=Path, help="a folder for memory.json and memory.md")
    parser.add_argument("--ours-command", help="another plain server in our place: a command with {port}")
    parser.add_argument("--ours-command-tls", help="another TLS server in our place: {port} {cert} {key} {file}")
    args = parser.parse_args()
    args.connections = args.connections or (500 if args.quick else 5000)
    args.sockets = args.sockets or (500 if args.quick else 10_000)
    harness.ends_on_sigterm()
    harness.raise_fd_limit(max(args.connections, args.sockets) + 1000)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(args, Path(name))
        down = bench.measure_downloads() if args.part in {None, "downloads"} else {}
        idle = bench.measure_idle() if args.part in {None, "idle"} else {}
        sockets = bench.measure_sockets() if args.part in {None, "sockets"} else {}
    judged = judge(down, idle, sockets)
    rows = [
        (what, f"{measured:,.0f}", f"{bound:,.0f}", "yes" if measured <= bound else "**no**")
        for what, measured, bound in judged
    ]
    where = harness.machine()
    notes = []
    if idle:
        bare = idle["reference_tls"]
        notes.append(
            f"Bare C server, idle TLS connection: {bare['heap']:,.0f} bytes of heap, {bare['rss']:,.0f} resident."
        )
    if down:
        notes.append(
            f"Each download got {down['received_min'] / MIB:.1f} to {down['received_max'] / MIB:.1f} MiB "
            f"in {down['seconds']:g} s."
        )
    about = f"{harness.describe(where)}; {args.connections:,} idle connections, {args.sockets:,} WebSockets."
    markdown = "\n\n".join((about, harness.table(("what", "bytes", "bound", "within"), rows), " ".join(notes)))
    harness.report(
        "memory", {"machine": where, "downloads": down, "idle": idle, "sockets": sockets}, markdown, args.output
    )
    if not args.quick and any(measured > bound for _, measured, bound in judged):
        sys.exit("bench/memory.py: a bound is broken, see the last column")


if __name__ == "__main__":
    try:
        main()
    except (harness.BenchError, OSError) as error:
        sys.exit(f"bench/memory.py: {error}")
