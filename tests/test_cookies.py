"""web.cookies, req.cookies, set_cookie and clear_cookie: reading never fails, writing refuses what browsers drop."""

from __future__ import annotations

import http.cookies
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web import Request, Response
from web.cookies import SIZE_MAX, parse_cookies
from web.headers import MultiValues


def request(*fields: bytes) -> Request:
    return Request(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n")


def pairs(text: bytes) -> list[tuple[str, str]]:
    return list(request(b"Cookie: " + text).cookies.items())


def line(response: Response) -> str:
    (only,) = response.headers.get_all("Set-Cookie")
    return only


# ---- reading ----


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"a=1", [("a", "1")]),
        (b"a=1; b=2", [("a", "1"), ("b", "2")]),
        (b"a=1;b=2;", [("a", "1"), ("b", "2")]),
        (b" \ta = 1 \t;\tb\t=\t2", [("a", "1"), ("b", "2")]),
        (b"a=1; a=2", [("a", "1"), ("a", "2")]),
        (b"a=; b=2", [("a", ""), ("b", "2")]),
        (b"a=b=c==", [("a", "b=c==")]),
        (b"A=1; a=2", [("A", "1"), ("a", "2")]),
        # without a name, or without "="
        (b"a; =b; =; b=2; ;;", [("b", "2")]),
        (b"=__Host-a=1; __Host-a", []),
        # quotes are part of the value, and hold nothing together
        (b'a="1"; b=2', [("a", '"1"'), ("b", "2")]),
        (b'a="1; b=2; c=3"', [("a", '"1'), ("b", "2"), ("c", '3"')]),
        (b'a="\\073"', [("a", '"\\073"')]),
        # names of old RFCs and separators of old RFCs mean nothing
        (b"$Version=1; a=1; $Path=/", [("$Version", "1"), ("a", "1"), ("$Path", "/")]),
        (b"a=1, b=2", [("a", "1, b=2")]),
        # nothing is decoded but UTF-8
        (b"a=%20+", [("a", "%20+")]),
        ("ü=ö€".encode(), [("ü", "ö€")]),
        (b"a\xff=\xc3", [("a\ufffd", "\ufffd")]),
        # only spaces and tabs are cut off
        (b"\xa0__Host-a=1", [("\ufffd__Host-a", "1")]),
        ("\u2000__Host-a\u00a0=\u2003b\u3000".encode(), [("\u2000__Host-a\u00a0", "\u2003b\u3000")]),
        (b"\xc2\x85__Host-a=1", [("\x85__Host-a", "1")]),
    ],
)
def test_pairs(sent: bytes, read: list[tuple[str, str]]) -> None:
    assert pairs(sent) == read


def test_several_fields_are_joined_and_others_left_alone() -> None:
    req = request(b"Cookie: a=1; b=2", b"Cookies: c=3", b"Cookix: d=4", b"cookie2: e=5", b"COOKIE: a=6")
    assert list(req.cookies.items()) == [("a", "1"), ("b", "2"), ("a", "6")]
    assert req.cookies["a"] == "1"
    assert req.cookies.get_all("a") == ["1", "6"]


def test_cookies_are_built_once_and_without_any_there_are_none() -> None:
    req = request(b"Cookie: a=1")
    assert req.cookies is req.cookies
    assert isinstance(req.cookies, MultiValues)
    assert request().cookies == {}
    assert request().cookies.get("a") is None


@given(st.lists(st.text()))
def test_parsing_any_text_never_fails(values: list[str]) -> None:
    for name, value in parse_cookies(values).items():
        assert name
        assert "=" not in name
        assert ";" not in name + value
        assert name == name.strip(" \t")
        assert value == value.strip(" \t")
        (name + value).encode()  # no lone surrogates


@given(st.binary().filter(lambda data: not set(data) & {0, 10, 13}))
def test_any_bytes_in_a_field_never_fail(data: bytes) -> None:
    try:
        req = request(b"Cookie: " + data)
    except ValueError:
        return  # the head was refused
    assert all(name for name in req.cookies)


# ---- writing ----

