"""nginx, Caddy and HAProxy in front of a server, with the configurations that docs/deployment/proxies.md shows.

A Front is one such program, started on a free port with a text of the document in which only ports and paths were
replaced. Where the program is missing the test is skipped, but in CI it fails.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving import foreign_environment, kill_group
from tests.wire.clients import eventually

DOCUMENT = Path(__file__).parents[1] / "docs/deployment/proxies.md"
STREAM_MODULES = ("/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/lib64/nginx/modules/ngx_stream_module.so")
HOW_TO_GET = "apt install nginx libnginx-mod-stream caddy haproxy"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # folders that only root may make elsewhere


def shown(language: str, number: int) -> str:
    """The so-manyeth block of the document in a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return str(found[number])


def put(text: str, **changes: tuple[str, str]) -> str:
    """The text with each first of a pair replaced by the second; each must be there."""
    for what, (old, new) in changes.items():
        assert old in text, f"the document has no {what} {old!r}"
        text = text.replace(old, new)
    return text


def find_program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        missing(name)
    assert found is not None
    return found


def missing(what: str) -> None:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"there is no {what}: {HOW_TO_GET}")


@dataclass(frozen=True)
class Files:
    """A folder of a front's own, and the certificate that it shows."""

    folder: Path
    cert: str
    key: str

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def both(self) -> str:
        """Certificate and key in one file."""
        return self.write("both.pem", Path(self.cert).read_text() + Path(self.key).read_text())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def front(command: list[str], port: int, files: Files) -> Iterator[int]:
    """Runs a program until the end of the ``with``; its port, once it accepts there."""
    log = files.folder / "log"
    with open(log, "wb") as out:
        popen = subprocess.Popen(
            command, cwd=files.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env={**foreign_environment(), "HOME": str(files.folder), "XDG_DATA_HOME": str(files.folder)},
        )  # fmt: skip

    def accepts() -> bool:
        assert popen.poll() is None, log.read_text()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(accepts, f"{command[0]} accepts")
        yield port
    finally:
        kill_group(popen.pid)
        popen.wait()


def upstream(text: str, server: str, in_document: str, as_tcp: str) -> str:
    """``server``: "unix:PATH" or "127.0.0.1:PORT"."""
    new = in_document.replace("/run/app/app.sock", server[5:]) if server.startswith("unix:") else as_tcp
    return put(text, upstream=(in_document, new))


@contextmanager
def nginx(files: Files, server: str) -> Iterator[int]:
    port = free_port()
    text = put(
        upstream(shown("nginx", 0), server, "server unix:/run/app/app.sock;", f"server {server};"),
        port=("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        certificate=("/etc/ssl/example.org.pem", files.cert),
        key=("/etc/ssl/example.org.key", files.key),
    )
    folders = "".join(f"{name}_temp_path {files.folder}/{name};\n" for name in _TEMPORARY)
    with front(_nginx(files, f"http {{\naccess_log off;\n{folders}{text}}}\n"), port, files) as ready:
        yield ready


@contextmanager
def nginx_stream(files: Files, server: str) -> Iterator[int]:
    port = free_port()
    module = next((path for path in STREAM_MODULES if os.path.exists(path)), None)
    if module is None:
        find_program("nginx")
        missing("module stream of nginx")
    text = put(
        shown("nginx", 1),
        port=("listen 443;", f"listen 127.0.0.1:{port};"),
        upstream=("127.0.0.1:8443", server),
    )
    with front(_nginx(files, text, f"load_module {module};\n"), port, files) as ready:
        yield ready


def _nginx(files: Files, text: str, first: str = "") -> list[str]:
    user = "user root;\n" if os.geteuid() == 0 else ""
    main = f"{first}{user}daemon off;\nworker_processes 1;\npid {files.folder}/pid;\nerror_log stderr;\nevents {{}}\n"
    path = files.write("nginx.conf", main + text)
    return [find_program("nginx"), "-p", str(files.folder), "-e", "stderr", "-c", path]


@contextmanager
def caddy(files: Files, server: str) -> Iterator[int]:
    port = free_port()
    text = put(
        upstream(shown("caddyfile", 0), server, "unix//run/app/app.sock", server),
        site=("example.org {", f"https://localhost:{port} {{"),
        certificate=("/etc/ssl/example.org.pem", files.cert),
        key=("/etc/ssl/example.org.key", files.key),
    )
    path = files.write("Caddyfile", "{\nadmin off\nauto_https off\n}\n" + text)
    command = [find_program("caddy"), "run", "--config", path, "--adapter", "caddyfile"]
    with front(command, port, files) as ready:
        yield ready


@contextmanager
def haproxy(files: Files, server: str) -> Iterator[int]:
    port = free_port()
    text = put(
        upstream(shown("haproxy", 0), server, "unix@/run/app/app.sock", server),
        port=("bind :443 ", f"bind 127.0.0.1:{port} "),
        certificate=("/etc/haproxy/example.org.pem", files.both()),
    )
    with front(_haproxy(files, text), port, files) as ready:
        yield ready


@contextmanager
def haproxy_tcp(files: Files, server: str, *, version: int = 2) -> Iterator[int]:
    port = free_port()
    text = put(
        shown("haproxy", 1),
        port=("bind :443\n", f"bind 127.0.0.1:{port}\n"),
        upstream=("127.0.0.1:8443", server),
        version=("send-proxy-v2", "send-proxy-v2" if version == 2 else "send-proxy"),
    )
    with front(_haproxy(files, text), port, files) as ready:
        yield ready


def _haproxy(files: Files, text: str) -> list[str]:
    return [find_program("haproxy"), "-db", "-f", files.write("haproxy.cfg", text)]
