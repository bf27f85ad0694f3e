"""Instructions of each operation in bench/micro/operations.py: the working tree beside the merge base. `make bench`.

    python bench/compare_instructions.py [--base REV] [--tolerance 0.03] [--report]

A busy machine delays instructions and does not add any, so 3 % are seen where time could not show 30. The working tree
must be built (`make build`). The base is exported to build/bench/base-REV and built there with the same interpreter,
compiler and settings, once. It is $BENCH_BASE; else the merge base with origin/main or main; where that is HEAD itself,
HEAD for changes that are not committed, or else HEAD~1.

Exit status: 0 nothing got dearer, or --report; 1 something did, or fails; 2 it could not be compared. The table is also
in build/bench/instructions.md, callgrind's profiles beside it (callgrind_annotate build/bench/work.out.N).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.micro.counters import Callgrind, Count, Perf  # noqa: E402 -- run as a script

FOLDER = ROOT / "build/bench"
SETTINGS = ("CC", "CFLAGS", "LDFLAGS", "CPATH", "LIBRARY_PATH", "WEB_OPENSSL_DIR")
TOLERANCE = 0.03
CALLS = 0.1  # system calls for each operation, beside the tolerance: memory that a process asks for now and then
PERF_RUNS = 3  # the least of them: interrupts add a few instructions, nothing takes any away
TIMEOUT = 300  # seconds for the build, and for all operations of one tree

Results = dict[str, Count | str]


class CannotCompareError(Exception):
    pass


def run(command: Sequence[str | Path], problem: str, folder: Path = ROOT, **env: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompareError(f"{problem}: {error}") from error
    if done.returncode != 0:
        raise CannotCompareError(f"{problem} (status {done.returncode}):\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip()


# ---- the base ----


def git(*words: str) -> str:
    return run(["git", *words], f"git {words[0]} failed")


def commit(name: str) -> str | None:
    try:
        return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except CannotCompareError:
        return None


def find_base(asked: str | None) -> str:
    head = commit("HEAD")
    if head is None:
        raise CannotCompareError("this folder is not a git repository: there is no base")
    if asked:
        found = commit(asked)
    else:
        main = next((name for name in ("origin/main", "main") if commit(name)), "HEAD")
        found = git("merge-base", "HEAD", main)
        if found == head and not git("status", "--porcelain", "--", "src", "setup.py"):
            found = commit("HEAD~1")
    if found is None:
        raise CannotCompareError(
            f"there is no commit {asked or 'HEAD~1'}: name another (BENCH_BASE), or fetch more history"
        )
    return found


def build_base(revision: str) -> Path:
    """The folder of the built base; made again when the interpreter or a setting is another."""
    folder = FOLDER / f"base-{revision[:12]}"
    stamp = folder / "built"
    settings = "\n".join([sys.version, sys.executable, *(f"{name}={os.environ.get(name, '')}" for name in SETTINGS)])
    if stamp.exists() and stamp.read_text() == settings:
        return folder
    print(f"building the base, {revision[:12]}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    run(build, f"the base {revision[:12]} cannot be built", folder, WEB_WERROR="0")
    stamp.write_text(settings)
    return folder


# ---- counting ----


def choose_counter() -> str:
    try:
        perf = Perf()
        with perf:
            pass
        if perf.take("nothing").instructions > 0:  # 0: another program has the processor's counters
            return "perf"
        problem = "the processor's counter does not count"
    except OSError as error:
        problem = str(error)
    if shutil.which("valgrind") is None:
        raise CannotCompareError(f"{problem}, and there is no valgrind: install it")
    return "callgrind"


def build_requests() -> Path:
    """callgrind.c as a library."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    source, library = ROOT / "bench/micro/callgrind.c", FOLDER / "callgrind.so"
    command = [*compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
    run(command, "callgrind.c cannot be compiled; it needs valgrind's header files")
    return library


def count(kind: str, tree: Path, label: str) -> Results:
    """Runs the operations with the package in tree/src. Both trees get paths and names of the same length: they lie in
    memory before everything else, and where a string lies decides how libc goes about it."""
    link = FOLDER / "tree"
    link.unlink(missing_ok=True)
    link.symlink_to(tree)
    result = FOLDER / f"{label}.json"
    result.unlink(missing_ok=True)
    operations = [sys.executable, "-m", "bench.micro.operations", kind, str(result)]
    if kind == "callgrind":
        out = FOLDER / f"{label}.out"
        for old in FOLDER.glob(f"{label}.out*"):
            old.unlink()
        operations = ["valgrind", *Callgrind.OPTIONS, f"--callgrind-out-file={out}", *operations]
        operations += [str(build_requests()), str(out)]
    run(operations, f"the operations do not run ({label})", PYTHONPATH=f"{link}/src", PYTHONHASHSEED="0")
    return {
        name: value if isinstance(value, str) else Count(*value)
        for name, value in json.loads(result.read_text()).items()
    }


def least(runs: list[Results]) -> Results:
    results = dict(runs[0])
    for name, value in results.items():
        counts = [one[name] for one in runs]
        results[name] = min((one for one in counts if isinstance(one, Count)), default=value)
    return results


# ---- the table ----


def shown(value: Count | str) -> str:
    return f"{value.instructions:,.0f}" if isinstance(value, Count) else "-"


def shown_calls(base: Count | str, now: Count | str) -> str:
    calls = [one.system_calls if isinstance(one, Count) else None for one in (base, now)]
    old, new = ("-" if one is None else f"{one:.1f}" for one in calls)
    return new if old == new else f"{old} -> {new}"


def judge(base: Count | str, now: Count | str, tolerance: float) -> tuple[str, bool]:
    """(the last cell, whether it is a regression)."""
    if isinstance(now, str):
        return f"**fails**: {now}", True
    if isinstance(base, str):
        return f"not in the base: {base}", False
    ratio = now.instructions / base.instructions
    calls = (now.system_calls or 0) - (base.system_calls or 0)
    dearer = ratio > 1 + tolerance
    more_calls = calls > CALLS + tolerance * (base.system_calls or 0)
    cell = f"**{ratio:.3f}**" if dearer else f"{ratio:.3f}"
    return (f"{cell}, **{calls:+.1f} system calls**" if more_calls else cell), dearer or more_calls


def table(base: Results, now: Results, tolerance: float) -> tuple[list[str], int]:
    lines = ["| operation | base | now | system calls | now / base |", "|---|---:|---:|---:|---|"]
    regressions = 0
    for name, value in now.items():
        before = base.get(name, "no result")
        cell, regression = judge(before, value, tolerance)
        regressions += regression
        cell = cell.replace("|", "/")
        lines.append(f"| {name} | {shown(before)} | {shown(value)} | {shown_calls(before, value)} | {cell} |")
    return lines, regressions


def compare(asked: str | None, tolerance: float) -> int:
    """Prints and writes the table; how many operations got dearer."""
    kind = choose_counter()
    revision = find_base(asked)
    tree = build_base(revision)
    times = PERF_RUNS if kind == "perf" else 1
    pairs = [(count(kind, tree, "base"), count(kind, ROOT, "work")) for _ in range(times)]
    base, now = (least([pair[side] for pair in pairs]) for side in (0, 1))
    lines, regressions = table(base, now, tolerance)
    verdict = (
        f"{regressions} of {len(now)} operations got dearer: by more than {tolerance:.1%} of the instructions, by a "
        "system call, or they fail."
    )
    text = "\n".join(
        [
            f"Instructions in user space for one operation, by {kind}, Python {platform.python_version()}; the base is",
            f"{git('log', '-1', '--format=%h (%s)', revision)}.",
            "",
            *lines,
            "",
            verdict,
        ]
    )
    (FOLDER / "instructions.md").write_text(text + "\n")
    print(text)
    return regressions


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", default=os.environ.get("BENCH_BASE"), help="a commit (default: the merge base)")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help=f"default {TOLERANCE}")
    parser.add_argument("--report", action="store_true", help="status 0 also when something got dearer")
    options = parser.parse_args()
    if sys.platform != "linux":
        print("instructions are counted on Linux only: nothing compared")
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        regressions = compare(options.base, options.tolerance)
    except CannotCompareError as error:
        print(f"nothing compared: {error}", file=sys.stderr)
        return 2
    return 1 if regressions and not options.report else 0


if __name__ == "__main__":
    sys.exit(main())
