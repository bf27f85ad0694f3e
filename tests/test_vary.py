"""web.vary: names come into Vary once, and in one line."""

from __future__ import annotations

import pytest

import web
from web.vary import add_vary


@pytest.mark.parametrize(
    ("there", "then"),
    [
        ([], "Origin"), (["Cookie"], "Cookie, Origin"), (["Cookie", "Accept"], "Cookie, Accept, Origin"), (["*"], "*"),
        (["origin"], "origin"), (["Accept ,ORIGIN"], "Accept ,ORIGIN"), (["X-Origin"], "X-Origin, Origin"),
        ([""], "Origin"), (["a, *"], "a, *"),
    ],
)  # fmt: skip
def test_one_name(there: list[str], then: str) -> None:
    answer = add_vary(web.Response.text("x", headers=[("Vary", one) for one in there]), "Origin")
    assert answer.headers.get_all("vary") == [then]
    assert add_vary(answer, "Origin") == answer


@pytest.mark.parametrize(
    ("names", "then"),
    [("Cookie, Accept", "accept, Cookie"), (" a ,, b", "accept, a, b"), ("*", "accept, *"), ("", "accept")],
)
def test_a_list_of_names(names: str, then: str) -> None:
    answer = add_vary(web.Response.text("x", headers={"Vary": "accept"}), names)
    assert answer.headers.get_all("vary") == [then]
