"""web.testing.Client: an application is asked without a network, and answers as it would over one."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import http.client
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import web
from tests.serving import environment
from tests.tls.authorities import Authority
from web.testing import (
    Client,
    ClientError,
    MakeClient,
    Reply,
    ReplyError,
    ReplyTimeout,
    StatusError,
    TooManyRedirects,
    web_client,  # noqa: F401 - a fixture
)

try:
    import uvloop
except ImportError:
    pass
else:
    uvloop.new_event_loop().close()  # the first one of a process makes a pipe that is never closed


def describe(req: web.Request) -> dict[str, Any]:
    return {
        "method": req.method,
        "path": req.path,
        "query": list(req.query.items()),
        "headers": [[name.lower(), value] for name, value in req.headers.items()],
        "body": req.body.decode("latin-1"),
        "scheme": req.scheme,
    }


def redirect(req: web.Request) -> web.Response:
    return web.Response.redirect(req.query["to"], status=int(req.query.get("status", "302")))


def set_cookies(req: web.Request) -> web.Response:
    return web.Response.text("set").add_header("Set-Cookie", "a=1; Path=/").add_header("Set-Cookie", "b=2; Max-Age=9")


def fail(req: web.Request) -> str:
    raise LookupError(req.path)


async def fail_later(req: web.Request) -> str:
    await asyncio.sleep(0)
    raise LookupError(req.path)


async def never(req: web.Request) -> str:
    await asyncio.sleep(1000)
    return "late"


def make_app(*more: web.app.Form) -> web.App:
    return web.App(
        web.route(["GET", "POST", "PUT", "PATCH", "DELETE"], "/describe", describe),
        web.GET("/redirect", redirect),
        web.POST("/redirect", redirect),
        web.GET("/set", set_cookies),
        web.GET("/fail", fail),
        web.GET("/fail/blocking", fail, blocking=True),
        web.GET("/blocking", lambda req: threading.current_thread().name[:11], blocking=True),  # which one is chance
        web.GET("/large", lambda req: b"l" * 3_000_000),
        web.POST("/echo", lambda req: req.body),
        web.GET("/later", lambda req: "not async"),
        *more,
    )


async def later(req: web.Request) -> str:
    await asyncio.sleep(0.001)
    return "later"


ASYNC = (web.GET("/fail/later", fail_later), web.GET("/never", never), web.GET("/async", later))


@pytest.fixture(params=["alone", "asyncio", "alone-tls", "asyncio-tls"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of each driver, plain and under TLS."""
    app = make_app(*(ASYNC if "asyncio" in request.param else ()))
    with Client(app, scheme="https" if "tls" in request.param else "http") as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert not left
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


# -- what goes out and comes in ----------------------------------------------------------------------------------------


def test_an_answer(client: Client) -> None:
    reply = client.get("/describe?a=1", params={"b": 2}, headers={"X-One": "1"})
    assert (reply.status_code, reply.reason_phrase, reply.http_version) == (200, "OK", "1.1")
    assert reply.headers["content-type"] == "application/json"
    assert reply.url == f"{client.base_url.scheme}://localhost/describe?a=1&b=2"
    assert (reply.method, reply.history, reply.cookies) == ("GET", [], {})
    told = reply.json()
    assert told["query"] == [["a", "1"], ["b", "2"]]
    assert told["scheme"] == client.base_url.scheme
    assert told["headers"] == [["host", "localhost"], ["accept", "*/*"], ["user-agent", "web.testing"], ["x-one", "1"]]
    assert reply.raise_for_status() is reply
    assert repr(reply) == f"<Reply 200 OK, {len(reply.content)} bytes>"


def test_each_method(client: Client) -> None:
    asked: list[tuple[str, Callable[..., Reply]]] = [
        ("GET", client.get), ("POST", client.post), ("PUT", client.put), ("PATCH", client.patch),
        ("DELETE", client.delete),
    ]  # fmt: skip
    for method, ask in asked:
        assert ask("/describe").json()["method"] == method
    head = client.head("/describe")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] != "0"
    options = client.options("/describe")
    assert (options.status_code, options.content) == (204, b"")
    assert "DELETE" in options.headers["allow"]
    assert client.request("brew", "/describe").status_code == 501


