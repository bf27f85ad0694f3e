"""What the test client raises by itself. What a handler raised is raised as it is."""

from web.errors import WebError

__all__ = ["ClientError", "ReplyError", "ReplyTimeout", "StatusError", "TooManyRedirects"]


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


class TooManyRedirects(ClientError):  # noqa: N818 - likewise
    """A redirect led to another one, again and again."""
