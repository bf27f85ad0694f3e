"""req.json(type=...): what is decoded, what is refused and how, and the cache of decoders."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web import typed_json
from web.testing import Client


@dataclass
class Point:
    x: int
    y: int = 0

    def __post_init__(self) -> None:
        if self.x == 13:
            raise ValueError("13 is no x")
        if self.x == 14:
            raise KeyError("a mistake of the application")


class Named(TypedDict):
    name: str


class Item(msgspec.Struct):
    name: str
    tags: list[str] = []


class Order(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Item]


def asked(body: bytes) -> web.Request:
    return web.Request(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", body)


def test_the_value_has_the_type() -> None:
    order = asked(b'{"items": [{"name": "a", "tags": ["x"]}, {"name": "b"}]}').json(type=Order)
    assert order == Order([Item("a", ["x"]), Item("b")])
    assert asked(b'{"x": 1}').json(type=Point) == Point(1)
    named = asked(b'{"name": "a", "more": 1}').json(type=Named)
    assert named == {"name": "a"}
    assert type(named) is dict
    assert asked(b"[1, 2]").json(type=list[int]) == [1, 2]
    assert asked(b"null").json(type=int | None) is None
    assert asked(b"7").json(type=Annotated[int, msgspec.Meta(ge=7)]) == 7


def test_without_a_type_it_is_as_before() -> None:
    assert asked(b'{"x": [1]}').json(type=None) == asked(b'{"x": [1]}').json() == {"x": [1]}


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        (Order, b'{"items": [{"name": "a"}, {"name": 5}]}', "Expected `str`, got `int` - at `$.items[1].name`"),
        (Order, b'{"items": [{}]}', "Object missing required field `name` - at `$.items[0]`"),
        (Order, b'{"items": [], "more": 1}', "Object contains unknown field `more`"),
        (Point, b'{"x": "1"}', "Expected `int`, got `str` - at `$.x`"),
        (Point, b'{"x": 13}', "13 is no x"),
        (Named, b"[]", "Expected `object`, got `array`"),
        (Annotated[int, msgspec.Meta(ge=7)], b"6", "Expected `int` >= 7"),
    ],
)
def test_json_of_another_type_is_a_422_that_names_the_place(kind: Any, body: bytes, words: str) -> None:
    with pytest.raises(web.HTTPError) as caught:
        asked(body).json(type=kind)
    assert (caught.value.status, caught.value.detail) == (422, f"the body is not what is expected: {words}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": ',
        b"{'name': 1}",
        b'{"name": NaN}',
        b'{"name": "a"} 2',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"a":' + b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_is_a_400(body: bytes) -> None:
    with pytest.raises(web.HTTPError, match="the body is not JSON: ") as caught:
        asked(body).json(type=Named)
    assert caught.value.status == 400


def test_an_empty_body_is_a_400_as_without_a_type() -> None:
    with pytest.raises(web.HTTPError, match="the body is empty where JSON is expected") as caught:
        asked(b"").json(type=Point)
    assert caught.value.status == 400


def test_a_mistake_of_the_application_is_not_blamed_on_the_client() -> None:
    with pytest.raises(KeyError, match="a mistake of the application"):
        asked(b'{"x": 14}').json(type=Point)
    with pytest.raises(TypeError, match=r"req\.json\(type=5\): no JSON can be decoded as that"):
        asked(b"5").json(type=5)  # type: ignore[call-overload]
    missing: Any = type("Missing", (), {"__annotations__": {"x": "NoSuchName"}})
    with pytest.raises(TypeError, match="no JSON can be decoded as that: name 'NoSuchName' is not defined"):
        asked(b"{}").json(type=dataclass(missing))


def test_app_json_is_not_asked_for_a_type() -> None:
    class Loud:
        dumps = staticmethod(json.dumps)

        def loads(self, data: bytes) -> Any:
            return "loud"

    app = web.App(
        web.POST("/typed", lambda req: {"x": req.json(type=Point).x}),
        web.POST("/plain", lambda req: {"x": req.json()}),
        json=Loud(),
    )
    with Client(app) as client:
        assert client.post("/typed", content=b'{"x": 2}').json() == {"x": 2}
        assert client.post("/plain", content=b'{"x": 2}').json() == {"x": "loud"}


def test_a_decoder_is_made_once_for_each_type_and_not_kept_for_ever() -> None:
    typed_json._kept_decoder.cache_clear()
    for _ in range(3):
        asked(b'{"x": 1}').json(type=Point)
    assert typed_json._kept_decoder.cache_info()[:2] == (2, 1)
    for number in range(300):
        fresh = msgspec.defstruct(f"Fresh{number}", [("x", int)])
        assert asked(b'{"x": 1}').json(type=fresh) == fresh(1)
    kept = typed_json._kept_decoder.cache_info()
    assert kept.maxsize is not None
    assert kept.currsize == kept.maxsize < 300


def test_a_type_that_cannot_be_hashed_is_decoded_all_the_same() -> None:
    unhashable: Any = Annotated[int, ["not hashable"]]
    assert asked(b"7").json(type=unhashable) == 7


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(web.WebError, match=r"req\.json\(type=\.\.\.\): .*pip install weblatch\[msgspec\]"):
        asked(b"{}").json(type=Point)
    assert asked(b"{}").json() == {}


@given(st.binary())
def test_any_bytes_are_a_value_or_an_error_of_the_client(body: bytes) -> None:
    try:
        value = asked(body).json(type=dict[str, int])
    except web.HTTPError as error:
        assert error.status in (400, 422)
    else:
        assert all(type(key) is str and type(one) is int for key, one in value.items())


@given(st.lists(st.fixed_dictionaries({"name": st.text(st.characters(exclude_categories=["Cs"]))})))
def test_what_the_library_writes_is_read(value: list[Named]) -> None:
    assert asked(json.dumps(value).encode()).json(type=list[Named]) == value