def test_bodies(client: Client) -> None:
    assert client.post("/describe", json={"a": [1]}).json()["body"] == '{"a":[1]}'
    assert client.post("/describe", data={"a": "x y"}).json()["body"] == "a=x+y"
    assert client.put("/describe", content=iter([b"one", b"two"])).json()["body"] == "onetwo"
    form = client.post("/describe", data={"a": "1"}, files={"f": ("n.txt", b"\0\xff")}).json()
    kind = dict(form["headers"])["content-type"]
    assert re.fullmatch(r"multipart/form-data; boundary=[\w-]+", kind)
    assert 'filename="n.txt"' in form["body"]
    assert "\0\xff" in form["body"]


def test_large_bodies_both_ways(client: Client) -> None:
    content = bytes(range(256)) * 4000
    assert client.post("/echo", content=content).content == content
    assert client.get("/large").content == b"l" * 3_000_000


def test_a_body_that_is_refused_before_it_is_sent(client: Client) -> None:
    reply = client.post("/echo", content=b"x" * 20_000_000)
    assert (reply.status_code, reply.headers["connection"]) == (413, "close")
    chunks = client.post("/echo", content=(b"x" * 100_000 for _ in range(200)))
    assert chunks.status_code == 413
    assert client.post("/echo", content=b"x").content == b"x"


def test_expect_is_answered_on_the_way(client: Client) -> None:
    assert client.post("/echo", content=b"abc", headers={"Expect": "100-continue"}).content == b"abc"


def test_text_has_a_charset() -> None:
    def answer(req: web.Request) -> web.Response:
        return web.Response(b"\xe9\xff", content_type=req.query["type"])

    client = Client(web.App(web.GET("/", answer)))
    for kind, charset, text in (
        ("text/plain; charset=latin-1", "latin-1", "éÿ"),
        ('text/plain;CHARSET="ISO-8859-1"', "iso-8859-1", "éÿ"),
        ("text/plain", "utf-8", "\ufffd\ufffd"),
        ("text/plain; charset=no-such", "utf-8", "\ufffd\ufffd"),
        ("text/plain; charset=base64", "utf-8", "\ufffd\ufffd"),
        ("text/plain; charset=idna", "utf-8", "\ufffd\ufffd"),
    ):
        reply = client.get("/", params={"type": kind})
        assert (reply.charset, reply.text) == (charset, text)


def test_the_client_has_headers_cookies_and_a_base() -> None:
    with Client(
        make_app(),
        base_url="http://example.org:8000/describe/..",
        headers={"user-agent": "me", "A": "b"},
        cookies={"c": "d"},
    ) as client:
        client.base_url = client.base_url.resolve("/")
        client.headers["E"] = "f"
        told = client.get("/describe").json()
        assert told["headers"] == [
            ["host", "example.org:8000"], ["accept", "*/*"], ["user-agent", "me"], ["a", "b"], ["e", "f"],
            ["cookie", "c=d"],
        ]  # fmt: skip


def test_under_tls_the_handler_sees_tls() -> None:
    def tell(req: web.Request) -> str:
        match req.connection:
            case web.Tls(version=version, server_name=name, alpn=alpn):
                return f"{req.scheme} {version} {name} {alpn}"
            case _:
                return f"{req.scheme} plain"

    client = Client(web.App(web.GET("/", tell)), scheme="https", base_url="https://example.org")
    assert client.get("/").text == "https TLSv1.3 example.org http/1.1"
    assert client.get("https://127.0.0.1/").text == "https TLSv1.3 None http/1.1"
    assert client.get("http://example.org/").text == "http plain"


# -- the same as over a network ----------------------------------------------------------------------------------------

ASKED: list[tuple[str, str, dict[str, str], bytes]] = [
    ("GET", "/describe?a=1&a=2&b=%20", {"X-Two": " spaced "}, b""),
    ("POST", "/describe", {"Content-Type": "text/plain"}, b"body \xff"),
    ("DELETE", "/describe", {}, b""),
    ("HEAD", "/describe", {}, b""),
    ("OPTIONS", "/describe", {}, b""),
    ("OPTIONS", "/nowhere", {}, b""),
    ("GET", "/nowhere", {}, b""),
    ("POST", "/large", {}, b""),
    ("BREW", "/describe", {}, b""),
    ("GET", "/large", {}, b""),
    ("GET", "/set", {}, b""),
    ("GET", "/redirect?to=/set&status=308", {}, b""),
    ("GET", "/fail", {}, b""),
    ("GET", "/blocking", {}, b""),
    ("POST", "/echo", {}, b"x" * 1_100_000),
    ("POST", "/echo", {"Expect": "cake"}, b"x"),
    ("GET", "/describe", {"A": "a" * 9000}, b""),
    ("GET", "/" + "a" * 9000, {}, b""),
    ("GET", "/files/a.txt", {}, b""),
    ("HEAD", "/files/a.txt", {}, b""),
    ("GET", "/files/../secret", {}, b""),
]


