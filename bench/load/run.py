"""Compares web servers: CPU microseconds of the server per request, and requests/s, on one core each.

    python bench/load/run.py [--quick] [--only A,B,G] [--peers ours,c,nginx] [--output build/bench-load]

All servers of a workload run at the same time on the first core, all but one of them idle; the load is on the last one.
A round measures every server once; the reference and ours come first, beside each other, the others in turns. A ratio
is of two samples of one round; the figure is the median of the rounds. H and I are bench/stall.py and bench/memory.py.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # also when run as a file
from bench import harness  # noqa: E402
from bench.load import environment, measure, peers, report  # noqa: E402
from bench.load.workloads import FILES, LETTERS, MIB, WORKLOADS, Workload  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WARM_UP = 1  # seconds for a server's first load


@dataclasses.dataclass
class Run:
    args: argparse.Namespace
    folder: Path
    cores: harness.Cores
    environment: environment.Environment
    peers: Sequence[peers.Peer]

    @property
    def client(self) -> Path:
        return self.folder / "tls_client_tls"

    @property
    def cert(self) -> Path:
        return self.folder / "cert.pem"


@dataclasses.dataclass(frozen=True)
class Server:
    process: harness.Process
    port: int


def start(run: Run, stack: contextlib.ExitStack, peer: peers.Peer, load: Workload) -> Server:
    """PeerError: it is not installed, or did not come up."""
    for package in peer.packages:
        if package in run.environment.missing:
            raise measure.PeerError(run.environment.missing[package])
    port = harness.free_port()
    how = peers.Start(run.environment.python, run.folder, port, load.tls, load.setting, load)
    try:
        process = harness.Process(stack, peer.command(how), run.cores.server, environment=how.environment, quiet=True)
        process.wait_ready(port)
    except harness.BenchError as error:
        raise measure.PeerError(" ".join(str(error).split())[-300:]) from error
    return Server(process, port)


@contextlib.contextmanager
def noted(outcome: report.Outcome) -> Iterator[None]:
    """What a server does not stand is its outcome, not the end of the run."""
    try:
        yield
    except measure.PeerError as error:
        outcome.failed = str(error)


class Group:
    """Workloads that share servers: each but the reference is started once, when it is first needed, on `stack`."""

    def __init__(self, run: Run, stack: contextlib.ExitStack) -> None:
        self.run, self.stack = run, stack
        self.servers: dict[str, Server | measure.PeerError] = {}

    def compare(self, load: Workload) -> list[report.Outcome]:
        outcomes = [report.Outcome(load, peer) for peer in self.run.peers if peer.takes(load)]
        with contextlib.ExitStack() as own:
            ready = []
            for outcome in outcomes:
                with noted(outcome):
                    ready.append((outcome, self.ready_server(own, outcome)))
            crowds = self.crowds(own, load, ready) if load.crowd else {}
            self.rounds(load, ready)
            for outcome, server in ready:
                if outcome.failed is None and (crowd := crowds.get(outcome.peer.name)):
                    with noted(outcome), server.process.awake():
                        crowd.check()
        return outcomes

    def ready_server(self, own: contextlib.ExitStack, outcome: report.Outcome) -> Server:
        """It runs, its answer is right, it is warm. The reference lives on `own`, for one workload."""
        load, peer, run = outcome.load, outcome.peer, self.run
        if reason := peer.why_not(load):
            raise measure.PeerError(reason)
        server = self.reference(own, peer, load) if peer.name == peers.REFERENCE else self.server(peer, load)
        with server.process.awake():
            if load.body is None:
                measure.check_file(load, server.port, run.cert)
            else:
                outcome.answer_bytes = len(measure.one_answer(load, server.port, run.cert))
            measure.run(load, server.process, server.port, WARM_UP, run.cores.load, run.client)
        return server

    def server(self, peer: peers.Peer, load: Workload) -> Server:
        if peer.name not in self.servers:
            try:
                self.servers[peer.name] = start(self.run, self.stack, peer, load)
            except measure.PeerError as error:
                self.servers[peer.name] = error
        found = self.servers[peer.name]
        if isinstance(found, measure.PeerError):
            raise found
        return found

    def reference(self, own: contextlib.ExitStack, peer: peers.Peer, load: Workload) -> Server:
        """The C server with the bytes of our answer to this workload."""
        mine = self.servers.get(peers.OURS)
        if isinstance(mine, Server):
            with mine.process.awake():
                answer = measure.one_answer(load, mine.port, self.run.cert)
        else:
            answer = measure.made_answer(load)
        (self.run.folder / f"answer-{load.name}").write_bytes(answer)
        return start(self.run, own, peer, load)

    def crowds(
        self, own: contextlib.ExitStack, load: Workload, ready: Sequence[tuple[report.Outcome, Server]]
    ) -> dict[str, measure.Crowd]:
        found = {}
        for outcome, server in ready:
            with noted(outcome), server.process.awake():
                found[outcome.peer.name] = measure.Crowd(own, server.port, load.crowd, self.run.cores.load)
        return found

    def rounds(self, load: Workload, ready: Sequence[tuple[report.Outcome, Server]]) -> None:
        run = self.run
        fixed = [pair for pair in ready if pair[0].peer.name in (peers.REFERENCE, peers.OURS)]
        others = [pair for pair in ready if pair not in fixed]
        for number in range(run.args.rounds):
            turn = number % len(others) if others else 0
            for outcome, server in [*fixed, *others[turn:], *others[:turn]]:
                if outcome.failed is None:
                    with noted(outcome), server.process.awake():
                        outcome.samples.append(
                            measure.run(load, server.process, server.port, run.args.seconds, run.cores.load, run.client)
                        )


def summary(outcomes: Sequence[report.Outcome]) -> str:
    base = report.base_of(outcomes)
    mine = next((o for o in outcomes if o.peer.name == peers.OURS and o.measured), None)
    told = f"{time.strftime('%H:%M:%S')} {outcomes[0].load.letter}, {outcomes[0].load.title}:"
    told += f" ours {report.spread(mine.costs, 2)}" if mine else " ours not measured"
    told += f", {report.spread(mine.ratios(base), 2)} of {base.peer.name}" if mine and base else ""
    failed = [f"{o.peer.name}: {o.failed}" for o in outcomes if not o.measured]
    return "; ".join([told, *failed])


def make_files(folder: Path) -> None:
    """The static files. Their content is nothing in particular; reading them once puts them into the page cache."""
    (folder / "static").mkdir()
    block = bytes(range(256)) * (MIB // 256)
    for name, size in FILES.items():
        with (folder / "static" / name).open("wb") as file:
            for left in range(size, 0, -MIB):
                file.write(block[:left])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(LETTERS), help=f"workloads by letter: {','.join(LETTERS)}")
    parser.add_argument("--peers", help="names: " + ",".join(peer.name for peer in peers.PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (whole ones)")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench-load", help="a folder for the results")
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "bench-env", help="the peers' own")
    args = parser.parse_args()
    args.rounds = 2 if args.quick else args.rounds
    args.only = args.only.upper().split(",")
    known = [peer.name for peer in peers.PEERS]
    args.peers = args.peers.split(",") if args.peers else known
    if wrong := [name for name in args.peers if name not in known] + [x for x in args.only if x not in LETTERS]:
        parser.error(f"unknown: {', '.join(wrong)}; peers: {', '.join(known)}; workloads: {', '.join(LETTERS)}")
    if not 1 <= args.rounds <= 100 or not 1 <= args.seconds <= 60:
        parser.error("--rounds from 1 to 100, --seconds from 1 to 60")
    return args


def main() -> None:
    args = arguments()
    harness.ends_on_sigterm()
    made = environment.prepare(args.environment, peers.distributions())
    harness.need_tool("wrk", "wrk")
    harness.raise_fd_limit(12_000 if "L" in args.only else 4096)
    cores = harness.take_cores()
    chosen = sorted((peer for peer in peers.PEERS if peer.name in args.peers), key=lambda p: p.name != peers.OURS)
    loads = [load for load in WORKLOADS if load.letter in args.only]
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.certificate(folder)
        for source, tls in (("epoll_server.c", False), ("epoll_server.c", True), ("tls_client.c", True)):
            harness.compile_reference(source, folder, tls=tls)
        make_files(folder)
        run = Run(args, folder, cores, made, chosen)
        for shared in dict.fromkeys((load.tls, load.setting) for load in loads):
            with contextlib.ExitStack() as stack:
                group = Group(run, stack)
                for load in loads:
                    if (load.tls, load.setting) == shared and any(peer.takes(load) for peer in chosen):
                        results.append(group.compare(load))
                        print(summary(results[-1]), file=sys.stderr)
    about = {"machine": harness.machine(), "versions": versions(made), "missing": made.missing}
    results.sort(key=lambda outcomes: outcomes[0].load.letter)
    print(report.write(args.output, results, about, f"python bench/load/run.py {shlex.join(sys.argv[1:])}".strip()))
    print(f"written to {args.output}", file=sys.stderr)


def versions(made: environment.Environment) -> dict[str, str]:
    found = dict(made.versions)
    if nginx := shutil.which("nginx"):
        told = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False)
        found["nginx"] = told.stderr.strip().rpartition("/")[2]
    return found


if __name__ == "__main__":
    try:
        main()
    except (harness.BenchError, OSError) as error:
        sys.exit(f"bench/load: {error}")
