"""``access_log()``: one record for each request that the application was asked, by the standard library's ``logging``.

The before hook notes when it began, the after hook writes the record. The first is outer and the second final: the time
is that of all hooks and the handler, the status the one that is sent. A file that turns out to be missing passes after
hooks twice (as it was meant, then as 404): the record foresees that from the file system, and the second pass writes
none. Where the client went away before there was an answer, `left` writes it, with status 499.

Invariants: what a client sent never forges a record, nor a terminal's commands: whatever is not printable ASCII is
escaped, in JSON, too. Nothing that the log does reaches the answer: its first failure is told to the logger ``web``.
"""

import json
import logging
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Literal, TypedDict

from web._core import Request, Response
from web.connection import Tls
from web.errors import RouteError
from web.routing import After, Before, Bundle

__all__ = ["Access", "access_log"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # in no language's own
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # all but printable ASCII, and the quotation mark and the backslash
_SLOTS = count()
_CLIENT_LEFT = 499  # nginx's number, and that of those who read its logs: no client is ever sent it


class Access(TypedDict):
    """What one record says; the attribute ``access`` of the LogRecord."""

    time: str
    """When the record was written: RFC 3339, UTC, milliseconds."""
    client: str | None
    """The address of the client; None for a Unix socket."""
    method: str
    target: str
    """Path and query as they were received."""
    http_version: str
    host: str
    status: int
    """As sent. 499: nothing was, because the client went away."""
    bytes: int | None
    """Of the body, as it was sent (none for HEAD); None when not known."""
    duration: float | None
    """Seconds in the application; None when it was not asked (a body that was refused)."""
    referer: str | None
    user_agent: str | None
    tls: str | None
    """Like "TLSv1.3"; None on plain HTTP."""
    request_id: str | None


def access_log(format: Literal["combined", "json"] = "combined", logger: str = "web.access") -> Bundle:  # noqa: A002
    """Log each request at level INFO.

    ``format``: "combined", which is that of Apache and nginx and three fields more (duration in seconds, TLS version,
    request id), or "json", one object a line. ``logger``: a name. RouteError: another format, no name.
    """
    if format not in _FORMATS:
        raise RouteError(f"access_log(...): format={format!r}: give 'combined' or 'json'")
    if logger == "":
        raise RouteError(f"access_log(...): logger={logger!r}: give a name, like 'web.access'")
    log = _Log(logging.getLogger(logger), _FORMATS[format])
    return Bundle((Before(log.begin, outer=True), After(log.end, final=True, left=log.left)))


class _Log:
    """One access log. It keeps one attribute of its own in ``req.state``: when the request began; None: it is told."""

    def __init__(self, logger: logging.Logger, line_of: Callable[[Access], str]) -> None:
        self._logger = logger
        self._line_of = line_of
        self._slot = f"_access_log_{next(_SLOTS)}"
        self._failed = False

    def begin(self, req: Request) -> None:
        setattr(req.state, self._slot, time.monotonic_ns())

    def end(self, req: Request, params: dict[str, Any], resp: Response) -> Response:
        self._try(req, resp)
        return resp

    def left(self, req: Request) -> None:
        self._try(req, None)

    def _try(self, req: Request, resp: Response | None) -> None:
        try:
            if self._logger.isEnabledFor(logging.INFO):
                self._write(req, resp)
        except Exception as error:  # noqa: BLE001 - a log that fails does not decide how a request is answered
            self._tell(error)

    def _write(self, req: Request, resp: Response | None) -> None:
        began: int | None = getattr(req.state, self._slot, 0)
        if began is None:
            return
        setattr(req.state, self._slot, None)
        duration = round((time.monotonic_ns() - began) / 1e9, 6) if began else None
        access = _access(req, resp, duration)
        self._logger.info("%s", self._line_of(access), extra={"access": access})

    def _tell(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            with suppress(Exception):  # it may be the same handler that fails
                logging.getLogger("web").error(
                    "the access log %s failed, and answers go on without it (told once)",
                    self._logger.name, exc_info=error)  # fmt: skip


def _access(req: Request, resp: Response | None, duration: float | None) -> Access:
    now = time.time_ns() // 1_000_000
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000))
    client = req.client
    connection = req.connection
    query = req.query_string
    request_id = getattr(req.state, "request_id", None)
    status, size = (_CLIENT_LEFT, 0) if resp is None else _sent(resp)
    return {
        "time": f"{seconds}.{now % 1000:03}Z",
        "client": None if client is None else client[0],
        "method": req.method,
        "target": f"{req.raw_path}?{query}" if query else req.raw_path,
        "http_version": req.http_version,
        "host": req.host,
        "status": status,
        "bytes": 0 if req.method == "HEAD" else size,
        "duration": duration,
        "referer": req.header("referer"),
        "user_agent": req.header("user-agent"),
        "tls": connection.version if isinstance(connection, Tls) else None,
        "request_id": None if request_id is None else str(request_id),
    }


def _sent(resp: Response) -> tuple[int, int | None]:
    """(status, bytes of the body) of what is sent. A file is opened after the hooks; without it an error is sent."""
    path = resp.path
    if path is None or resp.size is not None:
        return resp.status, resp.size
    try:
        about = os.stat(path)
    except PermissionError:
        return 403, None
    except OSError:
        return 404, None
    if not stat.S_ISREG(about.st_mode):
        return 404, None
    return (resp.status, about.st_size) if os.access(path, os.R_OK) else (403, None)


def _combined(access: Access) -> str:
    year, month, day = access["time"][:10].split("-")
    when = f"{day}/{_MONTHS[int(month) - 1]}/{year}:{access['time'][11:19]} +0000"
    size, duration = access["bytes"], access["duration"]
    return (
        f"{_plain(access['client'])} - - [{when}] "
        f'"{_plain(access["method"])} {_plain(access["target"])} HTTP/{access["http_version"]}" '
        f"{access['status']} {'-' if size is None else size} "
        f'"{_plain(access["referer"])}" "{_plain(access["user_agent"])}" '
        f"{'-' if duration is None else f'{duration:.6f}'} {_plain(access['tls'])} {_plain(access['request_id'])}"
    )


def _plain(text: str | None) -> str:
    return "-" if text is None else _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


# json.dumps() would make an encoder for each record. ensure_ascii: what is no printable ASCII is escaped.
_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))

_FORMATS: dict[str, Callable[[Access], str]] = {"combined": _combined, "json": _ENCODER.encode}
