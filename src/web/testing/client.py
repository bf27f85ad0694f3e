"""Client and AsyncClient: an App is asked as over a network, through the real parser, loop and serializer, but without
one. The shape is that of httpx.

Both are one session (cookies, headers, base URL) that plans requests; they differ in the driver that runs the plans.

States: made -> started (a loop, start hooks have run) -> closed. ``with`` starts and closes. A Client of an app without
start and stop hooks starts itself with the first request; close() ends it, or that nobody refers to it any more.
"""

from __future__ import annotations

import logging
import os
import re
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from os import PathLike
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypedDict, TypeVar, Unpack

from web._core import Loop
from web.app import App
from web.errors import WebError
from web.server import Server
from web.testing.cookies import Cookies
from web.testing.drivers import Alone, Hosted, Inside, adopt_server
from web.testing.errors import ClientError
from web.testing.exchange import Failures, Plan, converse, whole
from web.testing.link import Identity, certificates
from web.testing.outgoing import Outgoing, Pairs, RequestOptions, list_pairs, make_outgoing
from web.testing.reply import AsyncStreamedReply, Reply, StreamedReply
from web.testing.urls import Url
from web.testing.websocket import AsyncWebSocketSession, SocketOptions, WebSocketSession, make_opening, open_socket

__all__ = ["AsyncClient", "Client", "ClientOptions"]

R = TypeVar("R")
_log = logging.getLogger("web")
_HEADERS = (("Accept", "*/*"), ("User-Agent", "web.testing"))


class ClientOptions(TypedDict, total=False):
    """What Client and AsyncClient take beside the App."""

    scheme: Literal["http", "https"]
    base_url: str | None
    headers: Pairs | None
    cookies: Mapping[str, str] | None
    raise_handler_exceptions: bool
    follow_redirects: bool
    timeout: float
    peer_certificate: tuple[str | PathLike[str], str | PathLike[str]] | None


def check_identity(pair: object, scheme: str) -> Identity | None:
    """The paths of a client's certificate and key; WebError: they cannot be shown or read."""
    if pair is None:
        return None
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError("peer_certificate: a pair (cert_file, key_file) of PEM files is needed")
    if scheme != "https":
        raise WebError("peer_certificate= goes with TLS: make the client with scheme='https'")
    identity = os.fspath(pair[0]), os.fspath(pair[1])
    try:
        certificates(identity)
    except (OSError, WebError) as error:  # ssl.SSLError is one
        raise WebError(f"peer_certificate={identity}: {error}") from None
    return identity


