"""HTTP dates: what is written is read, the older formats too, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from time import gmtime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.dates import http_date, parse_http_date, seconds

EXAMPLE = 784111777  # of RFC 9110 5.6.7


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_the_three_formats(text: str) -> None:
    assert parse_http_date(text) == EXAMPLE


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "784111777", "1994-11-06", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000", "sun, 06 nov 1994 08:49:37 gmt", "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 06 Nov 0000 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT\n",
        " Sun, 06 Nov 1994 08:49:37 GMT", "Sun, ٠٦ Nov 1994 08:49:37 GMT", "Sun Nov 6 08:49:37 1994",
    ],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    assert parse_http_date(text) is None


def test_a_leap_second_is_the_one_before_it() -> None:
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_http_date("Sat, 31 Dec 2016 23:59:59 GMT")


def test_two_digits_are_the_nearest_century() -> None:
    this = gmtime().tm_year
    for year in range(this - 49, this + 51):
        found = parse_http_date(f"Sunday, 06-Nov-{year % 100:02} 08:49:37 GMT")
        assert found is not None
        assert gmtime(found).tm_year == year


@given(st.integers(-62135596800, 253402300799))
def test_what_is_written_is_read(when: int) -> None:
    assert parse_http_date(http_date(when)) == when


@given(st.integers(0, 253402300799))
def test_it_is_the_format_of_the_standard_library(when: int) -> None:
    assert http_date(when) == format_datetime(datetime.fromtimestamp(when, UTC), usegmt=True)


@given(st.text())
def test_nothing_raises(text: str) -> None:
    assert parse_http_date(text) is None or text.endswith(("GMT", text[-4:]))


def test_datetimes_of_any_zone() -> None:
    when = datetime(1994, 11, 6, 10, 49, 37, 999999, tzinfo=timezone(timedelta(hours=2)))
    assert seconds(when) == EXAMPLE
    assert http_date(when) == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    "when",
    [
        datetime(1994, 11, 6),  # noqa: DTZ001 - that is the test
        253402300800,
        -62135596801,
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(9999, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_what_is_no_time(when: datetime | int) -> None:
    with pytest.raises(ValueError, match="time"):
        seconds(when)
