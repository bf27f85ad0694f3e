"""``web dev``: a server for whoever writes the application, made anew whenever a file changes.

The parent binds the address, once, and never answers on it: while a child starts, browsers wait and are not refused. It
watches files, stops the child (SIGTERM) and starts the next; it owns the socket, the child and a pipe. A child that
ends by itself is started again at the next change. The child serves the target on the inherited socket; where that
cannot be imported or started it answers everything with the reason, and so shows in the browser what the terminal says.
The pipe says that the parent lives: at its end the child ends, too, however the parent was killed.

Only this machine is listened to, whatever the target says, and only under its own names, unless --host and
--allow-host say otherwise: the pages show source code, and a foreign site could give its name this machine's address
(DNS rebinding).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from web._core import Request, Response, TlsContext
from web.app import App
from web.cli.banner import colour
from web.cli.errors import DONE, CommandError, printable, tell
from web.cli.serving import HOST, PORT, serve, server_of
from web.cli.target import find, place_of
from web.dev_certificate import dev_certificate
from web.hosts import HostsForm, hosts
from web.listeners import Listeners
from web.problems import message_page
from web.proxies import check_use
from web.routing import route
from web.server import Server
from web.sockets import Address
from web.worker_options import Workers

__all__ = ["dev"]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LOOPBACK = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
_GRACE = 0.5  # seconds that open requests have at a change; a stream or a WebSocket would use up any
_PATIENCE = 3.0  # seconds in which a child has to end
_LOOK_EVERY = 200  # milliseconds between two looks at whether the child lives
_NAMES_MAX = 5  # that are told at a change
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FOLDER = ".dev"  # of the throw-away certificate


def dev(options: argparse.Namespace) -> int:
    """``web dev``."""
    if options.fd is not None:
        return _serve(options, f"fd:{options.fd}", 0)
    if options.no_reload:
        return _serve(options, options.host, PORT if options.port is None else options.port)
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
    if options.fd is None:
        return serve(_prepared(server_of(find(options.target)), options, host, port))
    for fd in (options.fd, options.alive):  # what the application starts has no business with them
        os.set_inheritable(fd, False)
    threading.Thread(target=_end_with_parent, args=(options.alive,), name="web dev", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        return serve(_prepared(server_of(find(options.target)), options, host, port))
    except CommandError as error:
        tell(error)
        return serve(_prepared(Server(_app_that_says(error), HOST), options, host, port))


def _prepared(server: Server, options: argparse.Namespace, host: str, port: int) -> Server:
    """For this address, this process and this machine alone."""
    own = next((place.context for place in server._listeners.places if place.context is not None), None)
    tls = TlsContext(*dev_certificate(_FOLDER)) if options.tls else own
    server._listeners = Listeners()
    server.listen(host, port, tls)
    try:
        check_use(server._proxies, [(server._listeners.places[0].address, False)])
    except ValueError:  # they are proxies of the addresses that the program has
        server._proxies = None
    server._workers_option = Workers(0)
    server._user = server._group = None
    server.dev = True
    if options.fd is not None:
        grace = min(server.limits.shutdown_grace, _GRACE)
        server.limits = replace(server.limits, shutdown_grace=grace, shutdown_delay=0)
    _answer_to(server.app, [*_LOOPBACK, *options.allow_host])
    return server


def _end_with_parent(pipe: int) -> None:
    """In a thread of its own: nobody else would free the port."""
    while os.read(pipe, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)


def _answer_to(app: App, names: list[str]) -> None:
    """Those names, and those of the application itself."""
    known: HostsForm | None = app._once.get(HostsForm)
    app._once[HostsForm] = hosts([*names, *(known.names if known else ())])


def _app_that_says(error: CommandError) -> App:
    """Answers everything with a reason."""
    page = message_page(str(error), "The application cannot be started.", error.before)
    page = page.encode(errors="backslashreplace").decode()  # texts of exceptions may hold what is no Unicode

    def answer(req: Request) -> Response:
        return Response.html(page, status=500)

    return App(*(route((method,), "*", answer) for method in _METHODS))


# -- the parent -----------------------------------------------------------------------------------------------------


class _Child:
    """The process that serves, or the one that has ended."""

    def __init__(self, options: argparse.Namespace, fd: int, alive: int) -> None:
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # -O, -W, -X: as this process
        # -P: what lies in the working folder hides no module of Python's library from the command itself
        self._command = [
            *(sys.executable, *flags, "-P", "-m", "weblatch"),
            *("dev", options.target, "--fd", str(fd), "--alive", str(alive)),
            *(("--tls",) if options.tls else ()),
            *(f"--allow-host={name}" for name in options.allow_host),
        ]
        self._fds = (fd, alive)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # it hears Ctrl-C only once it minds it: no traceback of ours is shown
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(self._command, pass_fds=self._fds)  # noqa: S603 - ourselves
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

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
    folder = place_of(options.target)
    address = Address(options.host, PORT if options.port is None else options.port)
    with address.bind() as sock, _life() as alive, _ended():
        child = _Child(options, sock.fileno(), alive)
        try:
            what = f"{printable(str(folder))}: {colour('bold', 'web dev')} starts anew when a Python file changes"
            print(f"Watching {what}", file=sys.stderr)
            child.start()
            for changed in _changes(folder, options.also):
                if changed:
                    print(f"Changed: {_few(sorted(changed))}", file=sys.stderr, flush=True)
                    child.stop()
                    child.start()
                elif (code := child.has_ended()) is not None:
                    print(f"The server ended (exit code {code}); it starts again at the next change", file=sys.stderr)
        except KeyboardInterrupt:
            pass
        finally:
            for number in _ENDS:  # it is ending: a second Ctrl-C is the child's
                signal.signal(number, signal.SIG_IGN)
            child.stop()
    return DONE


def _changes(folder: Path, also: list[str]) -> Iterator[set[str]]:
    """The names of the files that have changed, or nothing after a while."""
    from watchfiles import PythonFilter, watch

    seen = PythonFilter(extra_extensions=[one if one.startswith(".") else f".{one}" for one in also])
    try:
        for changes in watch(
            folder,
            watch_filter=seen,
            rust_timeout=_LOOK_EVERY,
            yield_on_timeout=True,
            raise_interrupt=True,
            ignore_permission_denied=True,
        ):
            yield {os.path.relpath(path, folder) for _, path in changes}
    except (OSError, RuntimeError) as error:  # the second is watchfiles' own
        raise CommandError(
            f"cannot watch {folder}: {error}; fewer files below it, or a higher limit of the system, may do, and web "
            "dev --no-reload does without"
        ) from error


def _few(names: list[str]) -> str:
    """A change of branch may be one of thousands of files."""
    more = len(names) - _NAMES_MAX
    return printable(", ".join(names[:_NAMES_MAX])) + (f" and {more} more" if more > 0 else "")


@contextmanager
def _life() -> Iterator[int]:
    """The end of a pipe that says to whoever inherits it that this process lives."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def _ended() -> Iterator[None]:
    """SIGTERM and the end of the terminal end it as Ctrl-C does; all is as before afterwards."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _ENDS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
