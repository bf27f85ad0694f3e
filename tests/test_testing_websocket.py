"""web.testing: WebSockets, through the real handshake, frames and TLS, by each driver and both styles of handlers."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import web
from tests import test_testing_async
from tests.test_testing_async import Main
from tests.test_testing_exchange import Peer, planned, run
from web.hotpath import FrameReader, MessageReader, write_close, write_frame
from web.testing import (
    AsyncClient,
    Client,
    ClientError,
    ReplyError,
    ReplyTimeout,
    SocketEnded,
    SocketRefused,
    WebSocketSession,
)
from web.testing.exchange import Failures
from web.testing.urls import Url
from web.testing.websocket import SocketExchange, make_opening, open_socket
from web.ws_handshake import accept_key

Told = list[tuple[int, str]]
run_async = test_testing_async.run  # a fixture


def answer(ws: web.WebSocket, text: str) -> None:
    """What the handlers of both styles do with a text message."""
    match text.partition(" "):
        case "close", _, code:
            ws.close(int(code or 1000), "bye")
        case "fail", _, _:
            ws.send("before")
            raise LookupError("failed on purpose")
        case "ping", _, _:
            ws.ping(b"are you there")
        case "cookie", _, _:
            ws.send(ws.request.headers.get("cookie", "none"))
        case "scheme", _, _:
            ws.send(ws.request.scheme)
        case "large", _, size:
            ws.send(b"l" * int(size))
        case "say", _, said:
            for word in said.split():
                ws.send(word)
        case "quiet", _, _:
            pass
        case _:
            ws.send(text)


def make_app(style: str, told: Told | None = None, **options: Any) -> web.App:
    """``told``: close codes and reasons, as handlers see them."""
    seen: Told = [] if told is None else told

    def plain(event: Any, params: dict[str, Any], ws: web.WebSocket) -> None:
        match event:
            case web.Message(text):
                answer(ws, text)
            case web.Binary(data):
                ws.send(data)
            case web.Close(code, reason):
                seen.append((code, reason))

    async def iterating(ws: web.WebSocket) -> None:
        async for message in ws:
            if isinstance(message, str):
                answer(ws, message)
            else:
                await ws.send(message)
        await asyncio.sleep(0)
        seen.append((ws.close_code or 0, ws.close_reason))

    async def one_by_one(event: Any, params: dict[str, Any], ws: web.WebSocket) -> None:
        plain(event, params, ws)

    handler: Any = {"plain": plain, "iterating": iterating, "one by one": one_by_one}[style]
    return web.App(
        web.WS("/chat", handler, **options),
        web.GET("/set", lambda req: web.Response.text("set").add_header("Set-Cookie", "sid=7; Path=/")),
        web.GET("/page", lambda req: "no WebSocket"),
        web.GET("/fail", fail),
    )


def fail(req: web.Request) -> str:
    raise LookupError("no answer")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not set(threading.enumerate()) - before
    gc.collect()


@pytest.fixture(params=["plain", "iterating", "one by one"])
def style(request: pytest.FixtureRequest) -> str:
    given: str = request.param
    return given


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> Any:
    return request.param


# -- messages ----------------------------------------------------------------------------------------------------------


def test_messages(style: str, scheme: Any) -> None:
    told: Told = []
    with Client(make_app(style, told), scheme=scheme) as client:
        with client.websocket("/chat") as ws:
            assert (ws.protocol, ws.close_code, ws.close_reason) == (None, None, "")
            assert (ws.headers["upgrade"], "set-cookie" in ws.headers) == ("websocket", False)
            ws.send("hällo")
            assert ws.receive() == "hällo"
            for data in (b"\x00\xff", bytearray(b"ab"), memoryview(b"")):
                ws.send(data)
                assert ws.receive() == bytes(data)
            ws.send_json({"a": [1, None]})
            assert ws.receive_json() == {"a": [1, None]}
            ws.send("say a b c")
            assert [ws.receive(), ws.receive(), ws.receive()] == ["a", "b", "c"]
            ws.send("scheme")
            assert ws.receive() == scheme
            assert told == []
        assert (ws.close_code, ws.close_reason) == (1000, "")
        assert told == [(1000, "")]


@pytest.mark.parametrize("deflate", [False, True])
def test_large_messages(style: str, scheme: Any, deflate: bool) -> None:
    """More than fits into the buffers, both ways."""
    size = 3_000_000
    limits = web.Limits(websocket_frame=size, websocket_message=size)
    server = web.Server(make_app(style, deflate=deflate), "127.0.0.1", 0, limits=limits)
    with Client(server, scheme=scheme) as client, client.websocket("/chat", deflate=True) as ws:
        assert ("sec-websocket-extensions" in ws.headers) == deflate
        ws.send(f"large {size}")
        data = bytes(range(256)) * (size // 256)
        ws.send(data)
        assert ws.receive() == b"l" * size
        assert ws.receive() == data
        ws.send("x" * 10_000)
        assert ws.receive() == "x" * 10_000


@pytest.mark.parametrize("takeover", [False, True])
def test_compression_by_what_was_agreed(takeover: bool) -> None:
    options = web.Deflate(
        server_max_window_bits=9,
        client_max_window_bits=9,
        server_no_context_takeover=not takeover,
        client_no_context_takeover=not takeover,
    )
    with Client(make_app("plain", deflate=options)) as client:
        with client.websocket("/chat", deflate=True) as ws:
            for n in range(3):
                data = bytes(range(100)) * 40 + b"%d" % n  # found again in a window of 9 bits
                ws.send(data)
                assert ws.receive() == data
        with client.websocket("/chat") as ws:
            assert "sec-websocket-extensions" not in ws.headers


def test_what_is_no_message() -> None:
    app: Any = make_app("plain")
    bad: Any = 5
    with Client(app) as client, client.websocket("/chat") as ws:
        with pytest.raises(TypeError, match=r"str or bytes, not int; send_json"):
            ws.send(bad)
        with pytest.raises(ValueError, match="JSON"):
            ws.send_json(float("nan"))
        ws.send("after")
        assert ws.receive() == "after"


def test_pings_are_answered(style: str) -> None:
    server = web.Server(make_app(style), "127.0.0.1", 0)
    with Client(server) as client, client.websocket("/chat") as ws:
        ws.send("ping")
        ws.send("hello")
        assert ws.receive() == "hello"
        pongs = [frame for frame in sent_frames(ws, "ping") if frame[0] & 15 == 10]
        assert len(pongs) == 1


def sent_frames(ws: WebSocketSession, ask: str) -> list[bytes]:
    """What goes out while one message is asked for, as sent to the link."""
    link, sent = ws._exchange._link, list[bytes]()
    send = link.send

    def noting(data: memoryview) -> int | None:
        sent.append(bytes(data))
        return send(data)

    link.send = noting  # type: ignore[method-assign]
    ws.send(ask)
    ws.send("then")
    assert ws.receive() == "then"
    return sent


# -- the handshake -----------------------------------------------------------------------------------------------------


def test_subprotocols() -> None:
    app = make_app("plain", protocols=["v2", "v1"])
    with Client(app) as client:
        with client.websocket("/chat", protocols=["v1", "v2"]) as ws:
            assert ws.protocol == "v2" == ws.headers["sec-websocket-protocol"]
        with client.websocket("/chat", protocols="v1") as ws:
            assert ws.protocol == "v1"
        with client.websocket("/chat", protocols=["other"]) as ws:
            assert ws.protocol is None
        for wrong in (["a b"], ["a,b"], ["a", "a"], [""], ["ä"]):
            with pytest.raises(ValueError, match="each once"), client.websocket("/chat", protocols=wrong):
                pass


def test_a_refusal_has_its_reply(style: str) -> None:
    with Client(make_app(style)) as client:
        for path, options, status in (
            ("/nowhere", {}, 404),
            ("/page", {}, 200),
            ("/chat", {"origin": "https://evil.example"}, 403),
            ("/chat", {"headers": {"Sec-WebSocket-Version": "12"}}, 426),
        ):
            given: Any = options
            refused = pytest.raises(SocketRefused, match=f"no WebSocket, but {status}")
            with refused as caught, client.websocket(path, **given):
                pass
            assert caught.value.reply.status_code == status
            assert caught.value.reply.text
        with client.websocket("/chat", origin="http://localhost") as ws:
            ws.send("hello")
            assert ws.receive() == "hello"


def test_what_a_handler_raises_instead_of_an_answer() -> None:
    client = Client(make_app("plain"))
    with pytest.raises(LookupError, match="no answer"), client.websocket("/fail"):
        pass
    client.close()
    client = Client(make_app("plain"), raise_handler_exceptions=False)
    with pytest.raises(SocketRefused, match="500"), client.websocket("/fail"):
        pass
    client.close()


def test_cookies_go_along() -> None:
    with Client(make_app("plain")) as client, client.websocket("/chat") as ws:
        ws.send("cookie")
        assert ws.receive() == "none"
        client.get("/set")
        with client.websocket("/chat") as second:
            second.send("cookie")
            assert second.receive() == "sid=7"


def test_urls_and_options() -> None:
    unknown: Any = {"protocol": "a"}
    with Client(make_app("plain")) as client:
        for url, scheme in (("ws://other/chat", "http"), ("wss://other/chat", "https"), ("chat", "http")):
            with client.websocket(url) as ws:
                ws.send("scheme")
                assert ws.receive() == scheme
        mistake = pytest.raises(TypeError, match="protocol: a WebSocket has protocols, headers")
        with mistake, client.websocket("/chat", **unknown):
            pass
        with pytest.raises(ValueError, match="timeout"), client.websocket("/chat", timeout=-1):
            pass


# -- ends --------------------------------------------------------------------------------------------------------------


def test_the_client_closes(style: str, scheme: Any) -> None:
    told: Told = []
    with Client(make_app(style, told), scheme=scheme) as client, client.websocket("/chat") as ws:
        ws.send("say a b")
        with pytest.raises(ValueError, match="1006"):
            ws.close(1006)
        ws.close(4000, "enough")
        assert told == [(4000, "enough")]
        assert (ws.close_code, ws.close_reason) == (4000, "")
        assert [ws.receive(), ws.receive()] == ["a", "b"]  # what came before is still there
        for use in (ws.receive, lambda: ws.send("x")):
            with pytest.raises(SocketEnded, match="it has ended: 4000") as caught:
                use()
            assert (caught.value.code, caught.value.reason) == (4000, "")
        ws.close()
    assert ws.close_code == 4000


def test_the_server_closes(style: str, scheme: Any) -> None:
    told: Told = []
    with Client(make_app(style, told), scheme=scheme) as client, client.websocket("/chat") as ws:
        ws.send("say a")
        ws.send("close 4001")
        assert ws.receive() == "a"
        with pytest.raises(SocketEnded, match="4001 'bye'") as caught:
            ws.receive()
        assert (caught.value.code, caught.value.reason) == (4001, "bye")
        assert (ws.close_code, ws.close_reason) == (4001, "bye")
        ws.close(1000)
        assert (ws.close_code, told) == (4001, [(4001, "bye")])


def test_iteration(style: str) -> None:
    with Client(make_app(style)) as client:
        with client.websocket("/chat") as ws:
            ws.send("say a b")
            ws.send("close")
            assert list(ws) == ["a", "b"]
            assert list(ws) == []
        with client.websocket("/chat") as ws:
            ws.send("say a")
            ws.send("close 4000")
            messages = iter(ws)
            assert next(messages) == "a"
            with pytest.raises(SocketEnded, match="4000"):
                next(messages)


def test_who_leaves_by_an_exception_says_nothing(style: str) -> None:
    told: Told = []
    with Client(make_app(style, told)) as client:
        with pytest.raises(KeyError), client.websocket("/chat"):
            raise KeyError
        assert told == [(1006, "")]


def test_a_session_that_is_left(style: str) -> None:
    with Client(make_app(style)) as client:
        with pytest.raises(KeyError), client.websocket("/chat") as ws:
            raise KeyError
        for use in (ws.receive, lambda: ws.send("x")):
            with pytest.raises(SocketEnded, match="1006"):
                use()
        ws.close()


def test_a_connection_that_breaks(style: str) -> None:
    with Client(make_app(style)) as client, client.websocket("/chat") as ws:
        client._core.end_connections()  # type: ignore[union-attr]
        with pytest.raises(SocketEnded, match="1006"):
            ws.receive()
        assert ws.close_code == 1006
        ws.close()


def test_a_timeout_and_then_the_message(style: str) -> None:
    with Client(make_app(style)) as client, client.websocket("/chat") as ws:
        with pytest.raises(ReplyTimeout, match=r"WebSocket http://localhost/chat: no answer within 0.01 s"):
            ws.receive(timeout=0.01)
        ws.send("late")
        assert ws.receive() == "late"
    with Client(make_app(style)) as client, client.websocket("/chat", timeout=0.01) as ws:
        late = pytest.raises(ReplyTimeout, match=r"0\.01 s")
        with late:
            ws.receive()


# -- what handlers raise -----------------------------------------------------------------------------------------------


def test_what_a_handler_raises(style: str, scheme: Any) -> None:
    with Client(make_app(style), scheme=scheme) as client, client.websocket("/chat") as ws:
        ws.send("fail")
        assert ws.receive() == "before"
        with pytest.raises(LookupError, match="on purpose"):
            ws.receive()
        with pytest.raises(SocketEnded, match="1011"):  # it was told
            ws.receive()


def test_what_a_handler_raises_is_raised_by_the_end_too(style: str) -> None:
    with Client(make_app(style)) as client:
        with pytest.raises(LookupError, match="on purpose"), client.websocket("/chat") as ws:
            ws.send("fail")
        assert ws.close_code == 1011


def test_a_server_that_answers_1011(style: str) -> None:
    with Client(make_app(style), raise_handler_exceptions=False) as client, client.websocket("/chat") as ws:
        ws.send("fail")
        assert ws.receive() == "before"
        with pytest.raises(SocketEnded, match="1011") as caught:
            ws.receive()
        assert caught.value.code == 1011


@pytest.mark.parametrize("waits", [False, True])
def test_what_a_handler_raises_at_the_end(waits: bool) -> None:
    """After the closing handshake; an async one after some turns more."""

    def plain(event: Any, params: dict[str, Any], ws: web.WebSocket) -> None:
        if isinstance(event, web.Close):
            raise LookupError("at the end")

    async def later(ws: web.WebSocket) -> None:
        async for _ in ws:
            pass
        for _ in range(20):
            await asyncio.sleep(0)
        raise LookupError("at the end")

    with Client(web.App(web.WS("/", later if waits else plain))) as client:
        with pytest.raises(LookupError, match="at the end"), client.websocket("/"):
            pass
        with pytest.raises(LookupError, match="at the end"), client.websocket("/") as ws:
            ws.close()


def test_what_would_mean_something_else() -> None:
    def plain(event: Any, params: dict[str, Any], ws: web.WebSocket) -> None:
        if isinstance(event, web.Connect):
            raise StopIteration

    with Client(web.App(web.WS("/", plain))) as client, client.websocket("/") as ws:
        raised = pytest.raises(ClientError, match="the application raised StopIteration")
        with raised:
            ws.receive()


# -- several at once ---------------------------------------------------------------------------------------------------


def make_room(style: str) -> web.App:
    members: dict[web.WebSocket, None] = {}

    def plain(event: Any, params: dict[str, Any], ws: web.WebSocket) -> None:
        match event:
            case web.Connect():
                members[ws] = None
            case web.Message(text):
                for member in members:
                    member.send(text)
            case web.Close():
                del members[ws]

    async def iterating(ws: web.WebSocket) -> None:
        members[ws] = None
        async for message in ws:
            for member in members:
                member.send(message)
        del members[ws]

    return web.App(web.WS("/room", plain if style == "plain" else iterating))


@pytest.mark.parametrize("kind", ["plain", "iterating"])
def test_a_room(kind: str, scheme: Any) -> None:
    client = Client(make_room(kind), scheme=scheme)
    with client, client.websocket("/room") as a, client.websocket("/room") as b:
        a.send("from a")
        assert (b.receive(), a.receive()) == ("from a", "from a")
        b.send("from b")
        assert (a.receive(), b.receive()) == ("from b", "from b")
        b.close()
        a.send("alone")
        assert a.receive() == "alone"


def test_two_at_once_within_asyncio(style: str, scheme: Any, run_async: Callable[[Main], None]) -> None:
    told: Told = []

    async def talk(client: AsyncClient, name: str) -> list[str | bytes]:
        async with client.websocket("/chat") as ws:
            await ws.send_json([name])
            assert await ws.receive_json() == [name]
            await ws.send(f"say {name} {name}")
            await ws.send("close")
            return [message async for message in ws]

    async def main() -> None:
        async with AsyncClient(make_app(style, told), scheme=scheme) as client:
            found = await asyncio.gather(talk(client, "a"), talk(client, "b"), client.get("/page"))
            assert found[:2] == [["a", "a"], ["b", "b"]]
            assert found[2].text == "no WebSocket"
            assert told == [(1000, "bye")] * 2

    run_async(main)


def test_one_sends_while_another_receives(style: str, scheme: Any, run_async: Callable[[Main], None]) -> None:
    size = 2_000_000
    limits = web.Limits(websocket_frame=size, websocket_message=size, out_buffer=10 * size)

    async def main() -> None:
        server = web.Server(make_app(style), "127.0.0.1", 0, limits=limits)
        async with AsyncClient(server, scheme=scheme) as client, client.websocket("/chat") as ws:
            receiving = asyncio.create_task(ws.receive())
            await asyncio.sleep(0)
            with pytest.raises(ClientError, match="another Task awaits"):
                await ws.receive()
            sending = asyncio.create_task(ws.send(b"x" * size))
            await asyncio.sleep(0)
            assert not sending.done()
            sending.cancel()  # the rest of it goes with what comes next
            with pytest.raises(asyncio.CancelledError):
                await sending
            await ws.send(b"y")
            assert await receiving == b"x" * size
            assert await ws.receive() == b"y"
            waiting = asyncio.create_task(ws.receive())
            await asyncio.sleep(0)
            await ws.close(4000)
            with pytest.raises(SocketEnded, match="4000"):
                await waiting

    run_async(main)


async def ask_to_fail(client: AsyncClient) -> None:
    async with client.websocket("/chat") as ws:
        await ws.send("fail")
        assert await ws.receive() == "before"


async def leave_while_it_receives(client: AsyncClient, receiving: list[asyncio.Task[str | bytes]]) -> None:
    async with client.websocket("/chat") as ws:
        receiving.append(asyncio.create_task(ws.receive()))
        await asyncio.sleep(0)
        raise KeyError


def test_async_ends(style: str, run_async: Callable[[Main], None]) -> None:
    async def main() -> None:
        told: Told = []
        receiving: list[asyncio.Task[str | bytes]] = []
        async with AsyncClient(make_app(style, told)) as client:
            async with client.websocket("/chat") as ws:
                with pytest.raises(ReplyTimeout, match=r"0.01 s"):
                    await ws.receive(timeout=0.01)
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(ws.receive(), 0.01)
                await ws.send("close 4001")
                with pytest.raises(SocketEnded, match="4001 'bye'"):
                    [message async for message in ws]
            assert (ws.close_code, told) == (4001, [(4001, "bye")])
            with pytest.raises(LookupError, match="on purpose"):
                await ask_to_fail(client)
            with pytest.raises(KeyError):
                await leave_while_it_receives(client, receiving)
            with pytest.raises(SocketEnded, match="1006"):
                await receiving[0]
            assert told[-1] == (1006, "")
            with pytest.raises(SocketRefused, match="404"):
                async with client.websocket("/nowhere"):
                    pass

    run_async(main)


# -- servers that break the rules --------------------------------------------------------------------------------------


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.sock.close()


def opened(peer: Peer, more: str = "", accept: str | None = None, first: bytes = b"", **options: Any) -> SocketExchange:
    """``more``: header lines of the 101; ``first``: what comes with it."""
    given: Any = options
    outgoing = make_opening(Url.parse("http://h/chat"), {}, given)
    steps = open_socket(planned(peer, Failures()), outgoing)
    next(steps)
    key = dict(outgoing.headers)["Sec-WebSocket-Key"]
    assert key.encode() in peer.sock.recv(10_000)
    head = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += f"Sec-WebSocket-Accept: {accept or accept_key(key)}\r\n"
    peer.sock.sendall(f"{head}{more}\r\n".encode() + first)
    exchange: SocketExchange = run(steps)
    return exchange


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"accept": "no"}, "does not answer the key"),
        ({"more": "Sec-WebSocket-Protocol: c\r\n", "protocols": ["a", "b"]}, "'c' was not offered"),
        ({"more": "Sec-WebSocket-Protocol: c\r\n"}, "'c' was not offered"),
        ({"more": "Sec-WebSocket-Extensions: permessage-deflate\r\n"}, "not offered"),
        ({"more": "Sec-WebSocket-Extensions: ;\r\n", "deflate": True}, "not offered"),
        ({"more": "Upgrade: h2c\r\n"}, "Upgrade: websocket"),
    ],
)
def test_a_101_that_is_wrong(peer: Peer, said: dict[str, Any], why: str) -> None:
    with pytest.raises(ReplyError, match=why):
        opened(peer, **said)
    assert peer.sock.recv(1) == b""


def test_frames_that_come_with_the_101(peer: Peer) -> None:
    exchange = opened(peer, first=write_frame(1, b"at once") + write_frame(9, b"?"))
    assert run(exchange.receive(1.0)) == "at once"
    run(exchange.send("x"))
    assert [frame[0] for frame in (peer.sock.recv(7), peer.sock.recv(7))] == [0x8A, 0x81]  # the pong goes first
    exchange.drop()


def test_frames_that_are_wrong(peer: Peer) -> None:
    exchange = opened(peer)
    peer.sock.sendall(write_frame(1, b"good") + write_frame(1, b"masked", mask=b"abcd"))
    assert run(exchange.receive(1.0)) == "good"
    for use in (exchange.receive(1.0), exchange.receive(1.0)):
        with pytest.raises(ReplyError, match="what the server sent is no WebSocket: 1002"):
            run(use)
    said = peer.sock.recv(100)
    assert (said[0], len(said)) == (0x88, 8)
    exchange.drop()


def test_after_the_last_frame_nothing_goes(peer: Peer) -> None:
    exchange = opened(peer)
    closing = exchange.close(1000, "")
    next(closing)
    assert (peer.sock.recv(100)[0], exchange.close_code) == (0x88, None)
    with pytest.raises(ClientError, match="this end is closing it"):
        run(exchange.send("x"))
    peer.sock.sendall(write_frame(9, b"?") + write_close(1000, "so long"))
    next(closing)
    assert (exchange.close_code, exchange.close_reason) == (1000, "so long")
    with pytest.raises(BlockingIOError):
        peer.sock.recv(100)
    peer.sock.close()
    run(closing)
    exchange.drop()


def test_a_message_that_was_cut_short_by_a_timeout_goes_on(peer: Peer) -> None:
    exchange = opened(peer)
    steps = exchange.send(b"x" * 5_000_000)
    assert next(steps).wants_write
    steps.close()
    came = bytearray()
    steps = exchange.send("last")
    for _ in range(100_000):
        try:
            came += peer.sock.recv(1 << 20)
        except BlockingIOError:
            if next(steps, None) is None:
                break
    while len(came) < 5_000_000 + 14 + 10:
        came += peer.sock.recv(1 << 20)
    assert len(came) == 5_000_000 + 14 + 10
    assert came[-10] == 0x81
    exchange.drop()


def test_frames_are_masked_by_fresh_keys(peer: Peer) -> None:
    exchange = opened(peer)
    keys = set()
    for _ in range(3):
        run(exchange.send(b"1234"))
        frame = peer.sock.recv(10)
        assert (frame[:2], len(frame)) == (b"\x82\x84", 10)
        keys.add(frame[2:6])
    assert len(keys) == 3
    exchange.drop()


def test_the_servers_close_is_answered(peer: Peer) -> None:
    exchange = opened(peer)
    peer.sock.sendall(write_close(4001, "bye"))
    with pytest.raises(SocketEnded, match="4001"):
        run(exchange.receive(1.0))
    assert FrameReader().feed(peer.sock.recv(100)) == [("close", 4001, "")]
    exchange.drop()


@pytest.mark.parametrize(
    ("terms", "bits", "takeover"),
    [
        ("permessage-deflate", 15, True),
        ("permessage-deflate; client_no_context_takeover", 15, False),
        ("permessage-deflate; client_max_window_bits=9", 9, True),
        ("permessage-deflate; client_max_window_bits=9; client_no_context_takeover", 9, False),
    ],
)
def test_compression_as_the_server_wants_it(peer: Peer, terms: str, bits: int, takeover: bool) -> None:
    exchange = opened(peer, f"Sec-WebSocket-Extensions: {terms}\r\n", deflate=True)
    noise = random.Random(1).randbytes(2_000)
    reader = MessageReader(deflate=(bits, takeover))
    sizes = []
    for _ in range(2):
        run(exchange.send(noise * 2))  # the second half is found in a window of 15 bits, and in none of 9
        frame = peer.sock.recv(10_000)
        assert reader.feed(frame) == [noise * 2]
        sizes.append(len(frame))
    assert (sizes[0] < 2_100) == (bits == 15)
    assert (sizes[1] < 200) == (bits == 15 and takeover)
    exchange.drop()
