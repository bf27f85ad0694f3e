"""The master: forks a worker for each slot, watches them, and replaces them one by one.

A slot has a ``current`` worker, which serves, and at times a ``coming`` one, which was forked and is not ready yet. A
worker goes STARTING -> STEADY -> LEAVING, and may end in each. What a slot needs is decided anew after every event by
_start_due(): a coming worker, where there is no current one or it is to be replaced (``renew``), and no earlier than
``not_before``, which backs off while workers fail. When the coming one is ready it is the current one, and its
predecessor leaves. A reload renews the slots one after another; a worker that fails to start ends the reload, not the
old worker.

The master: SERVING -> STOPPING, once told to by a signal, by stop(), by a boot that fails, or because a successor
took over (upgrade.py). It returns when the last worker is gone.

It owns the listening sockets (listeners.py), its end of each worker's channel, a socket pair for signals, and a
successor's pipe. A worker closes its copies of all of these but its own slot's sockets. It runs no code of the
application, nor any thread: what forks has one thread only.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from web._core import Stats
from web.certificate_watch import CertificateWatch
from web.channel import CERTIFICATES, LEAVE, READY, RELOAD, RETIRE, STOP, Channel, join_files
from web.errors import WebError
from web.listeners import Listeners
from web.log import log as _log
from web.reloads import reload_and_tell
from web.signals import signals_wake
from web.systemd import Notifier
from web.upgrade import Predecessor, Successor
from web.worker import Seat, live
from web.worker_options import Workers

__all__ = ["BOOT_FAILURE", "Master", "rows_for"]

BOOT_FAILURE = 3  # the exit code when no worker can be started
_BOOT_TRIES = 5  # workers that failed, in a row, before any was ready
_BACK_OFF, _BACK_OFF_MOST = 0.1, 5.0  # seconds before a worker is replaced that failed once, that failed often
_LIVED = 10.0  # seconds after which a worker that ends counts as the first failure
_KILL_AFTER = 1.0  # seconds past its grace
_FORGET_EVERY = 300.0  # seconds: ticket keys whose time is over; no handshake does it here
_LEAVE_WITHIN = 5.0  # seconds that idle connections may stay with a worker that is replaced, at most

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
STARTING, STEADY, LEAVING = "starting", "ready", "leaving"


def rows_for(workers: int) -> int:
    """How many rows of Stats so many workers need, with those that come and those that leave meanwhile, and row 0."""
    return 1 + 4 * workers + 16


class Worker:
    """A child process, as its master knows it. It owns the master's end of the channel."""

    def __init__(self, pid: int, slot: Slot, row: int, channel: Channel) -> None:
        self.pid = pid
        self.slot = slot
        self.row = row
        self.channel = channel
        self.state = STARTING
        self.began = time.monotonic()
        self.kill_at: float | None = None

    def __str__(self) -> str:
        return f"worker {self.slot.number} (pid {self.pid})"

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def tell(self, kind: bytes, content: bytes | bytearray = b"") -> None:
        """One that cannot be told is ended, and replaced like one that crashed."""
        try:
            self.channel.send(kind, content)
        except TimeoutError:
            _log.error("%s does not hear its master: it is killed", self)
            self.signal(signal.SIGKILL)
        except OSError:  # it is ending, or closed its end and can only be reached by signals
            self.signal(signal.SIGTERM)