def test_answers_are_those_that_http_client_gets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text("a file\n" * 1000)
    app = make_app(web.static(tmp_path, at="/files"))
    headers = {"Accept": "*/*", "User-Agent": "the same"}
    ours = []
    with Client(app, raise_handler_exceptions=False, headers=headers) as client:
        for method, target, more, body in ASKED:
            client.cookies.clear()
            reply = client.request(method, target, headers=more, content=body)
            ours.append((reply.status_code, reply.reason_phrase, shown(reply.headers.items()), reply.content))
    theirs = []
    with web.Server(app, "127.0.0.1", 0).running() as server:
        for method, target, more, body in ASKED:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in ({"Host": "localhost"} | headers | more).items():
                connection.putheader(name, value)
            if body or method == "POST":
                connection.putheader("Content-Length", str(len(body)))
            with suppress(OSError):  # refused on the way
                connection.endheaders(body)
            response = connection.getresponse()
            theirs.append((response.status, response.reason, shown(response.getheaders()), response.read()))
            connection.close()
    for asked, one, other in zip(ASKED, ours, theirs, strict=True):
        assert one == other, asked[:2]
    assert len({status for status, *_ in ours}) > 8


def shown(headers: Any) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name != "Date"]


# -- cookies and redirects ---------------------------------------------------------------------------------------------


def test_cookies_come_back(client: Client) -> None:
    assert client.get("/set").cookies == {"a": "1", "b": "2"}
    assert dict(client.cookies) == {"a": "1", "b": "2"}
    assert dict(client.get("/describe").json()["headers"])["cookie"] == "a=1; b=2"
    told = client.get("/describe", cookies={"b": "own"}).json()
    assert dict(told["headers"])["cookie"] == "a=1; b=own"
    del client.cookies["a"]
    assert dict(client.get("/describe").json()["headers"])["cookie"] == "b=2"


def test_redirects_are_followed_where_that_is_wanted(client: Client) -> None:
    reply = client.get("/redirect?to=/set")
    assert (reply.status_code, reply.is_redirect, reply.is_success) == (302, True, False)
    reply = client.get("/redirect?to=/redirect%3Fto%3D/set", follow_redirects=True)
    assert (reply.status_code, reply.text, reply.url) == (200, "set", f"{client.base_url.scheme}://localhost/set")
    assert [one.url.partition("?")[2] for one in reply.history] == ["to=/redirect%3Fto%3D/set", "to=/set"]
    assert [one.history for one in reply.history] == [[], reply.history[:1]]
    client.follow_redirects = True
    assert client.post("/redirect?to=/describe", data={"a": "1"}).json()["method"] == "GET"
    kept = client.post("/redirect?to=/describe&status=307", data={"a": "1"}).json()
    assert (kept["method"], kept["body"]) == ("POST", "a=1")
    assert client.get("/redirect?to=/redirect", follow_redirects=False).status_code == 302


def test_a_redirect_to_https_gets_there() -> None:
    client = Client(make_app(), follow_redirects=True)
    reply = client.get("/redirect?to=https://localhost/describe")
    assert (reply.json()["scheme"], reply.url) == ("https", "https://localhost/describe")


def test_cookies_of_a_redirect_count() -> None:
    def enter(req: web.Request) -> web.Response:
        return web.Response.redirect("/describe").add_header("Set-Cookie", "sid=7; HttpOnly")

    with Client(make_app(web.GET("/enter", enter)), follow_redirects=True) as client:
        reply = client.get("/enter")
        assert dict(reply.json()["headers"])["cookie"] == "sid=7"
        assert (reply.cookies, reply.history[0].cookies) == ({}, {"sid": "7"})


def test_a_circle_of_redirects_ends() -> None:
    client = Client(web.App(web.GET("/", lambda req: web.Response.redirect("/"))), follow_redirects=True)
    with pytest.raises(TooManyRedirects, match="more than 20 redirects"):
        client.get("/")


