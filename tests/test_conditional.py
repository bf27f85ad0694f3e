"""Preconditions: what the table on the wire does not reach of web.conditional (tests/wire/test_conditional.py),
and ``req.precondition``."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from tests.asking import made
from web.conditional import GO_ON, decide, entity_tags, is_entity_tag, tag_as_known
from web.dates import http_date

WHEN = 1_600_000_000


@pytest.mark.parametrize("text", ['""', '"a"', 'W/"a"', '"a,b"', '"\\"', '"\xff!"'])
def test_entity_tags(text: str) -> None:
    assert is_entity_tag(text)
    assert entity_tags([text]) == [text]


@pytest.mark.parametrize(
    "text", ["", "a", '"', '"a', 'a"', 'w/"a"', "W/a", '"a b"', '"\x7f"', '"a"b"', '"a" "b"', '"Ā"']
)
def test_what_is_no_entity_tag(text: str) -> None:
    assert not is_entity_tag(text)


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        (['"a", W/"b","c"'], ['"a"', 'W/"b"', '"c"']),
        ([' , "a" ,, "b",'], ['"a"', '"b"']),
        (['"a"', '"b"'], ['"a"', '"b"']),
        (['"a", b, "c"'], ['"a"']),
        (['"a" "b"'], []),
        (["*"], []),
    ],
)
def test_lists_of_entity_tags(values: list[str], tags: list[str]) -> None:
    assert entity_tags(values) == tags


tags = st.from_regex(r'(W/)?"[!#-~]*"', fullmatch=True)


@given(st.lists(tags, max_size=5), st.lists(st.sampled_from([", ", ",", " ,\t"]), min_size=5, max_size=5))
def test_lists_are_read_as_they_are_written(some: list[str], commas: list[str]) -> None:
    assert entity_tags(["".join(tag + comma for tag, comma in zip(some, commas, strict=False))]) == some


@given(
    st.sampled_from(["GET", "HEAD", "PUT"]),
    st.dictionaries(
        st.sampled_from(["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"]),
        st.lists(st.text(max_size=40), min_size=1, max_size=2),
    ),
    st.none() | st.text(max_size=5),
    st.none() | st.text(max_size=5),
    st.none() | st.integers(0, 100),
)
def test_any_fields(
    method: str, fields: dict[str, list[str]], etag: str | None, modified: str | None, size: int | None
) -> None:
    assert decide(method, lambda name: fields.get(name, []), etag, modified, size).status in (200, 206, 304, 412, 416)


def decided(range_from: str, modified: int) -> int:
    fields = {"range": ["bytes=0-0"], "if-range": [range_from]}
    return decide("GET", lambda name: fields.get(name, []), None, http_date(modified), 10).status


def test_a_date_of_just_now_is_no_strong_validator() -> None:
    now = int(time.time())
    assert decided(http_date(now - 60), now - 60) == 206
    assert decided(http_date(now), now) == 200


def test_a_tag_that_is_none_is_none() -> None:
    assert decide("GET", lambda name: ["abc"] if name == "if-none-match" else [], "abc", None, 3) is GO_ON
    assert decide("GET", lambda name: ["*"] if name == "if-none-match" else [], "abc", None, 3) is GO_ON


@pytest.mark.parametrize(
    ("known", "tag", "said"),
    [
        (['W/"a"'], '"a"', 'W/"a"'), (['"b"', '"c", W/"a"'], '"a"', 'W/"a"'), (['"a"'], '"a"', '"a"'),
        (['W/"a", "a"'], '"a"', '"a"'), (['W/"a b"'], '"a"', '"a"'), (["*"], '"a"', '"a"'), ([], '"a"', '"a"'),
        (['W/"a"'], 'W/"a"', 'W/"a"'), (['"a"'], 'W/"a"', 'W/"a"'),
    ],
)  # fmt: skip
def test_the_tag_that_a_304_says(known: list[str], tag: str, said: str) -> None:
    assert tag_as_known(known, tag) == said


# -- req.precondition ------------------------------------------------------------------------------------------------


def asked(method: str, fields: str) -> web.Request:
    return made(method=method, fields=fields)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_a_change_of_what_the_client_has_not_seen(method: str) -> None:
    assert asked(method, "").precondition("v2") is None
    assert asked(method, 'If-Match: "v2"').precondition("v2") is None
    with pytest.raises(web.HTTPError, match="If-Match") as caught:
        asked(method, 'If-Match: "v1"').precondition("v2")
    assert caught.value.status == 412
    with pytest.raises(web.HTTPError, match="If-None-Match"):
        asked(method, 'If-None-Match: "v2"').precondition("v2")


def test_what_is_to_be_made_must_not_be_there() -> None:
    new = asked("PUT", "If-None-Match: *")
    assert new.precondition() is None
    with pytest.raises(web.HTTPError):
        new.precondition("v1")
    with pytest.raises(web.HTTPError):
        asked("PUT", "If-Match: *").precondition()


def test_a_weak_tag_protects_no_change() -> None:
    with pytest.raises(web.HTTPError):
        asked("PUT", 'If-Match: W/"v1"').precondition("v1", weak=True)


def test_what_the_client_has_need_not_be_made() -> None:
    answer = asked("GET", 'If-None-Match: "v1"').precondition("v1", last_modified=datetime.fromtimestamp(WHEN, UTC))
    assert answer is not None
    assert answer.status == 304
    assert dict(answer.headers.items()) == {"ETag": '"v1"', "Last-Modified": http_date(WHEN)}
    assert asked("GET", f"If-Modified-Since: {http_date(WHEN)}").precondition(last_modified=WHEN + 1) is None
    with pytest.raises(web.HTTPError):
        asked("PUT", f"If-Unmodified-Since: {http_date(WHEN)}").precondition(last_modified=WHEN + 1)
