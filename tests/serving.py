"""What the tests of running servers share: raw clients, and servers in processes of their own."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import web

PATIENCE = 15.0  # seconds; ends a hang, and is never what a test measures


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=PATIENCE)


def connect_tls(port: int, cert: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=cert)
    sock = connect(port)
    try:
        return context.wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise


def read_all(sock: socket.socket) -> bytes:
    """Everything until the peer ends."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def read_answer(sock: socket.socket) -> bytes:
    """One answer with Content-Length: head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(1)
        assert part, f"the connection ended within {data!r}"
        data += part
    length = 0
    for line in data.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    end = len(data) + length
    while len(data) < end:
        part = sock.recv(end - len(data))
        assert part, f"the connection ended within {data!r}"
        data += part
    return data


def get(sock: socket.socket, path: str = "/", *, close: bool = False) -> bytes:
    """Sends a GET and returns the whole answer."""
    sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), b"Connection: close\r\n" if close else b""))
    return read_answer(sock)


def fetch(port: int, path: str = "/") -> str:
    """The body of a GET on a connection of its own."""
    with connect(port) as sock:
        return body(get(sock, path, close=True)).decode()


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk: in this process no file grows past so many bytes (EFBIG; Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def environment() -> dict[str, str]:
    """The environment of a process that imports this very package."""
    source = str(Path(web.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": source, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error"}


def foreign_environment() -> dict[str, str]:
    """The environment of a program that is not Python: a sanitizer that was loaded into us is none of its business."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


class Process:
    """A Python program of its own. ``line()`` reads what it prints, ``finish()`` waits for its end."""

    def __init__(self, arguments: list[str], cwd: Path | None, pass_fds: tuple[int, ...]) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
        )

    def line(self) -> str:
        assert self.popen.stdout is not None
        text = self.popen.stdout.readline()
        assert text, f"the program ended: {self.finish()}"
        return text.rstrip("\n")

    def ready(self) -> str:
        """Waits until the server runs and minds signals; what it says then."""
        assert self.popen.stderr is not None
        text = self.popen.stderr.readline()
        assert text.startswith("Serving on "), text + self.finish()[2]
        return text.rstrip("\n")

    def says(self, words: str) -> str:
        """Reads what it logs up to a line with these words; that line."""
        assert self.popen.stderr is not None
        read = []
        while line := self.popen.stderr.readline():
            if words in line:
                return line.rstrip("\n")
            read.append(line)
        raise AssertionError(f"{words!r} was not said: {''.join(read)}")

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def finish(self) -> tuple[int, str, str]:
        """(exit status, rest of stdout, stderr)."""
        out, err = self.popen.communicate(timeout=PATIENCE)
        return self.popen.returncode, out, err

    def autopsy(self) -> str:
        """Ends it; what was the matter with it, as far as it shows."""
        status = self.popen.poll()
        kill_group(self.popen.pid)
        said = self.popen.communicate(timeout=PATIENCE)[1]
        return f"the program {'ran' if status is None else f'had ended with {status}'}; it said: {said[-4000:]}"


def kill_group(pid: int) -> None:
    """Ends a program and all that it forked."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only zombies are left
        os.killpg(pid, signal.SIGKILL)


@contextmanager
def process(*arguments: str, cwd: Path | None = None, pass_fds: tuple[int, ...] = ()) -> Iterator[Process]:
    child = Process(list(arguments), cwd, pass_fds)
    end = threading.Timer(8 * PATIENCE, kill_group, [child.popen.pid])  # what waits for its words is not left waiting
    end.start()
    try:
        yield child
    finally:
        end.cancel()
        end.join()
        kill_group(child.popen.pid)
        child.popen.wait()
        for stream in (child.popen.stdout, child.popen.stderr):
            assert stream is not None
            stream.close()


def program(code: str, *arguments: str) -> list[str]:
    """The arguments of Python that run this text as __main__."""
    return ["-c", code, *arguments]
