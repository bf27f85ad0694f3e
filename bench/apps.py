"""The application under test: every handler is Python, every answer a Response. Runs until SIGTERM.

| request | answer |
|---|---|
| GET / | 13 bytes of text |
| GET /users/:id | the captured text |
| GET /json | a small object, encoded for each request |
| POST /upload | the length of the body that was received |
| GET /pid | the process that answers |
| GET /burn | a number that takes some hundred microseconds to compute |
| GET /file | one file (`--file`) |
| GET /static/NAME | a file of a folder (`--folder`) |

`--routes` registers that many others before them, `--hooks` that many before hooks which let all pass. `--way` says how
GET / is run: plain; beside (plain, in an application that has an async handler, too); async; waits (async, and really
waits); threads (in a pool). Limits that are not named on the command line keep their defaults.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import web

if TYPE_CHECKING:
    from web.app import Form


WAYS = ("plain", "beside", "async", "waits", "threads")
BURN = 10_000


def hello(request: web.Request) -> web.Response:
    return web.Response.text("Hello, World!")


async def hello_async(request: web.Request) -> web.Response:
    return web.Response.text("Hello, World!")


def hello_forms(way: str) -> list[Form]:
    if way == "waits":
        import asyncio  # here: the others must not pay for what they do not use

        async def hello_waits(request: web.Request) -> web.Response:
            await asyncio.sleep(0)
            return web.Response.text("Hello, World!")

        return [web.GET("/", hello_waits)]
    if way == "beside":
        return [web.GET("/", hello), web.GET("/async", hello_async)]
    return [web.GET("/", hello_async) if way == "async" else web.GET("/", hello, blocking=way == "threads")]


def compute() -> int:
    """A fixed amount of work, not of time: less of a core must not make it less."""
    total = 0
    for number in range(BURN):
        total += number * number
    return total


def user(request: web.Request) -> web.Response:
    return web.Response.text(request.params["id"])


def small_object(request: web.Request) -> web.Response:
    return web.Response.json({"id": 42, "name": "Ada Lovelace", "tags": ["engine", "notes"]})


def upload(request: web.Request) -> web.Response:
    return web.Response.text(str(len(request.body)))


def burn(request: web.Request) -> web.Response:
    return web.Response.text(str(compute()))


def pid(request: web.Request) -> web.Response:
    return web.Response.text(str(os.getpid()))


def pass_on(request: web.Request) -> None:
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", help="certificate chain file: serve HTTPS")
    parser.add_argument("--key", help="private key file")
    parser.add_argument("--file", type=Path, help="what GET /file sends")
    parser.add_argument("--folder", type=Path, help="what is under /static")
    parser.add_argument("--routes", type=int, default=0, help="further routes")
    parser.add_argument("--hooks", type=int, default=0, help="before hooks")
    parser.add_argument("--way", choices=WAYS, default="plain", help="how GET / is run")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="for async handlers")
    parser.add_argument("--workers", type=int, default=0, help="processes")
    parser.add_argument("--handshake-timeout", type=float, help="seconds")
    parser.add_argument("--handshakes", type=int, help="cap of unfinished handshakes")
    parser.add_argument("--connections", type=int, help="cap of connections")
    parser.add_argument("--idle-timeout", type=float, help="seconds")
    args = parser.parse_args()

    hooks = [web.before(pass_on) for _ in range(args.hooks)]
    routes = [web.GET(f"/routes/{number}", hello) for number in range(args.routes)]
    routes += [web.GET("/users/:id", user), web.GET("/json", small_object), web.POST("/upload", upload)]
    routes += [web.GET("/pid", pid), web.GET("/burn", burn)]
    if args.file:
        routes.append(web.GET("/file", lambda request: web.Response.file(args.file)))
    folders = [web.static(args.folder, at="/static")] if args.folder else []
    forms: list[Form] = [*hooks, *hello_forms(args.way), *routes, *folders]
    named = {
        "handshake_timeout": args.handshake_timeout,
        "handshakes": args.handshakes,
        "connections": args.connections,
        "idle_timeout": args.idle_timeout,
    }
    limits = web.Limits(**{name: value for name, value in named.items() if value is not None})
    how = {"limits": limits, "loop": args.loop, "workers": args.workers}
    if args.cert:
        server = web.defserver_tls("127.0.0.1", args.port, args.cert, args.key, *forms, **how)
    else:
        server = web.defserver("127.0.0.1", args.port, *forms, **how)
    server.run()


if __name__ == "__main__":
    main()
