"""What Response.json writes: the standard library's JSON, to the byte, by an encoder that is kept between calls."""

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web import Response

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
keys = text | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(scalars, lambda some: st.lists(some) | st.tuples(some, some) | st.dictionaries(keys, some))


def library(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


@given(values)
def test_it_is_the_librarys_json(value: Any) -> None:
    assert Response.json(value).body == library(value)


@pytest.mark.parametrize("make", [list, dict])
def test_a_value_that_contains_itself_is_told_so(make: Any) -> None:
    value = make()
    if isinstance(value, list):
        value.append(value)
    else:
        value["itself"] = value
    with pytest.raises(ValueError, match="Circular reference"):
        Response.json(value)
    assert Response.json([1]).body == b"[1]"  # nothing of it is left in the kept encoder


def test_what_is_nested_too_deeply_is_refused() -> None:
    value: list[Any] = []
    for _ in range(200_000):
        value = [value]
    with pytest.raises(RecursionError):
        Response.json(value)
    while value:  # taken apart from outside: freeing it whole would be as deep
        value = value[0]


@pytest.mark.parametrize("value", [{1}, [b"x"], {"a": object()}, {(1, 2): 3}])
def test_what_is_not_json_is_a_type_error_that_names_the_type(value: Any) -> None:
    with pytest.raises(TypeError) as ours:
        Response.json(value)
    with pytest.raises(TypeError) as theirs:
        library(value)
    assert str(ours.value) == str(theirs.value)


def test_threads_encode_the_same_value_at_once() -> None:
    value = {"numbers": list(range(2000)), "again": [{"n": n} for n in range(500)]}
    wanted = library(value)
    wrong: list[object] = []

    def encode() -> None:
        for _ in range(50):
            try:
                body = Response.json(value).body
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the failure
                wrong.append(error)
            else:
                if body != wanted:
                    wrong.append(body)

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
