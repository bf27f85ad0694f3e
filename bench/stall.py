"""Is anybody stalled? Honest HTTPS clients with and without an attack of unfinished handshakes, in the same run.

The attack (bench/attackers.py): 1,000 connections that send nothing and 200 that send a ClientHello one byte a
second. The honest (bench/honest.py): one fast client that is timed, and clients at 20, 150 and 600 ms of simulated
round trip that must all be served. Phases alternate: quiet, attack, quiet, attack. The server has one core, all
clients the other. A scenario is judged:

  attack     the attack was there: the server held as many connections as its cap and the attack allow
  cap        it never held more: where the cap is below the attack, it made room
  served     no honest client failed, save those that were held up themselves on a busy machine and are counted as late
  p99        with the attack at most 1.2 times without it (new connections and keep-alive requests apart), where it
             is judged: not in quick mode (too few samples), nor where attackers reconnect without end and without
             delay, since there the server's core is as busy as the attackers' core can make it: then it is reported
             only
  deadline   every attacker was closed by the server; none later than 1 s after its deadline; early only to keep the
             cap
  returned   within 5 s after it file descriptors are as many as before, resident memory within 2 MiB

Loopback only, bounded in number and time. Exit status 1 when a judgement fails.

    python bench/stall.py [--quick] [--output FOLDER]       about 5 minutes; quick: under 20 s
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run as a file
from bench import harness

P99_RATIO = 1.2
LATE = 1.0  # seconds after its deadline that an attacker may still be open
GROWTH = 2 * 2**20  # bytes of resident memory
LEAD = 0.7  # seconds between the attack's start and the first honest request
BESIDE = 3 * 4 + 3 + 64  # fds beside the cap: honest connections that are finished, and one batch just accepted
SLOWEST = 1.9  # seconds that the most distant client's request takes


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of it: the full run, or the quick one for tests."""

    silent: int
    slow: int
    deadline: float  # the server's handshake time-out, s
    window: float  # seconds of measuring in each phase
    each: int  # distant clients per round-trip time
    cap_above: int
    cap_below: int


FULL = Size(silent=1000, slow=200, deadline=10.0, window=8.0, each=4, cap_above=4000, cap_below=256)
QUICK = Size(silent=200, slow=40, deadline=2.0, window=1.0, each=2, cap_above=1000, cap_below=128)


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    above: bool  # the cap of unfinished handshakes is above the attack
    reconnect: bool
    many: bool  # each attacker, and each distant client, has an address of its own
    rounds: int
    p99_judged: bool
    window: float = 1.0  # factor on Size.window
    quick: bool = False  # part of the quick run