def test_raise_for_status(client: Client) -> None:
    with pytest.raises(StatusError, match=r"GET https?://localhost/nowhere: 404 Not Found: Not Found") as caught:
        client.get("/nowhere").raise_for_status()
    assert caught.value.status_code == 404
    with pytest.raises(StatusError, match="302 Found, to /set"):
        client.get("/redirect?to=/set").raise_for_status()
    reply = client.get("/nowhere")
    assert (reply.is_error, reply.is_client_error, reply.is_server_error) == (True, True, False)


# -- pieces ------------------------------------------------------------------------------------------------------------


def test_an_answer_in_pieces(client: Client) -> None:
    with client.stream("GET", "/large") as reply:
        assert (reply.status_code, reply.headers["content-length"]) == (200, "3000000")
        assert reply.raise_for_status() is reply
        pieces = reply.iter_bytes()
        first = next(pieces)
        assert 0 < len(first) < 3_000_000
        assert first + reply.read() == b"l" * 3_000_000
        assert reply.read() == b""
    with client.stream("GET", "/large") as reply:
        next(reply.iter_bytes())  # the rest is dropped
    assert client.get("/describe").status_code == 200
    with client.stream("GET", "/redirect?to=/describe", follow_redirects=True) as reply:
        assert [one.status_code for one in reply.history] == [302]
    with client.stream("GET", "/nowhere") as reply, pytest.raises(StatusError, match="404"):
        reply.raise_for_status()


def test_lines() -> None:
    text = "one\ntwo\r\n\nthr" + "é" * 100_000 + "\nlast"
    with (
        Client(web.App(web.GET("/", lambda req: text))) as client,
        client.stream("GET", "/") as reply,
    ):
        assert list(reply.iter_lines()) == ["one", "two", "", "thr" + "é" * 100_000, "last"]


# -- what handlers raise -----------------------------------------------------------------------------------------------


def test_what_a_handler_raises_is_raised(client: Client) -> None:
    paths = ["/fail", "/fail/blocking"]
    if client._app._compile().needs_asyncio:
        paths.append("/fail/later")
    for path in paths:
        with pytest.raises(LookupError, match=path) as caught:
            client.get(path)
        assert caught.traceback[-1].name in ("fail", "fail_later")
        with pytest.raises(LookupError, match=path), client.stream("GET", path):
            pass
    assert client.get("/describe").status_code == 200


@pytest.mark.parametrize("more", [(), ASYNC])
def test_or_it_is_a_500(more: tuple[web.app.Form, ...]) -> None:
    with Client(make_app(*more), raise_handler_exceptions=False) as client:
        for path in ("/fail", "/fail/blocking", *(["/fail/later"] if more else [])):
            reply = client.get(path)
            assert (reply.status_code, reply.text, reply.is_server_error) == (500, "Internal Server Error", True)


def test_an_http_error_is_an_answer() -> None:
    def refuse(req: web.Request) -> str:
        raise web.HTTPError(418)

    with Client(web.App(web.GET("/", refuse))) as other:
        assert other.get("/").status_code == 418