class _Session(Generic[R]):
    """What both have in common; ``R``: what a request gives."""

    def __init__(
        self,
        app: App | Server,
        *,
        scheme: Literal["http", "https"] = "http",
        base_url: str | None = None,
        headers: Pairs | None = None,
        cookies: Mapping[str, str] | None = None,
        raise_handler_exceptions: bool = True,
        follow_redirects: bool = False,
        timeout: float = 5.0,
        peer_certificate: tuple[str | PathLike[str], str | PathLike[str]] | None = None,
    ) -> None:
        if not isinstance(app, App | Server):
            raise TypeError(f"{type(self).__name__}(app): an App or a Server is needed, not {type(app).__name__}")
        if scheme not in ("http", "https"):
            raise ValueError(f"scheme={scheme!r}: give 'http' or 'https'")
        self.base_url = Url.parse(base_url or f"{scheme}://localhost")
        self._identity = check_identity(peer_certificate, self.base_url.scheme)
        own = dict(list_pairs(headers))
        named = {name.lower() for name in own}
        self.headers = {name: value for name, value in _HEADERS if name.lower() not in named} | own
        self.cookies = Cookies(self.base_url.host)
        for name, value in (cookies or {}).items():
            self.cookies.set(name, value)
        self.follow_redirects = follow_redirects
        self.timeout = check_timeout(timeout)
        self._app = app.app if isinstance(app, Server) else app
        self._given = app if isinstance(app, Server) else None
        self._failures = Failures() if raise_handler_exceptions else None
        self._server: Server | None = None  # from start to close
        self._core: Loop | None = None
        self._is_closed = False

    # ---- requests ----

    def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> R:
        raise NotImplementedError

    def get(self, url: str, **options: Unpack[RequestOptions]) -> R:
        """A GET; see ``request``."""
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Unpack[RequestOptions]) -> R:
        """A HEAD; see ``request``."""
        return self.request("HEAD", url, **options)

    def options(self, url: str, **options: Unpack[RequestOptions]) -> R:
        """An OPTIONS; see ``request``."""
        return self.request("OPTIONS", url, **options)

    def delete(self, url: str, **options: Unpack[RequestOptions]) -> R:
        """A DELETE; see ``request``."""
        return self.request("DELETE", url, **options)

    def post(self, url: str, **options: Unpack[RequestOptions]) -> R:
        """A POST; see ``request``."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Unpack[RequestOptions]) -> R:
        """A PUT; see ``request``."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Unpack[RequestOptions]) -> R:
        """A PATCH; see ``request``."""
        return self.request("PATCH", url, **options)

    # ---- what the two build on ----

    def _outgoing(self, method: str, url: str, options: RequestOptions) -> Outgoing:
        unknown = options.keys() - RequestOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"{', '.join(sorted(unknown))}: a request has {', '.join(RequestOptions.__annotations__)}")
        return make_outgoing(method, self.base_url.below(url), self.headers, options)

    def _opening(self, path: str, options: SocketOptions) -> Outgoing:
        """``path``: as a request's URL; it may begin with ws:// or wss://, too."""
        return make_opening(self.base_url.below(re.sub(r"(?i)^ws(s?)://", r"http\1://", path)), self.headers, options)

    def _plan(self, options: RequestOptions) -> Plan:
        assert self._core is not None, "it is started first"
        timeout, follow = options.get("timeout"), options.get("follow_redirects")
        return Plan(
            self._core,
            self.cookies,
            self._failures,
            self.timeout if timeout is None else check_timeout(timeout),
            self.follow_redirects if follow is None else follow,
            self._identity,
        )

    def _open(self) -> tuple[Server, Loop]:
        """Makes the server and its loop."""
        name = type(self).__name__
        if self._is_closed:
            raise ClientError(f"this {name} is closed: make another one")
        if self._server is not None:
            raise ClientError(f"this {name} is started already")
        server = self._given or Server(self._app, "127.0.0.1", 0)
        server._on_failure = None if self._failures is None else self._failures.note
        core = adopt_server(server)
        self._server, self._core = server, core
        return server, core

    def _closed(self, failed: list[Exception], *, raising: bool) -> None:
        """``failed``: what stop hooks raised. The first of it is raised here, unless something else is being raised."""
        assert self._server is not None
        self._server._on_failure = None
        self._server = self._core = None
        first = failed.pop(0) if failed and raising and self._failures is not None else None
        for error in failed:
            _log.error("a stop hook failed", exc_info=error)
        if first is not None:
            raise first


