"""Captures, JSON, and hooks before and after the handlers.

Run: python examples/params_and_hooks.py   Then: curl -i -H 'X-Token: secret' http://127.0.0.1:8000/users/7
"""

from typing import Any

import web

USERS = {7: "Ada", 8: "Grace"}
app = web.App()


@app.before
def check_token(req: web.Request) -> web.Response | None:
    """Answers early, or returns None: then the request goes on."""
    if req.header("x-token") != "secret":
        return web.Response.text("Send X-Token: secret\n", status=401)
    return None


@app.get("/users/:id:int")
def user(req: web.Request, params: dict[str, Any]) -> dict[str, Any]:
    """`/users/7` is found, `/users/ada` matches no route: it is no int. A dict is sent as JSON."""
    name = USERS.get(params["id"])
    if name is None:
        raise web.HTTPError(404, f"there is no user {params['id']}")
    return {"id": params["id"], "name": name}


@app.after
def no_store(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
    """Sees every answer, errors too. A Response is never changed: with_header makes another."""
    return resp.with_header("Cache-Control", "no-store")


if __name__ == "__main__":
    app.serve("127.0.0.1", 8000)