def test_hooks_and_values_that_cannot_be_sent_fail_too() -> None:
    def before(req: web.Request) -> None:
        if req.path == "/before":
            raise KeyError("before")

    def after(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        if req.path in ("/after", "/before"):
            raise KeyError("after")
        return resp

    nothing: Any = lambda req: None  # noqa: E731 - what no handler may return
    with Client(web.App(web.before(before), web.after(after), web.GET("/none", nothing))) as client:
        with pytest.raises(KeyError, match="before"):  # the first
            client.get("/before")
        with pytest.raises(KeyError, match="after"):
            client.get("/after")
        with pytest.raises(TypeError, match="returned None"):
            client.get("/none")


@pytest.mark.parametrize("error", [asyncio.CancelledError, StopIteration, GeneratorExit])
def test_exceptions_that_mean_something_else_here_are_wrapped(error: type[BaseException]) -> None:
    def plain(req: web.Request) -> str:
        raise error

    async def coroutine(req: web.Request) -> str:
        raise error

    with Client(web.App(web.GET("/", plain), web.GET("/b", plain, blocking=True))) as client:
        for path in ("/", "/b"):
            with pytest.raises(
                ClientError, match=rf"GET http://localhost{path}: the application raised {error.__name__}"
            ):
                client.get(path)
    if error is asyncio.CancelledError:
        with Client(web.App(web.GET("/", coroutine))) as client, pytest.raises(ClientError, match="CancelledError"):
            client.get("/")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", ["plain", "async", "blocking"])
def test_what_ends_a_server_ends_the_test(
    error: type[BaseException], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def plain(req: web.Request) -> str:
        raise error

    async def coroutine(req: web.Request) -> str:
        await asyncio.sleep(0)
        raise error

    handler: Any = coroutine if kind == "async" else plain
    with pytest.raises(error), Client(web.App(web.GET("/", handler, blocking=kind == "blocking" or None))) as client:
        client.get("/")
    del client
    gc.collect()  # a Task that nobody asked how it ended would say so now
    assert not caplog.records


def test_failures_do_not_cross_requests() -> None:
    with Client(make_app()) as client:
        with client.stream("GET", "/large") as reply:
            with pytest.raises(LookupError):
                client.get("/fail")
            assert len(reply.read()) == 3_000_000
        assert client._failures is not None
        assert client._failures._by_connection == {}


# -- time-outs and their like ------------------------------------------------------------------------------------------


def test_a_handler_that_never_answers() -> None:
    left = []

    async def leave(req: web.Request) -> str:
        try:
            return await never(req)
        except asyncio.CancelledError:
            left.append(req.path)
            raise

    with Client(web.App(web.GET("/never", leave), web.GET("/", lambda req: "hello")), timeout=0.05) as client:
        with pytest.raises(
            ReplyTimeout, match=r"GET http://localhost/never: no answer within 0.05 s \(still at work: GET /never"
        ):
            client.get("/never")
        assert left == ["/never"]  # as when a client goes away
        assert client.get("/", timeout=20).text == "hello"


def test_a_thread_that_never_answers(caplog: pytest.LogCaptureFixture) -> None:
    over = threading.Event()

    def wait(req: web.Request) -> str:
        over.wait(3)  # less than the client would wait by itself
        return "late"

    with Client(web.App(web.GET("/", wait, blocking=True))) as client:
        with pytest.raises(ReplyTimeout, match=r"no answer within 0\.05 s"):
            client.get("/", timeout=0.05)
        over.set()
        assert client.get("/", timeout=20).text == "late"


def test_an_answer_that_is_there_is_not_late() -> None:
    def slow(req: web.Request) -> bytes:
        time.sleep(0.02)
        return b"x" * 3_000_000  # it takes many turns

    assert len(Client(web.App(web.GET("/", slow)), timeout=0.001).get("/").content) == 3_000_000


@pytest.mark.parametrize("timeout", [0, -1, 1e7, float("nan")])
def test_time_outs_that_are_none(timeout: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Client(web.App(), timeout=timeout)
    with pytest.raises(ValueError, match="more than 0"):
        Client(web.App()).get("/", timeout=timeout)


def test_a_connection_that_ends_without_an_answer() -> None:
    made: list[Client] = []

    def end() -> None:
        assert made[0]._core is not None
        made[0]._core.end_connections()

    async def leave(req: web.Request) -> str:
        asyncio.get_running_loop().call_soon(end)
        return await never(req)

    with Client(web.App(web.GET("/", leave))) as client:
        made.append(client)
        with pytest.raises(ReplyError, match="the server ended the connection without an answer"):
            client.get("/")


# -- its life ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_hooks_run_around_it(kind: str) -> None:
    seen = []

    def plain(app: web.App) -> None:
        seen.append("plain")

    async def coroutine() -> None:
        await asyncio.sleep(0)
        seen.append("async")

    app = web.App(web.on_start(plain), web.on_stop(plain), web.GET("/", lambda req: str(seen)))
    if kind == "async":
        app.add(web.on_start(coroutine), web.on_stop(coroutine))
    with Client(app) as client:
        assert client.get("/").text == str(["plain", "async"][: len(seen)])
        seen.append("-")
        assert client.get("/").text == str(seen)
    assert seen == (["plain", "-", "plain"] if kind == "plain" else ["plain", "async", "-", "async", "plain"])


def test_hooks_need_with() -> None:
    for form in (web.on_start(lambda: None), web.on_stop(lambda: None)):
        client = Client(web.App(form))
        with pytest.raises(ClientError, match="write `with"):
            client.get("/")


@pytest.mark.parametrize("more", [(), ASYNC])
def test_a_start_hook_that_fails(more: tuple[web.app.Form, ...]) -> None:
    stopped = []

    def start() -> None:
        raise OSError("no database")

    app = web.App(web.on_start(start), web.on_stop(lambda: stopped.append(1)), *more)
    with pytest.raises(OSError, match="no database"), Client(app):
        pass
    assert stopped == []


@pytest.mark.parametrize("more", [(), ASYNC])
def test_stop_hooks_that_fail(more: tuple[web.app.Form, ...], caplog: pytest.LogCaptureFixture) -> None:
    def first() -> None:
        raise OSError("first")

    def second() -> None:
        raise OSError("second")

    app = web.App(web.on_stop(second), web.on_stop(first), *more)
    with pytest.raises(OSError, match="first"), Client(app):
        pass
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info and record.exc_info[1]] == [
        ("second",)
    ]
    caplog.clear()
    with pytest.raises(ZeroDivisionError), Client(app):  # the test's own failure is what counts
        raise ZeroDivisionError
    with Client(app, raise_handler_exceptions=False):
        pass
    assert len(caplog.records) == 4


def test_without_with() -> None:
    """It is closed with close(), or when nobody refers to it."""
    client = Client(make_app())
    assert client.get("/blocking").text.startswith("web handler")
    client.close()

    client.close()
    with pytest.raises(ClientError, match="is closed"):
        client.get("/describe")
    with pytest.raises(ClientError, match="is closed"), client:
        pass
    for app in (make_app(), make_app(*ASYNC)):
        client = Client(app, scheme="https")
        assert client.get("/blocking").text.startswith("web handler")
        del client
        gc.collect()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("web handler")]


def test_forgotten_within_a_loop() -> None:
    """A finalizer may run where an asyncio loop is running."""
    client = Client(make_app(*ASYNC))
    assert client.get("/async").text == "later"
    clients = [client]
    del client

    async def forget() -> None:
        clients.clear()
        gc.collect()

    asyncio.run(forget())


def test_at_the_end_of_the_program(tmp_path: Path) -> None:
    """A client that lives as long as the program ends without a word."""
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, web\nfrom web.testing import Client\n"
        "async def later(req):\n    await asyncio.sleep(0)\n    return 'later'\n"
        "one = Client(web.App(web.GET('/', lambda req: 'now', blocking=True)))\n"
        "two = Client(web.App(web.GET('/', later)), scheme='https')\n"
        "print(one.get('/').text, two.get('/').text)\n"
        "never_used = Client(web.App())\n"
    )
    command = [sys.executable, "-X", "dev", "-W", "error", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("now later\n", "", 0)


def test_it_leaves_as_clients_should(client: Client) -> None:
    """Under TLS with close_notify."""
    assert client.get("/describe").status_code == 200
    assert client._server is not None
    closed = client._server.stats()["closed"]
    assert {reason: count for reason, count in closed.items() if count} == {"done": 1}


def test_no_room_for_another_connection() -> None:
    with Client(web.Server(make_app(), "127.0.0.1", 0, limits=web.Limits(connections=1))) as client:
        with client.stream("GET", "/large"), pytest.raises(ConnectionError, match="no room"):
            client.get("/describe")
        assert client.get("/describe").status_code == 200


def test_started_twice() -> None:
    client = Client(make_app())
    with client, pytest.raises(ClientError, match="started already"):
        client.__enter__()


def test_a_server_gives_its_limits_and_options() -> None:
    server = web.Server(make_app(), "127.0.0.1", 0, limits=web.Limits(body=10), server_header=False, threads=1)
    for _ in range(2):  # it may be used again
        with Client(server) as client:
            assert client.post("/echo", content=b"x" * 11).status_code == 413
            reply = client.get("/blocking")
            assert "server" not in reply.headers
            assert server.stats()["requests"] >= 1
            assert server.connections == 0  # it has seen that the client left
    server.open()
    try:
        with pytest.raises(ClientError, match="is open already"), Client(server):
            pass
    finally:
        server.close()
    with server.running() as running:  # and no client hears of it
        assert running.port


def test_server_with_uvloop() -> None:
    pytest.importorskip("uvloop")

    async def tell(req: web.Request) -> str:
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop()).__module__

    with Client(web.Server(web.App(web.GET("/", tell)), "127.0.0.1", 0, loop="uvloop")) as client:
        assert client.get("/").text.startswith("uvloop")


