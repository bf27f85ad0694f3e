"""Would an io_uring backend pay? Two C servers that differ in nothing else: epoll, and io_uring in several ways.

    python bench/io_uring.py [--rounds 7] [--seconds 1] [--only A,B,L] [--output FOLDER]        about 20 minutes

Servers are bench/reference/epoll_server.c and uring_server.c, without TLS; loads, cores and the count of CPU time are
those of bench/load. A and B are measured a second time with the load on the server's core: there all connections have
been served when the load runs, and all have sent when the server does, so that each of its wake-ups finds many.

Each measurement of a variant has one of epoll just before it, and a ratio is of such a pair: the figure is the median
of the rounds' ratios. "epoll again" is a second epoll server: its range is the noise. CPU time is that of all threads
of the process, and io_uring's kernel threads (SQPOLL, io-wq) are threads of the process. Linux 6.1 or newer, wrk, a C
compiler. Where io_uring is refused (seccomp, kernel.io_uring_disabled) its rows say so.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run as a file
from bench import harness
from bench.load import environment, measure, peers, report, run
from bench.load.workloads import WORKLOADS, Workload

VARIANTS = (  # what is compared with epoll, and uring_server's options; None: epoll itself
    ("epoll again", None),
    ("one-shot recv", ""),
    ("recv after readiness", "-w"),
    ("recv after readiness, deferred", "-w -d"),
    ("multishot recv", "-m"),
    ("multishot recv, cooperative", "-m -c"),
    ("multishot recv, deferred", "-m -d"),
    ("multishot recv, deferred, direct", "-m -d -f"),
    ("multishot recv, direct, SQPOLL", "-m -f -s CORE"),
    ("readiness only, deferred", "-r -d"),
)
EPOLL = peers.Peer(peers.REFERENCE, "epoll", "ABL", peers.reference)


def variants(cores: harness.Cores) -> list[peers.Peer]:
    return [variant(title, options and options.replace("CORE", str(cores.server))) for title, options in VARIANTS]


def variant(title: str, options: str | None) -> peers.Peer:
    if options is None:
        return peers.Peer(title, title, EPOLL.letters, peers.reference)

    def command(start: peers.Start) -> list[str]:
        assert start.load is not None
        made = [str(start.folder / "uring_server"), "-p", str(start.port)]
        return [*made, "-a", str(start.folder / f"answer-{start.load.name}"), *shlex.split(options)]

    return peers.Peer(options, f"{title} `{options}`" if options else title, EPOLL.letters, command)


class Pairs(run.Group):
    """Servers of one workload: epoll beside each of the others."""

    def __init__(self, made: run.Run, stack: contextlib.ExitStack, load: Workload) -> None:
        super().__init__(made, stack)
        # By variant: epoll's samples, each just before the variant's.
        self.beside = {peer.name: report.Outcome(load, EPOLL) for peer in made.peers}

    @property
    def where(self) -> str:
        cores = self.run.cores
        return "load on the server's core" if cores.server == cores.load else "load on another core"

    def rounds(self, load: Workload, ready: Sequence[tuple[report.Outcome, run.Server]]) -> None:
        (base, epoll), *others = ready
        if base.peer is not EPOLL:
            raise harness.BenchError("the epoll server did not start: there is nothing to compare with")
        for _ in range(self.run.args.rounds):
            for outcome, server in others:
                if outcome.failed is None:
                    with run.noted(outcome):
                        pair = self.measure(load, epoll), self.measure(load, server)
                        self.beside[outcome.peer.name].samples.append(pair[0])
                        outcome.samples.append(pair[1])
        base.samples = [sample for outcome in self.beside.values() for sample in outcome.samples]

    def measure(self, load: Workload, server: run.Server) -> measure.Sample:
        with server.process.awake():
            args, core = self.run.args, self.run.cores.load
            return measure.run(load, server.process, server.port, args.seconds, core, self.run.client)


Result = tuple[Pairs, Sequence[report.Outcome]]


def ratios_of_all(results: Sequence[Result]) -> str:
    """One line a variant: the CPU time per request as a ratio to epoll's."""
    head = ["ratio to epoll"]
    rows: dict[str, list[str]] = {}
    for pairs, outcomes in results:
        head.append(f"{outcomes[0].load.letter}, {pairs.where}")
        for o in outcomes:
            if o.peer is not EPOLL:
                cell = report.spread(o.ratios(pairs.beside[o.peer.name]), 2) if o.measured else "not measured"
                rows.setdefault(o.peer.title, []).append(cell)
    return harness.table(head, [[title, *cells] for title, cells in rows.items()])


