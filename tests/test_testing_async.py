"""web.testing.AsyncClient: the same within an asyncio loop."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

import web
from tests.test_testing import ASYNC, make_app
from web.testing import AsyncClient, Client, ClientError, ReplyTimeout, StatusError

Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Runs a test's coroutine, and looks whether Tasks are left."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    def run(main: Main) -> None:
        async def around() -> None:
            await main()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=factory, debug=True) as runner:
            runner.run(around())
        gc.collect()

    return run


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("more", [(), ASYNC], ids=["plain", "async"])
def test_it_answers_as_client_does(run: Callable[[Main], None], scheme: Any, more: tuple[web.app.Form, ...]) -> None:
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/describe?a=1", {"params": {"b": 2}, "headers": {"X": "y"}}),
        ("POST", "/describe", {"json": {"a": 1}}),
        ("PUT", "/describe", {"content": [b"a", b"b"]}),
        ("PATCH", "/describe", {"data": {"a": 1}}),
        ("DELETE", "/describe", {}),
        ("HEAD", "/describe", {}),
        ("OPTIONS", "/describe", {}),
        ("GET", "/set", {}),
        ("GET", "/redirect?to=/describe", {"follow_redirects": True}),
        ("GET", "/redirect?to=/describe", {}),
        ("GET", "/nowhere", {}),
        ("GET", "/large", {}),
        ("POST", "/echo", {"content": b"x" * 1_000_000}),
        ("POST", "/echo", {"content": b"x" * 20_000_000}),
    ]
    with Client(make_app(*more), scheme=scheme) as client:
        expected = [client.request(method, url, **options) for method, url, options in asked]

    async def main() -> None:
        async with AsyncClient(make_app(*more), scheme=scheme) as client:
            for (method, url, options), other in zip(asked, expected, strict=True):
                reply = await client.request(method, url, **options)
                assert (reply.status_code, reply.content, reply.url) == (other.status_code, other.content, other.url)
                assert (reply.cookies, len(reply.history)) == (other.cookies, len(other.history))
                assert [name for name, _ in reply.headers.items()] == [name for name, _ in other.headers.items()]

    run(main)


def test_the_methods(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with AsyncClient(make_app()) as client:
            asked: list[tuple[str, Callable[..., Awaitable[Any]]]] = [
                ("GET", client.get),
                ("POST", client.post),
                ("PUT", client.put),
                ("PATCH", client.patch),
                ("DELETE", client.delete),
            ]
            for method, ask in asked:
                assert (await ask("/describe")).json()["method"] == method
            assert (await client.head("/describe")).content == b""
            assert (await client.options("/describe")).status_code == 204

    run(main)


def test_requests_at_the_same_time(run: Callable[[Main], None]) -> None:
    together = 0
    everybody = asyncio.Event()

    async def meet(req: web.Request) -> str:
        nonlocal together
        together += 1
        if together == 20:
            everybody.set()
        await everybody.wait()
        return req.query["n"]

    async def main() -> None:
        nonlocal together
        together = 0
        everybody.clear()
        async with AsyncClient(web.App(web.GET("/", meet))) as client:
            replies = await asyncio.gather(*[client.get("/", params={"n": n}) for n in range(20)])
        assert [reply.text for reply in replies] == [str(n) for n in range(20)]

    run(main)


def test_the_handler_runs_in_the_loop_of_the_test(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        queue: asyncio.Queue[str] = asyncio.Queue()
        began = asyncio.Event()

        async def take(req: web.Request) -> str:
            began.set()
            return await queue.get()

        async with AsyncClient(web.App(web.GET("/", take))) as client:
            asking = asyncio.create_task(client.get("/"))
            await began.wait()
            queue.put_nowait("from the test")
            assert (await asking).text == "from the test"

    run(main)


def test_what_handlers_raise(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with AsyncClient(make_app(*ASYNC)) as client:
            for path in ("/fail", "/fail/blocking", "/fail/later"):
                with pytest.raises(LookupError, match=path):
                    await client.get(path)
            results = await asyncio.gather(
                client.get("/fail/later"), client.get("/async"), client.get("/fail"), return_exceptions=True
            )
            assert [type(result).__name__ for result in results] == ["LookupError", "Reply", "LookupError"]
        async with AsyncClient(make_app(*ASYNC), raise_handler_exceptions=False) as client:
            for path in ("/fail", "/fail/blocking", "/fail/later"):
                assert (await client.get(path)).status_code == 500

    run(main)


def test_cancelled_errors_of_the_application_do_not_cancel_the_test(run: Callable[[Main], None]) -> None:
    async def cancel(req: web.Request) -> str:
        raise asyncio.CancelledError

    async def main() -> None:
        async with AsyncClient(web.App(web.GET("/", cancel))) as client:
            with pytest.raises(ClientError, match="the application raised CancelledError"):
                await client.get("/")

    run(main)


def test_pieces(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with AsyncClient(make_app(web.GET("/lines", lambda req: "a\nb\r\nc"))) as client:
            async with client.stream("GET", "/large") as reply:
                assert reply.raise_for_status() is reply
                pieces = reply.aiter_bytes()
                first = await anext(pieces)
                assert 0 < len(first) < 3_000_000
                assert len(first) + len(await reply.aread()) == 3_000_000
                await pieces.aclose()  # type: ignore[attr-defined]
            async with client.stream("GET", "/lines") as reply:
                assert [line async for line in reply.aiter_lines()] == ["a", "b", "c"]
            async with client.stream("GET", "/nowhere") as reply:
                with pytest.raises(StatusError, match="404"):
                    reply.raise_for_status()
            async with client.stream("GET", "/large"):
                pass
            assert (await client.get("/describe")).status_code == 200

    run(main)


def test_time_outs_and_those_who_leave(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        events: asyncio.Queue[str] = asyncio.Queue()

        async def never(req: web.Request) -> str:
            events.put_nowait(f"{req.path} began")
            try:
                await asyncio.sleep(1000)
            finally:
                events.put_nowait(f"{req.path} ended")
            return "late"

        async with AsyncClient(web.App(web.GET("/:how", never))) as client:
            with pytest.raises(ReplyTimeout, match=r"no answer within 0\.05 s \(still at work: GET /late"):
                await client.get("/late", timeout=0.05)
            assert [await events.get(), await events.get()] == ["/late began", "/late ended"]
            asking = asyncio.create_task(client.get("/cancelled"))
            assert await events.get() == "/cancelled began"
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert await events.get() == "/cancelled ended"
            open_still = asyncio.create_task(client.get("/closed"))
            assert await events.get() == "/closed began"
        assert events.get_nowait() == "/closed ended"  # what is open when it ends is ended
        with pytest.raises(ClientError):
            await open_still

    run(main)


def test_hooks(run: Callable[[Main], None]) -> None:
    seen: list[str] = []

    async def start(app: web.App) -> None:
        await asyncio.sleep(0)
        seen.append("start")

    def stop() -> None:
        seen.append("stop")

    def fail() -> None:
        raise OSError("no")

    async def main() -> None:
        seen.clear()
        async with AsyncClient(web.App(web.on_start(start), web.on_stop(stop))) as client:
            assert (await client.get("/")).status_code == 404
            assert seen == ["start"]
        assert seen == ["start", "stop"]
        with pytest.raises(OSError, match="no"):
            async with AsyncClient(web.App(web.on_start(start), web.on_start(fail), web.on_stop(stop))):
                pass
        assert seen == ["start", "stop", "start"]
        with pytest.raises(OSError, match="no"):
            async with AsyncClient(web.App(web.on_stop(stop), web.on_stop(fail))):
                pass
        assert seen[-1] == "stop"

    run(main)


def test_its_life(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        client = AsyncClient(make_app())
        with pytest.raises(ClientError, match="is not started: write `async with`"):
            await client.get("/")
        async with client:
            with pytest.raises(ClientError, match="started already"):
                await client.__aenter__()
            assert (await client.get("/blocking")).text.startswith("web handler")
            await client.aclose()
            await client.aclose()
            with pytest.raises(ClientError, match="is closed"):
                await client.get("/")

    run(main)


def test_a_turn_that_fails_is_raised(run: Callable[[Main], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop broke: whoever waits hears of it, and whoever comes later."""

    async def main() -> None:
        began = asyncio.Event()

        async def never(req: web.Request) -> str:
            began.set()
            await asyncio.sleep(1000)
            return "late"

        async with AsyncClient(web.App(web.GET("/never", never))) as client:
            assert client._driver is not None
            waiting = asyncio.create_task(client.get("/never"))
            await began.wait()

            class Broken:
                pendings: set[object] = set()  # noqa: RUF012

                def run_once(self, timeout: float) -> None:
                    core.wake()  # it has work for ever
                    raise OSError("the poller failed")

            core, client._driver._core = client._driver._core, Broken()  # type: ignore[assignment]
            core.wake()
            for asking in (waiting, asyncio.create_task(client.get("/never"))):
                with pytest.raises(OSError, match="the poller failed"):
                    await asking
            client._driver._core = core

    run(main)
