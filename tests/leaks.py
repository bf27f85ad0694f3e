"""What a server does in its life, for a leak checker to look at: ``make asan`` runs it under LeakSanitizer.

Plain and TLS connections over socket pairs: answers small, large, from a file and from what is kept of one, errors,
kept requests, health routes, counters, handshakes that fail, WebSockets, PROXY headers, peers that leave at each point;
and the codec.
A program, not a test: LeakSanitizer looks when a process ends.
"""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import ssl
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import web
from web import hotpath
from web._core import FileCache

ROUNDS = 5
GET = "GET {} HTTP/1.1\r\nHost: a\r\n\r\n"
kept: list[web.Request] = []


def keep(req: web.Request) -> str:
    """Holds the last few requests beyond their answers."""
    kept.append(req)
    del kept[:-3]
    return req.path


def fail(req: web.Request) -> str:
    """Raises."""
    raise ValueError(req.path)


def requests() -> list[bytes]:
    """What clients send: whole, wrong, and unfinished."""
    post = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    chunked = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    paths = ("/keep", "/fail", "/large", "/file", "/gone", "/nowhere", "/static/small.txt", "/static/file.bin")
    health = ("/livez", "/readyz", "/%6Civez", "/metrics")
    return [
        *(GET.format(path).encode() for path in paths + health),
        (GET.format("/livez") * 40 + GET.format("/readyz")[:-3]).encode(),
        GET.format("/keep").encode() * 40,
        post,
        post[:5000],
        chunked,
        chunked[:-7],
        b"GET / HT",
        b"nonsense\r\n\r\n",
        GET.format("/keep").encode() + b"GET /next",
        b"",
    ]


def drain(client: socket.socket, server: web.Server, received: ssl.MemoryBIO | None = None) -> None:
    """Lets the server do what is ready, and takes what it sends."""
    for _ in range(40):
        server.run_once(0)
        with suppress(BlockingIOError, ConnectionResetError):
            data = client.recv(1 << 20)
            if received is not None:
                received.write(data)


def plain(server: web.Server, data: bytes, half: bool) -> None:
    """One plain connection."""
    ours, client = socket.socketpair()
    with client:
        client.setblocking(False)
        server.adopt(ours)
        with suppress(BlockingIOError):
            client.send(data)
        if half:
            client.shutdown(socket.SHUT_WR)
        drain(client, server)


def tls(server: web.Server, context: web.TlsContext, trusting: ssl.SSLContext, data: bytes, steps: int) -> None:
    """One TLS connection that leaves after so many steps of its handshake."""
    ours, client = socket.socketpair()
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = trusting.wrap_bio(received, sent, server_hostname="localhost")
    with client:
        client.setblocking(False)
        server.adopt(ours, context)
        for _ in range(steps):
            with suppress(ssl.SSLWantReadError):
                session.do_handshake()
                session.write(data[:50_000] or b"G")
            with suppress(BlockingIOError):
                client.send(sent.read())
            drain(client, server, received)


