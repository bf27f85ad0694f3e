"""The exceptions that an application sees. Each message is one line that says what is wrong and what to do."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

__all__ = ["HTTPError", "RouteError", "WebError"]


class WebError(Exception):
    """The base of the framework's own exceptions."""


class RouteError(WebError):
    """A route, hook or static folder that cannot work. Raised where it is written or added: nothing is served yet."""


class HTTPError(WebError):
    """Raise it in a handler or hook to answer with an error status (RFC 9110 15.5, 15.6).

    ``status``: 400 to 599. ``detail``: the text of the answer, by default the status's reason phrase; the client reads
    it. ``headers``: a mapping or pairs, added to the answer. Answered as text/plain; after hooks see the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    ) -> None:
        if type(status) is not int and not isinstance(status, HTTPStatus):
            raise TypeError(f"HTTPError(status): an int is needed, not {type(status).__name__}")
        if not 400 <= status <= 599:
            raise ValueError(f"HTTPError({int(status)}): an error's status is 400 to 599; return a Response for others")
        if detail is not None and not isinstance(detail, str):
            raise TypeError(f"HTTPError(detail=...): text is needed, not {type(detail).__name__}")
        self.status = int(status)
        self.detail = reason_phrase(self.status) if detail is None else detail
        self.headers = headers
        super().__init__(self.status, self.detail)

    def __str__(self) -> str:
        return f"{self.status} {self.detail}"


_PHRASES = {int(status): status.phrase for status in HTTPStatus}
# For these the standard library has the words of older RFCs until Python 3.13; RFC 9110 15.5 is followed everywhere.
_PHRASES |= {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}


def reason_phrase(status: int) -> str:
    """The words for a status code; a general one for codes that have none."""
    return _PHRASES.get(status, "Error" if status >= 400 else "Answer")
