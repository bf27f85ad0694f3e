"""Serve one page over HTTPS from the installed wheel and fetch it: what a first user does, in ten lines."""

import ssl
import tempfile
import urllib.request

import web

with tempfile.TemporaryDirectory() as folder:
    certificate, key = web.dev_certificate(folder)
    server = web.defserver_tls("127.0.0.1", 0, certificate, key, web.GET("/", lambda req: "hello"))
    with server.running() as running:
        context = ssl.create_default_context(cafile=certificate)
        with urllib.request.urlopen(running.url, timeout=10, context=context) as answer:
            body = answer.read()
            assert (answer.status, body) == (200, b"hello"), (answer.status, body)

print(f"weblatch {web.__version__} from {web.__file__}: HTTPS works, {web.openssl_version()}")
