"""examples/chat as its reader would run it, over HTTPS: by a client of another library, and by a real browser."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.browser import Page
from tests.examples import EXAMPLES, running
from tests.redis_server import RedisServer, find_program
from tests.taking_turns import in_turns
from tests.wire.clients import eventually

PUBLIC = EXAMPLES / "chat/public"


class Chat:
    """The running example, and clients of it."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.url = url
        self.trust = ssl.create_default_context(cafile=folder / ".dev/dev-cert.pem")
        self.stack = stack

    def path(self, name: str, room: str) -> str:
        return f"{self.url.replace('https', 'wss', 1).rstrip('/')}/rooms/{quote(room, safe='')}?name={quote(name)}"

    def open(self, name: str, room: str, origin: str | None = None) -> ClientConnection:
        opening = connect(self.path(name, room), ssl=in_turns(self.trust), proxy=None, origin=origin)  # type: ignore[arg-type]
        own: ClientConnection = self.stack.enter_context(opening)
        return own

    def enter(self, name: str, room: str) -> ClientConnection:
        """One who is in a room and has heard so."""
        own = self.open(name, room)
        assert hear(own) == {"kind": "joined", "name": name}
        return own

    def get(self, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        place = urlsplit(self.url)
        connection = http.client.HTTPSConnection(place.hostname or "", place.port, timeout=60, context=self.trust)
        with closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()


def hear(own: ClientConnection) -> object:
    return json.loads(own.recv(30))


def said(name: str, text: str) -> dict[str, str]:
    return {"kind": "said", "name": name, "text": text}


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    with running("chat/app.py", tmp_path) as url, ExitStack() as stack:
        yield Chat(url, tmp_path, stack)


# ---- without a browser ----


def test_a_room_hears_its_own_and_nobody_else(chat: Chat) -> None:
    ann, eve = chat.enter("Ann", "tea room"), chat.enter("Eve", "Büro/2")
    bob = chat.enter("Bob", "tea room")
    assert hear(ann) == {"kind": "joined", "name": "Bob"}
    ann.send("Grüße, <b>Bob</b>")
    assert hear(ann) == hear(bob) == said("Ann", "Grüße, <b>Bob</b>")
    eve.send("nobody is here")
    assert hear(eve) == said("Eve", "nobody is here")
    bob.close()
    assert hear(ann) == {"kind": "left", "name": "Bob"}
    ann.send("alone")
    assert hear(ann) == said("Ann", "alone")


def test_one_that_vanishes_has_left(chat: Chat) -> None:
    ann, bob = chat.enter("Ann", "a"), chat.enter("Bob", "a")
    assert hear(ann) == {"kind": "joined", "name": "Bob"}
    bob.close_socket()
    assert hear(ann) == {"kind": "left", "name": "Bob"}


@pytest.mark.parametrize(("name", "room"), [("", "a"), ("  ", "a"), ("n" * 41, "a"), ("Ann", "r" * 41), ("Ann", " ")])
def test_who_has_no_name_is_refused(chat: Chat, name: str, room: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        chat.open(name, room)
    assert refused.value.response.status_code == 400


def test_a_page_of_another_site_is_refused(chat: Chat) -> None:
    with pytest.raises(InvalidStatus) as refused:
        chat.open("Ann", "a", origin="https://evil.example")
    assert refused.value.response.status_code == 403
    chat.open("Ann", "a", origin=chat.url.rstrip("/"))


@pytest.mark.parametrize(("message", "code"), [("", 1008), ("x" * 2001, 1008), (b"bytes", 1008), ("x" * 8001, 1009)])
def test_what_is_no_message_ends_it(chat: Chat, message: str | bytes, code: int) -> None:
    ann, bob = chat.enter("Ann", "a"), chat.enter("Bob", "a")
    hear(ann)
    bob.send("x" * 2000)
    assert hear(ann) == hear(bob) == said("Bob", "x" * 2000)
    bob.send(message)
    with pytest.raises(ConnectionClosedError) as ended:
        bob.recv(30)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == code
    assert hear(ann) == {"kind": "left", "name": "Bob"}


def test_files_and_policy(chat: Chat) -> None:
    for name in ("index.html", "app.js", "style.css", "icon.svg"):
        status, headers, body = chat.get(f"/{name}")
        assert (status, body) == (200, (PUBLIC / name).read_bytes())
        assert str(headers["Content-Security-Policy"]).startswith("default-src 'self';")
    assert chat.get("/app.py")[0] == 404
    assert chat.get("/rooms/a?name=Ann")[0] == 426  # it is no page


def test_it_is_short() -> None:
    assert len((EXAMPLES / "chat/app.py").read_text().splitlines()) < 100


def test_two_of_them_share_rooms_through_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = RedisServer(find_program(), tmp_path)
    redis.start()
    monkeypatch.setenv("REDIS_URL", redis.url)
    try:
        with (
            running("chat/app.py", tmp_path) as one,
            running("chat/app.py", tmp_path) as two,
            ExitStack() as stack,
        ):
            ann = Chat(one, tmp_path, stack).enter("Ann", "a")
            bob = Chat(two, tmp_path, stack).open("Bob", "a")
            entered = {"kind": "joined", "name": "Bob"}
            assert hear(bob) == entered or hear(bob) == entered  # Ann's entering may still have been on its way
            assert hear(ann) == {"kind": "joined", "name": "Bob"}
            ann.send("hello")
            assert hear(ann) == hear(bob) == said("Ann", "hello")
    finally:
        redis.kill()


# ---- the page ----


def enter(page: Page, name: str, room: str) -> None:
    """Types name and room, and waits until it is in."""
    page.type_text("#entrance [name=who]", name)
    page.type_text("#entrance [name=room]", room)
    page.click("#entrance button")
    shows(page, f"{name} joined")


def say(page: Page, text: str) -> None:
    page.type_text("#say input", text)
    page.press_enter()


def lines(page: Page) -> list[str]:
    return page.texts("#lines li")


def shows(page: Page, line: str) -> None:
    page.wait_for(f"document.querySelector('#lines').lastElementChild?.textContent === {json.dumps(line)}")


def test_two_tabs_talk_in_a_room_and_a_third_elsewhere(chat: Chat, page: Page) -> None:
    bob, eve = page.browser.open_page(beside=page), page.browser.open_page(beside=page)
    for tab in (page, bob, eve):
        tab.goto(chat.url)
    enter(page, "Ann", "tea room")
    enter(eve, "Eve", "Büro/2")
    enter(bob, "Bob", " tea room ")
    shows(page, "Bob joined")
    assert page.texts("#where") == ["tea room"]
    assert page.texts("#state") == ["connected"]
    say(page, "hello")
    say(bob, "hello, Ann")
    for tab in (page, bob):
        shows(tab, "Bob: hello, Ann")
    assert lines(page) == ["Ann joined", "Bob joined", "Ann: hello", "Bob: hello, Ann"]
    assert lines(bob) == ["Bob joined", "Ann: hello", "Bob: hello, Ann"]
    assert page.evaluate("document.querySelector('#say input').value") == ""
    say(eve, "alone")
    shows(eve, "Eve: alone")
    assert lines(eve) == ["Eve joined", "Eve: alone"]
    bob.close()
    shows(page, "Bob left")
    assert page.errors + eve.errors == []
    eve.close()


def test_a_reload_comes_back_and_leaving_does_not(chat: Chat, page: Page) -> None:
    ann = chat.enter("Ann", "a")
    page.goto(chat.url)
    enter(page, "Bob", "a")
    assert hear(ann) == {"kind": "joined", "name": "Bob"}
    page.reload()
    shows(page, "Bob joined")
    assert [hear(ann), hear(ann)] == [{"kind": "left", "name": "Bob"}, {"kind": "joined", "name": "Bob"}]
    say(page, "here again")
    assert hear(ann) == said("Bob", "here again")
    page.click("#leave")
    assert hear(ann) == {"kind": "left", "name": "Bob"}
    assert page.evaluate("document.querySelector('#inside').hidden && !document.querySelector('#entrance').hidden")
    page.reload()
    assert page.evaluate("document.querySelector('#inside').hidden")
    enter(page, "Bob", "b")
    ann.send("nobody is here")
    assert hear(ann) == said("Ann", "nobody is here")
    assert page.errors == []


def test_a_lost_connection_is_made_again(chat: Chat, page: Page) -> None:
    ann = chat.enter("Ann", "a")
    page.goto(chat.url)
    enter(page, "Bob", "a")
    hear(ann)
    page.evaluate("socket.close(4000)")
    assert [hear(ann), hear(ann)] == [{"kind": "left", "name": "Bob"}, {"kind": "joined", "name": "Bob"}]
    page.wait_for("document.querySelector('#state').textContent === 'connected'")
    ann.send("are you here?")
    shows(page, "Ann: are you here?")
    assert lines(page) == ["Bob joined", "Bob joined", "Ann: are you here?"]
    assert page.errors == []


def test_names_and_texts_are_text(chat: Chat, page: Page) -> None:
    name, text = "<i>Bob</i><img src=x>", "<img src=x onerror=alert(1)><b>bold</b>"
    page.goto(chat.url)
    enter(page, name, "<u>room</u>")
    say(page, text)
    shows(page, f"{name}: {text}")
    assert page.texts("#where") == ["<u>room</u>"]
    assert page.evaluate("document.querySelectorAll('main i, main img, main u, #lines b > *, #lines b b').length") == 0
    assert page.errors == []


def test_the_page_connects_to_its_own_server_alone(chat: Chat, page: Page) -> None:
    page.goto(chat.url)
    page.evaluate("void new WebSocket('wss://localhost:1/rooms/a?name=b')")
    eventually(lambda: page.evaluate("true") and page.errors, "the browser refuses")
    assert "Content Security Policy" in page.errors[0]
