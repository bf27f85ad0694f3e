"""Request heads: what is accepted and how it is understood, what is refused and with which status (RFC 9112, RFC 9110).

Each input goes through `head_verdict`: whole, byte by byte, cut at every point and in front of unreadable memory.
"""

import os
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http1_ways import GUARD, WAITS, Head, Refused, SmallLimits, head_verdict
from web.hotpath import ParsedRequest, ProtocolError, RequestParser

TOKEN = set(b"!#$%&'*+-.^_`|~" + (string.ascii_letters + string.digits).encode())
PATH = set(b"-._~!$&'()*+,;=:@/" + (string.ascii_letters + string.digits).encode()) | set(b"[]^`{|}")
QUERY = PATH | set(b"?\\")
HOST = set(b"-._~!$&'()*+;=" + (string.ascii_letters + string.digits).encode())
VALUE = {9, *range(0x20, 0x7F), *range(0x80, 0x100)}

SIMPLE = Head(
    method="GET",
    target=b"/",
    path=b"/",
    query=b"",
    authority=b"a",
    version=(1, 1),
    headers=((b"Host", b"a"),),
    content_length=None,
    chunked=False,
    keep_alive=True,
    expect_continue=False,
    head_length=27,
)


def accepted(data: bytes, limits: SmallLimits | None = None) -> Head:
    verdict = head_verdict(data, limits)
    assert isinstance(verdict, Head), verdict
    return verdict


def status(data: bytes, limits: SmallLimits | None = None) -> int:
    verdict = head_verdict(data, limits)
    assert isinstance(verdict, Refused), verdict
    return verdict.status


def request(
    *fields: bytes, method: bytes = b"GET", target: bytes = b"/", version: bytes = b"1.1", host: bool = True
) -> bytes:
    lines = [method + b" " + target + b" HTTP/" + version, *([b"Host: a"] if host else []), *fields]
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


# ---- what is accepted ----


def test_a_whole_request() -> None:
    data = (
        b"\r\nPOST /a%20b/c?x=%00&y HTTP/1.1\r\nHost: example.org:8080\r\nX-Empty:\r\nX-Pad: \t a b\t \r\n"
        b"Content-Length: 12\r\nConnection: TE, close\r\nexpect: 100-Continue\r\nX-Latin: caf\xe9\r\n\r\n"
    )
    assert accepted(data + b"hello, world") == Head(
        method="POST",
        target=b"/a%20b/c?x=%00&y",
        path=b"/a%20b/c",
        query=b"x=%00&y",
        authority=b"example.org:8080",
        version=(1, 1),
        headers=(
            (b"Host", b"example.org:8080"),
            (b"X-Empty", b""),
            (b"X-Pad", b"a b"),
            (b"Content-Length", b"12"),
            (b"Connection", b"TE, close"),
            (b"expect", b"100-Continue"),
            (b"X-Latin", b"caf\xe9"),
        ),
        content_length=12,
        chunked=False,
        keep_alive=False,
        expect_continue=True,
        head_length=len(data),
    )


def test_the_smallest_requests() -> None:
    assert accepted(b"GET / HTTP/1.1\r\nHost:a\r\n\r\n") == replace(SIMPLE, head_length=26)
    assert accepted(b"GET / HTTP/1.0\r\n\r\n") == replace(
        SIMPLE, authority=b"", version=(1, 0), headers=(), keep_alive=False, head_length=18
    )


