"""Do requests on open connections wait for a flood of handshakes? Keep-alive HTTPS requests, timed, with and without.

The flood: 64 connections at a time, each a full TLS 1.3 handshake, one request, close, and again, as fast as the load's
core can (bench/reference/tls_client.c). The honest client (bench/honest.py, near) has its own turn on that core first:
the flood runs at SCHED_IDLE. Phases alternate: quiet, flood. What bounds the wait is the server's budget of handshakes
for one turn of its loop.

    python bench/flood.py [--rounds 5] [--seconds 4] [--output FOLDER] [--ours-command COMMAND]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run as a file
from bench import harness

CONNECTIONS = 64
LEAD = 0.3  # seconds between the flood's start and the first honest request


class Stage:
    """One server, its certificate, and the core for the load."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, template: str | None) -> None:
        self.stack, self.cores = stack, harness.take_cores()
        self.cert, key = harness.certificate(folder)
        self.flooder = harness.compile_reference("tls_client.c", folder, tls=True)
        self.port = harness.free_port()
        command = harness.app_command(self.port, harness.AppOptions(cert=self.cert, key=key), template)
        self.server = harness.Process(stack, command, self.cores.server)
        self.server.wait_ready(self.port)

    def honest(self, seconds: float) -> list[float]:
        """Microseconds of keep-alive requests."""
        command = [sys.executable, str(harness.BENCH / "honest.py"), "near", "--port", str(self.port)]
        command += ["--cert", str(self.cert), "--seconds", str(seconds)]
        found = harness.Process(self.stack, command, self.cores.load).result(seconds + 30)
        if found["failed"]:
            raise harness.BenchError(f"{found['failed']} honest requests failed: {found['errors']}")
        kept: list[float] = found["kept_us"]
        return kept

    def flooded(self, seconds: float) -> tuple[list[float], float]:
        """The same under the flood, and its handshakes per second."""
        lasts = seconds + LEAD + 1
        command = [str(self.flooder), "-p", str(self.port), "-n", str(CONNECTIONS), "-d", str(lasts)]
        flood = harness.Process(self.stack, command, self.cores.load)
        os.sched_setscheduler(flood.pid, os.SCHED_IDLE, os.sched_param(0))
        time.sleep(LEAD)
        kept = self.honest(seconds)
        done = flood.result(lasts + 30)
        return kept, done["done"] / done["seconds"]


def row(title: str, values: list[float]) -> tuple[object, ...]:
    return title, *(f"{harness.percentile(values, part):,.0f}" for part in (0.5, 0.9, 0.99)), f"{len(values):,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each phase")
    parser.add_argument("--output", type=Path, help="a folder for flood.json and flood.md")
    parser.add_argument("--ours-command", help="another server: {port} {cert} {key}")
    args = parser.parse_args()
    harness.ends_on_sigterm()
    quiet: list[float] = []
    flooded: list[float] = []
    rates = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        stage = Stage(stack, Path(name), args.ours_command)
        stage.honest(1)  # warm-up
        for _ in range(args.rounds):
            quiet += stage.honest(args.seconds)
            some, rate = stage.flooded(args.seconds)
            flooded += some
            rates.append(rate)
    where = harness.machine()
    told = f"{harness.describe(where)}; {sorted(rates)[len(rates) // 2]:,.0f} handshakes a second in the flood"
    rows = [row("without the flood", quiet), row("with it", flooded)]
    text = f"{told}\n\n{harness.table(('keep-alive requests', 'p50 us', 'p90 us', 'p99 us', 'requests'), rows)}"
    data: dict[str, Any] = {"machine": where, "rates": rates, "quiet_us": quiet, "flooded_us": flooded}
    harness.report("flood", data, text, args.output)


if __name__ == "__main__":
    try:
        main()
    except (harness.BenchError, OSError) as error:
        sys.exit(f"bench/flood.py: {error}")