SCENARIOS = (
    Scenario("above", "cap above the attack", True, False, False, 3, True, quick=True),
    Scenario("below", "cap below the attack", False, False, False, 3, True),
    Scenario("above-reconnect", "cap above, the closed reconnect at once", True, True, False, 1, True, window=1.75),
    Scenario("below-reconnect", "cap below, the closed reconnect at once", False, True, False, 2, False),
    Scenario("below-many", "cap below, the same from an address each", False, True, True, 2, False, quick=True),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Run:
    """What all scenarios of a run share; `folder` holds the certificate."""

    size: Size
    cores: harness.Cores
    folder: Path
    template: str | None


@dataclasses.dataclass
class Watch:
    """What the server's process held: at rest before the attacks, at most during them, and after each."""

    pid: int
    start_fds: int = 0
    start_rss: int = 0
    peak_fds: int = 0
    peak_rss: int = 0
    after: list[dict[str, int]] = dataclasses.field(default_factory=list)

    def begin(self) -> None:
        self.start_fds, self.start_rss = harness.fd_count(self.pid), harness.memory(self.pid)["rss"]

    def look(self) -> None:
        self.peak_fds = max(self.peak_fds, harness.fd_count(self.pid))
        self.peak_rss = max(self.peak_rss, harness.rss_now(self.pid))

    def end(self) -> None:
        """Waits up to 5 s for the server to see the last closes and to give memory back."""
        last = time.monotonic() + 5
        while not self.returned(now := self.now()) and time.monotonic() < last:
            time.sleep(0.1)
        self.after.append(now)

    def now(self) -> dict[str, int]:
        return {"fds": harness.fd_count(self.pid), "rss": harness.memory(self.pid)["rss"]}

    def returned(self, held: dict[str, int]) -> bool:
        return held["fds"] <= self.start_fds and held["rss"] - self.start_rss <= GROWTH


class Stage:
    """One server and what is needed to send clients to it."""

    def __init__(self, stack: contextlib.ExitStack, scenario: Scenario, run: Run) -> None:
        self.stack, self.scenario, self.size, self.cores = stack, scenario, run.size, run.cores
        size, folder = run.size, run.folder
        self.cert, key = folder / "cert.pem", folder / "key.pem"
        self.cap = size.cap_above if scenario.above else size.cap_below
        self.window = size.window * scenario.window
        self.port = harness.free_port()
        options = harness.AppOptions(cert=self.cert, key=key, handshake_timeout=size.deadline, handshakes=self.cap)
        command = harness.app_command(self.port, options, run.template)
        self.server = harness.Process(stack, command, self.cores.server)
        self.server.wait_ready(self.port)
        self.watch = Watch(self.server.pid)

    def client(self, script: str, *arguments: object) -> harness.Process:
        command = [sys.executable, str(harness.BENCH / script), *map(str, arguments)]
        return harness.Process(self.stack, command, self.cores.load)

    def honest(self, seconds: float) -> dict[str, Any]:
        """Both kinds of honest clients for so long; watches the server meanwhile."""
        common = ("--port", self.port, "--cert", self.cert)
        near = self.client("honest.py", "near", *common, "--seconds", seconds)
        # In a short phase at least one request each; in a long one the last ends inside the window.
        far_seconds = max(0.1, seconds - SLOWEST)
        own = ("--own-addresses",) if self.scenario.many else ()
        far = self.client("honest.py", "distant", *common, "--seconds", far_seconds, "--each", self.size.each, *own)
        last = time.monotonic() + seconds + 60
        while (near.running() or far.running()) and time.monotonic() < last:
            if not self.server.running():
                raise harness.BenchError(f"the server ended in scenario {self.scenario.name}")
            self.watch.look()
            time.sleep(0.2)
        return {"near": near.result(1), "distant": far.result(1)}

    def attacked(self) -> dict[str, Any]:
        """Honest clients while the attack runs, then the attack's own account of how it ended."""
        size, scenario = self.size, self.scenario
        lasts = LEAD + self.window + (SLOWEST + 0.6 if scenario.reconnect else 0)
        flags = [*(["--reconnect"] if scenario.reconnect else []), *(["--many-addresses"] if scenario.many else [])]
        attack = self.client(
            "attackers.py", "--port", self.port, "--silent", size.silent, "--slow", size.slow, "--seconds", lasts,
            "--drain", size.deadline + LATE + 4, "--deadline", size.deadline, *flags,
        )  # fmt: skip
        time.sleep(LEAD)
        result = self.honest(self.window)
        return result | {"attack": attack.result(lasts + size.deadline + LATE + 30)}


def perform(scenario: Scenario, run: Run) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, scenario, run)
        stage.honest(run.size.window / 4)  # warm-up: imports, allocator, caches
        stage.watch.begin()
        quiet, attacked = [], []
        for _ in range(scenario.rounds if run.size is FULL else 1):
            quiet.append(stage.honest(stage.window))
            attacked.append(stage.attacked())
            stage.watch.end()
    return judge(scenario, run.size, stage, quiet, attacked)


def pooled(phases: list[dict[str, Any]]) -> dict[str, Any]:
    """All phases of a kind as one: latency percentiles in microseconds, and how the distant clients fared."""
    result: dict[str, Any] = {"failed": 0, "late": 0, "errors": [], "distant": {}}
    for kind in ("new_us", "kept_us"):
        values = [value for phase in phases for value in phase["near"][kind]]
        half = len(values) // 2
        halves = [harness.percentile(part, 0.99) for part in (values[:half], values[half:])]
        result[kind] = {
            "count": len(values),
            "p50": harness.percentile(values, 0.50),
            "p99": harness.percentile(values, 0.99),
            "p99_halves_ratio": max(halves) / min(halves) if half else float("nan"),
        }
    for phase in phases:
        result["failed"] += phase["near"]["failed"]
        result["late"] += phase["near"]["late"]
        result["errors"] += phase["near"]["errors"]
        for round_trip, seen in phase["distant"].items():
            sums = result["distant"].setdefault(round_trip, {"served": 0, "failed": 0, "late": 0, "seconds_max": 0.0})
            for name in ("served", "failed", "late"):
                sums[name] += seen[name]
            sums["seconds_max"] = max(sums["seconds_max"], seen["seconds_max"])
            result["errors"] += seen["errors"]
    return result


