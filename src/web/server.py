"""Server: an App, where it listens, and its life: made, checked, run, stopped.

States: made -> open (ports bound, certificates loaded, a Loop) -> closed, and again. Making one touches neither ports
nor files; ``run()``, ``running()``, ``open()`` and ``check()`` do. The server owns its Loop from open() to close(); the
Loop owns the listening sockets. Only the thread that runs the loop touches it; ``stop()`` is for every thread. In a
process forked after open() it only lets go of what it holds: poller and files are shared with the parent.

With workers an open server has no Loop but open Listeners: run() makes a Master (processes.py), and each of its workers
makes a Loop (``_work``). Everything else but run() serves in this process, with or without workers.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Literal, cast

from web._core import Connection, Loop, Stats, TlsContext
from web.app import App, OnFailure
from web.certificate_watch import WatchThread
from web.channel import RELOAD, STOP
from web.fd_limit import connections_possible, raise_fd_limit
from web.limits import Limits
from web.listeners import Listeners
from web.metrics import Counters
from web.privileges import identity
from web.processes import Master, rows_for
from web.proxies import Proxies, check_use, networks_of
from web.reloads import Reloads, reload_and_tell
from web.rooms import as_message
from web.running import check_event_loop, needs_asyncio, run_alone, run_in_asyncio, run_inside
from web.signals import hear_signals
from web.sockets import Address
from web.systemd import Notifier
from web.upgrade import Predecessor
from web.worker import Attendant, Seat
from web.worker_options import Workers

__all__ = ["Server"]

_log = logging.getLogger("web")

_THREADS_MAX = 1000

_never_run: dict[Server, None] = {}  # not weak: a server that nobody kept is the one that was forgotten
_running: weakref.WeakSet[Server] = weakref.WeakSet()
_instead_of_run: list[Callable[[Server], None]] = []  # the command line's, while it imports a program for its server


class Server:
    """Serves an App. ``defserver`` and ``defserver_tls`` make one from forms.

    ``host``: "127.0.0.1", "::", a name, "unix:/path" or "fd:3" (see ``web.sockets``). ``port``: 0: the system chooses.
    ``tls``: a TlsContext, for HTTPS. ``limits``: what peers are granted. ``dev``: tracebacks are shown to the client.
    ``dual_stack``: host "::" also accepts IPv4. ``server_header``: whether answers say ``Server: weblatch``.
    ``threads``: how many threads run the plain handlers that do not say ``blocking=False``; 0: they run on the loop.
    ``loop``: "asyncio" or "uvloop", for async handlers; without any, neither is imported.
    ``workers``: in how many processes run() serves: a number, "auto" (one for each CPU) or a ``web.workers(...)``; it
    wins over that form in the App. 0: in this process alone.
    ``slow_handler``: seconds for which a handler may hold the event loop before the log names it, once; 0: any time.
    ``watch_certificates``: seconds between two looks at the files of certificates, which are read anew when they have
    changed; 0: only when it is told to.
    ``user``, ``group``: names or numbers; whom the process, or each worker, becomes once ports are bound and keys read.
    ``proxies``: a Proxies: who may speak for clients, by header fields or by the PROXY protocol. ``proxy_protocol``:
    each connection to this address has to come from one of them, and to begin with a PROXY header (version 1 or 2).
    """

    def __init__(
        self,
        app: App,
        host: str,
        port: int = 0,
        *,
        tls: TlsContext | None = None,
        limits: Limits | None = None,
        dev: bool = False,
        dual_stack: bool = False,
        server_header: bool = True,
        threads: int = 0,
        loop: Literal["asyncio", "uvloop"] = "asyncio",
        workers: int | Literal["auto"] | Workers | None = None,
        user: str | int | None = None,
        group: str | int | None = None,
        slow_handler: float = 0.25,
        watch_certificates: float = 10.0,
        proxies: Proxies | None = None,
        proxy_protocol: bool = False,
    ) -> None:
        if not isinstance(app, App):
            raise TypeError(f"Server(app, ...): an App is needed, not {type(app).__name__}; defserver() takes forms")
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits: a Limits(...) is needed, not {type(limits).__name__}")
        if proxies is not None and not isinstance(proxies, Proxies):
            raise TypeError(f"proxies: a Proxies(...) is needed, not {type(proxies).__name__}")
        for name, option in (("dev", dev), ("dual_stack", dual_stack), ("server_header", server_header)):
            if not isinstance(option, bool):
                raise TypeError(f"{name}: True or False is needed, not {type(option).__name__}")
        if type(threads) is not int or not 0 <= threads <= _THREADS_MAX:
            raise ValueError(f"threads={threads!r}: give 0 to {_THREADS_MAX}")
        for name, seconds in (("slow_handler", slow_handler), ("watch_certificates", watch_certificates)):
            if not 0 <= seconds <= 1e6:
                raise ValueError(f"{name}={seconds!r}: give 0 to 1e6 seconds")
        check_event_loop(loop)
        self.app = app
        self.limits = limits or Limits()
        self.dev = dev
        self.threads = threads
        self._event_loop = loop
        self._server_header = server_header
        self._slow_handler = slow_handler
        self._watch_certificates = watch_certificates
        self._watch: WatchThread | None = None  # while it runs
        self._reloads = Reloads(self._renew_certificates)
        self._proxies = proxies
        self._workers_option = workers if workers is None or isinstance(workers, Workers) else Workers(workers)
        self._user = user
        self._group = group
        self._listeners = Listeners()
        self._loop: Loop | None = None
        self._stats = Stats(1)  # of the last time that it was opened
        self._ready = True
        self._needs_asyncio = False  # of that loop
        self._turned: Loop | None = None  # that loop, once run_once() may turn it
        self._master: Master | None = None  # while run() serves with workers
        self._seat: Seat | None = None  # in a worker
        self._pid = 0  # the process that opened it
        self._thread: threading.Thread | None = None
        self._stop_until = 0.0  # time.monotonic() at which the grace of stop() is over
        self._failure: BaseException | None = None  # what ended the thread
        self._on_failure: OnFailure | None = None  # web.testing's: is told what becomes a 500
        self._banner: Callable[[Server, int], str] = one_line  # what run() says, by its workers
        self.listen(host, port, tls, dual_stack=dual_stack, proxy_protocol=proxy_protocol)
        if _made_in_main():
            _never_run[self] = None

    # -- before it runs ---------------------------------------------------------------------------------------------

    def listen(
        self,
        host: str,
        port: int = 0,
        tls: TlsContext | None = None,
        *,
        dual_stack: bool = False,
        proxy_protocol: bool = False,
    ) -> None:
        """Adds an address to listen on; plain, or TLS with a context; ``proxy_protocol`` as for a Server. Before the
        server is opened."""
        if tls is not None and not isinstance(tls, TlsContext):
            raise TypeError(f"tls: a TlsContext(cert_file, key_file) is needed, not {type(tls).__name__}")
        if self._loop is not None or self._listeners.is_open:
            raise RuntimeError("listen(): the server is open already; add addresses before it runs")
        address = Address(host, port, dual_stack)
        self._listeners.add(address, tls, networks_of(self._proxies, address, proxy_protocol))

    def check(self) -> None:
        """Finds at once what would stop run(): certificates are loaded, ports bound and given back."""
        self.open()
        self.close()

    def open(self) -> None:
        """Loads certificates, binds ports, makes the loop, and runs nothing: for ``fileno()`` and ``run_once()``."""
        if self._loop is not None or self._listeners.is_open:
            raise RuntimeError("the server is open already")
        check_use(self._proxies, ((place.address, place.proxies is not None) for place in self._listeners.places))
        _never_run.pop(self, None)
        self._pid = os.getpid()
        with_workers = self._workers.number > 0
        try:
            self._stats = Stats(rows_for(self._workers.number))
            loop = None if with_workers else self._make_loop()
            self._listeners.open(
                balanced=with_workers, owner=identity(self._user, self._group), predecessor=Predecessor.find()
            )
            if loop is not None:
                self._listeners.give(loop)
        except BaseException:
            self.close()
            raise

    @property
    def _workers(self) -> Workers:
        return self._workers_option or self.app._workers or Workers(0)

    def _attach(self, slot: int = 0, slots: int = 1, row: int = 0) -> Loop:
        """Makes the loop and gives it the listening sockets, or those of one slot."""
        loop = self._make_loop(row)
        self._listeners.give(loop, slot, slots)
        return loop

    def _make_loop(self, row: int = 0) -> Loop:
        """``row``: of the Stats; -1: there was none left, and what it counts is not seen."""
        _never_run.pop(self, None)
        self._pid = os.getpid()
        limits = replace(self.limits, connections=connections_possible(self.limits.connections))
        reads_fields = self._proxies is not None and self._proxies.reads_fields
        dispatcher = self.app._compile(
            dev=self.dev,
            threads=self.threads > 0,
            on_failure=self._on_failure,
            proxies=self._proxies if reads_fields else None,
        )
        self._loop = Loop(
            dispatcher,
            limits,
            server_header=self._server_header,
            stats=self._stats if row >= 0 else Stats(1),
            row=max(0, row),
            slow_handler=self._slow_handler,
        )
        self._loop.ready = self._ready
        self._needs_asyncio = needs_asyncio(self.app, self._loop)
        if dispatcher.needs_threads:
            self._loop.use_threads(self.threads or _default_threads(), self.limits.blocking_queue)
        return self._loop

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Opens the server where it is not open yet, and serves until SIGINT or SIGTERM (in the main thread) or stop():
        open requests finish within ``Limits.shutdown_grace`` seconds, a second signal ends them at once. After SIGTERM
        it goes on for ``Limits.shutdown_delay`` seconds before that. SIGHUP and SIGUSR1 reload certificates; with
        workers SIGHUP also replaces each worker, and SIGUSR2 the whole program.

        WebError: with workers, where other threads run already. SystemExit(3): no worker can be started.
        """
        if _instead_of_run:
            _never_run.pop(self, None)
            _instead_of_run[-1](self)
            return
        if self._workers.number > 0:
            self._run_master(self._workers)
            return
        notifier = Notifier()
        try:
            self._serve(partial(self._ready_alone, notifier), notifier=notifier)
        finally:
            notifier.close()

    def _ready_alone(self, notifier: Notifier) -> None:
        self._announce()
        if predecessor := Predecessor.find():
            predecessor.relieve()
            self._listeners.inherit_files()
        notifier.ready(f"serves on {', '.join(self.urls)}")
        assert self._loop is not None
        notifier.watch_over(self._loop)

    def _run_master(self, workers: Workers) -> None:
        if self._master is not None or self._loop is not None:
            raise RuntimeError("the server runs already, or has a loop of its own: workers make theirs")
        raise_fd_limit()  # a socket of each address and a channel for each worker
        if not self._listeners.is_open:
            self.open()
        self._master = Master(
            self._listeners,
            workers,
            self._work,
            stats=self._stats,
            grace=self.limits.shutdown_grace,
            delay=self.limits.shutdown_delay,
            watch_certificates=self._watch_certificates,
            announce=self._announce,
            predecessor=Predecessor.find(),
        )
        try:
            self._master.run()
        finally:
            self._master = None
            self.close()

    def _work(self, seat: Seat) -> None:
        """What a worker runs, in its own process."""
        self._master, self._seat = None, seat
        self._listeners.disown_files()
        loop = self._attach(seat.slot, seat.slots, seat.row)
        Attendant(seat, loop, self._listeners, self._stop_here).start()
        self._serve(seat.ready, (signal.SIGTERM,))

    def _announce(self, workers: int = 0) -> None:
        with suppress(OSError):  # a full disk does not keep it from serving
            print(self._banner(self, workers), file=sys.stderr, flush=True)

    def _serve(
        self,
        ready: Callable[[], None],
        stop_signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM),
        notifier: Notifier | None = None,
    ) -> None:
        """run() in this process and without a word: ``ready`` is called once start hooks are done and requests are
        about to be answered. ``notifier``: is told of stops and reloads, which signals bring about."""
        loop = self._begin()
        self._thread = threading.current_thread()
        try:
            with self._signals(loop, stop_signals, notifier):
                self._run_loop(loop, ready)
        finally:
            self._thread = None
            _running.discard(self)
            self.close()

    async def run_async(self) -> None:
        """Serves inside the asyncio loop that is running, until stop(); cancelled, it ends everything at once.
        Signals are that loop's affair. ``open()`` may be called before, to know ``url`` and ``port``."""
        loop = self._begin()
        try:
            await run_inside(self.app, loop, lambda: None, self._grace_left)
        finally:
            _running.discard(self)
            self.close()

    def _run_loop(self, loop: Loop, ready: Callable[[], None]) -> None:
        if self._needs_asyncio:
            run_in_asyncio(self.app, loop, self._event_loop, ready, self._grace_left)
        else:
            run_alone(self.app, loop, ready)

    def _grace_left(self) -> float:
        return max(0.0, self._stop_until - time.monotonic())

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Serves in a thread: ``with server.running() as s:`` gives ``s.url`` and ``s.port``; stops at the end, where
        what ended the thread early (a handler's KeyboardInterrupt or SystemExit) is raised."""
        loop = self._begin()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run_in_thread, args=(loop, started), name="web server", daemon=True
        )
        try:
            self._thread.start()
            started.wait()
            if self._failure is None:  # else a start hook failed: what it raised comes below
                yield self
        finally:
            self.stop()
            self._join()
        if self._failure is not None:
            raise self._failure

    def _begin(self) -> Loop:
        if self in _running:
            raise RuntimeError("the server runs already")
        if self._loop is None and not self._listeners.is_open:
            self.open()
        loop = self._loop or self._attach()  # opened for workers, and yet served here
        if (who := identity(self._user, self._group)) is not None:
            try:
                who.assume()
            except BaseException:
                self.close()
                raise
        _running.add(self)
        self._failure = None
        contexts = self._listeners.contexts if self._seat is None else []  # workers have their master
        if contexts and self._watch_certificates:
            self._watch = WatchThread(lambda: self._listeners.contexts, self._reload_and_tell, self._watch_certificates)
        return loop

    def _run_in_thread(self, loop: Loop, started: threading.Event) -> None:
        try:
            self._run_loop(loop, started.set)
        except BaseException as error:  # noqa: BLE001 - raised again where running() ends
            self._failure = error
            loop.close()  # whoever waits for an answer is not left waiting
        finally:
            started.set()

    def _join(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None and thread.ident is not None:
            thread.join()
        _running.discard(self)
        self.close()

    def stop(self, grace: float | None = None, delay: float = 0.0) -> None:
        """Stops accepting, lets open requests finish for ``grace`` seconds (``Limits.shutdown_grace``), then ends the
        rest and names it in the log. From any thread, from a handler (it stops all workers), and when nothing runs.
        Returns at once; run() returns when it is done.

        ``delay``: for so many seconds before that it serves as ever, but says that it is not ready (``readyz()``), and
        ends each connection after its next answer.
        """
        seconds = self.limits.shutdown_grace if grace is None else grace
        for name, value in (("grace", seconds), ("delay", delay)):
            if not 0 <= value <= 1e6:
                raise ValueError(f"stop({name}={value}): give 0 to 1e6 seconds")
        if self._master is not None:
            self._master.stop(seconds, delay)
        elif self._seat is not None:
            self._seat.ask(STOP, f"{seconds} {delay}".encode())
        else:
            self._stop_here(seconds, delay)

    def _stop_here(self, grace: float | None = None, delay: float = 0.0) -> None:
        """stop() of this process alone, without the master's knowledge."""
        seconds = self.limits.shutdown_grace if grace is None else grace
        if self._loop is not None and self._pid == os.getpid():
            self._stop_until = time.monotonic() + delay + seconds
            self._loop.stop(seconds, delay)

    def close(self) -> None:
        """Ends every connection and gives the ports back. Not while it runs: stop() it first. Twice is allowed."""
        ours = self._pid == os.getpid()
        if ours and self._watch is not None:
            self._watch.end()
            self._watch = None
        if self._loop is not None and ours:
            self.app._rooms.leave(self._loop)
            self._loop.close()
        self._loop = self._turned = None
        self._listeners.close(remove=ours)

    def publish(self, topic: str, message: str | bytes | bytearray | memoryview) -> None:
        """``App.publish`` for the WebSockets of this server in this process alone, past the broker."""
        if not isinstance(topic, str):
            raise TypeError(f"publish(topic, message): the topic is text, not {type(topic).__name__}")
        content = as_message(message)
        if (loop := self._loop) is not None:
            loop.publish(topic, content)

    def reload_certificates(self) -> None:
        """Reads certificates and keys anew; connections from now on get them, those that are open keep theirs. From any
        thread. WebError: the files cannot be used; the old ones stay.

        With workers the master does it for all. Called in a worker it only asks for that: the log says how it went.
        """
        if self._master is not None:
            self._master.reload_certificates()
        elif self._seat is not None:
            self._seat.ask(RELOAD)
        else:
            self._reloads.run()

    def _renew_certificates(self) -> None:
        for old, fresh in self._listeners.renew(self._listeners.read_certificates()):
            if (loop := self._loop) is not None:
                loop.use_context(old, fresh)

    def _reload_and_tell(self) -> bool:
        return reload_and_tell(self.reload_certificates)

    def _signals(
        self, loop: Loop, stops: tuple[signal.Signals, ...], notifier: Notifier | None
    ) -> AbstractContextManager[None]:
        """Signals stop the loop and, where a notifier is told, reload certificates."""
        asked = False

        def stop(delay: float) -> None:
            nonlocal asked
            if asked:
                self._stop_here(0.0)
            else:
                self._stop_here(delay=delay)
            asked = True
            if notifier is not None:
                notifier.stopping()

        def reload() -> None:
            assert notifier is not None
            notifier.reloading()
            self._reload_and_tell()
            notifier.ready("certificates are reloaded")

        delays = {signal.SIGTERM: self.limits.shutdown_delay}
        actions: dict[signal.Signals, Callable[[], None]] = {
            number: partial(stop, delays.get(number, 0.0)) for number in stops
        }
        if notifier is not None and self._listeners.contexts:  # else they end the process, as they always do
            actions |= dict.fromkeys((signal.SIGHUP, signal.SIGUSR1), reload)
        return hear_signals(loop, actions)

    # -- one turn at a time: other event loops, tests, benchmarks -----------------------------------------------------

    def adopt(self, sock: socket.socket, tls: TlsContext | None = None) -> Connection:
        """Serves a connected socket (it is left detached): under TLS with a context, which no reload renews. Works
        without open(), too: then there are no listening sockets. In the thread that runs the loop, or before."""
        if tls is not None:
            tls.load()
        return (self._loop or self._make_loop()).adopt(sock, tls)

    def fileno(self) -> int:
        """A file descriptor that is readable exactly when run_once() has work to do."""
        return self._embedded().fileno()

    def run_once(self, timeout: float | None = None) -> None:
        """One turn of the loop: waits up to ``timeout`` seconds (None: for ever) and does what is ready."""
        (self._turned or self._embedded()).run_once(timeout)

    def _embedded(self) -> Loop:
        if self._user is not None:
            raise RuntimeError(
                "user= goes with run(), running() and run_async(): turned by others, it would not be changed"
            )
        loop = self._loop or (self._attach() if self._listeners.is_open else self._make_loop())
        if self._needs_asyncio:
            raise RuntimeError("this app has async handlers or hooks: await server.run_async() instead")
        self.app._rooms.join(loop)
        self._turned = loop
        return loop

    # -- what can be read ---------------------------------------------------------------------------------------------

    @property
    def urls(self) -> list[str]:
        """The URLs of all listeners, as a client on this machine reaches them."""
        return [place.url for place in self._listeners.places if place.url]

    @property
    def url(self) -> str:
        """The first listener's URL. RuntimeError while the server is not open."""
        if not (urls := self.urls):
            raise RuntimeError("the server is not open: it has no URL yet")
        return urls[0]

    @property
    def port(self) -> int:
        """The first listener's port, as bound. RuntimeError while the server is not open."""
        if not self.urls:
            raise RuntimeError("the server is not open: it has no port yet")
        return self._listeners.places[0].port

    @property
    def connections(self) -> int:
        """How many connections are served at this moment."""
        return 0 if self._loop is None else self._loop.connections

    @property
    def ready(self) -> bool:
        """Whether the application welcomes requests: False makes ``readyz()`` say 503, and changes nothing else. In a
        worker it is that worker's own."""
        return self._ready

    @ready.setter
    def ready(self, yes: bool) -> None:
        if not isinstance(yes, bool):
            raise TypeError(f"server.ready: True or False is needed, not {type(yes).__name__}")
        self._ready = yes
        if self._loop is not None:
            self._loop.ready = yes

    def stats(self) -> Counters:
        """What was counted since the server was opened, by all workers together: see ``web.metrics.Counters``. From any
        thread."""
        return cast(Counters, self._stats.snapshot())

    def __repr__(self) -> str:
        where = ", ".join(f"{place.address.host}:{place.address.port}" for place in self._listeners.places)
        return f"<Server {where}{' open' if self._loop is not None else ''}>"


def one_line(server: Server, workers: int) -> str:
    """Where it serves. 0 workers: in this process."""
    how = f" with {workers} worker{'s'[: workers != 1]}" if workers else ""
    return f"Serving on {', '.join(server.urls)}{how} (Ctrl-C stops)"


def _default_threads() -> int:
    """How many threads blocking=True routes get, where the server does not say."""
    return min(32, (os.cpu_count() or 1) + 4)


def _made_in_main() -> bool:
    """Whether the code outside of this package that is making a Server is the script itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "web":
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "__main__"


@atexit.register
def _at_exit() -> None:
    for server in list(_running):
        server.stop(0.0)
        server._join()
    for server in _never_run:
        print(f"web: {server!r} was made but never run; call its run()", file=sys.stderr)
