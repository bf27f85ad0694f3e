"""web.Response: an immutable value; what it refuses; what the makers make."""

import gc
import http.client
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web import Response

TEXT = "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("response", "status", "content_type", "body"),
    [
        (Response(), 200, None, b""),
        (Response("ü"), 200, TEXT, b"\xc3\xbc"),
        (Response(b"x", 201), 201, "application/octet-stream", b"x"),
        (Response("x", content_type="text/css"), 200, "text/css", b"x"),
        (Response("x", headers={"content-type": "text/css"}), 200, "text/css", b"x"),
        (Response.text("ü"), 200, TEXT, b"\xc3\xbc"),
        (Response.text("", status=400), 400, TEXT, b""),
        (Response.html("<p>"), 200, "text/html; charset=utf-8", b"<p>"),
        (Response.json({"a": ["ü", None, 1.5]}), 200, "application/json", b'{"a":["\xc3\xbc",null,1.5]}'),
        (Response.json("x"), 200, "application/json", b'"x"'),
        (Response.bytes(b"\0"), 200, "application/octet-stream", b"\0"),
        (Response.bytes(bytearray(b"x"), "image/png"), 200, "image/png", b"x"),
        (Response.bytes(memoryview(b"x")), 200, "application/octet-stream", b"x"),
        (Response.not_found(), 404, TEXT, b"Not Found"),
        (Response.not_found("no user"), 404, TEXT, b"no user"),
        (Response.bad_request(), 400, TEXT, b"Bad Request"),
        (Response.bad_request("x", status=422), 422, TEXT, b"x"),
        (Response.empty(), 204, None, b""),
        (Response.empty(status=202), 202, None, b""),
        (Response.redirect("/x"), 302, None, b""),
        (Response.file("/x/y.css"), 200, "text/css; charset=utf-8", b""),
        (Response.sendfile("y", "text/x"), 200, "text/x", b""),
    ],
)
def test_makers(response: Response, status: int, content_type: str | None, body: bytes) -> None:
    assert (response.status, response.headers.get("Content-Type"), response.body) == (status, content_type, body)


@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: Response.text("x", **kw), lambda **kw: Response.html("x", **kw),
        lambda **kw: Response.json(1, **kw), lambda **kw: Response.bytes(b"x", **kw),
        lambda **kw: Response.file("x", **kw), Response.not_found, Response.bad_request, Response.empty, Response,
    ],
)  # fmt: skip
def test_every_maker_takes_status_and_headers(make: Any) -> None:
    response = make(status=418, headers=[("X-A", "1"), ("X-A", "2")])
    assert response.status == 418
    assert response.headers.get_all("x-a") == ["1", "2"]
    with pytest.raises(ValueError, match="200 to 599"):
        make(status=600)


# ---- a value ----


def test_changes_are_new_values() -> None:
    base = Response.text("x", headers={"X-A": "1"})
    before = (base.status, list(base.headers.items()), base.body)
    assert base.with_status(404).status == 404
    assert base.with_header("x-a", "2").headers.get_all("X-A") == ["2"]
    assert base.add_header("X-A", "2").headers.get_all("X-A") == ["1", "2"]
    assert (base.status, list(base.headers.items()), base.body) == before
    with pytest.raises(AttributeError):
        base.status = 5  # type: ignore[misc]


def test_with_header_replaces_all_of_a_name_and_nothing_else() -> None:
    base = Response(headers=[("A", "1"), ("B", "x"), ("a", "2"), ("Ab", "y"), ("A", "3")])
    assert list(base.with_header("A", "4").headers.items()) == [("B", "x"), ("Ab", "y"), ("A", "4")]
    assert list(base.with_header("C", "4").headers.items())[-1] == ("C", "4")
    assert Response.text("x").with_header("content-type", "a/b").headers.get_all("Content-Type") == ["a/b"]


