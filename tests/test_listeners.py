"""One server on every kind of address at once: IPv4 and IPv6, plain and TLS, Unix sockets; alone and with workers."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from pathlib import Path

import pytest

import web
from tests.serving import PATIENCE, body, get, process, program
from tests.test_sockets import has_ipv6

# Arguments: certificate, key, folder, number of workers. Prints the URLs.
SERVER = """
import sys, web

cert, key, folder, workers = sys.argv[1:]

def where(req):
    return f"{req.scheme} {'local' if req.client is None else 'v6' if ':' in req.client[0] else 'v4'}"

server = web.defserver("127.0.0.1", 0, web.GET("/", where), workers=int(workers))
server.listen("127.0.0.1", 0, web.TlsContext(cert, key))
server.listen(f"unix:{folder}/plain")
server.listen(f"unix:{folder}/tls", 0, web.TlsContext(cert, key))
for tls in (None, web.TlsContext(cert, key)):
    if {has_ipv6}:
        server.listen("::1", 0, tls)
server.open()
print(*server.urls, flush=True)
server.run()
"""


def connect_to(url: str) -> socket.socket:
    """A plain connection to where a URL leads."""
    scheme, _, rest = url.partition(":")
    if scheme.endswith("+unix"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(rest)
        return sock
    host, _, port = rest.removeprefix("//").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE)


def ask(url: str, cert: str) -> str:
    sock = connect_to(url)
    with closing(sock):
        if url.startswith("https"):
            context = ssl.create_default_context(cafile=cert)
            with context.wrap_socket(sock, server_hostname="localhost") as secure:
                return body(get(secure)).decode()
        return body(get(sock)).decode()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_kind_of_address_at_once(workers: str, tmp_path: Path) -> None:
    cert, key = web.dev_certificate(tmp_path)
    code = SERVER.replace("{has_ipv6}", str(has_ipv6()))
    with process(*program(code, cert, key, str(tmp_path), workers)) as child:
        urls = child.line().split()
        child.ready()
        expected = ["http v4", "https v4", "http local", "https local"]
        if has_ipv6():
            expected += ["http v6", "https v6"]
        assert len(urls) == len(expected)
        for _ in range(4):  # every worker, most likely
            assert [ask(url, cert) for url in urls] == expected