def test_the_event_loop_of_others_stays_set() -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        with Client(make_app(*ASYNC)) as client:
            assert client.get("/async").text == "later"
            assert asyncio.get_event_loop() is loop
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_within_an_asyncio_loop() -> None:
    """An app without async handlers can be asked; else the twin is named."""

    async def main() -> None:
        assert Client(make_app()).get("/describe").status_code == 200
        client = Client(make_app(*ASYNC))
        with pytest.raises(ClientError, match="AsyncClient"):
            client.get("/async")

    asyncio.run(main())
    gc.collect()


def test_what_cannot_work_is_told() -> None:
    app = web.App()
    wrong: Any = "an app"
    for words, make in (
        ("an App or a Server is needed", lambda: Client(wrong)),
        ("give 'http' or 'https'", lambda: Client(app, scheme=wrong)),
        ("a pair \\(cert_file, key_file\\)", lambda: Client(app, scheme="https", peer_certificate=wrong)),
        ("goes with TLS", lambda: Client(app, peer_certificate=("cert.pem", "key.pem"))),
        ("cannot be read", lambda: Client(app, scheme="https", peer_certificate=("no cert.pem", "no key.pem"))),
        ("give a URL with", lambda: Client(app, base_url="localhost:8000")),
        ("encode it", lambda: Client(app, cookies={"a": "b;"})),
        ("bodyy: a request has params, headers", lambda: Client(app).get("/", bodyy=1)),  # type: ignore[call-arg]
    ):
        with pytest.raises((TypeError, ValueError, web.WebError), match=words):
            make()


