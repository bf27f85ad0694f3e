"""ReplyParser: the bytes of one HTTP/1 answer, fed piece by piece (RFC 9112), into a head and its content.

It does no I/O and repairs nothing: what the RFC does not allow a server to send is a ReplyError, and so is a byte after
the end of the answer. Interim answers (1xx) are read and dropped.

    HEAD -> (1xx: HEAD) -> COUNTED | CHUNK_SIZE | UNTIL_END | DONE
    CHUNK_SIZE -> CHUNK_DATA -> CHUNK_END -> CHUNK_SIZE ... -> TRAILERS -> DONE

How an answer is framed follows RFC 9112 6.3, by the method of its request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from web.headers import Headers
from web.testing.errors import ReplyError

__all__ = ["ReplyHead", "ReplyParser"]

HEAD_MAX = 1 << 20  # bytes of a head, or of trailers
CHUNK_LINE_MAX = 1 << 12  # bytes of the line before a chunk

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class ReplyHead:
    """The first lines of an answer; ``http_version``: "1.1" or "1.0"."""

    http_version: str
    status: int
    reason: str
    headers: Headers


class State(Enum):
    HEAD = auto()
    COUNTED = auto()
    CHUNK_SIZE = auto()
    CHUNK_DATA = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    UNTIL_END = auto()
    DONE = auto()


class ReplyParser:
    """Parses one answer to a request with ``method``. ``head``: None until it is whole. After a ReplyError it is of no
    more use. ``upgrades``: a 101 is an answer; what follows it, to the end, is given as its content."""

    def __init__(self, method: str = "GET", *, upgrades: bool = False) -> None:
        self.method = method
        self._upgrades = upgrades
        self.head: ReplyHead | None = None
        self._state = State.HEAD
        self._buffer = bytearray()
        self._left = 0  # bytes of the content, or of this chunk, that are still to come

    @property
    def finished(self) -> bool:
        """Whether all of the answer is there."""
        return self._state is State.DONE

    def feed(self, data: bytes) -> bytes:
        """Takes bytes, and gives the content that is in them."""
        self._buffer += data
        content = bytearray()
        while self._step(content):
            pass
        if self.finished and self._buffer:
            raise ReplyError(f"bytes after the end of the answer: {_shown(self._buffer)}")
        return bytes(content)

    def end(self) -> None:
        """The connection has ended. ReplyError where the answer has not."""
        if self._state is State.UNTIL_END:
            self._state = State.DONE
        if self.finished:
            return
        if self._state is State.HEAD:
            so_far = f"in the middle of its head: {_shown(self._buffer)}" if self._buffer else "without an answer"
            raise ReplyError(f"the server ended the connection {so_far}")
        raise ReplyError(f"the server ended the connection in the middle of the answer's content ({self._state.name})")

    def _step(self, content: bytearray) -> bool:
        """One step, with what is in the buffer; False: it takes more bytes, or none."""
        match self._state:
            case State.HEAD:
                return self._take_head()
            case State.COUNTED | State.CHUNK_DATA:
                return self._take_counted(content)
            case State.CHUNK_SIZE:
                return self._take_chunk_line()
            case State.CHUNK_END:
                return self._take_chunk_end()
            case State.TRAILERS:
                return self._take_trailers()
            case State.UNTIL_END:
                content += self._buffer
                self._buffer.clear()
        return False

    def _take(self, end: bytes, most: int, what: str) -> bytes | None:
        """What is before ``end``, which goes too; None where it has not come yet."""
        at = self._buffer.find(end)
        if at > most or (at < 0 and len(self._buffer) > most):
            raise ReplyError(f"{what} is longer than {most} bytes: {_shown(self._buffer)}")
        if at < 0:
            return None
        taken = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return taken

    def _take_head(self) -> bool:
        block = self._take(b"\r\n\r\n", HEAD_MAX, "the head of the answer")
        if block is None:
            return False
        first, *lines = block.split(b"\r\n")
        found = _STATUS_LINE.fullmatch(first)
        if found is None:
            raise ReplyError(f"this is no status line of HTTP/1: {_shown(first)}")
        minor, status = int(found[1]), int(found[2])
        headers = Headers(map(_field, lines))
        if status >= 200:
            self._choose_framing(status, headers, minor)
            self.head = ReplyHead(f"1.{minor}", status, found[3].decode("latin-1"), headers)
        elif status == 101 and self._upgrades:
            self._state = State.UNTIL_END
            self.head = ReplyHead(f"1.{minor}", status, found[3].decode("latin-1"), headers)
        elif status == 101:
            raise ReplyError("101 Switching Protocols: this client asks for no upgrade and follows none")
        elif "content-length" in headers or "transfer-encoding" in headers:
            raise ReplyError(f"an answer {status} has no content, and must not say how long it is (RFC 9110 8.6)")
        return True

    def _choose_framing(self, status: int, headers: Headers, minor: int) -> None:
        """RFC 9112 6.3."""
        codings, lengths = headers.get_all("transfer-encoding"), headers.get_all("content-length")
        if codings and lengths:
            raise ReplyError("the answer has both Transfer-Encoding and Content-Length (RFC 9112 6.2)")
        if codings and minor == 0:
            raise ReplyError("an answer of HTTP/1.0 has a Transfer-Encoding (RFC 9112 6.1)")
        if [coding.lower() for coding in codings] not in ([], ["chunked"]):
            raise ReplyError(f"Transfer-Encoding: {', '.join(codings)}: only one chunked is understood")
        if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            raise ReplyError(f"Content-Length: {', '.join(lengths)}: it must be one number (RFC 9112 6.3)")
        if status == 204 and (codings or lengths):
            raise ReplyError("an answer 204 has no content, and must not say how long it is (RFC 9110 8.6)")
        if self.method == "HEAD" or status in (204, 304):
            self._state = State.DONE
        elif codings:
            self._state = State.CHUNK_SIZE
        elif lengths:
            self._left = int(lengths[0])
            self._state = State.COUNTED if self._left else State.DONE
        else:
            self._state = State.UNTIL_END

    def _take_counted(self, content: bytearray) -> bool:
        taken = self._buffer[: self._left]
        del self._buffer[: len(taken)]
        content += taken
        self._left -= len(taken)
        if self._left:
            return False
        self._state = State.DONE if self._state is State.COUNTED else State.CHUNK_END
        return True

    def _take_chunk_line(self) -> bool:
        line = self._take(b"\r\n", CHUNK_LINE_MAX, "the line before a chunk")
        if line is None:
            return False
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise ReplyError(f"this is no size of a chunk: {_shown(line)}")
        self._left = int(found[1], 16)
        self._state = State.CHUNK_DATA if self._left else State.TRAILERS
        return True

    def _take_chunk_end(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise ReplyError(f"a chunk is not followed by the end of a line: {_shown(self._buffer)}")
        del self._buffer[:2]
        self._state = State.CHUNK_SIZE
        return True

    def _take_trailers(self) -> bool:
        """Each is checked, and dropped."""
        line = self._take(b"\r\n", HEAD_MAX, "a trailer field")
        if line is None:
            return False
        if line:
            _field(line)
        else:
            self._state = State.DONE
        return True


def _field(line: bytes) -> tuple[str, str]:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise ReplyError(f"this is no header field: {_shown(line)}")
    return found[1].decode("ascii"), found[2].strip(b" \t").decode("latin-1")


def _shown(data: bytes | bytearray) -> str:
    return repr(bytes(data[:80])) + ("..." if len(data) > 80 else "")
