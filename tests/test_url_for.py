"""app.url_for and req.url_for: paths from names and handlers, which lead back to the same route and values."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web import GET, POST, App, Request, RouteError, group


def user(req: Request) -> str:
    return req.url_for("user", id=int(req.params["id"]) + 1, name="ü")


def home(req: Request) -> str:
    return "home"


def both(req: Request) -> str:
    return "both"


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __call__(self, req: Request) -> str:
        return "odd"


odd = Unhashable()
APP = App(
    GET("/", home),
    POST("/", home),
    GET("/a b/é", lambda req: "", name="literal"),
    GET("/both", both),
    GET("/odd", odd),
    group("/users/:id:int", group("/more", GET("", lambda req: "", name="more")), GET("/:name", user, name="user")),
    GET("/u/:u:uuid", lambda req: "", name="uuid"),
    GET("/files/*", lambda req: "", name="file"),
    GET("/both/2", both),
    group("/api", POST("/x", lambda req: "", name="posted")),
    GET("*", lambda req: "", name="all"),
)
ID = uuid.UUID(int=5)


@pytest.mark.parametrize(
    ("to", "params", "path"),
    [
        (home, {}, "/"),
        (odd, {}, "/odd"),
        (user, {"id": 1, "name": "x"}, "/users/1/x"),
        ("user", {"id": -7, "name": "a/b?c#d %"}, "/users/-7/a%2Fb%3Fc%23d%20%25"),
        ("user", {"id": 1, "name": 5}, "/users/1/5"),
        ("more", {"id": 3}, "/users/3/more"),
        ("literal", {}, "/a%20b/%C3%A9"),
        ("uuid", {"u": ID}, f"/u/{ID}"),
        ("file", {"*": "a b/c.txt"}, "/files/a%20b/c.txt"),
        ("file", {"*": ""}, "/files/"),
        ("all", {"*": "x/y"}, "/x/y"),
        ("posted", {}, "/api/x"),
    ],
)
def test_paths(to: object, params: dict[str, Any], path: str) -> None:
    assert APP.url_for(to, **params) == path


def test_of_a_request() -> None:
    answer = APP._compile().respond(Request(b"GET /users/4/x HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert answer.body == b"/users/5/%C3%BC"
    with pytest.raises(RuntimeError, match=r"use app\.url_for"):
        Request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").url_for("user")


@pytest.mark.parametrize(
    ("to", "params", "error", "says"),
    [
        ("usr", {}, LookupError, "no route has that name; give one name='usr' (there are: all, file, literal"),
        (len, {}, LookupError, "url_for(builtins.len): it is the handler of no route"),
        (both, {}, LookupError, "it answers /both, /both/2; give the route a name"),
        ("user", {"id": 1}, TypeError, "url_for('user'), /users/:id:int/:name: no value for name; it takes id, name"),
        ("user", {"id": 1, "name": "x", "q": 1}, TypeError, "q is no capture of it; it takes id, name"),
        ("literal", {"x": 1}, TypeError, "x is no capture of it; it takes nothing"),
        ("user", {"id": "1", "name": "x"}, TypeError, "id='1': an int is needed"),
        ("user", {"id": True, "name": "x"}, TypeError, "id=True: an int is needed"),
        ("user", {"id": 2**63, "name": "x"}, ValueError, "does not fit 64 bits"),
        ("user", {"id": 1, "name": ""}, ValueError, "a capture is not empty"),
        ("user", {"id": 1, "name": ".."}, ValueError, "clients resolve '..'"),
        ("user", {"id": 1, "name": None}, TypeError, "name=None: text or an int is needed"),
        ("user", {"id": 1, "name": "\ud800"}, ValueError, "half of a surrogate pair"),
        ("uuid", {"u": str(ID)}, TypeError, "a uuid.UUID is needed"),
        ("file", {"*": 5}, TypeError, "text is needed"),
        ("file", {"*": "a/../b"}, ValueError, "clients resolve '..'"),
    ],
)
def test_mistakes(to: object, params: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        APP.url_for(to, **params)


def test_names_are_checked() -> None:
    with pytest.raises(RouteError, match="/y: the name 'x' is that of /x already; choose another"):
        App(GET("/x", home, name="x"), GET("/y", home, name="x"))
    with pytest.raises(RouteError, match="the name 'x' is that of /a/x already"):
        group("/a", GET("/x", home, name="x"), group("/b", GET("/x", home, name="x")))
    for wrong in ("", 5):
        with pytest.raises(RouteError, match="a name is text, and not empty"):
            GET("/", home, name=wrong)  # type: ignore[arg-type]


TEXT = st.text(st.characters(codec="utf-8")).filter(lambda text: text not in ("", ".", ".."))


@given(st.integers(-(2**63), 2**63 - 1), TEXT)
def test_a_path_leads_back(number: int, name: str) -> None:
    found = APP._compile().router.match("GET", APP.url_for("user", id=number, name=name))
    assert found is not None
    assert (found[0].handler, found[1]) == (user, {"id": number, "name": name})


@given(st.lists(TEXT.filter(lambda text: "/" not in text), min_size=1).map("/".join))
def test_a_rest_leads_back(rest: str) -> None:
    found = APP._compile().router.match("GET", APP.url_for("file", **{"*": rest}))
    assert found is not None
    assert (found[0].pattern, found[1]) == ("/files/*", {"*": rest})
