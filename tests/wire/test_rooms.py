"""Rooms on the wire: what is published reaches those who have subscribed, as one frame that they share."""

from __future__ import annotations

import os
import random
import threading
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Literal

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect

import web
from tests.taking_turns import in_turns
from tests.wire.clients import Peer, eventually
from tests.wire.sites import Embed, Serve, Site

OPENING = (
    "GET {} HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {b64encode(b'k' * 16).decode()}\r\n\r\n"
)
# Around 16 KiB a frame is no longer copied, and the lengths at which its header grows.
SIZES = [0, 1, 125, 126, 511, 512, 16_380, 16_381, 16_385, 65_535, 65_536, 300_000]


def member(event: web.websockets.Event, params: dict[str, Any], ws: web.WebSocket) -> None:
    """Subscribes to the topic in its path, and says when it has; text is a command, or published there."""
    match event:
        case web.Connect():
            ws.subscribe(params["topic"])
            ws.send("in")
        case web.Message("leave"):
            ws.unsubscribe(params["topic"])
            ws.send("left")
        case web.Message("own"):
            ws.send(OWN)
        case web.Message("between"):
            ws.send("before")
            publish(ws.request, params["topic"], LARGE)
            ws.send("after")
        case web.Message(text):
            publish(ws.request, params["topic"], text)


def publish(req: web.Request, topic: str, message: str) -> None:
    assert req.app is not None
    req.app.publish(topic, message)


OWN = "the quick brown fox " * 100
LARGE = "x" * 100_000
MEMBER = web.WS("/:topic", member)


def join(site: Site, topic: str, **options: Any) -> ClientConnection:
    """A client that is in a room."""
    options.setdefault("compression", None)
    opening = connect(
        f"{'wss' if site.is_tls else 'ws'}://127.0.0.1:{site.server.port}/{topic}", proxy=None,
        ssl=in_turns(site.certificate.client) if site.certificate is not None else None, max_size=None, **options,
    )  # fmt: skip
    own: ClientConnection = site.stack.enter_context(opening)
    assert own.recv(30) == "in"
    return own


def open_raw(peer: Peer, topic: str) -> Peer:
    """A client that is in a room and reads only when it is told to."""
    peer.send(OPENING.format(f"/{topic}").encode())
    assert peer.head().startswith(b"HTTP/1.1 101")
    assert peer.exactly(4) == b"\x81\x02in"
    return peer


def hear(*members: ClientConnection) -> list[str | bytes]:
    return [one.recv(30) for one in members]


def test_all_who_have_subscribed_hear_it_and_nobody_else(serve: Serve) -> None:
    site = serve(MEMBER)
    app = site.server.app
    ann, bob, eve = join(site, "a"), join(site, "a"), join(site, "b")
    app.publish("a", "Grüße")
    app.publish("a", b"\x00\xff")
    app.publish("a", bytearray(b"mutable"))
    app.publish("a", memoryview(b"xyzxyz")[::2])
    app.publish("nobody", "?")
    app.publish("b", "to b")
    for one in (ann, bob):
        assert [one.recv(30) for _ in range(4)] == ["Grüße", b"\x00\xff", b"mutable", b"xyzxyz"[::2]]
    assert hear(eve) == ["to b"]


def test_its_sender_hears_it_too(serve: Serve) -> None:
    site = serve(MEMBER)
    ann, bob = join(site, "a"), join(site, "a")
    ann.send("hello")
    assert hear(ann, bob) == ["hello", "hello"]


def test_who_left_or_went_hears_nothing(serve: Serve) -> None:
    site = serve(MEMBER)
    ann, bob, cid = join(site, "a"), join(site, "a"), join(site, "a")
    bob.send("leave")
    assert hear(bob) == ["left"]
    cid.close()
    site.server.publish("a", "1")
    bob.send("2")
    assert [ann.recv(30), ann.recv(30)] == ["1", "2"]
    bob.send("own")
    assert hear(bob) == [OWN]


def test_subscribing_twice_is_once(serve: Serve) -> None:
    def twice(event: web.websockets.Event, params: dict[str, Any], ws: web.WebSocket) -> None:
        if event == web.Connect():
            ws.subscribe("a")
            ws.subscribe("a")
            ws.send("in")

    site = serve(web.WS("/:topic", twice))
    one = join(site, "a")
    site.server.app.publish("a", "1")
    site.server.app.publish("a", "2")
    assert [one.recv(30), one.recv(30)] == ["1", "2"]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_reaches_every_member_whole(serve: Serve, size: int) -> None:
    site = serve(MEMBER)
    members = [join(site, "a") for _ in range(3)]
    data = random.Random(size).randbytes(size)
    text = "x" * size
    for message in (data, text, data):
        site.server.app.publish("a", message)
    for one in members:
        assert [one.recv(30) for _ in range(3)] == [data, text, data]