def proxied(app: web.App, folder: str, context: web.TlsContext | None) -> None:
    """Connections that begin with a PROXY header, in two pieces: whole, wrong, and unfinished; fields that count."""
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    binary = b"\r\n\r\n\0\r\nQUIT\n\x20\0\x03\xe8" + bytes(1000)
    asked = b"GET /keep HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: b\r\n\r\n"
    proxies = web.Proxies("unix", fields="x-forwarded", host=True)
    server = web.Server(app, f"unix:{folder}/proxied", tls=context, proxies=proxies, proxy_protocol=True)
    server.open()
    for data in (header + asked, binary + asked, header[:20], binary[:500], header[:-1] + b"x", b"nonsense"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{folder}/proxied")
            client.setblocking(False)
            for piece in (data[:9], data[9:]):
                with suppress(BrokenPipeError):
                    client.send(piece)
                drain(client, server)
    server.close()


def websocket_codec() -> None:
    """Readers and compressors dropped at each point: within a message, after one, at a fault."""
    for takeover in (False, True):
        deflater = hotpath.Deflater(takeover=takeover)
        compressed = deflater.message(b"hello " * 20_000)
        for payload, fin in ((compressed, True), (compressed[:50], False), (b"\xff" * 10, True), (bytes(9), True)):
            for rsv1 in (True, False):
                data = hotpath.write_frame(2, payload, fin=fin, rsv1=rsv1, mask=b"abcd")
                with suppress(hotpath.FrameError):
                    hotpath.MessageReader(deflate=(15, takeover)).feed(data)
        with suppress(hotpath.FrameError):
            hotpath.Inflater(takeover=takeover).feed(compressed, limit=1000)
        hotpath.Inflater(takeover=takeover).feed(compressed[:50], ends=False)


sockets: list[web.WebSocket] = []


def on_event(event: object, params: dict[str, object], ws: web.WebSocket) -> None:
    """Echoes, large ones too; holds the last few WebSockets; fails at a word; is in a room."""
    match event:
        case web.Connect():
            sockets.append(ws)
            del sockets[:-3]
            ws.subscribe("all")
            ws.send(b"l" * 50_000).send("hello " * 200)
        case web.Message("fail"):
            raise ValueError
        case web.Message("close"):
            ws.close(4000, "as asked")
        case web.Message(text):
            for one in sockets:
                with suppress(web.SocketClosed):
                    one.send(text * 100)


def websocket_wires() -> list[bytes]:
    """What clients send from the opening on: whole, wrong, and unfinished."""
    opening = (
        "GET {} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    packed = hotpath.Deflater(takeover=True).message(b"hello " * 20_000)
    frames = [
        *(hotpath.write_frame(1, word, mask=b"abcd") for word in (b"hello", b"close", b"fail")),
        hotpath.write_frame(2, b"x" * 50_000, mask=b"abcd") * 3,
        hotpath.write_frame(1, b"fragment", fin=False, mask=b"abcd"),
        hotpath.write_frame(9, b"ping", mask=b"abcd"),
        hotpath.write_frame(1, packed, rsv1=True, mask=b"abcd"),
        hotpath.write_frame(1, packed[:50], rsv1=True, mask=b"abcd"),
        hotpath.write_frame(8, b"\x03\xe8bye", mask=b"abcd"),
        b"nonsense" * 3,
    ]
    opened = [opening.format(path).encode() for path in ("/ws", "/packed")]
    return [start + b"".join(frames[:count]) for start in opened for count in range(len(frames) + 1)]


def main() -> None:
    """The life of a server."""
    for _ in range(ROUNDS):
        websocket_codec()
    logging.getLogger("web").setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryDirectory() as folder:
        cert, key = web.dev_certificate(folder)
        context, trusting = web.TlsContext(cert, key), ssl.create_default_context(cafile=cert)
        file = Path(folder, "file.bin")
        file.write_bytes(b"f" * 300_000)
        small = Path(folder, "small.txt")
        static = web.static(folder, at="/static")
        object.__setattr__(static, "files", FileCache(os.path.join(static.below.root, ""), 0.0))
        app = web.App(
            web.GET("/keep", keep),
            web.GET("/fail", fail),
            web.GET("/large", lambda req: b"l" * 300_000),
            web.GET("/file", lambda req: web.Response.file(file)),
            web.GET("/gone", lambda req: web.Response.file(folder + "/gone")),
            web.POST("/echo", lambda req: req.body),
            web.livez(),
            web.readyz(),
            web.metrics(),
            static,
            web.WS("/ws", on_event),
            web.WS("/packed", on_event, deflate=True, slow="drop"),
            web.after(lambda req, params, resp: resp.with_header("X-After", "yes")),
        )
        for _ in range(ROUNDS):
            server = web.Server(app, "127.0.0.1", 0)
            for data in requests() + websocket_wires():
                small.write_bytes(b"s" * 1000)  # what was kept of it is dropped
                plain(server, data, half=False)
                plain(server, data, half=True)
                for steps in range(4):
                    tls(server, context, trusting, data, steps)
            server.stop(0)
            server.run_once(0)
            server.close()
            proxied(app, folder, None)
            proxied(app, folder, context)
    kept.clear()
    sockets.clear()
    malloc = ctypes.CDLL(None).malloc  # lost at once: the report shows that somebody looked
    malloc.restype = None
    malloc(12345)


if __name__ == "__main__":
    main()
    sys.exit(0)
