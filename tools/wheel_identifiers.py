"""Which wheels a release has, the only place that lists them; and whether cibuildwheel would build exactly those.

Free-threaded Pythons have none: web._core does not declare that it works without the GIL (freethreading_compatible), so
importing it there would switch the GIL on again for everybody.

usage: python -m tools.wheel_identifiers (with cibuildwheel installed)
"""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ["cp311", "cp312", "cp313", "cp314", "cp315"]
TARGETS = [  # one job each in .github/workflows/wheels.yml
    "manylinux_x86_64", "manylinux_aarch64", "musllinux_x86_64", "musllinux_aarch64", "macosx_x86_64", "macosx_arm64",
]  # fmt: skip


def expected() -> list[str]:
    return sorted(f"{python}-{target}" for target in TARGETS for python in PYTHONS)


def selected() -> list[str]:
    """What cibuildwheel's settings in pyproject.toml choose, on all platforms and processors together."""
    found: list[str] = []
    for platform, processors in (("linux", "x86_64 aarch64"), ("macos", "x86_64 arm64")):
        command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", platform]
        run = subprocess.run(
            [*command, "--archs", processors, str(ROOT)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        found += run.stdout.split()
    return sorted(found)


def main() -> int:
    difference = list(difflib.unified_diff(expected(), selected(), "expected", "cibuildwheel", lineterm="", n=0))
    print("\n".join(difference) or f"cibuildwheel would build the {len(expected())} wheels of a release")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
