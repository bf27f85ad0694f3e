"""What handlers, other connections' handlers and other threads send: order, wake-ups, and what becomes of mistakes."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

import web
from tests.wire.clients import eventually
from tests.wire.sites import Embed, Serve
from tests.wire.websocket_peers import (
    LONG,
    PING,
    PONG,
    Event,
    Notes,
    SocketPeer,
    closing,
    frame,
    in_thread,
    opening,
    text,
    until_quiet,
)

LARGE = 40_000  # bytes: more than what is copied (16 KiB)


@pytest.fixture(scope="module", autouse=True)
def uvloop_is_warm() -> None:
    """The first loop of a process makes a pipe that is never closed."""
    with suppress(ImportError):
        import uvloop

        uvloop.new_event_loop().close()


def is_alive(peer: SocketPeer) -> bool:
    return peer.ask("are you there?") == "are you there?"


# -- order -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deflate", [False, True])
def test_small_and_large_messages_keep_their_order(serve: Serve, deflate: bool) -> None:
    sizes = [1, LARGE, 3, 4, LARGE, LARGE, 5, 100, 16_384, 16_385, 70_000, 6]

    def send_all(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Message):
            for number, size in enumerate(sizes):
                ws.send_bytes(bytes([number]) * size)

    site = serve(web.WS("/", Notes(send_all).plain, deflate=deflate), out_buffer=1 << 24)
    peer = SocketPeer(site.connect(receive_buffer=4096))
    peer.say("a", "b", "c")
    for _ in range(3):
        for number, size in enumerate(sizes):
            assert peer.frame() == (2, bytes([number]) * size)


def test_while_the_peer_does_not_read_the_order_is_kept(embed: Embed) -> None:
    notes = Notes(lambda event, ws: None)
    site = embed(web.WS("/", notes.plain), out_buffer=1 << 26)
    with site.connect() as raw:
        peer = SocketPeer(raw)
        for number in range(200):
            notes.ws.send_bytes(number.to_bytes(2, "big") * (1 if number % 3 else 30_000))
            until_quiet(site)
        notes.ws.close(4000, "that was all")
        for number in range(200):
            assert peer.frame() == (2, number.to_bytes(2, "big") * (1 if number % 3 else 30_000))
        assert peer.closed() == (4000, "that was all")


def test_what_connect_sends_comes_first(serve: Serve) -> None:
    def greet(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Connect):
            ws.send("hello").send(b"x" * LARGE).send("there")

    peer = SocketPeer(serve(web.WS("/", Notes(greet).plain)).connect())
    assert [peer.text(), peer.frame(), peer.text()] == ["hello", (2, b"x" * LARGE), "there"]


# -- between two turns -------------------------------------------------------------------------------------------------


def test_between_turns_each_send_wakes_the_loop(embed: Embed) -> None:
    notes = Notes()
    site = embed(web.WS("/", notes.plain))
    with site.connect() as raw:
        peer = SocketPeer(raw)
        for number in range(5):
            until_quiet(site)
            notes.ws.send(str(number))
            assert site.has_work()
            assert peer.text() == str(number)


def test_send_now_sends_at_once(embed: Embed) -> None:
    notes = Notes()
    site = embed(web.WS("/", notes.plain))
    with site.connect() as raw:
        peer = SocketPeer(raw)
        until_quiet(site)
        for number in range(3):
            assert notes.ws.send_now(str(number))
            peer.peer.turn = None  # it is there without the server
            peer.peer.sock.setblocking(True)
            assert peer.text() == str(number)
            peer.peer.sock.setblocking(False)
        peer.peer.turn = site.turn
        notes.ws.close()
        assert not notes.ws.send_now("too late")


def test_send_now_says_when_the_peer_does_not_drain(embed: Embed) -> None:
    notes = Notes()
    site = embed(web.WS("/", notes.plain), out_buffer=1 << 26)
    with site.connect() as raw:
        SocketPeer(raw)
        until_quiet(site)
        said = [notes.ws.send_now(b"x" * 100_000) for _ in range(40)]
        assert said[0]
        assert not said[-1]
        assert notes.ws.buffered > 1_000_000


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tasks_send_to_each_other(serve: Serve, loop: str) -> None:
    """A Task's send to another connection's leaves without anything coming from there."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    members: list[web.WebSocket] = []

    async def handler(ws: web.WebSocket) -> None:
        members.append(ws)
        async for message in ws:
            for member in members:
                member.send(message)
            await asyncio.sleep(0.001)
            for member in members:
                await member.send("again")

    site = serve(web.WS("/", handler), loop=loop)
    peers = [SocketPeer(site.connect()) for _ in range(3)]
    eventually(lambda: len(members) == 3)
    for number in range(3):
        peers[0].say(str(number))
        for peer in peers:
            assert [peer.text(), peer.text()] == [str(number), "again"]


