"""examples/todo as its reader would run it, over HTTPS: the API by http.client, the page by a real browser."""

from __future__ import annotations

import http.client
import json
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser import Page
from tests.examples import EXAMPLES, running

PUBLIC = EXAMPLES / "todo/public"


class Api:
    """Asks the API in a folder's running example, each time on a connection of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.trust = ssl.create_default_context(cafile=folder / ".dev/dev-cert.pem")
        self.headers: dict[str, str] = {}  # of the last answer

    def ask(self, method: str, path: str, body: object = None, **fields: str) -> tuple[int, Any]:
        """(status, what the JSON says; None: no body)."""
        place = urlsplit(self.url)
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Accept": "application/json"} | {name.replace("_", "-"): value for name, value in fields.items()}
        connection = http.client.HTTPSConnection(place.hostname or "", place.port, timeout=60, context=self.trust)
        with closing(connection):
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            self.headers = dict(answer.getheaders())
            text = answer.read()
            return answer.status, json.loads(text) if "json" in self.headers.get("Content-Type", "") else text or None

    def stored(self) -> list[tuple[int, str, int]]:
        """What the file holds, past the server."""
        with closing(sqlite3.connect(self.folder / "todos.db")) as connection:
            return connection.execute("SELECT id, title, done FROM todos ORDER BY id").fetchall()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running("todo/app.py", tmp_path) as url:
        yield Api(url, tmp_path)


# ---- the API ----


def test_a_todo_is_added_changed_and_deleted(api: Api) -> None:
    assert api.ask("GET", "/api/todos") == (200, [])
    assert api.ask("POST", "/api/todos", {"title": "Milk"}) == (201, {"id": 1, "title": "Milk", "done": False})
    assert api.headers["Location"] == "/api/todos/1"
    api.ask("POST", "/api/todos", {"title": "Brot & Käse"})
    assert api.ask("PATCH", "/api/todos/1", {"done": True}) == (200, {"id": 1, "title": "Milk", "done": True})
    assert api.ask("PATCH", "/api/todos/1", {"title": "Oat milk"}) == (
        200,
        {"id": 1, "title": "Oat milk", "done": True},
    )
    assert api.ask("PATCH", "/api/todos/1", {"done": False})[1]["done"] is False
    assert api.ask("PATCH", "/api/todos/1", {}) == (200, {"id": 1, "title": "Oat milk", "done": False})
    assert api.stored() == [(1, "Oat milk", 0), (2, "Brot & Käse", 0)]
    assert api.ask("DELETE", "/api/todos/1") == (204, None)
    assert api.ask("GET", "/api/todos") == (200, [{"id": 2, "title": "Brot & Käse", "done": False}])
    assert api.stored() == [(2, "Brot & Käse", 0)]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/api/todos", {}, 422, "missing required field `title`"),
        ("POST", "/api/todos", {"title": 5}, 422, "Expected `str`, got `int` - at `$.title`"),
        ("POST", "/api/todos", {"title": ""}, 422, "`$.title`"),
        ("POST", "/api/todos", {"title": "  "}, 422, "`$.title`"),
        ("POST", "/api/todos", {"title": "x" * 201}, 422, "`$.title`"),
        ("POST", "/api/todos", {"title": "a", "id": 7}, 422, "unknown field `id`"),
        ("POST", "/api/todos", b"title=a", 400, "the body is not JSON"),
        ("PATCH", "/api/todos/1", {"done": "yes"}, 422, "Expected `bool | null`, got `str` - at `$.done`"),
        ("PATCH", "/api/todos/1", {"title": " "}, 422, "`$.title`"),
        ("PATCH", "/api/todos/9", {"done": True}, 404, "there is no to-do 9"),
        ("DELETE", "/api/todos/9", None, 404, "there is no to-do 9"),
    ],
)
def test_what_is_refused_says_why_and_changes_nothing(
    api: Api, method: str, path: str, body: object, status: int, words: str
) -> None:
    api.ask("POST", "/api/todos", {"title": "Milk"})
    found, problem = api.ask(method, path, body)
    assert found == status
    assert words in problem["detail"]
    assert api.stored() == [(1, "Milk", 0)]


def test_other_sites_change_nothing(api: Api) -> None:
    api.ask("POST", "/api/todos", {"title": "Milk"})
    for fields in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert api.ask("POST", "/api/todos", {"title": "Spam"}, **fields)[0] == 403
        assert api.ask("PATCH", "/api/todos/1", {"done": True}, **fields)[0] == 403
        assert api.ask("DELETE", "/api/todos/1", **fields)[0] == 403
    assert api.stored() == [(1, "Milk", 0)]
    assert api.ask("POST", "/api/todos", {"title": "Bread"}, Origin=api.url)[0] == 201


def test_every_answer_has_the_headers_of_security(api: Api) -> None:
    for path in ("/", "/app.js", "/api/todos", "/nothing"):
        api.ask("GET", path)
        assert api.headers["Content-Security-Policy"] == "default-src 'self'"
        assert api.headers["X-Content-Type-Options"] == "nosniff"
        assert api.headers["X-Frame-Options"] == "DENY"
        assert "Strict-Transport-Security" not in api.headers  # it would be for all of localhost


def test_the_files_are_those_of_the_folder(api: Api) -> None:
    for name in ("index.html", "app.js", "style.css", "icon.svg"):
        assert api.ask("GET", f"/{name}")[1] == (PUBLIC / name).read_bytes()
    assert api.ask("GET", "/")[1] == (PUBLIC / "index.html").read_bytes()
    assert api.ask("GET", "/app.py")[0] == 404
    assert api.ask("GET", "/todos.db")[0] == 404


def test_many_at_once_lose_nothing(api: Api) -> None:
    """Several threads of the server write to one file."""
    statuses: list[int] = []

    def add(number: int) -> None:
        one = Api(api.url, api.folder)
        statuses.extend(one.ask("POST", "/api/todos", {"title": f"{number} {more}"})[0] for more in range(5))

    threads = [threading.Thread(target=add, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * 40
    wanted = sorted(f"{number} {more}" for number in range(8) for more in range(5))
    assert sorted(title for _, title, _ in api.stored()) == wanted
    with closing(sqlite3.connect(api.folder / "todos.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_the_list_survives_a_restart(tmp_path: Path) -> None:
    with running("todo/app.py", tmp_path) as url:
        Api(url, tmp_path).ask("POST", "/api/todos", {"title": "Milk"})
        Api(url, tmp_path).ask("PATCH", "/api/todos/1", {"done": True})
    assert not (tmp_path / "todos.db-wal").exists()  # every connection was closed
    with running("todo/app.py", tmp_path) as url:
        assert Api(url, tmp_path).ask("GET", "/api/todos") == (200, [{"id": 1, "title": "Milk", "done": True}])


# ---- the page ----

SHOWN = """[...document.querySelectorAll("#todos li")].map(line =>
    [line.querySelector("span").textContent, line.querySelector("input").checked])"""


def shown(page: Page) -> list[tuple[str, int]]:
    return [(title, int(done)) for title, done in page.evaluate(SHOWN)]


def add(page: Page, title: str, *, by_key: bool = False) -> None:
    """Types a new to-do and waits until it is in the list."""
    lines = len(shown(page))
    page.type_text("#new input", title)
    if by_key:
        page.press_enter()
    else:
        page.click("#new button")
    page.wait_for(f"document.querySelectorAll('#todos li').length === {lines + 1}")


def test_what_is_clicked_is_stored_and_there_after_a_reload(api: Api, page: Page) -> None:
    page.goto(api.url)
    assert page.evaluate("document.title") == "To do"
    assert page.evaluate("getComputedStyle(document.querySelector('#nothing')).display") == "block"
    add(page, "Milk")
    add(page, "Bread", by_key=True)
    add(page, "  Käse  ")
    assert page.evaluate("document.querySelector('#new input').value") == ""
    assert page.evaluate("getComputedStyle(document.querySelector('#nothing')).display") == "none"
    page.click("#todos li:nth-child(2) input")
    page.wait_for("document.querySelector('#todos li:nth-child(2)').classList.contains('done')")
    page.click("#todos li:nth-child(3) input")
    page.wait_for("document.querySelector('#todos li:nth-child(3)').classList.contains('done')")
    page.click("#todos li:nth-child(3) input")
    page.wait_for("!document.querySelector('#todos li:nth-child(3)').classList.contains('done')")
    page.click("#todos li:nth-child(1) button")
    page.wait_for("document.querySelectorAll('#todos li').length === 2")
    assert shown(page) == [("Bread", 1), ("Käse", 0)]
    page.reload()
    page.wait_for("document.querySelectorAll('#todos li').length > 0")
    assert shown(page) == [("Bread", 1), ("Käse", 0)] == [(title, done) for _, title, done in api.stored()]
    assert page.errors == []


def test_two_tabs_see_one_list(api: Api, page: Page) -> None:
    page.goto(api.url)
    add(page, "Milk")
    other = page.browser.open_page(beside=page)
    other.goto(api.url)
    other.wait_for("document.querySelectorAll('#todos li').length === 1")
    other.click("#todos input")
    other.wait_for("document.querySelector('#todos .done')")
    page.reload()
    page.wait_for("document.querySelector('#todos .done')")
    assert shown(page) == shown(other) == [("Milk", 1)]
    assert page.errors + other.errors == []
    other.close()


def test_what_people_write_is_text(api: Api, page: Page) -> None:
    title = "<img src=x onerror=alert(1)><b>bold</b>"
    page.goto(api.url)
    add(page, title)
    page.reload()
    page.wait_for("document.querySelector('#todos li')")
    assert shown(page) == [(title, 0)]
    assert page.evaluate("document.querySelectorAll('#todos b, #todos img').length") == 0
    assert page.errors == []


def test_what_the_api_refuses_is_told(api: Api, page: Page) -> None:
    page.goto(api.url)
    add(page, "Milk")
    api.ask("DELETE", "/api/todos/1")
    page.click("#todos input")
    page.wait_for("document.querySelector('#problem').textContent")
    assert page.texts("#problem") == ["there is no to-do 1"]
    assert shown(page) == [("Milk", 0)]
    assert [error for error in page.errors if "404" not in error] == []
    assert len(page.errors) == 1


def test_no_script_runs_that_is_no_file_of_ours(api: Api, page: Page) -> None:
    page.goto(api.url)
    page.evaluate(
        """(() => {
            const script = document.createElement("script");
            script.textContent = "window.foreign = 1";
            document.head.append(script);
        })()"""
    )
    assert page.evaluate("window.foreign === undefined")
    assert len(page.errors) == 1
    assert "Content Security Policy" in page.errors[0]


def test_what_is_added_before_the_list_is_here_stays_in_it(api: Api, page: Page) -> None:
    """The list is fetched while it is empty, and held back until something was added: that is not shown before it."""
    page.command(
        "Page.addScriptToEvaluateOnNewDocument",
        source="""
            const real = window.fetch, order = [];
            window.fetch = async (path, options) => {
                if (options.method !== "GET") {
                    order.push(options.method);
                    return real(path, options);
                }
                const answer = await real(path, options);
                await new Promise((done) => window.release = done);
                order.push("GET");
                return answer;
            };""",
    )
    page.goto(api.url)
    page.wait_for("window.release")
    page.type_text("#new input", "Milk")
    page.press_enter()
    page.evaluate("window.release()")
    page.wait_for("document.querySelectorAll('#todos li').length === 1")
    assert page.evaluate("order") == ["GET", "POST"]
    assert shown(page) == [("Milk", 0)]
    assert page.errors == []
