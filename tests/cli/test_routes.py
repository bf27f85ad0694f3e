"""``web routes``: what an application answers, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command

APP = """
import web
def home(req): return ""
def user(req, params): return ""
async def chat(ws): pass
app = web.App(
    web.GET("/", home),
    web.static("public", at="/files"),
    web.group("/users", web.route(["GET", "PUT"], "/:id:int", user, name="user")),
    web.WS("/chat", chat),
)
"""


def test_for_people(command: Command, here: Path) -> None:
    (here / "app.py").write_text(APP)
    (here / "public").mkdir()
    said = command("routes", "app")
    assert (said.code, said.err) == (0, "")
    assert [line.split() for line in said.out.splitlines()] == [
        ["METHODS", "PATTERN", "HANDLER", "NAME"],
        ["GET", "/", "app.home"],
        ["GET", "PUT", "/users/:id:int", "app.user", "user"],
        ["GET", "/chat", "app.chat"],
        ["GET", "HEAD", "/files/*", "static('public')"],
    ]


def test_for_programs(command: Command, here: Path) -> None:
    (here / "app.py").write_text(APP)
    (here / "public").mkdir()
    said = command("routes", "app.py:app", "--json")
    rows = json.loads(said.out)
    assert rows[1] == {"methods": "GET PUT", "pattern": "/users/:id:int", "handler": "app.user", "name": "user"}
    assert len(rows) == 4


def test_what_the_program_prints_is_none_of_it(command: Command, here: Path) -> None:
    (here / "app.py").write_text("import web\nprint('hello')\napp = web.App()\n")
    said = command("routes", "app", "--json")
    assert json.loads(said.out) == []
    assert said.err == "hello\n"
