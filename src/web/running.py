"""How an opened loop runs until it has stopped: by its thread alone, or inside asyncio; and the hooks around that.

Alone the loop waits by itself; asyncio is never imported. Inside asyncio one reader stands for all of it: the loop's fd
is readable exactly when ``run_once`` has work, so asyncio owns the thread, and coroutines run in its Tasks. In both
cases: start hooks, ``ready``, requests, then (stopped or failed) stop hooks. Server opens the loop before and closes it
after.

Where a start hook fails, nothing is served, and no stop hook runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from web._core import Loop, Stepper
from web.app import App
from web.errors import WebError
from web.routing import OnStart, OnStop, is_async

if TYPE_CHECKING:
    import asyncio

__all__ = ["check_event_loop", "needs_asyncio", "run_alone", "run_in_asyncio", "run_inside"]

_log = logging.getLogger("web")

# Seconds for Tasks to end after they were cancelled. One that goes on all the same is named and left behind.
_CANCEL_PATIENCE = 0.5

# Seconds between two looks at how late this thread is: what async handlers do the loop cannot see.
_LAG_PERIOD = 1.0


def check_event_loop(name: str) -> None:
    """ValueError, or WebError where it is not installed, unless it is an event loop that servers can run in."""
    if name not in ("asyncio", "uvloop"):
        raise ValueError(f"loop={name!r}: give 'asyncio' or 'uvloop'")
    if name == "uvloop":
        from importlib.util import find_spec

        if find_spec("uvloop") is None:
            raise WebError("loop='uvloop': uvloop is not installed; pip install weblatch[uvloop]")


def needs_asyncio(app: App, core: Loop) -> bool:
    """Whether anything of the app is async."""
    return core.dispatcher.needs_asyncio or any(is_async(form.hook) for form in (*app._on_start, *app._on_stop))


def run_alone(app: App, core: Loop, ready: Callable[[], None]) -> None:
    """Serves in this thread until the loop has stopped."""
    for start in app._on_start:
        _call(start, app)
    try:
        ready()
        core.run()
    finally:
        for stop in reversed(app._on_stop):
            try:
                _call(stop, app)
            except Exception:  # noqa: BLE001 - the other hooks still run
                _log.exception("stop hook %s failed", stop.label)


def run_in_asyncio(
    app: App, core: Loop, event_loop: str, ready: Callable[[], None], grace: Callable[[], float]
) -> None:
    """Serves in this thread, in an event loop of its own, until the loop has stopped."""
    import asyncio

    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if event_loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run_inside(app, core, ready, grace))


async def run_inside(app: App, core: Loop, ready: Callable[[], None], grace: Callable[[], float]) -> None:
    """Serves in the event loop that is running, until the loop has stopped. Cancelled, it ends everything at once.

    ``grace``: how many seconds those may take whose client went away and who go on all the same.
    """
    import asyncio

    event_loop = asyncio.get_running_loop()
    core.use_tasks(*_spawning(event_loop), event_loop.call_soon)
    for start in app._on_start:
        await _call_async(start, app)
    finished: asyncio.Future[None] = event_loop.create_future()

    def turn() -> None:
        try:
            core.run_once(0)
        except Exception as error:  # noqa: BLE001 - the poller failed: nothing can be served any more
            if not finished.done():
                finished.set_exception(error)
        if core.finished and not finished.done():
            finished.set_result(None)

    lag: asyncio.TimerHandle

    def look(due: float) -> None:
        nonlocal lag
        now = event_loop.time()
        core.note_lag(max(0.0, now - due))
        lag = event_loop.call_at(now + _LAG_PERIOD, look, now + _LAG_PERIOD)

    fd = core.fileno()
    event_loop.add_reader(fd, turn)
    began = event_loop.time()
    lag = event_loop.call_at(began + _LAG_PERIOD, look, began + _LAG_PERIOD)
    try:
        ready()
        await finished
        await _finish_tasks(core, grace())
    finally:
        lag.cancel()
        event_loop.remove_reader(fd)
        await _end_tasks(core)
        for stop in reversed(app._on_stop):
            try:
                await _call_async(stop, app)
            except Exception:  # noqa: BLE001 - the other hooks still run
                _log.exception("stop hook %s failed", stop.label)


def _spawning(event_loop: asyncio.AbstractEventLoop) -> tuple[Callable[[Any], asyncio.Task[None]], bool]:
    """What makes a Task of a coroutine, and whether its first step is taken at once."""
    import asyncio
    import sys

    if event_loop.get_task_factory() is not None:
        return event_loop.create_task, False
    if sys.version_info >= (3, 12):
        return partial(asyncio.Task, loop=event_loop, eager_start=True), True
    return (Stepper(event_loop), True) if hasattr(event_loop, "__dict__") else (event_loop.create_task, False)


async def _finish_tasks(core: Loop, patience: float) -> None:
    """Awaits the Tasks that outlive their clients."""
    import asyncio

    if tasks := _tasks(core):
        await asyncio.wait(tasks, timeout=patience)


def _tasks(core: Loop) -> dict[asyncio.Task[None], Any]:
    """All Tasks of handlers, and what each of them answers."""
    waiting: list[Any] = [*core.pendings, *core.tasks]
    return {one.task: one for one in waiting if one.task is not None}


async def _end_tasks(core: Loop) -> None:
    """Ends every connection, cancels every Task, and awaits their ends."""
    import asyncio

    tasks = _tasks(core)
    core.end_connections()
    for task in tasks:
        task.cancel()
    if tasks:
        _, stuck = await asyncio.wait(tasks, timeout=_CANCEL_PATIENCE)
        for task in stuck:
            _log.error("a handler goes on though it was cancelled; the server leaves it behind: %s", tasks[task].what)


def _call(form: OnStart | OnStop, app: App) -> object:
    hook: Callable[..., object] = form.hook
    return hook(app) if form.with_app else hook()


async def _call_async(form: OnStart | OnStop, app: App) -> None:
    result = _call(form, app)
    if is_async(form.hook):
        await result  # type: ignore[misc]
