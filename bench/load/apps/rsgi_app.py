"""Bare RSGI (granian's own interface): the least that answers, without a framework."""

from answers import HELLO, JSON, TEXT, small_object

HELLO_HEADERS = [("content-type", TEXT), ("content-length", str(len(HELLO)))]


async def application(scope, protocol):
    path = scope.path
    if path == "/":
        protocol.response_str(200, HELLO_HEADERS, HELLO)
    elif path == "/json":
        body = small_object()
        protocol.response_bytes(200, [("content-type", JSON), ("content-length", str(len(body)))], body)
    else:
        text = path[7:] if path.startswith("/users/") else str(len(await protocol()))
        protocol.response_str(200, [("content-type", TEXT), ("content-length", str(len(text)))], text)