def judge(
    scenario: Scenario, size: Size, stage: Stage, quiet: list[dict[str, Any]], attacked: list[dict[str, Any]]
) -> dict[str, Any]:
    without, under, watch = pooled(quiet), pooled(attacked), stage.watch
    attacks = [phase["attack"] for phase in attacked]
    held = min(stage.cap, size.silent + size.slow)
    ratios = {kind: under[kind]["p99"] / without[kind]["p99"] for kind in ("new_us", "kept_us")}
    served = all(
        pool["failed"] == 0
        and pool["new_us"]["count"] > 0
        and all(seen["failed"] == 0 < seen["served"] for seen in pool["distant"].values())
        for pool in (without, under)
    )
    verdict = {
        "attack": watch.peak_fds - watch.start_fds >= 0.95 * held and all(a["refused"] == 0 for a in attacks),
        "cap": watch.peak_fds - watch.start_fds <= stage.cap + BESIDE
        and (scenario.above or all(a["early"] > 0 for a in attacks)),
        "served": served,
        "p99": all(ratio <= P99_RATIO for ratio in ratios.values()),
        "deadline": all(
            a["left"] == 0
            and a["at_deadline"] > 0
            and a["deadline_max"] <= size.deadline + LATE
            and (a["early"] == 0 or not scenario.above)
            for a in attacks
        ),
        "returned": all(watch.returned(after) for after in watch.after),
    }
    judged = [name for name in verdict if name != "p99" or (scenario.p99_judged and size is FULL)]
    return {
        "scenario": scenario.name, "title": scenario.title, "cap": stage.cap, "passed": all(verdict[n] for n in judged),
        "judged": judged, "verdict": verdict, "p99_ratio": ratios, "without": without, "under_attack": under,
        "attacks": attacks, "server": dataclasses.asdict(watch),
    }  # fmt: skip


def markdown(results: list[dict[str, Any]], where: dict[str, str], size: Size) -> str:
    latency, outcome = [], []
    for r in results:
        for kind, title in (("new_us", "new connection"), ("kept_us", "keep-alive")):
            without, under = r["without"][kind], r["under_attack"][kind]
            latency.append((
                r["title"], title, f"{without['p50']:.0f} / {under['p50']:.0f}",
                f"{without['p99']:.0f} / {under['p99']:.0f}", f"**{r['p99_ratio'][kind]:.2f}**",
                f"{without['p99_halves_ratio']:.2f}", f"{without['count']:,} / {under['count']:,}",
            ))  # fmt: skip
        far = "; ".join(
            f"{name} ms: {seen['served']} of {seen['served'] + seen['failed']}"
            for name, seen in r["under_attack"]["distant"].items()
        )
        lows = [a["deadline_min"] for a in r["attacks"] if a["deadline_min"] is not None]
        highs = [a["deadline_max"] for a in r["attacks"] if a["deadline_max"] is not None]
        server = r["server"]
        memory = (server["start_rss"], server["peak_rss"], server["after"][-1]["rss"])
        failed = [name for name in r["judged"] if not r["verdict"][name]]
        outcome.append((
            r["title"], r["cap"], sum(a["opened"] for a in r["attacks"]), sum(a["early"] for a in r["attacks"]),
            f"{min(lows):.2f} to {max(highs):.2f}" if lows else "none", far,
            f"{server['start_fds']} / {server['peak_fds']} / {server['after'][-1]['fds']}",
            " / ".join(f"{rss / 2**20:.1f}" for rss in memory),
            "yes" if not failed else "**no: " + ", ".join(failed) + "**",
        ))  # fmt: skip
    return "\n\n".join((
        (f"{harness.describe(where)}; {size.silent} silent and {size.slow} slow attackers, "
        f"handshake time-out {size.deadline:g} s."),
        harness.table(
            ("scenario", "healthy client", "p50 us without / with", "p99 us without / with", "p99 ratio",
             "noise (p99 of two quiet halves)", "requests"), latency),
        harness.table(
            ("scenario", "cap", "attackers opened", "dropped for room", "closed at (s)", "distant clients served",
             "fds start / peak / end", "MiB start / peak / end", "passed"), outcome),
    ))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small attack, two scenarios, p99 not judged")
    parser.add_argument("--scenarios", help="some of: " + ",".join(scenario.name for scenario in SCENARIOS))
    parser.add_argument("--output", type=Path, help="a folder for stall.json and stall.md")
    parser.add_argument("--ours-command", help="another server: {port} {cert} {key} {handshake_timeout} {handshakes}")
    args = parser.parse_args()
    names = args.scenarios.split(",") if args.scenarios else [s.name for s in SCENARIOS if s.quick or not args.quick]
    if unknown := set(names) - {scenario.name for scenario in SCENARIOS}:
        parser.error(f"unknown scenarios {sorted(unknown)}")
    size = QUICK if args.quick else FULL
    harness.ends_on_sigterm()
    harness.raise_fd_limit(2 * (size.silent + size.slow) + 1000)
    results = []
    with tempfile.TemporaryDirectory() as name:
        run = Run(size, harness.take_cores(), Path(name), args.ours_command)
        harness.certificate(run.folder)
        for scenario in SCENARIOS:
            if scenario.name in names:
                results.append(perform(scenario, run))
                print(f"{scenario.title}: {results[-1]['verdict']}", file=sys.stderr)
    where = harness.machine()
    harness.report("stall", {"machine": where, "results": results}, markdown(results, where, size), args.output)
    if not all(result["passed"] for result in results):
        sys.exit("bench/stall.py: a judgement failed, see the last column")


if __name__ == "__main__":
    try:
        main()
    except (harness.BenchError, OSError) as error:
        sys.exit(f"bench/stall.py: {error}")
