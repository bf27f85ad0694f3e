"""Throughput of two workers against one: bench/ways.py workers.

What two workers can bring is bounded by what they share with others: the load's own CPU time and, where cores are
threads of one core or lent by a hypervisor, the cores themselves. So that the first is small the handler computes for
some hundred microseconds; its part is told. The second is measured in the same round, by processes that do nothing but
the handler's computation: one, and two at a time. Beside it, not judged, "Hello, World!", where the load is what
bounds it on two cores: there requests per CPU second say whether workers hinder each other.

Servers and load may use all cores, or two and the others where there are more than two. Other work on these cores takes
as much from two workers as it wants: a round in which it had more than a tenth of a core is measured again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run as a file
from bench import apps, harness
from bench.figures import Figure
from bench.load import measure as load_measure
from bench.load.report import spread
from bench.load.workloads import WORKLOADS, Workload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from bench.load.measure import Sample

PART = 0.9  # of what the machine gives to two processes
HELLO = WORKLOADS[0]
BURN = Workload("W", "burn", "a handler that computes", "/burn", str(apps.compute()).encode(), connections=16)
NUMBERS = (1, 2)  # of workers, of processes
OTHERS_MOST = 0.1  # cores
TURNS_MOST = 4  # rounds that are begun for each that counts
QUIET_LEAST = 3  # rounds that must count, unless fewer were asked for
LEAD = 0.5  # seconds for an interpreter to start


@dataclasses.dataclass(frozen=True)
class Part:
    """One sample, the CPU time that the load took meanwhile, and the cores that were other work's."""

    sample: Sample
    load_cpu: float
    others: float

    @property
    def rate(self) -> float:
        return self.sample.requests / self.sample.seconds

    @property
    def efficiency(self) -> float:
        """Requests per CPU second of the server."""
        return self.sample.requests / self.sample.cpu_seconds


@dataclasses.dataclass(frozen=True)
class Bare:
    """Computations per second of bare processes, and the cores that were other work's."""

    rate: float
    others: float


@dataclasses.dataclass(frozen=True)
class Round:
    """By number of workers, or of bare processes: what was measured."""

    burn: dict[int, Part]
    hello: dict[int, Part]
    bare: dict[int, Bare]

    @property
    def gain(self) -> float:
        return self.burn[2].rate / self.burn[1].rate

    @property
    def bare_gain(self) -> float:
        return self.bare[2].rate / self.bare[1].rate

    @property
    def others(self) -> float:
        """Where it is judged."""
        parts: list[Part | Bare] = [*self.burn.values(), *self.bare.values()]
        return max(part.others for part in parts)


@dataclasses.dataclass(frozen=True)
class Found:
    rounds: list[Round]  # that count
    wanted: int
    disturbed: list[float]  # cores of other work, in each round that does not count

    @property
    def why_not(self) -> str:
        if len(self.rounds) >= min(self.wanted, QUIET_LEAST):
            return ""
        return f"other work took {min(self.disturbed):.2f} cores or more in {len(self.disturbed)} rounds"


@dataclasses.dataclass(frozen=True)
class Stage:
    servers: dict[int, tuple[harness.Process, int]]
    seconds: int
    cores: Sequence[int]
    load_cores: Sequence[int]

    def load(self, number: int, what: Workload, seconds: int = 0) -> Part:
        process, port = self.servers[number]
        with process.awake():
            begin, of_others, of_load = time.monotonic(), self.others_cpu(), load_cpu()
            sample = load_measure.run(what, process, port, seconds or self.seconds, self.load_cores, Path())
            lasted = time.monotonic() - begin
            return Part(sample, load_cpu() - of_load, (self.others_cpu() - of_others) / lasted)

    def bare(self, number: int) -> Bare:
        """So many processes at a time."""
        begin, of_others = time.monotonic(), self.others_cpu()
        start = begin + LEAD
        command = [sys.executable, __file__, str(start), str(start + self.seconds)]
        with contextlib.ExitStack() as stack:
            processes = [harness.Process(stack, command, self.cores) for _ in range(number)]
            rate = sum(float(process.result(self.seconds + 20)["per_second"]) for process in processes)
        return Bare(rate, (self.others_cpu() - of_others) / (time.monotonic() - begin))

    def round(self, order: Sequence[int]) -> Round:
        burn = {number: self.load(number, BURN) for number in order}
        hello = {number: self.load(number, HELLO) for number in order}
        return Round(burn, hello, {number: self.bare(number) for number in order})

    def others_cpu(self) -> float:
        """CPU seconds that the cores have worked for none of ours."""
        servers = sum(process.cpu_seconds() for process, _ in self.servers.values())
        return harness.busy_seconds({*self.cores, *self.load_cores}) - servers - load_cpu() - time.process_time()


