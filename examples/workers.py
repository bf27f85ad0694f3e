"""Two worker processes under a master, and which of them answered.

Run: python examples/workers.py   Then, several times: curl http://127.0.0.1:8000/   and: kill -HUP (the master)
"""

import itertools
import os

import web

answers = itertools.count(1)  # copied into each worker: every one counts its own


def home(req: web.Request) -> dict[str, int]:
    """Who answers, whose child that is, and how many it has answered."""
    return {"worker": os.getpid(), "master": os.getppid(), "answers": next(answers)}


app = web.App(web.GET("/", home), web.workers(2))

if __name__ == "__main__":
    app.serve("127.0.0.1", 8000)
