"""One load against one server for some seconds: what was answered, and what CPU time that took of the server."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import harness
from bench.load.workloads import FILES, MIB, Workload

if TYPE_CHECKING:
    from collections.abc import Collection

SCRIPT = str(Path(__file__).with_name("load.lua"))
RESUMED_AT_LEAST = 0.9
SETTLE = 0.05  # seconds for the server to see that the load's connections have ended
ALIVE_AT_LEAST = 0.99  # of a crowd
CROWD_SECONDS = 60


class PeerError(Exception):
    """This server did not stand this workload; the message is the reason in the table."""


@dataclasses.dataclass(frozen=True)
class Sample:
    requests: int
    seconds: float
    cpu_seconds: float
    bytes: int = 0  # received by the load, heads too
    p50_us: float = float("nan")
    p99_us: float = float("nan")

    def cost(self, load: Workload) -> float:
        """CPU microseconds per request, or MB per second of CPU time."""
        return self.bytes / 1e6 / self.cpu_seconds if load.by_bytes else self.cpu_seconds / self.requests * 1e6

    def rate(self, load: Workload) -> float:
        """Requests, or MB, per second."""
        return (self.bytes / 1e6 if load.by_bytes else self.requests) / self.seconds


def one_answer(load: Workload, port: int, cert: Path) -> bytes:
    """The whole answer to the workload's request as it is on the wire (in TLS). PeerError: it is wrong."""
    try:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            if load.tls:
                context = harness.client_context(cert)
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
            head = f"{load.method} {load.path} HTTP/1.1\r\nHost: localhost\r\n"
            head += f"Content-Length: {load.upload}\r\n\r\n" if load.upload else "\r\n"
            connection.sendall(head.encode() + b"x" * load.upload)
            answer = harness.read_answer(connection)
    except OSError as error:
        raise PeerError(f"no answer to {load.method} {load.path}: {error}") from error
    lines = answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    if b" 200" not in lines[0]:
        raise PeerError(f"{load.method} {load.path}: {lines[0].decode('latin-1')}")
    if load.body is not None:
        if not answer.endswith(b"\r\n\r\n" + load.body):
            raise PeerError(f"{load.method} {load.path}: another body than {load.body!r}")
        if f"content-type: {load.kind}".encode() not in lines:
            raise PeerError(f"{load.method} {load.path}: another Content-Type than {load.kind}")
    return answer


def check_file(load: Workload, port: int, cert: Path) -> None:
    """PeerError when not all of the file comes. Some send files chunked: only the size is judged."""
    host = ("localhost", port)
    connection = (
        http.client.HTTPSConnection(*host, timeout=10, context=harness.client_context(cert))
        if load.tls
        else http.client.HTTPConnection(*host, timeout=10)
    )
    with contextlib.closing(connection):
        try:
            connection.request("GET", load.path)
            answer = connection.getresponse()
            size = 0
            while some := answer.read(MIB):
                size += len(some)
        except (OSError, http.client.HTTPException) as error:
            raise PeerError(f"no answer to GET {load.path}: {error}") from error
    wanted = FILES[load.path.rpartition("/")[2]]
    if answer.status != 200 or size != wanted:
        raise PeerError(f"GET {load.path}: status {answer.status}, {size} bytes instead of {wanted}")


def made_answer(load: Workload) -> bytes:
    """What the reference sends when ours is not there to be copied."""
    body = load.body or b""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {load.kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n\r\n" + body


def run(
    load: Workload, process: harness.Process, port: int, seconds: int, core: int | Collection[int], client: Path
) -> Sample:
    """PeerError: the load saw errors, or none of its requests was answered."""
    before = process.cpu_seconds()
    found = run_handshakes(load, port, seconds, core, client) if load.handshakes else run_wrk(load, port, seconds, core)
    time.sleep(SETTLE)
    if not process.running():
        raise PeerError(f"ended with status {process.popen.returncode}")
    return dataclasses.replace(found, cpu_seconds=process.cpu_seconds() - before)


def run_wrk(load: Workload, port: int, seconds: int, core: int | Collection[int]) -> Sample:
    url = f"{'https' if load.tls else 'http'}://127.0.0.1:{port}{load.path}"
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", SCRIPT, url]
    command += ["--", load.method, str(load.upload), str(load.depth)]
    counted = json.loads(of_load(command, seconds, core).strip().splitlines()[-1])
    errors = {name: counted[name] for name in ("connect", "read", "write", "status", "timeout") if counted[name]}
    if errors or not (counted["bytes"] if load.by_bytes else counted["requests"]):
        raise PeerError(
            "; ".join(f"{number} {name} errors" for name, number in errors.items()) or "no answer under load"
        )
    return Sample(counted["requests"], counted["seconds"], 0, counted["bytes"], counted["p50_us"], counted["p99_us"])


def run_handshakes(load: Workload, port: int, seconds: int, core: int | Collection[int], client: Path) -> Sample:
    resume = load.handshakes == "resumed"
    command = [str(client), "-p", str(port), "-d", str(seconds), *(["-s"] if resume else [])]
    counted = json.loads(of_load(command, seconds, core))
    done = int(counted["done"])
    if counted["failed"] or not done:
        raise PeerError(f"{counted['failed']} connections failed, {done} did not")
    if resume and counted["resumed"] < RESUMED_AT_LEAST * done:
        raise PeerError(f"{counted['resumed']} of {done} sessions were resumed")
    return Sample(done, float(counted["seconds"]), 0)


def of_load(command: list[str], seconds: int, core: int | Collection[int]) -> str:
    try:
        with contextlib.ExitStack() as stack:
            return harness.Process(stack, command, core).finish(seconds + 20)
    except harness.BenchError as error:
        raise PeerError(str(error)) from error


class Crowd:
    """Idle connections to one server, held by a process on the load's core (crowd.py). Opened when this returns."""

    def __init__(self, stack: contextlib.ExitStack, port: int, number: int, core: int) -> None:
        self.number = number
        command = [sys.executable, str(Path(__file__).with_name("crowd.py")), str(port), str(number)]
        self.process = harness.Process(stack, command, core, quiet=True)
        end = time.monotonic() + CROWD_SECONDS
        while "ready" not in self.process.text():
            if not self.process.running() or time.monotonic() > end:
                raise PeerError(self.process.text().strip() or f"{number} connections not opened in {CROWD_SECONDS} s")
            time.sleep(0.05)

    def check(self) -> None:
        """PeerError when the server has closed some of them."""
        self.process.popen.terminate()
        try:
            alive = json.loads(self.process.finish(10).splitlines()[-1])["alive"]
        except harness.BenchError as error:
            raise PeerError(str(error)) from error
        if alive < ALIVE_AT_LEAST * self.number:
            raise PeerError(f"kept {alive} of {self.number} idle connections")
