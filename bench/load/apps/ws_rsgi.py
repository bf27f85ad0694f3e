"""An echo and a room in RSGI, granian's own interface. usage: granian --interface rsgi ws_rsgi:application"""

import asyncio

room = set()


async def application(scope, protocol):
    everybody = scope.path == "/room"
    transport = await protocol.accept()
    if everybody:
        room.add(transport)
    try:
        while (message := await transport.receive()).kind != 0:
            if everybody:
                await asyncio.gather(*(one.send_str(message.data) for one in room))
            else:
                await transport.send_str(message.data)
    finally:
        room.discard(transport)
        protocol.close()
