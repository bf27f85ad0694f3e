"""web.Signer: what was signed comes back, anything else is None; keys rotate; ages and purposes count."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import itsdangerous
import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web import Signer

KEY, OLD, OTHER = "k" * 32, "o" * 32, "x" * 32


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``later(seconds)``: signatures are made and judged that much later."""

    def move(seconds: int) -> None:
        monkeypatch.setattr(itsdangerous.TimestampSigner, "get_timestamp", lambda self: int(time.time()) + seconds)

    return move


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_signed_comes_back(text: str) -> None:
    assert Signer(KEY).unsign(Signer(KEY).sign(text)) == text


@given(st.text())
def test_any_other_text_is_none(text: str) -> None:
    assert Signer(KEY).unsign(text) is None


@given(st.data())
def test_a_changed_text_is_none(data: st.DataObject) -> None:
    signed = Signer(KEY).sign("text")
    at = data.draw(st.integers(0, len(signed) - 2))  # the last character holds bits that do not count
    character = data.draw(st.sampled_from("aB0-_. ").filter(lambda one: one != signed[at]))
    assert Signer(KEY).unsign(signed[:at] + character + signed[at + 1 :]) is None


def test_none_is_none() -> None:
    assert Signer(KEY).unsign(None) is None


def test_a_signed_word_is_a_cookie_value() -> None:
    signer = Signer(KEY)
    signed = signer.sign("user_17-a")
    web.Response().set_cookie("a", signed)  # takes it
    req = web.Request(f"GET / HTTP/1.1\r\nHost: a\r\nCookie: a={signed}\r\n\r\n".encode())
    assert signer.unsign(req.cookies.get("a")) == "user_17-a"
    assert signer.unsign(req.cookies.get("b")) is None


def test_the_first_key_signs_and_all_verify() -> None:
    old, rotated, new = Signer(OLD), Signer([KEY, OLD]), Signer(KEY)
    assert rotated.unsign(old.sign("a")) == "a"
    assert new.unsign(rotated.sign("a")) == "a"
    assert old.unsign(rotated.sign("a")) is None
    assert new.unsign(old.sign("a")) is None
    assert Signer(OTHER).unsign(rotated.sign("a")) is None


def test_purposes_are_apart() -> None:
    signed = Signer(KEY, purpose="reset").sign("a")
    assert Signer(KEY, purpose="reset").unsign(signed) == "a"
    assert Signer(KEY, purpose="login").unsign(signed) is None
    assert Signer(KEY).unsign(signed) is None


@pytest.mark.parametrize("max_age", [60, timedelta(minutes=1)])
def test_old_signatures_are_none(max_age: int | timedelta, later: Callable[[int], None]) -> None:
    signer, patient = Signer(KEY, max_age=max_age), Signer(KEY)
    signed = signer.sign("a")
    assert signer.unsign(signed) == "a"
    later(59)
    assert signer.unsign(signed) == "a"
    later(62)
    assert signer.unsign(signed) is None
    assert patient.unsign(signed) == "a"


def test_text_that_utf8_cannot_say_is_none() -> None:
    signer = Signer(KEY)
    assert signer.unsign("\ud800" + signer.sign("a")) is None


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ("", ValueError, "key 1 is shorter than 32 bytes"),
        ("s" * 31, ValueError, "key 1 is shorter than 32 bytes"),
        ([KEY, "short"], ValueError, "key 2 is shorter than 32 bytes"),
        ([], ValueError, "give at least one"),
        ([b"k" * 32], TypeError, "key 1 is text, not bytes"),
    ],
)
@pytest.mark.parametrize("make", [Signer, web.sessions])
def test_keys_are_checked(make: Any, keys: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        make(keys)
    assert "sss" not in str(caught.value)


@pytest.mark.parametrize("max_age", [0, -1, 1.5, True, "60", timedelta(milliseconds=500)])
@pytest.mark.parametrize("make", [Signer, web.sessions])
def test_ages_are_checked(make: Any, max_age: Any) -> None:
    with pytest.raises(ValueError, match="whole seconds, 1 or more"):
        make(KEY, max_age=max_age)


@pytest.mark.parametrize("make", [Signer, web.sessions])
def test_the_extra_is_named_when_it_is_missing(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    with pytest.raises(web.WebError, match=r"pip install weblatch\[sessions\]"):
        make(KEY)


@pytest.mark.parametrize("make", [Signer, web.sessions])
def test_keys_are_not_shown(make: Any) -> None:
    assert KEY not in repr(make([KEY, OLD]))
    assert OLD not in repr(make([KEY, OLD]))
