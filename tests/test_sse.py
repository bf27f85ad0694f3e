"""Server-sent events: values that are checked, encoding that reads back, and the form ``SSE``. On sockets: wire/."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from tests.event_stream import Told, read
from web import ServerEvent
from web._core import event_stream
from web.testing import AsyncClient, Client

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
ID = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
).filter(lambda value: isinstance(value, (dict, list)))


# ---- the value ----


@pytest.mark.parametrize(
    ("event", "sent"),
    [
        (ServerEvent("a"), "data: a\n\n"),
        (ServerEvent(""), "data: \n\n"),
        (ServerEvent("a\nb\r\nc\rd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
        (ServerEvent("a\x0b\x85\u2028b\x1c"), "data: a\x0b\x85\u2028b\x1c\n\n"),
        (ServerEvent(" a: b"), "data:  a: b\n\n"),
        (ServerEvent(" a", event=" b", id=" c"), "event:  b\nid:  c\ndata:  a\n\n"),
        (ServerEvent({"a": ["ü", None]}), 'data: {"a":["ü",null]}\n\n'),
        (ServerEvent([]), "data: []\n\n"),
        (ServerEvent({}), "data: {}\n\n"),
        (ServerEvent("a", event="b", id="c", retry=5), "event: b\nid: c\nretry: 5\ndata: a\n\n"),
        (ServerEvent(id=""), "id: \n\n"),
        (ServerEvent(retry=0), "retry: 0\n\n"),
        (ServerEvent(comment="a\nb"), ": a\n: b\n\n"),
        (ServerEvent(comment=""), ": \n\n"),
    ],
)
def test_what_is_sent(event: ServerEvent, sent: str) -> None:
    assert event.encode() == sent.encode()


@given(
    data=st.none() | TEXT,
    event=st.none() | LINE,
    key=st.none() | ID,
    retry=st.none() | st.integers(0, 2**31 - 1),
    comment=st.none() | TEXT,
)
def test_a_browser_reads_what_was_said(
    data: str | None, event: str | None, key: str | None, retry: int | None, comment: str | None
) -> None:
    if event is not None and data is None:
        data = ""
    if (data, key, retry, comment) == (None, None, None, None):
        return
    sent = ServerEvent(data, event=event, id=key, retry=retry, comment=comment).encode()
    stream = read(b": \n\n" + sent + b"data: next\n\n")
    *own, following = stream.told
    assert following == Told("message", "next", key or "")  # nothing of it leaks into the next
    normal = None if data is None else re.sub("\r\n|\r", "\n", data)
    assert own == ([] if normal is None else [Told(event or "message", normal, key or "")])
    assert stream.retry == retry
    said = [] if comment is None else [" " + line for line in re.split("\r\n|\r|\n", comment)]
    assert stream.comments == [" ", *said]


@given(JSON)
def test_json_reads_back(value: Any) -> None:
    (told,) = read(ServerEvent(value).encode()).told
    assert json.loads(told.data) == value


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ServerEvent("a", id="a\0b"), r"ServerEvent(id='a\x00b'): '\x00' cannot stand in it"),
        (lambda: ServerEvent("a", id="a\n"), r"ServerEvent(id='a\n'): '\n' cannot"),
        (lambda: ServerEvent("a", id="\r"), r"ServerEvent(id='\r'): '\r' cannot"),
        (lambda: ServerEvent("a", event="a\nb"), r"ServerEvent(event='a\nb'): '\n' cannot"),
        (lambda: ServerEvent("a", event="a\rb"), r"ServerEvent(event='a\rb'): '\r' cannot"),
        (lambda: ServerEvent("a", retry=-1), "ServerEvent(retry=-1): give whole milliseconds, 0 to 2147483647"),
        (lambda: ServerEvent("a", retry=2**31), "ServerEvent(retry=2147483648): give whole"),
        (lambda: ServerEvent("a", retry=True), "ServerEvent(retry=True): give whole"),
        (lambda: ServerEvent("a", retry=1.5), "ServerEvent(retry=1.5): give whole"),  # type: ignore[arg-type]
        (lambda: ServerEvent(event="a"), "ServerEvent(event='a'): browsers pass over an event without data"),
        (ServerEvent, "ServerEvent(): it says nothing"),
        (lambda: ServerEvent("\ud800"), r"ServerEvent(data='\ud800'): it cannot be sent as UTF-8"),
        (lambda: ServerEvent("a", id="\ud800"), r"ServerEvent(id='\ud800'): it cannot"),
        (lambda: ServerEvent("a", event="\ud800"), r"ServerEvent(event='\ud800'): it cannot"),
        (lambda: ServerEvent(comment="\ud800"), r"ServerEvent(comment='\ud800'): it cannot"),
    ],
)
def test_what_cannot_be_said(make: Callable[[], ServerEvent], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


@pytest.mark.parametrize("fields", [{"data": 7}, {"data": b"a"}, {"id": 7}, {"event": 7}, {"comment": 7}])
def test_fields_of_other_types(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(TypeError, match=rf"ServerEvent\({name}="):
        ServerEvent(**{"data": "a", **fields})


def test_it_is_a_value() -> None:
    event = ServerEvent("a", id="7")
    assert event == ServerEvent("a", id="7")
    assert len({event, ServerEvent("a", id="7"), ServerEvent("a", id="8")}) == 2
    with pytest.raises(AttributeError):
        event.id = "8"  # type: ignore[misc]
    with pytest.raises(TypeError):
        ServerEvent("a", "b")  # type: ignore[call-arg]


# ---- the form ----


def lines(req: web.Request) -> Iterator[str]:
    yield "a"


async def later(req: web.Request) -> AsyncIterator[str]:
    yield "a"


def returns(req: web.Request) -> Iterator[str]:
    return lines(req)


async def returns_later(req: web.Request) -> AsyncIterator[str]:
    return later(req)


async def plain_later(req: web.Request) -> Iterator[str]:
    return lines(req)


HANDLERS: list[Any] = [lines, returns, later, returns_later, plain_later, partial(lines)]


@pytest.mark.parametrize("handler", HANDLERS)
def test_every_kind_of_handler(handler: Any) -> None:
    with Client(web.App(web.SSE("/events", handler))) as client:
        reply = client.get("/events")
    assert (reply.status_code, reply.content) == (200, b": \n\ndata: a\n\n")
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["cache-control"] == "no-cache, no-transform"
    assert reply.headers["x-accel-buffering"] == "no"


def test_of_the_async_client() -> None:
    async def ask() -> bytes:
        async with AsyncClient(web.App(web.SSE("/events", later))) as client:
            return (await client.get("/events")).content

    assert asyncio.run(ask()) == b": \n\ndata: a\n\n"


def test_params_and_methods_of_objects() -> None:
    class Feed:
        async def events(self, req: web.Request, params: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
            yield {"room": params["room"], "seen": req.last_event_id}

    app = web.App(web.SSE("/rooms/:room:int", Feed().events, name="room"))
    with Client(app) as client:
        told = read(client.get(app.url_for("room", room=7)).content).told
        assert [json.loads(one.data) for one in told] == [{"room": 7, "seen": None}]
        assert client.post("/rooms/7").status_code == 405


def test_the_decorator_of_apps_and_groups() -> None:
    app, group = web.App(), web.group("/inner")

    @app.sse("/outer", keep_alive=None)
    def outer(req: web.Request) -> Iterator[str]:
        yield "outer"

    @group.sse("", before=[lambda req: None if req.query.get("key") else web.Response.empty(status=403)])
    async def inner(req: web.Request) -> AsyncIterator[str]:
        yield "inner"

    app.add(group)
    with Client(app) as client:
        assert client.get("/outer").content.endswith(b"data: outer\n\n")
        assert client.get("/inner?key=1").content.endswith(b"data: inner\n\n")
        assert client.get("/inner").status_code == 403


def test_a_handler_may_refuse_before_the_head() -> None:
    def refuses(req: web.Request) -> web.Response:
        return web.Response.empty()  # 204: an EventSource does not connect anew

    async def raises(req: web.Request) -> Iterator[str]:
        raise web.HTTPError(403, "not you")

    with Client(web.App(web.SSE("/a", refuses), web.SSE("/b", raises))) as client:
        assert client.get("/a").status_code == 204
        assert client.get("/b").status_code == 403


@pytest.mark.parametrize("value", [None, 7, "text", ["a"], {"a": 1}, later])
def test_what_is_no_stream(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    def wrong(req: web.Request) -> Any:
        return later(req) if value is later else value

    with Client(web.App(web.SSE("/events", wrong)), raise_handler_exceptions=False) as client:
        assert client.get("/events").status_code == 500
    (record,) = caplog.records
    assert record.exc_info is not None
    said = str(record.exc_info[1])
    assert "handler tests.test_sse." in said
    assert "wrong of route /events returned " in said
    assert ("declare it with async def" in said) == (value is later)


class Json:
    """App(json=...) of one's own."""

    def __init__(self, as_bytes: bool) -> None:
        self.as_bytes = as_bytes

    def dumps(self, value: Any) -> str | bytes:
        text = json.dumps(value, indent=1)  # with line ends
        return text.encode() if self.as_bytes else text

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("options", [{}, {"blocking": True}])
def test_json_is_that_of_the_app(as_bytes: bool, options: dict[str, Any]) -> None:
    def handler(req: web.Request) -> Iterator[Any]:
        yield {"a": 1}
        yield ServerEvent({"b": 2})

    with Client(web.App(web.SSE("/events", handler, **options), json=Json(as_bytes))) as client:
        content = client.get("/events").content
    assert b'data: {\ndata:  "a": 1\ndata: }\n\n' in content
    assert [json.loads(told.data) for told in read(content).told] == [{"a": 1}, {"b": 2}]