@pytest.mark.parametrize(
    ("method", "target", "path", "query", "authority"),
    [
        (b"GET", b"/?", b"/", b"", b"a"),
        (b"GET", b"/a?b?c/d", b"/a", b"b?c/d", b"a"),
        (b"GET", b"//x/y", b"//x/y", b"", b"a"),
        (b"GET", b"/%2e%2E/%25", b"/%2e%2E/%25", b"", b"a"),
        (b"GET", b"/a?100%&b=%zz", b"/a", b"100%&b=%zz", b"a"),
        (b"GET", b"/[]^`{|}?[]^`{|}\\", b"/[]^`{|}", b"[]^`{|}\\", b"a"),
        (b"GET", b"http://h", b"/", b"", b"h"),
        (b"GET", b"http://h?q", b"/", b"q", b"h"),
        (b"GET", b"http://h/?q", b"/", b"q", b"h"),
        (b"GET", b"HTTPS://h.example:443/p/?q", b"/p/", b"q", b"h.example:443"),
        (b"GET", b"http://[::1]:80/p", b"/p", b"", b"[::1]:80"),
        (b"GET", b"http://h?http://i/", b"/", b"http://i/", b"h"),
        (b"OPTIONS", b"*", b"*", b"", b"a"),
        (b"OPTIONS", b"http://h", b"/", b"", b"h"),
        (b"OPTIONS", b"/x", b"/x", b"", b"a"),
        (b"CONNECT", b"h:443", b"", b"", b"h:443"),
        (b"CONNECT", b"[2001:db8::1]:1", b"", b"", b"[2001:db8::1]:1"),
    ],
)
def test_forms_of_targets(method: bytes, target: bytes, path: bytes, query: bytes, authority: bytes) -> None:
    head = accepted(request(method=method, target=target))
    assert (head.target, head.path, head.query, head.authority) == (target, path, query, authority)


@pytest.mark.parametrize(
    "method",
    [
        b"GET",
        b"HEAD",
        b"POST",
        b"PUT",
        b"PATCH",
        b"DELETE",
        b"OPTIONS",
        b"TRACE",
        b"get",
        b"PROPFIND",
        b"M-SEARCH",
        b"!",
    ],
)
def test_methods_are_tokens_with_their_case(method: bytes) -> None:
    assert accepted(request(method=method)).method == method.decode()


@pytest.mark.parametrize(
    ("version", "fields", "persists"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"connection: Keep-Alive, CLOSE"], False),
        (b"1.1", [b"Connection: keep-alive", b"Connection: close"], False),
        (b"1.1", [b"Connection: closed"], True),
        (b"1.1", [b"Connection: ,, x ,"], True),
        (b"1.1", [b"Connection:"], True),
        (b"1.1", [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"], True),
        (b"1.2", [], True),
        (b"1.9", [b"Connection: close"], False),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: keep-alive"], True),
        (b"1.0", [b"Connection: x,\tKeep-Alive\t,y"], True),
        (b"1.0", [b"Connection: keep-alive", b"Connection: close"], False),
    ],
)
def test_persistence(version: bytes, fields: list[bytes], persists: bool) -> None:
    head = accepted(request(*fields, version=version))
    assert head.keep_alive is persists
    assert head.version == ((1, 0) if version == b"1.0" else (1, 1))


@pytest.mark.parametrize(
    ("field", "content_length", "chunked"),
    [
        (b"Content-Length: 0", 0, False),
        (b"content-LENGTH:\t005 ", 5, False),
        (b"Content-Length: 9223372036854775807", 2**63 - 1, False),
        (b"Content-Length: 0000000000000000001", 1, False),
        (b"Transfer-Encoding: chunked", None, True),
        (b"TRANSFER-encoding:  cHuNkEd\t", None, True),
        (b"X-Transfer-Encoding: gzip", None, False),
        (b"Content_Length: 5", None, False),
    ],
)
def test_framing(field: bytes, content_length: int | None, chunked: bool) -> None:
    head = accepted(request(field, method=b"POST"))
    assert (head.content_length, head.chunked) == (content_length, chunked)


def test_expect() -> None:
    assert accepted(request(b"Expect: 100-continue")).expect_continue
    assert not accepted(request(b"Expect: 100-continue", version=b"1.0")).expect_continue  # RFC 9110 10.1.1
    assert not accepted(request(b"Expect: else", version=b"1.0")).expect_continue


# ---- what is refused: faults.md, classes 1, 2, 7 and the rules behind them ----