def test_a_client_with_a_certificate(tmp_path: Path) -> None:
    def who(req: web.Request) -> str:
        match req.connection:
            case web.Tls(peer_certificate=web.Certificate() as certificate):
                return certificate.subject
        return "nobody"

    alice, app = Authority(tmp_path).issue("alice"), web.App(web.GET("/", who))
    with Client(app, scheme="https", peer_certificate=(alice.chain, alice.key)) as shown:
        assert shown.get("/").text == "CN=alice"
    with Client(app, scheme="https") as hidden:
        assert hidden.get("/").text == "nobody"


def test_contextvars_of_a_handler_stay_in_it(client: Client) -> None:
    seen: contextvars.ContextVar[int] = contextvars.ContextVar("seen", default=0)

    def count(req: web.Request) -> str:
        seen.set(seen.get() + 1)
        return str(seen.get())

    with Client(web.App(web.GET("/", count), *(ASYNC if client._app._compile().needs_asyncio else ()))) as other:
        assert [other.get("/").text for _ in range(3)] == ["1", "1", "1"]


def test_nothing_waits_for_the_garbage_collector(client: Client) -> None:
    """No fd stays open after an answer, nor after close(): the autouse fixture of all tests looks at the end."""
    gc.disable()
    try:
        assert client.get("/large").status_code == 200
        assert client.get("/blocking").status_code == 200
        server = client._server
        assert server is not None
        assert server.connections == 0
    finally:
        gc.enable()


# -- around it ---------------------------------------------------------------------------------------------------------


def test_the_fixture(web_client: MakeClient) -> None:  # noqa: F811
    client = web_client(make_app(), scheme="https", follow_redirects=True)
    assert client.get("/redirect?to=/describe").json()["scheme"] == "https"
    stopped: list[int] = []
    web_client(web.App(web.on_stop(lambda: stopped.append(1))))
    assert stopped == []


def test_import_web_does_not_import_it() -> None:
    code = (
        "import sys, web\nassert not [name for name in sys.modules if name.startswith('web.testing')]\n"
        "import web.testing\nassert 'pytest' not in sys.modules and 'asyncio' not in sys.modules\n"
        "web.testing.Client(web.App(web.GET('/', lambda req: ''))).get('/')\nassert 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


def test_names() -> None:
    for name in web.testing.__all__:
        assert getattr(web.testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        web.testing.nothing  # noqa: B018


def test_its_certificate_is_made_once_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from web.testing import link

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    link.certificates.cache_clear()
    assert link.certificates(None) is link.certificates(None)
    assert list(tmp_path.iterdir()) == []
    assert link.certificates(None)[1].verify_mode is ssl.CERT_REQUIRED
