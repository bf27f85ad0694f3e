"""RedisBroker against a real Redis: what is heard, how often, and what becomes of it when Redis goes and comes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

import web
from tests.masters import pids, stop
from tests.redis_server import RedisServer, find_program
from tests.serving import Process, fetch, process, program
from tests.wire.clients import eventually
from web import redis_broker


class Node:
    """A started broker, and what it delivered."""

    def __init__(self, url: str, **options: Any) -> None:
        self.broker = web.RedisBroker(url, **options)
        self.heard: list[tuple[str, str | bytes]] = []
        self.start()

    def start(self) -> None:
        self.broker.start(lambda topic, message: self.heard.append((topic, message)))

    def say(self, *messages: str | bytes, topic: str = "t") -> None:
        for message in messages:
            self.broker.publish(topic, message)

    def hears(self, *messages: str | bytes) -> None:
        """Waits for as many as these, and forgets them."""
        eventually(lambda: len(self.heard) >= len(messages), f"{len(self.heard)} of {len(messages)}: {self.heard[:9]}")
        found = [message for _, message in self.heard]
        self.heard.clear()
        assert found == list(messages)

    def up(self) -> None:
        eventually(lambda: self.broker.is_connected, "it is connected")

    def down(self) -> None:
        eventually(lambda: not self.broker.is_connected, "it is not connected")


class Nodes:
    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.stack = ExitStack()

    def __call__(self, **options: Any) -> Node:
        node = Node(self.server.url, **options)
        self.stack.callback(node.broker.stop)
        return node


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    own = RedisServer(find_program(), tmp_path)
    own.start()
    yield own
    own.kill()


@pytest.fixture
def nodes(server: RedisServer) -> Iterator[Nodes]:
    """``nodes()``: one more started broker."""
    found = Nodes(server)
    with found.stack:
        yield found


@pytest.fixture
def absent(tmp_path: Path) -> Iterator[RedisServer]:
    """One that is not started yet."""
    own = RedisServer(find_program(), tmp_path)
    yield own
    own.kill()


def quick(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    for name, value in seconds.items():
        monkeypatch.setattr(redis_broker, f"_{name.upper()}", value)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# ---- while Redis is there ----


def test_all_hear_it_once_each_and_text_stays_text(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    ann, bob = nodes(), nodes()
    said: list[str | bytes] = ["Grüße", b"\x00\xff", "", b"", "b is text", b"t is binary", "x" * 300_000, b"end"]
    ann.say(*said)
    ann.hears(*said)
    bob.hears(*said)
    bob.say("back")
    ann.hears("back")
    bob.hears("back")
    assert (errors(caplog), warnings(caplog)) == ([], [])


def test_topics_are_any_text(nodes: Nodes) -> None:
    ann, bob = nodes(), nodes()
    topics = ["", "a b", "Käse/*?[x]\\", "weblatch:", "\r\n$5"]
    for topic in topics:
        ann.say("x", topic=topic)
    for node in (ann, bob):
        eventually(lambda node=node: len(node.heard) == len(topics))  # type: ignore[misc]
        assert node.heard == [(topic, "x") for topic in topics]


def test_many_keep_their_order(nodes: Nodes) -> None:
    ann, bob = nodes(), nodes()
    said = [str(number) for number in range(5000)]
    ann.say(*said)
    ann.hears(*said)
    bob.hears(*said)


@pytest.mark.parametrize("prefix", ["a*:", "a[bc]:", "a?:", "a\\:", "a^"])
def test_a_prefix_means_itself(nodes: Nodes, server: RedisServer, prefix: str) -> None:
    ann, bob = nodes(prefix=prefix), nodes(prefix=prefix)
    for other in ("axx:", "ab:", "a:", "weblatch:"):
        assert server.ask("PUBLISH", f"{other}t", b"t" + b"x" * 8 + b"to others") == 0
    ann.say("to both")
    ann.hears("to both")
    bob.hears("to both")


def test_other_prefixes_are_other_topics(nodes: Nodes) -> None:
    ann, eve = nodes(prefix="a:"), nodes(prefix="b:")
    ann.say("to a")
    ann.hears("to a")
    eve.say("to b")
    eve.hears("to b")
    assert ann.heard == []


def test_what_somebody_else_publishes_there_is_dropped(
    nodes: Nodes, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    ann = nodes()
    for content in (b"", b"t", b"x" + b"i" * 8 + b"kind", b"t" + b"i" * 8 + b"\xff", b"hello"):
        assert server.ask("PUBLISH", "weblatch:t", content) == 1
    assert server.ask("PUBLISH", b"weblatch:\xff", b"t" + b"i" * 8 + b"topic") == 1
    ann.say("goes on")
    ann.hears("goes on")
    assert [words for words in warnings(caplog) if "somebody else publishes to" in words] == warnings(caplog)
    assert len(warnings(caplog)) == 1
    assert ann.broker.is_connected


def test_silence_is_no_outage(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick(monkeypatch, ping_after=0.02)
    before = int(server.ask("INFO", "stats")["total_commands_processed"])
    ann = nodes()
    eventually(lambda: int(server.ask("INFO", "stats")["total_commands_processed"]) > before + 200)  # with these looks
    ann.say("goes on")
    ann.hears("goes on")
    assert errors(caplog) == []


# ---- Redis goes, and comes ----


def test_redis_is_killed_and_comes_back(nodes: Nodes, server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    ann, bob = nodes(), nodes()
    server.kill()
    ann.down()
    bob.down()
    ann.say("to ann", b"alone")
    ann.hears("to ann", b"alone")
    server.start()
    ann.up()
    bob.up()
    ann.say("to both")
    ann.hears("to both")
    bob.hears("to both")
    assert len(errors(caplog)) == 2  # one each
    assert all("until it is back" in words for words in errors(caplog))
    assert sorted("it is back after" in words for words in warnings(caplog)) == [True, True]


def test_an_outage_is_told_once_and_the_next_one_too(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick(monkeypatch, back_off=0.01, back_off_most=0.02)
    ann = nodes()
    tries: list[int] = []
    session = redis_broker._Session.__init__

    def counted(*arguments: Any) -> None:
        tries.append(1)
        session(*arguments)

    monkeypatch.setattr(redis_broker._Session, "__init__", counted)
    for outage in (1, 2):
        server.kill()
        tries.clear()
        eventually(lambda: len(tries) > 10, "it tries again and again")
        server.start()
        ann.up()
        assert len(errors(caplog)) == outage


def test_nobody_hears_anything_twice_however_redis_comes_and_goes(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, back_off=0.01, back_off_most=0.02)
    ann, bob = nodes(), nodes()
    said: list[str | bytes] = []
    over = threading.Event()

    def speak() -> None:
        while not over.is_set():
            message = str(len(said))
            said.append(message)
            ann.broker.publish("t", message)
            over.wait(0.0005)

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        for _ in range(3):
            count = len(bob.heard)
            eventually(lambda count=count: len(bob.heard) > count + 50, "bob hears ann")  # type: ignore[misc]
            server.kill()
            ann.down()
            count = len(ann.heard)
            eventually(lambda count=count: len(ann.heard) > count + 50, "ann hears herself")  # type: ignore[misc]
            server.start()
            ann.up()
            bob.up()
    finally:
        over.set()
        speaker.join()
    ann.hears(*said)
    numbers = [int(message) for _, message in bob.heard]
    assert numbers == sorted(set(numbers))
    assert ann.broker.dropped == 0


def test_one_that_hangs_holds_nobody_and_nothing_comes_twice(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It had taken the messages before it was halted, and sends them once it goes on: they were given out meanwhile."""
    monkeypatch.setattr(redis_broker, "_ANSWER_WITHIN", 0.2)
    quick(monkeypatch, back_off=0.01, back_off_most=0.02, connect_within=0.2)
    ann = nodes()
    server.halt()
    try:
        ann.say("1", "2")
        ann.hears("1", "2")
        assert not ann.broker.is_connected
    finally:
        server.go_on()
    ann.up()
    ann.say("3")
    ann.hears("3")
    assert len(errors(caplog)) == 1