REFUSED = {
    # request line (RFC 9112 3)
    "lone LF after the request line": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare CR in the request line": (400, b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
    "bare CR instead of CRLF": (400, b"GET / HTTP/1.1\rHost: a\r\r"),
    "CR CR LF": (400, b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    "two spaces before the target": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two spaces after the target": (400, b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space at the end of the line": (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "space before the method": (400, b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTAB between method and target": (400, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTAB between target and version": (400, b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    "form feed as a space": (400, b"GET /\x0cHTTP/1.1\r\nHost: a\r\n\r\n"),
    "two empty lines first": (400, b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an empty line of LF first": (400, b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CR first": (400, b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space after an empty line": (400, b"\r\n GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "junk after an empty line": (400, b"\r\n\x00ET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "method that is no token": (400, b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "method with colon": (400, b"GET: / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no method": (400, b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "method only": (400, b"GET\r\n\r\n"),
    "HTTP/0.9": (400, b"GET /\r\n"),
    "version in lower case": (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    "another protocol": (400, b"GET / RTSP/1.0\r\n\r\n"),
    "version of two digits": (400, b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    "version with a sign": (400, b"GET / HTTP/+1.1\r\nHost: a\r\n\r\n"),
    "version without minor": (400, b"GET / HTTP/1\r\nHost: a\r\n\r\n"),
    "version of letters": (400, b"GET / HTTP/x.y\r\nHost: a\r\n\r\n"),
    "something after the version": (400, b"GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "HTTP/0.9 written out": (505, b"GET / HTTP/0.9\r\n\r\n"),
    "HTTP/3.1": (505, b"GET / HTTP/3.1\r\n"),
    "the preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    # other protocols on the port: refused after their first bytes
    "TLS ClientHello": (400, b"\x16\x03\x01"),
    "SSH with a NUL": (400, b"\x00SSH-2.0"),
    "junk": (400, b"abc\xff"),
    # target (RFC 9112 3.2)
    "empty target": (400, b"GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    "target without slash": (400, b"GET index.html HTTP/1.1\r\nHost: a\r\n\r\n"),
    "fragment": (400, b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "fragment in the query": (400, b"GET /?a#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "backslash in the path": (400, b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "NUL in the target": (400, b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "DEL in the target": (400, b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    "UTF-8 in the target": (400, b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "angle brackets in the query": (400, b"GET /?<b> HTTP/1.1\r\nHost: a\r\n\r\n"),
    "double quote in the path": (400, b'GET /" HTTP/1.1\r\nHost: a\r\n\r\n'),
    "encoded NUL in the path": (400, b"GET /a%00.txt HTTP/1.1\r\nHost: a\r\n\r\n"),
    "percent at the end": (400, b"GET /a% HTTP/1.1\r\nHost: a\r\n\r\n"),
    "percent with one digit": (400, b"GET /a%4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "percent with no hexadecimal digits": (400, b"GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk for another method": (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two asterisks": (400, b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk with a query": (400, b"OPTIONS *?a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT to a path": (400, b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT without port": (400, b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT with an empty port": (400, b"CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT to port 65536": (400, b"CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "authority-form for GET": (400, b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute-form, other scheme": (400, b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute-form, no host": (400, b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute-form, nothing": (400, b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute-form, only a query": (400, b"GET http://?x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute-form, user information": (400, b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute-form, one slash": (400, b"GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute-form without Host": (400, b"GET http://a/ HTTP/1.1\r\n\r\n"),
    # field lines (RFC 9112 5)
    "lone LF after a field": (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    "lone LF at the end": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    "bare CR in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
    "bare CR hiding a field": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\n"),
    "CR without LF at the end": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\rX"),
    "obs-fold with space": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    "obs-fold with HTAB": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n"),
    "space before the first field": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "space before the colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n"),
    "HTAB before the colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    "empty name": (400, b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"),
    "name with a slash": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX/Y: x\r\n\r\n"),
    "name with a control character": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\x0bY: x\r\n\r\n"),
    "name beyond ASCII": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: x\r\n\r\n"),
    "NUL in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n"),
    "DEL in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: 0123456789\x7f0123456789\r\n\r\n"),
    "vertical tab in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n"),
    # Content-Length (RFC 9110 8.6)
    "two Content-Length": (400, request(b"Content-Length: 5", b"Content-Length: 6")),
    "Content-Length 0 and another": (400, request(b"Content-Length: 0", b"Content-Length: 5")),
    "two equal Content-Length": (400, request(b"Content-Length: 5", b"content-length: 5")),
    "Content-Length as a list": (400, request(b"Content-Length: 5, 5")),
    "Content-Length with plus": (400, request(b"Content-Length: +5")),
    "Content-Length with minus": (400, request(b"Content-Length: -5")),
    "Content-Length with underscore": (400, request(b"Content-Length: 1_0")),
    "Content-Length with a space": (400, request(b"Content-Length: 1 0")),
    "Content-Length in hexadecimal": (400, request(b"Content-Length: 0x10")),
    "Content-Length with a point": (400, request(b"Content-Length: 5.0")),
    "empty Content-Length": (400, request(b"Content-Length:")),
    "Content-Length of 20 digits": (400, request(b"Content-Length: 18446744073709551621")),
    "Content-Length of 20 digits, small": (400, request(b"Content-Length: 00000000000000000005")),
    "Content-Length 2**63": (400, request(b"Content-Length: 9223372036854775808")),
    "Content-Length in other digits": (400, request(b"Content-Length: \xd9\xa5")),
    # Transfer-Encoding (RFC 9112 6.1, 6.3)
    "chunked and Content-Length": (400, request(b"Transfer-Encoding: chunked", b"Content-Length: 5")),
    "Content-Length and chunked": (400, request(b"Content-Length: 5", b"Transfer-Encoding: chunked")),
    "gzip and Content-Length": (400, request(b"Transfer-Encoding: gzip", b"Content-Length: 5")),
    "chunked twice": (400, request(b"Transfer-Encoding: chunked, chunked")),
    "chunked in two fields": (400, request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    "chunked, then gzip": (400, request(b"Transfer-Encoding: chunked, gzip")),
    "chunked, then gzip in two fields": (400, request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip")),
    "chunked, then identity": (400, request(b"Transfer-Encoding: chunked, identity")),
    "identity": (400, request(b"Transfer-Encoding: identity")),
    "xchunked": (400, request(b"Transfer-Encoding: xchunked")),
    "chunkedx": (400, request(b"Transfer-Encoding: chunkedx")),
    "chunked with a parameter": (400, request(b"Transfer-Encoding: chunked;a=b")),
    "chunked in quotes": (400, request(b'Transfer-Encoding: "chunked"')),
    "chunked after a control character": (400, request(b"Transfer-Encoding: \x0bchunked")),
    "chunked after an empty element": (400, request(b"Transfer-Encoding: , chunked")),
    "chunked and an empty element": (400, request(b"Transfer-Encoding: chunked,")),
    "chunked and a word": (400, request(b"Transfer-Encoding: chunked gzip")),
    "empty Transfer-Encoding": (400, request(b"Transfer-Encoding:")),
    "empty, then chunked": (400, request(b"Transfer-Encoding:", b"Transfer-Encoding: chunked")),
    "gzip alone": (400, request(b"Transfer-Encoding: gzip")),
    "gzip, chunked": (501, request(b"Transfer-Encoding: gzip, chunked")),
    "gzip, chunked in two fields": (501, request(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked")),
    "identity, chunked": (501, request(b"Transfer-Encoding: identity, chunked")),
    "chunked from HTTP/1.0": (400, request(b"Transfer-Encoding: chunked", version=b"1.0")),
    "gzip, chunked from HTTP/1.0": (400, request(b"Transfer-Encoding: gzip, chunked", version=b"1.0")),
    # Host (RFC 9112 3.2; faults.md 7)
    "no Host": (400, b"GET / HTTP/1.1\r\nX: y\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "two equal Hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
    "two Hosts from HTTP/1.0": (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    "two empty Hosts": (400, b"OPTIONS * HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n"),
    "empty Host": (400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    "empty Host from HTTP/1.0": (400, b"GET / HTTP/1.0\r\nHost: \r\n\r\n"),
    # expectations (RFC 9110 10.1.1)
    "another expectation": (417, request(b"Expect: 200-ok")),
    "100-continue and another": (417, request(b"Expect: 100-continue, x")),
    "empty expectation": (417, request(b"Expect:")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    expected, data = REFUSED[name]
    assert status(data) == expected


def test_nothing_follows_an_error_or_changes_it() -> None:
    parser = RequestParser()
    for data in (b"GET  / HTTP/1.1\r", b"\nHost: a\r\n\r\n", b""):
        with pytest.raises(ProtocolError, match="two spaces"):
            parser.feed(data)
    assert parser.unused == b""


def test_what_is_not_whole_waits() -> None:
    data = b"\r\nGET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
    for end in range(len(data)):
        assert head_verdict(data[:end]) == WAITS


def test_an_invalid_byte_is_told_when_its_line_ends() -> None:
    # The method at once, the rest with the end of the line: nobody has to wait for a time-out.
    parser = RequestParser()
    assert parser.feed(b"G") is None
    with pytest.raises(ProtocolError):
        parser.feed(b"\x00")
    for data in (b"GET /%4\r", b"GET /%\r", b"GET /<\r", b"GET /\x00", b"GET / FTP\r", b"GET / HTTP/1.1\r\nX Y\r"):
        assert head_verdict(data[:-1]) == WAITS
        assert status(data) == 400
    parser = RequestParser()
    for i in range(len(b"GET /<")):
        assert parser.feed(b"GET /<"[i : i + 1]) is None
    with pytest.raises(ProtocolError):
        parser.feed(b" HTTP/1.1\r\n")


# ---- bytes: every one of the 256 in every place ----


def accepted_bytes(before: bytes, after: bytes, parser: RequestParser) -> set[int]:
    found, statuses = set(), set()
    for byte in range(256):
        data = before + bytes([byte]) + after
        try:
            head = parser.feed_address(GUARD.place(data), len(data))
        except ProtocolError as error:
            statuses.add(error.status)
        else:
            assert head is not None, (before, byte)
            found.add(byte)
    assert statuses <= {400}
    return found


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (b"G", b"T / HTTP/1.1\r\nHost: a\r\n\r\n", TOKEN),
        (b"GET /", b" HTTP/1.1\r\nHost: a\r\n\r\n", PATH | {ord("?")}),
        (b"GET /?", b" HTTP/1.1\r\nHost: a\r\n\r\n", QUERY | {ord("%")}),
        (b"GET / HTTP/1.", b"\r\nHost: a\r\n\r\n", set(b"0123456789")),
        (b"GET / HTTP/1.1\r\nHost: x", b"x\r\n\r\n", HOST),
        (b"GET http://x", b"x/ HTTP/1.1\r\nHost: a\r\n\r\n", HOST | set(b"/?")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX", b"X: y\r\n\r\n", TOKEN | {ord(":")}),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX:y", b"z\r\n\r\n", VALUE),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 0123456", b"0123456789\r\n\r\n", VALUE),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1", b"\r\n\r\n", set(b"0123456789 \t")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", b"\r\n\r\n", set(b" \t")),
        (b"GET / HTTP/1.1\r\nHost: a:8", b"\r\n\r\n", set(b"0123456789 \t")),
        (b"GET", b"/ HTTP/1.1\r\nHost: a\r\n\r\n", {32}),
        (b"GET /", b"HTTP/1.1\r\nHost: a\r\n\r\n", {32}),
        (b"", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", {13}),
        (b"\r", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", {10}),
        (b"GET / HTTP/1.1", b"\nHost: a\r\n\r\n", {13}),
        (b"GET / HTTP/1.1\r", b"Host: a\r\n\r\n", {10}),
        (b"GET / HTTP/1.1\r\nHost: a", b"\n\r\n", {13}),
        (b"GET / HTTP/1.1\r\nHost: a\r", b"\r\n", {10}),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"\n", {13}),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", b"", {10}),
    ],
)
def test_every_byte(before: bytes, after: bytes, allowed: set[int]) -> None:
    assert accepted_bytes(before, after, RequestParser()) == allowed


# ---- limits ----


def test_request_line_limit() -> None:
    limits = SmallLimits(request_line=20)
    assert accepted(b"GET /234567 HTTP/1.1\r\nHost: a\r\n\r\n", limits).path == b"/234567"
    assert status(b"GET /2345678 HTTP/1.1\r\nHost: a\r\n\r\n", limits) == 414
    assert accepted(b"\r\nGET /234567 HTTP/1.1\r\nHost: a\r\n\r\n", limits).path == b"/234567"
    for endless in (b"GET /" + b"a" * 30, b"A" * 30, b"GET /?" + b"a" * 30, b"GET / HTTP/1.1" + b"a" * 20):
        assert status(endless, limits) == (400 if b"HTTP" in endless else 414)
    assert head_verdict(b"GET /" + b"a" * 16, limits) == WAITS  # 21 bytes: CRLF could still make it a 414, never a 200
    assert status(b"GET /" + b"a" * 17, limits) == 414


def test_an_error_before_the_limit_is_told_as_such() -> None:
    limits = SmallLimits(request_line=20, field=10)
    assert status(b"GET /<" + b"a" * 30, limits) == 400
    assert status(b"GET / HTTP/1.1\r\nX Y: " + b"a" * 30, limits) == 400
    assert status(b"GET / HTTP/1.1\r\nXY: " + b"a" * 30 + b"\x00", limits) == 431


def test_field_limit() -> None:
    limits = SmallLimits(field=10)
    assert accepted(b"GET / HTTP/1.1\r\nHost: abcd\r\n\r\n", limits).authority == b"abcd"
    assert status(b"GET / HTTP/1.1\r\nHost: abcde\r\n\r\n", limits) == 431
    for endless in (b"a" * 12, b"a:" + b" " * 10, b"a:" + b"b" * 10):
        assert status(b"GET / HTTP/1.1\r\n" + endless, limits) == 431
        assert head_verdict(b"GET / HTTP/1.1\r\n" + endless[:-1], limits) == WAITS


def test_fields_limit() -> None:
    limits = SmallLimits(fields=15)
    assert accepted(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", limits).headers == ((b"Host", b"a"), (b"X", b"y"))
    assert status(b"GET / HTTP/1.1\r\nHost: a\r\nX: yz\r\n\r\n", limits) == 431
    assert status(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nZ", limits) == 431


def test_field_count_limit() -> None:
    limits = SmallLimits(field_count=2)
    assert len(accepted(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", limits).headers) == 2
    assert status(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nZ", limits) == 431


def test_limits_of_nothing_are_refused() -> None:
    for wrong in ({"request_line": 0}, {"field": -1}, {"fields": 2**24 + 1}, {"field_count": 0}):
        with pytest.raises(ValueError, match=f"limits.{next(iter(wrong))} is"):
            RequestParser(SmallLimits(**wrong))


def test_a_long_line_byte_by_byte() -> None:
    # A megabyte, one byte at a time: work that grew with the square of the length would not end here.
    limits = SmallLimits(field=2**20, fields=2**21)
    parser = RequestParser(limits)
    assert parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\nX: ") is None
    byte = b"x"
    for _ in range(2**20 - 3):
        assert parser.feed(byte) is None
    head = parser.feed(b"\r\n\r\n")
    assert head is not None
    assert len(head.headers[1][1]) == 2**20 - 3


# ---- round trips ----

tokens = st.text(sorted(chr(byte) for byte in TOKEN), min_size=1, max_size=20).map(str.encode)
values = st.lists(st.sampled_from(sorted(VALUE)), max_size=40).map(lambda value: bytes(value).strip(b" \t"))
framing = {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"}
fields = st.tuples(tokens.filter(lambda name: name.lower() not in framing), values)
blanks = st.text(" \t", max_size=3).map(str.encode)
escapes = st.integers(1, 255).map(lambda byte: b"%%%02x" % byte)


def parts(allowed: set[int]) -> st.SearchStrategy[bytes]:
    single = st.sampled_from(sorted(allowed)).map(lambda byte: bytes([byte]))
    return st.lists(single | escapes, max_size=20).map(b"".join)


@settings(deadline=None, database=None)
@given(
    tokens.filter(lambda method: method != b"CONNECT"),
    parts(PATH),
    st.none() | parts(QUERY),
    st.lists(st.tuples(fields, blanks, blanks), max_size=8),
    st.booleans(),
)
def test_round_trip(
    method: bytes,
    path: bytes,
    query: bytes | None,
    lines: list[tuple[tuple[bytes, bytes], bytes, bytes]],
    empty_line: bool,
) -> None:
    target = b"/" + path + (b"" if query is None else b"?" + query)
    data = (b"\r\n" if empty_line else b"") + method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n"
    data += b"".join(name + b":" + left + value + right + b"\r\n" for (name, value), left, right in lines) + b"\r\n"
    head = accepted(data)
    assert head.method == method.decode()
    assert (head.target, head.path, head.query) == (target, b"/" + path, query or b"")
    assert head.headers == ((b"Host", b"a"), *(field for field, _, _ in lines))
    assert head.head_length == len(data)


@settings(deadline=None, database=None)
@given(st.binary(max_size=80), st.integers(0, 200))
def test_any_bytes_get_one_verdict(junk: bytes, at: int) -> None:
    data = b"POST /a?b HTTP/1.1\r\nHost: a.b:80\r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\n\r\n"
    head_verdict(junk)
    head_verdict(data[:at] + junk + data[at:])


# ---- the objects ----


def test_pipelined_requests() -> None:
    parser = RequestParser()
    first = parser.feed(request(target=b"/1") + request(target=b"/2")[:-1])
    assert first is not None
    assert first.path == b"/1"
    assert parser.feed(parser.unused) is None
    assert parser.unused == b""
    second = parser.feed(b"\nrest")
    assert second is not None
    assert (second.path, parser.unused) == (b"/2", b"rest")
    assert first.path == b"/1"


def test_repeat() -> None:
    data = request()
    assert RequestParser().repeat(data + b"body", 1000) == len(data)
    with pytest.raises(ProtocolError) as caught:
        RequestParser().repeat(request(version=b"2.0"), 2)
    assert (caught.value.status, str(caught.value)) == (505, f"505: {caught.value.reason}")
    for data, n in ((b"GET", 1), (request(), 0)):
        with pytest.raises(ValueError, match="whole request head"):
            RequestParser().repeat(data, n)


def test_misuse_raises() -> None:
    with pytest.raises(TypeError):
        RequestParser().feed(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="come from RequestParser"):
        ParsedRequest()
    empty = ParsedRequest.__new__(ParsedRequest)
    assert (empty.method, empty.path, empty.headers, empty.head_length) == ("", b"", [], 0)


def test_the_guard_page_guards() -> None:
    # One byte too many must kill, or the tests in front of unreadable memory would prove nothing.
    code = (
        "from tests.http1_ways import GUARD\nfrom web.hotpath import RequestParser\n"
        "data = b'GET /'\nRequestParser().feed_address(GUARD.place(data), len(data) + 1)\n"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    root = Path(__file__).resolve().parent.parent
    assert subprocess.run(command, cwd=root, env=environment, capture_output=True).returncode != 0
    command[-1] = code.replace("+ 1", "+ 0")
    subprocess.run(command, cwd=root, env=environment, capture_output=True, check=True)
