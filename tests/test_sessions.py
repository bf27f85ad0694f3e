"""web.sessions and req.session: what is kept between requests, when it is saved, and what a bad cookie is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import itsdangerous
import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web import Request, Response
from web.sessions import Session, Sessions

KEY, OLD, OTHER = "k" * 32, "o" * 32, "x" * 32


class Browser:
    """Answers by an App without a server, and keeps the session's cookie as a browser does."""

    def __init__(self, *forms: web.app.Form) -> None:
        self.dispatcher = web.App(*forms)._compile()
        self.jar: dict[str, str] = {}
        self.lines: list[str] = []  # Set-Cookie of the last answer

    def get(self, path: str = "/", cookie: str | None = None) -> Response:
        sent = "; ".join(f"{name}={value}" for name, value in self.jar.items()) if cookie is None else cookie
        field = f"Cookie: {sent}\r\n" if sent else ""
        resp = self.dispatcher.respond(Request(f"GET {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n".encode()))
        self.lines = resp.headers.get_all("Set-Cookie")
        for line in self.lines:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.jar.pop(name, None)
            else:
                self.jar[name] = value
        return resp


Body = Callable[[Session], object]


def act(do: Body, path: str = "/") -> web.routing.Route:
    """A route that does something with the session and answers what it gave, as JSON."""
    return web.GET(path, lambda req: Response.json(do(req.session)))


def count(session: Session) -> int:
    session["n"] = session.get("n", 0) + 1
    return int(session["n"])


COUNT = act(count)
SHOW = act(dict, "/show")
FORM = web.sessions(KEY)


