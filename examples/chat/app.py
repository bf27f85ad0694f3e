"""A chat with rooms over HTTPS and WebSocket, and a page without a framework. README.md says what is worth copying.

Run: python examples/chat/app.py   Then open https://localhost:8443/ in two tabs.

With REDIS_URL=redis://localhost:6379/0 (pip install weblatch[redis]) several processes and machines share the rooms.
"""

import json
import os
from pathlib import Path
from typing import Any

import web

HERE = Path(__file__).parent
NAME_MAX, TEXT_MAX = 40, 2000  # characters


def check(req: web.Request) -> web.Response | None:
    """Who may enter: whoever has a name. A Response refuses."""
    for what, value in (("name", req.query.get("name", "")), ("room", req.params["room"])):
        if not 0 < len(value.strip()) <= NAME_MAX:
            return web.Response.text(f"400: a {what} of 1 to {NAME_MAX} characters is needed", status=400)
    return None


def chat(event: web.websockets.Event, params: dict[str, Any], ws: web.WebSocket) -> None:
    """Called for each event of a WebSocket. What it publishes comes to all in the room, its own sender included."""
    room, name = f"room {params['room']}", ws.request.query["name"].strip()
    match event:
        case web.Connect():
            ws.subscribe(room)
            publish(room, {"kind": "joined", "name": name})
        case web.Message(text) if 0 < len(text) <= TEXT_MAX:
            publish(room, {"kind": "said", "name": name, "text": text})
        case web.Close():
            publish(room, {"kind": "left", "name": name})
        case _:
            ws.close(1008, f"a text of 1 to {TEXT_MAX} characters is needed")


def publish(room: str, message: dict[str, str]) -> None:
    app.publish(room, json.dumps(message))


app = web.App(
    # 'self' allows wss to this very server, too, and nothing else; hsts: not for localhost, leave it out elsewhere
    web.security_headers(csp="default-src 'self'; frame-ancestors 'none'; base-uri 'none'", hsts=None),
    web.WS("/rooms/:room", chat, accept=check),
    web.static(str(HERE / "public")),
    broker=web.RedisBroker(os.environ["REDIS_URL"], prefix="chat:") if "REDIS_URL" in os.environ else None,
)

if __name__ == "__main__":
    certificate, key = web.dev_certificate(".dev")  # throw-away; a real one: docs/how-to/https.md
    app.serve_tls("127.0.0.1", 8443, certificate, key, limits=web.Limits(websocket_message=4 * TEXT_MAX))
