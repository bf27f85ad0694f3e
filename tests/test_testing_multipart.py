"""web.testing.multipart: forms as browsers send them."""

from __future__ import annotations

import io
import re
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.testing.multipart import encode_multipart, list_files


def test_the_bytes_are_those_of_a_browser() -> None:
    kind, body = encode_multipart([("title", "a\nb")], [("file", ('né"w.txt', b"one\ntwo"))], boundary="XX")
    assert kind == "multipart/form-data; boundary=XX"
    assert body == (
        b'--XX\r\nContent-Disposition: form-data; name="title"\r\n\r\na\r\nb\r\n'
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="n\xc3\xa9%22w.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\none\ntwo\r\n--XX--\r\n"
    )


def test_a_form_of_nothing() -> None:
    assert encode_multipart([], [], boundary="XX")[1] == b"--XX--\r\n"


def heads(*files: Any) -> list[str]:
    body = encode_multipart([], list_files(files), boundary="XX")[1].decode("utf-8", "replace")
    return [part.partition("\r\n\r\n")[0].partition("form-data; ")[2] for part in body.split("--XX\r\n")[1:]]


def test_names_and_types_of_files(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"<p>")
    with open(path, "rb") as opened:
        assert heads(
            ("a", b"raw"),
            ("a", "text"),
            ("a", io.BytesIO(b"memory")),
            ("a", path),
            ("a", opened),
            ("a", ("b.png", b"png")),
            ("a", ("b.png", b"png", "x/y; z=1")),
            ("a", (None, "plain")),
            ("a", ("no-extension", b"")),
        ) == [
            'name="a"; filename="upload"\r\nContent-Type: application/octet-stream',
            'name="a"; filename="upload"\r\nContent-Type: application/octet-stream',
            'name="a"; filename="upload"\r\nContent-Type: application/octet-stream',
            'name="a"; filename="page.html"\r\nContent-Type: text/html',
            'name="a"; filename="page.html"\r\nContent-Type: text/html',
            'name="a"; filename="b.png"\r\nContent-Type: image/png',
            'name="a"; filename="b.png"\r\nContent-Type: x/y; z=1',
            'name="a"',
            'name="a"; filename="no-extension"\r\nContent-Type: application/octet-stream',
        ]


def test_several_files_below_one_name() -> None:
    files: dict[str, Any] = {"a": [b"1", ("n", b"2")], "b": ("n", b"3")}
    pairs = list_files(files)
    assert pairs == [("a", b"1"), ("a", ("n", b"2")), ("b", ("n", b"3"))]


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        (3, TypeError, "int is no file"),
        (io.StringIO("text"), TypeError, "StringIO is no file"),
        (("n",), TypeError, "a tuple is"),
        (("n", b"", "a\r\nB: c"), ValueError, "cannot be sent"),
    ],
)
def test_what_is_no_file(spec: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        encode_multipart([], [("a", spec)])


def test_a_boundary_of_ones_own() -> None:
    assert encode_multipart([], [], boundary="a:b")[0] == 'multipart/form-data; boundary="a:b"'
    for boundary in ("", "a b", "a\r\n", "x" * 71, "é"):
        with pytest.raises(ValueError, match="give 1 to 70"):
            encode_multipart([], [], boundary=boundary)
    with pytest.raises(ValueError, match="the content has it"):
        encode_multipart([("a", "xXXx")], [], boundary="XX")


def test_the_boundary_stands_nowhere_in_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    given_out = iter(["first", "second"])
    monkeypatch.setattr("web.testing.multipart.secrets.token_hex", lambda n: next(given_out))
    kind, _ = encode_multipart([], [("a", b"--first ----WebFormBoundaryfirst")])
    assert kind.endswith("second")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FILES = st.lists(st.tuples(TEXT, st.tuples(st.none() | TEXT, st.binary(max_size=40))), max_size=3)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=3), FILES)
def test_what_goes_in_comes_out(
    fields: list[tuple[str, str]], files: list[tuple[str, tuple[str | None, bytes]]]
) -> None:
    kind, body = encode_multipart(fields, files)
    mark = b"--" + kind.partition("boundary=")[2].encode()
    assert body.endswith(mark + b"--\r\n")
    parts = body.removesuffix(mark + b"--\r\n").split(mark + b"\r\n")
    assert parts.pop(0) == b""
    expected: list[tuple[str, str | None, bytes]] = [
        (name, None, re.sub("\r\n|\r|\n", "\r\n", value).encode()) for name, value in fields
    ]
    expected += [(name, filename, content) for name, (filename, content) in files]
    assert len(parts) == len(expected)
    for part, (name, filename, content) in zip(parts, expected, strict=True):
        head, _, rest = part.partition(b"\r\n\r\n")
        assert rest == content + b"\r\n"
        shown = [
            text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
            for text in (re.sub("\r\n|\r|\n", "\r\n", name), filename or "")
        ]
        first = f'Content-Disposition: form-data; name="{shown[0]}"'
        if filename is not None:
            first += f'; filename="{shown[1]}"'
        assert head.split(b"\r\n")[0] == first.encode()
        assert head.count(b"\r\n") == (filename is not None)


def test_the_standard_library_reads_it() -> None:
    kind, body = encode_multipart([("a", "1")], [("b", ("f.bin", bytes(range(1, 128))))])
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    first, second = message.iter_parts()
    assert (first.get_param("name", header="content-disposition"), first.get_payload()) == ("a", "1")
    assert second.get_filename() == "f.bin"
    assert second.get_content_type() == "application/octet-stream"
