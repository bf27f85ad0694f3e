"""An echo, in both styles, and a room. usage: PORT"""

import sys

import web


def echo(event, params, ws):
    match event:
        case web.Message(text):
            ws.send(text)


async def later(ws):
    async for message in ws:
        await ws.send(message)


def room(event, params, ws):
    match event:
        case web.Connect():
            ws.subscribe("room")
        case web.Message(text):
            server.publish("room", text)


forms = [web.WS("/", later)] if "async" in sys.argv else [web.WS("/", echo), web.WS("/room", room)]
server = web.defserver(
    "127.0.0.1", int(sys.argv[1]), *forms, loop="uvloop" if "async" in sys.argv else "asyncio",
    limits=web.Limits(connections=20_000, out_buffer=1 << 26),
)  # fmt: skip
server.run()
