"""web.request_id: every request and every answer has one, and no client chooses it unless it is trusted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from tests.asking import ask, made

MADE = re.compile(r"[0-9a-f]{32}")


def site(*args: Any, **options: Any) -> web.App:
    return web.App(web.request_id(*args, **options), web.GET("/", lambda req: req.state.request_id))


def given_to(app: web.App, sent: str) -> str:
    answer = ask(app, fields=f"X-Request-ID: {sent}")
    name = answer.headers["X-Request-ID"]
    assert answer.body.decode() == name, "the answer and the handler have the same one"
    return name


def test_each_request_has_its_own() -> None:
    app = site()
    names = [given_to(app, "mine") for _ in range(100)]
    assert all(MADE.fullmatch(name) for name in names)
    assert len(set(names)) == 100


@pytest.mark.parametrize("target", ["/", "/nowhere"])
def test_errors_have_one(target: str) -> None:
    assert MADE.fullmatch(ask(site(), target).headers["X-Request-ID"])


@pytest.mark.parametrize(
    "sent", ["x", "0c4e9f6a-3f1b-4c7e", "a" * 128, "Root=1-67891233-abcdef", "QUJD/+8=", "a.b_c~d:e@f"]
)
def test_a_trusted_client_is_taken_at_its_word(sent: str) -> None:
    assert given_to(site(trust=True), sent) == sent
    assert given_to(site(trust=lambda req: True), sent) == sent
    assert given_to(site(trust=lambda req: False), sent) != sent


@pytest.mark.parametrize("sent", ["", "a" * 129, "a b", 'a"b', "a,b", "a\xe9", "a\tb", "<b>", "a;b", "a\\b"])
def test_unless_it_is_not_well_formed(sent: str) -> None:
    assert MADE.fullmatch(given_to(site(trust=True), sent))


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")))
def test_whatever_is_sent(sent: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~+/=@:-]{1,128}", given_to(site(trust=True), sent))


def test_the_function_sees_the_request() -> None:
    app = site(trust=lambda req: req.path == "/")
    assert ask(app, "/", fields="x-request-id: x").headers["x-request-id"] == "x"
    assert ask(app, "/nowhere", fields="x-request-id: x").headers["x-request-id"] != "x"


def test_another_field_and_a_handler_that_sets_it() -> None:
    app = web.App(web.request_id("X-Trace", trust=True), web.GET("/", lambda req: ("", 200, {"x-trace": "other"})))
    assert ask(app, fields="X-Trace: mine").headers.get_all("X-Trace") == ["mine"]


def test_an_answer_without_before_hooks_has_one() -> None:
    """A body that is refused, say: only after hooks see it."""
    answer = site()._compile().error(made(), 413, "too large")
    assert MADE.fullmatch(answer.headers["X-Request-ID"])


def test_before_hooks_that_were_added_earlier_see_it() -> None:
    seen = []

    def look(req: web.Request) -> None:
        seen.append(req.state.request_id)

    ask(web.App(web.before(look), web.request_id()))
    assert MADE.fullmatch(seen[0])


def test_a_function_that_gives_no_bool(caplog: pytest.LogCaptureFixture) -> None:
    assert ask(site(trust=lambda req: 1), fields="X-Request-ID: x").status == 500
    assert "True or False is needed" in caplog.text


async def later(req: web.Request) -> bool:
    return True


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: web.request_id("X Y"), "a name is made of"),
        (lambda: web.request_id("Date"), "leave it out"),
        (lambda: web.request_id(trust="127.0.0.1"), "plain function"),  # type: ignore[arg-type]
        (lambda: web.request_id(trust=later), "plain function"),  # type: ignore[arg-type]
    ],
)
def test_start_up_errors(make: Callable[[], object], message: str) -> None:
    with pytest.raises(web.RouteError, match=message):
        make()
