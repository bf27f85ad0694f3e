"""BlackSheep (ASGI): its router, its Request and Response, middlewares as hooks."""

from answers import HELLO, HOOKS, JSON, ROUTES, TEXT, small_object
from blacksheep import Application, Content, Request, Response

application = Application()


def answer(kind, body):
    return Response(200, content=Content(kind.encode(), body))


async def hello(request: Request):
    return answer(TEXT, HELLO.encode())


async def user(request: Request):
    return answer(TEXT, request.route_values["user"].encode())


async def small(request: Request):
    return answer(JSON, small_object())


async def upload(request: Request):
    return answer(TEXT, str(len(await request.read() or b"")).encode())


async def hook(request, handler):
    return await handler(request)


for path in [*ROUTES, "/"]:
    application.router.add_get(path, hello)
application.router.add_get("/users/{user}", user)
application.router.add_get("/json", small)
application.router.add_post("/upload", upload)
application.middlewares.extend(hook for _ in range(HOOKS))
