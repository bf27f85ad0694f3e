"""The smallest server: one route, plain HTTP. README.md says what to try.

Run: python examples/hello/app.py   Then: curl http://127.0.0.1:8000/
"""

import web


def hello(req: web.Request) -> str:
    """A returned str is sent as text/plain."""
    return "Hello, World!\n"


server = web.defserver("127.0.0.1", 8000, web.GET("/", hello))

if __name__ == "__main__":
    server.run()
