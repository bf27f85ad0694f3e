"""What answers are made of: status lines, numbers, dates, and what may not get into a head (RFC 9112 4, RFC 9110 5)."""

import http
import string
from email.utils import formatdate, parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web.hotpath import decimal, http_date, is_field_value, is_token, response_head, response_head_repeat, status_line

TOKEN = set(b"!#$%&'*+-.^_`|~" + (string.ascii_letters + string.digits).encode())
CONTROLS = {*range(0x20), 0x7F} - {9}
LAST_SECOND = 253402300799  # 9999-12-31 23:59:59


def test_status_lines() -> None:
    assert status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(431) == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    for status in range(100, 600):
        line = status_line(status)
        assert line.startswith(b"HTTP/1.1 %d " % status)  # the space stands without a phrase too (RFC 9112 4)
        assert line.endswith(b"\r\n")
        assert not CONTROLS & set(line[:-2])
    assert status_line(299) == b"HTTP/1.1 299 \r\n"
    assert status_line(599) == b"HTTP/1.1 599 \r\n"


def test_reason_phrases_are_the_registered_ones() -> None:
    renamed = {
        413: "Content Too Large",
        414: "URI Too Long",
        416: "Range Not Satisfiable",
        422: "Unprocessable Content",
    }
    unassigned = {418, 510}  # a joke, and obsoleted
    for status in http.HTTPStatus:
        phrase = "" if status in unassigned else renamed.get(status, status.phrase)
        assert status_line(status) == f"HTTP/1.1 {status.value} {phrase}\r\n".encode()


@pytest.mark.parametrize("status", [99, 600, 0, -1, 2**31 - 1, -(2**31)])
def test_a_status_that_is_none_answers_as_500(status: int) -> None:
    assert status_line(status) == status_line(500)


@settings(deadline=None, database=None)
@given(st.integers(0, 2**64 - 1))
def test_decimal(number: int) -> None:
    assert decimal(number) == str(number).encode()


def test_decimal_at_its_ends() -> None:
    for number in (0, 9, 10, 2**32, 2**63, 2**64 - 1, *(10**digits for digits in range(20))):
        assert decimal(number) == str(number).encode()
    for wrong in (-1, 2**64):
        with pytest.raises(OverflowError):
            decimal(wrong)


def test_date_of_the_rfc() -> None:
    assert http_date(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"


@settings(deadline=None, database=None)
@given(st.integers(0, LAST_SECOND))
def test_dates(seconds: int) -> None:
    assert http_date(seconds).decode() == formatdate(seconds, usegmt=True)
    assert parsedate_to_datetime(http_date(seconds).decode()).timestamp() == seconds


def test_every_day_of_the_calendar() -> None:
    # Four hundred years hold every case of leap years and weekdays.
    for day in range(146097):
        assert http_date(day * 86400 + 86399).decode() == formatdate(day * 86400 + 86399, usegmt=True)


def test_dates_outside_are_held_at_the_ends() -> None:
    assert http_date(-1) == http_date(0) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert http_date(-(2**63)) == http_date(0)
    assert http_date(LAST_SECOND + 1) == http_date(2**63 - 1) == b"Fri, 31 Dec 9999 23:59:59 GMT"


def test_predicates_over_every_byte() -> None:
    for byte in range(256):
        one = bytes([byte])
        for around in (b"", b"abcdefghijk"):
            assert is_token(around + one + around) == (byte in TOKEN)
            assert is_field_value(around + one + around) == (byte not in CONTROLS)
    assert not is_token(b"")
    assert is_field_value(b"")


def test_response_head() -> None:
    assert response_head(200, []) == b"HTTP/1.1 200 OK\r\n\r\n"
    head = response_head(404, [("Content-Type", "text/plain"), ("X-Empty", ""), ("X-Latin", "caf\xe9\t")])
    assert head == b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nX-Empty: \r\nX-Latin: caf\xe9\t\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nSet-Cookie: b"), ("X", "a\nb"), ("X", "a\rb"), ("X", "a\x00b"), ("X", "\x7f"), ("X", "\x1b"),
        ("X\r\nY", "a"), ("X: a\r\nY", "a"), ("X ", "a"), (" X", "a"), ("", "a"), ("X:", "a"),
        ("X\x00", "a"), ("\xe9", "a"),
    ],
)  # fmt: skip
def test_header_injection_is_refused(name: str, value: str) -> None:
    for headers in ([(name, value)], [("A", "b"), (name, value), ("C", "d")]):
        with pytest.raises(ValueError, match="cannot be sent") as caught:
            response_head(200, headers)
        assert repr(name.encode("latin-1")) in str(caught.value)


def test_response_head_of_wrong_things() -> None:
    for status in (99, 600, 0, -200):
        with pytest.raises(ValueError, match=r"outside 100\.\.599"):
            response_head(status, [])
    with pytest.raises(UnicodeEncodeError):
        response_head(200, [("X", "\u20ac")])
    for wrong in ([(b"X", b"y")], [("X", 1)], [("X", None)]):
        with pytest.raises(TypeError):
            response_head(200, wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n must be"):
        response_head_repeat(200, [], 0)


def test_response_head_repeat() -> None:
    headers = [("Content-Type", "text/plain"), ("Content-Length", "5")]
    assert response_head_repeat(200, headers, 1000) == len(response_head(200, headers))


token_text = st.text(sorted(chr(byte) for byte in TOKEN), min_size=1)
value_text = st.text(sorted(chr(byte) for byte in set(range(256)) - CONTROLS))


@settings(deadline=None, database=None)
@given(st.integers(100, 599), st.lists(st.tuples(token_text, value_text)))
def test_round_trip(status: int, headers: list[tuple[str, str]]) -> None:
    lines = response_head(status, headers).decode("latin-1").split("\r\n")
    assert lines[0] + "\r\n" == status_line(status).decode()
    assert lines[1:] == [*(f"{name}: {value}" for name, value in headers), "", ""]
