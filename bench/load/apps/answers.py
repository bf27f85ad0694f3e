"""The bodies that every application here answers with, and how many routes and hooks it is asked for."""

import json
import os

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
HELLO = "Hello, World!"
ROUTES = [f"/routes/{number}" for number in range(int(os.environ.get("BENCH_ROUTES", "0")))]
HOOKS = int(os.environ.get("BENCH_HOOKS", "0"))


def small_object() -> bytes:
    value = {"id": 42, "name": "Ada Lovelace", "tags": ["engine", "notes"]}
    return json.dumps(value, separators=(",", ":")).encode()
