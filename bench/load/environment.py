"""The peers' own environment: a folder with a virtual environment, and what could not be installed, with the reason.

`installed.json` in the folder marks a finished environment; without it everything is tried again. As root missing
Debian packages are installed, otherwise they are named.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import harness

if TYPE_CHECKING:
    from collections.abc import Sequence

DEBIAN = {"wrk": "wrk", "nginx": "nginx-light", "openssl": "openssl"}
LIBEV = Path("/usr/include/ev.h")  # bjoern is built from source
SECONDS = 300  # for one package


@dataclasses.dataclass(frozen=True)
class Environment:
    python: str
    versions: dict[str, str]
    missing: dict[str, str]  # distribution: why it could not be installed


def prepare(folder: Path, distributions: Sequence[str]) -> Environment:
    """The environment in `folder`, made when it is not there or has not been tried with all of `distributions`."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"  # where Debian keeps nginx
    system_packages()
    python, marker = folder / "bin" / "python", folder / "installed.json"
    known = json.loads(marker.read_text()) if marker.exists() and python.exists() else None
    if known is None or not set(distributions) <= {*known["versions"], *known["missing"]}:
        marker.unlink(missing_ok=True)
        known = install(folder, python, distributions)
        marker.write_text(json.dumps(known, indent=1) + "\n")
    return Environment(str(python), known["versions"], known["missing"])


def system_packages() -> None:
    wanted = [package for tool, package in DEBIAN.items() if shutil.which(tool) is None]
    wanted += [] if LIBEV.exists() else ["libev-dev"]
    if not wanted or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    print(f"installing {' '.join(wanted)} from Debian", file=sys.stderr)
    # Runlevel 1: the packages' services are not started.
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *wanted]):
        done = subprocess.run(["apt-get", *command], env=quiet, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"apt-get {command[0]}: {last_line(done.stderr)}", file=sys.stderr)


def install(folder: Path, python: Path, distributions: Sequence[str]) -> dict[str, dict[str, str]]:
    print(f"making {folder} with the peers (once)", file=sys.stderr)
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise harness.BenchError(f"no virtual environment in {folder}: {last_line(made.stdout + made.stderr)}")
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    missing = {}
    for names in (["setuptools", "wheel"], *([name] for name in distributions)):  # bjoern's build wants the first two
        try:
            done = subprocess.run(
                [*pip, "install", *names], capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            missing[names[0]] = f"not installed within {SECONDS} s"
            continue
        if done.returncode != 0:
            missing[names[0]] = f"pip install {names[0]}: {last_error(done.stderr)}"
            print(missing[names[0]], file=sys.stderr)
    ask = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    there = [name for name in distributions if name not in missing]
    told = subprocess.run([str(python), "-c", ask, *there], capture_output=True, text=True, check=True)
    return {"versions": json.loads(told.stdout), "missing": missing}


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no message"


def last_error(text: str) -> str:
    """The compiler's first error if there is one, else pip's last."""
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if "fatal error:" in line] or [line for line in lines if "ERROR:" in line][-1:]
    return found[0] if found else last_line(text)
