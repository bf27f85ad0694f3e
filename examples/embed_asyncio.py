"""The server inside an asyncio loop: asyncio owns the thread, and the server takes a turn when it has work.

Run: python examples/embed_asyncio.py   Then: curl http://127.0.0.1:8000/
"""

import asyncio
from contextlib import suppress

import web

ticks: list[float] = []


def home(req: web.Request) -> str:
    """Handlers run in asyncio's thread, so they may read what its tasks write."""
    return f"{len(ticks)} seconds\n"


async def main(host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serves until it is cancelled, beside a task that counts seconds."""
    loop = asyncio.get_running_loop()
    server = web.defserver(host, port, web.GET("/", home))
    server.open()
    fd = server.fileno()  # readable exactly when run_once() has work
    loop.add_reader(fd, server.run_once, 0)
    print("Serving on", server.url, flush=True)
    try:
        while True:
            await asyncio.sleep(1)
            ticks.append(loop.time())
    finally:
        loop.remove_reader(fd)
        server.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
