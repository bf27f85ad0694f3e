"""Bare WSGI: the least that answers, without a framework."""

from answers import HELLO, JSON, TEXT, small_object

HELLO_BYTES = HELLO.encode()


def application(environ, start_response):
    path = environ["PATH_INFO"]
    kind = TEXT
    if path == "/":
        body = HELLO_BYTES
    elif path == "/json":
        kind, body = JSON, small_object()
    elif path.startswith("/users/"):
        body = path[7:].encode()
    else:
        body = str(len(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))).encode()
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