def test_content_type_cannot_stand_twice() -> None:
    with pytest.raises(ValueError, match="with_header"):
        Response.text("x").add_header("Content-TYPE", "a/b")
    twice = Response(headers=[("Content-Type", "a/b"), ("content-type", "c/d")])
    assert twice.headers.get_all("Content-Type") == ["c/d"]


def test_equality_and_hash() -> None:
    assert Response.text("x") == Response("x") != Response("y")
    assert hash(Response.text("x")) == hash(Response("x"))
    assert Response.file("a") != Response.file("b")
    assert Response() != "x"  # type: ignore[comparison-overlap]
    assert repr(Response.text("x", status=201)) == "<Response 201, 1 bytes>"
    assert repr(Response.file("a")) == "<Response 200, file 'a'>"


def test_is_final() -> None:
    with pytest.raises(TypeError):
        type("Mine", (Response,), {})


names = st.sampled_from(["A", "a", "B", "Ab", "x-y"])
texts = st.text("ab: \xe9\xff", max_size=5)


@given(st.lists(st.tuples(st.booleans(), names, texts), max_size=12))
def test_headers_agree_with_a_list(steps: list[tuple[bool, str, str]]) -> None:
    response, model = Response(), list[tuple[str, str]]()
    for replaces, name, text in steps:
        value = text.strip(" ")
        if replaces:
            response = response.with_header(name, value)
            model = [pair for pair in model if pair[0].lower() != name.lower()]
        else:
            response = response.add_header(name, value)
        model.append((name, value))
        assert list(response.headers.items()) == model


# ---- what is refused ----

SPLITTERS = ["a\r\nSet-Cookie: x=1", "a\nb", "a\rb", "a\0b", "\r\n", "a\x0bb", "a\x7fb"]


@pytest.mark.parametrize("value", SPLITTERS)
def test_a_value_cannot_split_the_answer(value: str) -> None:
    base = Response()
    attempts: list[Any] = [
        lambda: Response(headers={"X": value}),
        lambda: Response(content_type=value),
        lambda: Response.text("", headers=[("X", value)]),
        lambda: Response.bytes(b"", value),
        lambda: Response.file("x", value),
        lambda: base.with_header("X", value),
        lambda: base.add_header("X", value),
        lambda: Response.redirect(f"/{value}"),
        lambda: Response.redirect("/", headers={"X": value}),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="control character"):
            attempt()
    assert len(base.headers) == 0


@pytest.mark.parametrize("name", ["", "X Y", "X:", "X\r\n", "X\0", "Ä", "X(", "\ud800"])
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError):
        Response(headers={name: "x"})
    with pytest.raises(ValueError):
        Response().with_header(name, "x")


def test_a_value_is_latin_1() -> None:
    assert Response(headers={"X": "caf\xe9\t"}).headers["X"] == "caf\xe9"
    with pytest.raises(ValueError, match="ISO-8859-1"):
        Response(headers={"X": "\u20ac"})


@pytest.mark.parametrize(
    "name",
    ["Content-Length", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Date", "Server",
     "Trailer", "Proxy-Connection"],
)  # fmt: skip
def test_what_the_server_writes_is_refused(name: str) -> None:
    attempts: list[Any] = [
        lambda: Response(headers={name: "1"}),
        lambda: Response().with_header(name, "1"),
        lambda: Response().add_header(name, "1"),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="leave it out"):
            attempt()