@pytest.fixture
def browser() -> Browser:
    clear = act(lambda session: session.clear(), "/clear")
    return Browser(FORM, COUNT, SHOW, clear, web.GET("/none", lambda req: "nothing"))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``later(seconds)``: sessions are saved and judged that much later."""

    def move(seconds: int) -> None:
        monkeypatch.setattr(itsdangerous.TimestampSigner, "get_timestamp", lambda self: int(time.time()) + seconds)

    return move


# ---- from one request to the next ----


def test_a_session_lives_in_its_cookie(browser: Browser) -> None:
    assert [browser.get().body for _ in range(3)] == [b"1", b"2", b"3"]
    assert browser.get("/show").body == b'{"n":3}'
    assert Browser(FORM, SHOW).get("/show").body == b"{}"


def test_the_cookie_and_what_caches_are_told(browser: Browser) -> None:
    resp = browser.get()
    (line,) = browser.lines
    value, _, attributes = line.partition("; ")
    assert value.startswith("session=")
    assert attributes == "Max-Age=1209600; Path=/; HttpOnly; SameSite=Lax"
    assert resp.headers["Vary"] == "Cookie"
    assert resp.headers["Cache-Control"] == "private"


def test_it_is_saved_when_it_was_changed_alone(browser: Browser) -> None:
    browser.get()
    resp = browser.get("/show")
    assert browser.lines == []
    assert resp.headers["Vary"] == "Cookie"
    assert "Cache-Control" not in resp.headers


def test_it_is_opened_when_it_is_asked_for_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Request] = []

    def open_(self: Sessions, req: Request) -> Session:
        opened.append(req)
        return Session()

    monkeypatch.setattr(Sessions, "open", open_)
    browser = Browser(
        FORM, web.GET("/none", lambda req: "x"), web.GET("/twice", lambda req: str(req.session is req.session))
    )
    resp = browser.get("/none")
    assert opened == []
    assert [name for name, _ in resp.headers.items()] == ["Content-Type"]
    assert browser.get("/twice").body == b"True"
    assert len(opened) == 1


def test_an_empty_session_that_was_empty_sets_nothing(browser: Browser) -> None:
    browser.get("/clear")
    assert browser.lines == []
    browser.get("/show")
    assert browser.lines == []


def test_clear_removes_the_cookie(browser: Browser) -> None:
    browser.get()
    resp = browser.get("/clear")
    assert browser.lines == [
        "session=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; SameSite=Lax"
    ]
    assert resp.headers["Cache-Control"] == "private"
    assert browser.jar == {}
    assert browser.get().body == b"1"


def test_removing_goes_where_setting_went() -> None:
    form = web.sessions(
        KEY, cookie="s", secure=True, domain="example.com", path="/a", same_site="Strict", http_only=False, max_age=60
    )
    browser = Browser(form, COUNT, act(lambda session: session.clear(), "/clear"))
    browser.get()
    set_line = browser.lines[0]
    assert set_line.endswith("; Max-Age=60; Path=/a; Domain=example.com; Secure; SameSite=Strict")
    browser.get("/clear")
    assert browser.lines[0].startswith("s=; Max-Age=0; ")
    assert browser.lines[0].endswith("; Path=/a; Domain=example.com; Secure; HttpOnly; SameSite=Strict")


def append(session: Session) -> object:
    session.setdefault("list", []).append({"deep": [1]})
    return None


def deepen(session: Session) -> object:
    session["list"][0]["deep"].append(2)
    return None


def test_changes_inside_of_values_are_seen() -> None:
    browser = Browser(FORM, SHOW, act(append), act(deepen, "/deepen"))
    browser.get()
    browser.get("/deepen")
    assert len(browser.lines) == 1
    assert browser.get("/show").body == b'{"list":[{"deep":[1,2]}]}'


def test_a_change_that_is_undone_is_none() -> None:
    def undo(session: Session) -> None:
        session["x"] = 1
        assert session.changed
        del session["x"]
        assert not session.changed

    browser = Browser(FORM, act(undo))
    browser.get()
    assert browser.lines == []


texts = st.text(st.characters())  # lone surrogates included, which a client's JSON may hold
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, json_values, min_size=1, max_size=4))
def test_whatever_json_says_comes_back(data: dict[str, Any]) -> None:
    found: list[dict[str, Any]] = []

    def look(session: Session) -> bool:
        found.append(dict(session))
        return session.changed

    browser = Browser(
        FORM,
        act(lambda session: session.update(data)),
        act(look, "/show"),
    )
    assert browser.get().status == 200
    assert browser.get("/show").body == b"false"
    assert found == [data]


# ---- cookies that do not count ----


def test_a_changed_cookie_is_an_empty_session(browser: Browser) -> None:
    browser.get()
    value = browser.jar["session"]
    assert browser.get("/show", f"session={value}").body == b'{"n":1}'
    forged = itsdangerous.URLSafeTimedSerializer(OTHER).dumps({"n": 9})
    for bad in ["", "x", value[1:], value[:-2], value.upper(), value + "x", "." + value, str(forged)]:
        assert browser.get("/show", f"session={bad}").body == b"{}", bad
        assert browser.lines == []


@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])))
def test_any_text_is_an_empty_session(text: str) -> None:
    fields = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: session=" + text.encode() + b"\r\n\r\n"
    try:
        req = Request(fields)
    except ValueError:
        return  # the head was refused
    assert FORM.open(req) == {}


def test_a_signed_value_that_is_no_session_is_an_empty_one() -> None:
    for value in ([1], "text", None, 7, {"x": float("nan")}):
        signed = FORM._serializer.dumps(value)
        assert Browser(FORM, SHOW).get("/show", f"session={signed}").body == b"{}"
    bad_payload = FORM._serializer.make_signer(FORM._serializer.salt).sign(b".notzlib").decode()
    assert Browser(FORM, SHOW).get("/show", f"session={bad_payload}").body == b"{}"


def test_keys_rotate() -> None:
    old, rotated, new = (Browser(web.sessions(keys), COUNT) for keys in (OLD, [KEY, OLD], KEY))
    old.get()
    rotated.jar = dict(old.jar)
    assert rotated.get().body == b"2"
    new.jar = dict(rotated.jar)
    assert new.get().body == b"3"
    new.jar = dict(old.jar)
    assert new.get().body == b"1"


def test_a_session_ends_with_its_max_age(later: Callable[[int], None]) -> None:
    browser = Browser(web.sessions(KEY, max_age=timedelta(minutes=1)), COUNT, SHOW)
    browser.get()
    assert "Max-Age=60" in browser.lines[0]
    later(59)
    assert browser.get("/show").body == b'{"n":1}'
    later(62)
    assert browser.get("/show").body == b"{}"


def test_renew_saves_what_did_not_change(later: Callable[[int], None]) -> None:
    browser = Browser(web.sessions(KEY, max_age=60), COUNT, SHOW, act(lambda session: session.renew(), "/renew"))
    browser.get("/renew")
    assert browser.lines == []  # there is nothing to renew
    browser.get()
    later(50)
    browser.get("/renew")
    assert len(browser.lines) == 1
    later(100)
    assert browser.get("/show").body == b'{"n":1}'


def test_cookies_of_other_names_and_purposes_are_not_taken(browser: Browser) -> None:
    browser.get()
    value = browser.jar["session"]
    assert Browser(web.sessions(KEY, cookie="s"), SHOW).get("/show", f"s={value}").body == b"{}"
    assert browser.get("/show", f"Session={value}").body == b"{}"


def test_a_stranger_in_front_does_not_hide_the_session(browser: Browser) -> None:
    browser.get()
    mine = f"session={browser.jar['session']}"
    assert browser.get("/show", "; ".join(["session=x"] * 3 + [mine])).body == b'{"n":1}'
    assert browser.get("/show", "; ".join(["session=x"] * 4 + [mine])).body == b"{}"  # bounded work


# ---- what cannot be saved ----


def failing(caplog: pytest.LogCaptureFixture, do: Body) -> str:
    """What the log says of the 500 that a handler's change of its session leads to."""
    browser = Browser(FORM, act(lambda session: (do(session), None)[1]))
    with caplog.at_level(logging.ERROR, "web"):
        assert browser.get().status == 500
    assert browser.lines == []
    return caplog.text


