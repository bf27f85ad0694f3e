"""Uploads do not fill the memory and arrive as they were sent: bench/uploads.py, with less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import environment

SCRIPT = Path(__file__).parents[1] / "bench/uploads.py"


@pytest.mark.skipif(sys.platform != "linux", reason="what a process takes is read from Linux's /proc")
@pytest.mark.no_asan  # its allocator keeps what is freed
def test_uploads_of_twice_the_bound() -> None:
    command = [sys.executable, str(SCRIPT), "--mib", "64"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert [(row[0], row[-1]) for row in rows] == [
        (f"| {way}", "yes |") for way in ("multipart", "body file", "stream, task", "stream, thread")
    ]