def test_an_accept_that_waits_and_a_handler_that_sends_now(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connect is told between two turns: what it sends at once must not be taken for the end of that."""
    told: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)

    async def accept(req: web.Request) -> None:
        await asyncio.sleep(0.001)

    def greet(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Connect):
            for number in range(3):
                ws.send_now(str(number))

    notes = Notes(greet)
    site = serve(web.WS("/", notes.plain, accept=accept))
    for _ in range(5):
        peer = SocketPeer(site.connect())
        assert [peer.text() for _ in range(3)] == ["0", "1", "2"]
        peer.close()
    assert not told
    assert not caplog.records


def test_a_peer_that_is_gone_when_connect_is_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two turns, too, Close comes when Connect is over."""
    told: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)
    asked, gone = threading.Event(), threading.Event()

    async def accept(req: web.Request) -> None:
        await asyncio.sleep(0)
        asked.set()
        assert gone.wait(10)  # in the midst of a step: the loop does not see it

    notes = Notes(lambda event, ws: ws.send_now("x") if isinstance(event, web.Connect) else None)
    site = serve(web.WS("/", notes.plain, accept=accept))
    peer = site.connect()
    peer.send(opening())
    assert asked.wait(10)
    peer.reset()
    gone.set()
    assert notes.until_closed() == [web.Connect(), web.Close(1006, "")]
    assert not told


# -- from other threads ------------------------------------------------------------------------------------------------


def test_threads_send(serve: Serve) -> None:
    notes = Notes()
    peer = SocketPeer(serve(web.WS("/", notes.plain)).connect())
    ws = notes.ws

    def work() -> None:
        ws.send("text").send(b"bytes").send_bytes(bytearray(b"array")).ping(b"ping")
        assert ws.send_now("now")
        ws.close(4001, "by a thread")

    in_thread(work)
    assert [peer.frame() for _ in range(5)] == [(1, b"text"), (2, b"bytes"), (2, b"array"), (9, b"ping"), (1, b"now")]
    assert peer.closed() == (4001, "by a thread")


class Text(str):
    """A str of its own kind."""

    __slots__ = ()


class Data(bytes):
    """The same of bytes."""


@pytest.mark.parametrize("message", [Text("ab"), Data(b"ab"), bytearray(b"ab"), memoryview(b"ab")], ids=repr)
def test_what_is_text_and_what_are_bytes(serve: Serve, message: Any) -> None:
    notes = Notes()
    site = serve(web.WS("/", notes.plain))
    peer = SocketPeer(site.connect())
    notes.ws.subscribe("all")
    expected = (1 if isinstance(message, str) else 2, b"ab")
    in_thread(lambda: notes.ws.send(message))
    assert peer.frame() == expected
    in_thread(lambda: site.server.publish("all", message))
    assert peer.frame() == expected
    notes.does = lambda event, ws: ws.send(message)
    peer.say("")
    assert peer.frame() == expected


@pytest.mark.parametrize("message", ["\ud800", 7, None, [1]], ids=repr)
def test_what_is_no_message_is_told_to_the_sender(serve: Serve, message: Any) -> None:
    """... and to nobody else: a server does not end by it."""
    notes = Notes()
    site = serve(web.WS("/", notes.plain))
    peer = SocketPeer(site.connect())
    notes.ws.subscribe("all")
    for send in (notes.ws.send, lambda what: site.server.publish("all", what)):
        with pytest.raises((TypeError, ValueError)):
            in_thread(lambda send=send: send(message))  # type: ignore[misc]
    assert is_alive(peer)


