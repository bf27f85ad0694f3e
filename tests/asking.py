"""Asking an App without a server: a request made by hand, answered by what a server would compile."""

from __future__ import annotations

import web


def made(
    target: str = "/", method: str = "GET", fields: str = "", *, host: str = "a", version: str = "1.1"
) -> web.Request:
    """A request; ``fields``: whole lines without their ends, one below the other."""
    lines = [
        f"{method} {target} HTTP/{version}",
        *([f"Host: {host}"] if host else []),
        *filter(None, fields.split("\n")),
    ]
    return web.Request("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))


def ask(app: web.App, target: str = "/", method: str = "GET", fields: str = "", *, host: str = "a") -> web.Response:
    return app._compile().respond(made(target, method, fields, host=host))
