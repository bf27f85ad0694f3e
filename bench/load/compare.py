"""Ours against the C reference server: server CPU microseconds per request and requests/s, in interleaved pairs.

Both servers run on one core at the same time, one of them idle; the load runs on another core. A pair is ours, then
the reference, under the same load; a workload's figure is the median of its pairs' ratios. The reference sends
exactly the bytes that ours sends. CPU time is user + system of the server's process, from /proc/PID/stat (10 ms
steps).

    python bench/load/compare.py [--pairs 5] [--seconds 3] [--workloads plain,pipelined,tls,handshakes,resumed]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import socket
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also when run as a file
from bench import harness

if TYPE_CHECKING:
    from collections.abc import Sequence

PIPELINE = str(Path(__file__).with_name("pipeline.lua"))
RESUMED_AT_LEAST = 0.9


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    title: str
    tls: bool
    wrk: tuple[str, ...] | None  # wrk's own options, then what goes after the URL; None: tls_client makes the load
    after_url: tuple[str, ...] = ()
    resume: bool = False


WORKLOADS = (
    Workload("plain", "A plain keep-alive, 64 connections", False, ("-c64",)),
    Workload("pipelined", "B pipelined 16 deep, 64 connections", False, ("-c64", "-s", PIPELINE), ("--", "16")),
    Workload("tls", "E TLS keep-alive, 64 connections", True, ("-c64",)),
    Workload("handshakes", "F full TLS 1.3 handshake, request, close", True, None),
    Workload("resumed", "F resumed TLS 1.3 handshake, request, close", True, None, resume=True),
)


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run of one load against one server."""

    requests: int
    seconds: float
    cpu_us: float  # server CPU microseconds per request

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


@dataclasses.dataclass(frozen=True)
class Target:
    name: str
    process: harness.Process
    port: int


