"""socketify (uWebSockets): its router, its request and response. usage: PORT [CERT KEY]"""

import sys

from answers import HELLO, JSON, TEXT, small_object
from socketify import App, AppListenOptions, AppOptions


def hello(res, req):
    res.write_header("Content-Type", TEXT)
    res.end(HELLO)


def user(res, req):
    res.write_header("Content-Type", TEXT)
    res.end(req.get_parameter(0))


def small(res, req):
    res.write_header("Content-Type", JSON)
    res.end(small_object())


def upload(res, req):
    size = 0

    def on_data(res, chunk, is_end):
        nonlocal size
        size += len(chunk)
        if is_end:
            res.write_header("Content-Type", TEXT)
            res.end(str(size))

    res.on_data(on_data)


options = AppOptions(cert_file_name=sys.argv[2], key_file_name=sys.argv[3]) if len(sys.argv) > 2 else None
app = App(options)
app.get("/", hello)
app.get("/users/:id", user)
app.get("/json", small)
app.post("/upload", upload)
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda config: None)
app.run()
