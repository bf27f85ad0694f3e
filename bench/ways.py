"""What do the ways of running a handler cost, what do two workers bring, and do they share evenly?

    python bench/ways.py                         all three, 2.5 minutes and more where other work disturbs
    python bench/ways.py ways --rounds 11        one of them

    ways      CPU microseconds per request of one server for the same "Hello, World!": plain, async, in a pool of
              threads; 64 keep-alive connections. async at most 1.5 of plain (asyncio and uvloop), threads at most 12
              microseconds more; uvicorn (uvloop, httptools, bare ASGI) takes 1.5 of ours on uvloop or more
    workers   throughput of two workers against one, for a handler that computes for some hundred microseconds: at
              least 0.9 of what two processes on this machine can do more than one (1.8 on two whole cores)
    evenness  1,000 connections, one after another and all at once: neither of two workers has more than 60 %

Servers are measured in turns, round after round; a ratio is of two samples of one round, a figure the median of the
rounds, in brackets the range. Exit status 1 when a judged figure is out of bounds.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # also when run as a file
from bench import evenness, harness, workers  # noqa: E402
from bench.figures import Figure, figure_table  # noqa: E402
from bench.load import environment, peers  # noqa: E402
from bench.load.measure import PeerError  # noqa: E402
from bench.load.report import Outcome, spread  # noqa: E402
from bench.load.run import Group, Run  # noqa: E402
from bench.load.workloads import WORKLOADS  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PARTS = ("ways", "workers", "evenness")
ASYNC_MOST = 1.5  # of plain
THREADS_MOST = 12.0  # microseconds more than plain
AHEAD_LEAST = 1.5  # uvicorn's CPU time to ours
UVICORN = ("uvicorn", "uvloop", "httptools")
HELLO = WORKLOADS[0]


def ours(template: str | None, way: str, loop: str = "asyncio") -> Callable[[peers.Start], list[str]]:
    return lambda start: harness.app_command(start.port, harness.AppOptions(way=way, loop=loop), template)


def servers(template: str | None) -> list[peers.Peer]:
    """Plain is named as ours is in bench/load: it comes first in each round, the others in turns."""
    return [
        peers.Peer(peers.OURS, "plain", "A", ours(template, "plain")),
        peers.Peer("beside", "plain, in an app with async handlers (asyncio)", "A", ours(template, "beside")),
        peers.Peer("asyncio", "async, asyncio", "A", ours(template, "async")),
        peers.Peer("uvloop", "async, uvloop", "A", ours(template, "async", "uvloop")),
        peers.Peer("waits", "async that waits once (`sleep(0)`), asyncio", "A", ours(template, "waits")),
        peers.Peer("waits-uvloop", "async that waits once, uvloop", "A", ours(template, "waits", "uvloop")),
        peers.Peer("threads", "`blocking=True`, in threads", "A", ours(template, "threads")),
        peers.Peer("uvicorn", "uvicorn (uvloop, httptools), bare ASGI", "A", peers.uvicorn, UVICORN),
    ]


def measure_ways(args: argparse.Namespace, cores: harness.Cores) -> tuple[list[Outcome], environment.Environment]:
    made = environment.prepare(args.environment, UVICORN)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        group = Group(Run(args, Path(name), cores, made, servers(args.ours_command)), stack)
        return group.compare(HELLO), made


def judge_ways(outcomes: Sequence[Outcome]) -> list[Figure]:
    by_name = {outcome.peer.name: outcome for outcome in outcomes}
    plain = by_name[peers.OURS]

    def ratio(what: str, one: str, other: str, bound: float, *, at_most: bool = True) -> Figure:
        values = by_name[one].ratios(by_name[other])
        return Figure(what, values, bound, at_most=at_most, why_not=failures(by_name[one], by_name[other]))

    threads = by_name["threads"]
    more = [mine - base for mine, base in zip(threads.costs, plain.costs, strict=False)]
    return [
        ratio("CPU per request, async on asyncio / plain", "asyncio", peers.OURS, ASYNC_MOST),
        ratio("CPU per request, async on uvloop / plain", "uvloop", peers.OURS, ASYNC_MOST),
        Figure("CPU us per request, threads - plain", more, THREADS_MOST, why_not=failures(threads, plain)),
        ratio("CPU per request, uvicorn / ours async on uvloop", "uvicorn", "uvloop", AHEAD_LEAST, at_most=False),
    ]


def failures(*outcomes: Outcome) -> str:
    return "; ".join(f"{outcome.peer.title}: {outcome.failed}" for outcome in outcomes if outcome.failed is not None)


def ways_table(outcomes: Sequence[Outcome]) -> str:
    plain, rows = outcomes[0], []
    for o in outcomes:
        if not o.measured:
            rows.append((o.peer.title, f"not measured: {o.failed}", "", "", ""))
            continue
        p99 = statistics.median(sample.p99_us for sample in o.samples) / 1000
        rate = statistics.median(sample.rate(HELLO) for sample in o.samples)
        against = spread(o.ratios(plain), 2) if plain.measured else ""
        rows.append((o.peer.title, spread(o.costs, 2), against, f"{rate:,.0f}", f"{p99:.2f}"))
    return harness.table(("handler", "CPU us/request", "ratio to plain", "requests/s", "p99 ms"), rows)


@dataclasses.dataclass
class Report:
    """What the parts found."""

    figures: list[Figure] = dataclasses.field(default_factory=list)
    sections: list[str] = dataclasses.field(default_factory=list)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)

    def add(self, name: str, figures: Sequence[Figure], section: str, data: object) -> None:
        self.figures += figures
        self.sections.append(section)
        self.data[name] = data
        for figure in figures:
            print(f"{time.strftime('%H:%M:%S')} {figure}", file=sys.stderr)


def add_ways(found: Report, args: argparse.Namespace, cores: harness.Cores) -> None:
    outcomes, made = measure_ways(args, cores)
    versions = ", ".join(f"{name} {made.versions[name]}" for name in UVICORN if name in made.versions)
    samples = {o.peer.name: o.failed or [dataclasses.asdict(sample) for sample in o.samples] for o in outcomes}
    section = f"### Ways\n\n{versions}\n\n{ways_table(outcomes)}"
    found.add("ways", judge_ways(outcomes), section, {"versions": made.versions, "samples": samples})


def add_workers(found: Report, args: argparse.Namespace, cores: harness.Cores) -> None:
    seen = workers.measure(args, cores)
    found.add("workers", workers.judge(seen), workers.section(seen), dataclasses.asdict(seen))


def add_evenness(found: Report, args: argparse.Namespace, cores: harness.Cores) -> None:
    shares = evenness.measure(args.rounds, cores, args.ours_command)
    found.add("evenness", evenness.judge(shares), evenness.section(shares), shares)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (whole ones)")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--output", type=Path, help="a folder for ways.json and ways.md")
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "bench-env", help="uvicorn's")
    parser.add_argument("--ours-command", help="another server: {port} {way} {loop} {workers}")
    args = parser.parse_args()
    args.rounds = 2 if args.quick else args.rounds
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if not 1 <= args.rounds <= 100 or not 1 <= args.seconds <= 60:
        parser.error("--rounds from 1 to 100, --seconds from 1 to 60")
    return args


def main() -> None:
    args = arguments()
    harness.ends_on_sigterm()
    harness.need_tool("wrk", "wrk")
    harness.raise_fd_limit(4096)
    cores, found = harness.take_cores(), Report()
    for name, add in zip(PARTS, (add_ways, add_workers, add_evenness), strict=True):
        if name in (args.parts or PARTS):
            add(found, args, cores)
    where = harness.machine()
    parts = [f"{harness.describe(where)}; {args.rounds} rounds", figure_table(found.figures), *found.sections]
    harness.report("ways", {"machine": where} | found.data, "\n\n".join(parts), args.output)
    if not all(figure.good for figure in found.figures):
        sys.exit("bench/ways.py: a judged figure is out of bounds, see the first table")


if __name__ == "__main__":
    try:
        main()
    except (harness.BenchError, PeerError, OSError) as error:
        sys.exit(f"bench/ways.py: {error}")
