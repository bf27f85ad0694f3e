"""Robyn: its router, its Request and Response, plain handlers. The port is in ROBYN_PORT."""

from answers import HELLO, JSON, TEXT, small_object
from robyn import Headers, Request, Response, Robyn

app = Robyn(__file__)


def answer(kind, body):
    return Response(status_code=200, headers=Headers({"Content-Type": kind}), description=body)


@app.get("/")
def hello(request: Request):
    return answer(TEXT, HELLO)


@app.get("/users/:user")
def user(request: Request):
    return answer(TEXT, request.path_params["user"])


@app.get("/json")
def small(request: Request):
    return answer(JSON, small_object())


@app.post("/upload")
def upload(request: Request):
    return answer(TEXT, str(len(request.body)))


app.start(host="127.0.0.1", keep_alive_timeout=300)