def load_cpu() -> float:
    """CPU seconds of the children that have ended: no server is among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(
    stack: contextlib.ExitStack, number: int, cores: Sequence[int], template: str | None
) -> tuple[harness.Process, int]:
    port = harness.free_port()
    command = harness.app_command(port, harness.AppOptions(workers=number), template)
    process = harness.Process(stack, command, cores)
    process.wait_ready(port)
    for what in (BURN, HELLO):
        load_measure.one_answer(what, port, Path())
    process.signal_group(signal.SIGSTOP)
    return process, port


def measure(args: argparse.Namespace, cores: harness.Cores) -> Found:
    own, others = cores.usable[:2], cores.usable[2:]
    found = Found([], args.rounds, [])
    with contextlib.ExitStack() as stack:
        servers = {number: start(stack, number, own, args.ours_command) for number in NUMBERS}
        stage = Stage(servers, args.seconds, own, others or own)
        for number in NUMBERS:
            stage.load(number, BURN, 1)  # warm
        for turn in range(TURNS_MOST * args.rounds):
            one = stage.round(NUMBERS[:: 1 if turn % 2 else -1])
            if one.others > OTHERS_MOST:
                found.disturbed.append(one.others)
            else:
                found.rounds.append(one)
            if len(found.rounds) == args.rounds:
                break
    return found


def judge(found: Found) -> list[Figure]:
    """What two bare processes gain counts as two at most: more is noise."""
    possible = min(2.0, statistics.median([one.bare_gain for one in found.rounds] or [2.0]))
    gains = [one.gain for one in found.rounds]
    return [Figure("requests/s, two workers / one", gains, PART * possible, at_most=False, why_not=found.why_not)]


def section(found: Found) -> str:
    rounds = found.rounds
    about = f"Rounds that count: {len(rounds)}; measured again because of other work: {len(found.disturbed)}."
    if not rounds:
        return f"### Workers\n\n{about}"
    rows = [*rows_of("computes", [r.burn for r in rounds]), *rows_of("Hello, World!", [r.hello for r in rounds])]
    bare = {number: spread([r.bare[number].rate for r in rounds], 0) for number in NUMBERS}
    rows += [("bare processes that compute", number, bare[number], "", "", "") for number in NUMBERS]
    rows.append(("bare processes that compute", "**two / one**", spread([r.bare_gain for r in rounds], 2), "", "", ""))
    head = ("handler", "workers", "requests/s", "requests per CPU second", "cores that they got", "cores of the load")
    return f"### Workers\n\n{about}\n\n{harness.table(head, rows)}"


def rows_of(title: str, parts: Sequence[dict[int, Part]]) -> list[tuple[object, ...]]:
    rates = spread([part[2].rate / part[1].rate for part in parts], 2)
    efficiency = spread([part[2].efficiency / part[1].efficiency for part in parts], 2)
    return [
        *((title, number, *cells([part[number] for part in parts])) for number in NUMBERS),
        (title, "**two / one**", rates, efficiency, "", ""),
    ]


def cells(parts: Sequence[Part]) -> tuple[str, str, str, str]:
    return (
        spread([part.rate for part in parts], 0),
        spread([part.efficiency for part in parts], 0),
        spread([part.sample.cpu_seconds / part.sample.seconds for part in parts], 2),
        spread([part.load_cpu / part.sample.seconds for part in parts], 2),
    )


def compute(begin: float, end: float) -> None:
    """A bare process: prints how often it computed in a second, between two times of the monotonic clock."""
    times = 0
    while time.monotonic() < begin:
        pass  # warm, and on a core
    while time.monotonic() < end:
        apps.compute()
        times += 1
    print(json.dumps({"per_second": times / (end - begin)}))


if __name__ == "__main__":
    compute(float(sys.argv[1]), float(sys.argv[2]))
