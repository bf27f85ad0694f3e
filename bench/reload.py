"""Are requests lost while workers are replaced? Reloads, upgrades and kills under clients that check every answer.

    python bench/reload.py                         all four, 20 s each
    python bench/reload.py --seconds 300 reload upgrade

Each phase starts a server with two workers, plain and TLS, and does something to it every --every seconds:

    reload    SIGHUP: every worker is replaced
    upgrade   SIGUSR2: the program is started anew
    retire    max_requests: workers ask for their replacement themselves
    kill      SIGKILL to a worker: what that worker had in hand may be lost, nothing else

Clients ask for a number and compare the answer with it: some on connections that they keep, some on a new one for each
request, over both ports; wrk, where there is one, adds load. A request fails when it is refused, reset, cut or wrong. A
connection that the server ended between two requests is opened anew, as RFC 9112 9.3.1 has it, but only if the answer
before said so (`Connection: close`). Status 1: a request failed that must not, or the master grew.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

PHASES = ("reload", "upgrade", "retire", "kill")
GROWTH_FDS, GROWTH_BYTES = 3, 4 << 20  # of the master, from its third event to its last; workers that leave have fds


def serve(port: int, tls_port: int, folder: str, max_requests: int) -> None:
    """The server under test: this script, started with --serve."""
    import web

    cert, key = web.dev_certificate(folder)
    server = web.defserver(
        "127.0.0.1",
        port,
        web.GET("/pids", lambda req: f"{os.getppid()} {os.getpid()}"),
        web.GET("/:number", lambda req: req.params["number"]),
        web.workers(2, max_requests=max_requests),
    )
    server.listen("127.0.0.1", tls_port, web.TlsContext(cert, key))
    server.run()


@dataclass
class Server:
    """A started server; its master may be another process than the one that was started."""

    port: int
    tls_port: int
    trust: ssl.SSLContext
    master: int = 0

    def ask(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def pids(self) -> tuple[int, int]:
        """(master, the worker that answered)."""
        master, worker = map(int, self.ask("/pids").split())
        return master, worker


@dataclass
class Client(threading.Thread):
    """Asks until it is told to stop."""

    server: Server
    tls: bool
    keeps: bool
    done: threading.Event
    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def connect(self) -> http.client.HTTPConnection:
        if self.tls:
            return http.client.HTTPSConnection("localhost", self.server.tls_port, timeout=30, context=self.server.trust)
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)

    def run(self) -> None:
        connection = self.connect()
        number = 0
        while not self.done.is_set():
            number += 1
            try:
                connection.request("GET", f"/{number}")
                answer = connection.getresponse()
                said = answer.read()
                if (answer.status, said) != (200, str(number).encode()):
                    self.failures[f"answer {answer.status} {said!r}"] += 1
                self.answered += 1
                if not self.keeps:
                    connection.close()
            except (OSError, http.client.HTTPException) as error:
                self.failures[repr(error)] += 1
                connection.close()
        connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def size_of(pid: int) -> tuple[int, int]:
    """(file descriptors, resident bytes) of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return len(os.listdir(f"/proc/{pid}/fd")), pages * os.sysconf("SC_PAGESIZE")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def pass_on(lines: Iterable[str]) -> None:
    """What the server complains of."""
    with suppress(ValueError):  # closed: the phase is over
        for line in lines:
            if not line.startswith("Serving on "):
                sys.stderr.write(f"  {line}")


def start(stack: ExitStack, folder: str, max_requests: int) -> Server:
    port, tls_port = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(port), str(tls_port), folder, str(max_requests)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    stderr = process.stderr

    def end() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        stderr.close()

    stack.callback(end)
    for line in stderr:
        if line.startswith("Serving on "):
            break
    else:
        raise SystemExit("the server did not start")
    threading.Thread(target=pass_on, args=(stderr,), daemon=True).start()
    server = Server(port, tls_port, ssl.create_default_context(cafile=f"{folder}/dev-cert.pem"))
    server.master, _ = server.pids()
    return server


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)


def act(phase: str, server: Server) -> None:
    """Does to the server what the phase is about, and waits until it has happened."""
    if phase == "reload":
        _, worker = server.pids()
        os.kill(server.master, signal.SIGHUP)
        wait_for("the reload", lambda: is_gone(worker))
    elif phase == "upgrade":
        before = server.master
        os.kill(before, signal.SIGUSR2)
        wait_for("the upgrade", lambda: server.pids()[0] != before)
        server.master, _ = server.pids()
    elif phase == "kill":
        _, worker = server.pids()
        os.kill(worker, signal.SIGKILL)


def run_phase(phase: str, seconds: float, every: float) -> bool:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = start(stack, folder, 2000 if phase == "retire" else 0)
        done = threading.Event()
        clients = [Client(server, tls, keeps, done) for tls in (False, True) for keeps in (False, True)]
        for client in clients:
            client.start()
        wrk = None
        if shutil.which("wrk"):
            url = f"http://127.0.0.1:{server.port}/7"
            command = ["wrk", "-t1", "-c16", f"-d{seconds:.0f}s", "--timeout", "20s", url]
            wrk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        until = time.monotonic() + seconds
        events, sizes = 0, []
        while time.monotonic() + every < until:
            time.sleep(every)
            sizes.append(size_of(server.master))
            act(phase, server)
            events += 1
        said = wrk.communicate()[0] if wrk is not None else ""
        done.set()
        for client in clients:
            client.join(60)
        os.kill(server.master, signal.SIGTERM)
        wait_for("the end", lambda: is_gone(server.master))
    return judge(phase, events, clients, said, sizes)


def judge(phase: str, events: int, clients: list[Client], said: str, sizes: list[tuple[int, int]]) -> bool:
    failures: Counter[str] = sum((client.failures for client in clients), Counter())
    answered = sum(client.answered for client in clients)
    load = re.search(r"(\d+) requests in", said)
    errors = re.findall(r"(Socket errors: .*|Non-2xx.*)", said)
    settled = sizes[2:] or sizes
    fds = max(size[0] for size in settled) - settled[0][0]
    grown = max(size[1] for size in settled) - settled[0][1]
    wrong = [reason for reason in failures if phase != "kill" or "refused" in reason or "answer" in reason]
    good = not wrong and (phase == "kill" or not errors) and fds <= GROWTH_FDS and grown <= GROWTH_BYTES
    print(
        f"{'ok  ' if good else 'FAIL'} {phase}: {events} events, {answered} answers, {failures.total()} failed, "
        f"wrk: {load[1] if load else 'absent'}, {' '.join(errors) or 'no errors'}; "
        f"master: {fds:+d} fds, {grown / 1024:+.0f} KiB"
    )
    for reason, count in failures.most_common(5):
        print(f"       {count} x {reason}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"{', '.join(PHASES)} (default: all)")
    parser.add_argument("--seconds", type=float, default=20, help="of each phase (default: %(default)s)")
    parser.add_argument("--every", type=float, default=1, help="seconds between events (default: %(default)s)")
    options = parser.parse_args()
    if unknown := set(options.phases) - set(PHASES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    results = [run_phase(phase, options.seconds, options.every) for phase in options.phases or PHASES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    else:
        sys.exit(main())
