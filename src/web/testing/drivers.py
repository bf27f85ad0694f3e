"""Drivers: they turn the loop while an Exchange waits, and run start and stop hooks around that.

    Alone     no asyncio: the calling thread turns the loop itself, whenever it waits
    Inside    within an asyncio loop that runs: one reader turns the loop (as web.running does); waiting is awaited
    Hosted    Inside, in an asyncio loop of its own that runs only while the client is called

A driver owns the Loop (through its Server) from start() to stop(), and belongs to the thread, and Inside to the asyncio
loop, that started it. While nobody calls it, an Alone or Hosted application stands still.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from web import running
from web._core import Connection, Loop, Pending, WebSocket
from web.server import Server
from web.testing.errors import ClientError, ReplyTimeout
from web.testing.link import Link, Waiting

if TYPE_CHECKING:
    import asyncio

__all__ = ["Alone", "Hosted", "Inside", "adopt_server"]

SETTLE_MAX = 1000  # turns after an exchange in which the loop takes note of its end

T = TypeVar("T")
_log = logging.getLogger("web")


def adopt_server(server: Server) -> Loop:
    """The loop of a server that nobody runs, without its listening sockets."""
    if server._loop is not None or server._listeners.is_open:
        raise ClientError(f"{server!r} is open already: give the test client one that nobody has opened, or its App")
    loop = server._make_loop()
    server.app._rooms.join(loop)
    return loop


def timeout_error(core: Loop, link: Link) -> ReplyTimeout:
    at_work: list[Pending | WebSocket] = [*core.pendings, *core.tasks]
    work = "; ".join(one.what for one in at_work)
    doing = f"still at work: {work}" if work else "the application is not at work on it"
    return ReplyTimeout(f"{link.what}: no answer within {link.timeout:g} s ({doing}); timeout= sets how long is waited")


class Alone:
    """For applications without async handlers and hooks."""

    def __init__(self, server: Server, core: Loop) -> None:
        self._server = server
        self._core = core
        self._fd = core.fileno()

    def start(self) -> None:
        for form in self._server.app._on_start:
            running._call(form, self._server.app)

    def drive(self, steps: Waiting[T]) -> T:
        """Runs an exchange to its end."""
        try:
            while True:
                try:
                    link = next(steps)
                except StopIteration as done:
                    result: T = done.value
                    return result
                self._wait(link)
        finally:
            steps.close()
            self.settle()

    def _wait(self, link: Link) -> None:
        """One turn of the loop, unless the link can go on without."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._fd, selectors.EVENT_READ)
            selector.register(link.sock, selectors.EVENT_READ)  # room to write comes with a turn alone
            ready = selector.select(max(0.0, link.deadline - time.monotonic()))
        if not ready:
            raise timeout_error(self._core, link)
        if any(key.fd == self._fd for key, _ in ready):
            self._core.run_once(0)

    def settle(self, connection: Connection | None = None) -> None:
        """The loop sees that a link was closed."""
        for _ in range(SETTLE_MAX):
            if not has_work(self._fd):
                return
            self._core.run_once(0)

    def stop(self) -> list[Exception]:
        """Runs stop hooks; what they raised. close() comes after it."""
        failed: list[Exception] = []
        for form in reversed(self._server.app._on_stop):
            try:
                running._call(form, self._server.app)
            except Exception as error:  # noqa: BLE001 - the other hooks still run
                failed.append(error)
        return failed

    def close(self) -> None:
        """Gives everything back, without hooks."""
        self._server.close()


