"""web.testing: an application is asked without a network, through the real parser, event loop, TLS and serializer.

from web.testing import Client

def test_home():
    with Client(app) as client:
        assert client.get("/").text == "Hello, World!"

``AsyncClient`` is its twin for asyncio; ``from web.testing import web_client`` is a fixture for pytest. ``import web``
imports nothing of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from web.testing.client import AsyncClient, Client, ClientOptions
from web.testing.cookies import Cookie, Cookies
from web.testing.errors import (
    ClientError,
    ReplyError,
    ReplyTimeout,
    SocketEnded,
    SocketRefused,
    StatusError,
    TooManyRedirects,
)
from web.testing.outgoing import RequestOptions
from web.testing.reply import AsyncStreamedReply, Reply, StreamedReply
from web.testing.websocket import AsyncWebSocketSession, SocketOptions, WebSocketSession

if TYPE_CHECKING:
    from web.testing.fixtures import MakeClient, web_client

__all__ = [
    "AsyncClient",
    "AsyncStreamedReply",
    "AsyncWebSocketSession",
    "Client",
    "ClientError",
    "ClientOptions",
    "Cookie",
    "Cookies",
    "MakeClient",
    "Reply",
    "ReplyError",
    "ReplyTimeout",
    "RequestOptions",
    "SocketEnded",
    "SocketOptions",
    "SocketRefused",
    "StatusError",
    "StreamedReply",
    "TooManyRedirects",
    "WebSocketSession",
    "web_client",
]


def __getattr__(name: str) -> object:
    """The fixture, without which pytest is not needed."""
    if name in ("MakeClient", "web_client"):
        from web.testing import fixtures

        return getattr(fixtures, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
