"""``web dev``: a server for whoever writes the application, made anew whenever a file changes.

The parent binds the address, once, and never answers on it: while a child starts, browsers wait and are not refused. It
watches files, stops the child (SIGTERM) and starts the next; it owns the socket, the child and nothing else. A child
that ends by itself is started again at the next change. The child serves the target on the inherited socket; one that
cannot import it answers everything with the reason, and so shows in the browser what the terminal says.

Only this machine is listened to, whatever the target says, and only under its own names: the pages show source code,
and a foreign site could give its name this machine's address (DNS rebinding).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from web._core import Request, Response, TlsContext
from web.app import App
from web.cli.banner import colour
from web.cli.errors import DONE, CommandError
from web.cli.serving import HOST, PORT, serve, server_of
from web.cli.target import find
from web.dev_certificate import dev_certificate
from web.hosts import HostsForm, hosts
from web.listeners import Listeners
from web.problems import message_page
from web.routing import route
from web.server import Server
from web.sockets import Address
from web.worker_options import Workers

__all__ = ["dev"]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LOOPBACK = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
_PATIENCE = 3.0  # seconds in which a child has to end
_LOOK_EVERY = 200  # milliseconds between two looks at whether the child lives
_FOLDER = ".dev"  # of the throw-away certificate


def dev(options: argparse.Namespace) -> int:
    """``web dev``."""
    if options.fd is not None:
        return _serve(options, f"fd:{options.fd}", 0)
    if options.no_reload:
        return _serve(options, HOST, PORT if options.port is None else options.port)
    try:
        import watchfiles  # noqa: F401 - here so that the message comes before a port is bound
    except ImportError as error:
        raise CommandError(
            "watchfiles is not installed, which sees that files change: pip install 'weblatch[dev]', or web dev "
            "--no-reload"
        ) from error
    return _watch(options)


# -- the child ------------------------------------------------------------------------------------------------------


def _serve(options: argparse.Namespace, host: str, port: int) -> int:
    try:
        server = server_of(find(options.target))
    except CommandError as error:
        if options.fd is None:
            raise
        print(f"{error.before}{colour('red', f'web: {error}')}", file=sys.stderr, flush=True)
        server = Server(_app_that_says(error), HOST)
    own = server._listeners.places[0].context
    tls = TlsContext(*dev_certificate(_FOLDER)) if options.tls else own
    server._listeners = Listeners()
    server.listen(host, port, tls)
    server._workers_option = Workers(0)
    server._user = server._group = None
    server.dev = True
    _answer_here_only(server.app)
    return serve(server)


def _answer_here_only(app: App) -> None:
    known: HostsForm | None = app._once.get(HostsForm)
    app._once[HostsForm] = hosts([*_LOOPBACK, *(known.names if known else ())])


def _app_that_says(error: CommandError) -> App:
    """Answers everything with a reason."""

    def answer(req: Request) -> Response:
        return Response.html(message_page(str(error), "The application cannot be imported.", error.before), status=500)

    return App(*(route((method,), "*", answer) for method in _METHODS))


# -- the parent -----------------------------------------------------------------------------------------------------


class _Child:
    """The process that serves, or the one that has ended."""

    def __init__(self, options: argparse.Namespace, fd: int) -> None:
        # -P: what lies in the working folder hides no module of Python's library from the command itself
        self._command = [
            *(sys.executable, "-P", "-m", "weblatch", "dev", options.target, "--fd", str(fd)),
            *(("--tls",) if options.tls else ()),
        ]
        self._fd = fd
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, pass_fds=(self._fd,))  # noqa: S603 - ourselves

    def has_ended(self) -> int | None:
        """Its exit code, once."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._process = None
        return code

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _watch(options: argparse.Namespace) -> int:
    folder = _folder_of(options.target)
    with Address(HOST, PORT if options.port is None else options.port).bind() as sock, _terminated():
        sock.set_inheritable(True)
        print(f"Watching {folder}: {colour('bold', 'web dev')} starts anew when a Python file changes", file=sys.stderr)
        child = _Child(options, sock.fileno())
        try:
            for changed in _changes(folder, options.also):
                if changed:
                    print(f"Changed: {', '.join(sorted(changed))}", file=sys.stderr, flush=True)
                    child.stop()
                    child.start()
                elif (code := child.has_ended()) is not None:
                    print(f"The server ended (exit code {code}); it starts again at the next change", file=sys.stderr)
        except KeyboardInterrupt:
            pass
        finally:
            child.stop()
    return DONE


def _changes(folder: Path, also: list[str]) -> Iterator[set[str]]:
    """The names of the files that have changed, or nothing after a while."""
    from watchfiles import PythonFilter, watch

    seen = PythonFilter(extra_extensions=[one if one.startswith(".") else f".{one}" for one in also])
    for changes in watch(
        folder, watch_filter=seen, rust_timeout=_LOOK_EVERY, yield_on_timeout=True, raise_interrupt=True
    ):
        yield {os.path.relpath(path, folder) for _, path in changes}


def _folder_of(target: str) -> Path:
    place = target.partition(":")[0]
    is_file = place.endswith(".py") or "/" in place
    return Path(place).resolve().parent if is_file else Path.cwd()


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does: its child is not left behind."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
