"""Brokers as an App uses them: when they are started and stopped, what they are given, and what they give."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import web
from web import testing
from web.brokers import Deliver, LocalBroker


class Noted:
    """A broker that notes what happens to it, and delivers when it is told to."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.deliver: Deliver | None = None

    def publish(self, topic: str, message: str | bytes) -> None:
        self.events.append((topic, message))

    def start(self, deliver: Deliver) -> None:
        self.events.append("start")
        self.deliver = deliver

    def stop(self) -> None:
        self.events.append("stop")


def server_of(app: web.App) -> web.Server:
    return web.Server(app, "127.0.0.1", limits=web.Limits(shutdown_grace=0.0))


def noted_app() -> tuple[Noted, web.App]:
    """An App whose hooks are noted beside its broker."""
    broker = Noted()
    app = web.App(
        web.GET("/", lambda req: "ok"),
        web.on_start(lambda: broker.events.append("on_start")),
        web.on_stop(lambda: broker.events.append("on_stop")),
        broker=broker,
    )
    return broker, app


WHOLE = ["start", "on_start", "on_stop", "stop"]


def test_it_is_started_before_start_hooks_and_stopped_after_stop_hooks() -> None:
    broker, app = noted_app()
    for _ in range(2):
        with server_of(app).running():
            assert broker.events == WHOLE[:2]
        assert broker.events == WHOLE
        broker.events.clear()


def test_it_is_the_same_inside_asyncio() -> None:
    broker, app = noted_app()

    async def main() -> None:
        server = server_of(app)
        app.on_start(server.stop)
        await server.run_async()

    asyncio.run(main())
    assert broker.events == WHOLE


def test_opening_and_checking_do_not_start_it() -> None:
    broker, app = noted_app()
    server = server_of(app)
    server.check()
    server.open()
    server.close()
    assert broker.events == []


def test_a_server_that_is_turned_by_others_starts_it_at_its_first_turn() -> None:
    broker, app = noted_app()
    server = server_of(app)
    server.open()
    server.run_once(0)
    server.run_once(0)
    server.fileno()
    assert broker.events == ["start"]
    server.close()
    server.close()
    assert broker.events == ["start", "stop"]


def test_the_test_client_starts_and_stops_it() -> None:
    broker, app = noted_app()
    with testing.Client(app) as client:
        assert client.get("/").text == "ok"
    assert broker.events == WHOLE


def test_the_first_server_starts_it_and_the_last_one_stops_it() -> None:
    broker, app = noted_app()
    one, two = server_of(app), server_of(app)
    with one.running():
        with two.running():
            pass
        assert broker.events.count("start") == 1
        assert broker.events.count("stop") == 0
    assert broker.events[-1] == "stop"
    assert broker.events.count("stop") == 1


@pytest.mark.parametrize("where", ["broker", "hook"])
def test_what_cannot_start_is_raised_and_nothing_is_left(where: str) -> None:
    broker, app = noted_app()
    fails = [True]

    def fail() -> None:
        if fails:
            raise LookupError("not yet")

    def start(deliver: Deliver) -> None:
        fail()
        Noted.start(broker, deliver)

    if where == "broker":
        broker.start = start  # type: ignore[method-assign]
    else:
        app.on_start(fail)
    with pytest.raises(LookupError, match="not yet"), server_of(app).running():
        pass
    assert broker.events == ([] if where == "broker" else ["start", "on_start", "stop"])
    fails.clear()
    broker.events.clear()
    with server_of(app).running():
        pass
    assert broker.events == WHOLE


def test_it_is_given_messages_as_they_are_or_as_bytes() -> None:
    broker, app = noted_app()
    kept = b"bytes"
    for message in ("text", kept, bytearray(b"array"), memoryview(b"view")):
        app.publish("t", message)
    assert broker.events == [("t", "text"), ("t", b"bytes"), ("t", b"array"), ("t", b"view")]
    assert all(type(event[1]) in (str, bytes) for event in broker.events if isinstance(event, tuple))


@pytest.mark.parametrize(
    ("topic", "message", "words"),
    [
        (b"t", "x", "the topic is text, not bytes"),
        ("t", 1, "a message is str or bytes-like, not int"),
        ("t", None, "a message is str or bytes-like, not NoneType"),
    ],
)
def test_what_is_no_message_is_refused_before_anybody_is_told(topic: Any, message: Any, words: str) -> None:
    broker, app = noted_app()
    publishers: list[Callable[[Any, Any], None]] = [app.publish, server_of(app).publish]
    for publish in publishers:
        with pytest.raises(TypeError, match=words):
            publish(topic, message)
        with pytest.raises(UnicodeEncodeError):
            publish("t", "\udfff")
    assert broker.events == []


def test_without_a_server_nobody_hears_it() -> None:
    app = web.App()
    server = server_of(app)
    for _ in range(2):
        app.publish("t", "x")
        server.publish("t", b"x")
        with server.running():
            app.publish("t", "x")
            server.publish("t", b"x")


def test_a_server_is_not_kept_by_its_app() -> None:
    broker, app = noted_app()
    server = server_of(app)
    server.run_once(0)
    loop = weakref.ref(server._loop)
    del server
    gc.collect()
    assert loop() is None
    assert broker.deliver is not None
    broker.deliver("t", "to nobody")
    with server_of(app).running():  # it is started already, and stopped with this one
        pass
    assert broker.events == WHOLE


def test_what_cannot_be_a_broker_is_told_at_once() -> None:
    for wrong in ("redis://localhost", object(), Deliver):
        with pytest.raises(TypeError, match=r"App\(broker=.*\): it has no publish\(\); give a web.RedisBroker"):
            web.App(broker=wrong)  # type: ignore[arg-type]


def test_the_local_one_delivers_within_the_call() -> None:
    heard: list[tuple[str, str | bytes]] = []
    broker: web.Broker = LocalBroker()
    broker.publish("t", "before")
    broker.start(lambda topic, message: heard.append((topic, message)))
    broker.publish("t", "text")
    broker.publish("u", b"bytes")
    assert heard == [("t", "text"), ("u", b"bytes")]
    broker.stop()
    broker.publish("t", "after")
    assert len(heard) == 2
    assert repr(broker) == "LocalBroker()"
