"""What the test client raises by itself. What a handler raised is raised as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from web.errors import WebError

if TYPE_CHECKING:
    from web.testing.reply import Reply

__all__ = [
    "ClientError",
    "ReplyError",
    "ReplyTimeout",
    "SocketEnded",
    "SocketRefused",
    "StatusError",
    "TooManyRedirects",
]


class ClientError(WebError):
    """The base of the test client's own exceptions; itself where the client is used in a way that cannot work."""


class ReplyError(ClientError):
    """What the server sent is no answer by RFC 9112, or ended in the middle of one."""


class ReplyTimeout(ClientError, TimeoutError):  # noqa: N818 - what httpx and others call it
    """No answer, or not all of it, within ``timeout=`` seconds."""


class StatusError(ClientError):
    """``raise_for_status()`` of an answer that is no success; ``status_code``: which."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class SocketEnded(ClientError):  # noqa: N818 - it says what is, and nothing failed
    """The WebSocket has ended, and all its messages are taken. ``code``, ``reason``: of the server's close frame; 1005:
    it has no code; 1006: the connection ended without one."""

    def __init__(self, message: str, code: int, reason: str) -> None:
        super().__init__(f"{message}: {code}{f' {reason!r}' if reason else ''}")
        self.code = code
        self.reason = reason


class SocketRefused(ClientError):  # noqa: N818 - likewise
    """The answer to the opening handshake is not a 101 but ``reply``."""

    def __init__(self, message: str, reply: Reply) -> None:
        super().__init__(message)
        self.reply = reply


class TooManyRedirects(ClientError):  # noqa: N818 - likewise
    """A redirect led to another one, again and again."""
