"""Handlers that fail in every way that Python knows, inline, in threads and in Tasks: each is a 500 and a record in the
log, on a connection and in a worker that go on, or it ends one worker, which the log names and another one replaces."""

from __future__ import annotations

import pytest

from tests.chaos.crowd import chaos, connect_to, replaced, workers
from tests.serving import connect, get, read_all, read_answer

# Each handler three times: inline, in a thread, and in a Task (where the app has async handlers).
WAYS = """
def add(name, handler, method="GET"):
    server.app.add(
        web.route(method, f"/inline/{name}", handler), web.route(method, f"/thread/{name}", handler, blocking=True))
    if TASKS:
        async def later(req):
            return handler(req)
        server.app.add(web.route(method, f"/task/{name}", later))

"""

FAIL = (
    WAYS
    + """
import asyncio, ctypes, json

def recurse(req):
    return recurse(req)

def nested(kind, depth=200_000):
    value = kind()
    for _ in range(depth):
        value = kind([value]) if kind is not dict else {"a": value}
    return value

class Own(BaseException):
    pass

class Unsayable(Exception):
    def __str__(self):
        raise Own("no words")
    __repr__ = __str__

class Unshowable:
    def __repr__(self):
        raise Own("no picture")

class Undying:
    def __del__(self):
        raise Own("not yet")

class Nameless(type):
    def __repr__(cls):
        raise Own("no name")

class OfNoName(Exception, metaclass=Nameless):
    pass

def throw(error):
    def handler(req):
        raise error
    return handler

def circular(req):
    try:
        raise ValueError("first")
    except ValueError as first:
        second = KeyError("second")
        first.__cause__ = second
        raise second from first

def undying(req):
    Undying()
    one = Undying()
    one.itself = one
    return {1: Unshowable()}

def late_bytes(req):
    return b"x" * (1 << 62)

for name, handler in {
    "recursion": recurse,
    "recursion of JSON": lambda req: nested(list),
    "recursion of dicts": lambda req: nested(dict),
    "recursion of repr": lambda req: nested(tuple),
    "exception groups": lambda req: throw(ExceptionGroup("g", [ValueError("a")] * 3))(req),
    "unshowable": lambda req: Unshowable(),
    "unshowable tuple": lambda req: (Unshowable(), 200),
    "unshowable status": lambda req: ("x", Unshowable()),
    "unshowable header": lambda req: ("x", 200, {"a": Unshowable()}),
    "unsayable": throw(Unsayable()),
    "own": throw(Own("x")),
    "generator exit": throw(GeneratorExit()),
    "stop": throw(StopIteration(1)),
    "cancelled": throw(asyncio.CancelledError()),
    "memory": late_bytes,
    "nameless": throw(OfNoName()),
    "circular": circular,
    "undying": undying,
    "group": throw(BaseExceptionGroup("g", [Own("x")])),
}.items():
    add(name.replace(" ", "-"), handler)
add("json", lambda req: req.json(), "POST")
"""
)
FAILURES = [
    "recursion", "recursion-of-JSON", "recursion-of-dicts", "recursion-of-repr", "exception-groups", "unshowable",
    "unshowable-tuple", "unshowable-status", "unshowable-header", "unsayable", "own", "generator-exit", "stop",
    "cancelled", "memory", "nameless", "circular", "undying", "group",
]  # fmt: skip


WAYS_OF_TWO_APPS = [(False, "inline"), (False, "thread"), (True, "inline"), (True, "task")]


@pytest.mark.parametrize(("tasks", "way"), WAYS_OF_TWO_APPS)
def test_what_is_raised_is_a_500(tasks: bool, way: str) -> None:
    with chaos(f"TASKS = {tasks}\n{FAIL}") as (child, crowd):
        before = workers(crowd.port)
        with connect_to(crowd.port, min(before)) as sock:
            for name in FAILURES:
                answer = get(sock, f"/{way}/{name}")
                assert answer.startswith(b"HTTP/1.1 500 "), (name, answer)
                child.says(f"handling GET /{way}/{name} (")
            assert get(sock, "/echo/w").startswith(b"HTTP/1.1 200 ")
        assert workers(crowd.port) == before
    assert crowd.lost == []


