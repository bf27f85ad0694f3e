"""HTTP dates (RFC 9110 5.6.7): the one format that is written, the two older ones that are still to be understood.

Pure. What is none of the three is None, and nothing raises: a field with such a date is ignored by those who read it.
"""

import re
from calendar import timegm
from datetime import UTC, datetime, timedelta
from time import gmtime

__all__ = ["http_date", "parse_http_date", "seconds"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = f"(?:{'|'.join(_DAYS)})"
_LONG_DAY = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMATS = tuple(
    re.compile(pattern)
    for pattern in (
        f"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",  # IMF-fixdate
        f"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",  # RFC 850
        f"{_DAY} {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})",  # asctime
    )
)


def parse_http_date(text: str) -> int | None:
    """Seconds since 1970; None when it is no HTTP date. A leap second counts as the one before it."""
    for pattern in _FORMATS:
        found = pattern.fullmatch(text)
        if found is not None:
            break
    else:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        year = _century(year)
    try:
        when = datetime(
            year, _MONTHS.index(found["month"]) + 1, int(found["day"]), int(found["hour"]), int(found["minute"]),
            min(int(found["second"]), 59) if found["second"] == "60" else int(found["second"]), tzinfo=UTC,
        )  # fmt: skip
    except ValueError:  # there is no such day or time
        return None
    return timegm(when.timetuple())


def _century(year: int) -> int:
    """The year that two digits mean: one that would lie more than 50 years ahead is past (RFC 9110 5.6.7)."""
    now = gmtime().tm_year
    year += now // 100 * 100
    return year - 100 if year > now + 50 else year


def seconds(when: datetime | int) -> int:
    """Whole seconds since 1970. ``when``: these, or a datetime with a time zone; ValueError for one without, or outside
    the years 1 to 9999."""
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ValueError(f"{when!r} has no time zone; use datetime.now(UTC) or when.replace(tzinfo=...)")
        try:
            return timegm(when.astimezone(UTC).timetuple())
        except OverflowError:  # in UTC it is in the year 0 or 10000
            raise ValueError(f"{when!r}: not a time of the years 1 to 9999 in UTC") from None
    if not -62135596800 <= when <= 253402300799:
        raise ValueError(f"{when!r}: not a time of the years 1 to 9999, in seconds since 1970")
    return int(when)


def http_date(when: datetime | int) -> str:
    """The date as it is sent, "Sun, 06 Nov 1994 08:49:37 GMT"; of what ``seconds`` takes."""
    moment = _EPOCH + timedelta(seconds=seconds(when))
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} {moment.year:04} "
        f"{moment.hour:02}:{moment.minute:02}:{moment.second:02} GMT"
    )