OCTETS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '",;\\')
TOKEN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"(),/:;<=>?@[\\]{}')
names = st.text(TOKEN, min_size=1, max_size=20).filter(lambda name: not name.lower().startswith("__host-"))
values = st.text(OCTETS, max_size=40)


@given(st.lists(st.tuples(names, values), min_size=1, max_size=5, unique_by=lambda pair: pair[0].lower()))
def test_what_is_set_comes_back(sent: list[tuple[str, str]]) -> None:
    response = Response()
    for name, value in sent:
        response = response.set_cookie(name, value)
    lines = response.headers.get_all("Set-Cookie")
    held = "; ".join(text.partition(";")[0] for text in lines)
    assert pairs(held.encode()) == sent


RESERVED = set(http.cookies.Morsel._reserved)  # type: ignore[attr-defined]  # taken for attributes, not for names


@given(st.text(TOKEN.replace("$", ""), min_size=1, max_size=20).filter(lambda n: n.lower() not in RESERVED), values)
def test_the_standard_library_reads_what_is_set(name: str, value: str) -> None:
    reader = http.cookies.SimpleCookie()
    reader.load(line(Response().set_cookie(name, value, max_age=60)))
    morsel = reader[name]
    assert (morsel.value, morsel["max-age"], morsel["path"]) == (value, "60", "/")
    assert (morsel["secure"], morsel["httponly"], morsel["samesite"]) == (True, True, "Lax")


def test_defaults_are_the_safe_ones() -> None:
    assert line(Response().set_cookie("a", "1")) == "a=1; Path=/; Secure; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize(
    ("attributes", "written"),
    [
        ({"max_age": 60}, "a=1; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax"),
        ({"max_age": timedelta(days=1, microseconds=5)}, "a=1; Max-Age=86400; Path=/; Secure; HttpOnly; SameSite=Lax"),
        (
            {"expires": datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))},
            "a=1; Expires=Wed, 02 Jan 2030 01:04:05 GMT; Path=/; Secure; HttpOnly; SameSite=Lax",
        ),
        ({"path": "/a b"}, "a=1; Path=/a b; Secure; HttpOnly; SameSite=Lax"),
        ({"domain": "example.com"}, "a=1; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax"),
        ({"secure": False}, "a=1; Path=/; HttpOnly; SameSite=Lax"),
        ({"http_only": False}, "a=1; Path=/; Secure; SameSite=Lax"),
        ({"same_site": "Strict"}, "a=1; Path=/; Secure; HttpOnly; SameSite=Strict"),
        ({"same_site": "None"}, "a=1; Path=/; Secure; HttpOnly; SameSite=None"),
        ({"partitioned": True}, "a=1; Path=/; Secure; HttpOnly; SameSite=Lax; Partitioned"),
    ],
)
def test_attributes(attributes: dict[str, Any], written: str) -> None:
    assert line(Response().set_cookie("a", "1", **attributes)) == written


@pytest.mark.parametrize("name", ["__Host-a", "__Secure-a", "__HOST-a", "__secure-a"])
def test_prefixes_are_written_where_their_rules_are_kept(name: str) -> None:
    assert line(Response().set_cookie(name, "1")).startswith(f"{name}=1; Path=/; Secure")


def test_a_value_may_stand_in_quotes_and_they_come_back() -> None:
    response = Response().set_cookie("a", '"1"')
    assert line(response).startswith('a="1";')
    assert pairs(b'a="1"') == [("a", '"1"')]


