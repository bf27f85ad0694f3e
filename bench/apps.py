"""The application under test: GET / answers 13 bytes of text from a Python handler, GET /file sends a file.

Limits that are not named on the command line keep their defaults. Runs until SIGTERM.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import web


def hello(request: web.Request) -> web.Response:
    return web.Response.text("Hello, World!")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", help="certificate chain file: serve HTTPS")
    parser.add_argument("--key", help="private key file")
    parser.add_argument("--file", type=Path, help="what GET /file sends")
    parser.add_argument("--handshake-timeout", type=float, help="seconds")
    parser.add_argument("--handshakes", type=int, help="cap of unfinished handshakes")
    parser.add_argument("--connections", type=int, help="cap of connections")
    parser.add_argument("--idle-timeout", type=float, help="seconds")
    args = parser.parse_args()

    forms = [web.GET("/", hello)]
    if args.file:
        forms.append(web.GET("/file", lambda request: web.Response.file(args.file)))
    named = {
        "handshake_timeout": args.handshake_timeout,
        "handshakes": args.handshakes,
        "connections": args.connections,
        "idle_timeout": args.idle_timeout,
    }
    limits = web.Limits(**{name: value for name, value in named.items() if value is not None})
    if args.cert:
        server = web.defserver_tls("127.0.0.1", args.port, args.cert, args.key, *forms, limits=limits)
    else:
        server = web.defserver("127.0.0.1", args.port, *forms, limits=limits)
    server.run()


if __name__ == "__main__":
    main()
