"""req.json(type=...) against a running server, plain and under TLS, in every way handlers run; http.client asks."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

import web
from tests.wire.sites import Serve, Site


@dataclass
class Note:
    title: str
    lines: list[str]


def keep(req: web.Request) -> tuple[dict[str, Any], int]:
    note = req.json(type=Note)
    assert type(note) is Note
    return {"title": note.title, "lines": len(note.lines)}, 201


async def keep_async(req: web.Request) -> tuple[dict[str, Any], int]:
    return keep(req)


def post(site: Site, path: str, body: bytes) -> tuple[int, str]:
    """(status, text)."""
    connection: http.client.HTTPConnection
    if site.certificate is None:
        connection = http.client.HTTPConnection("localhost", site.server.port, timeout=20)
    else:
        connection = http.client.HTTPSConnection(
            "localhost", site.server.port, timeout=20, context=site.certificate.client
        )
    with closing(connection):
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize("size", [1, 50_000])  # the second lies in a file
def test_in_every_way(serve: Serve, size: int) -> None:
    site = serve(
        web.POST("/loop", keep), web.POST("/thread", keep, blocking=True), web.POST("/task", keep_async)
    )  # fmt: skip
    lines = [f"line {number}" for number in range(size)]
    for path in ("/loop", "/thread", "/task"):
        sent = {"title": "ü", "lines": lines}
        assert post(site, path, json.dumps(sent).encode()) == (201, f'{{"title":"ü","lines":{size}}}')
        status, text = post(site, path, json.dumps({**sent, "lines": [*lines, 5]}).encode())
        assert (status, text) == (
            422, f"the body is not what is expected: Expected `str`, got `int` - at `$.lines[{size}]`"
        )  # fmt: skip
        status, text = post(site, path, json.dumps(sent).encode()[:-1])
        assert (status, text[:23]) == (400, "the body is not JSON: I")


def test_the_place_stands_in_problem_json_and_in_the_applications_form(serve: Serve) -> None:
    def form(req: web.Request, status: int, reason: str) -> dict[str, Any]:
        return {"error": status, "why": reason}

    site = serve(web.POST("/", keep), web.group("/own", web.errors(form), web.POST("/", keep)))
    peer = site.connect()
    answer = peer.ask("/", "POST", "Accept: application/json\r\n", b'{"title": 1, "lines": []}')
    assert (answer.status, answer["Content-Type"]) == (422, "application/problem+json")
    told = json.loads(answer.body)
    assert told["detail"] == "the body is not what is expected: Expected `str`, got `int` - at `$.title`"
    answer = peer.ask("/own/", "POST", "", b'{"title": "a"}')
    assert json.loads(answer.body) == {
        "error": 422,
        "why": "the body is not what is expected: Object missing required field `lines`",
    }