def test_what_comes_back_too_late_is_not_heard_again(nodes: Nodes, server: RedisServer) -> None:
    ann, bob = nodes(), nodes()
    link = ann.broker._link
    assert link is not None
    former = link._id
    server.kill()
    ann.down()
    server.start()
    ann.up()
    bob.up()
    assert link._id != former
    assert server.ask("PUBLISH", "weblatch:t", b"t" + former + b"late") == 2
    bob.hears("late")
    bob.say("goes on")
    ann.hears("goes on")


def test_one_that_is_silent_is_given_up(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick(monkeypatch, ping_after=0.1)
    ann = nodes()
    server.halt()
    try:
        ann.down()
    finally:
        server.go_on()
    eventually(lambda: errors(caplog), "it is told")
    assert "it does not answer" in errors(caplog)[0]


def test_the_oldest_are_dropped_and_counted(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_broker, "_QUEUE", 10)
    ann = nodes()
    server.halt()
    try:
        ann.say("first")
        eventually(lambda: ann.broker._link is not None and not ann.broker._link._queue, "it is on its way")
        ann.say(*[str(number) for number in range(50)])
        assert ann.broker.dropped == 40
    finally:
        server.go_on()
    ann.hears("first", *[str(number) for number in range(40, 50)])
    assert [words for words in warnings(caplog) if "the oldest messages are dropped" in words] == warnings(caplog)
    assert len(warnings(caplog)) == 1
    ann.broker.stop()
    assert ann.broker.dropped == 40


def test_large_messages_are_bounded_by_their_bytes(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker, "_QUEUE_BYTES", 1000)
    ann = nodes()
    for _ in range(5):
        ann.say(b"z" * 900)
        ann.hears(b"z" * 900)
    server.halt()
    try:
        ann.say("first")
        eventually(lambda: ann.broker._link is not None and not ann.broker._link._queue, "it is on its way")
        ann.say(b"a" * 400, b"b" * 400)
        assert ann.broker.dropped == 0
        ann.say(b"c" * 400, b"d" * 5000)
        assert ann.broker.dropped == 3
        ann.say(b"e" * 10)
        assert ann.broker.dropped == 4
    finally:
        server.go_on()
    ann.hears("first", b"e" * 10)


def test_what_redis_refuses_is_heard_here(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.ask("ACL", "SETUSER", "mute", "on", ">secret", "+@all", "-publish", "&*")
    ann = Node(server.url.replace("//", "//mute:secret@"))
    try:
        ann.say("only here")
        ann.hears("only here")
        assert "secret" not in caplog.text + repr(ann.broker)
        assert str(server.port) in errors(caplog)[0]
    finally:
        ann.broker.stop()


def test_it_starts_without_redis(absent: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    ann, bob = Node(absent.url), Node(absent.url)
    try:
        ann.say("only here")
        ann.hears("only here")
        assert len(errors(caplog)) == 2
        absent.start()
        ann.up()
        bob.up()
        bob.say("to both")
        ann.hears("to both")
    finally:
        ann.broker.stop()
        bob.broker.stop()


# ---- its life ----


def test_it_stops_while_redis_is_down(nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, back_off=1000.0, back_off_most=1000.0)
    ann = nodes()
    server.kill()
    ann.down()
    ann.broker.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name == "web broker"] == []
    ann.say("nobody hears it")
    server.start()
    ann.start()
    ann.up()
    ann.say("again")
    ann.hears("again")


def test_what_was_published_before_it_stops_is_sent(nodes: Nodes) -> None:
    ann, bob = nodes(), nodes()
    said = [str(number) for number in range(3000)]
    ann.say(*said)
    ann.broker.stop()
    bob.hears(*said)


def test_however_few_are_on_their_way_all_are_sent_and_heard(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_broker, "_SENT", 1)
    ann, bob = nodes(), nodes()
    said = [str(number) for number in range(300)]
    ann.say(*said)
    bob.hears(*said)
    ann.hears(*said)
    ann.say(*said)
    ann.broker.stop()
    bob.hears(*said)


def test_a_burst_that_comes_in_one_piece_is_heard_at_once(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library has read already the system does not tell of any more."""
    monkeypatch.setattr(redis_broker, "_SENT", 1)
    ann = nodes()
    script = "for i = 1, 100 do redis.call('PUBLISH', 'weblatch:t', ARGV[1] .. i) end"
    server.ask("EVAL", script, "0", b"t" + b"x" * 8)
    ann.hears(*[str(number) for number in range(1, 101)])


def test_all_is_sent_at_the_end_though_what_was_sent_is_slow_to_come_back(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker, "_SENT", 1)
    ann, bob = nodes(), nodes()
    link = ann.broker._link
    assert link is not None
    real = redis_broker._Session.hear
    left = [3]  # times that nothing has come yet, once it is to stop

    def hear(session: redis_broker._Session) -> Iterator[tuple[bytes | None, bytes]]:
        if threading.current_thread() is link._thread and left[0]:
            left[0] -= link._stopping
            return iter(())
        return real(session)

    monkeypatch.setattr(redis_broker._Session, "hear", hear)
    ann.say("1", "2", "3")
    ann.broker.stop()
    bob.hears("1", "2", "3")


def test_before_and_after_nobody_hears_it(nodes: Nodes, server: RedisServer) -> None:
    bob = nodes()
    ann = web.RedisBroker(server.url)
    ann.publish("t", "before")
    heard: list[str | bytes] = []
    ann.start(lambda topic, message: heard.append(message))
    with pytest.raises(RuntimeError, match="is started already: a broker is for one App"):
        ann.start(lambda topic, message: None)
    ann.stop()
    ann.stop()
    ann.publish("t", "after")
    bob.say("1")
    bob.hears("1")
    assert heard == []
    assert not ann.is_connected


def test_a_forked_child_is_no_part_of_it(nodes: Nodes) -> None:
    ann, bob = nodes(), nodes()
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        assert ann.broker._link is not None
        with ann.broker._link._lock:  # as it may be at the moment of a fork
            held.set()
            over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    pid = os.fork()
    over.set()
    if pid == 0:
        code = 1
        signal.alarm(30)
        try:
            assert not ann.broker.is_connected
            ann.say("from nobody")
            ann.broker.stop()
            ann.start()
            ann.say("from the child")
            ann.broker.stop()
            code = 0
        finally:
            os._exit(code)
    holder.join()
    assert os.waitpid(pid, 0)[1] == 0
    bob.hears("from the child")
    ann.hears("from the child")
    ann.say("from the parent")
    ann.hears("from the parent")
    bob.hears("from the parent")


@pytest.mark.parametrize("url", ["localhost", "http://localhost", "redis://localhost:port", "", None])
def test_what_is_no_url_is_told(url: Any) -> None:
    with pytest.raises(ValueError, match=r"RedisBroker\(url\): .*; write redis://host:6379/0"):
        web.RedisBroker(url)


@pytest.mark.parametrize("option", ["protocol=3", "decode_responses=true"])
def test_options_that_it_cannot_work_with_are_told(option: str) -> None:
    with pytest.raises(ValueError, match="leave them out"):
        web.RedisBroker(f"redis://localhost?{option}")


def test_a_prefix_is_needed() -> None:
    for prefix in ("", None):
        with pytest.raises(ValueError, match="text is needed that begins the names of its channels"):
            web.RedisBroker("redis://localhost", prefix=prefix)  # type: ignore[arg-type]


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(web.WebError, match=r"needs the library redis: pip install weblatch\[redis\]"):
        web.RedisBroker("redis://localhost")


# ---- servers in processes of their own ----

SERVER = """
import os, sys, web

def member(event, params, ws):
    if event == web.Connect():
        ws.subscribe("room")
        ws.send(str(os.getpid()))
    elif isinstance(event, web.Message):
        app.publish("room", event.text)

broker = web.RedisBroker(sys.argv[1])
app = web.App(web.WS("/room", member), web.GET("/", lambda req: f"{os.getppid()} {os.getpid()}"),
              web.GET("/connected", lambda req: str(broker.is_connected)), broker=broker)

@app.on_stop
def end():
    app.publish("room", "bye")

server = web.Server(app, "127.0.0.1", workers=int(sys.argv[2]), limits=web.Limits(shutdown_grace=0.3))
server.open()
print(server.port, flush=True)
server.run()
print("stopped", flush=True)
"""


class Program:
    def __init__(self, stack: ExitStack, url: str, workers: int = 0) -> None:
        self.stack = stack
        self.child: Process = stack.enter_context(process(*program(SERVER, url, str(workers))))
        self.port = int(self.child.line())
        self.child.says("Serving on ")

    def join(self) -> tuple[str, ClientConnection]:
        """(the process that serves it, a client in the room)."""
        own = self.stack.enter_context(connect(f"ws://127.0.0.1:{self.port}/room", proxy=None, compression=None))
        return str(own.recv(30)), own

    def is_connected(self) -> bool:
        return fetch(self.port, "/connected") == "True"


def hear(*members: ClientConnection) -> list[str | bytes]:
    return [one.recv(30) for one in members]


def test_two_programs_share_a_room(server: RedisServer) -> None:
    with ExitStack() as stack:
        one, two = Program(stack, server.url), Program(stack, server.url)
        (_, ann), (_, bob), (_, cid) = one.join(), one.join(), two.join()
        ann.send("hello")
        assert hear(ann, bob, cid) == ["hello"] * 3
        cid.send("back")
        assert hear(ann, bob, cid) == ["back"] * 3
        server.kill()
        eventually(lambda: not one.is_connected() and not two.is_connected())
        ann.send("alone")
        assert hear(ann, bob) == ["alone"] * 2
        server.start()
        eventually(lambda: one.is_connected() and two.is_connected())
        ann.send("again")
        assert hear(ann, bob, cid) == ["again"] * 3
        assert stop(two.child).count("until it is back") == 1
        assert hear(ann, bob) == ["bye"] * 2
        server.kill()
        eventually(lambda: not one.is_connected())
        assert stop(one.child).count("until it is back") == 2


def test_two_workers_share_a_room(server: RedisServer) -> None:
    with ExitStack() as stack:
        served = Program(stack, server.url, workers=2)
        members: dict[str, list[ClientConnection]] = {}
        while len(members) < 2:
            pid, own = served.join()
            members.setdefault(pid, []).append(own)
        everybody = [one for some in members.values() for one in some]
        for some in members.values():
            some[0].send("hello")
            assert hear(*everybody) == ["hello"] * len(everybody)
        assert str(pids(served.port)[0]) not in members
        stop(served.child)