def test_what_was_sent_before_a_shared_frame_comes_before_it(serve: Serve) -> None:
    site = serve(MEMBER)
    ann, bob = join(site, "a"), join(site, "a")
    ann.send("between")
    assert [ann.recv(30) for _ in range(3)] == ["before", LARGE, "after"]
    assert hear(bob) == [LARGE]


@pytest.mark.parametrize("where", ["blocking", "async", "loop"])
def test_it_may_be_published_from_anywhere(serve: Serve, where: Literal["blocking", "async", "loop"]) -> None:
    def plain(req: web.Request) -> str:
        for number in range(100):
            publish(req, "a", str(number))
        return "done"

    async def later(req: web.Request) -> str:
        return plain(req)

    handler = later if where == "async" else plain
    site = serve(MEMBER, web.GET("/", handler, blocking=where == "blocking"))
    ann = join(site, "a")
    assert site.connect().ask("/").body == b"done"
    assert [ann.recv(30) for _ in range(100)] == [str(number) for number in range(100)]


def test_many_threads_publish_at_once(serve: Serve) -> None:
    site = serve(MEMBER)
    ann = join(site, "a")

    def speak(name: int) -> None:
        for number in range(200):
            site.server.app.publish("a", f"{name} {number}")

    threads = [threading.Thread(target=speak, args=[name]) for name in range(4)]
    for thread in threads:
        thread.start()
    heard = [str(ann.recv(30)) for _ in range(800)]
    for thread in threads:
        thread.join()
    for name in range(4):  # each in its order
        assert [one for one in heard if one.startswith(f"{name} ")] == [f"{name} {number}" for number in range(200)]


# ---- permessage-deflate ----


def deflating(bits: int | None = None) -> dict[str, Any]:
    return {"extensions": [ClientPerMessageDeflateFactory(server_max_window_bits=bits, client_max_window_bits=True)]}


@pytest.mark.parametrize("size", [511, 512, 5000, 40_000, 300_000])
def test_members_that_deflate_share_one_compressed_frame(serve: Serve, size: int) -> None:
    site = serve(web.WS("/:topic", member, deflate=True))
    plain, *members = join(site, "a"), *[join(site, "a", **deflating(bits)) for bits in (None, 9, None, 15)]
    text = (random.Random(1).randbytes(1000).hex() * 150)[:size]  # it comes again farther back than 9 bits reach
    before = site.counter("bytes_sent")
    site.server.app.publish("a", text)
    assert hear(plain, *members) == [text] * 5
    sent = site.counter("bytes_sent") - before
    assert sent > 4.5 * size if size < 512 else sent < (4.5 if size < 5000 else 3) * size


def test_a_shared_frame_does_not_disturb_what_a_member_is_sent_alone(serve: Serve) -> None:
    """The peer's window moves on by the shared message; ours must not refer to what lies before it."""
    site = serve(web.WS("/:topic", member, deflate=web.Deflate(server_max_window_bits=15)))
    ann, bob = join(site, "a", **deflating()), join(site, "a", **deflating())
    for number in range(4):
        ann.send("own")
        assert hear(ann) == [OWN]
        site.server.app.publish("a", text := f"{number} is shared with everybody " * 100)
        assert hear(ann, bob) == [text, text]
        ann.send("own")
        assert hear(ann) == [OWN]


def test_what_cannot_be_compressed_is_sent_as_it_is(serve_plain: Serve) -> None:
    site = serve_plain(web.WS("/:topic", member, deflate=True))
    ann = join(site, "a", **deflating())
    raw = open_raw(site.connect(), "a")
    data = random.Random(5).randbytes(10_000)
    site.server.app.publish("a", data)
    assert hear(ann) == [data]
    assert raw.exactly(10_004) == b"\x82\x7e" + (10_000).to_bytes(2, "big") + data  # RSV1 is not set
    ann.send("own")
    assert hear(ann) == [OWN]


# ---- who does not read ----


