"""web.Request: what is read from a head, lazily; what the client can get wrong; and what lives when."""

import gc
import http.client
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web import Request, Response
from web.headers import Headers, MultiValues


def request(target: str = "/", *fields: str, method: str = "GET", body: bytes = b"") -> Request:
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{field}\r\n" for field in ("Host: example.org:8000", *fields))
    return Request(head.encode("latin-1") + b"\r\n", body)


# ---- the request line ----


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"])
def test_method_is_as_sent(method: str) -> None:
    assert request(method=method).method == method


def test_known_methods_are_one_object_and_unknown_ones_are_not() -> None:
    assert request().method is request().method
    assert request(method="BREW").method is not request(method="BREW").method


@pytest.mark.parametrize(
    ("target", "raw_path", "path", "query"),
    [
        ("/", "/", "/", ""),
        ("/a/b", "/a/b", "/a/b", ""),
        ("/a?b=c?d", "/a", "/a", "b=c?d"),
        ("/a?", "/a", "/a", ""),
        ("/%61%20b", "/%61%20b", "/a b", ""),
        ("/gr%C3%BC%C3%9Fe", "/gr%C3%BC%C3%9Fe", "/grüße", ""),
        ("/%ff", "/%ff", "/\ufffd", ""),
        ("/a%2Fb%2fc/d", "/a%2Fb%2fc/d", "/a%2Fb%2Fc/d", ""),
        ("/a%252Fb", "/a%252Fb", "/a%2Fb", ""),
        ("/../a//./b", "/../a//./b", "/../a//./b", ""),
        ("/%2e%2e/a", "/%2e%2e/a", "/../a", ""),
        ("http://other.example/x?y", "/x", "/x", "y"),
        ("http://other.example", "/", "/", ""),
    ],
)
def test_paths(target: str, raw_path: str, path: str, query: str) -> None:
    req = request(target)
    assert (req.raw_path, req.path, req.query_string) == (raw_path, path, query)


def test_asterisk_form() -> None:
    assert request("*", method="OPTIONS").path == "*"


@pytest.mark.parametrize(("version", "wanted"), [("HTTP/1.0", "1.0"), ("HTTP/1.1", "1.1"), ("HTTP/1.9", "1.1")])
def test_http_version(version: str, wanted: str) -> None:
    assert Request(f"GET / {version}\r\nHost: a\r\n\r\n".encode()).http_version == wanted


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1))
def test_decoded_path_splits_into_the_segments_that_were_encoded(segments: list[str]) -> None:
    path = request("/" + "/".join(quote(segment, safe="") for segment in segments)).path
    assert path.split("/")[1:] == [segment.replace("/", "%2F") for segment in segments]


# ---- query ----


def test_query_has_several_values_in_order() -> None:
    query = request("/?a=1&b=2&a=3&c&d=&e=x%20y+z&%C3%BC=%ff").query
    assert query["a"] == "1"
    assert query.get_all("a") == ["1", "3"]
    assert query.get("nope") is None
    assert query.get_all("nope") == []
    assert dict(query) == {"a": "1", "b": "2", "c": "", "d": "", "e": "x y z", "ü": "\ufffd"}
    assert list(query.items())[:3] == [("a", "1"), ("b", "2"), ("a", "3")]
    assert "A" not in query


def test_query_is_built_once_and_empty_without_one() -> None:
    req = request("/")
    assert len(req.query) == 0
    assert req.query is req.query


def test_query_with_too_many_fields_is_a_400() -> None:
    assert len(request("/?" + "&".join(["a=1"] * 1000)).query.get_all("a")) == 1000
    with pytest.raises(web.HTTPError, match="more than 1000 fields") as caught:
        _ = request("/?" + "&".join(["a=1"] * 1001)).query
    assert caught.value.status == 400


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))), max_size=20))
def test_query_round_trip(pairs: list[tuple[str, str]]) -> None:
    assert list(request(f"/?{urlencode(pairs)}").query.items()) == pairs


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='%#"<>\\^`{|}')))
def test_any_query_is_read_without_an_error(text: str) -> None:
    assert request(f"/?{text}").query_string == text
    assert isinstance(request(f"/?{text}").query, MultiValues)


