"""Workers that are killed, again and again, while clients ask: only what the killed one had in hand is lost, nobody is
refused, the log names the worker and how it ended, and another one takes its place."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.crowd import ECHO, ECHO_LATER, chaos, connect_to, is_stopped, replaced, workers
from tests.masters import HUP, KILL, ONE, serving, stop, until
from tests.serving import body, connect, get, read_all, read_answer


@pytest.mark.parametrize("way", ["alone", "asyncio"])
def test_only_requests_of_killed_workers_are_lost(way: str) -> None:
    more, paths = ("", ("/echo",)) if way == "alone" else (ECHO_LATER, ("/echo", "/later", "/threads"))
    with chaos(more, paths=paths) as (child, crowd):
        for _ in range(3):
            for victim in workers(crowd.port):
                crowd.kill(victim)
                crowd.bury(child, victim, "was ended by SIGKILL")
                crowd.go_on()
                replaced(crowd.port, victim)
        assert len(crowd.lost) <= len(crowd.kills) * len(crowd.clients), crowd.lost
    assert "Traceback" not in crowd.last_words


def test_all_workers_at_once() -> None:
    with chaos() as (child, crowd):
        victims = workers(crowd.port)
        for victim in victims:
            crowd.kill(victim)
        said = {child.says("was ended by SIGKILL").partition(";")[0].split("pid ")[1] for _ in victims}
        assert said == {f"{victim}) was ended by SIGKILL" for victim in victims}
        crowd.go_on()
        assert not workers(crowd.port) & victims


@pytest.mark.no_asan  # it makes an exit code of SIGSEGV
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGALRM])
def test_the_log_names_the_signal(number: signal.Signals) -> None:
    with chaos() as (child, crowd):
        victim = min(workers(crowd.port))
        crowd.doom(victim)
        os.kill(victim, number)
        crowd.bury(child, victim, f"was ended by {number.name}")
        crowd.go_on()


OPEN_REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


def test_an_open_request_of_the_other_worker_is_answered() -> None:
    with chaos() as (child, crowd), ExitStack() as stack:
        socks = {pid: stack.enter_context(connect_to(crowd.port, pid)) for pid in workers(crowd.port)}
        for sock in socks.values():
            sock.sendall(OPEN_REQUEST)
            assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        victim = min(socks)
        crowd.kill(victim)
        child.says(f"(pid {victim}) was ended by SIGKILL")
        assert read_all(socks.pop(victim)) == b""
        (kept,) = socks.values()
        kept.sendall(b"12345")
        assert body(read_answer(kept)) == b"posted"


def test_who_waits_to_be_accepted_is_answered_by_the_next() -> None:
    """Twenty connections, each with its request, lie in the queue of a worker that is killed."""
    with serving(ONE, ECHO) as (child, port), ExitStack() as stack:
        with connect(port) as sock:
            victim = int(body(get(sock, "/echo/w")).split()[0])
        os.kill(victim, signal.SIGSTOP)
        until(lambda: is_stopped(victim))
        waiting = [stack.enter_context(connect(port)) for _ in range(20)]
        for number, sock in enumerate(waiting):
            sock.sendall(b"GET /echo/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        os.kill(victim, KILL)
        answers = [body(read_answer(sock)).split() for sock in waiting]
        assert [word for _, word in answers] == [b"%d" % number for number in range(20)]
        assert {int(pid) for pid, _ in answers}.isdisjoint({victim})
        assert "Traceback" not in stop(child)


def test_a_worker_that_dies_while_its_master_is_suspended() -> None:
    with chaos() as (child, crowd):
        child.signal(signal.SIGSTOP)
        until(lambda: is_stopped(child.popen.pid))
        victim = min(workers(crowd.port))
        with connect_to(crowd.port, victim) as sock:
            crowd.kill(victim)
            assert read_all(sock) == b""
        child.signal(signal.SIGCONT)
        crowd.bury(child, victim, "was ended by SIGKILL")
        replaced(crowd.port, victim)


def test_a_coming_worker_that_is_killed_ends_the_reload_and_no_request(tmp_path: Path) -> None:
    die = tmp_path / "die"
    more = f"server.app.on_start(lambda: os.path.exists({str(die)!r}) and os.kill(os.getpid(), 9))\n"
    with chaos(more) as (child, crowd):
        before = workers(crowd.port)
        die.touch()
        child.signal(HUP)
        assert "was ended by SIGKILL before it was ready" in child.says("another one begins in ")
        child.says("the reload is given up, the old workers stay")
        crowd.go_on()
        assert workers(crowd.port) == before
        die.unlink()
        child.signal(HUP)
        child.says("the reload is done")
        crowd.go_on()
        until(lambda: not workers(crowd.port) & before)
    assert crowd.lost == []
