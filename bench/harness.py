"""What every benchmark here needs: processes that cannot outlive the run, one core each, and what /proc says of them.

Owner of each process is the ExitStack it was started on: closing the stack ends the process and what it started (it
leads a process group). A benchmark that is killed itself takes its children along by PR_SET_PDEATHSIG. Everything
listens on 127.0.0.1 and connects to 127.0.0.0/8.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import datetime as dt
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

BENCH = Path(__file__).resolve().parent
REFERENCE = BENCH / "reference"
PR_SET_PDEATHSIG = 1
BUSY = 0.5  # load average of the last minute above which a run begins with a warning
CPUCLOCK_SCHED = 2  # linux/posix-timers.h: the clock of a whole process by scheduler time, in nanoseconds


class BenchError(Exception):
    """The benchmark cannot run here; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Cores:
    """One core for the server, another for the load; `usable`: all that the benchmark may use."""

    server: int
    load: int
    usable: tuple[int, ...] = ()


def take_cores() -> Cores:
    """The first and the last core that this process may use; pins it to the load's. Called once, before any start."""
    if not sys.platform.startswith("linux"):
        raise BenchError("this benchmark reads /proc and pins processes: it needs Linux")
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) == 1:
        print("warning: one core only: the load takes time from the server, the figures mean little", file=sys.stderr)
    if (busy := os.getloadavg()[0]) > BUSY:
        print(f"warning: load average {busy:.1f}: other work takes time from both, p99 above all", file=sys.stderr)
    os.sched_setaffinity(0, {usable[-1]})
    return Cores(usable[0], usable[-1], tuple(usable))


def yield_core() -> None:
    """From now on this process runs only when no other wants its core: its own work must not show in what is timed."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def raise_fd_limit(wanted: int) -> None:
    """Raises the soft RLIMIT_NOFILE (inherited by what is started later) to at least `wanted`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise BenchError(f"needs {wanted} file descriptors, the hard limit is {hard}: raise it (ulimit -Hn)")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def need_tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BenchError(
            f"{name} is not installed: apt-get install {package} (Debian, Ubuntu), dnf install {package} (Fedora)"
        )
    return found


