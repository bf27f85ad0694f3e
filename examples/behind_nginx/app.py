"""Behind nginx, which ends TLS: who the client is, a WebSocket, and files. README.md says how to start both.

Run: python app.py   In another terminal: nginx -p "$PWD" -e stderr -c nginx.conf   Then open https://localhost:8443/
"""

from pathlib import Path
from typing import Any

import web

HERE = Path(__file__).parent


def whoami(req: web.Request) -> dict[str, str]:
    """The client's address and scheme, as nginx tells them; the connection itself is nginx's, and plain."""
    assert req.client is not None
    assert req.connection is not None
    return {
        "client": req.client[0],
        "scheme": req.scheme,
        "host": req.host,
        "connection": type(req.connection).__name__,
    }


def echo(event: web.websockets.Event, params: dict[str, Any], ws: web.WebSocket) -> None:
    """Open to pages of this very site: scheme and host are those that the browser knows."""
    match event:
        case web.Message(text):
            ws.send(text)


app = web.App(
    web.security_headers(csp="default-src 'self'; frame-ancestors 'none'; base-uri 'none'", hsts=None),
    web.access_log(),
    web.GET("/whoami", whoami),
    web.WS("/echo", echo),
    web.static(HERE / "public", max_age=60),
)
server = web.Server(
    app,
    "127.0.0.1",  # nobody else reaches it
    8000,
    proxies=web.Proxies("127.0.0.1", fields="x-forwarded"),
    # longer than nginx keeps connections (60 s), so that it is nginx that ends them; all of them are from one address
    limits=web.Limits(idle_timeout=75, handshakes=10_000),
)

if __name__ == "__main__":
    web.dev_certificate(".dev")  # for nginx; throw-away
    server.run()
