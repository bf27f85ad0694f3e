"""``web demo``: a page over HTTPS from a throw-away certificate, and the commands to try it with."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import web
from web.cli.serving import serve

__all__ = ["demo"]

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>weblatch</title>
<style>body {{ font: 18px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}</style>
<h1>It works.</h1>
<p>This page came over <b>{version}</b> with <b>{cipher}</b>,
from a server whose parser, loop and handshake are weblatch's.</p>
<ul>
<li><a href="/hello/you">/hello/you</a>: a captured segment</li>
<li><a href="/json">/json</a>: a dict becomes JSON</li>
<li><a href="/nothing">/nothing</a>: a path without a route</li>
</ul>
"""


def page(req: web.Request) -> web.Response:
    """The front page, which says what protects it."""
    match req.connection:
        case web.Tls(version=version, cipher=cipher):
            return web.Response.html(PAGE.format(version=version, cipher=cipher))
        case _:
            return web.Response.html(PAGE.format(version="plain HTTP", cipher="no cipher"))


def hello(req: web.Request, params: dict[str, object]) -> str:
    """Greets whoever the path names."""
    return f"Hello, {params['name']}!\n"


def about(req: web.Request) -> dict[str, object]:
    """What this server is made of."""
    return {"weblatch": web.__version__, "openssl": web.openssl_version(), "http": req.http_version}


def echo(req: web.Request) -> bytes:
    """Answers with the body that it got."""
    return req.body


def make_app() -> web.App:
    """The demo's application."""
    return web.App(web.GET("/", page), web.GET("/hello/:name", hello), web.GET("/json", about), web.POST("/echo", echo))


def demo(options: argparse.Namespace) -> int:
    """``web demo``: until Ctrl-C."""
    tls, trust = None, ""
    if not options.plain:
        cert, key = web.dev_certificate(Path(options.folder))
        tls, trust = web.TlsContext(cert, key), f"--cacert {shlex.quote(cert)} "
    server = web.Server(make_app(), options.host, options.port, tls=tls)
    server.open()
    print("Try it:", flush=True)
    for path in ("/", "/hello/you", "/json"):
        print(f"  curl {trust}{server.url}{path}", flush=True)
    print(f"  curl {trust}-d 'some text' {server.url}/echo", flush=True)
    return serve(server)
