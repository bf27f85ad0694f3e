"""A folder on the network, in one line of a shell: listings, ranges, compressed files, over HTTPS. README.md says more.

Run: python examples/file_server/app.py FOLDER   Then open https://localhost:8443/
"""

import argparse
from pathlib import Path

import web


def make_server(folder: Path = Path(), host: str = "127.0.0.1", port: int = 8443, *, plain: bool = False) -> web.Server:
    """Everything in the folder but names that begin with a dot, and nothing outside of it. RouteError: no folder."""
    app = web.App(
        web.security_headers(hsts=None),  # hsts: not for localhost; leave it out elsewhere
        web.compress(),  # listings and text that is made here; files have their .br, .zst and .gz beside them
        web.static(folder, listing=True, precompressed=True),
    )
    tls = None if plain else web.TlsContext(*web.dev_certificate(".dev"))  # throw-away; docs/how-to/https.md
    return web.Server(app, host, port, tls=tls)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves a folder over HTTPS.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="what is served; by default this one")
    parser.add_argument("--host", default="127.0.0.1", help='an address of this machine; "::" and "" are all of them')
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--plain", action="store_true", help="HTTP, without TLS")
    given = parser.parse_args()
    try:
        server = make_server(given.folder, given.host, given.port, plain=given.plain)
    except web.RouteError as error:
        parser.error(str(error))
    server.run()


if __name__ == "__main__":
    main()