def test_conditions_do_not_apply() -> None:
    with Client(web.App(web.SSE("/events", lines))) as client:
        reply = client.get("/events", headers={"If-None-Match": "*", "Range": "bytes=0-1"})
    assert (reply.status_code, reply.content) == (200, b": \n\ndata: a\n\n")


def test_it_is_not_coded() -> None:
    app = web.App(web.compress(types=["text/event-stream"]), web.SSE("/events", lines))
    with Client(app) as client:
        reply = client.get("/events", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in reply.headers
    assert reply.content == b": \n\ndata: a\n\n"


@pytest.mark.parametrize(
    ("value", "seen"),
    [(None, None), ("", ""), ("7", "7"), ("ü€", "ü€"), (b"\xff".decode("latin-1"), "\ufffd")],
)
def test_last_event_id(value: str | None, seen: str | None) -> None:
    raw = "" if value is None else value if "\xff" in value else value.encode().decode("latin-1")
    field = b"" if value is None else b"Last-Event-ID: " + raw.encode("latin-1") + b"\r\n"
    assert web.Request(b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n").last_event_id == seen


@pytest.mark.parametrize("keep_alive", [0, -1, 0.0009, 1e7, float("nan"), "15", True])
def test_keep_alive_is_checked(keep_alive: Any) -> None:
    with pytest.raises(web.RouteError, match="keep_alive="):
        web.SSE("/events", lines, keep_alive=keep_alive)


@pytest.mark.parametrize(("options", "seconds"), [({}, 15.0), ({"keep_alive": None}, 0.0), ({"keep_alive": 3}, 3.0)])
def test_what_the_core_is_told(options: dict[str, Any], seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    def make(items: Any, headers: Any, keep_alive: float) -> web.Response:
        told.append(keep_alive)
        return event_stream(items, headers, keep_alive)

    monkeypatch.setattr("web.sse.event_stream", make)
    with Client(web.App(web.SSE("/a", lines, **options), web.SSE("/b", later, **options))) as client:
        assert client.get("/a").content == client.get("/b").content
    assert told == [seconds, seconds]


def test_mistakes_are_told_at_once() -> None:
    def three(a: Any, b: Any, c: Any) -> Iterator[str]:
        yield ""

    for handler, options, words in (
        (7, {}, "7 cannot be called"),
        (three, {}, "three of /events takes (a, b, c)"),
        (later, {"blocking": True}, "blocking=True is for a plain handler"),
        (lines, {"blocking": "yes"}, "blocking='yes'"),
        (lines, {"before": later}, "before="),
    ):
        with pytest.raises(web.RouteError, match=re.escape(words)):
            web.SSE("/events", handler, **options)  # type: ignore[arg-type]
