"""Errors over the wire: the bodies that clients ask for, and errors() where no Task and no route is at hand."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

import web
from tests.wire.clients import request
from tests.wire.sites import Serve


def told(req: web.Request, status: int, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason}


def fails(req: web.Request) -> str:
    raise ZeroDivisionError("<b>")


def test_a_problem_by_http_client() -> None:
    with web.Server(web.App(web.GET("/", lambda req: "")), "127.0.0.1", 0).running() as server:
        client = HTTPConnection("127.0.0.1", server.port, timeout=20)
        client.request("POST", "/", headers={"Accept": "application/json, */*;q=0.1"})
        answer = client.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (405, "application/problem+json")
        assert (answer.headers["Allow"], answer.headers["Vary"]) == ("GET, HEAD, OPTIONS", "Accept")
        assert json.load(answer)["title"] == "Method Not Allowed"
        client.close()


def test_a_head_request_gets_the_length_alone(serve: Serve) -> None:
    peer = serve().connect()
    answer = peer.ask("/", "HEAD", "Accept: application/json\r\n")
    assert (answer.status, answer["Content-Length"]) == (404, "55")
    assert peer.ask("/").status == 404


def test_refusals_by_the_protocol(serve: Serve) -> None:
    def mark(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return resp.with_header("X-Group", str(params["n"]))

    site = serve(
        web.group("/:n:int", web.errors(told), web.after(mark), web.POST("/", lambda req: "")), body=10, body_grace=0.1
    )
    peer = site.connect()
    peer.send(request("/5/", "POST", "Content-Length: 99\r\n"))
    large = peer.answer()
    assert (large.status, json.loads(large.body)["status"], large["X-Group"]) == (413, 413, "5")
    slow = site.connect()
    slow.send(request("/6/", "POST", "Content-Length: 9\r\n") + b"ab")
    late = slow.answer()
    assert (late.status, json.loads(late.body)["status"], late["X-Group"]) == (408, 408, "6")
    broken = site.connect()
    broken.send(request("/7/", "POST", "Transfer-Encoding: chunked\r\n") + b"x\r\n")
    refused = broken.answer()
    assert (refused.status, json.loads(refused.body)["status"], refused["X-Group"]) == (400, 400, "7")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_file_that_is_gone(serve: Serve, tmp_path: Path, is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    """No Task is at hand when the file is opened: a function that is async is left out."""

    async def told_later(req: web.Request, status: int, reason: str) -> dict[str, Any]:
        return told(req, status, reason)

    gone = web.GET("/", lambda req: web.Response.file(tmp_path / "gone"))
    peer = serve(web.group("/g", web.errors(told_later if is_async else told), gone)).connect()
    answer = peer.ask("/g/")
    assert answer.status == 404
    assert answer.body == (
        b"Not Found: the file is not there" if is_async else b'{"status":404,"reason":"the file is not there"}'
    )
    assert not caplog.records


def test_no_free_thread(serve_plain: Serve) -> None:
    """Told by errors(), with Retry-After, and seen by the hooks of the group."""
    from threading import Event, Semaphore

    opened, begun = Event(), Semaphore(0)

    def stuck(req: web.Request) -> str:
        begun.release()
        opened.wait(60)
        return "opened"

    def mark(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return resp.with_header("X-Group", "yes")

    group = web.group("/g", web.errors(told), web.after(mark), web.GET("/", stuck, blocking=True))
    site = serve_plain(group, blocking_queue=0, threads=1)
    try:
        first = site.connect()
        first.send(request("/g/"))
        assert begun.acquire(timeout=20)
        busy = site.connect().ask("/g/")
        assert (busy.status, busy["Retry-After"], busy["X-Group"]) == (503, "1", "yes")
        assert json.loads(busy.body)["status"] == 503
    finally:
        opened.set()
    assert first.answer().body == b"opened"


def test_the_page_for_developers() -> None:
    with web.Server(web.App(web.GET("/", fails)), "127.0.0.1", 0, dev=True).running() as server:
        client = HTTPConnection("127.0.0.1", server.port, timeout=20)
        client.request("GET", "/", headers={"Accept": "text/html,*/*;q=0.8"})
        answer = client.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (500, "text/html; charset=utf-8")
        page = answer.read()
        assert b"ZeroDivisionError: &lt;b&gt;" in page
        client.close()
