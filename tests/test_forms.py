"""Forms: fields and files of both types, what is no form, and what is too large."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web.forms import Part, Parts

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=B"


def ask(body: bytes, kind: str | None) -> web.Request:
    line = "" if kind is None else f"Content-Type: {kind}\r\n"
    return web.Request(f"POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n".encode("latin-1"), body)


def part(name: str, content: bytes, more: str = "", lines: str = "") -> bytes:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{lines}\r\n'.encode() + content + b"\r\n"


def whole(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--B--\r\n"


def status_of(body: bytes, kind: str | None, how: str = "form") -> int:
    with pytest.raises(web.HTTPError) as caught:
        getattr(ask(body, kind), how)()
    return caught.value.status


def test_urlencoded_fields() -> None:
    form = ask(b"a=1&b=%C3%BC+x&a=2&c=&d", URLENCODED).form()
    assert form.pairs == (("a", "1"), ("b", "ü x"), ("a", "2"), ("c", ""), ("d", ""))
    assert (form["a"], form.get_all("a")) == ("1", ["1", "2"])
    assert ask(b"", f"{URLENCODED}; charset=utf-8").form().pairs == ()


def test_a_form_is_read_once() -> None:
    for request in (ask(b"a=1", URLENCODED), ask(whole(part("a", b"1")), MULTIPART)):
        assert request.form() is request.form()


def test_fields_and_files() -> None:
    body = whole(
        part("title", "über".encode()),
        part("file", b"one", '; filename="a b.txt"', "Content-Type: text/csv\r\nX-A: b\r\n"),
        part("file", b"\r\n--two\0", '; filename=""'),
        part("title", b""),
    )
    request = ask(body, MULTIPART)
    parts = request.multipart()
    assert list(parts) == ["title", "file"]
    assert [(one.name, one.filename, one.content_type, one.size, one.read()) for one in parts.parts] == [
        ("title", None, "text/plain", 5, "über".encode()),
        ("file", "a b.txt", "text/csv", 3, b"one"),
        ("file", "", "application/octet-stream", 8, b"\r\n--two\0"),
        ("title", None, "text/plain", 0, b""),
    ]
    assert parts["file"].headers["x-a"] == "b"
    assert [one.read() for one in parts.get_all("file")] == [b"one", b"\r\n--two\0"]
    assert (parts.get_all("other"), "other" in parts) == ([], False)
    assert request.form().pairs == (("title", "über"), ("title", ""))
    assert repr(parts["file"]) == "<Part 'file', file 'a b.txt', 3 bytes>"


def test_a_large_file_is_saved_as_it_came(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    parts = ask(whole(part("file", content, '; filename="x"')), MULTIPART).multipart()
    assert parts["file"].file.read() == content  # it begins at its beginning
    parts["file"].save(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == content == parts["file"].read()
    with pytest.raises(FileExistsError):
        parts["file"].save(tmp_path / "saved")
    parts.close()
    with pytest.raises(ValueError, match="closed"):
        parts["file"].read()


def test_many_small_parts_do_not_fill_the_memory() -> None:
    parts = ask(whole(*(part(f"{number}", b"x" * 60_000) for number in range(200))), MULTIPART).multipart()
    in_memory = [one for one in parts.parts if not one.file._rolled]  # type: ignore[attr-defined]
    assert sum(one.size for one in in_memory) <= 8 << 20
    assert len(in_memory) > 100
    assert all(one.read() == b"x" * 60_000 for one in parts.parts)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"a=1", None, 415),
        (b"a=1", "text/plain", 415),
        (b"a=%FF", URLENCODED, 400),
        (b"a=\xff", URLENCODED, 400),
        (b"&".join([b"a=1"] * 1001), URLENCODED, 413),
        (b"a=" + b"x" * (1 << 20), URLENCODED, 413),
        (whole(part("a", b"1")), "multipart/form-data", 400),
        (whole(part("a", b"1")), f"multipart/form-data; boundary={'B' * 71}", 400),
        (whole(part("a", b"1")), "multipart/form-data; boundary=C", 400),
        (b"", MULTIPART, 400),
        (whole(part("a", b"1"))[:-8], MULTIPART, 400),
        (whole(b"--B\r\nContent-Disposition: form-data\r\n\r\n1\r\n"), MULTIPART, 400),
        (whole(b"--B\r\nX: y\r\n\r\n1\r\n"), MULTIPART, 400),
        (whole(part("a", b"\xff")), MULTIPART, 400),
        (whole(*[part("a", b"")] * 1001), MULTIPART, 413),
        (whole(part("a", b"", lines="X: y\r\n" * 16)), MULTIPART, 413),
        (whole(part("a", b"", lines=f"X: {'y' * 5000}\r\n")), MULTIPART, 413),
    ],
)
def test_what_is_no_form(body: bytes, kind: str | None, status: int) -> None:
    assert status_of(body, kind) == status


def test_as_much_as_a_form_may_have() -> None:
    """One more of each is refused: above."""
    assert len(ask(b"&".join([b"a=1"] * 1000), URLENCODED).form().pairs) == 1000
    assert len(ask(b"a=" + b"x" * ((1 << 20) - 2), URLENCODED).form()["a"]) == (1 << 20) - 2
    assert status_of(b"a=" + b"x" * ((1 << 20) - 1), URLENCODED) == 413
    parts = ask(whole(*[part("a", b"")] * 1000), MULTIPART).multipart()
    assert len(parts.get_all("a")) == 1000
    parts.close()
    lines = "X: y\r\n" * 15  # and Content-Disposition
    assert len(ask(whole(part("a", b"", lines=lines)), MULTIPART).multipart()["a"].headers.get_all("x")) == 15
    body = b"--%b\r\n" % (b"B" * 70) + part("a", b"1")[5:] + b"--%b--\r\n" % (b"B" * 70)
    assert ask(body, f"multipart/form-data; boundary={'B' * 70}").form()["a"] == "1"


@pytest.mark.parametrize("boundary", ["", "; boundary=", f"; boundary={'B' * 71}", '; boundary="B\xfc"'])
def test_what_is_no_boundary(boundary: str) -> None:
    with pytest.raises(web.HTTPError, match="needs a boundary of 1 to 70 characters") as caught:
        ask(whole(part("a", b"1")), f"multipart/form-data{boundary}").multipart()
    assert caught.value.status == 400


@pytest.mark.parametrize("kind", ["Multipart/Form-DATA; Boundary=B", "multipart/form-data ;boundary=B"])
def test_other_ways_to_write_the_type(kind: str) -> None:
    assert ask(whole(part("a", b"1")), kind).form()["a"] == "1"


def test_a_name_that_is_not_utf8() -> None:
    """RFC 7578 5.1: names are UTF-8."""
    body = b'--B\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--B--\r\n'
    assert status_of(body, MULTIPART) == 400


def test_the_list_of_parts_is_the_callers() -> None:
    parts = ask(whole(part("a", b"1"), part("a", b"2")), MULTIPART).multipart()
    parts.get_all("a").clear()
    assert [one.read() for one in parts.get_all("a")] == [b"1", b"2"]


def test_parts_of_another_type() -> None:
    assert status_of(b"a=1", URLENCODED, "multipart") == 415


@given(st.binary(max_size=400), st.sampled_from([URLENCODED, MULTIPART]))
def test_any_bytes_are_a_form_or_an_error(body: bytes, kind: str) -> None:
    try:
        ask(body, kind).form()
    except web.HTTPError as error:
        assert error.status in (400, 413)


@given(st.lists(st.tuples(st.text('abc"é ', min_size=1, max_size=5), st.binary(max_size=50)), max_size=5))
def test_what_was_written_is_read(fields: list[tuple[str, bytes]]) -> None:
    written = whole(*(part(name.replace('"', "%22"), content, '; filename="f"') for name, content in fields))
    if any(b"--B" in content for _, content in fields) or not fields:
        return
    parts = ask(written, MULTIPART).multipart()
    assert [(one.name, one.read()) for one in parts.parts] == fields


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "multipart", None)
    with pytest.raises(web.WebError, match=r"pip install weblatch\[forms\]"):
        ask(whole(), MULTIPART).multipart()
    assert ask(b"a=1", URLENCODED).form()["a"] == "1"


def test_parts_are_a_mapping() -> None:
    parts: Any = Parts([Part("a", None, "text/plain", web.Request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").headers)])
    assert (len(parts), list(parts), dict(parts)["a"].size) == (1, ["a"], 0)
    assert isinstance(parts["a"].file, io.IOBase) or hasattr(parts["a"].file, "read")
