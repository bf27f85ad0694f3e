"""Falcon (WSGI): its router, its Request and Response, middleware as hooks."""

import falcon
from answers import HELLO, HOOKS, JSON, ROUTES, TEXT, small_object


class Hello:
    def on_get(self, req, resp):
        resp.content_type = TEXT
        resp.text = HELLO


class User:
    def on_get(self, req, resp, user):
        resp.content_type = TEXT
        resp.text = user


class Json:
    def on_get(self, req, resp):
        resp.content_type = JSON
        resp.data = small_object()


class Upload:
    def on_post(self, req, resp):
        resp.content_type = TEXT
        resp.text = str(len(req.bounded_stream.read()))


class Hook:
    def process_request(self, req, resp):
        return None


application = falcon.App(middleware=[Hook() for _ in range(HOOKS)])
for path in [*ROUTES, "/"]:
    application.add_route(path, Hello())
application.add_route("/users/{user}", User())
application.add_route("/json", Json())
application.add_route("/upload", Upload())
