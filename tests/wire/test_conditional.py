"""RFC 9110 13 and 14 on the wire: each row of the table in docs/reference/conditional.md, for a file that is kept in
memory, one that is opened, and a Response with validators; on plain connections and under TLS."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from email.parser import BytesParser
from pathlib import Path

import pytest

import web
from tests.wire.clients import Answer, eventually
from tests.wire.sites import Serve, Site

DOCUMENT = Path(__file__).parents[2] / "docs/reference/conditional.md"
MODIFIED = 1_600_000_000
SAME = "Sun, 13 Sep 2020 12:26:40 GMT"
BEFORE = "Sun, 13 Sep 2020 12:26:39 GMT"
AFTER = "Sun, 13 Sep 2020 12:26:41 GMT"


@dataclass(frozen=True)
class Row:
    """What is asked, as the document has it, with TAG and WEAK for the entity tag, and what is answered."""

    asked: str
    status: int
    parts: tuple[str, ...] = ()  # as in Content-Range, without the size
    method: str = "GET"
    weak: bool = field(default=False, kw_only=True)  # the answer's own tag is weak


ROWS = [
    Row("`If-None-Match: TAG`", 304),
    Row("`If-None-Match: TAG`, HEAD", 304, method="HEAD"),
    Row("`If-None-Match: WEAK`", 304),
    Row("`If-None-Match: TAG`, the tag is weak", 304, weak=True),
    Row('`If-None-Match: "a", TAG`', 304),
    Row('`If-None-Match: "a"`, `If-None-Match: TAG`', 304),
    Row("`If-None-Match: *`", 304),
    Row('`If-None-Match: "other"`', 200),
    Row("`If-None-Match: other`", 200),
    Row('`If-None-Match: "other"`, `If-Modified-Since: SAME`', 200),
    Row("`If-None-Match: TAG`, `If-Modified-Since: BEFORE`", 304),
    Row("`If-Modified-Since: SAME`", 304),
    Row("`If-Modified-Since: SAME`, HEAD", 304, method="HEAD"),
    Row("`If-Modified-Since: AFTER`", 304),
    Row("`If-Modified-Since: BEFORE`", 200),
    Row("`If-Modified-Since: Sunday, 13-Sep-20 12:26:40 GMT`", 304),
    Row("`If-Modified-Since: Sun Sep 13 12:26:40 2020`", 304),
    Row("`If-Modified-Since: 2020-09-13`", 200),
    Row("`If-Modified-Since: SAME`, `If-Modified-Since: SAME`", 200),
    Row("`If-Match: TAG`", 200),
    Row("`If-Match: *`", 200),
    Row('`If-Match: "a", TAG`', 200),
    Row('`If-Match: "other"`', 412),
    Row('`If-Match: "other"`, HEAD', 412, method="HEAD"),
    Row("`If-Match: WEAK`", 412),
    Row("`If-Match: TAG`, the tag is weak", 412, weak=True),
    Row("`If-Match: other`", 412),
    Row("`If-Match: TAG`, `If-Unmodified-Since: BEFORE`", 200),
    Row("`If-Unmodified-Since: SAME`", 200),
    Row("`If-Unmodified-Since: AFTER`", 200),
    Row("`If-Unmodified-Since: BEFORE`", 412),
    Row("`If-Unmodified-Since: never`", 200),
    Row("`If-Match: TAG`, `If-None-Match: TAG`", 304),
    Row('`If-Match: "other"`, `If-None-Match: TAG`', 412),
    Row("`Range: bytes=0-4`", 206, ("0-4",)),
    Row("`Range: BYTES=0-4`", 206, ("0-4",)),
    Row("`Range: bytes=5-`", 206, ("5-15999",)),
    Row("`Range: bytes=-5`", 206, ("15995-15999",)),
    Row("`Range: bytes=-200000`", 206, ("0-15999",)),
    Row("`Range: bytes=15990-200000`", 206, ("15990-15999",)),
    Row("`Range: bytes=0-99999999999999999999999999`", 206, ("0-15999",)),
    Row("`Range: bytes=0-4, 10-12 , -3`", 206, ("0-4", "10-12", "15997-15999")),
    Row("`Range: bytes=10-12,0-4`", 206, ("10-12", "0-4")),
    Row("`Range: bytes=0-4,200000-`", 206, ("0-4",)),
    Row("`Range: bytes=16000-`", 416),
    Row("`Range: bytes=-0`", 416),
    Row("`Range: bytes=0-4,2-8`", 416),
    Row("`Range: bytes=0-,0-`", 416),
    Row("`Range: bytes=0-0,2-2,4-4,` ... 17 ranges", 416),
    Row("`Range: bytes=4-0`", 200),
    Row("`Range: bytes=`", 200),
    Row("`Range: bytes=a-b`", 200),
    Row("`Range: bytes=0-4;1`", 200),
    Row("`Range: lines=0-4`", 200),
    Row("`Range: bytes=0-4`, `Range: bytes=5-9`", 200),
    Row("`Range: bytes=0-4`, HEAD", 200, method="HEAD"),
    Row("`Range: bytes=0-4`, `If-Range: TAG`", 206, ("0-4",)),
    Row('`Range: bytes=0-4`, `If-Range: "other"`', 200),
    Row("`Range: bytes=0-4`, `If-Range: WEAK`", 200),
    Row("`Range: bytes=0-4`, `If-Range: TAG`, the tag is weak", 200, weak=True),
    Row("`Range: bytes=0-4`, `If-Range: SAME`", 206, ("0-4",)),
    Row("`Range: bytes=0-4`, `If-Range: AFTER`", 200),
    Row("`Range: bytes=0-4`, `If-Range: TAG`, `If-Range: TAG`", 200),
    Row("`Range: bytes=16000-`, `If-Range: TAG`", 416),
    Row("`If-Range: TAG`", 200),
    Row("`Range: bytes=0-4`, `If-None-Match: TAG`", 304),
    Row("`Range: bytes=0-4`, `If-Match: TAG`", 206, ("0-4",)),
    Row('`Range: bytes=0-4`, `If-Match: "other"`', 412),
    Row("`Range: bytes=0-4`, `If-Unmodified-Since: BEFORE`", 412),
]

BODY = bytes(i * 7 % 251 for i in range(16_000))


def validated(weak: bool) -> web.Response:
    return web.Response.bytes(BODY).with_etag(weak=weak).with_last_modified(MODIFIED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``kept``, a file, and ``opened``, which leads to it: files behind links are not kept in memory."""
    path = tmp_path_factory.mktemp("site")
    (path / "kept").write_bytes(BODY)
    os.utime(path / "kept", (MODIFIED, MODIFIED))
    (path / "opened").symlink_to("kept")
    changed = (path / "kept").stat().st_ctime
    eventually(lambda: time.time() > changed + 2, "a file that may have a strong tag")
    return path