@pytest.mark.parametrize(("tasks", "way"), WAYS_OF_TWO_APPS)
def test_json_of_a_client_that_is_nested_without_end_is_a_400(tasks: bool, way: str) -> None:
    with chaos(f"TASKS = {tasks}\n{FAIL}") as (_, crowd), connect(crowd.port) as sock:
        for opening in (b"[", b'{"a":', b'["a",{"b":'):
            content = opening * 90_000
            length = b"Content-Length: %d\r\n\r\n" % len(content)
            sock.sendall(b"POST /%b/json HTTP/1.1\r\nHost: a\r\n%b%b" % (way.encode(), length, content))
            assert read_answer(sock).startswith(b"HTTP/1.1 400 ")
        assert get(sock, "/echo/w").startswith(b"HTTP/1.1 200 ")


# -- handlers that take all memory -------------------------------------------------------------------------------------

# Beyond what it has when it starts, each worker gets 256 MiB of addresses.
MEMORY = (
    WAYS
    + """
import resource

def bound():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)

def take(size):
    def handler(req):
        taken = []
        while True:
            taken.append(bytes(size))
    return handler

server.app.on_start(bound)
for size in (1 << 10, 1 << 16, 1 << 24):
    add(str(size), take(size))
"""
)


@pytest.mark.no_asan  # its shadow takes more addresses than the limit grants
@pytest.mark.parametrize(("tasks", "way"), WAYS_OF_TWO_APPS)
def test_memory_runs_out(tasks: bool, way: str) -> None:
    """Answered with 500 or, where not even that can be had, not at all: the worker goes on."""
    with chaos(f"TASKS = {tasks}\n{MEMORY}") as (child, crowd):
        before = workers(crowd.port)
        for size in (1 << 10, 1 << 16, 1 << 24):
            with connect_to(crowd.port, min(before)) as sock:
                sock.sendall(b"GET /%b/%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % (way.encode(), size))
                assert read_all(sock)[:13] in (b"HTTP/1.1 500 ", b"")
            assert "MemoryError" in child.says("MemoryError")
        assert workers(crowd.port) == before
    assert crowd.lost == []


# -- handlers that end their process -----------------------------------------------------------------------------------

END = (
    WAYS
    + """
import ctypes, signal

def throw(error):
    def handler(req):
        raise error
    return handler

class Exit(SystemExit):
    pass

add("_exit", lambda req: os._exit(9))
add("exit", throw(SystemExit(5)))
add("own-exit", throw(Exit("words")))
add("interrupt", throw(KeyboardInterrupt()))
add("segv", lambda req: ctypes.string_at(0))
add("abort", lambda req: os.abort())
"""
)
ENDINGS = {
    "_exit": "ended with exit code 9",
    "exit": "ended with exit code 5",
    "own-exit": "ended with exit code 1",
    "interrupt": "ended with exit code 1",
    "segv": "was ended by SIGSEGV",
    "abort": "was ended by SIGABRT",
}


@pytest.mark.no_asan  # it makes an exit code of SIGSEGV
@pytest.mark.parametrize(("tasks", "way"), WAYS_OF_TWO_APPS)
def test_what_ends_a_worker_is_said_and_it_is_replaced(tasks: bool, way: str) -> None:
    with chaos(f"TASKS = {tasks}\n{END}") as (child, crowd):
        for name, said in ENDINGS.items():
            victim = min(workers(crowd.port))
            with connect_to(crowd.port, victim) as sock:
                crowd.doom(victim)
                sock.sendall(b"GET /%b/%b HTTP/1.1\r\nHost: a\r\n\r\n" % (way.encode(), name.encode()))
                assert read_all(sock) == b""
            crowd.bury(child, victim, said)
            replaced(crowd.port, victim)
