"""How a server ends that is told to while a hundred requests are under way: SIGTERM, 80 that finish, 20 that do not.

    python bench/drain.py

For each way to run a handler (async, threads), alone and with a worker: how many answers came whole, how many requests
the log named, and how long after the signal the program was gone. Status 1: not 80 and 20, or the end came later than
the grace and one second.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

GRACE = 2.0
LATEST = GRACE + 1.0
QUICK, LATE = 80, 20


def serve(way: str, workers: int) -> None:
    """The server under test: this script, started with --serve."""
    import asyncio

    import web

    gate, never, async_gate = threading.Event(), threading.Event(), asyncio.Event()

    async def quick(req: web.Request) -> str:
        await async_gate.wait()
        return "whole" * 1000

    async def late(req: web.Request) -> str:
        await asyncio.sleep(1000)
        return ""

    def quick_thread(req: web.Request) -> str:
        return "whole" * 1000 if gate.wait() else ""

    def late_thread(req: web.Request) -> str:
        return str(never.wait())

    def release(req: web.Request) -> str:
        gate.set()
        async_gate.set()  # on the event loop's thread, as a plain handler that does not block
        return "released"

    server = web.defserver(
        "127.0.0.1",
        0,
        web.GET("/quick", quick if way == "async" else quick_thread, blocking=None if way == "async" else True),
        web.GET("/late", late if way == "async" else late_thread, blocking=None if way == "async" else True),
        web.POST("/release", release, blocking=False),
        web.GET("/pending", lambda req: str(server.stats()["requests_pending"]), blocking=False),
        limits=web.Limits(shutdown_grace=GRACE),
        threads=100,
        workers=workers,
    )
    server.open()
    print(server.port, flush=True)
    server.run()


@dataclass
class Outcome:
    whole: int
    cut: int
    named: int
    status: int
    seconds: float  # from the signal to the end of the program

    @property
    def is_good(self) -> bool:
        return (self.whole, self.cut, self.named, self.status) == (QUICK, LATE, LATE, 0) and self.seconds <= LATEST


def measure(way: str, workers: int) -> Outcome:
    command = [sys.executable, __file__, "--serve", way, str(workers)]
    with ExitStack() as stack:
        child = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        assert child.stdout is not None
        assert child.stderr is not None
        port = int(child.stdout.readline())
        child.stderr.readline()  # Serving on
        socks = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(QUICK + LATE)]
        for number, sock in enumerate(socks):
            path = b"/quick" if number < QUICK else b"/late"
            sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        release = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        release.sendall(b"POST /release HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        while ask(port) < QUICK + LATE:
            pass
        child.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while is_open(port):
            pass
        release.sendall(b"x")
        answers = [read_all(sock) for sock in socks]
        _, log = child.communicate()
        return Outcome(
            whole=sum(answer.endswith(b"\r\n\r\n" + b"whole" * 1000) for answer in answers),
            cut=answers.count(b""),
            named=log.count("cuts off GET /late"),
            status=child.returncode,
            seconds=time.monotonic() - began,
        )


def ask(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/pending")
    answer = connection.getresponse().read()
    connection.close()
    return int(answer)


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def read_all(sock: socket.socket) -> bytes:
    data = bytearray()
    try:
        while part := sock.recv(65536):
            data += part
    except ConnectionResetError:
        data += b"(reset)"
    return bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", nargs=2, metavar=("WAY", "WORKERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve[0], int(arguments.serve[1]))
        return 0
    good = True
    print(f"grace {GRACE} s; answered whole, cut off, named in the log, exit status, seconds from signal to end")
    for way in ("async", "threads"):
        for workers in (0, 1):
            one = measure(way, workers)
            good = good and one.is_good
            print(f"{way:8} workers={workers}  {one.whole} {one.cut} {one.named} {one.status} {one.seconds:.2f}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