@pytest.fixture
def site(serve: Serve, folder: Path) -> Site:
    return serve(
        web.static(folder),
        web.GET("/memory", lambda req: validated(weak=False)),
        web.GET("/weak", lambda req: validated(weak=True)),
    )


def fields_of(row: Row, tag: str) -> str:
    """The fields of a row, filled in."""
    values = {"TAG": tag, "WEAK": f"W/{tag}", "SAME": SAME, "BEFORE": BEFORE, "AFTER": AFTER}
    text = re.sub(r",` \.\.\. 17 ranges", "".join(f",{i}-{i}" for i in range(6, 34, 2)) + "`", row.asked)
    text = re.sub(r"\b(TAG|WEAK|SAME|BEFORE|AFTER)\b", lambda found: values[found[0]], text)
    return "".join(f"{line}\r\n" for line in re.findall(r"`([^`]+)`", text))


def named(answer: Answer) -> dict[str, str]:
    """Its fields but Date, by name in lower case; none comes twice."""
    fields = {name.lower(): value for name, value in answer.headers}
    assert len(fields) == len(answer.headers)
    del fields["date"]
    return fields


def parts_of(answer: Answer) -> list[tuple[str, bytes]]:
    """(Content-Range, content) of each part."""
    if not (answer["content-type"] or "").startswith("multipart/byteranges"):
        return [(answer["content-range"] or "", answer.body)]
    head = f"Content-Type: {answer['content-type']}\r\n\r\n".encode()
    whole = BytesParser().parsebytes(head + answer.body)
    assert not whole.defects
    return [(part["Content-Range"], part.get_payload(decode=True)) for part in whole.get_payload()]  # type: ignore[misc, union-attr, index]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.asked.replace("`", ""))
def test_rows(site: Site, row: Row) -> None:
    peer = site.connect()
    for path in ["/weak"] if row.weak else ["/kept", "/opened", "/memory"]:
        whole = peer.ask(path, row.method)
        tag = named(whole)["etag"]
        assert tag.startswith("W/") == row.weak
        answer = peer.ask(path, row.method, fields_of(row, tag))
        assert answer.status == row.status, (path, answer)
        if row.status == 200:
            assert named(answer) == named(whole)
            assert answer.body == (b"" if row.method == "HEAD" else BODY)
        elif row.status == 206:
            check_parts(answer, row, whole)
        elif row.status == 304:
            check_not_modified(answer, row, whole)
        else:
            check_refusal(answer, row)


def check_parts(answer: Answer, row: Row, whole: Answer) -> None:
    assert parts_of(answer) == [(f"bytes {part}/{len(BODY)}", BODY[slice_of(part)]) for part in row.parts]
    fields = named(answer)
    assert int(fields.pop("content-length")) == len(answer.body)
    assert ("content-range" in fields) == (len(row.parts) == 1)
    fields.pop("content-range", None)
    missing = set(named(whole).items()) - set(fields.items())
    assert {name for name, _ in missing} == {"content-length", "content-type"} - (
        {"content-type"} if len(row.parts) == 1 else set()
    )


def check_not_modified(answer: Answer, row: Row, whole: Answer) -> None:
    fields = named(whole)
    if "WEAK" in row.asked:  # a cache that has this one updates nothing by another (RFC 9111 4.3.4)
        fields["etag"] = f"W/{fields['etag']}"
    del fields["content-length"], fields["content-type"]
    assert named(answer) == fields
    assert answer.body == b""


def check_refusal(answer: Answer, row: Row) -> None:
    assert answer["content-range"] == (f"bytes */{len(BODY)}" if row.status == 416 else None)
    assert set(named(answer)) - {"content-range"} == {"content-type", "content-length", "server", "vary"}
    assert answer["content-type"] == "text/plain; charset=utf-8"
    assert (answer.body == b"") == (row.method == "HEAD")


def slice_of(part: str) -> slice:
    first, _, last = part.partition("-")
    return slice(int(first), int(last) + 1)


def test_the_document_has_these_rows() -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert [line.strip("| ").split(" | ")[:2] for line in lines] == [
        [row.asked, f"{row.status}" + "".join(f", {part}" for part in row.parts)] for row in ROWS
    ]
