"""Exchange: one request and its answer on a Link of their own; and ``converse``, which goes from one to the next where
redirects are followed.

All of it is generators (Waiting): they do what can be done and give the Link that they wait for. Who turns the server
meanwhile, and whether that is awaited, is the driver's affair. An Exchange owns its Link until close(), which is called
whatever happens; ``Failures`` tells what the application raised while it answered.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from web._core import Connection, Loop, Request
from web.testing.cookies import Cookies
from web.testing.errors import ClientError, ReplyError, TooManyRedirects
from web.testing.link import Identity, Link, Waiting
from web.testing.outgoing import Outgoing
from web.testing.parser import ReplyHead, ReplyParser
from web.testing.reply import Reply

__all__ = ["Exchange", "Failures", "Plan", "converse", "whole"]

REDIRECTS_MAX = 20
_REDIRECTS = (301, 302, 303, 307, 308)


class Failures:
    """What handlers and hooks raised, by the connection whose request they answered.

    ``note`` is called by the Dispatcher, in whichever thread runs the handler; a connection from which nobody expects
    anything (any more) is passed over.
    """

    def __init__(self) -> None:
        self._by_connection: dict[Connection, list[BaseException]] = {}

    def expect(self, connection: Connection) -> None:
        self._by_connection[connection] = []

    def note(self, request: Request, error: BaseException) -> None:
        if (found := self._by_connection.get(request.connection)) is not None:
            found.append(error)

    def first(self, connection: Connection) -> BaseException | None:
        """The first of them; those of after hooks that ran behind it stand in the log."""
        return next(iter(self._by_connection.get(connection, ())), None)

    def forget(self, connection: Connection) -> None:
        self._by_connection.pop(connection, None)


@dataclass
class Plan:
    """What a request needs beside itself. ``failures``: None where they are not to be raised."""

    core: Loop
    jar: Cookies
    failures: Failures | None
    timeout: float  # seconds for each answer, and for each piece of one that is streamed
    follow: bool
    identity: Identity | None = None  # what the client shows under TLS


@dataclass
class Exchange:
    """One request, from its connection to the end of its answer."""

    plan: Plan
    outgoing: Outgoing
    history: list[Reply] = field(default_factory=list)
    cookies: dict[str, str] = field(default_factory=dict)  # what the answer set
    upgrades: bool = False  # whether a 101 is an answer

    def __post_init__(self) -> None:
        self.parser = ReplyParser(self.outgoing.method, upgrades=self.upgrades)
        self._content = bytearray()  # what has come and was not asked for yet
        url = self.outgoing.url
        self.link = Link(
            self.plan.core, str(self.outgoing), tls=url.scheme == "https", server_name=url.host,
            identity=self.plan.identity,
        )  # fmt: skip
        self.expect_failures()

    @property
    def head(self) -> ReplyHead:
        assert self.parser.head is not None, "start() comes first"
        return self.parser.head

    def start(self) -> Waiting[None]:
        """Sends the request, and reads until the head of the answer is there."""
        self._set_deadline()
        yield from self.link.handshake()
        for piece in self.outgoing.pieces(self.plan.jar):
            if not (yield from self._send(memoryview(piece))):
                break  # an answer is there already, to all appearance: a refusal
        while self.parser.head is None:
            yield from self._receive()
        url = self.outgoing.url
        lines = self.head.headers.get_all("set-cookie")
        self.cookies = self.plan.jar.take(lines, url.scheme, url.host, url.path)

    def piece(self) -> Waiting[bytes]:
        """The next piece of the content; empty: there is no more."""
        self._set_deadline()
        while not self._content and not self.parser.finished:
            yield from self._receive()
        return self.rest()

    def rest(self) -> bytes:
        """What has come of the content and was not asked for yet."""
        rest = bytes(self._content)
        self._content.clear()
        return rest

    def reply(self) -> Waiting[Reply]:
        """All of it."""
        while not self.parser.finished:
            yield from self._receive()
        return Reply(**self.facts(), raw=bytes(self._content))

    def facts(self) -> dict[str, Any]:
        """What replies of every kind are made of."""
        head = self.head
        return {
            "status_code": head.status,
            "reason_phrase": head.reason,
            "http_version": head.http_version,
            "headers": head.headers,
            "method": self.outgoing.method,
            "url": str(self.outgoing.url),
            "cookies": self.cookies,
            "history": self.history,
        }

    def expect_failures(self) -> None:
        """From now on; those before are forgotten."""
        if self.plan.failures is not None:
            self.plan.failures.expect(self.link.connection)

    def raise_failure(self) -> None:
        """Raises what the application raised, if that is wanted."""
        error = None if self.plan.failures is None else self.plan.failures.first(self.link.connection)
        if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
            raise error
        if error is not None:  # asyncio.CancelledError, say: raised here, it would mean something else
            raise ClientError(f"{self.outgoing}: the application raised {error!r}") from error

    def close(self) -> None:
        """Leaves, in the middle of an answer, too. Twice is allowed."""
        self.link.close()
        if self.plan.failures is not None:
            self.plan.failures.forget(self.link.connection)

    def _set_deadline(self) -> None:
        self.link.timeout = self.plan.timeout
        self.link.deadline = time.monotonic() + self.plan.timeout

    def _send(self, data: memoryview) -> Waiting[bool]:
        """False: the other end takes no more. What it says meanwhile is read: it may wait for that."""
        while data:
            sent = self.link.send(data)
            if sent is None:
                return False
            data = data[sent:]
            if not sent and not self._take():
                self.link.wants_write = True
                yield self.link
                self.link.wants_write = False
            if self.parser.finished:
                return False
        return True

    def _receive(self) -> Waiting[None]:
        while not self._take():
            yield self.link

    def _take(self) -> bool:
        """Reads what has come. False: nothing."""
        data = self.link.receive()
        if data is None:
            return False
        if data:
            self._content += self.parser.feed(data)
            return True
        try:
            self.parser.end()
        except ReplyError:
            self.raise_failure()  # why it was cut short
            raise
        return True


def converse(plan: Plan, outgoing: Outgoing) -> Waiting[Exchange]:
    """The Exchange whose answer counts, with its head; it is to be closed. Whatever is raised closes it here."""
    history: list[Reply] = []
    while True:
        exchange = Exchange(plan, outgoing, list(history))
        try:
            yield from exchange.start()
            exchange.raise_failure()
            if not (plan.follow and exchange.head.status in _REDIRECTS and "location" in exchange.head.headers):
                return exchange
            reply = yield from exchange.reply()
            outgoing = outgoing.redirected(reply.status_code, reply.headers["location"])
        except BaseException:  # GeneratorExit, too: who waited has given up
            exchange.close()
            raise
        exchange.close()
        history.append(reply)
        if len(history) > REDIRECTS_MAX:
            raise TooManyRedirects(f"{history[0].method} {history[0].url}: more than {REDIRECTS_MAX} redirects")


def whole(plan: Plan, outgoing: Outgoing) -> Waiting[Reply]:
    """The answer that counts, with its content."""
    exchange = yield from converse(plan, outgoing)
    try:
        reply = yield from exchange.reply()
        exchange.raise_failure()
    finally:
        exchange.close()
    return reply
