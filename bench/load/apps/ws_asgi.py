"""An echo and a room in bare ASGI. usage: uvicorn ws_asgi:application"""

import asyncio

room = set()


async def application(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    everybody = scope["path"] == "/room"
    if everybody:
        room.add(send)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            message = {"type": "websocket.send", "text": event["text"]}
            if everybody:
                await asyncio.gather(*(one(message) for one in room))
            else:
                await send(message)
    finally:
        room.discard(send)
