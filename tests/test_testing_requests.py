"""web.testing.urls and web.testing.outgoing: which bytes a request becomes, and which ones a redirect asks for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.hotpath import RequestParser
from web.testing import ClientError
from web.testing.cookies import Cookies
from web.testing.outgoing import Outgoing, make_outgoing
from web.testing.urls import Url

BASE = Url.parse("http://example.org")


def made(method: str = "GET", url: str = "/", **options: Any) -> Outgoing:
    return make_outgoing(method, BASE.below(url), {"A": "client's"}, options)  # type: ignore[arg-type]


def written(outgoing: Outgoing, jar: Cookies | None = None) -> tuple[list[str], bytes]:
    """The lines of the head and the body."""
    head, _, body = b"".join(outgoing.pieces(jar or Cookies("example.org"))).partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body


@pytest.mark.parametrize(
    ("text", "shown", "target"),
    [
        ("http://example.org", "http://example.org/", "/"),
        ("HTTP://Example.ORG:80/a?b#c", "http://example.org/a?b", "/a?b"),
        ("https://example.org:443/", "https://example.org/", "/"),
        ("https://example.org:444/", "https://example.org:444/", "/"),
        ("http://[::1]:8000/a", "http://[::1]:8000/a", "/a"),
        ("http://h/é b/%41%2f?q=ü&r=%20", "http://h/%C3%A9%20b/%41%2f?q=%C3%BC&r=%20", None),
        ("http://h/100%/%4?a=%zz", "http://h/100%25/%254?a=%25zz", None),
        ("http://bücher.example/", "http://xn--bcher-kva.example/", "/"),
    ],
)
def test_urls(text: str, shown: str, target: str | None) -> None:
    url = Url.parse(text)
    assert str(url) == shown
    assert target is None or url.target == target


def test_the_host_is_that_without_port_and_brackets() -> None:
    assert (Url.parse("http://[::1]:8000/a").host, Url.parse("http://[::1]:8000/a").netloc) == ("::1", "[::1]:8000")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://h/", "http:// or https://"),
        ("http://", "and a host"),
        ("http:///path", "and a host"),
        ("/path", "and a host"),
        ("http://h:port/", "is no URL"),
        ("http://h:99999/", "is no URL"),
        ("http://[::1/", "is no URL"),
        ("http://u:p@h/", "no user"),
        ("http://h/\r\nA: b", "control character"),
        ("http://h h/", "and a host"),
        ("http://" + "é" * 80 + "/", "is no URL"),
    ],
)
def test_what_is_no_url(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Url.parse(text)


@given(st.text(max_size=40) | st.text("ah:/[]@?#%.1é\\", max_size=20).map("http://".__add__))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    try:
        url = Url.parse(text)
    except ValueError:
        return
    assert str(Url.parse(str(url))) == str(url)
    for part in (url.target, url.netloc):
        assert part.isascii()
        assert part.isprintable()
        assert " " not in part


@pytest.mark.parametrize(
    ("base", "text", "whole"),
    [
        ("http://h", "/a", "http://h/a"),
        ("http://h", "a", "http://h/a"),
        ("http://h", "", "http://h/"),
        ("http://h", "?a=1", "http://h/?a=1"),
        ("http://h", "//a", "http://h//a"),
        ("http://h/api", "/a", "http://h/api/a"),
        ("http://h/api/", "a", "http://h/api/a"),
        ("http://h/api", "?a", "http://h/api?a"),
        ("http://h", "https://other/b", "https://other/b"),
        ("http://h", "/to?url=http://x/", "http://h/to?url=http://x/"),
    ],
)
def test_below_a_base(base: str, text: str, whole: str) -> None:
    assert str(Url.parse(base).below(text)) == whole


def test_the_lines_of_a_request() -> None:
    assert written(made("get", "/a?b=1", params={"c": [1, "x y"], "d": None, "e": True, "f": 1.5})) == (
        ["GET /a?b=1&c=1&c=x+y&d=&e=true&f=1.5 HTTP/1.1", "Host: example.org", "A: client's"],
        b"",
    )
    head, _ = written(made(headers=[("a", "own"), ("B", "1"), ("B", "2"), ("Host", "other")]))
    assert head[1:] == ["a: own", "B: 1", "B: 2", "Host: other"]


@pytest.mark.parametrize(
    ("options", "kind", "body"),
    [
        ({"content": b"a\0b"}, None, b"a\0b"),
        ({"content": "é"}, None, b"\xc3\xa9"),
        ({"data": {"a": ["1", "2"], "b": "x&y"}}, "application/x-www-form-urlencoded", b"a=1&a=2&b=x%26y"),
        ({"data": [("a", 1), ("a", False)]}, "application/x-www-form-urlencoded", b"a=1&a=false"),
        ({"json": {"a": "é"}}, "application/json", b'{"a":"\xc3\xa9"}'),
        ({"json": None}, "application/json", b"null"),
        ({"content": None, "data": None, "files": None}, None, b""),
    ],
)
def test_bodies(options: dict[str, Any], kind: str | None, body: bytes) -> None:
    head, sent = written(made("POST", **options))
    assert sent == body
    assert f"Content-Length: {len(body)}" in head
    assert [line for line in head if line.startswith("Content-Type")] == ([f"Content-Type: {kind}"] if kind else [])


def test_a_content_type_of_ones_own() -> None:
    head, _ = written(made("POST", json=[], headers={"content-type": "application/problem+json"}))
    assert [line for line in head if "ontent-" in line] == [
        "content-type: application/problem+json",
        "Content-Length: 2",
    ]


def test_multipart() -> None:
    head, body = written(made("POST", data={"a": 1}, files={"f": ("n.txt", b"x")}))
    boundary = head[3].partition("boundary=")[2]
    assert head[3].startswith("Content-Type: multipart/form-data; boundary=")
    assert body.startswith(f'--{boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'.encode())
    assert f"Content-Length: {len(body)}" in head


def test_chunks() -> None:
    head, body = written(made("POST", content=[b"abc", b"", b"x" * 16]))
    assert head[-1] == "Transfer-Encoding: chunked"
    assert body == b"3\r\nabc\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"


def test_an_empty_body_is_told_where_one_is_expected() -> None:
    for method, told in (
        ("GET", False),
        ("DELETE", False),
        ("HEAD", False),
        ("POST", True),
        ("PUT", True),
        ("PATCH", True),
    ):
        assert ("Content-Length: 0" in written(made(method))[0]) == told


def test_cookies() -> None:
    jar = Cookies("example.org")
    jar["a"], jar["b"] = "jar", "2"
    assert written(made(cookies={"a": "own", "c": "3"}), jar)[0][-1] == "Cookie: a=own; b=2; c=3"
    assert written(made(headers={"cookie": "x=y"}, cookies={"c": "3"}), jar)[0][2:] == ["A: client's", "cookie: x=y"]
    assert written(made(), Cookies("example.org"))[0][-1] == "A: client's"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"method": "G ET"}, ValueError, "is no method"),
        ({"method": "CONNECT"}, ValueError, "for proxies"),
        ({"headers": {"a b": "c"}}, ValueError, "cannot be sent"),
        ({"headers": {"a": "b\r\nc: d"}}, ValueError, "cannot be sent"),
        ({"headers": {"a": "\u20ac"}}, ValueError, "cannot be sent"),
        ({"headers": {"Content-Length": "5"}}, ValueError, "writes it itself"),
        ({"headers": {"transfer-encoding": "chunked"}}, ValueError, "writes it itself"),
        ({"cookies": {"a": "b;c"}}, ValueError, "encode it"),
        ({"params": {"a": object()}}, TypeError, "no value of a query"),
        ({"data": {"a": b"bytes"}}, TypeError, "no value of a query"),
        ({"json": 1, "data": {}}, ValueError, "data= and json=: a request has one body"),
        ({"json": None, "content": b""}, ValueError, "content= and json="),
        ({"content": b"", "files": {}}, ValueError, "content= and files="),
        ({"json": float("nan")}, ValueError, "JSON"),
    ],
)
def test_what_cannot_be_sent(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        made(**arguments)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_which_request_follows_a_redirect(status: int, method: str) -> None:
    following = made(method, "/a/b?c", json=1, headers={"Authorization": "x"}).redirected(status, "../d?e")
    becomes_get = (status == 303 and method != "HEAD") or (method == "POST" and status in (301, 302))
    assert str(following) == f"{'GET' if becomes_get else method} http://example.org/d?e"
    assert (following.body == b"") == becomes_get
    assert dict(following.headers) == {"A": "client's", "Authorization": "x"} | (
        {} if becomes_get else {"Content-Type": "application/json"}
    )


@pytest.mark.parametrize("location", ["https://example.org/", "http://other/", "http://example.org:81/", "//other/"])
def test_what_is_for_one_origin_does_not_go_to_another(location: str) -> None:
    first = made(headers={"Authorization": "x", "Host": "h", "Cookie": "a=b"}, cookies={"c": "d"})
    assert written(first.redirected(307, location))[0][2:] == ["A: client's"]
    assert len(written(first.redirected(307, "http://example.org:80/x"))[0]) == 5


def test_redirects_that_cannot_be_followed() -> None:
    with pytest.raises(ClientError, match="used up"):
        made("POST", content=iter([b"a"])).redirected(307, "/")
    assert made("POST", content=iter([b"a"])).redirected(303, "/").method == "GET"
    for location in ("ftp://h/", "http://[", "http://u@h/"):
        with pytest.raises(ClientError, match="leads nowhere"):
            made().redirected(302, location)


def test_a_location_beyond_ascii_is_utf_8() -> None:
    assert str(made().redirected(302, "/\u00c3\u00a9").url) == "http://example.org/%C3%A9"
    assert str(made().redirected(302, "/\u00e9").url) == "http://example.org/%E9"


NAMES = st.text("ab-_!é €\r\n:", max_size=6)


@given(
    st.sampled_from(["GET", "POST", "get", "X-Y", "a b"]),
    st.text(max_size=12).map("/".__add__).filter(lambda url: "%00" not in url),  # the server refuses it
    st.dictionaries(NAMES, NAMES, max_size=3),
    st.dictionaries(NAMES, NAMES, max_size=3),
    st.binary(max_size=20),
)
def test_what_is_made_is_a_request(
    method: str, url: str, headers: dict[str, str], params: dict[str, str], content: bytes
) -> None:
    """By the strict parser of the server; else it is a ValueError."""
    try:
        outgoing = made(method, url, headers=headers, params=params, content=content)
    except ValueError:
        return
    data = b"".join(outgoing.pieces(Cookies("example.org")))
    parsed = RequestParser().feed(data)
    assert parsed is not None
    assert parsed.method == method.upper()
    assert data[parsed.head_length :] == content
    assert parsed.content_length in (len(content), None)
    sent = {name.lower().encode(): value.encode("latin-1").strip() for name, value in headers.items()}
    assert sent.items() <= {name.lower(): value for name, value in parsed.headers}.items()