@given(st.binary(max_size=40) | st.binary(max_size=1 << 12) | st.integers(990, 1010).map(lambda n: b"&a" * n))
def test_any_bytes_that_the_parser_takes_are_a_query_or_a_400(raw: bytes) -> None:
    try:
        req = Request(b"GET /?" + raw + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    except ValueError:
        return
    try:
        query = req.query
    except web.HTTPError as error:
        assert error.status == 400
        assert raw.count(b"&") >= 1000
    else:
        assert all(char < "\ud800" or char > "\udfff" for pair in query.pairs for text in pair for char in text)


# ---- fields ----


def test_headers_have_no_case_keep_order_and_repeat() -> None:
    headers = request("/", "X-A: 1", "Accept:text/html", "x-a:  2\t", "X-Empty:").headers
    assert headers["x-A"] == "1"
    assert headers.get_all("X-a") == ["1", "2"]
    assert headers["x-empty"] == ""
    assert list(headers) == ["Host", "X-A", "Accept", "X-Empty"]
    assert list(headers.items())[1:4] == [("X-A", "1"), ("Accept", "text/html"), ("x-a", "2")]
    assert "ACCEPT" in headers
    assert "nope" not in headers
    assert 5 not in headers  # type: ignore[comparison-overlap]
    with pytest.raises(KeyError):
        headers["nope"]


def test_header_finds_one_field_without_building_all() -> None:
    req = request("/", "X-A: 1", "x-a: 2", "X-Ab: 3", "^x: caret", "~x: tilde")
    assert req.header("x-a") == "1"
    assert req.header("X-AB") == "3"
    assert req.header("~X") == "tilde"  # | 0x20 would make it the caret's
    assert req.header("x-") is None
    assert req.header("x-", "none") == "none"
    assert req.header("") is None
    assert req.header("ü") is None


def test_values_are_latin_1() -> None:
    assert request("/", "X-A: caf\xe9").headers["x-a"] == "caf\xe9"


def test_host() -> None:
    assert request().host == "example.org:8000"
    assert request("http://other.example:1/x").host == "other.example:1"
    assert Request(b"GET / HTTP/1.0\r\n\r\n").host == ""


name = st.text("abcXYZ019-_^~!|", min_size=1, max_size=8)
printable = "".join(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x100)]))
value = st.text(printable, max_size=20)


@given(st.lists(st.tuples(name, value), max_size=20))
def test_headers_agree_with_a_naive_reading(pairs: list[tuple[str, str]]) -> None:
    pairs = [(key, text.strip(" ")) for key, text in pairs]
    req = request("/", *(f"{key}: {text}" for key, text in pairs))
    assert list(req.headers.items())[1:] == pairs
    for key, _ in pairs:
        wanted = [text for other, text in pairs if other.lower() == key.lower()]
        assert req.headers.get_all(key.upper()) == wanted
        assert req.header(key.swapcase()) == wanted[0]


# ---- Headers and MultiValues as values ----


def test_equality() -> None:
    assert Headers([("A", "1"), ("b", "2")]) == Headers([("a", "1"), ("B", "2")])
    assert Headers([("A", "1")]) == {"a": "1"}
    assert Headers([("A", "1"), ("a", "2")]) != {"a": "1"}
    assert MultiValues([("A", "1")]) != MultiValues([("a", "1")])
    assert Headers([("A", "1")]) != MultiValues([("A", "1")])
    assert Headers() != 5
    assert repr(Headers([("A", "1")])) == "Headers([('A', '1')])"


def test_views() -> None:
    values = MultiValues([("a", "1"), ("a", "2"), ("b", "1")])
    assert len(values) == 2
    assert len(values.items()) == 3
    assert len(values.values()) == 3
    assert list(values.values()) == ["1", "2", "1"]
    assert ("a", "2") in values.items()
    assert ("a", "3") not in values.items()
    assert "a" not in values.items()  # type: ignore[operator]
    assert "2" in values.values()
    assert "3" not in values.values()


# ---- body ----


def test_body_and_text() -> None:
    req = request("/", "Content-Type: text/plain", body="grüße".encode())
    assert req.body == "grüße".encode()
    assert req.text() == "grüße"
    assert request().body == b""


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain; charset=ISO-8859-1", b"\xfc", "ü"),
        ('text/plain; a=b; Charset="Latin-1"', b"\xfc", "ü"),
        ("text/plain; charset=us-ascii", b"u", "u"),
        ("text/plain; charset=UTF-8", b"\xc3\xbc", "ü"),
        ("text/plain;", b"\xc3\xbc", "ü"),
    ],
)
def test_charsets(content_type: str, body: bytes, text: str) -> None:
    assert request("/", f"Content-Type: {content_type}", body=body).text() == text


@pytest.mark.parametrize("charset", ["utf-16", "idna", "punycode", "zlib", "no-such"])
def test_other_charsets_are_a_415(charset: str) -> None:
    with pytest.raises(web.HTTPError) as caught:
        request("/", f"Content-Type: text/plain; charset={charset}", body=b"x").text()
    assert caught.value.status == 415


def test_a_body_that_is_not_its_charset_is_a_400_that_says_where() -> None:
    with pytest.raises(web.HTTPError, match="byte 2") as caught:
        request(body=b"ab\xff").text()
    assert caught.value.status == 400


def test_json() -> None:
    assert request(body='{"a": [1, "ü"]}'.encode()).json() == {"a": [1, "ü"]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b'{"a": }', "line 1 column 7"),
        (b"[1,\n2,]", "line 2"),
        (b"NaN", "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b"\xff", "0xff"),
        (b'{"a": 1} x', "Extra data"),
        (b"[" * 200_000, "recursion"),
    ],
)
def test_bad_json_is_a_400_that_says_where(body: bytes, says: str) -> None:
    with pytest.raises(web.HTTPError, match=says) as caught:
        request(body=body).json()
    assert caught.value.status == 400


