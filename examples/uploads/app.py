"""Uploads: several files at once, with progress, into a folder; and their downloads. README.md says what is worth
copying.

Run: pip install weblatch[forms], then: python examples/uploads/app.py   Then open http://127.0.0.1:8000/
"""

import os
import re
import unicodedata
from collections.abc import Iterable
from functools import partial
from html import escape
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import web

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("UPLOADS", "uploads"))
MOST = int(os.environ.get("UPLOADS_MOST", "104857600"))  # bytes of a file, and of a form
NAME_MOST = 200  # bytes of a name: file systems take 255
PAGE, ERROR = (Template((HERE / name).read_text()) for name in ("page.html", "error.html"))


def safe_name(said: str) -> str:
    """What a client calls a file, as a name in our folder. HTTPError 400: nothing that could be one.

    Old browsers send whole paths. Names with a dot in front are for our own unfinished files.
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", said)[-1].strip())
    if not name or name.startswith(".") or not name.isprintable() or len(name.encode()) > NAME_MOST:
        raise web.HTTPError(400, f"{said!r} is no name for a file: give one without a dot in front, and not too long")
    return name


def store(name: str, pieces: Iterable[bytes]) -> int:
    """Writes a new file, and gives its size. It has its name once all is on the disk; else it goes with its folder."""
    with TemporaryDirectory(dir=FOLDER, prefix=".unfinished-") as folder:
        unfinished = Path(folder, "file")
        with unfinished.open("xb") as file:
            for piece in pieces:
                file.write(piece)
        try:
            os.link(unfinished, FOLDER / name)  # never over another file
        except FileExistsError:
            raise web.HTTPError(409, f"there is a file {name!r} already") from None
        return unfinished.stat().st_size


app = web.App(
    web.security_headers(csp="default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"),
    web.csrf(),  # no page of another site leaves files here
    web.static(HERE / "public"),
)


@app.on_start
def make_folder() -> None:
    FOLDER.mkdir(exist_ok=True)


@app.get("/", blocking=True)
def home(req: web.Request) -> web.Response:
    files = sorted(path for path in FOLDER.iterdir() if path.is_file() and not path.name.startswith("."))
    lines = [
        f'<li><a href="{escape(req.url_for(download, name=path.name))}">{escape(path.name)}</a> {path.stat().st_size:,}'
        for path in files
    ]
    return web.Response.html(PAGE.substitute(most=MOST, files="\n".join(lines)))


@app.put("/files/:name", stream=True, blocking=True, max_body=MOST)
def upload(req: web.Request, params: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """One file, written as it comes: 256 KiB of it are in memory. When the client leaves, `stream()` raises."""
    name = params["name"]
    if safe_name(name) != name:
        raise web.HTTPError(400, f"{name!r} is no name for a file")
    size = store(name, req.stream())
    return {"name": name, "size": size}, 201, {"Location": req.url_for(download, name=name)}


@app.post("/", blocking=True, max_body=MOST)
def upload_form(req: web.Request) -> web.Response:
    """The same where no script runs: all files in one body, which lies in temporary files until it is whole."""
    for part in req.multipart().get_all("files"):
        if part.filename:  # "": none was chosen
            store(safe_name(part.filename), iter(partial(part.file.read, 65536), b""))
    return web.Response.redirect("/", status=303)


@app.get("/files/:name", blocking=True)
def download(req: web.Request, params: dict[str, Any]) -> web.Response:
    """Always to be saved, never shown: what people upload is not ours, and would run as a page of ours."""
    name = params["name"]
    if safe_name(name) != name or not (FOLDER / name).is_file():
        raise web.HTTPError(404, f"there is no file {name!r}")
    saved_as = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}  # RFC 6266, RFC 8187
    return web.Response.file(FOLDER / name, "application/octet-stream", headers=saved_as)


@app.errors
def explain(req: web.Request, status: int, reason: str) -> web.Response:
    """A page for who looks at pages, a line for scripts and curl."""
    if status == 413:
        reason = f"that is more than the {MOST:,} bytes which are taken at a time"
    if "text/html" in (req.header("accept") or ""):
        return web.Response.html(ERROR.substitute(status=status, reason=escape(reason)), status=status)
    return web.Response.text(f"{reason}\n", status=status)


server = web.Server(app, "127.0.0.1", 8000)

if __name__ == "__main__":
    server.run()
