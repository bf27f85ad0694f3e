"""The operations whose instructions bench/compare_instructions.py counts. One process runs all, for one tree:

    python -m bench.micro.operations perf RESULT
    valgrind ... python -m bench.micro.operations callgrind RESULT LIBRARY OUT

A tree may lack what is newer than it: names of web are looked up when an operation is made, not on import.
RESULT becomes JSON: for each operation a Count of one, or why it cannot run in this tree, a string.
Only the server's side is between the counter's start and end; clients and preparation are not counted.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import web
from bench.micro.counters import Callgrind, Count, Counter, Perf
from bench.micro.messages import CHUNKED, HEADERS, REQUESTS
from web import hotpath, routing

ROOT = Path(__file__).parents[2]
IN_C = 300  # times in one call
ROUTES = (1, 10, 100, 1000)
CAPTURES = 10
TURNS = 20
HANDSHAKES = 8

Run = Callable[[Counter], int]  # does the operation some times, the work under the counter; how many times
Make = Callable[[], Run]  # prepares


def in_c(repeat: Callable[[int], object]) -> Run:
    def run(counter: Counter) -> int:
        with counter:
            repeat(IN_C)
        return IN_C

    return run


# ---- the parts ----


def head(kind: str) -> Run:
    return in_c(partial(hotpath.RequestParser().repeat, b"".join(REQUESTS[kind])))


def chunked() -> Run:
    return in_c(partial(hotpath.ChunkedDecoder().repeat, CHUNKED))


def response_head() -> Run:
    return in_c(partial(hotpath.response_head_repeat, 200, HEADERS))


def fixed_route(count: int) -> Run:
    router = routing.make_router(*(web.GET(f"/fixed/{n}", lambda req: "") for n in range(count)))
    return in_c(partial(router.repeat, "GET", f"/fixed/{count - 1}"))


def capture_route(count: int) -> Run:
    """Paths of several lengths: where the only one happens to lie in memory would be worth 2 %."""
    router = routing.make_router(*(web.GET(f"/section{n}/:id:int/edit", lambda req, params: "") for n in range(count)))
    paths = [f"/section{count - 1}/{10**digits}/edit" for digits in range(CAPTURES)]

    def run(counter: Counter) -> int:
        with counter:
            for path in paths:
                router.repeat("GET", path, IN_C // CAPTURES)
        return IN_C // CAPTURES * CAPTURES

    return run


# ---- Request and Response in Python ----

READS: dict[str, Callable[[web.Request], object]] = {
    "header": lambda req: req.header("user-agent"),
    "headers": lambda req: req.headers["user-agent"],
    "path": lambda req: req.path,
    "query": lambda req: req.query,
    "json": lambda req: req.json(),
}


def read(name: str) -> Run:
    raw, body = REQUESTS["api"]
    look = READS[name]

    def run(counter: Counter) -> int:
        with counter:
            for _ in range(IN_C):
                look(web.Request(raw, body))
        return IN_C

    return run


# ---- from a bound Request to a Response ----


def text(req: web.Request) -> web.Response:
    return web.Response.text("Hello, World!")


def json_answer(req: web.Request) -> web.Response:
    return web.Response.json({"hello": "world"})


def user(req: web.Request, params: routing.Params) -> web.Response:
    return web.Response.text(params["id"])


def look(req: web.Request) -> None:
    return None


def pass_on(req: web.Request, params: routing.Params, resp: web.Response) -> web.Response:
    return resp


def hooked(*hooks: routing.Before | routing.After) -> Run:
    """A Response that is made once, so that the rest is the framework's."""
    made = web.Response.text("Hello")
    return respond("/", web.GET("/", lambda req: made), *hooks)