class Process:
    """A child process on one core, or on some. It leads a process group (not a session: that would be a scheduling
    group too).

    Standard output, with `quiet` errors too, goes to an unnamed file, so it never blocks on a full pipe.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        command: Sequence[str],
        core: int | Collection[int],
        *,
        environment: dict[str, str] | None = None,
        quiet: bool = False,
    ) -> None:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        parent = os.getpid()

        def in_child() -> None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)
            os.sched_setaffinity(0, {core} if isinstance(core, int) else core)

        self.command = shlex.join(command)
        self.output = stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        try:
            self.popen = subprocess.Popen(
                list(command),
                preexec_fn=in_child,  # noqa: PLW1509 - the benchmarks have one thread
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=subprocess.STDOUT if quiet else None,
                env=None if environment is None else os.environ | environment,
                process_group=0,
            )
        except OSError as error:
            raise BenchError(f"cannot start {self.command}: {error}") from error
        self.pid = self.popen.pid
        stack.callback(self.stop)

    def signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Within it the group runs, after it stands still: what it does when idle is in nobody else's figures."""
        self.signal_group(signal.SIGCONT)
        try:
            yield
        finally:
            self.signal_group(signal.SIGSTOP)

    def stop(self) -> None:
        """SIGTERM, and after 3 s SIGKILL; SIGKILL at once for what it started and left behind."""
        if self.running():
            self.popen.terminate()
            self.signal_group(signal.SIGCONT)
            try:
                self.popen.wait(3)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        for pid in group_members(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cpu_seconds(self) -> float:
        """User and system time of it and of every process of its group."""
        total = 0.0
        for pid in group_members(self.pid):
            with contextlib.suppress(OSError):  # one that ended meanwhile
                total += cpu_seconds(pid)
        return total

    def running(self) -> bool:
        return self.popen.poll() is None

    def text(self) -> str:
        """What it has printed so far."""
        self.output.seek(0)
        return self.output.read()

    def finish(self, seconds: float) -> str:
        """What it printed, after it ended by itself within `seconds`."""
        try:
            status = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.command} did not end within {seconds:.0f} s") from None
        if status != 0:
            raise BenchError(f"{self.command} ended with status {status}: {self.text()}")
        return self.text()

    def result(self, seconds: float) -> dict[str, Any]:
        """The JSON object that it prints before it ends."""
        found: dict[str, Any] = json.loads(self.finish(seconds))
        return found

    def wait_ready(self, port: int, seconds: float = 15.0) -> None:
        """Returns when the port accepts a connection."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.running():
                said = f": {self.text().strip()[-300:]}" if self.text().strip() else ""
                raise BenchError(f"{self.command} ended with status {self.popen.returncode} before it listened{said}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.02)
        raise BenchError(f"{self.command} did not listen on port {port} within {seconds:.0f} s")


def free_port() -> int:
    """A port that was free a moment ago: servers under comparison have no common way to report the one they chose."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def certificate(folder: Path) -> tuple[Path, Path]:
    """A throw-away self-signed P-256 certificate for localhost and its key: the same for all servers of a run."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [
        need_tool("openssl", "openssl"), "req", "-x509", "-nodes", "-newkey", "ec",
        "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", str(key), "-out", str(cert),
        "-days", "7", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise BenchError(f"openssl req failed: {made.stderr.strip()}")
    return cert, key


def compile_reference(source: str, folder: Path, *, tls: bool) -> Path:
    """Compiles one file of bench/reference; with `tls` against WEB_OPENSSL_DIR when set, else the system's OpenSSL."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise BenchError(f"no C compiler ({compiler[0]}): apt-get install gcc libc6-dev libssl-dev")
    binary = folder / (Path(source).stem + ("_tls" if tls else ""))
    command = [*compiler, "-O2", "-std=c11", "-Wall", "-Wextra", str(REFERENCE / source), "-o", str(binary)]
    if tls:
        command.append("-DWITH_TLS")
        openssl = os.environ.get("WEB_OPENSSL_DIR")
        if openssl:
            for lib in (Path(openssl, "lib64"), Path(openssl, "lib")):
                if (lib / "libssl.a").exists():
                    command += [
                        f"-I{openssl}/include",
                        str(lib / "libssl.a"),
                        str(lib / "libcrypto.a"),
                        "-ldl",
                        "-pthread",
                    ]
                    break
            else:
                raise BenchError(f"no lib/libssl.a under WEB_OPENSSL_DIR={openssl}")
        else:
            command += ["-lssl", "-lcrypto"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise BenchError(f"{source} does not compile (are OpenSSL's headers there? libssl-dev): {made.stderr.strip()}")
    return binary


@dataclasses.dataclass(frozen=True)
class AppOptions:
    """What a benchmark asks of the server under test; None: the server's default."""

    cert: Path | None = None
    key: Path | None = None
    file: Path | None = None
    handshake_timeout: float | None = None
    handshakes: int | None = None
    connections: int | None = None
    idle_timeout: float | None = None
    folder: Path | None = None
    routes: int | None = None
    hooks: int | None = None
    way: str | None = None
    loop: str | None = None
    workers: int | None = None


def app_command(port: int, options: AppOptions, template: str | None = None) -> list[str]:
    """Starts ours; `template` is another server's command, where {port} and the options' names are replaced."""
    values = {name: value for name, value in vars(options).items() if value is not None}
    if template is not None:
        known = {field.name: "" for field in dataclasses.fields(options)} | values | {"port": port}
        return [part.format(**known) for part in shlex.split(template)]
    command = [sys.executable, str(BENCH / "apps.py"), "--port", str(port)]
    for name, value in values.items():
        command += ["--" + name.replace("_", "-"), str(value)]
    return command


def client_context(cert: Path) -> ssl.SSLContext:
    """A verifying client that trusts this certificate only, TLS 1.3."""
    context = ssl.create_default_context(cafile=str(cert))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def read_answer(connection: socket.socket, already: bytes = b"") -> bytes:
    """One whole answer with a Content-Length from a blocking connection."""
    data = already
    while (need := answer_length(data)) is None or len(data) < need:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError(f"the server closed after {len(data)} bytes of an answer")
        data += more
    return data


def answer_length(data: bytes) -> int | None:
    """The length of the whole answer that `data` starts with, None while its head is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    for line in data[:end].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return end + 4 + int(value)
    raise ConnectionError(f"an answer without Content-Length: {data[:end]!r}")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, ended ones too, in seconds (clock_getcpuclockid(3))."""
    return time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED) / 1e9


def busy_seconds(cores: Collection[int]) -> float:
    """What some cores have worked for anybody since the system started, the hypervisor's other guests included
    (proc(5), stat; exact to some 10 ms for each core)."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _, _, irq, softirq, steal = map(int, values[:8])
            total += user + nice + system + irq + softirq + steal
    return total / os.sysconf("SC_CLK_TCK")


def group_members(group: int) -> list[int]:
    """The processes of a process group (proc(5), field 5 of stat)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] != "Z":
                    found.append(int(entry))
    return found


def memory(pid: int) -> dict[str, int]:
    """Rss, Pss, Anonymous of a process, in bytes (proc(5), smaps_rollup)."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        if name in ("Rss", "Pss", "Anonymous"):
            sizes[name.lower()] = int(value.split()[0]) * 1024
    return sizes


def rss_now(pid: int) -> int:
    """Resident bytes, cheap enough to be read often; a few hundred KiB inexact (proc(5), statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fd_count(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def percentile(values: Sequence[float], part: float) -> float:
    """The nearest-rank percentile; `part` from 0 to 1. Not a number for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


def machine() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cpu": f"{model}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": ssl.OPENSSL_VERSION,
    }


def describe(where: dict[str, str]) -> str:
    return ", ".join(where.values())


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def report(name: str, data: dict[str, Any], markdown: str, folder: Path | None) -> None:
    """Prints the Markdown; with a folder also writes NAME.json and NAME.md into it."""
    print(markdown)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
        (folder / f"{name}.md").write_text(markdown + "\n")


def ends_on_sigterm() -> None:
    """SIGTERM leaves by SystemExit, so that every `finally` and ExitStack runs."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
