"""The application, asked without a network: python -m pytest"""

from app import app
from web.testing import Client


def test_the_page() -> None:
    with Client(app) as client:
        reply = client.get("/")
    assert reply.status_code == 200
    assert "<h1>" in reply.text


def test_a_note_is_added() -> None:
    with Client(app) as client:
        made = client.post("/api/notes", json={"text": "milk"})
        assert made.status_code == 201
        assert client.get(made.headers["location"]).json()["text"] == "milk"
        assert "milk" in client.get("/api/notes").text


def test_what_is_no_note_is_refused() -> None:
    with Client(app) as client:
        assert client.post("/api/notes", json={"text": " "}).status_code == 422
        assert client.get("/api/notes/999").status_code == 404
