"""A server of two workers, and a crowd of innocent clients that ask it all the while and check every answer.

A request may be lost for one reason only: the worker that had it was killed. Which worker a connection belongs to its
first answer tells; one that was never answered may have been with any worker that was killed since it was made.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.masters import KILL, TWO, serving, stop
from tests.serving import PATIENCE, Process, body, connect, fetch, get

# What the innocent ask for: who answers, and a word that no other request has.
ECHO = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
server.app.add(web.GET("/echo/:word", lambda req: f"{os.getpid()} {req.params['word']}"))
"""

# The same in a Task and in a thread of the pool.
ECHO_LATER = """
import asyncio

async def later(req):
    await asyncio.sleep(0)
    return f"{os.getpid()} {req.params['word']}"

server.app.add(
    web.GET("/later/:word", later),
    web.GET("/threads/:word", lambda req: f"{os.getpid()} {req.params['word']}", blocking=True),
)
"""

# Counters of the worker that answers, as JSON.
TELL = 'server.app.add(web.GET("/tell", lambda req: server.stats()))\n'


@dataclass
class Crowd:
    """All clients of one server, what they lost, and whom the test killed."""

    port: int
    kills: list[int] = field(default_factory=list)
    buried: int = 0  # how many of them the log has told of
    lost: list[str] = field(default_factory=list)
    unexcused: list[str] = field(default_factory=list)
    moved: threading.Condition = field(default_factory=threading.Condition)
    done: threading.Event = field(default_factory=threading.Event)
    clients: list[Innocent] = field(default_factory=list)
    last_words: str = ""  # what the server logged that nobody has read before it stopped

    def kill(self, pid: int) -> None:
        self.doom(pid)
        os.kill(pid, KILL)

    def doom(self, pid: int) -> None:
        """From here on what is lost with this worker is excused."""
        self.kills.append(pid)

    def bury(self, child: Process, pid: int, how: str) -> None:
        """The log says how it ended, and that another one begins. Who connects from here on never meets it."""
        said = child.says("another one begins in ")
        assert f"(pid {pid}) {how}" in said, said
        self.buried = len(self.kills)

    def lose(self, worker: int | None, buried: int, error: Exception) -> None:
        text = f"of worker {worker}: {error!r}"
        excused = worker in self.kills if worker is not None else len(self.kills) > buried
        refused = isinstance(error, ConnectionRefusedError | TimeoutError)
        (self.lost if excused and not refused else self.unexcused).append(text)

    def go_on(self, times: int = 2) -> None:
        """Waits until each of them has been answered so many times more."""
        goals = [(client, client.answered + times) for client in self.clients]
        with self.moved:
            assert self.moved.wait_for(
                lambda: self.unexcused or all(client.answered >= goal for client, goal in goals), 2 * PATIENCE
            ), "some are not answered any more"
        assert not self.unexcused, self.unexcused


class Innocent(threading.Thread):
    """One client; ``keeps``: it asks on one connection as long as that stands, else on a new one each time."""

    def __init__(self, crowd: Crowd, path: str, keeps: bool) -> None:
        super().__init__(daemon=True)
        self.crowd, self.path, self.keeps = crowd, path, keeps
        self.answered = 0

    def run(self) -> None:
        while not self.crowd.done.is_set() and not self.crowd.unexcused:
            self.use_a_connection()

    def use_a_connection(self) -> None:
        worker: int | None = None
        buried = self.crowd.buried
        try:
            with connect(self.crowd.port) as sock:
                while not self.crowd.done.is_set():
                    answer = get(sock, f"{self.path}/{id(self)}-{self.answered}", close=not self.keeps)
                    worker = self.check(answer, worker)
                    if not self.keeps or b"\r\nConnection: close\r\n" in answer:
                        return
        except (OSError, AssertionError) as error:
            with self.crowd.moved:
                self.crowd.lose(worker, buried, error)
                self.crowd.moved.notify_all()

    def check(self, answer: bytes, worker: int | None) -> int:
        """It is the answer to this very request, from the worker that this connection belongs to; which one."""
        pid, _, word = body(answer).decode().partition(" ")
        if not answer.startswith(b"HTTP/1.1 200 ") or word != f"{id(self)}-{self.answered}":
            raise WrongAnswer(answer)
        if worker not in (None, int(pid)):
            raise WrongAnswer(answer)
        with self.crowd.moved:
            self.answered += 1
            self.crowd.moved.notify_all()
        return int(pid)


class WrongAnswer(TimeoutError):
    """Never excused."""


@contextmanager
def crowd(port: int, paths: tuple[str, ...] = ("/echo",)) -> Iterator[Crowd]:
    """Innocent clients while the block runs: for each path one that keeps its connection and one that does not."""
    those = Crowd(port)
    those.clients = [Innocent(those, path, keeps) for path in paths for keeps in (True, False)]
    for client in those.clients:
        client.start()
    try:
        those.go_on()
        yield those
        those.go_on()
    finally:
        those.done.set()
        for client in those.clients:
            client.join()
    assert not those.unexcused, those.unexcused


@contextmanager
def chaos(more: str = "", options: str = TWO, paths: tuple[str, ...] = ("/echo",)) -> Iterator[tuple[Process, Crowd]]:
    """(a server with workers, those who ask it). At the end it is stopped, and must end as one that is well."""
    with serving(options, ECHO + more) as (child, port):
        try:
            with crowd(port, paths) as those:
                yield child, those
            those.last_words = stop(child)
        except BaseException as error:
            error.add_note(child.autopsy())
            raise


def workers(port: int) -> set[int]:
    """Both workers, once both answer."""
    found: set[int] = set()
    while len(found) < 2:
        found.add(int(fetch(port, "/echo/w").split()[0]))
    return found


def replaced(port: int, gone: int) -> int:
    """Waits until connections go to two workers without the one that is gone; a worker that came."""
    while gone in (found := workers(port)):
        pass
    return max(found)


def connect_to(port: int, worker: int) -> socket.socket:
    """A kept connection of one certain worker. The kernel chooses at random who gets a connection."""
    answered: list[int] = []
    while len(answered) < 300:
        with ExitStack() as stack:
            sock = stack.enter_context(connect(port))
            answered.append(int(body(get(sock, "/echo/w")).split()[0]))
            if answered[-1] == worker:
                stack.pop_all()
                return sock
    raise AssertionError(f"worker {worker} gets no connections; these do: {set(answered)}")


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has reached it."""
    return state(pid) == "T"


def is_asleep(pid: int) -> bool:
    """Whether it waits for something to do."""
    return state(pid) == "S"


def state(pid: int) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "gone"
