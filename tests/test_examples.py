"""Every example is run as its reader would run it, fetched from, and ended by Ctrl-C. Only its port is any free one."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.examples import EXAMPLES, running


def fetch(url: str, context: ssl.SSLContext | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    """(status, text, headers)."""
    request = Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urlopen(request, timeout=60, context=context) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


def test_hello(tmp_path: Path) -> None:
    with running("hello.py", tmp_path) as url:
        assert fetch(url + "/")[:2] == (200, "Hello, World!\n")
        assert fetch(url + "/nothing")[0] == 404


def test_https(tmp_path: Path) -> None:
    with running("https.py", tmp_path) as url:
        trust = ssl.create_default_context(cafile=tmp_path / ".dev/dev-cert.pem")
        status, text, _ = fetch(url + "/", trust)
        assert status == 200
        assert text.startswith("TLSv1.3 with TLS_")


def test_params_and_hooks(tmp_path: Path) -> None:
    with running("params_and_hooks.py", tmp_path) as url:
        status, text, headers = fetch(url + "/users/7", X_Token="secret")
        assert (status, text) == (200, '{"id":7,"name":"Ada"}')
        assert headers["Cache-Control"] == "no-store"
        assert fetch(url + "/users/9", X_Token="secret")[:2] == (404, "there is no user 9")
        assert fetch(url + "/users/ada", X_Token="secret")[0] == 404
        status, text, headers = fetch(url + "/users/7")
        assert (status, text) == (401, "Send X-Token: secret\n")
        assert headers["Cache-Control"] == "no-store"


def test_files(tmp_path: Path) -> None:
    with running("files.py", tmp_path) as url:
        status, text, headers = fetch(url + "/")
        assert (status, text) == (200, (EXAMPLES / "public/index.html").read_text())
        assert headers["Content-Type"].startswith("text/html")
        assert fetch(url + "/style.css")[1] == (EXAMPLES / "public/style.css").read_text()
        status, text, headers = fetch(url + "/source")
        assert (status, text) == (200, (EXAMPLES / "files.py").read_text())
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        assert fetch(url + "/../files.py")[0] == 404


def test_workers(tmp_path: Path) -> None:
    with running("workers.py", tmp_path) as url:
        answers = [json.loads(fetch(url + "/")[1]) for _ in range(100)]
        assert len({answer["master"] for answer in answers}) == 1
        last = {answer["worker"]: answer["answers"] for answer in answers}
        assert len(last) == 2
        assert sum(last.values()) == 100


def test_events(tmp_path: Path) -> None:
    with running("events.py", tmp_path) as url:
        assert "EventSource" in fetch(url + "/")[1]
        for came, number in (("", 1), ("41", 42)):
            request = Request(url + "/events", headers={"Last-Event-ID": came} if came else {})
            with urlopen(request, timeout=60) as answer:
                told = [answer.readline() for _ in range(5)][2:]
            assert told == [b"event: second\n", b"id: %d\n" % number, b'data: {"number":%d}\n' % number]


def test_embed_asyncio(tmp_path: Path) -> None:
    with running("embed_asyncio.py", tmp_path) as url:
        for _ in range(3):  # a connection each: the listener stays watched
            status, text, _ = fetch(url + "/")
            assert status == 200
            assert text.endswith(" seconds\n")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_each_is_short_and_tested(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 40
    assert f'running("{example.name}"' in Path(__file__).read_text()
