"""Server-sent events: a page that counts the seconds for which the server has run, and goes on after a restart.

Run: python examples/events.py   Then open http://127.0.0.1:8000/, or: curl -N http://127.0.0.1:8000/events
"""

import asyncio
from collections.abc import AsyncIterator

import web

PAGE = """<!doctype html><title>Seconds</title><p id="number">?</p>
<script>
new EventSource("/events").addEventListener("second", event => {
    document.getElementById("number").textContent = JSON.parse(event.data).number;
});
</script>"""

app = web.App()


@app.get("/")
def home(req: web.Request) -> web.Response:
    return web.Response.html(PAGE)


@app.sse("/events")
async def seconds(req: web.Request) -> AsyncIterator[web.ServerEvent]:
    """The browser sends the id of the last event that it saw when it connects anew."""
    number = int(req.last_event_id or 0)
    while True:
        number += 1
        yield web.ServerEvent({"number": number}, event="second", id=str(number))
        await asyncio.sleep(1)


if __name__ == "__main__":
    app.serve("127.0.0.1", 8000)
