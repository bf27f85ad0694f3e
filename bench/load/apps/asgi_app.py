"""Bare ASGI: the least that answers, without a framework."""

from answers import HELLO, JSON, TEXT, small_object

HELLO_BYTES = HELLO.encode()
KINDS = {"text": TEXT.encode(), "json": JSON.encode()}


async def received_bytes(receive):
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    return size


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path = scope["path"]
    kind = KINDS["text"]
    if path == "/":
        body = HELLO_BYTES
    elif path == "/json":
        kind, body = KINDS["json"], small_object()
    elif path.startswith("/users/"):
        body = path[7:].encode()
    else:
        body = str(await received_bytes(receive)).encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
