"""Files: a folder that is served, and one file sent by a handler.

Run: python examples/files.py   Then: curl -i http://127.0.0.1:8000/ and http://127.0.0.1:8000/source
"""

from pathlib import Path

import web

HERE = Path(__file__).parent


def source(req: web.Request) -> web.Response:
    """The path is ours: a path that a client chose belongs into static(), which lets nothing out of its folder."""
    return web.Response.file(HERE / "files.py", "text/plain; charset=utf-8")


server = web.defserver(
    "127.0.0.1",
    8000,
    web.GET("/source", source),
    web.static(HERE / "public", at="/"),  # tried after all routes: index.html, style.css
)

if __name__ == "__main__":
    server.run()