@pytest.mark.parametrize("status", [100, 101, 199, 600, 0, -1])
def test_status_is_200_to_599(status: int) -> None:
    with pytest.raises(ValueError, match="200 to 599"):
        Response(status=status)
    with pytest.raises(ValueError, match="200 to 599"):
        Response().with_status(status)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_answers_without_body(status: int) -> None:
    attempts: list[Any] = [
        lambda: Response("x", status),
        lambda: Response.text("x", status=status),
        lambda: Response.file("x", status=status),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="has no body"):
            attempt()
    assert Response("", status).status == status
    assert Response.text("x").with_status(status).body == b""
    assert Response.file("x").with_status(status).path is None


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: Response(5),  # type: ignore[arg-type]
        lambda: Response(None),  # type: ignore[arg-type]
        lambda: Response.text(b"x"),  # type: ignore[arg-type]
        lambda: Response.text(None),  # type: ignore[arg-type]
        lambda: Response.bytes("x"),  # type: ignore[arg-type]
        lambda: Response.json({1, 2}),
        lambda: Response(headers={"X": 5}),  # type: ignore[arg-type]
        lambda: Response().with_header("X", 5),  # type: ignore[arg-type]
        lambda: Response().with_status("x"),  # type: ignore[arg-type]
        lambda: Response.file(5),  # type: ignore[arg-type]
        lambda: Response.redirect(None),  # type: ignore[arg-type]
    ],
)
def test_wrong_types_are_type_errors(attempt: Any) -> None:
    with pytest.raises(TypeError):
        attempt()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_json_has_no_nan(value: Any) -> None:
    with pytest.raises(ValueError):
        Response.json(value)


# ---- redirects ----


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("/a/b?c=d&e=%20#f", "/a/b?c=d&e=%20#f"),
        ("https://example.org:8/x", "https://example.org:8/x"),
        ("/grüße", "/gr%C3%BC%C3%9Fe"),
        ("/a b", "/a%20b"),
        ("/\\evil.example", "/%5Cevil.example"),
        ('/"<>', "/%22%3C%3E"),
    ],
)
def test_redirect_targets(location: str, sent: str) -> None:
    assert Response.redirect(location).headers["Location"] == sent


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_statuses(status: int) -> None:
    assert Response.redirect("/", status=status).status == status


@pytest.mark.parametrize("status", [200, 300, 304, 404])
def test_other_statuses_are_no_redirects(status: int) -> None:
    with pytest.raises(ValueError, match="use 301"):
        Response.redirect("/", status=status)


def test_a_redirect_leads_somewhere() -> None:
    with pytest.raises(ValueError, match="empty"):
        Response.redirect("")


# ---- files ----


def test_file_is_a_path_until_it_is_sent(tmp_path: Path) -> None:
    missing = tmp_path / "no.txt"
    assert Response.file(missing).path == str(missing)
    assert Response.file(bytes(missing)).path == str(missing)
    assert Response.file(missing, headers={"Content-Type": "a/b"}).headers["content-type"] == "a/b"
    assert Response.text("x").path is None


@pytest.mark.parametrize("path", ["", "a\0b", b"\0"])
def test_what_cannot_be_a_file_name(path: Any) -> None:
    with pytest.raises(ValueError, match="not a file name"):
        Response.file(path)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("a.txt", 200),
        ("no.txt", 404),
        ("a.txt/b", 404),
        ("x" * 300, 404),
        ("loop", 404),
        (".", 404),
        ("pipe", 404),
    ],
)
def test_a_file_is_opened_when_it_is_sent(tmp_path: Path, name: str, status: int) -> None:
    (tmp_path / "a.txt").write_text("content")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")  # opening it must not wait for a writer
    marked = web.after(lambda req, params, resp: resp.with_header("X-After", "yes"))
    with web.defserver("127.0.0.1", 0, web.GET("/", lambda req: Response.file(tmp_path / name)), marked).running() as s:
        client = http.client.HTTPConnection("127.0.0.1", s.port)
        client.request("GET", "/")
        answer = client.getresponse()
        assert (answer.status, answer.headers["X-After"]) == (status, "yes")
        assert (answer.read() == b"content") == (status == 200)
        client.close()


# ---- memory ----


def test_responses_are_not_tracked_and_leave_nothing_behind() -> None:
    assert not gc.is_tracked(Response.text("x"))
    body = b"x" * 1000
    count = sys.getrefcount(body)
    for _ in range(200):
        Response.bytes(body).with_header("X", "1").with_status(404)
        with pytest.raises(ValueError):
            Response.bytes(body, headers={"X": "\r"})
    assert sys.getrefcount(body) == count