@pytest.mark.parametrize("size", [1000, 50_000])
def test_who_does_not_read_is_closed_and_the_others_go_on(serve_plain: Serve, size: int) -> None:
    site = serve_plain(MEMBER, out_buffer=100_000)
    ann = join(site, "a")
    open_raw(site.connect(receive_buffer=4096), "a")
    bob = join(site, "a")
    message = "x" * size
    for _ in range(20_000_000 // size):
        site.server.app.publish("a", message)
        assert hear(ann, bob) == [message] * 2
        if site.closed("response_slow"):
            break
    site.await_closed("response_slow")
    site.server.app.publish("a", "goes on")
    assert hear(ann, bob) == ["goes on"] * 2


def test_who_does_not_read_may_lose_messages_instead(serve_plain: Serve) -> None:
    sockets: list[web.WebSocket] = []

    def noted(event: web.websockets.Event, params: dict[str, Any], ws: web.WebSocket) -> None:
        member(event, params, ws)
        if event == web.Connect():
            sockets.append(ws)

    site = serve_plain(web.WS("/:topic", noted, slow="drop"), out_buffer=100_000)
    ann = join(site, "a")
    slow = open_raw(site.connect(receive_buffer=4096), "a")
    count = 0
    while not sockets[1].dropped:
        site.server.app.publish("a", f"{count:08}" + "x" * 20_000)
        assert str(hear(ann)[0]).startswith(f"{count:08}")
        count += 1
        assert count < 10_000
    assert sockets[0].dropped == 0
    head = b"\x81\x7e" + (20_008).to_bytes(2, "big")
    for number in range(count - sockets[1].dropped):  # what was kept is whole, and in its order
        assert slow.exactly(len(head) + 20_008)[:12] == head + f"{number:08}".encode()
    site.server.app.publish("a", "goes on")
    assert slow.exactly(9) == b"\x81\x07goes on"


# ---- which loops ----


def test_one_app_reaches_all_its_servers_and_a_server_its_own(serve_plain: Serve) -> None:
    site = serve_plain(MEMBER)
    other_server = web.Server(site.server.app, "127.0.0.1", limits=web.Limits(shutdown_grace=0.0))
    other = Site(site.stack.enter_context(other_server.running()), None, site.stack)
    foreign = serve_plain(MEMBER)
    ann, bob, eve = join(site, "a"), join(other, "a"), join(foreign, "a")
    site.server.app.publish("a", "to both")
    other_server.publish("a", "to bob")
    site.server.publish("a", b"to ann")
    foreign.server.app.publish("a", "to eve")
    assert [bob.recv(30), bob.recv(30)] == ["to both", "to bob"]
    assert [ann.recv(30), ann.recv(30)] == ["to both", b"to ann"]
    assert hear(eve) == ["to eve"]
    bob.close()
    other_server.stop()
    other_server._join()
    site.server.app.publish("a", "one is left")
    assert hear(ann) == ["one is left"]


def test_an_embedded_server_hears_it(embed: Embed) -> None:
    site = embed(MEMBER)
    with site.connect() as peer:
        open_raw(peer, "a")
        site.server.app.publish("a", "hello")
        assert peer.exactly(7) == b"\x81\x05hello"


def test_run_async_hears_it() -> None:
    import asyncio

    app = web.App(MEMBER)
    server = web.Server(app, "127.0.0.1", limits=web.Limits(shutdown_grace=0.0))

    def talk() -> list[str | bytes]:
        with connect(f"ws://127.0.0.1:{server.port}/a", proxy=None, compression=None) as ann:
            heard = [ann.recv(30)]
            app.publish("a", "hello")
            return [*heard, ann.recv(30)]

    async def main() -> list[str | bytes]:
        server.open()
        serving = asyncio.create_task(server.run_async())
        heard = await asyncio.to_thread(talk)
        server.stop()
        await serving
        return heard

    assert asyncio.run(main()) == ["in", "hello"]


def test_a_forked_child_does_not_speak_for_its_parent(serve_plain: Serve) -> None:
    site = serve_plain(MEMBER)
    ann = join(site, "a")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            site.server.app.publish("a", "from the child")
            site.server.publish("a", "from the child")
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    site.server.app.publish("a", "from the parent")
    assert hear(ann) == ["from the parent"]


def refusals(publish: Callable[[Any, Any], None]) -> None:
    with pytest.raises(TypeError, match="the topic is text, not int"):
        publish(1, "x")
    for message in (None, 1, ["x"]):
        with pytest.raises(TypeError, match="a message is str or bytes-like, not"):
            publish("a", message)
    with pytest.raises(UnicodeEncodeError):
        publish("a", "\ud800")


def test_what_is_no_message_is_told_to_who_publishes_it(serve_plain: Serve) -> None:
    site = serve_plain(MEMBER)
    ann = join(site, "a")
    refusals(site.server.app.publish)
    refusals(site.server.publish)
    site.server.app.publish("a", "goes on")
    assert hear(ann) == ["goes on"]
    eventually(lambda: site.server.connections == 1)
