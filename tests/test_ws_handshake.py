"""The opening handshake of a WebSocket (RFC 6455 4.2): what is accepted, and what each refusal says."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import web
from tests.asking import made
from web.ws_extensions import Agreed, Deflate
from web.ws_handshake import Accepted, Handshake, accept_key

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3

FIELDS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def asked(changes: dict[str, str | None] | None = None, more: str = "", **options: Any) -> web.Request:
    """A good handshake with some fields changed or left out (None), and more lines."""
    fields = {**FIELDS, **(changes or {})}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return made("/chat", fields="\n".join([*lines, more]), **{"host": "a.example", **options})


def accepted(request: web.Request, **options: Any) -> Accepted:
    answer = Handshake(**options).check(request)
    assert isinstance(answer, Accepted), answer.body
    return answer


def refused(request: web.Request, **options: Any) -> web.Response:
    answer = Handshake(**options).check(request)
    assert isinstance(answer, web.Response)
    return answer


# ---- what is accepted ----


def test_the_key_of_the_rfc() -> None:
    assert accept_key(KEY) == ACCEPT
    assert accepted(asked()) == Accepted(ACCEPT, None, None)
    assert accepted(asked()).headers == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
    ]


@pytest.mark.parametrize("changes", [
    {"Upgrade": "WebSocket"}, {"Upgrade": "h2c, websocket"}, {"Upgrade": "TLS/1.0 ,\tWEBSOCKET "},
    {"Connection": "keep-alive, Upgrade"}, {"Connection": "upgrade"}, {"Connection": "x,UPGRADE,y"},
    {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}, {"Sec-WebSocket-Key": "/+//////////////////ZQ=="},
])  # fmt: skip
def test_lists_and_case(changes: dict[str, str | None]) -> None:
    assert accepted(asked(changes)).accept


def test_fields_in_several_lines() -> None:
    request = asked({"Upgrade": "h2c", "Connection": "keep-alive"}, "Upgrade: websocket\nConnection: Upgrade")
    assert accepted(request).accept == ACCEPT


@settings(deadline=None, database=None)
@given(st.binary(min_size=0, max_size=20))
def test_a_key_is_sixteen_bytes(raw: bytes) -> None:
    request = asked({"Sec-WebSocket-Key": base64.b64encode(raw).decode()})
    answer = Handshake().check(request)
    assert isinstance(answer, Accepted) == (len(raw) == 16)


# ---- what is refused ----


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "get"])
def test_other_methods(method: str) -> None:
    answer = refused(asked(method=method))
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


def test_http_1_0() -> None:
    assert refused(asked(version="1.0")).status == 400


@pytest.mark.parametrize("line", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_body(line: str) -> None:
    answer = refused(asked(None, line))
    assert (answer.status, answer.body) == (400, b"400 Bad Request: the request that opens a WebSocket has no body")


@pytest.mark.parametrize("length", ["0", "00"])
def test_a_body_of_no_bytes_is_none(length: str) -> None:
    assert accepted(asked(None, f"Content-Length: {length}")).accept == ACCEPT


@pytest.mark.parametrize("value", [None, "", "h2c", "websocket2", "web socket", "websocket/13"])
def test_no_upgrade(value: str | None) -> None:
    answer = refused(asked({"Upgrade": value}))
    assert answer.status == 426
    assert (answer.headers["upgrade"], answer.headers["connection"]) == ("websocket", "Upgrade")
    assert answer.headers["sec-websocket-version"] == "13"
    assert b"wss://" in answer.body


@pytest.mark.parametrize("value", [None, "", "keep-alive", "upgraded", "close"])
def test_no_connection(value: str | None) -> None:
    answer = refused(asked({"Connection": value}))
    assert answer.status == 400
    assert b"Connection must name Upgrade" in answer.body


@pytest.mark.parametrize("value", [None, "", "12", "8", "0", "14", "13, 12", "013", "+13", "1"])
def test_other_versions(value: str | None) -> None:
    answer = refused(asked({"Sec-WebSocket-Version": value}))
    assert (answer.status, answer.headers["sec-websocket-version"]) == (426, "13")
    assert answer.headers["upgrade"] == "websocket"


def test_two_versions() -> None:
    assert refused(asked(None, "Sec-WebSocket-Version: 13")).status == 426
    assert refused(asked(None, "Sec-WebSocket-Version: 12")).status == 426


@pytest.mark.parametrize("key", [
    None, "", "x", KEY[:-1], KEY + "=", KEY[:-2], KEY[:20] + "==", KEY[1:], KEY.replace("Q", "R"),
    KEY.replace("d", "-"),
    KEY.replace("d", "\xe9"), KEY[:4] + " " + KEY[5:], KEY + ", " + KEY,
])  # fmt: skip
def test_wrong_keys(key: str | None) -> None:
    answer = refused(asked({"Sec-WebSocket-Key": key}))
    assert answer.status == 400
    assert b"Sec-WebSocket-Key" in answer.body


def test_two_keys() -> None:
    assert refused(asked(None, f"Sec-WebSocket-Key: {KEY}")).status == 400


# ---- subprotocols ----


@pytest.mark.parametrize(("offered", "ours", "chosen"), [
    ("chat, superchat", ["superchat", "chat"], "superchat"),
    ("superchat, chat", ["chat", "superchat"], "chat"),
    ("a,b , chat", ["x", "chat"], "chat"),
    ("chat", [], None),
    ("other", ["chat"], None),
    ("Chat", ["chat"], None),  # compared with their case
    (",chat,", ["chat"], "chat"),
    (None, ["chat"], None),
])  # fmt: skip
def test_subprotocols(offered: str | None, ours: list[str], chosen: str | None) -> None:
    answer = accepted(asked({"Sec-WebSocket-Protocol": offered}), protocols=ours)
    assert answer.protocol == chosen
    assert (("Sec-WebSocket-Protocol", chosen) in answer.headers) == (chosen is not None)


def test_subprotocols_in_several_lines() -> None:
    request = asked({"Sec-WebSocket-Protocol": "a"}, "Sec-WebSocket-Protocol: b, c")
    assert accepted(request, protocols=["c", "a"]).protocol == "c"


@pytest.mark.parametrize("offered", ["a b", "caf\xe9", "a, a", "a;b", "a=b", '"a"', "a, (b)"])
def test_malformed_subprotocols(offered: str) -> None:
    answer = refused(asked({"Sec-WebSocket-Protocol": offered}), protocols=["a"])
    assert answer.status == 400
    assert b"Sec-WebSocket-Protocol" in answer.body


# ---- extensions ----


def test_compression() -> None:
    request = asked({"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"})
    answer = accepted(request, deflate=Deflate())
    assert answer.deflate == Agreed(12, 12)
    header = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    assert ("Sec-WebSocket-Extensions", header) in answer.headers
    for other in (accepted(request), accepted(asked(), deflate=Deflate())):
        assert other.deflate is None
        assert "Sec-WebSocket-Extensions" not in dict(other.headers)


def test_malformed_extensions() -> None:
    for options in ({}, {"deflate": Deflate()}):
        answer = refused(asked({"Sec-WebSocket-Extensions": "permessage-deflate; ="}), **options)
        assert answer.status == 400


# ---- origins ----

OWN = "http://a.example"


@pytest.mark.parametrize(("origin", "host", "admitted"), [
    (None, "a.example", True), (OWN, "a.example", True), (OWN, "A.Example", True), (OWN, "a.example:80", True),
    ("https://a.example", "a.example", True),  # a proxy may do TLS
    ("https://a.example", "a.example:443", True),
    ("http://a.example:8000", "a.example:8000", True), ("http://a.example:8001", "a.example:8000", False),
    (OWN, "a.example:8000", False), ("http://a.example:8000", "a.example", False),
    ("http://b.example", "a.example", False), ("http://x.a.example", "a.example", False),
    ("http://a.example.evil", "a.example", False), ("null", "a.example", False), ("", "a.example", False),
    ("a.example", "a.example", False), ("ftp://a.example", "a.example", False),
    ("http://a.example/", "a.example", False),
    ("http://[::1]:1", "[::1]:1", True), ("file://", "a.example", False),
])  # fmt: skip
def test_pages_of_this_origin(origin: str | None, host: str, admitted: bool) -> None:
    answer = Handshake().check(asked({"Origin": origin}, host=host))
    if admitted:
        assert isinstance(answer, Accepted)
    else:
        assert isinstance(answer, web.Response)
        assert (answer.status, answer.body) == (403, b"403 Forbidden: pages of this origin may not connect")


def test_two_origins_are_none_of_ours() -> None:
    assert refused(asked({"Origin": OWN}, f"Origin: {OWN}")).status == 403
    assert accepted(asked({"Origin": OWN}, f"Origin: {OWN}"), origins="*").accept == ACCEPT


def test_trusted_origins() -> None:
    other = "https://app.example"
    for origins in (other, [other], ("https://x.example", other)):
        assert accepted(asked({"Origin": other}), origins=origins).accept == ACCEPT
        assert accepted(asked({"Origin": OWN}), origins=origins).accept == ACCEPT
        assert refused(asked({"Origin": "https://evil.example"}), origins=origins).status == 403
        assert refused(asked({"Origin": "http://app.example"}), origins=origins).status == 403


@pytest.mark.parametrize("origins", ["*", ["*"], ("*",)])
def test_any_origin(origins: Any) -> None:
    for origin in ("https://evil.example", "null", "", "x"):
        assert accepted(asked({"Origin": origin}), origins=origins).accept == ACCEPT


def test_a_function_decides_alone() -> None:
    seen: list[str] = []

    def decide(origin: str) -> bool:
        seen.append(origin)
        return origin.endswith(".trusted.example")

    assert accepted(asked({"Origin": "https://x.trusted.example"}), origins=decide).accept == ACCEPT
    assert refused(asked({"Origin": OWN}), origins=decide).status == 403
    for origin in ("null", "", "https://evil.example\t.trusted.example", "https://évil.trusted.example"):
        assert refused(asked({"Origin": origin}), origins=decide).status == 403
    assert accepted(asked(), origins=decide).accept == ACCEPT  # no browser
    assert seen == ["https://x.trusted.example", OWN]
    wrong: Any = lambda origin: "yes"  # noqa: E731 - what is neither True nor False
    with pytest.raises(TypeError, match="True or False"):
        Handshake(origins=wrong).check(asked({"Origin": OWN}))


# ---- mistakes of the application ----


@pytest.mark.parametrize(("options", "words"), [
    ({"protocols": ["a b"]}, "protocols='a b' is no name"), ({"protocols": "café"}, "is no name"),
    ({"protocols": ["a", "b", "a"]}, "name each one once"), ({"protocols": [""]}, "is no name"),
    ({"origins": ["app.example"]}, "is no origin"), ({"origins": "null"}, "is no origin"),
    ({"origins": ["https://app.example:443"]}, "leave the usual port out"),
])  # fmt: skip
def test_mistakes_are_told_when_it_is_made(options: dict[str, Any], words: str) -> None:
    with pytest.raises(web.RouteError, match=words):
        Handshake(**options)


def test_an_async_function_of_origins() -> None:
    async def decide(origin: str) -> bool:
        return True

    wrong: Any = decide
    with pytest.raises(web.RouteError, match="plain function"):
        Handshake(origins=wrong)


# ---- whatever comes ----

_values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)


@settings(deadline=None, database=None, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin"]), _values, max_size=3
    )
)
def test_no_field_raises(changes: dict[str, str]) -> None:
    fields: dict[str, str | None] = {**changes}
    answer = Handshake(["chat"], deflate=Deflate()).check(asked(fields))
    assert isinstance(answer, Accepted) or answer.status in (400, 403, 426)