@pytest.mark.parametrize(
    ("name", "value", "attributes", "message"),
    [
        ("", "1", {}, "a name is made of"),
        ("a b", "1", {}, "a name is made of"),
        ("a=b", "1", {}, "a name is made of"),
        ("a;", "1", {}, "a name is made of"),
        ("ä", "1", {}, "a name is made of"),
        ("a\n", "1", {}, "a name is made of"),
        *(("a", value, {}, "encode it") for value in (" ", "a b", "a;b", "a,b", "a\\b", 'a"b', '"', '"a', "ä", "\r\n")),
        ("a", "1\n", {}, "encode it"),
        ("a", "x" * SIZE_MAX, {}, "4097 bytes"),
        ("a", "1", {"max_age": 0}, "clear_cookie removes"),
        ("a", "1", {"max_age": -1}, "clear_cookie removes"),
        ("a", "1", {"max_age": timedelta(milliseconds=999)}, "clear_cookie removes"),
        ("a", "1", {"expires": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ("a", "1", {"expires": datetime(1600, 12, 31, tzinfo=UTC)}, "1601 to 9999"),
        ("a", "1", {"expires": datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=2)))}, "1601 to 9999"),
        *(("a", "1", {"path": path}, "percent-encoded") for path in ("", "a", "/;", "/\n", "/ä", "/" + "a" * 1024)),
        *(
            ("a", "1", {"domain": domain}, "Punycode")
            for domain in ("", ".a.example", "a..b", "a b", "a;b", "ä.example", "-a.b", "a_b.c", "a." * 127 + "a")
        ),
        *(("a", "1", {"same_site": text}, "'Strict', 'Lax' or 'None'") for text in ("lax", "", "Lax; Domain=b")),
        ("a", "1", {"same_site": "None", "secure": False}, "same_site='None' needs secure=True"),
        ("a", "1", {"partitioned": True, "secure": False}, "partitioned=True needs secure=True"),
        ("__Secure-a", "1", {"secure": False}, "needs secure=True"),
        ("__Host-a", "1", {"secure": False}, "needs secure=True"),
        ("__hOST-a", "1", {"path": "/a"}, "leave domain and path out"),
        ("__Host-a", "1", {"domain": "example.com"}, "leave domain and path out"),
    ],
)
def test_what_browsers_ignore_is_refused(name: str, value: str, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Response().set_cookie(name, value, **attributes)
    assert str(caught.value).startswith(f"cookie {name!r}: ")


@pytest.mark.parametrize("attributes", [{"max_age": 1.5}, {"max_age": True}, {"max_age": "60"}, {"expires": "tomorrow"},
                                        {"same_site": None}, {"path": None}, {"domain": 7}])  # fmt: skip
def test_other_types_are_refused(attributes: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Response().set_cookie("a", "1", **attributes)


def test_the_largest_cookie_and_attributes_are_taken() -> None:
    assert line(Response().set_cookie("a", "x" * (SIZE_MAX - 1))).startswith("a=x")
    path, domain = "/" + "a" * 1023, "a." * 126 + "a"
    written = line(Response().set_cookie("a", "", path=path, domain=domain))
    assert written.startswith(f"a=; Path={path}; Domain={domain};")


@given(st.text(), st.text(), st.text(), st.text())
def test_nothing_splits_the_line(name: str, value: str, path: str, domain: str) -> None:
    try:
        text = line(Response().set_cookie(name, value, path=path, domain=domain))
    except ValueError:
        return
    assert text == f"{name}={value}; Path={path}; Domain={domain}; Secure; HttpOnly; SameSite=Lax"
    assert text.count(";") == 5


# ---- removing, and what a Response is ----


def test_a_cookie_is_removed_with_what_it_was_set_with() -> None:
    end = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    assert line(Response().clear_cookie("a")) == f"a=; {end}; Path=/; Secure; HttpOnly; SameSite=Lax"
    cleared = Response().clear_cookie(
        "a", path="/x", domain="example.com", secure=True, same_site="None", partitioned=True
    )
    assert line(cleared) == (f"a=; {end}; Path=/x; Domain=example.com; Secure; HttpOnly; SameSite=None; Partitioned")
    assert "Secure" not in line(Response().clear_cookie("a", secure=False))
    with pytest.raises(ValueError, match="leave domain and path out"):
        Response().clear_cookie("__Host-a", path="/x")
    with pytest.raises(ValueError, match="a name is made of"):
        Response().clear_cookie("a b")


def test_setting_gives_a_changed_copy() -> None:
    base = Response.text("x", headers={"Set-Cookie": "z=0"})
    both = base.set_cookie("a", "1").set_cookie("b", "2", secure=False)
    assert base.headers.get_all("Set-Cookie") == ["z=0"]
    assert [text.partition(";")[0] for text in both.headers.get_all("Set-Cookie")] == ["z=0", "a=1", "b=2"]
    assert (both.body, both.status) == (b"x", 200)