class Slot:
    """The place of one worker and of those that follow it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.current: Worker | None = None
        self.coming: Worker | None = None
        self.renew = False
        self.failures = 0
        self.not_before = 0.0

    def needs_worker(self) -> bool:
        return self.coming is None and (self.current is None or self.renew)

    def back_off(self) -> float:
        """Puts the next start off, the longer the more have failed; for how long."""
        seconds = min(_BACK_OFF * 2.0**self.failures, _BACK_OFF_MOST)
        self.failures = min(self.failures + 1, 10)
        self.not_before = time.monotonic() + seconds
        return seconds


class Master:
    """Runs ``work(seat)`` in ``options.number`` processes. ``listeners`` are open, and stay the caller's to close.

    ``stats``: has a row for each worker (``rows_for()``). ``watch_certificates``: seconds between two looks at their
    files; 0: never. ``grace``: seconds in which a worker ends that was told to
    stop; ``delay``: seconds before that in which it goes on, after SIGTERM. ``announce(workers)`` is called once, when
    all are ready for the first time. ``predecessor``: the master whose place this one takes.
    """

    def __init__(
        self,
        listeners: Listeners,
        options: Workers,
        work: Callable[[Seat], None],
        *,
        stats: Stats,
        grace: float,
        delay: float,
        watch_certificates: float,
        announce: Callable[[int], None],
        predecessor: Predecessor | None = None,
    ) -> None:
        self._listeners = listeners
        self._options = options
        self._work = work
        self._stats = stats
        self._grace = grace
        self._delay = delay
        self._watch_every = watch_certificates
        self._watch: CertificateWatch | None = None
        self._announce = announce
        self._predecessor = predecessor
        self._successor: Successor | None = None
        self._notifier = Notifier()
        self._alive_at = 0.0
        self._forgot_at = time.monotonic()
        self._slots = [Slot(number) for number in range(options.number)]
        self._workers: dict[int, Worker] = {}
        self._to_renew: deque[Slot] = deque()  # what is left of a reload; the first is under way
        self._reload_again = False
        self._announced = False
        self._ever_ready = False
        self._boot_failures = 0
        self._stopping = False
        self._signalled = False
        self._exit_code = 0
        self._selector = selectors.DefaultSelector()
        self._wake_reading, self._wake_writing = socket.socketpair()
        self._wake_reading.setblocking(False)
        self._wake_writing.setblocking(False)
        self._stop_asked: tuple[float, float] | None = None

    # -- the life of it -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until it is stopped. WebError: it cannot begin. SystemExit(3): no worker could be started."""
        try:
            if threading.active_count() > 1 or threading.current_thread() is not threading.main_thread():
                others = ", ".join(thread.name for thread in threading.enumerate()[1:])
                raise WebError(
                    f"workers are forked, which goes well in a process without threads only; here run: {others}. Start "
                    "them in an on_start hook, which runs in each worker, or serve with workers=0"
                )
            self._listeners.spread(len(self._slots))
            if self._watch_every and self._listeners.contexts:
                self._watch = CertificateWatch(
                    lambda: self._listeners.contexts, self._renew_certificates, self._watch_every
                )
            self._selector.register(self._wake_reading, selectors.EVENT_READ, self._on_wake)
            with signals_wake(self._wake_writing, _SIGNALS, lambda *_: None):  # the byte says it all
                while not self._is_done():
                    self._start_due()
                    for key, _ in self._selector.select(self._next_due()):
                        key.data()
                    self._reap()
                    self._look_at_the_clock()
        finally:
            self._let_go()
        if self._exit_code:
            raise SystemExit(self._exit_code)

    def stop(self, grace: float, delay: float = 0.0) -> None:
        """Stops workers after ``delay`` seconds, and within ``grace`` more. From a signal handler, and from any
        thread."""
        self._stop_asked = grace, delay
        with suppress(BlockingIOError):
            self._wake_writing.send(b"\0")

    def reload_certificates(self) -> None:
        """Reads all certificates anew and gives them to every worker. WebError: they cannot be used; the old stay."""
        files = self._listeners.read_certificates()
        content = join_files(files)
        try:
            self._listeners.renew(files)
            for worker in list(self._workers.values()):
                if worker.state != LEAVING:
                    worker.tell(CERTIFICATES, content)
        finally:
            content[:] = bytes(len(content))  # it holds keys

    def _is_done(self) -> bool:
        return self._stopping and not self._workers

    def _let_go(self) -> None:
        """Gives back what the master owns. Workers that are left (something failed here) see the end of their
        channels."""
        for worker in self._workers.values():
            worker.channel.close()
        if self._successor is not None:
            self._successor.close()
        if self._predecessor is not None:
            self._predecessor.close()
        self._selector.close()
        self._wake_reading.close()
        self._wake_writing.close()

    # -- events -------------------------------------------------------------------------------------------------------

    def _on_wake(self) -> None:
        numbers = self._wake_reading.recv(4096)
        if self._stop_asked is not None:
            times, self._stop_asked = self._stop_asked, None
            self._stop_workers(*times)
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT):
                if self._signalled:
                    self._stop_workers(0.0)
                else:
                    self._stop_workers(self._grace, self._delay if number == signal.SIGTERM else 0.0)
                self._signalled = True
            elif number == signal.SIGHUP:
                self._reload()
            elif number == signal.SIGUSR1:
                self._renew_certificates()
            elif number == signal.SIGUSR2:
                self._upgrade()

    def _on_message(self, worker: Worker) -> None:
        try:
            messages = worker.channel.receive()
        except (EOFError, OSError):  # it ends, or closed all its files: then it can only be ended by signals
            self._selector.unregister(worker.channel)
            worker.channel.close()
            # A worker that closed its files is of no use, and may have nothing left by which it could be woken.
            worker.signal(signal.SIGTERM)
            if worker.kill_at is None:
                worker.kill_at = time.monotonic() + self._grace + _KILL_AFTER
            return
        for kind, content in messages:
            if kind == READY:
                self._on_ready(worker)
            elif kind == RETIRE and worker is worker.slot.current and not self._stopping:
                _log.info("%s is replaced: %s", worker, content.decode())
                worker.slot.renew = True
            elif kind == RELOAD and not self._stopping:
                self._renew_certificates()
            elif kind == STOP:
                self._stop_workers(*map(float, content.split()))

    def _on_ready(self, worker: Worker) -> None:
        if worker.state != STARTING:
            return  # it was told to stop meanwhile
        slot = worker.slot
        worker.state = STEADY
        self._ever_ready = True
        before, slot.current, slot.coming, slot.renew = slot.current, worker, None, False
        if before is not None:
            self._leave(before)
        if not self._announced and all(one.current is not None for one in self._slots):
            self._on_all_ready()
        if self._to_renew and self._to_renew[0] is slot:
            self._on_renewed()

    def _on_all_ready(self) -> None:
        self._announced = True
        self._announce(len(self._slots))
        if self._predecessor is not None:
            self._predecessor.relieve()
            self._predecessor = None
            self._listeners.inherit_files()
        self._tell_ready()

    def _tell_ready(self) -> None:
        self._notifier.ready(f"{len(self._slots)} workers serve")

    # -- the clock ----------------------------------------------------------------------------------------------------

    def _next_due(self) -> float | None:
        """Seconds until _start_due() or _look_at_the_clock() has something to do; None: no time is set."""
        times = [worker.kill_at for worker in self._workers.values() if worker.kill_at is not None]
        if not self._stopping:
            times += [slot.not_before for slot in self._slots if slot.needs_worker()]
            if self._watch is not None:
                times.append(self._watch.due)
        if self._notifier.watchdog:
            times.append(self._alive_at + self._notifier.watchdog)
        if self._listeners.contexts:
            times.append(self._forgot_at + _FORGET_EVERY)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if self._watch is not None and not self._stopping:
            self._watch.look_if_due()
        for worker in self._workers.values():
            if worker.kill_at is not None and now >= worker.kill_at:
                _log.error("%s did not end in time: it is killed", worker)
                worker.signal(signal.SIGKILL)
                worker.kill_at = None
        if self._notifier.watchdog and now >= self._alive_at + self._notifier.watchdog:
            self._notifier.alive()
            self._alive_at = now
        if now >= self._forgot_at + _FORGET_EVERY:
            self._listeners.forget_old_tickets()
            self._forgot_at = now

    # -- workers begin ------------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        for slot in self._slots:
            if not self._stopping and slot.needs_worker() and time.monotonic() >= slot.not_before:
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # closed, or a full disk
                stream.flush()  # else the worker would write it once more
        row = self._stats.take_row()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until the worker has handlers of its own
        try:
            ours, theirs = Channel.pair()
            try:
                pid = os.fork()
            except BaseException:
                ours.close()
                theirs.close()
                raise
        except OSError as error:  # no memory, no process or no file descriptor to be had
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._give_back(row)
            _log.error("worker %d cannot be forked (%s); again in %.1f s", slot.number, error.strerror, slot.back_off())
            self._count_boot_failure()
            return
        if pid == 0:
            code = 1
            try:
                self._forget(ours)
                code = live(self._seat(slot, row, theirs), self._work, _SIGNALS)
            finally:
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        worker = slot.coming = self._workers[pid] = Worker(pid, slot, row, ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._on_message(worker))
        _log.info("%s begins", worker)

    def _seat(self, slot: Slot, row: int, channel: Channel) -> Seat:
        leave_within = min(_LEAVE_WITHIN, self._grace)
        return Seat(slot.number, len(self._slots), row, channel, self._options, leave_within)

    def _give_back(self, row: int) -> None:
        if row >= 0:
            self._stats.give_back_row(row)

    def _forget(self, channel: Channel) -> None:
        """In a worker: closes its copies of what only the master uses."""
        channel.close()
        self._let_go()

    # -- workers end --------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for worker in list(self._workers.values()):
            try:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else waited for it
                pid, status = worker.pid, 0
            if pid:
                self._on_end(worker, os.waitstatus_to_exitcode(status))
        if self._successor is not None and self._successor.has_ended():
            self._on_successor()

    def _on_end(self, worker: Worker, code: int) -> None:
        del self._workers[worker.pid]
        self._give_back(worker.row)
        if worker.channel.fileno() >= 0:
            self._selector.unregister(worker.channel)
            worker.channel.close()
        slot = worker.slot
        how = f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
        if worker.state == LEAVING:
            _log.log(logging.INFO if code == 0 else logging.WARNING, "%s %s", worker, how)
            return
        if worker is slot.current:
            slot.current = None
            if time.monotonic() - worker.began > _LIVED:
                slot.failures = 0
            _log.error("%s %s; another one begins in %.1f s", worker, how, slot.back_off())
            return
        slot.coming = None
        wait = slot.back_off()
        _log.error("%s %s before it was ready; another one begins in %.1f s", worker, how, wait)
        if self._to_renew and self._to_renew[0] is slot and slot.current is not None:
            self._give_up_reload(f"{worker} {how} before it was ready")
        self._count_boot_failure()

    def _count_boot_failure(self) -> None:
        self._boot_failures += 1
        if not self._ever_ready and not self._stopping and self._boot_failures >= _BOOT_TRIES:
            _log.critical("%d workers in a row failed before one was ready: the server ends with exit code %d; what "
                          "stopped them is logged above", self._boot_failures, BOOT_FAILURE)  # fmt: skip
            self._exit_code = BOOT_FAILURE
            self._stop_workers(self._grace)

    def _leave(self, worker: Worker) -> None:
        """Somebody else accepts in its place: it finishes what it has."""
        worker.state = LEAVING
        worker.kill_at = time.monotonic() + min(_LEAVE_WITHIN, self._grace) + self._grace + _KILL_AFTER
        worker.tell(LEAVE)

    # -- stopping -----------------------------------------------------------------------------------------------------

    def _stop_workers(self, grace: float, delay: float = 0.0) -> None:
        """They hold the last copies of the sockets then, and take what waits in them before they end. Not by signals:
        systemd may send one to every process of a service, and two would mean: at once."""
        self._begin_stop()
        for worker in self._workers.values():
            worker.state = LEAVING
            worker.kill_at = time.monotonic() + delay + grace + _KILL_AFTER
            worker.tell(STOP, f"{grace} {delay}".encode())

    def _begin_stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._notifier.stopping()
        self._to_renew.clear()
        if self._successor is not None:
            self._successor.terminate()
        self._listeners.release()

    # -- reload -------------------------------------------------------------------------------------------------------

    def _renew_certificates(self) -> bool:
        return not self._listeners.contexts or reload_and_tell(self.reload_certificates)

    def _reload(self) -> None:
        """SIGHUP: certificates, then every worker is replaced, one after another."""
        if self._stopping:
            return
        if self._to_renew:
            self._reload_again = True
            return
        self._notifier.reloading()
        if self._renew_certificates():
            self._to_renew.extend(self._slots)
            self._to_renew[0].renew = True
        else:
            self._tell_ready()

    def _on_renewed(self) -> None:
        """The first of the reload is done."""
        self._to_renew.popleft()
        if self._to_renew:
            self._to_renew[0].renew = True
            return
        self._tell_ready()
        _log.info("the reload is done")
        if self._reload_again:
            self._reload_again = False
            self._reload()

    def _give_up_reload(self, reason: str) -> None:
        _log.error("the reload is given up, the old workers stay: %s", reason)
        self._to_renew[0].renew = False
        self._to_renew.clear()
        self._reload_again = False
        self._tell_ready()

    # -- upgrade ------------------------------------------------------------------------------------------------------

    def _upgrade(self) -> None:
        """SIGUSR2: this very program is started anew, and gets the sockets."""
        if self._stopping or self._successor is not None:
            return
        try:
            self._successor = Successor((place.address, place.sockets) for place in self._listeners.places)
        except OSError as error:
            _log.error("no successor can be started: %s; this one goes on", error)
            return
        self._selector.register(self._successor.pipe, selectors.EVENT_READ, self._on_successor)
        _log.info("a successor (pid %d) begins", self._successor.pid)

    def _on_successor(self) -> None:
        successor, self._successor = self._successor, None
        if successor is None:
            return  # its end was seen before the end of its pipe
        ready = successor.is_ready() and not successor.has_ended()
        self._selector.unregister(successor.pipe)
        if ready:
            _log.info("the successor (pid %d) is ready; this one ends", successor.pid)
            self._notifier.successor(successor.pid)
            self._stopping = True
            self._listeners.disown_files()
            self._listeners.release()
            for worker in self._workers.values():
                self._leave(worker)
        elif not self._stopping:
            successor.kill()
            _log.error("the successor (pid %d) failed before it was ready; this one goes on", successor.pid)
        successor.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
