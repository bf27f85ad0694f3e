"""What does a WebSocket message cost, beside uvicorn, granian and socketify?

    python bench/ws.py [--seconds 3] [--rounds 3] [--subscribers 5000] [--output FOLDER]

Echo: 64 connections, messages of 125 bytes (one in flight on each connection, and 16) and of 64 KiB. Broadcast: one
message of 125 bytes to all subscribers of a topic, again when all have it. Text, no compression. The servers run on one
core, the load (bench/reference/ws_client.c) on another, in turns. What counts is the server's CPU time for a message
that arrived; a figure is the median of the rounds. Exit status 1 where ours is behind one of the others.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # also when run as a file
from bench import harness  # noqa: E402
from bench.load import environment  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

APPS = ROOT / "bench/load/apps"
SETTLE = 0.2  # seconds for what is under way when the load ends


@dataclasses.dataclass(frozen=True)
class Load:
    title: str
    arguments: tuple[str, ...]
    broadcasts: bool = False


@dataclasses.dataclass(frozen=True)
class Server:
    name: str
    command: Callable[[str, int], list[str]]  # of the environment's Python, and a port
    packages: tuple[str, ...] = ()
    broadcasts: bool = True


@dataclasses.dataclass(frozen=True)
class Sample:
    messages: int
    seconds: float
    cpu: float

    @property
    def cost(self) -> float:
        """Microseconds of CPU time per message."""
        return self.cpu / self.messages * 1e6


def granian(python: str, port: int) -> list[str]:
    return [
        python, "-m", "granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--runtime-mode", "mt", "--http", "1", "--loop", "uvloop", "--no-access-log", "ws_rsgi:application",
    ]  # fmt: skip


def uvicorn(python: str, port: int) -> list[str]:
    return [
        python, "-m", "uvicorn", "ws_asgi:application", "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop",
        "--ws", "websockets-sansio", "--ws-per-message-deflate", "false", "--no-access-log", "--log-level", "error",
        "--ws-max-size", str(1 << 24),
    ]  # fmt: skip


SERVERS = (
    Server("ours, plain", lambda python, port: [sys.executable, str(APPS / "ws_ours.py"), str(port)]),
    Server(
        "ours, async (uvloop)",
        lambda python, port: [sys.executable, str(APPS / "ws_ours.py"), str(port), "async"],
        broadcasts=False,
    ),
    Server("socketify", lambda python, port: [python, str(APPS / "ws_socketify.py"), str(port)], ("socketify",)),
    Server("uvicorn (websockets-sansio)", uvicorn, ("uvicorn", "uvloop", "websockets")),
    Server("granian RSGI", granian, ("granian", "uvloop")),
)


def loads(subscribers: int) -> tuple[Load, ...]:
    return (
        Load("125 B, 1 in flight", ("-n", "64", "-m", "125", "-k", "1")),
        Load("125 B, 16 in flight", ("-n", "64", "-m", "125", "-k", "16")),
        Load("64 KiB, 1 in flight", ("-n", "64", "-m", "65536", "-k", "1")),
        Load(f"125 B to {subscribers:,}", ("-n", str(subscribers), "-m", "125", "-b", "-u", "/room"), broadcasts=True),
    )


def measure(server: Server, load: Load, client: Path, python: str, seconds: int, cores: harness.Cores) -> Sample:
    with contextlib.ExitStack() as stack:
        port = harness.free_port()
        process = harness.Process(
            stack, server.command(python, port), cores.server, environment={"PYTHONPATH": str(APPS)}, quiet=True
        )
        process.wait_ready(port)
        command = [str(client), "-p", str(port), "-d", str(seconds), *load.arguments]
        before = process.cpu_seconds()
        started = harness.Process(stack, command, cores.load)
        said = json.loads(started.finish(seconds + 60))
        time.sleep(SETTLE)
        if not said["messages"] or not process.running():
            raise harness.BenchError(f"{server.name} does not serve {load.title}: {process.text()[-300:]}")
        return Sample(said["messages"], said["seconds"], process.cpu_seconds() - before)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subscribers", type=int, default=5000)
    parser.add_argument("--environment", type=Path, default=ROOT / "build/bench-load/peers")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def run(args: argparse.Namespace) -> int:
    harness.ends_on_sigterm()
    harness.raise_fd_limit(2 * args.subscribers + 1000)
    cores = harness.take_cores()
    distributions = sorted({name for server in SERVERS for name in server.packages})
    there = environment.prepare(args.environment, distributions)
    servers = [one for one in SERVERS if not set(one.packages) & set(there.missing)]
    found: dict[tuple[str, str], list[Sample]] = {}
    with tempfile.TemporaryDirectory() as folder:
        client = harness.compile_reference("ws_client.c", Path(folder), tls=False)
        for load in loads(args.subscribers):
            for _ in range(args.rounds):
                for server in servers:
                    if load.broadcasts and not server.broadcasts:
                        continue
                    try:
                        sample = measure(server, load, client, there.python, args.seconds, cores)
                    except harness.BenchError as error:
                        print(error, file=sys.stderr)
                        continue
                    found.setdefault((load.title, server.name), []).append(sample)
    rows, behind = rows_of(found, [load.title for load in loads(args.subscribers)], [one.name for one in servers])
    markdown = harness.table(("messages", *(one.name for one in servers)), rows)
    data = {f"{load}: {name}": [dataclasses.asdict(one) for one in some] for (load, name), some in found.items()}
    where = harness.machine()
    harness.report("ws", {"machine": where, "samples": data}, f"{harness.describe(where)}\n\n{markdown}", args.output)
    for line in behind:
        print(line, file=sys.stderr)
    return 1 if behind else 0


def rows_of(
    found: dict[tuple[str, str], list[Sample]], titles: Sequence[str], names: Sequence[str]
) -> tuple[list[list[str]], list[str]]:
    """The table: microseconds of CPU time per message, and messages/s; and where ours is behind."""
    rows, behind = [], []
    for title in titles:
        costs = {
            name: statistics.median(one.cost for one in found[title, name]) for name in names if (title, name) in found
        }
        rates = {name: statistics.median(one.messages / one.seconds for one in found[title, name]) for name in costs}
        rows.append(
            [title, *(f"{costs[name]:.2f} us, {rates[name]:,.0f}/s" if name in costs else "-" for name in names)]
        )
        ours = costs.get(SERVERS[0].name, float("inf"))
        behind += [
            f"{title}: {name} takes less CPU" for name, cost in costs.items() if cost < ours and "ours" not in name
        ]
    return rows, behind


if __name__ == "__main__":
    try:
        sys.exit(run(arguments()))
    except harness.BenchError as error:
        sys.exit(f"bench/ws.py: {error}")