def test_a_thread_that_sends_to_a_peer_that_does_not_read(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """slow="close" ends that one, and no other."""
    told: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)
    slow, fast = Notes(), Notes()
    site = serve(web.WS("/slow", slow.plain), web.WS("/fast", fast.plain), out_buffer=1 << 17, response_grace=LONG)
    SocketPeer(site.connect(receive_buffer=4096), "/slow")
    other = SocketPeer(site.connect(), "/fast")

    def flood() -> None:
        while True:
            slow.ws.send(b"x" * 60_000)
            time.sleep(0.0001)

    with pytest.raises(web.SocketClosed):
        in_thread(flood)
    assert slow.until_closed()[-1] == web.Close(1006, "")
    assert is_alive(other)
    assert (caplog.records, told) == ([], [])


def test_what_a_thread_may_not_ask(serve: Serve) -> None:
    """What waits for a peer belongs to the loop: it may be freed while another thread looks."""
    notes = Notes()
    SocketPeer(serve(web.WS("/", notes.plain)).connect())
    with pytest.raises(RuntimeError, match="thread"):
        in_thread(lambda: notes.ws.buffered)


def test_threads_send_while_peers_come_and_go(serve: Serve) -> None:
    notes = Notes(lambda event, ws: ws.subscribe("all"))
    # nobody is closed for not reading: a slow machine may see the first frame when threads have sent a megabyte
    site = serve(web.WS("/", notes.plain), out_buffer=1 << 28)
    ends = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while not ends.is_set():
                site.server.publish("all", "to all")
                for ws in notes.sockets[-3:]:
                    try:
                        ws.send_now("to one")
                        ws.send(b"b" * 20_000)
                    except web.SocketClosed:
                        pass
                time.sleep(0.0001)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        peer = SocketPeer(site.connect())
        if number % 3 == 0:
            peer.peer.reset()
        else:
            peer.say("x")
            peer.frame()
            peer.peer.close()
    ends.set()
    for thread in threads:
        thread.join()
    assert not failed
    eventually(lambda: all(isinstance(events[-1], web.Close) for events in notes.of.values()), "all are over")
    assert len(notes.of) == 60


# -- within one turn ---------------------------------------------------------------------------------------------------


def both_at_once(site: Any, peers: list[SocketPeer], *frames: bytes) -> None:
    """What these send comes to the server in one turn."""
    for peer in peers:
        peer.send(*frames)
    until_quiet(site)


def test_a_handler_that_closes_the_others(embed: Embed) -> None:
    """Their messages of this very turn were parsed already, and nobody is told of them any more."""
    notes = Notes()

    def close_others(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Message):
            for other in notes.sockets:
                if other is not ws:
                    other.close(4002)

    notes.does = close_others
    site = embed(web.WS("/", notes.plain), linger_timeout=LONG)
    with site.connect() as one, site.connect() as two, site.connect() as three:
        peers = [SocketPeer(one), SocketPeer(two), SocketPeer(three)]
        until_quiet(site)
        both_at_once(site, peers, text("first"), text("second"))
        told = [[event for event in events if isinstance(event, web.Message)] for events in notes.of.values()]
        speaker = next(number for number, messages in enumerate(told) if messages)
        assert sum(map(len, told)) == 2
        for number, peer in enumerate(peers):
            if number != speaker:
                assert peer.let_close() == (4002, "")
        assert is_quiet_about(peers[speaker], site)


def is_quiet_about(peer: SocketPeer, site: Any) -> bool:
    peer.send(frame(PING, b"p"))
    until_quiet(site)
    return peer.frame() == (PONG, b"p")


