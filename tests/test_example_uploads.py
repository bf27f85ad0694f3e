"""examples/uploads as its reader would run it: by curl's requests, by clients that leave, and in a real browser."""

from __future__ import annotations

import http.client
import json
import os
import runpy
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.browser import Page
from tests.examples import EXAMPLES, running
from tests.serving import connect, files_of_at_most
from tests.wire.clients import eventually
from web.testing import Client

MOST = 1 << 20
BOUNDARY = "b0undary"


@dataclass
class Uploads:
    url: str
    folder: Path

    def ask(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        with closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def put(self, name: str, content: bytes) -> int:
        return self.ask("PUT", "/files/" + quote(name, safe=""), content)[0]

    def post(self, *files: tuple[str, bytes], **headers: str) -> tuple[int, bytes]:
        """Sends a form; (status, body)."""
        parts = [
            b'--%b\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n%b\r\n'
            % (BOUNDARY.encode(), name.encode(), content)
            for name, content in files
        ]
        body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
        status, _, text = self.ask(
            "POST", "/", body, Content_Type=f"multipart/form-data; boundary={BOUNDARY}", **headers
        )
        return status, text

    def there(self) -> dict[str, bytes]:
        """All in the folder, by name; of a file that is unfinished what there is of it."""
        found = {}
        for path in (self.folder / "uploads").iterdir():
            with suppress(FileNotFoundError):  # it is being removed
                files = list(path.iterdir()) if path.is_dir() else [path]
                found[path.name] = b"".join(file.read_bytes() for file in files)
        return found


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    with running("uploads/app.py", tmp_path, UPLOADS_MOST=str(MOST)) as url:
        yield Uploads(url, tmp_path)


# ---- without a browser ----


def test_a_file_goes_up_and_comes_down(uploads: Uploads) -> None:
    content = os.urandom(MOST)
    status, headers, text = uploads.ask("PUT", "/files/B%C3%BCro%20%26%20100%25.bin", content)
    assert (status, json.loads(text)) == (201, {"name": "Büro & 100%.bin", "size": MOST})
    assert uploads.there() == {"Büro & 100%.bin": content}
    status, down, body = uploads.ask("GET", headers["Location"] or "")
    assert (status, body) == (200, content)
    assert down["Content-Disposition"] == "attachment; filename*=UTF-8''B%C3%BCro%20%26%20100%25.bin"
    assert down["Content-Type"] == "application/octet-stream"
    assert down["X-Content-Type-Options"] == "nosniff"
    status, down, body = uploads.ask("GET", headers["Location"] or "", Range="bytes=1-3")
    assert (status, body) == (206, content[1:4])


def test_nothing_is_replaced(uploads: Uploads) -> None:
    assert uploads.put("a.txt", b"first") == 201
    assert uploads.put("a.txt", b"second") == 409
    assert uploads.post(("a.txt", b"third"))[0] == 409
    assert uploads.there() == {"a.txt": b"first"}


@pytest.mark.parametrize(
    "name", ["..", ".", ".hidden", "../x", "a/b", "a\\b", "/etc/passwd", "a\nb", "a\0b", " a", "n" * 201, "A\u0308"]
)
def test_names_that_are_none(uploads: Uploads, name: str) -> None:
    assert uploads.put(name, b"x") in (400, 404)
    assert uploads.ask("GET", "/files/" + quote(name, safe=""))[0] in (400, 404)
    assert [name for name in uploads.there() if name.startswith(".") or "x" in name] == []
    assert not (uploads.folder / "x").exists()


def test_a_form_with_several_files(uploads: Uploads) -> None:
    large = os.urandom(300_000)
    status, _ = uploads.post(("a.txt", b"one"), ("C:\\folder\\b.txt", b""), ("../c.bin", large), ("", b""))
    assert status == 303
    assert uploads.there() == {"a.txt": b"one", "b.txt": b"", "c.bin": large}
    assert uploads.post((".hidden", b"x"))[0] == 400
    assert sorted(uploads.there()) == ["a.txt", "b.txt", "c.bin"]


def test_what_is_too_large_is_refused(uploads: Uploads) -> None:
    """With a length before any of it is sent; without one when it is counted. Nothing of it stays."""
    said = f"that is more than the {MOST:,} bytes which are taken at a time"
    with closing(connect(urlsplit(uploads.url).port or 0)) as sock:
        sock.sendall(b"PUT /files/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MOST + 1))
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")
    status, _, text = uploads.ask("PUT", "/files/a", iter([b"x" * MOST, b"x"]))
    assert (status, text.decode()) == (413, said + "\n")
    status, text = uploads.post(("a", b"x" * MOST), Accept="text/html")
    assert status == 413
    assert f'<p id="reason">{said}</p>' in text.decode()
    assert uploads.there() == {}
    assert uploads.put("a", b"x" * MOST) == 201


def test_who_leaves_leaves_nothing(uploads: Uploads) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(uploads.url).port or 0)) as sock:
        sock.sendall(b"PUT /files/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MOST)
        sock.sendall(b"x" * 300_000)
        eventually(lambda: sum(map(len, uploads.there().values())) > 0, "some of it is on the disk")
        assert [name for name in uploads.there() if not name.startswith(".unfinished-")] == []
        assert b"unfinished" not in uploads.ask("GET", "/")[2]
    eventually(lambda: uploads.there() == {}, "it is removed")
    assert uploads.put("a", b"whole") == 201


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, whose files can be bounded. The last bytes are in a buffer when the disk is full."""
    monkeypatch.chdir(tmp_path)
    app = runpy.run_path(str(EXAMPLES / "uploads/app.py"))["app"]
    with Client(app) as client, files_of_at_most(4096):
        for size in (5_000, 100_000):
            with pytest.raises(OSError, match="File too large"):
                client.put("/files/a", content=b"x" * size)
            assert list((tmp_path / "uploads").iterdir()) == []
        assert client.put("/files/a", content=b"x" * 4096).status_code == 201


def test_no_other_site_leaves_files(uploads: Uploads) -> None:
    assert uploads.ask("PUT", "/files/a", b"x", Origin="https://evil.example")[0] == 403
    assert uploads.post(("a", b"x"), Origin="https://evil.example")[0] == 403
    assert uploads.there() == {}


# ---- the page ----

SHOWN = "[...document.querySelectorAll('#files a')].map(link => link.textContent)"


def choose(page: Page, *paths: Path) -> None:
    """Puts files into the form, as its dialog would."""
    root = page.command("DOM.getDocument")["root"]["nodeId"]
    field = page.command("DOM.querySelector", nodeId=root, selector="#upload input")["nodeId"]
    page.command("DOM.setFileInputFiles", nodeId=field, files=[str(path) for path in paths])


def make(folder: Path, **contents: bytes) -> list[Path]:
    paths = [folder / name for name in contents]
    for path in paths:
        path.write_bytes(contents[path.name])
    return paths


def test_several_files_with_progress(uploads: Uploads, page: Page, tmp_path: Path) -> None:
    page.goto(uploads.url)
    page.evaluate(
        """(() => {
            window.seen = [];
            const watch = new MutationObserver(() => {
                for (const bar of document.querySelectorAll("progress"))
                    if (bar.position > 0) seen.push([bar.parentElement.firstChild.data, bar.value, bar.max]);
            });
            watch.observe(document.querySelector("#sending"), {subtree: true, childList: true, attributes: true});
        })()"""
    )
    choose(page, *make(tmp_path, one=os.urandom(700_000), two=b"2"))
    page.click("#upload button")
    page.wait_for("document.querySelectorAll('#files a').length === 2")
    assert page.evaluate(SHOWN) == ["one", "two"]
    assert ["one", 700_000, 700_000] in page.evaluate("seen")
    assert page.texts("#sending li") == []
    page.reload()
    assert page.evaluate(SHOWN) == ["one", "two"]
    assert page.texts("#files li") == ["one 700,000", "two 1"]
    assert uploads.there() == {"one": (tmp_path / "one").read_bytes(), "two": b"2"}
    assert page.errors == []


def test_what_is_refused_is_told_and_the_rest_goes_on(uploads: Uploads, page: Page, tmp_path: Path) -> None:
    uploads.put("there", b"before")
    page.goto(uploads.url)
    choose(page, *make(tmp_path, huge=b"x" * (MOST + 1), there=b"after", new=b"new"))
    page.click("#upload button")
    page.wait_for("document.querySelectorAll('#files a').length === 2")
    assert page.texts("#sending li") == [
        f"huge is larger than {MOST:,} bytes", "there there is a file 'there' already",
    ]  # fmt: skip
    assert uploads.there() == {"there": b"before", "new": b"new"}
    assert len(page.errors) == 1
    assert "409" in page.errors[0]


def test_without_scripts(uploads: Uploads, page: Page, tmp_path: Path) -> None:
    page.command("Emulation.setScriptExecutionDisabled", value=True)
    page.goto(uploads.url)
    choose(page, *make(tmp_path, one=b"1", two=b"22"))
    page.follow("#upload button")
    assert page.evaluate(SHOWN) == ["one", "two"]
    choose(page, *make(tmp_path, huge=b"x" * (MOST + 1)))
    page.follow("#upload button")
    assert page.texts("#reason") == [f"that is more than the {MOST:,} bytes which are taken at a time"]
    assert uploads.there() == {"one": b"1", "two": b"22"}


def test_names_are_text(uploads: Uploads, page: Page) -> None:
    name = "<img src=x onerror=alert(1)> & \"'.txt"
    assert uploads.put(name, b"x") == 201
    page.goto(uploads.url)
    assert page.evaluate(SHOWN) == [name]
    assert page.evaluate("document.querySelectorAll('#files img').length") == 0
    assert page.evaluate("fetch(document.querySelector('#files a').href).then(answer => answer.status)") == 200
    assert page.errors == []
