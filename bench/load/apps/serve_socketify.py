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


async def upload(res, req):
    data = await res.get_data()
    res.cork(lambda res: res.write_header("Content-Type", TEXT).end(str(len(data.getvalue()))))


options = AppOptions(cert_file_name=sys.argv[2], key_file_name=sys.argv[3]) if len(sys.argv) > 2 else None
app = App(options)
app.get("/", hello)
app.get("/users/:id", user)
app.get("/json", small)
app.post("/upload", upload)
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda config: None)
app.run()
