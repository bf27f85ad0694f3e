"""aiohttp on uvloop: its router, its Request and Response, middlewares as hooks. usage: PORT [CERT KEY]"""

import ssl
import sys

import uvloop
from aiohttp import web
from answers import HELLO, HOOKS, JSON, ROUTES, TEXT, small_object


def answer(text):
    return web.Response(text=text, headers={"Content-Type": TEXT})


async def hello(request):
    return answer(HELLO)


async def user(request):
    return answer(request.match_info["user"])


async def small(request):
    return web.Response(body=small_object(), content_type=JSON)


async def upload(request):
    return answer(str(len(await request.read())))


@web.middleware
async def hook(request, handler):
    return await handler(request)


app = web.Application(middlewares=[hook] * HOOKS, client_max_size=2**24)
app.add_routes([web.get(path, hello) for path in [*ROUTES, "/"]])
app.add_routes([web.get("/users/{user}", user), web.get("/json", small), web.post("/upload", upload)])
context = None
if len(sys.argv) > 2:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
web.run_app(
    app,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    ssl_context=context,
    access_log=None,
    print=None,
    keepalive_timeout=300,
    backlog=4096,
    loop=uvloop.new_event_loop(),
)
