"""Forms: ``application/x-www-form-urlencoded`` (URL standard) and ``multipart/form-data`` (RFC 7578), of whole bodies.

Both are read from the body's file, wherever it lies. Parts of up to 64 KiB are kept in memory, 8 MiB of them in all;
others lie in temporary files, which go with their Part. Where one cannot be written all of them are given back, and the
answer is 503: what read_parts() gives is on the disk, whole. The parser of multipart is the library `multipart`, an
extra: ``pip install weblatch[forms]``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from web.errors import HTTPError, WebError
from web.headers import Headers, MultiValues
from web.log import log

if TYPE_CHECKING:
    from web._core import Request

__all__ = ["Part", "Parts", "read_form", "read_parts"]

_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_URLENCODED_MOST = 1 << 20  # bytes: it is taken apart in memory
_FIELDS_MOST = 1000
_PART_HEADERS_MOST = 16
_IN_MEMORY = 64 << 10  # bytes of a part, past which it lies in a file
_MEMORY = 8 << 20  # bytes of all parts in memory


class Part:
    """One part of a form: a field (``filename`` is None) or a file. It owns the temporary file in which it may lie."""

    __slots__ = ("content_type", "file", "filename", "headers", "name", "size")

    def __init__(self, name: str, filename: str | None, content_type: str, headers: Headers) -> None:
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self.headers = headers
        self.size = 0
        self.file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - close() closes it

    def read(self) -> bytes:
        """All of it."""
        self.file.seek(0)
        return self.file.read()

    def text(self) -> str:
        """All of it as UTF-8. HTTPError 400 where it is not."""
        try:
            return self.read().decode()
        except UnicodeDecodeError:
            raise HTTPError(400, f"the form's field {self.name!r} is not UTF-8") from None

    def save(self, path: str | PathLike[str]) -> None:
        """Writes it to a new file; FileExistsError where there is one. What cannot be written whole is removed. The
        path is yours: ``filename`` is what the client says, and may be anything."""
        self.file.seek(0)
        target = open(path, "xb")  # noqa: SIM115 - it is closed before it is removed
        try:
            with target:
                shutil.copyfileobj(self.file, target)
        except BaseException:
            os.unlink(path)
            raise

    def close(self) -> None:
        with suppress(OSError):  # what is not written yet need not be
            self.file.close()

    def __del__(self) -> None:
        with suppress(Exception):
            self.file.close()

    def __repr__(self) -> str:
        what = "field" if self.filename is None else f"file {self.filename!r}"
        return f"<Part {self.name!r}, {what}, {self.size} bytes>"


class Parts(Mapping[str, Part]):
    """The parts of a form by name, in the order in which they came: ``[]`` gives the first, ``get_all()`` all."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts: list[Part] = []
        self._index: dict[str, list[Part]] = {}
        self._memory = 0
        for part in parts:
            self.add(part)

    def add(self, part: Part) -> None:
        """One more, at the end."""
        self.parts.append(part)
        self._index.setdefault(part.name, []).append(part)

    def write(self, data: bytes | bytearray) -> None:
        """More of the last part. Where all of them take too much memory it goes to a file, small as it is. OSError."""
        part = self.parts[-1]
        part.file.write(data)
        part.size += len(data)
        self._memory += len(data)
        if self._memory > _MEMORY:
            part.file.rollover()

    def finish(self) -> None:
        """What is still in buffers goes to the files, and these are at their beginning for whoever reads ``part.file``.
        OSError."""
        for part in self.parts:
            part.file.flush()
            part.file.seek(0)

    def __getitem__(self, name: str) -> Part:
        return self._index[name][0]

    def get_all(self, name: str) -> list[Part]:
        """All parts of that name; an empty list when there is none."""
        return list(self._index.get(name, ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def close(self) -> None:
        """Gives the temporary files back now, and not with the last reference."""
        for part in self.parts:
            part.close()

    def __repr__(self) -> str:
        return f"Parts({self.parts!r})"


def read_form(request: Request) -> MultiValues:
    """The fields of a form, of either type. HTTPError 400: it is none; 413: too large; 415: another type."""
    kind = _kind(request)
    if kind == _MULTIPART:
        return MultiValues((part.name, part.text()) for part in request.multipart().parts if part.filename is None)
    if kind != _URLENCODED:
        raise HTTPError(415, f"a form is expected: send {_URLENCODED} or {_MULTIPART}")
    with request.body_file() as file:
        data = file.read(_URLENCODED_MOST + 1)
    if len(data) > _URLENCODED_MOST:
        raise HTTPError(413, f"a form of more than {_URLENCODED_MOST} bytes is to be sent as {_MULTIPART}")
    try:
        pairs = parse_qsl(data.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS_MOST, errors="strict")
    except UnicodeDecodeError:
        raise HTTPError(400, "the form is not percent-encoded UTF-8") from None
    except ValueError:
        raise HTTPError(413, f"the form has more than {_FIELDS_MOST} fields") from None
    return MultiValues(pairs)


def read_parts(request: Request) -> Parts:
    """The parts of a multipart form. HTTPError 400: it is none; 413: too many, or too large; 415: another type; 503:
    they cannot be written to temporary files."""
    multipart = _library()
    if _kind(request) != _MULTIPART:
        raise HTTPError(415, f"a form with parts is expected: send {_MULTIPART}")
    _, options = multipart.parse_options_header(request.header("content-type", ""))
    boundary = options.get("boundary", "")
    if not boundary or len(boundary) > 70 or not boundary.isascii():
        raise HTTPError(400, f"{_MULTIPART} needs a boundary of 1 to 70 characters (RFC 2046 5.1.1)")
    parts = Parts([])
    with request.body_file() as file, _closed_unless_whole(parts):
        try:
            parser = multipart.PushMultipartParser(
                boundary, max_header_count=_PART_HEADERS_MOST, max_segment_count=_FIELDS_MOST, strict=True
            )
            while not parser.closed:
                for event in parser.parse(file.read(_IN_MEMORY)):
                    if isinstance(event, multipart.MultipartSegment):
                        parts.add(_begin(event))
                    elif event:
                        with _writing():
                            parts.write(event)
            with _writing():
                parts.finish()
        except multipart.ParserLimitReached as error:
            raise HTTPError(413, f"the form is too large: {error}") from error
        except ValueError as error:  # MultipartError is one, and so is a name that is not UTF-8
            raise HTTPError(400, f"the form is not {_MULTIPART}: {error}") from error
    return parts


@contextmanager
def _closed_unless_whole(parts: Parts) -> Iterator[None]:
    try:
        yield
    except BaseException:
        parts.close()
        raise


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("a form is refused with 503: its parts cannot be written to %s: %s", tempfile.tempdir, error)
        raise HTTPError(503, "this server has no room to keep the form") from error


def _begin(segment: Any) -> Part:
    headers = Headers((name, value) for name, value in segment.headerlist)
    kind = segment.content_type or ("text/plain" if segment.filename is None else "application/octet-stream")
    return Part(segment.name, segment.filename, kind, headers)


def _kind(request: Request) -> str:
    """The media type of the body, without parameters and in small letters."""
    kind: str = request.header("content-type", "")
    return kind.partition(";")[0].strip().lower()


def _library() -> Any:
    try:
        return import_module("multipart")
    except ImportError:
        raise WebError("forms with parts need the library multipart: pip install weblatch[forms]") from None
