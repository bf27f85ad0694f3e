"""examples/file_server as its reader would run it, on a folder of ours, over HTTPS and without."""

from __future__ import annotations

import gzip
import http.client
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser import Page
from tests.examples import EXAMPLES, running
from tests.serving import environment

CONTENT = bytes(range(256)) * 1000
TEXT = "a line\n" * 1000


@dataclass
class Files:
    url: str
    trust: ssl.SSLContext | None

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Message, bytes]:
        place = urlsplit(self.url)
        connection: http.client.HTTPConnection = (
            http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
            if self.trust is None
            else http.client.HTTPSConnection(place.hostname or "", place.port, timeout=60, context=self.trust)
        )
        with closing(connection):
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With files of all kinds; beside it one that is nobody's business."""
    folder = tmp_path / "shared"
    (folder / "sub dir").mkdir(parents=True)
    (folder / "data.bin").write_bytes(CONTENT)
    (folder / "text.txt").write_text(TEXT)
    (folder / "text.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    (folder / "sub dir/<b>.txt").write_text("below")
    (folder / ".hidden").write_text("hidden")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    past = time.time() - 100  # no range goes by a time that is just now
    for name in ("data.bin", "text.txt", "text.txt.gz"):
        os.utime(folder / name, (past, past))
    return folder


@pytest.fixture(params=["TLS", "plain"])
def files(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[Files]:
    arguments = ["--plain"] if request.param == "plain" else []
    with running("file_server/app.py", tmp_path, str(folder), *arguments) as url:
        assert urlsplit(url).scheme == ("http" if arguments else "https")
        yield Files(url, None if arguments else ssl.create_default_context(cafile=tmp_path / ".dev/dev-cert.pem"))


def test_files_ranges_and_tags(files: Files) -> None:
    status, headers, body = files.get("/data.bin")
    assert (status, body) == (200, CONTENT)
    tag = headers["ETag"]
    assert files.get("/data.bin", If_None_Match=tag)[0] == 304
    status, headers, body = files.get("/data.bin", Range="bytes=1000-", If_Range=headers["Last-Modified"])
    assert (status, body) == (206, CONTENT[1000:])
    assert headers["Content-Range"] == f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert files.get("/data.bin", Range="bytes=-100")[2] == CONTENT[-100:]
    assert files.get("/data.bin", Range="bytes=1000-", If_Range='"other"')[2] == CONTENT


def test_compressed_files(files: Files) -> None:
    status, plain, body = files.get("/text.txt")
    assert (status, body.decode(), plain["Content-Encoding"]) == (200, TEXT, None)
    status, packed, body = files.get("/text.txt", Accept_Encoding="gzip")
    assert (status, gzip.decompress(body).decode(), packed["Content-Encoding"]) == (200, TEXT, "gzip")
    assert len(body) == int(packed["Content-Length"]) < 1000
    assert packed["ETag"] != plain["ETag"]
    assert "Accept-Encoding" in packed["Vary"]


def test_listings(files: Files) -> None:
    status, headers, body = files.get("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for name in (b"data.bin", b"text.txt", b"sub%20dir/"):
        assert b'href="./%b"' % name in body
    assert b"hidden" not in body
    assert b"secret" not in body
    assert b"&lt;b&gt;.txt" in files.get("/sub%20dir/")[2]
    assert files.get("/sub%20dir")[0] == 308


@pytest.mark.parametrize(
    "path", ["/../secret", "/%2e%2e/secret", "/link", "/.hidden", "/nothing", "/sub%20dir/../../secret"]
)
def test_nothing_leads_out(files: Files, path: str) -> None:
    status, _, body = files.get(path)
    assert status == 404
    assert b"secret" not in body


def test_a_browser_walks_through_it(folder: Path, tmp_path: Path, page: Page) -> None:
    with running("file_server/app.py", tmp_path, str(folder)) as url:
        page.goto(url)
        page.follow("a[href='./sub%20dir/']")
        assert "sub dir" in page.evaluate("document.title")
        page.follow("a[href*='b']")
        assert page.texts("body") == ["below"]


def test_the_current_folder_is_served_by_default(folder: Path) -> None:
    with running("file_server/app.py", folder, "--plain") as url:
        assert Files(url, None).get("/text.txt")[2].decode() == TEXT


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "file_server/app.py"), "nowhere"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "nowhere" in ended.stderr
    assert "Traceback" not in ended.stderr