def respond(path: str, *forms: web.app.Form) -> Run:
    app = web.App(*forms)
    request = web.Request(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return in_c(partial(app._compile().repeat, request))


# ---- the whole core: what the loop does from readiness to the last byte ----

PLAIN = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
STATIC = b"GET /LICENSE HTTP/1.1\r\nHost: www.example.org\r\n\r\n"  # 1 KiB, and old enough to be kept
POSTED = b"POST / HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024


def make_server() -> web.Server:
    upload = web.POST("/", lambda req: web.Response.text(str(len(req.body))))
    return web.Server(web.App(web.GET("/", text), upload, web.static(ROOT)), "127.0.0.1", 0)


def adopted(server: web.Server, context: web.TlsContext | None = None) -> socket.socket:
    """The client's end."""
    ours, client = socket.socketpair()
    server.adopt(ours, context)
    return client


def serve(counter: Counter, server: web.Server, clients: Sequence[socket.socket]) -> None:
    """Turns until every client has something to read. One is not always enough: a turn has a budget, in time."""
    waiting = set(clients)
    while waiting:
        with counter:
            server.run_once(0)
        waiting -= set(select.select(waiting, [], [], 0)[0])


def core(connections: int, data: bytes, count: int = 1) -> Run:
    """`data` has `count` requests; all connections are ready before one turn of the loop answers them."""
    server = make_server()
    clients = [adopted(server) for _ in range(connections)]

    def run(counter: Counter) -> int:
        for _ in range(TURNS):
            for client in clients:
                client.sendall(data)
            serve(counter, server, clients)
            for client in clients:
                assert client.recv(65536).count(b"HTTP/1.1 200 OK\r\n") == count
        return TURNS * connections * count

    return run


class TlsClient:
    """Python's ssl over memory, so that nothing of it runs while the server is counted."""

    def __init__(self, trusting: ssl.SSLContext, sock: socket.socket) -> None:
        self.sock = sock
        self.received, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trusting.wrap_bio(self.received, self.sent, server_hostname="localhost")

    def handshake(self, counter: Counter, server: web.Server) -> None:
        """To where the client has sent its Finished, and the server may not have read it."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                serve(counter, server, [self.sock])
                self.received.write(self.sock.recv(65536))
            else:
                self.flush()
                return

    def flush(self) -> None:
        self.sock.sendall(self.sent.read())

    def ask(self) -> None:
        self.tls.write(PLAIN)
        self.flush()

    def answer(self) -> bytes:
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.received.write(self.sock.recv(65536))


def tls_contexts() -> tuple[web.TlsContext, ssl.SSLContext]:
    with tempfile.TemporaryDirectory() as folder:
        cert, key = web.dev_certificate(folder)
        context = web.TlsContext(cert, key)
        context.load()
        return context, ssl.create_default_context(cafile=cert)


def tls_handshake() -> Run:
    context, trusting = tls_contexts()
    server = make_server()

    def run(counter: Counter) -> int:
        for _ in range(HANDSHAKES):
            client = TlsClient(trusting, adopted(server, context))
            client.handshake(counter, server)
            assert client.tls.version() == "TLSv1.3"
            client.sock.shutdown(socket.SHUT_WR)
            while server.connections:
                with counter:
                    server.run_once(0)
            client.sock.close()
        return HANDSHAKES

    return run


def tls_keep_alive(connections: int) -> Run:
    context, trusting = tls_contexts()
    server = make_server()
    clients = [TlsClient(trusting, adopted(server, context)) for _ in range(connections)]
    for client in clients:
        client.handshake(Counter(), server)

    def run(counter: Counter) -> int:
        for _ in range(TURNS):
            for client in clients:
                client.ask()
            serve(counter, server, [client.sock for client in clients])
            for client in clients:
                assert client.answer().startswith(b"HTTP/1.1 200 OK\r\n")
        return TURNS * connections

    return run


OPERATIONS: dict[str, Make] = {
    **{f"parse a head: {kind}": partial(head, kind) for kind in REQUESTS},
    "decode a chunked body: 50 chunks": chunked,
    "write a response head": response_head,
    **{f"route: fixed, 1 of {count}": partial(fixed_route, count) for count in ROUTES},
    **{f"route: capture, 1 of {count}": partial(capture_route, count) for count in ROUTES},
    **{f"Request made, read: {name}": partial(read, name) for name in READS},
    "respond: Response.text": lambda: respond("/", web.GET("/", text)),
    "respond: Response.json": lambda: respond("/", web.GET("/", json_answer)),
    "respond: /u/:id": lambda: respond("/u/42", web.GET("/u/:id", user)),
    "respond: kept Response": hooked,
    "respond: kept Response, one before hook": lambda: hooked(web.before(look)),
    "respond: kept Response, one after hook": lambda: hooked(web.after(pass_on)),
    "core: one request": partial(core, 1, PLAIN),
    "core: of 64 ready connections, one": partial(core, 64, PLAIN),
    "core: of 16 pipelined requests, one": partial(core, 1, PLAIN * 16, 16),
    "core: POST of 1 KiB": partial(core, 16, POSTED),
    "core: static file of 1 KiB": partial(core, 16, STATIC),
    "core: TLS, one request": partial(tls_keep_alive, 16),
    "core: TLS 1.3 handshake and close": tls_handshake,
}


def measure(counter: Counter) -> dict[str, Count | str]:
    """Everything is made before the counter starts: valgrind is faster until then."""
    results: dict[str, Count | str] = {}
    runs: dict[str, Run] = {}
    for name, make in OPERATIONS.items():
        try:
            runs[name] = make()
        except Exception as error:  # noqa: BLE001 -- a tree that lacks something has its other operations measured
            results[name] = repr(error)
    gc.disable()  # when it runs depends on all that was made before
    counter.start()
    for name, run in runs.items():
        try:
            run(counter)  # warms caches, free lists and the interpreter's own specialisation
            counter.take(name)
            times = run(counter)
        except Exception as error:  # noqa: BLE001
            results[name] = repr(error)
        else:
            results[name] = counter.take(name).per(times)
    return results


def main(kind: str, result: str, *paths: str) -> None:
    counter = Perf() if kind == "perf" else Callgrind(*map(Path, paths))
    Path(result).write_text(json.dumps(measure(counter)))


if __name__ == "__main__":
    main(*sys.argv[1:])
