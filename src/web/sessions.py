"""``sessions(keys)``: a signed session for each browser, kept whole in its cookie.

``req.session`` asks ``Sessions.open`` for a ``Session`` when it is first read; after all after hooks ``Sessions.save``
writes the cookie, if what is in the session is not what came. Requests that never ask pay one call.

Invariants: a Session belongs to one request and is not shared. ``Session._came`` is the JSON of what the cookie held,
so a change is seen however deep in the data it is. What is in a cookie counts only after its signature was verified;
a cookie that does not verify is an empty session, never an exception.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from web._core import Request, Response
from web.cookies import SameSite, cookie_line
from web.signing import check_keys, check_max_age, load_itsdangerous, signer_options

__all__ = ["Session", "Sessions", "sessions"]

_TWO_WEEKS = 14 * 24 * 3600
# Cookies of one name that are looked at: those of a parent domain or a longer path come, too, and may stand first.
_TRIED_MAX = 4


class Session(dict[str, Any]):
    """What one browser's cookie holds: a dict of what JSON can say, with text as keys.

    It is saved with the answer when it is not what came, changes inside of its values included.
    """

    __slots__ = ("_came", "_renewed")

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        super().__init__(data or {})
        self._came = _dumps(self)
        self._renewed = False

    @property
    def changed(self) -> bool:
        """Whether it is other than it came, or is to be renewed. TypeError or ValueError when JSON cannot say it."""
        return self._renewed or _dumps(self) != self._came

    @property
    def came(self) -> bool:
        """Whether there was something in the cookie."""
        return self._came != "{}"

    def renew(self) -> None:
        """Save it with this answer though nothing changed: its ``max_age`` begins anew."""
        self._renewed = True


def _dumps(session: Session) -> str:
    for key in session:
        if not isinstance(key, str):
            raise TypeError(f"req.session: the key {key!r} is {type(key).__name__}; JSON has text as keys")
    try:
        return json.dumps(session, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as exc:
        kind = TypeError if isinstance(exc, TypeError) else ValueError
        raise kind(f"req.session: {exc}; put only what JSON can say into it") from None


@dataclass(frozen=True, slots=True)
class Sessions:
    """What ``sessions()`` makes, checked."""

    keys: tuple[str, ...] = field(repr=False)
    cookie: str
    max_age: int
    same_site: SameSite
    secure: bool | None
    http_only: bool
    domain: str | None
    path: str
    _serializer: Any = field(init=False, repr=False, compare=False)
    _bad_data: type[Exception] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.secure is None and self.cookie.lower().startswith(("__host-", "__secure-")):
            raise ValueError(f"sessions(cookie={self.cookie!r}): browsers take it over TLS only: say secure=True")
        if self.secure is None and self.same_site == "None":
            raise ValueError("sessions(same_site='None'): browsers take it over TLS only: say secure=True")
        self._line("", secure=self.secure is not False)
        module = load_itsdangerous("sessions(...)")
        # itsdangerous signs with the last
        serializer = module.URLSafeTimedSerializer(
            list(self.keys[::-1]),
            salt=f"weblatch.session:{self.cookie}",
            serializer_kwargs={"ensure_ascii": True},  # lone surrogates, which a client's JSON may hold, are no UTF-8
            signer_kwargs=signer_options(),
        )
        object.__setattr__(self, "_serializer", serializer)
        object.__setattr__(self, "_bad_data", module.BadData)

    def _line(self, value: str, *, secure: bool) -> str:
        """The value of the Set-Cookie field. ValueError for what browsers would ignore."""
        return cookie_line(
            self.cookie,
            value,
            max_age=self.max_age,
            path=self.path,
            domain=self.domain,
            secure=secure,
            http_only=self.http_only,
            same_site=self.same_site,
        )

    # ---- for one request ----

    def open(self, req: Request) -> Session:
        """The session of a request: the first of its cookies that verifies; an empty one when none does."""
        for value in req.cookies.get_all(self.cookie)[:_TRIED_MAX]:
            try:
                data = self._serializer.loads(value, max_age=self.max_age)
                if isinstance(data, dict):
                    return Session(data)
            except (self._bad_data, ValueError):  # ValueError: what json reads and we would not write, as NaN
                continue
        return Session()

    def save(self, req: Request, params: dict[str, Any], resp: Response) -> Response:
        """The after hook: the answer with the cookie, if there is something to save.

        After a 5xx nothing is: what a handler that failed has done to the session is not whole.
        """
        session = req._session
        if session is None:
            return resp
        if not _lists(resp.headers.get_all("Vary"), "cookie", "*"):
            resp = resp.add_header("Vary", "Cookie")
        if resp.status >= 500 or not session.changed:
            return resp
        secure = req.scheme == "https" if self.secure is None else self.secure
        if session:
            resp = resp.add_header("Set-Cookie", self._sealed(session, secure=secure))
        elif session.came:
            resp = resp.clear_cookie(
                self.cookie, path=self.path, domain=self.domain, secure=secure, same_site=self.same_site
            )
        else:
            return resp
        # A shared cache may store an answer with its Set-Cookie (RFC 6265 7.2, RFC 9111 3), and give it to others.
        return resp if "Cache-Control" in resp.headers else resp.add_header("Cache-Control", "private")

    def _sealed(self, session: Session, *, secure: bool) -> str:
        value = self._serializer.dumps(session)
        try:
            return self._line(value, secure=secure)
        except ValueError as exc:
            raise ValueError(f"req.session is too large: {exc}") from None


def _lists(values: Iterable[str], *wanted: str) -> bool:
    """Whether one of the comma-separated values is one of those wanted, without case."""
    return any(one.strip().lower() in wanted for value in values for one in value.split(","))


def sessions(
    keys: str | Sequence[str],
    *,
    cookie: str = "session",
    max_age: int | timedelta = _TWO_WEEKS,
    same_site: SameSite = "Lax",
    secure: bool | None = None,
    http_only: bool = True,
    domain: str | None = None,
    path: str = "/",
) -> Sessions:
    """Gives every request ``req.session``, a dict that is kept in a signed cookie.

    ``keys``: one or several secrets of 32 bytes or more: the first signs, all verify (rotation). ``max_age``: seconds,
    or a timedelta, after the last change. ``secure`` None: as the connection is, with Secure over TLS; say True where
    a proxy speaks TLS. The others are those of ``Response.set_cookie``.

    ValueError for what browsers or signing would not take; WebError when itsdangerous (``weblatch[sessions]``) is not
    installed. The data can be read by who has the cookie: it is signed, not encrypted.
    """
    what = "sessions(...)"
    return Sessions(
        tuple(check_keys(what, keys)),
        cookie,
        check_max_age(what, max_age),
        same_site,
        secure,
        http_only,
        domain,
        path,
    )
