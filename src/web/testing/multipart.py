"""multipart/form-data as browsers write it (RFC 7578, and the encoding algorithm of the HTML standard).

Names and file names are UTF-8, with CR, LF and the quotation mark as %0D, %0A and %22; line ends in texts become CRLF;
files go as they are. The boundary is random and stands nowhere in the content.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import PurePath
from typing import IO, TypeAlias

from web.mime import content_type

__all__ = ["FileContent", "FileSpec", "Files", "encode_multipart"]

FileContent: TypeAlias = bytes | str | IO[bytes] | PathLike[str]
FileSpec: TypeAlias = FileContent | tuple[str | None, FileContent] | tuple[str | None, FileContent, str]
Files: TypeAlias = Mapping[str, FileSpec | Sequence[FileSpec]] | Iterable[tuple[str, FileSpec]]

_LINE_END = re.compile(r"\r\n|\r|\n")
_TYPE = re.compile(r"[\t\x20-\x7e]+")


def encode_multipart(
    fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, FileSpec]], boundary: str | None = None
) -> tuple[str, bytes]:
    """(content type, body) of a form: ``fields`` first, then ``files``, each in its order.

    A file is its content (bytes, text, an open binary file, or a path), or (file name, content), or (file name,
    content, type). Without a name it is called as the open file or the path is, else "upload"; the name None makes a
    field without a file name. The type is found by the name. ValueError: a type, or the boundary, that cannot be sent.
    """
    parts = [(_disposition(name), _normal(value).encode()) for name, value in fields]
    parts += [_file_part(name, spec) for name, spec in files]
    if boundary is None:
        boundary = _fresh_boundary(parts)
    elif not re.fullmatch(r"[0-9A-Za-z'()+_,./:=?-]{1,70}", boundary):  # RFC 2046 5.1.1, without spaces
        raise ValueError(f"boundary={boundary!r}: give 1 to 70 letters, digits, or '()+_,./:=?-")
    elif any(boundary.encode() in part for pair in parts for part in pair):
        raise ValueError(f"boundary={boundary!r}: the content has it, too; take another one, or none")
    mark = b"--" + boundary.encode()
    pieces = [b"%b\r\n%b\r\n\r\n%b\r\n" % (mark, head, content) for head, content in parts]
    quoted = boundary if re.fullmatch(r"[\w.+-]+", boundary, re.ASCII) else f'"{boundary}"'
    return f"multipart/form-data; boundary={quoted}", b"".join([*pieces, mark, b"--\r\n"])


def list_files(files: Files) -> list[tuple[str, FileSpec]]:
    """The pairs of what ``files=`` takes; a list below one name gives several files."""
    pairs: list[tuple[str, FileSpec]] = []
    for name, spec in files.items() if isinstance(files, Mapping) else files:
        if isinstance(spec, list):
            pairs += [(name, one) for one in spec]
        else:
            pairs.append((name, spec))  # type: ignore[arg-type]  # other sequences are told by _file_part
    return pairs


def _fresh_boundary(parts: list[tuple[bytes, bytes]]) -> str:
    while True:
        boundary = "----WebFormBoundary" + secrets.token_hex(12)
        if not any(boundary.encode() in part for pair in parts for part in pair):
            return boundary


def _file_part(name: str, spec: FileSpec) -> tuple[bytes, bytes]:
    kind: str | None = None
    if isinstance(spec, tuple):
        if not 2 <= len(spec) <= 3:
            raise TypeError(f"files: {name!r}: a tuple is (file name, content) or (file name, content, type)")
        filename, content = spec[0], _read(name, spec[1])
        kind = spec[2] if len(spec) == 3 else None
    else:
        filename, content = _name_of(spec), _read(name, spec)
    if kind is None and filename is not None:
        kind = content_type(filename).partition(";")[0]
    head = _disposition(name, filename)
    if kind is not None:
        if not _TYPE.fullmatch(kind):
            raise ValueError(f"files: {name!r}: {kind!r} cannot be sent as a content type")
        head += b"\r\nContent-Type: " + kind.encode()
    return head, content


def _name_of(content: FileContent) -> str:
    """As the open file or the path is called."""
    name = fspath(content) if isinstance(content, PathLike) else getattr(content, "name", None)
    return PurePath(name).name if isinstance(name, str) else "upload"


def _read(name: str, content: FileContent) -> bytes:
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, PathLike):
        with open(content, "rb") as file:
            return file.read()
    data = content.read() if hasattr(content, "read") else None
    if not isinstance(data, bytes):
        raise TypeError(
            f"files: {name!r}: {type(content).__name__} is no file; give bytes, text, a path, a file opened with 'rb', "
            "or (file name, content)"
        )
    return data


def _disposition(name: str, filename: str | None = None) -> bytes:
    line = f'Content-Disposition: form-data; name="{_escape(_normal(name))}"'
    return (line if filename is None else f'{line}; filename="{_escape(filename)}"').encode()


def _escape(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _normal(text: str) -> str:
    return _LINE_END.sub("\r\n", text)
