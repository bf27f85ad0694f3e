"""Does an upload of a gigabyte take memory, and does it arrive as it was sent?

  multipart        a form with one file, to a route that saves it by req.multipart()
  body file        a whole body, to a route that copies req.body_file()
  stream, task     a chunked body, to an async route with stream=True
  stream, thread   the same with blocking=True

Each way has a server of its own, in a child process. Idle is its resident memory when it has answered one GET, the peak
that which the kernel saw (VmHWM, set back before the upload). The bytes are made as they are sent; what the route has
saved is read back here and compared by SHA-256. What the page cache holds is nobody's resident memory. Exit status 1
where a file differs or 32 MiB are reached.

    python bench/uploads.py [--mib 1024] [--tls] [--output FOLDER]      about half a minute
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import random
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run as a file
from bench import harness

MIB = 1 << 20
BOUND = 32 * MIB
PIECE = 256 << 10
WAYS = {"multipart": "/multipart", "body file": "/file", "stream, task": "/task", "stream, thread": "/thread"}
FORM_BEGIN = (
    b'--B\r\nContent-Disposition: form-data; name="title"\r\n\r\nlarge\r\n'
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n\r\n'
)
FORM_END = b"\r\n--B--\r\n"


def serve(target: str, cert: str, key: str) -> None:
    """The server under test: this script, started with --serve."""
    import web

    def multipart(req: web.Request) -> str:
        parts = req.multipart()
        parts["file"].save(target)
        parts.close()
        return parts["title"].name

    def body_file(req: web.Request) -> str:
        with req.body_file() as body, open(target, "xb") as file:
            shutil.copyfileobj(body, file)
        return "saved"

    async def in_task(req: web.Request) -> str:
        with open(target, "xb") as file:  # noqa: ASYNC230 - it is what is measured, and nobody else is served
            async for piece in req.stream():
                file.write(piece)
        return "saved"

    def in_thread(req: web.Request) -> str:
        with open(target, "xb") as file:
            file.writelines(req.stream())
        return "saved"

    most = 1 << 40
    server = web.Server(
        web.App(
            web.GET("/", lambda req: "idle"),
            web.POST("/multipart", multipart, max_body=most, blocking=True),
            web.POST("/file", body_file, max_body=most, blocking=True),
            web.POST("/task", in_task, max_body=most, stream=True),
            web.POST("/thread", in_thread, max_body=most, stream=True, blocking=True),
        ),
        "127.0.0.1",
        0,
        tls=web.TlsContext(cert, key) if cert else None,
    )
    server.open()
    print(server.port, flush=True)
    server.run()


def pieces(mib: int) -> Iterator[bytes]:
    """The same bytes each time, no two pieces alike."""
    rest = random.Random(mib).randbytes(PIECE - 8)
    for number in range(mib * MIB // PIECE):
        yield number.to_bytes(8, "big") + rest


def form(mib: int) -> Iterator[bytes]:
    yield FORM_BEGIN
    yield from pieces(mib)
    yield FORM_END


@dataclass
class Outcome:
    way: str
    above_idle: int  # bytes
    seconds: float
    is_identical: bool

    @property
    def is_good(self) -> bool:
        return self.is_identical and self.above_idle < BOUND

    def row(self) -> tuple[str, str, str, str]:
        return self.way, f"{self.above_idle / MIB:.1f}", f"{self.seconds:.2f}", "yes" if self.is_identical else "**no**"


def connect(port: int, cert: str) -> http.client.HTTPConnection:
    if cert:
        context = ssl.create_default_context(cafile=cert)
        return http.client.HTTPSConnection("localhost", port, timeout=120, context=context)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=120)


def ask(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/")
    connection.getresponse().read()


def upload(connection: http.client.HTTPConnection, way: str, mib: int) -> None:
    length = mib * MIB
    if way == "multipart":
        kind = {"Content-Type": "multipart/form-data; boundary=B"}
        kind["Content-Length"] = str(len(FORM_BEGIN) + length + len(FORM_END))
        connection.request("POST", WAYS[way], form(mib), kind)
    elif way == "body file":
        connection.request("POST", WAYS[way], pieces(mib), {"Content-Length": str(length)})
    else:
        connection.request("POST", WAYS[way], pieces(mib), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise harness.BenchError(f"the upload as {way} was answered with {answer.status}: {said[:200]!r}")


def memory_of(pid: int, what: str) -> int:
    """VmRSS or VmHWM, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise harness.BenchError(f"/proc/{pid}/status has no {what}")


def is_identical(saved: Path, mib: int) -> bool:
    sent = hashlib.sha256()
    for piece in pieces(mib):
        sent.update(piece)
    with saved.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest() == sent.digest()


def measure(way: str, mib: int, folder: Path, cert: str, key: str) -> Outcome:
    saved = folder / "saved"
    command = [sys.executable, __file__, "--serve", str(saved), cert, key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            connection = connect(int(child.stdout.readline()), cert)
            child.stderr.readline()  # Serving on
            ask(connection)
            idle = memory_of(child.pid, "VmRSS")
            Path(f"/proc/{child.pid}/clear_refs").write_text("5")  # the peak begins anew
            began = time.monotonic()
            upload(connection, way, mib)
            seconds = time.monotonic() - began
            peak = memory_of(child.pid, "VmHWM")
            connection.close()
        finally:
            child.terminate()
            sys.stderr.write(child.stderr.read())
    outcome = Outcome(way, peak - idle, seconds, is_identical(saved, mib))
    saved.unlink()
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="how much is uploaded (1,024)")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--output", type=Path, help="a folder for uploads.json and uploads.md")
    parser.add_argument("--serve", nargs=3, metavar=("TARGET", "CERT", "KEY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return 0
    harness.ends_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="weblatch-uploads-") as name:
        cert, key = map(str, harness.certificate(Path(name))) if arguments.tls else ("", "")
        found = [measure(way, arguments.mib, Path(name), cert, key) for way in WAYS]
    where = harness.machine()
    about = f"{harness.describe(where)}; {arguments.mib:,} MiB{' over TLS' if arguments.tls else ''}."
    rows = harness.table(("way", "MiB above idle at the peak", "seconds", "identical"), [one.row() for one in found])
    ways = [vars(one) for one in found]
    harness.report("uploads", {"machine": where, "ways": ways}, f"{about}\n\n{rows}", arguments.output)
    return 0 if all(one.is_good for one in found) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (harness.BenchError, OSError) as error:
        sys.exit(f"bench/uploads.py: {error}")