class Inside:
    """For any application, within the asyncio loop that runs."""

    def __init__(self, server: Server, core: Loop) -> None:
        self._server = server
        self._core = core
        self._fd = core.fileno()
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}  # by the file descriptor of their link

    async def start(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        self._core.use_tasks(*running._spawning(loop), loop.call_soon)
        loop.add_reader(self._fd, self._turn)
        try:
            for form in self._server.app._on_start:
                await running._call_async(form, self._server.app)
        except BaseException:
            self.leave(loop)
            raise

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """The asyncio loop no longer turns ours."""
        loop.remove_reader(self._fd)

    async def drive(self, steps: Waiting[T]) -> T:
        """Runs an exchange to its end. Cancelled, it ends it."""
        try:
            while True:
                try:
                    link = next(steps)
                except StopIteration as done:
                    result: T = done.value
                    return result
                await self._wait(link)
        finally:
            steps.close()

    async def settle(self, connection: Connection | None = None) -> None:
        """Lets the loop, and those whom it cancels, see that a link was closed; and the handler of a WebSocket, by its
        ``connection``: it has so many turns to come to its end."""
        import asyncio

        for _ in range(SETTLE_MAX):
            await asyncio.sleep(0)
            if not has_work(self._fd) and all(ws.request.connection is not connection for ws in self._core.tasks):
                return

    async def _wait(self, link: Link) -> None:
        """Until the link can go on."""
        import asyncio

        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        fd = link.sock.fileno()
        timer = loop.call_later(max(0.0, link.deadline - time.monotonic()), self._expire, woken, link)
        self._waiting.setdefault(fd, set()).add(woken)
        loop.add_reader(fd, self._wake, loop, fd)
        if link.wants_write:
            loop.add_writer(fd, self._wake, loop, fd)
        try:
            await woken
        finally:
            timer.cancel()
            if self._waiting.get(fd) == {woken}:  # it gave up, and was the last one
                self._unwatch(loop, fd)
            self._waiting.get(fd, set()).discard(woken)

    def wake(self, link: Link) -> None:
        """Whoever waits for it looks at it: it is about to be closed."""
        import asyncio

        if link.sock.fileno() in self._waiting:
            self._wake(asyncio.get_running_loop(), link.sock.fileno())

    def _wake(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        """All who wait for one connection look at it, once."""
        for woken in self._unwatch(loop, fd):
            if not woken.done():
                woken.set_result(None)

    def _unwatch(self, loop: asyncio.AbstractEventLoop, fd: int) -> set[asyncio.Future[None]]:
        """Who waited."""
        loop.remove_reader(fd)
        loop.remove_writer(fd)
        return self._waiting.pop(fd, set())

    def _expire(self, woken: asyncio.Future[None], link: Link) -> None:
        if not woken.done():
            woken.set_exception(timeout_error(self._core, link))

    def _turn(self) -> None:
        try:
            self._core.run_once(0)
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            for woken in set().union(*self._waiting.values()):
                if not woken.done():
                    woken.set_exception(error)

    async def stop(self) -> list[Exception]:
        """Ends every connection and Task, runs stop hooks and closes the server; what the hooks raised."""
        import asyncio

        failed: list[Exception] = []
        try:
            self.leave(asyncio.get_running_loop())
            await running._end_tasks(self._core)
            for form in reversed(self._server.app._on_stop):
                try:
                    await running._call_async(form, self._server.app)
                except Exception as error:  # noqa: BLE001 - the other hooks still run
                    failed.append(error)
        finally:
            self._server.close()
        return failed


class Hosted:
    """For applications with async handlers or hooks, called from where no asyncio loop runs."""

    def __init__(self, server: Server, core: Loop) -> None:
        import asyncio

        self._server = server
        self._inner = Inside(server, core)
        factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop  # named: nobody else's is replaced
        if server._event_loop == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        self._runner = asyncio.Runner(loop_factory=factory)

    def start(self) -> None:
        self._run(self._inner.start)

    def drive(self, steps: Waiting[T]) -> T:
        import asyncio

        begun: list[asyncio.Task[Any]] = []

        async def exchange() -> T:
            if task := asyncio.current_task():
                begun.append(task)
            try:
                return await self._inner.drive(steps)
            finally:
                await self._inner.settle()

        async def end() -> None:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

        try:
            return self._run(exchange)
        except (KeyboardInterrupt, SystemExit):  # out of the asyncio loop itself: the exchange still waits
            self._run(end)
            raise

    def settle(self, connection: Connection | None = None) -> None:
        self._run(lambda: self._inner.settle(connection))

    def stop(self) -> list[Exception]:
        return self._run(self._inner.stop)

    def close(self) -> None:
        """Gives everything back, without hooks. Where a finalizer calls it, some asyncio loop may be running here."""
        loop = self._runner.get_loop()
        if not loop.is_closed():
            self._inner.leave(loop)
        self._server.close()
        if is_inside_asyncio():
            loop.close()
        else:
            self._runner.close()

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if is_inside_asyncio():
            raise ClientError(
                "this app has async handlers or hooks, and an asyncio loop runs here already: "
                "async with web.testing.AsyncClient(app) as client: await client.get(...)"
            )
        return self._runner.run(work())


def is_inside_asyncio() -> bool:
    import asyncio

    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


def has_work(fd: int) -> bool:
    """Whether a loop has work, by its file descriptor."""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(0))
