"""examples/behind_nginx with the real nginx and its nginx.conf, in which only ports were replaced."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.browser import Page
from tests.examples import EXAMPLES, fetch
from tests.fronts import Files, find_program, free_port, front, put
from tests.serving import PATIENCE, process
from tests.taking_turns import in_turns

EXAMPLE = EXAMPLES / "behind_nginx"
CLIENT = "127.0.0.9"
# As tests/examples.py runs examples, but its log goes on: the access log is part of this one.
RUN = """
import runpy, sys, web
listen = web.Server.listen
web.Server.listen = lambda self, host, port=0, *rest, **options: listen(self, host, 0, *rest, **options)
runpy.run_path(sys.argv[1], run_name="__main__")
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without set-up")


@dataclass
class Site:
    port: int
    app: str  # the URL past nginx
    trust: ssl.SSLContext

    def open(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "localhost", self.port, timeout=PATIENCE, context=self.trust, source_address=(CLIENT, 0)
        )

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        with closing(self.open()) as connection:
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with process("-c", RUN, str(EXAMPLES / "behind_nginx/app.py"), cwd=tmp_path) as app:
        url = app.ready().split()[2]
        port = free_port()
        conf = put(
            (EXAMPLE / "nginx.conf").read_text(),
            port=("listen 127.0.0.1:8443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
            upstream=("server 127.0.0.1:8000;", f"server {urlsplit(url).netloc};"),
        )
        files = Files(tmp_path, str(tmp_path / ".dev/dev-cert.pem"), str(tmp_path / ".dev/dev-key.pem"))
        files.write("nginx.conf", ("user root;\n" if os.geteuid() == 0 else "") + conf)
        with front([find_program("nginx"), "-p", str(tmp_path), "-e", "stderr", "-c", "nginx.conf"], port, files):
            yield Site(port, url, ssl.create_default_context(cafile=files.cert))


def test_who_the_client_is(site: Site) -> None:
    told = {"client": CLIENT, "scheme": "https", "host": f"localhost:{site.port}", "connection": "Plain"}
    assert json.loads(site.get("/whoami")[2]) == told
    assert json.loads(site.get("/whoami", X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="ftp")[2]) == told
    past = json.loads(fetch(site.app + "/whoami")[1])
    assert (past["client"], past["scheme"]) == ("127.0.0.1", "http")


def test_websockets_are_passed_on(site: Site) -> None:
    host = f"localhost:{site.port}"
    with connect(f"wss://{host}/echo", ssl=in_turns(site.trust), origin=Origin(f"https://{host}"), proxy=None) as ws:
        ws.send("Grüße")
        assert ws.recv(timeout=PATIENCE) == "Grüße"
    with pytest.raises(InvalidStatus) as refused:
        connect(f"wss://{host}/echo", ssl=in_turns(site.trust), origin=Origin("https://evil.example"), proxy=None)
    assert refused.value.response.status_code == 403


def test_files_come_from_the_app(site: Site) -> None:
    for name in ("index.html", "app.js", "style.css", "icon.svg"):
        status, headers, body = site.get(f"/{name}")
        assert (status, body) == (200, (EXAMPLE / "public" / name).read_bytes())
        assert headers["Cache-Control"] == "public, max-age=60"
        assert str(headers["Content-Security-Policy"]).startswith("default-src 'self';")
    assert site.get("/app.js", If_None_Match=site.get("/app.js")[1]["ETag"] or "")[0] == 304
    assert site.get("/app.py")[0] == 404


def test_the_page_sees_both(site: Site, page: Page) -> None:
    page.goto(f"https://localhost:{site.port}/")
    page.wait_for("document.querySelector('#socket').textContent === 'it works'")
    page.wait_for("document.querySelector('#scheme').textContent === 'https'")
    assert page.texts("#client") == ["127.0.0.1"]
    assert page.errors == []
