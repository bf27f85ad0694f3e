"""Runs scenarios in processes of their own and gathers what they say. A process that dies is a finding.

usage: python -m tests.tls.faults.runner [--sample] [--jobs N] [SCENARIO...] | --planted FOLDER    (make faults)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.tls.faults import agent, files, sites
from tests.tls.faults.table import CALLBACKS, FUNCTIONS

ROOT = Path(__file__).parents[3]
MOST_DEATHS = 5  # of one scenario; then it is given up
LINES_KEPT = 8  # of the beginning, and of the end, of what a process said that died
SPURIOUS = ("WANT_READ", "WANT_WRITE", "retry")  # how the names of those modes end
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass
class Report:
    """What was found, and how much was tried."""

    findings: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)  # of the binary
    reached: set[str] = field(default_factory=set)  # functions and callbacks that some clean run called
    tried: Counter[str] = field(default_factory=Counter)  # runs in which the fault came about, by target
    runs: int = 0
    missed: int = 0  # the fault did not come about
    served: int = 0  # all was done in spite of it
    sites: set[int] = field(default_factory=set)  # places in the binary that calls came from
    wants: int = 0  # spurious ones
    resumed: int = 0  # after those all was done
    seconds: float = 0.0

    def add(self, other: Report) -> None:
        self.findings += other.findings
        self.functions |= other.functions
        self.reached |= other.reached
        self.tried += other.tried
        self.runs += other.runs
        self.missed += other.missed
        self.served += other.served
        self.sites |= other.sites
        self.wants += other.wants
        self.resumed += other.resumed

    def figures(self) -> str:
        """One paragraph for people."""
        failing = [name for name in self.functions if name in FUNCTIONS and FUNCTIONS[name].failures]
        return (
            f"{len(self.functions)} functions of OpenSSL are imported; {len(failing)} of them can fail, "
            f"and {len(CALLBACKS)} callbacks; {len(self.tried)} were made to, in calls from {len(self.sites)} places.\n"
            f"{self.runs} runs in {self.seconds:.0f} s: {self.served} did their work in spite of the failure, "
            f"{self.runs - self.served - self.missed} ended in good order, in {self.missed} the call did not come.\n"
            f"{self.resumed} of {self.wants} went on after a spurious want; the others ended.\n"
            f"{len(self.findings)} findings."
        )


def unfit_rows(functions: Iterable[str]) -> list[str]:
    """Where the table and the binary differ."""
    names = set(functions)
    missing = [
        f"{name}: add a row to tests/tls/faults/table.py that says how it fails" for name in names - set(FUNCTIONS)
    ]
    needless = [f"{name}: has a row, and the binary does not import it" for name in set(FUNCTIONS) - names]
    return sorted(missing + needless)


def unreached(report: Report) -> list[str]:
    """What can fail and was never made to."""
    wanted = {name for name, row in FUNCTIONS.items() if row.failures and row.reached and not row.at_import}
    wanted |= {callback.name for callback in CALLBACKS if callback.reached}
    return sorted(f"{name}: no scenario makes it fail" for name in wanted - set(report.tried))


def unreached_sites(report: Report) -> list[str]:
    """Calls in the binary that can fail and that no scenario came by. Needs objdump. Two calls of the same from one
    function count as one: compilers double them."""
    failing = {name for name, row in FUNCTIONS.items() if row.failures and row.reached}
    places = list(sites.calls(agent.extension(), failing))
    assert len(places) > len(failing)
    reached = {(caller, name) for back, caller, name in places if back in report.sites}
    missed = dict.fromkeys((caller, name) for _, caller, name in places if (caller, name) not in reached)
    return [f"{caller} calls {name}: no scenario comes by" for caller, name in missed]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"} | dict(extra)


def listen(arguments: list[str], extra: Mapping[str, str]) -> tuple[list[dict[str, Any]], int, str]:
    """What a driver says, how it ended, and the end of what it said on stderr."""
    command = [sys.executable, "-m", "tests.tls.faults.driver", *arguments]
    with tempfile.TemporaryFile("w+") as errors:
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env=environment(extra)
        )
        errors.seek(0)
        said = errors.readlines()
        last = "".join(said if len(said) <= 2 * LINES_KEPT else [*said[:LINES_KEPT], "...\n", *said[-LINES_KEPT:]])
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    return lines, ended.returncode, last


def how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def run_scenario(
    folder: Path, name: str, *, sample: bool = False, only: str = "", extra: Mapping[str, str] = NOTHING
) -> Report:
    """All cases of one scenario, or those of one function. A process that a case killed is started again behind it."""
    report = Report()
    skip = 0
    options = [*(["--sample"] if sample else []), *(["--only", only] if only else [])]
    for _ in range(MOST_DEATHS):
        lines, code, last = listen([str(folder), name, "--skip", str(skip), *options], extra)
        case = take_lines(report, name, lines)
        if code == 0:
            break
        report.findings.append(f"{name}: {case or 'before the first case'}: {how(code)}\n{last}")
        if case == "":
            break
        skip = 1 + next(line["number"] for line in reversed(lines) if line["event"] == "case")
        report.runs += 1
    return report


def take_lines(report: Report, name: str, lines: list[dict[str, Any]]) -> str:
    """Adds what a driver said to the report; the case that was under way last, or ""."""
    case = ""
    for line in lines:
        match line["event"]:
            case "start":
                report.functions |= set(line["functions"])
            case "clean":
                report.reached |= set(line["calls"])
                if line["problems"] or not line["done"]:
                    report.findings.append(f"{name}: without a fault: {line['problems'] or 'it does not work'}")
            case "case":
                case = line["case"]
            case "result":
                report.runs += 1
                report.served += line["done"] and line["hit"]
                report.missed += not line["hit"]
                if line["hit"]:
                    report.tried[case.partition(" #")[0]] += 1
                    spurious = case.endswith(SPURIOUS)
                    report.wants += spurious
                    report.resumed += spurious and line["done"]
                report.findings += [f"{name}: {case}: {problem}" for problem in dict.fromkeys(line["problems"])]
            case "end":
                report.sites |= set(line["sites"])
    return case


def run_imports(folder: Path) -> Report:
    """What the module calls when it is imported fails: ImportError, in a process each."""
    report = Report()
    for name, row in FUNCTIONS.items():
        for failure in row.failures if row.at_import and row.reached else ():
            lines, code, last = listen([str(folder), "import", name, failure.mode], NOTHING)
            result = next((line for line in lines if line["event"] == "import"), None)
            report.runs += 1
            if result is not None and result["hits"]:
                report.tried[name] += 1
            if code != 0 or result is None or not result["hits"] or "OpenSSL" not in result["error"]:
                report.findings.append(f"import: {name}: {failure.mode}: {how(code)}, {result}, no ImportError\n{last}")
    return report


@contextmanager
def started(names: list[str], *, sample: bool, jobs: int) -> Iterator[dict[str, Future[Report]]]:
    """The scenarios (none named: all, and the import), under way; they mostly wait, so more of them than CPUs run at a
    time."""
    from tests.tls.faults.scenarios import SCENARIOS

    def one(name: str, folder: Path) -> Report:
        folder.mkdir()
        files.make(folder)
        return run_imports(folder) if name == "import" else run_scenario(folder, name, sample=sample)

    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(jobs) as pool:
        wanted = enumerate(names or [*SCENARIOS, "import"])
        try:
            yield {name: pool.submit(one, name, Path(place, str(number))) for number, name in wanted}
        finally:
            pool.shutdown(cancel_futures=True)


def run(names: list[str], *, sample: bool = False, jobs: int = 4) -> Report:
    """The scenarios, from beginning to end."""
    began = time.monotonic()
    with started(names, sample=sample, jobs=jobs) as under_way:
        report = total(each.result() for each in under_way.values())
    report.seconds = time.monotonic() - began
    return report


def total(reports: Iterable[Report]) -> Report:
    """All of them as one."""
    report = Report()
    for each in reports:
        report.add(each)
    return report


def self_test(source: Path, folder: Path, jobs: int) -> list[str]:
    """Runs the build with planted faults (plants.py): what was found of each, and what was not."""
    from tests.tls.faults.plants import PLANTS

    files.make(folder)

    def one(number: int) -> tuple[str, bool]:
        plant = PLANTS[number]
        extra = {"WEB_PLANT": str(number), "PYTHONPATH": os.pathsep.join((str(source.absolute()), str(ROOT)))}
        mine = folder / str(number)
        shutil.copytree(folder, mine, ignore=shutil.ignore_patterns("[0-9]*"))
        found = run_scenario(mine, plant.scenario, sample=True, only=plant.target, extra=extra).findings
        caught = [finding for finding in found if plant.found in finding]
        alive = run_scenario(mine, plant.scenario, sample=True, only=plant.target, extra=extra | {"WEB_PLANT": "0"})
        if alive.findings:
            return f"{plant.what}: without it there are findings, too: {alive.findings[0]}", False
        return f"{plant.what}: {caught[0] if caught else f'NOT FOUND, but {found}'}", bool(caught)

    with ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(one, PLANTS))
    for text, _ in results:
        print(text)
    print(f"{sum(caught for _, caught in results)} of {len(results)} planted faults were found.")
    return [text for text, caught in results if not caught]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="*")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--planted", type=Path, help="test the test: run the build in this folder (make faults)")
    options = parser.parse_args()
    if options.planted:
        with tempfile.TemporaryDirectory() as place:
            return 1 if self_test(options.planted, Path(place), options.jobs) else 0
    report = run(options.scenarios, sample=options.sample, jobs=options.jobs)
    findings = report.findings + unfit_rows(report.functions)
    if not options.scenarios:
        findings += unreached(report)
        findings += unreached_sites(report) if sites.can_list() else []
    for finding in findings:
        print(finding)
    print(report.figures())
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