@given(st.binary(max_size=200))
def test_json_raises_nothing_but_its_own_error(body: bytes) -> None:
    with suppress(web.HTTPError):
        request(body=body).json()


# ---- what the framework adds ----


def test_params_and_state_are_there_and_belong_to_one_request() -> None:
    one, other = request(), request()
    one.params["x"] = 1
    one.state.user = "me"
    assert one.params == {"x": 1}
    assert one.state.user == "me"
    assert other.params == {}
    assert not hasattr(other.state, "user")


def test_a_request_made_by_hand_has_no_connection() -> None:
    req = request()
    assert req.connection is None
    assert req.client is None
    assert req.scheme == "http"
    assert req.app is None
    assert repr(req) == "<Request GET />"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not complete"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", "not complete"),
        (b"GET / HTTP/1.1\r\n\r\n", "400.*Host"),
        (b"GET / HTTP/2.0\r\n\r\n", "505"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", "4 bytes after the head"),
    ],
)
def test_a_bad_head_is_a_value_error(raw: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Request(raw)


# ---- life ----

READERS = [
    "method", "raw_path", "path", "query_string", "query", "http_version", "headers", "host", "body", "params", "state",
    "app", "client", "scheme",
]  # fmt: skip


@pytest.mark.parametrize("attribute", READERS)
def test_an_unbound_request_raises(attribute: str) -> None:
    with pytest.raises(RuntimeError, match="holds no request"):
        getattr(Request.__new__(Request), attribute)


@pytest.mark.parametrize("call", [lambda r: r.text(), lambda r: r.json(), lambda r: r.header("a")])
def test_an_unbound_request_raises_when_called(call: Any) -> None:
    with pytest.raises(RuntimeError, match="holds no request"):
        call(Request.__new__(Request))


def test_a_request_that_was_dropped_by_its_exchange_is_unbound() -> None:
    kept: list[Request] = []

    def keep(req: Request) -> str:
        _ = [getattr(req, attribute) for attribute in READERS]
        kept.append(req)
        return "x"

    web.App(web.GET("/a", keep))._compile().repeat(request("/a", body=b"abc"), 1)
    assert repr(kept[0]) == "<Request, unbound>"
    with pytest.raises(RuntimeError):
        _ = kept[0].path


def test_a_request_may_be_made_again() -> None:
    req = request("/one", body=b"1")
    assert (req.path, req.params) == ("/one", {})
    req.params["x"] = 1
    req.__init__(b"GET /two HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (req.path, req.params, req.body) == ("/two", {}, b"")


def test_a_cycle_through_a_request_is_collected() -> None:
    class Canary:
        pass

    req = request()
    req.state.self = req
    req.params["self"] = req
    req.state.canary = Canary()
    canary = weakref.ref(req.state.canary)
    del req
    gc.collect()
    assert canary() is None


def ask(port: int, requests: Iterable[tuple[str, str, bytes]]) -> list[bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port)
    answers = []
    for method, target, body in requests:
        client.request(method, target, body, {"X-Mark": target})
        answers.append(client.getresponse().read())
    client.close()
    return answers


def test_a_request_that_outlives_its_exchange_takes_its_bytes_with_it() -> None:
    kept: list[Request] = []

    def keep(req: Request) -> str:
        kept.append(req)
        return "kept"

    with web.defserver("127.0.0.1", 0, web.POST("/:name", keep), web.GET("/:name", lambda req: "gone")).running() as s:
        ask(s.port, [("POST", f"/{n}?q={n}", b"%d" % n * 100) for n in range(20)])
        ask(s.port, [("GET", "/overwrites", b"") for _ in range(50)])
        assert kept[3].client is not None
    for n, req in enumerate(kept):
        assert (req.path, req.query["q"], req.header("x-mark")) == (f"/{n}", str(n), f"/{n}?q={n}")
        assert (req.body, req.params, req.method) == (b"%d" % n * 100, {"name": str(n)}, "POST")


def test_nothing_leaks_from_one_request_to_the_next() -> None:
    def spread(req: Request) -> Response:
        req.state.secret = req.body
        req.params["secret"] = req.body
        return Response.json([req.path, dict(req.query)])

    def look(req: Request) -> dict[str, Any]:
        return {"state": vars(req.state), "params": req.params, "body": req.text(), "query": dict(req.query)}

    with web.defserver("127.0.0.1", 0, web.POST("/a", spread), web.GET("/b", look)).running() as s:
        answers = ask(s.port, [("POST", "/a?x=1", b"secret"), ("GET", "/b", b"")] * 3)
    assert answers[1::2] == [b'{"state":{},"params":{},"body":"","query":{}}'] * 3
