"""web.access_log: one record for each request, whatever becomes of it; nothing that a client sends forges one."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import web
from tests.asking import ask, made
from web.access_log import Access

COMBINED = re.compile(
    r'(?P<client>\S+) - - \[(?P<time>[^]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<bytes>\d+|-) '
    r'"(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)" (?P<duration>\d+\.\d{6}|-) (?P<tls>\S+) (?P<id>\S+)'
)
FIELDS = 'Referer: https://a.example/"x"\nUser-Agent: curl/8 \\ (x)'


def broken(req: web.Request) -> str:
    raise web.HTTPError(503, "not now")


def site(*forms: web.app.Form, **options: Any) -> web.App:
    return web.App(
        web.access_log(**options),
        *forms,
        web.GET("/", lambda req: "hello"),
        web.GET("/broken", broken),
        web.GET("/empty", lambda req: web.Response.empty()),
    )


class Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """What was logged, to any logger."""
    keeper = Keeper()
    logging.getLogger().addHandler(keeper)
    with caplog.at_level(logging.INFO, logger="web.access"):
        yield keeper.records
    logging.getLogger().removeHandler(keeper)


def access(record: logging.LogRecord) -> Access:
    return cast(Access, record.access)  # type: ignore[attr-defined]


def test_combined(records: list[logging.LogRecord]) -> None:
    ask(site(web.request_id(trust=True)), "/?a=%22&b", fields=FIELDS + "\nX-Request-ID: id-1")
    (record,) = records
    assert (record.name, record.levelno) == ("web.access", logging.INFO)
    found = COMBINED.fullmatch(record.getMessage())
    assert found is not None, record.getMessage()
    when = datetime.strptime(found["time"], "%d/%b/%Y:%H:%M:%S %z")
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=5)
    assert found.group("client", "request", "status", "bytes", "referer", "agent", "tls", "id") == (
        "-", "GET /?a=%22&b HTTP/1.1", "200", "5", r"https://a.example/\x22x\x22", r"curl/8 \x5c (x)", "-", "id-1",
    )  # fmt: skip
    assert 0 <= float(found["duration"]) < 60


def test_json(records: list[logging.LogRecord]) -> None:
    ask(
        site(web.request_id(trust=True), format="json"),
        "/?a=b",
        fields=FIELDS + "\nX-Request-ID: id-1",
        host="h.example",
    )
    (record,) = records
    said = json.loads(record.getMessage())
    assert said == access(record)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(said.pop("time"))) < timedelta(minutes=5)
    assert 0 <= said.pop("duration") < 60
    assert said == {
        "client": None, "method": "GET", "target": "/?a=b", "http_version": "1.1", "host": "h.example", "status": 200,
        "bytes": 5, "referer": 'https://a.example/"x"', "user_agent": "curl/8 \\ (x)", "tls": None,
        "request_id": "id-1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "method", "status", "size"),
    [
        ("/", "GET", 200, 5),
        ("/", "HEAD", 200, 0),
        ("/empty", "GET", 204, 0),
        ("/nowhere", "GET", 404, 9),
        ("/", "DELETE", 405, 18),
        ("/", "BREW", 501, 51),
        ("/broken", "GET", 503, 7),
        ("/", "OPTIONS", 204, 0),
    ],
)
def test_one_record_for_each(
    target: str, method: str, status: int, size: int, records: list[logging.LogRecord]
) -> None:
    assert ask(site(), target, method).status == status
    (record,) = records
    one = access(record)
    assert (one["target"], one["method"], one["status"], one["bytes"]) == (target, method, status, size)
    assert one["duration"] is not None


def test_what_is_really_sent(records: list[logging.LogRecord]) -> None:
    """Hooks that were added earlier and later, and change the answer or fail, are inside."""

    def first(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return web.Response.text("first")

    def last(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        raise web.HTTPError(502, "longer than it was")

    def refuses(req: web.Request) -> str | None:
        return "refused" if req.path == "/refused" else None

    app = web.App(web.before(refuses), web.after(first), web.access_log(), web.after(last))
    ask(app, "/refused")
    (record,) = records
    assert (access(record)["status"], access(record)["bytes"]) == (502, 18)
    assert access(record)["duration"] is not None


def test_a_request_that_before_hooks_do_not_see(records: list[logging.LogRecord]) -> None:
    site()._compile().error(made(), 413, "too large")
    (record,) = records
    assert (access(record)["status"], access(record)["duration"]) == (413, None)
    assert COMBINED.fullmatch(record.getMessage())


def test_files(tmp_path: Path, records: list[logging.LogRecord]) -> None:
    """A file that is not there passes after hooks twice: once as what it was to be."""
    (tmp_path / "there").write_text("seven b")
    (tmp_path / "folder").mkdir()
    app = site(web.GET("/files/:name", lambda req, params: web.Response.file(tmp_path / params["name"])))
    compiled = app._compile()
    for name, status, size in (("there", 200, 7), ("gone", 404, None), ("folder", 404, None)):
        records.clear()
        req = made(f"/files/{name}")
        compiled.respond(req)
        if status == 404:
            compiled.error(req, 404, "the file is not there")
        (record,) = records
        assert (access(record)["status"], access(record)["bytes"]) == (status, size)


def test_another_logger_and_two_logs(records: list[logging.LogRecord], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="mine"):
        ask(site(web.access_log(format="json", logger="mine")))
    assert sorted(record.name for record in records) == ["mine", "web.access"]


def test_below_the_level_nothing_is_made(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="web.access"):
        assert ask(site()).status == 200
    assert caplog.records == []


class Failing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the disk is full")


@pytest.fixture
def failing() -> Iterator[None]:
    logger, handler = logging.getLogger("web.access"), Failing()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.usefixtures("failing")
def test_a_failing_log_hurts_no_answer(records: list[logging.LogRecord]) -> None:
    app = site()
    for _ in range(3):
        answer = ask(app)
        assert (answer.status, answer.body) == (200, b"hello")
    assert [record.getMessage() for record in records if record.name == "web"] == [
        "the access log web.access failed, and answers go on without it (told once)"
    ]


@pytest.mark.usefixtures("failing")
def test_nor_does_one_that_cannot_even_tell(monkeypatch: pytest.MonkeyPatch, records: list[logging.LogRecord]) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(logging.getLogger("web"), "error", fail)
    assert ask(site()).body == b"hello"


@pytest.mark.parametrize("form", ["combined", "json"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f") | st.just("\t")),
    target=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)),
    name=st.text(),
)
def test_nothing_forges_a_record(
    form: Any, value: str, target: str, name: str, records: list[logging.LogRecord]
) -> None:
    def sets(req: web.Request) -> None:
        req.state.request_id = name.replace(" ", "") or "x"

    try:
        req = made("/" + target, fields=f"User-Agent: {value}\nReferer: {value}")
    except ValueError:  # the parser refuses it before any hook
        return
    records.clear()
    site(web.before(sets), format=form)._compile().respond(req)
    (record,) = records
    line = record.getMessage()
    assert re.fullmatch(r"[ -~]+", line), "one line of printable ASCII"
    if form == "combined":
        assert COMBINED.fullmatch(line), line
    else:
        assert json.loads(line)["user_agent"] == req.header("user-agent")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"format": "common"}, "give 'combined' or 'json'"), ({"logger": ""}, "give a name, like 'web.access'")],
)
def test_start_up_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(web.RouteError, match=message):
        web.access_log(**options)
