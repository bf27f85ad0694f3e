"""The applications of tests/types, which `make lint` gives to mypy: what types accept works, and the rest is refused.

The marks in bad_apps.py are mypy's affair; here each mistake is shown to be one at run time.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

import web
from tests.types import bad_apps, good_app
from web.routing import After, Before
from web.testing import Client

MISTAKES = {
    name: make
    for name, make in vars(bad_apps).items()
    if inspect.isfunction(make) and not inspect.signature(make).parameters
}


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/text", 200, "text"),
        ("GET", "/data", 200, "data"),
        ("GET", "/typed_dict", 200, '{"name":"a"}'),
        ("GET", "/listed", 200, '[{"name":"a"}]'),
        ("GET", "/listed?bad=1", 400, "Bad Request"),
        ("GET", "/with_status", 201, '{"a":1}'),
        ("PUT", "/with_headers", 201, '{"name":"a"}'),
        ("PATCH", "/response", 200, "<p>hello"),
        ("DELETE", "/several", 200, "one"),
        ("GET", "/rows", 200, "ab"),
        ("GET", "/pieces", 200, "a"),
        ("GET", "/later_rows", 200, "a"),
        ("GET", "/later", 200, '{"later":true}'),
        ("GET", "/later/5", 202, "5"),
        ("GET", "/with_params/5", 200, "5"),
        ("GET", "/with_default", 200, "hello"),
        ("GET", "/bound", 200, "hello"),
        ("GET", "/method", 200, "method"),
        ("GET", "/call", 200, "call"),
        ("GET", "/lambda", 200, "/lambda"),
        ("GET", "/lambda/5", 200, '{"id":"5"}'),
        ("GET", "/limited", 200, '{"later":true}'),
        ("GET", "/traced", 200, "text"),
        ("POST", "/both", 200, "text"),
        ("GET", "/inner/text", 200, "text"),
        ("GET", "/inner/text?bad=1", 400, "Bad Request"),
        ("GET", "/nothing", 404, '{"status":404,"reason":"Not Found"}'),
        ("GET", "/inner/nothing", 404, "Not Found"),
        ("GET", "/decorated", 203, "[1]"),
        ("POST", "/bodies", 200, '{"title":"a"}'),
    ],
)
def test_what_types_accept_works(method: str, path: str, status: int, text: str) -> None:
    with Client(good_app.app) as client:
        reply = client.request(method, path, content=b'{"title": "a"}' if path == "/bodies" else None)
    assert (reply.status_code, reply.text) == (status, text)
    assert reply.headers["X-Stamp"] == "yes"


def ask(make: Callable[[], object]) -> None:
    """Serves what a function of bad_apps gives."""
    form = make()
    if isinstance(form, (Before, After)):
        form = web.App(form, web.GET("/", bad_apps.good))
    app = form if isinstance(form, web.App) else web.App(form)  # type: ignore[arg-type]
    with Client(app) as client:
        client.request("GET", "/", content=bad_apps.BODY)


@pytest.mark.parametrize("make", [make for name, make in MISTAKES.items() if not name.startswith("unchecked_")])
def test_what_types_refuse_is_refused(make: Callable[[], object]) -> None:
    """At start-up, or by what the handler or hook raises when it is asked."""
    with pytest.raises((web.RouteError, TypeError, AttributeError)):
        ask(make)


@pytest.mark.parametrize("make", [make for name, make in MISTAKES.items() if name.startswith("unchecked_")])
def test_annotations_are_not_looked_at(make: Callable[[], object]) -> None:
    form = make()
    if not isinstance(form, web.App):
        web.App(form)  # type: ignore[arg-type]


def test_each_mistake_is_marked() -> None:
    """So that mypy is asked about each: with `warn_unused_ignores` a mark that marks nothing is an error."""
    for name, make in MISTAKES.items():
        marks = re.findall(r"# type: ignore\[[a-z-]+(?:, no-any-return)?\]", inspect.getsource(make))
        assert len(marks) == (0 if name.startswith("unseen_") else 1), name
    assert len(MISTAKES) > 40
