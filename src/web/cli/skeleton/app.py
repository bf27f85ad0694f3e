"""A small application: a page, an API, static files. `web dev app.py` serves it while you write it."""

from pathlib import Path
from typing import Any

import web

NOTES: dict[int, str] = {1: "Change app.py and reload this page."}


def notes(req: web.Request) -> dict[str, Any]:
    """GET /api/notes: a dict is sent as JSON."""
    return {"notes": [{"id": number, "text": text} for number, text in NOTES.items()]}


def note(req: web.Request, params: dict[str, Any]) -> dict[str, Any]:
    """GET /api/notes/1: the pattern gives an int."""
    if params["id"] not in NOTES:
        raise web.HTTPError(404, f"there is no note {params['id']}")
    return {"id": params["id"], "text": NOTES[params["id"]]}


def add(req: web.Request) -> tuple[dict[str, Any], int, dict[str, str]]:
    """POST /api/notes with {"text": "..."}: a body, a status and fields."""
    text = req.json().get("text") if isinstance(req.json(), dict) else None
    if not isinstance(text, str) or not text.strip():
        raise web.HTTPError(422, 'send {"text": "..."}')
    number = max(NOTES, default=0) + 1
    NOTES[number] = text.strip()
    return {"id": number, "text": NOTES[number]}, 201, {"Location": f"/api/notes/{number}"}


app = web.App(
    web.security_headers(),
    web.group(
        "/api",
        web.GET("/notes", notes),
        web.POST("/notes", add, max_body=10_000),
        web.GET("/notes/:id:int", note),
    ),
    web.static(Path(__file__).parent / "public"),
)

if __name__ == "__main__":
    app.serve("127.0.0.1", 8000)
