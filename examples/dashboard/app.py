"""A live dashboard: a page that shows the server's own numbers as they change, by server-sent events. README.md says
what is worth copying.

Run: python examples/dashboard/app.py   Then open http://127.0.0.1:8000/
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import web

HERE = Path(__file__).parent
INTERVAL = 1.0  # seconds between two samples
KEPT = 60  # samples that a page can still get


class Board:
    """The latest samples, and the pages that wait for the next one. All of it belongs to the event loop's thread.

    One Task takes samples, however many pages look: each page has its own place in what is kept, and who is slow
    loses samples, not memory.
    """

    def __init__(self) -> None:
        self.run = f"{time.time_ns():x}"  # numbers begin anew with each start, so ids say which one they are of
        self.kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.number = 0  # of the newest
        self.viewers = 0
        self.news = asyncio.Event()  # is set with the next sample, and then another one stands here
        self.producer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.news = asyncio.Event()
        self.producer = asyncio.create_task(self.produce())

    async def stop(self) -> None:
        if self.producer is not None:
            self.producer.cancel()
            with suppress(asyncio.CancelledError):
                await self.producer

    async def produce(self) -> None:
        before, then = server.stats(), time.monotonic()
        while True:
            await asyncio.sleep(INTERVAL)
            now, moment = server.stats(), time.monotonic()
            took = moment - then
            self.number += 1
            self.kept.append({
                "number": self.number,
                "requests": now["requests"],
                "rate": round((now["requests"] - before["requests"]) / took, 1),
                "connections": sum(now["connections"].values()),
                "sent": round((now["bytes_sent"] - before["bytes_sent"]) / took),
                "load": round(os.getloadavg()[0], 2),
                "viewers": self.viewers,
            })  # fmt: skip
            before, then = now, moment
            self.news.set()
            self.news = asyncio.Event()

    def seen(self, last_event_id: str | None) -> int:
        """The number of the sample that a page saw last; 0: none of this run."""
        run, _, number = (last_event_id or "").partition("-")
        return int(number) if run == self.run and number.isdecimal() else 0


board = Board()


async def events(req: web.Request) -> AsyncIterator[web.ServerEvent]:
    """First what the page has missed, as far as it is kept; then what comes."""
    seen = board.seen(req.last_event_id)
    board.viewers += 1
    try:
        while True:
            news = board.news
            for sample in [one for one in board.kept if one["number"] > seen]:
                seen = sample["number"]
                yield web.ServerEvent(sample, event="sample", id=f"{board.run}-{seen}", retry=1000)
            await news.wait()
    finally:  # the page was closed, or the server stops
        board.viewers -= 1


app = web.App(
    web.security_headers(csp="default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    web.on_start(board.start),
    web.on_stop(board.stop),
    web.SSE("/events", events),
    web.static(HERE / "public"),
)
server = web.Server(app, "127.0.0.1", 8000)

if __name__ == "__main__":
    server.run()
