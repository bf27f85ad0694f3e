"""web.negotiation: Accept-Encoding by RFC 9110 12.5.3; no text breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web import negotiation
from web.negotiation import IDENTITY, accepted

OFFERED = ("zstd", "br", "gzip")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip identity"),
        ("gzip, deflate, br, zstd", "zstd br gzip identity"),
        ("GZip , BR", "br gzip identity"),
        ("br;q=0.5, gzip", "gzip br identity"),
        ("br;q=0.5,gzip;q=0.5,zstd;q=0.501", "zstd br gzip identity"),
        ("gzip ; q=0.5 , br ;\tQ=0.25", "gzip br identity"),
        ("gzip;q=0, br", "br identity"),
        ("gzip;q=0.000", "identity"),
        ("gzip;q=1., br;q=0.", "gzip identity"),
        # any other
        ("*", "zstd br gzip identity"),
        ("gzip;q=0.2, *;q=0.1", "gzip zstd br identity"),
        ("*, zstd;q=0", "br gzip identity"),
        ("*;q=0, gzip", "gzip identity"),
        ("*;q=0", "identity"),
        # identity: last, unless the client likes it better than a coding
        ("identity, gzip", "gzip identity"),
        ("gzip;q=0.5, identity", "identity gzip"),
        ("br, gzip;q=0.5, identity;q=0.7", "br identity gzip"),
        ("gzip;q=0.5, *;q=0.7", "zstd br identity gzip"),
        ("identity;q=0", "identity"),
        ("identity;q=0, gzip;q=0.1", "gzip identity"),
        # aliases, repeated, unknown
        ("x-gzip", "gzip identity"),
        ("X-GZIP;q=0", "identity"),
        ("gzip, gzip;q=0", "identity"),
        ("gzip;q=0, gzip", "identity"),
        ("compress, deflate, exi", "identity"),
        # malformed members count for nothing, the others do
        ("gzip;q=2, br", "br identity"),
        ("gzip;q=1.001, br", "br identity"),
        ("gzip;q=0.1234, br", "br identity"),
        ("gzip;q=-1, br", "br identity"),
        ("gzip;q=, br", "br identity"),
        ("gzip;q=.5, br", "br identity"),
        ("gzip;level=9, br", "br identity"),
        ("gzip;q=0.5;q=1, br", "br identity"),
        ("gzip;q=\u0661, br", "br identity"),
        ("gzip;q=0.\u0661, br", "br identity"),
        ("gzip br, zstd", "zstd identity"),
        (",, ,;q=1,gzip,", "gzip identity"),
        ('"gzip", br', "br identity"),
        ("gzip\n, br", "br identity"),
    ],
)
def test_what_is_accepted(header: str | None, found: str) -> None:
    assert accepted(header, OFFERED) == tuple(found.split())


def test_the_servers_order_decides_between_equals() -> None:
    assert accepted("zstd, br, gzip", ("gzip", "zstd")) == ("gzip", "zstd", IDENTITY)
    assert accepted("*", ()) == (IDENTITY,)


weights = st.sampled_from(["", ";q=0", ";q=1", ";q=0.5", " ; q=0.001", ";q=1.000", ";Q=0.9", ";q=3", ";x=1"])
names = st.sampled_from([*OFFERED, "identity", "*", "x-gzip", "GZIP", "deflate", "", "g z"])
headers = st.one_of(st.text(), st.lists(st.tuples(names, weights).map("".join)).map(", ".join))


@settings(deadline=None, database=None)
@given(headers, st.sampled_from([OFFERED, ("gzip",), ("gzip", "br"), ()]))
def test_every_text_has_an_answer(header: str, offered: tuple[str, ...]) -> None:
    found = accepted(header, offered)
    assert found.count(IDENTITY) == 1
    assert len(set(found)) == len(found)
    assert set(found) <= {*offered, IDENTITY}


@settings(deadline=None, database=None)
@given(headers, headers)
def test_what_is_kept_is_what_would_be_found(header: str, other: str) -> None:
    joined = f"{header}, {other}"
    assert accepted(joined, OFFERED) == negotiation._ranked(joined, OFFERED)
    assert accepted(joined + "," + " " * 300, OFFERED) == accepted(joined, OFFERED)


@settings(deadline=None, database=None)
@given(st.lists(st.sampled_from(OFFERED), unique=True), st.integers(0, 1000))
def test_weights_order_them(named: list[str], least: int) -> None:
    header = ", ".join(f"{name};q={(least + number) % 1001 / 1000:.3f}" for number, name in enumerate(named))
    by_weight = sorted(
        (-((least + number) % 1001), OFFERED.index(name), name)
        for number, name in enumerate(named)
        if (least + number) % 1001
    )
    assert accepted(header, OFFERED) == (*[name for _, _, name in by_weight], IDENTITY)


def test_memory_is_bounded() -> None:
    negotiation._kept.cache_clear()
    for number in range(2000):
        accepted(f"gzip, x{number}", OFFERED)
    accepted("gzip" + " " * 300, OFFERED)
    kept = negotiation._kept.cache_info()
    assert (kept.currsize, kept.misses) == (256, 2000)