def section(pairs: Pairs, outcomes: Sequence[report.Outcome]) -> str:
    load, rows = outcomes[0].load, []
    for o in outcomes:
        if not o.measured:
            rows.append((o.peer.title, f"not measured: {o.failed}", "", ""))
            continue
        rate = statistics.median(sample.rate(load) for sample in o.samples)
        ratios = None if o.peer is EPOLL else o.ratios(pairs.beside[o.peer.name])
        rows.append((
            o.peer.title, report.spread(o.costs, 2), f"{rate:,.0f}", report.spread(ratios, 2) if ratios else "",
        ))  # fmt: skip
    head = ("server", "CPU us/request", "requests/s", "ratio to epoll")
    return f"### {load.letter}: {load.title}, {pairs.where}\n\n{harness.table(head, rows)}"


def as_data(pairs: Pairs, outcomes: Sequence[report.Outcome]) -> list[dict[str, Any]]:
    return [
        {
            "workload": o.load.name,
            "where": pairs.where,
            "server": o.peer.title,
            "failed": o.failed,
            "samples": [dataclasses.asdict(sample) for sample in o.samples],
            "epoll_before": [dataclasses.asdict(sample) for sample in pairs.beside[o.peer.name].samples],
        }
        for o in outcomes
        if o.peer is not EPOLL
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(EPOLL.letters), help="workloads of bench/load by letter")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (whole ones)")
    parser.add_argument("--output", type=Path, help="a folder for io_uring.json and io_uring.md")
    args = parser.parse_args()
    args.only = args.only.upper().split(",")
    if wrong := [letter for letter in args.only if letter not in EPOLL.letters]:
        parser.error(f"unknown: {', '.join(wrong)}; workloads: {', '.join(EPOLL.letters)}")
    if not 1 <= args.rounds <= 100 or not 1 <= args.seconds <= 60:
        parser.error("--rounds from 1 to 100, --seconds from 1 to 60")
    return args


def main() -> None:
    args = arguments()
    harness.ends_on_sigterm()
    harness.need_tool("wrk", "wrk")
    harness.raise_fd_limit(12_000)
    cores = harness.take_cores()
    results: list[Result] = []
    data: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in ("epoll_server.c", "uring_server.c"):
            harness.compile_reference(source, folder, tls=False)
        none = environment.Environment(sys.executable, {}, {})
        one = harness.Cores(cores.server, cores.server)
        for load in [load for load in WORKLOADS if load.letter in args.only]:
            for where in (cores,) if load.crowd else (cores, one):
                made = run.Run(args, folder, where, none, [EPOLL, *variants(where)])
                with contextlib.ExitStack() as stack:
                    pairs = Pairs(made, stack, load)
                    results.append((pairs, pairs.compare(load)))
                data += as_data(*results[-1])
                print(f"{time.strftime('%H:%M:%S')} {load.letter}, {pairs.where}: done", file=sys.stderr)
    machine = harness.machine()
    about = f"{harness.describe(machine)}; median of {args.rounds} rounds of {args.seconds} s, in brackets the range."
    markdown = "\n\n".join((about, ratios_of_all(results), *(section(*result) for result in results)))
    harness.report("io_uring", {"machine": machine, "results": data}, markdown, args.output)


if __name__ == "__main__":
    try:
        main()
    except (harness.BenchError, OSError) as error:
        sys.exit(f"bench/io_uring.py: {error}")
