"""A to-do list over HTTPS: a JSON API on SQLite, and a page without a framework. README.md says what is worth copying.

Run: pip install weblatch[msgspec], then: python examples/todo/app.py   Then open https://localhost:8443/
"""

import sqlite3
import threading
from pathlib import Path
from typing import Annotated, Any, TypedDict

from msgspec import Meta, Struct

import web

HERE = Path(__file__).parent
TABLE = (
    "CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0)"
)

Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]


class NewTodo(Struct, forbid_unknown_fields=True):
    """What POST takes."""

    title: Title


class Change(Struct, forbid_unknown_fields=True):
    """What PATCH takes; what is left out stays as it is."""

    title: Title | None = None
    done: bool | None = None


class Todo(TypedDict):
    """What the API gives."""

    id: int
    title: str
    done: bool


class Store:
    """The list in SQLite. Routes run in several threads, and each thread has a connection of its own."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.own = threading.local()
        self.connections: list[sqlite3.Connection] = []

    def connection(self) -> sqlite3.Connection:
        """This thread's; each statement is a transaction and waits up to 5 seconds for another writer."""
        if not hasattr(self.own, "connection"):
            self.own.connection = sqlite3.connect(self.path, timeout=5, isolation_level=None, check_same_thread=False)
            self.connections.append(self.own.connection)
        found: sqlite3.Connection = self.own.connection
        return found

    def open(self) -> None:
        self.connection().execute("PRAGMA journal_mode = WAL")  # readers do not wait for a writer; it stays in the file
        self.connection().execute(TABLE)

    def run(self, statement: str, *values: object) -> list[Todo]:
        """Runs one statement, and gives its to-dos. It is stored when this returns."""
        rows = self.connection().execute(statement, values).fetchall()
        return [Todo(id=number, title=title, done=bool(done)) for number, title, done in rows]

    def close(self) -> None:
        """Closes the connections of all threads; no thread is in here any more."""
        while self.connections:
            self.connections.pop().close()
        self.own = threading.local()


store = Store("todos.db")
api = web.group("/api", web.csrf())  # no page of another site changes anything


@api.get("/todos", blocking=True)  # a database may wait: in a thread, not on the event loop
def todos(req: web.Request) -> list[Todo]:
    return store.run("SELECT id, title, done FROM todos ORDER BY id")


@api.post("/todos", blocking=True)
def add(req: web.Request) -> tuple[Todo, int, dict[str, str]]:
    new = req.json(type=NewTodo)  # not a NewTodo: 422, and the answer names the field
    [todo] = store.run("INSERT INTO todos (title) VALUES (?) RETURNING id, title, done", new.title)
    return todo, 201, {"Location": f"/api/todos/{todo['id']}"}


@api.patch("/todos/:id:int", blocking=True)
def change(req: web.Request, params: dict[str, Any]) -> Todo:
    to = req.json(type=Change)
    statement = (
        "UPDATE todos SET title = ifnull(?, title), done = ifnull(?, done) WHERE id = ? RETURNING id, title, done"
    )
    return one_of(store.run(statement, to.title, to.done, params["id"]), params)


@api.delete("/todos/:id:int", blocking=True)
def delete(req: web.Request, params: dict[str, Any]) -> web.Response:
    one_of(store.run("DELETE FROM todos WHERE id = ? RETURNING id, title, done", params["id"]), params)
    return web.Response.empty()


def one_of(found: list[Todo], params: dict[str, Any]) -> Todo:
    if not found:
        raise web.HTTPError(404, f"there is no to-do {params['id']}")
    return found[0]


app = web.App(
    web.security_headers(csp="default-src 'self'", hsts=None),  # hsts: not for localhost; leave it out elsewhere
    web.on_start(store.open),
    web.on_stop(store.close),
    api,
    web.static(str(HERE / "public")),
)

if __name__ == "__main__":
    certificate, key = web.dev_certificate(".dev")  # throw-away; a real one: docs/how-to/https.md
    app.serve_tls("127.0.0.1", 8443, certificate, key)