def fetch(port: int, cert: Path | None) -> bytes:
    """The answer to GET /, as it is on the wire (under TLS: inside it)."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        if cert is not None:
            connection = stack.enter_context(
                harness.client_context(cert).wrap_socket(connection, server_hostname="localhost")
            )
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return harness.read_answer(connection)


def run_wrk(load: Workload, target: Target, seconds: float, core: int) -> tuple[int, float]:
    """Requests answered and seconds taken. A socket error or an answer that is not 2xx ends the benchmark."""
    assert load.wrk is not None
    url = f"{'https' if load.tls else 'http'}://127.0.0.1:{target.port}/"
    command = ["wrk", "-t1", f"-d{seconds:g}s", *load.wrk, url, *load.after_url]
    with contextlib.ExitStack() as stack:
        out = harness.Process(stack, command, core).finish(seconds + 30)
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", out)
    wrong = re.search(r"(Socket errors|Non-2xx).*", out)
    if found is None or wrong is not None or int(found[1]) == 0:
        raise harness.BenchError(f"{load.title}, {target.name}: {wrong[0] if wrong else out}")
    return int(found[1]), float(found[2]) * {"ms": 0.001, "s": 1, "m": 60}[found[3]]


def run_handshakes(load: Workload, target: Target, seconds: float, core: int, client: Path) -> tuple[int, float]:
    command = [str(client), "-p", str(target.port), "-d", str(seconds), *(["-s"] if load.resume else [])]
    with contextlib.ExitStack() as stack:
        result = harness.Process(stack, command, core).result(seconds + 30)
    done = int(result["done"])
    if result["failed"] or not done:
        raise harness.BenchError(f"{load.title}, {target.name}: {result['failed']} connections failed, {done} did not")
    if load.resume and result["resumed"] < RESUMED_AT_LEAST * done:
        raise harness.BenchError(
            f"{load.title}, {target.name}: only {result['resumed']} of {done} sessions were resumed"
        )
    return done, float(result["seconds"])


def measure(load: Workload, target: Target, seconds: float, core: int, client: Path) -> Sample:
    before = harness.cpu_seconds(target.process.pid)
    if load.wrk is None:
        requests, took = run_handshakes(load, target, seconds, core, client)
    else:
        requests, took = run_wrk(load, target, seconds, core)
    used = harness.cpu_seconds(target.process.pid) - before
    return Sample(requests, took, used / requests * 1e6)


def compare(load: Workload, args: argparse.Namespace, folder: Path, cores: harness.Cores) -> dict[str, Any]:
    """Starts both servers, warms each, measures `args.pairs` pairs."""
    with contextlib.ExitStack() as stack:
        cert, key = (folder / "cert.pem", folder / "key.pem") if load.tls else (None, None)
        options = harness.AppOptions(cert=cert, key=key)
        template = args.ours_command_tls if load.tls else args.ours_command
        port = harness.free_port()
        ours = Target("ours", harness.Process(stack, harness.app_command(port, options, template), cores.server), port)
        ours.process.wait_ready(port)

        answer = folder / "answer"
        answer.write_bytes(fetch(port, cert))
        port = harness.free_port()
        command = [
            str(folder / ("epoll_server_tls" if load.tls else "epoll_server")),
            "-p",
            str(port),
            "-a",
            str(answer),
        ]
        if load.tls:
            command += ["-c", str(cert), "-k", str(key)]
        reference = Target("reference", harness.Process(stack, command, cores.server), port)
        reference.process.wait_ready(port)

        client = folder / "tls_client_tls"
        for target in (ours, reference):
            measure(load, target, max(1.0, args.seconds / 3), cores.load, client)
        pairs = []
        for _ in range(args.pairs):
            ours_sample = measure(load, ours, args.seconds, cores.load, client)
            pairs.append((ours_sample, measure(load, reference, args.seconds, cores.load, client)))
    return summary(load, pairs, answer.stat().st_size)


def summary(load: Workload, pairs: Sequence[tuple[Sample, Sample]], answer_bytes: int) -> dict[str, Any]:
    cpu_ratios = [ours.cpu_us / reference.cpu_us for ours, reference in pairs]
    speed_ratios = [ours.per_second / reference.per_second for ours, reference in pairs]
    result: dict[str, Any] = {"workload": load.name, "title": load.title, "answer_bytes": answer_bytes}
    for name, samples in (("ours", [pair[0] for pair in pairs]), ("reference", [pair[1] for pair in pairs])):
        result[name] = {
            "cpu_us_per_request": statistics.median(sample.cpu_us for sample in samples),
            "requests_per_second": statistics.median(sample.per_second for sample in samples),
            "samples": [dataclasses.asdict(sample) for sample in samples],
        }
    result["cpu_ratio"] = statistics.median(cpu_ratios)
    result["cpu_ratio_range"] = [min(cpu_ratios), max(cpu_ratios)]
    result["speed_ratio"] = statistics.median(speed_ratios)
    return result


def markdown(results: Sequence[dict[str, Any]], where: dict[str, str], args: argparse.Namespace) -> str:
    rows = []
    for r in results:
        ours, reference, (low, high) = r["ours"], r["reference"], r["cpu_ratio_range"]
        rows.append((
            r["title"], f"{ours['cpu_us_per_request']:.2f}", f"{reference['cpu_us_per_request']:.2f}",
            f"**{r['cpu_ratio']:.2f}** ({low:.2f} to {high:.2f})", f"{ours['requests_per_second']:,.0f}",
            f"{reference['requests_per_second']:,.0f}", f"{r['speed_ratio']:.2f}",
        ))  # fmt: skip
    head = ("workload", "CPU us/request", "C server", "ratio (range)", "requests/s", "C server", "ratio")
    return (
        f"{harness.describe(where)}; {args.pairs} pairs of {args.seconds:g} s, medians.\n\n{harness.table(head, rows)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--workloads", default=",".join(load.name for load in WORKLOADS))
    parser.add_argument("--output", type=Path, help="a folder for load.json and load.md")
    parser.add_argument("--ours-command", help="another plain server in our place: a command with {port}")
    parser.add_argument("--ours-command-tls", help="another TLS server in our place: {port} {cert} {key}")
    args = parser.parse_args()
    wanted = args.workloads.split(",")
    unknown = set(wanted) - {load.name for load in WORKLOADS}
    if unknown or args.pairs < 1 or not 1 <= args.seconds <= 60:
        parser.error(f"unknown workloads {sorted(unknown)}" if unknown else "--pairs from 1, --seconds from 1 to 60")
    harness.ends_on_sigterm()
    loads = [load for load in WORKLOADS if load.name in wanted]
    if any(load.wrk is not None for load in loads):
        harness.need_tool("wrk", "wrk")
    cores = harness.take_cores()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.certificate(folder)
        harness.compile_reference("epoll_server.c", folder, tls=False)
        harness.compile_reference("epoll_server.c", folder, tls=True)
        harness.compile_reference("tls_client.c", folder, tls=True)
        for load in loads:
            results.append(compare(load, args, folder, cores))
            print(f"{load.title}: {results[-1]['cpu_ratio']:.2f} of the C server's CPU per request", file=sys.stderr)
    where = harness.machine()
    harness.report("load", {"machine": where, "results": results}, markdown(results, where, args), args.output)


if __name__ == "__main__":
    try:
        main()
    except (harness.BenchError, OSError) as error:
        sys.exit(f"bench/load: {error}")