def test_a_message_that_waits_while_its_connection_is_sent_to(embed: Embed) -> None:
    """A slow handler: what is answered leaves meanwhile, and must not take along the input of who waits to be called.
    The last message of a crowd that was left over from the turn before lies in a block of its own."""
    notes = Notes()

    def hold_and_tell(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Message) and event.text == "hold":
            for other in notes.sockets:
                other.send("sent meanwhile")
            threading.Event().wait(0.003)

    notes.does = hold_and_tell
    site = embed(web.WS("/", notes.plain))
    with site.connect() as one, site.connect() as two:
        first, second = SocketPeer(one), SocketPeer(two)
        until_quiet(site)
        crowd = [text(f"message {number:04}, and some more words") for number in range(257)]
        for _ in range(3):
            first.send(*crowd[:256], text("hold"))
            second.send(*crowd)
            until_quiet(site)
        texts = [event.text for event in notes.of[notes.sockets[1]] if isinstance(event, web.Message)]
        assert texts == [f"message {number:04}, and some more words" for number in range(257)] * 3


def test_a_handler_that_floods_another_connection(embed: Embed) -> None:
    """... which is ended in the midst of a turn that has a message of it, too."""
    notes = Notes()

    def flood(event: Event, ws: web.WebSocket) -> None:
        if event == web.Message("flood"):
            (other,) = (one for one in notes.sockets if one is not ws)
            with suppress(web.SocketClosed):
                while True:
                    other.send(b"x" * 60_000)
            assert not other.is_open

    notes.does = flood
    site = embed(web.WS("/", notes.plain), out_buffer=1 << 17)
    with site.connect() as one, site.connect() as two:
        first, second = SocketPeer(one), SocketPeer(two)
        until_quiet(site)
        both_at_once(site, [first, second], text("flood"))
        assert sorted(str(check[-1]) for check in notes.of.values()) == ["Close(1006, '')", "Message('flood')"]
        assert site.closed("response_slow") == 1


# -- what handlers raise -----------------------------------------------------------------------------------------------


def test_a_socket_closed_of_another_one_is_a_failure(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    gone: list[web.WebSocket] = []

    def relay(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Connect):
            gone.append(ws)
        elif isinstance(event, web.Message):
            gone[0].send("to one that is gone")

    async def relay_in_task(ws: web.WebSocket) -> None:
        async for _ in ws:
            gone[0].send("to one that is gone")

    site = serve(web.WS("/", Notes(relay).plain), web.WS("/task", relay_in_task))
    SocketPeer(site.connect()).close()
    for target in ("/", "/task"):
        peer = SocketPeer(site.connect(), target)
        peer.say("x")
        assert peer.closed() == (1011, "")
    eventually(lambda: len(caplog.records) == 2, "both are logged")


@pytest.mark.parametrize("style", ["plain", "one_by_one", "iterates"])
def test_a_handler_that_fails(serve: Serve, style: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Message):
            raise ZeroDivisionError

    notes = Notes(fail)
    site = serve(web.WS("/a/:b", getattr(notes, style)))
    peer = SocketPeer(site.connect(), "/a/b")
    peer.say("x")
    assert peer.let_close() == (1011, "")
    eventually(lambda: caplog.records, "it is logged")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError
    assert "WebSocket /a/b, handler" in record.getMessage()
    assert f"Notes.{style}" in record.getMessage()
    if style != "iterates":
        assert notes.until_closed()[-1] == web.Close(1011, "")


@pytest.mark.parametrize("event", [web.Connect(), web.Message("x"), web.Close(1000, "")], ids=repr)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_goes_through(embed: Embed, event: Event, error: type[BaseException]) -> None:
    """KeyboardInterrupt and SystemExit of a handler leave by the turn, when it is whole."""

    def leave(told: Event, ws: web.WebSocket) -> None:
        if told == event:
            raise error(3)

    notes = Notes(leave)
    site = embed(web.WS("/", notes.plain))
    with site.connect() as raw:
        raised: list[BaseException] = []

        def turn() -> None:
            try:
                site.turn()
            except error as found:
                raised.append(found)

        raw.turn = turn
        raw.send(opening() + text("x") + closing())
        with suppress(ConnectionError):
            raw.rest()
        for _ in range(5):
            try:
                site.server.run_once(0)
            except error as found:
                raised.append(found)
        assert len(raised) == 1
        until_quiet(site)