def test_too_large_is_an_error_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    noise = "".join(chr(33 + i * i * 7919 % 89) + str(i * 7919) for i in range(1500))
    said = failing(caplog, lambda session: session.update(x=noise))
    assert "req.session is too large: cookie 'session': name and value are" in said
    assert "store the data elsewhere" in said


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda session: session.update({1: 2}), "TypeError: req.session: the key 1 is int"),
        (lambda session: session.update(x=b"bytes"), "TypeError: req.session: Object of type bytes"),
        (lambda session: session.update(x=float("nan")), "ValueError: req.session: Out of range float"),
        (lambda session: session.update(x=session), "ValueError: req.session: Circular reference"),
        (lambda session: session.update(x=nested(100_000)), "; put only what JSON can say into it"),
    ],
)
def test_what_json_cannot_say_is_an_error_that_says_so(caplog: pytest.LogCaptureFixture, do: Body, said: str) -> None:
    assert said in failing(caplog, do)


def test_large_texts_are_compressed() -> None:
    large = Browser(FORM, SHOW, act(lambda session: session.update(x="text " * 4000)))
    assert large.get().status == 200
    assert large.get("/show").body == b'{"x":"' + b"text " * 4000 + b'"}'


@pytest.mark.parametrize("status", [499, 500])
def test_an_answer_of_5xx_saves_nothing(status: int) -> None:
    def fail(req: Request) -> Response:
        req.session["x"] = 1
        if status == 500:
            raise RuntimeError("on purpose")
        raise web.HTTPError(status, "on purpose")

    browser = Browser(FORM, web.GET("/", fail))
    resp = browser.get()
    assert resp.status == status
    assert len(browser.lines) == (status < 500)
    assert "Cookie" in resp.headers.get_all("Vary")


# ---- beside hooks ----


def test_every_hook_has_the_session_whatever_the_order() -> None:
    def before(req: Request) -> None:
        req.session["before"] = 1

    def after(req: Request, params: dict[str, Any], resp: Response) -> Response:
        req.session["after"] = 1
        return resp

    orders: list[list[web.app.Form]] = [
        [FORM, web.before(before), web.after(after)],
        [web.after(after), web.before(before), FORM],
    ]
    for forms in orders:
        browser = Browser(*forms, web.GET("/", lambda req: ""), SHOW)
        browser.get()
        assert browser.get("/show").body == b'{"before":1,"after":1}'
        browser.jar.clear()
        browser.get("/nowhere")
        assert browser.get("/show").body == b'{"before":1,"after":1}'


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ([], ["Cookie"]),
        (["Accept-Encoding"], ["Accept-Encoding", "Cookie"]),
        (["Accept-Encoding, COOKIE"], ["Accept-Encoding, COOKIE"]),
        (["X", "cookie "], ["X", "cookie"]),
        (["*"], ["*"]),
        (["X-Cookie"], ["X-Cookie", "Cookie"]),
    ],
)
def test_vary_is_added_once(given_: list[str], told: list[str]) -> None:
    def answer(req: Request) -> Response:
        req.session.get("x")
        return Response(headers=[("Vary", value.strip()) for value in given_])

    assert Browser(FORM, web.GET("/", answer)).get().headers.get_all("Vary") == told


def test_a_cache_control_of_the_handler_stays() -> None:
    def answer(req: Request) -> Response:
        req.session["x"] = 1
        return Response(headers={"Cache-Control": "no-store"})

    assert Browser(FORM, web.GET("/", answer)).get().headers.get_all("Cache-Control") == ["no-store"]


# ---- without the form, and forms that cannot be ----


def test_without_the_form_it_is_a_clear_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError, match="made by hand"):
        _ = Request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").session
    with caplog.at_level(logging.ERROR, "web"):
        assert Browser(COUNT).get().status == 500
    assert "RuntimeError: req.session: the App has no sessions; add the form web.sessions(key) to it" in caplog.text


def test_two_forms_are_an_error_that_shows_no_key() -> None:
    with pytest.raises(web.RouteError, match="remove one of them") as caught:
        web.App(FORM, web.sessions(OTHER, cookie="b"))
    assert KEY not in str(caught.value)
    assert OTHER not in str(caught.value)
    with pytest.raises(web.RouteError):
        web.App(web.routing.Bundle((FORM,)), FORM)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cookie": "a b"}, "a name is made of"),
        ({"cookie": "__Host-s"}, "say secure=True"),
        ({"cookie": "__Secure-s"}, "say secure=True"),
        ({"cookie": "__Host-s", "secure": False}, "needs secure=True"),
        ({"cookie": "__Host-s", "secure": True, "path": "/a"}, "leave domain and path out"),
        ({"same_site": "None"}, "say secure=True"),
        ({"same_site": "None", "secure": False}, "needs secure=True"),
        ({"same_site": "lax"}, "'Strict', 'Lax' or 'None'"),
        ({"domain": ".example.com"}, "without a dot in front"),
        ({"path": "a"}, "does not begin with '/'"),
    ],
)
def test_what_browsers_ignore_is_told_at_the_start(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        web.sessions(KEY, **options)


@pytest.mark.parametrize("options", [{"cookie": "__Host-s"}, {"same_site": "None"}])
def test_with_secure_they_are_taken(options: dict[str, Any]) -> None:
    browser = Browser(web.sessions(KEY, secure=True, **options), COUNT)
    browser.get()
    assert "; Secure" in browser.lines[0]
    assert browser.get().body == b"2"