class Client(_Session[Reply]):
    """``Client(app_or_server, *, scheme="http", base_url=None, headers=None, cookies=None, follow_redirects=False,
    raise_handler_exceptions=True, timeout=5.0, peer_certificate=None)``: asks an application without
    a network.

    ``scheme``: "https" gives real TLS, with a throw-away certificate. ``base_url``: what URLs are below, by default
    ``http://localhost``; its scheme goes before ``scheme``. ``headers``, ``cookies``: go with each request.
    ``raise_handler_exceptions``: what a handler or hook raises is raised by the request, but HTTPError, which is an
    answer; False: the client gets the 500. ``timeout``: seconds for each answer, then ReplyTimeout.
    ``peer_certificate``: a pair (cert_file, key_file) that the client shows under TLS, and the server trusts.

    A Server that is given must not be open; its limits and options count, its addresses and certificates do not.
    """

    def __init__(self, app: App | Server, **options: Unpack[ClientOptions]) -> None:
        super().__init__(app, **options)
        self._driver: Alone | Hosted | None = None
        self._finalizer: weakref.finalize[[], Client] | None = None

    def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Reply:
        """Asks, and gives the whole answer. ``url``: a path below ``base_url``, or a whole URL: this app answers
        for every host. Options: see RequestOptions."""
        outgoing = self._outgoing(method, url, options)
        driver = self._started()
        plan = self._plan(options)
        return driver.drive(whole(plan, outgoing))

    @contextmanager
    def stream(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Iterator[StreamedReply]:
        """Asks, and gives the answer once its head is there; the content is read within the ``with``, in pieces. What
        is not read then is dropped, with the connection."""
        outgoing = self._outgoing(method, url, options)
        driver = self._started()
        plan = self._plan(options)
        exchange = driver.drive(converse(plan, outgoing))
        try:
            yield StreamedReply(**exchange.facts(), _next=lambda: driver.drive(exchange.piece()))
        finally:
            exchange.close()
            driver.settle()

    @contextmanager
    def websocket(self, path: str, **options: Unpack[SocketOptions]) -> Iterator[WebSocketSession]:
        """Opens a WebSocket, by the real handshake; the end of the ``with`` closes it. SocketRefused: the answer is not
        a 101. Options: see SocketOptions."""
        outgoing = self._opening(path, options)
        driver = self._started()
        plan = self._plan({"timeout": options.get("timeout")})
        exchange = driver.drive(open_socket(plan, outgoing))
        session = WebSocketSession(exchange, driver)
        try:
            yield session
            session.close()
        finally:
            exchange.drop()
            driver.settle(exchange.link.connection)

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop(raising=error is None)

    def close(self) -> None:
        """Runs stop hooks, ends everything and gives it back. Twice is allowed."""
        self._stop(raising=True)

    def _started(self) -> Alone | Hosted:
        if self._driver is None and not self._is_closed and (self._app._on_start or self._app._on_stop):
            raise ClientError("this app has start or stop hooks: write `with web.testing.Client(app) as client:`")
        return self._driver or self._start()

    def _start(self) -> Alone | Hosted:
        server, core = self._open()
        driver: Alone | Hosted | None = None
        try:
            driver = Hosted(server, core) if server._needs_asyncio else Alone(server, core)
            driver.start()
        except BaseException:
            (driver or server).close()
            self._closed([], raising=False)
            raise
        self._finalizer = weakref.finalize(self, driver.close)
        self._driver = driver
        return driver

    def _stop(self, *, raising: bool) -> None:
        self._is_closed = True
        if self._driver is None:
            return
        driver, self._driver = self._driver, None
        try:
            failed = driver.stop()
        finally:
            driver.close()
            if self._finalizer is not None:
                self._finalizer.detach()
        self._closed(failed, raising=raising)


class AsyncClient(_Session[Coroutine[Any, Any, Reply]]):
    """Client for use within asyncio: ``async with AsyncClient(app) as client: await client.get("/")``.

    It takes what Client takes. The application runs in the asyncio loop that runs already, its Tasks beside those of
    the test; several requests may be under way at once.
    """

    def __init__(self, app: App | Server, **options: Unpack[ClientOptions]) -> None:
        super().__init__(app, **options)
        self._driver: Inside | None = None

    async def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Reply:
        """``Client.request``, to be awaited. Cancelled, it ends the connection, as a client that leaves does."""
        outgoing = self._outgoing(method, url, options)
        driver = self._started()
        plan = self._plan(options)
        return await driver.drive(whole(plan, outgoing))

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, **options: Unpack[RequestOptions]
    ) -> AsyncIterator[AsyncStreamedReply]:
        """``Client.stream``, for ``async with``."""
        outgoing = self._outgoing(method, url, options)
        driver = self._started()
        plan = self._plan(options)
        exchange = await driver.drive(converse(plan, outgoing))
        try:
            yield AsyncStreamedReply(**exchange.facts(), _next=lambda: driver.drive(exchange.piece()))
        finally:
            exchange.close()

    @asynccontextmanager
    async def websocket(self, path: str, **options: Unpack[SocketOptions]) -> AsyncIterator[AsyncWebSocketSession]:
        """``Client.websocket``, for ``async with``."""
        outgoing = self._opening(path, options)
        driver = self._started()
        plan = self._plan({"timeout": options.get("timeout")})
        exchange = await driver.drive(open_socket(plan, outgoing))
        session = AsyncWebSocketSession(exchange, driver)
        try:
            yield session
            await session.close()
        finally:
            driver.wake(exchange.link)
            exchange.drop()
            await driver.settle(exchange.link.connection)

    async def __aenter__(self) -> Self:
        server, core = self._open()
        try:
            driver = Inside(server, core)
            await driver.start()
        except BaseException:
            server.close()
            self._closed([], raising=False)
            raise
        self._driver = driver
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop(raising=error is None)

    async def aclose(self) -> None:
        """What the end of ``async with`` does. Twice is allowed."""
        await self._stop(raising=True)

    def _started(self) -> Inside:
        if self._driver is None:
            how = "is closed: make another one" if self._is_closed else "is not started: write `async with` around it"
            raise ClientError(f"this AsyncClient {how}")
        return self._driver

    async def _stop(self, *, raising: bool) -> None:
        self._is_closed = True
        if self._driver is None:
            return
        driver, self._driver = self._driver, None
        self._closed(await driver.stop(), raising=raising)


def check_timeout(seconds: float) -> float:
    if not 0 < seconds <= 1e6:
        raise ValueError(f"timeout={seconds!r}: give more than 0, up to 1e6 seconds")
    return seconds
