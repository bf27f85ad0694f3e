"""Counters in memory that processes share: rows, histograms, forks, and what workers count together.

What each number means, traffic shows (wire/test_stats.py); this shows that none is lost, counted twice, or goes back.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

import web
from tests.masters import HUP, KILL, TWO, gone, pids, serving, stop, until
from tests.serving import Process, body, connect, fetch, get, read_all
from web._core import Loop, Stats

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GAUGES = ("requests_pending", "threads_busy", "threads_waiting", "unfinished")


def make(**options: Any) -> web.Server:
    return web.Server(web.App(web.GET("/", lambda req: "hello")), "127.0.0.1", 0, **options)


def loop_in(stats: Stats, row: int) -> Loop:
    """A loop that counts into a row, as that of a worker does."""
    limits = web.Limits(connections=1, handshakes=1)
    return Loop(web.App()._compile(), limits, stats=stats, row=row)


def count_turns(stats: Stats, row: int, *seconds: float) -> None:
    """Someone counts into the row, and ends."""
    loop = loop_in(stats, row)
    for number in seconds:
        loop.note_lag(number)
    loop.close()


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_are_taken_until_none_is_left() -> None:
    stats = Stats(4)
    assert stats.rows == 4
    assert [stats.take_row() for _ in range(5)] == [1, 2, 3, -1, -1]  # row 0 is nobody's
    stats.give_back_row(2)
    assert [stats.take_row() for _ in range(2)] == [2, -1]
    assert Stats(1).take_row() == -1


@pytest.mark.parametrize("number", [-1, 3, 1 << 20])
def test_a_row_that_is_not_there_cannot_be_given_back(number: int) -> None:
    with pytest.raises(ValueError, match=f"there is no row {number}"):
        Stats(3).give_back_row(number)


def test_a_row_that_was_not_taken_cannot_be_given_back() -> None:
    stats = Stats(3)
    taken = stats.take_row()
    for number in (0, 2):
        with pytest.raises(ValueError, match="was not taken"):
            stats.give_back_row(number)
    stats.give_back_row(taken)
    with pytest.raises(ValueError, match="was not taken"):  # twice
        stats.give_back_row(taken)


@pytest.mark.parametrize("rows", [-1, 0, (1 << 16) + 1])
def test_impossible_numbers_of_rows(rows: int) -> None:
    with pytest.raises(ValueError, match="give 1 to"):
        Stats(rows)


def test_what_was_never_made_says_so() -> None:
    with pytest.raises(RuntimeError, match="never made"):
        Stats.__new__(Stats).snapshot()
    stats = Stats(2)
    with pytest.raises(RuntimeError, match="made before"):
        stats.__init__(5)
    assert stats.rows == 2


def test_a_row_that_is_given_back_stays_in_the_sum() -> None:
    stats = Stats(2)
    for times in range(1, 4):
        count_turns(stats, stats.take_row(), 0.001, 0.002)
        assert stats.snapshot()["turns"]["count"] == 2 * times
        stats.give_back_row(1)
        turns = stats.snapshot()["turns"]
        assert (turns["count"], turns["sum"]) == (2 * times, pytest.approx(0.003 * times))


def test_gauges_of_a_process_that_was_killed_end_with_its_row() -> None:
    """It had no time to count down: what is of the moment is not taken over."""
    stats = Stats(3)
    loops = [loop_in(stats, stats.take_row()) for _ in range(2)]
    loops[0].note_lag(0.001)
    assert stats.snapshot()["processes"] == 2
    stats.give_back_row(1)
    assert stats.snapshot()["processes"] == 1
    assert stats.snapshot()["turns"]["count"] == 1
    loops[1].close()
    assert stats.snapshot()["processes"] == 0


def test_a_sum_holds_while_rows_are_given_back() -> None:
    """Everything was counted before: a reader that saw a row neither at its old place nor in row 0 would see less, and
    one that saw it twice would see more."""
    stats = Stats(401)
    for _ in range(400):
        count_turns(stats, stats.take_row(), 0.001)
    begun, done = threading.Event(), threading.Event()

    def give_back() -> None:
        begun.wait()
        for number in range(1, 401):
            stats.give_back_row(number)
            time.sleep(0)  # the reader has its turn
        done.set()

    writer = threading.Thread(target=give_back)
    writer.start()
    seen = set()
    begun.set()
    while not done.is_set():
        turns = stats.snapshot()["turns"]
        seen.add((turns["count"], round(turns["sum"], 6)))
    writer.join()
    assert seen == {(400, 0.4)}
    assert stats.snapshot()["turns"]["count"] == 400


# -- histograms --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lagging() -> Iterator[tuple[Callable[[float], None], Callable[[], dict[float, int]]]]:
    """(note so many nanoseconds, buckets) of a loop that never turns."""
    stats = Stats(1)
    loop = loop_in(stats, 0)
    yield lambda ns: loop.note_lag(ns / 1e9), lambda: stats.snapshot()["turns"]
    loop.close()


def test_bounds_are_powers_of_two(lagging: Any) -> None:
    bounds = list(lagging[1]()["buckets"])
    assert bounds == [2**i / 1e6 for i in range(26)]


@pytest.mark.parametrize("i", range(26))
def test_a_bucket_holds_what_is_at_most_its_bound(lagging: Any, i: int) -> None:
    note, turns = lagging
    limit = 1000 * 2**i  # of bucket i, in ns
    note(limit + 0.5)  # a half: whichever way seconds round, the whole number of ns is this one
    note(limit + 1.5)
    note(2 * limit + 0.5)
    found = [*turns()["buckets"].values(), turns()["above"]]
    expected = [0] * 27
    expected[i] += 1
    expected[i + 1] += 2
    assert found == expected


def test_the_ends_of_a_histogram(lagging: Any) -> None:
    note, turns = lagging
    for ns in (0, 0.9, 1, 1000.5, -5, -1e12):  # a clock that went back took no time
        note(ns)
    note(1e15)
    assert (list(turns()["buckets"].values()), turns()["above"]) == ([6] + [0] * 25, 1)


def test_the_sum_of_a_histogram() -> None:
    stats = Stats(1)
    count_turns(stats, 0, 0.25, 3.0, 100.0, -1.0)
    turns = stats.snapshot()["turns"]
    assert (turns["count"], sum(turns["buckets"].values()), turns["above"]) == (4, 3, 1)
    assert turns["sum"] == pytest.approx(103.25)


# -- a server's life ---------------------------------------------------------------------------------------------------


def ask(server: web.Server, sock: socket.socket) -> None:
    sock.sendall(REQUEST)
    done = server.stats()["requests"] + 1
    while server.stats()["requests"] < done:
        server.run_once(5)
    server.run_once(0)


def test_a_closed_server_keeps_its_numbers_and_a_new_life_begins_at_zero() -> None:
    server = make()
    assert server.stats()["processes"] == 0
    for times in (1, 2):
        server.open()
        assert server.stats()["processes"] == 1
        assert server.stats()["requests"] == server.stats()["accepted"] == server.stats()["turns"]["count"] == 0
        with connect(server.port) as sock:
            for _ in range(times):
                ask(server, sock)
        while server.connections:
            server.run_once(5)
        before = server.stats()
        server.close()
        assert (server.stats()["requests"], server.stats()["accepted"]) == (times, 1)
        assert server.stats() == {**before, "processes": 0}


def test_no_unfinished_connection_is_left_in_a_closed_server() -> None:
    server = make()
    server.open()
    with connect(server.port):
        while not server.stats()["unfinished"]:
            server.run_once(5)
        server.close()
    assert server.stats()["unfinished"] == 0


def test_no_pending_request_is_left_in_a_closed_server() -> None:
    """The thread ends as told, only that nobody is there any more to take what it answers."""
    begun, opened = threading.Event(), threading.Event()

    def slow(req: web.Request) -> str:
        begun.set()
        opened.wait(20)
        return "late"

    server = web.Server(web.App(web.GET("/", slow, blocking=True)), "127.0.0.1", 0)
    server.open()
    with connect(server.port) as sock:
        sock.sendall(REQUEST)
        while not begun.is_set():
            server.run_once(0.01)
        assert server.stats()["requests_pending"] == 1
        opened.set()
        server.close()
    assert server.stats()["threads_busy"] == 0
    assert server.stats()["requests_pending"] == 0


def test_connections_of_a_closed_server_are_counted_as_ended() -> None:
    server = make()
    server.open()
    with connect(server.port) as sock:
        ask(server, sock)
        server.close()
    assert sum(server.stats()["connections"].values()) == 0
    assert server.stats()["closed"]["stopped"] == 1


def test_a_server_that_is_forgotten_and_collected_takes_its_numbers_along() -> None:
    """Loop, server and counters in one cycle: whatever the collector frees first, nothing counts into freed memory."""

    def forget() -> None:
        server: web.Server = web.defserver("127.0.0.1", 0, web.GET("/", lambda req: str(server.stats())))
        server.open()

    for _ in range(10):
        forget()
    gc.collect()


# -- forks -------------------------------------------------------------------------------------------------------------

forks = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12: fork with threads; there are none of ours


def in_child(work: Callable[[], object]) -> None:
    """Does it in a fork, which ends without a word to anybody."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@forks
def test_a_child_that_closes_its_copy_changes_no_number() -> None:
    server = make()
    server.open()
    with closing(server):
        before = server.stats()
        in_child(server.close)
        assert server.stats() == before


@forks
def test_a_child_that_closes_its_copy_changes_no_number_of_connections() -> None:
    server = make()
    server.open()
    with closing(server), connect(server.port) as idle, connect(server.port) as silent, connect(server.port) as half:
        ask(server, idle)
        half.sendall(REQUEST[:5])
        while server.stats()["unfinished"] < 2 or not server.stats()["connections"]["active"]:
            server.run_once(5)
        before = server.stats()
        assert before["connections"]["idle"] == 2
        in_child(server.close)
        assert server.stats() == before
        ask(server, idle)  # and the parent goes on counting where it did
        assert server.stats()["requests"] == before["requests"] + 1
        silent.close()


@forks
def test_what_a_child_serves_itself_is_its_own() -> None:
    """The child opens the server anew: that is another life, and another memory."""
    server = make()
    server.open()

    def work() -> None:
        server.close()
        server.open()
        with connect(server.port) as sock:
            ask(server, sock)
        assert server.stats()["requests"] == 1
        server.close()

    with closing(server):
        before = server.stats()
        in_child(work)
        assert server.stats() == before


@forks
def test_a_child_that_drops_its_copy_changes_no_number() -> None:
    """It never heard of close(): multiprocessing's children end so, and sys.exit()."""
    servers = [make()]
    servers[0].open()
    before = servers[0].stats()

    def drop() -> None:
        servers.clear()
        gc.collect()

    in_child(drop)
    after = servers[0].stats()
    servers[0].close()
    assert after == before


# -- workers -----------------------------------------------------------------------------------------------------------

# Sums as a worker sees them, and as the master does: it is asked by SIGURG, and answers on stdout.
MORE = """
import json, signal
server.app.add(web.metrics(), web.GET("/stats", lambda req: json.dumps([os.getpid(), server.stats()])))

def tell(*_):  # in the master: a worker has a process of its own, which nobody sends this signal
    print(json.dumps(server.stats()), flush=True)

signal.signal(signal.SIGURG, tell)
"""


def from_master(child: Process) -> dict[str, Any]:
    import signal

    child.signal(signal.SIGURG)
    found: dict[str, Any] = json.loads(child.line())
    return found


def from_worker(port: int) -> tuple[int, dict[str, Any]]:
    """(pid, what it sees)."""
    pid, stats = json.loads(fetch(port, "/stats"))
    return pid, stats


def sample(text: str, name: str) -> int:
    return next(int(line.split()[1]) for line in text.split("\n") if line.startswith(f"weblatch_{name} "))


def from_both(port: int) -> dict[int, dict[str, Any]]:
    """What each of two workers sees."""
    found: dict[int, dict[str, Any]] = {}

    def ask_one() -> bool:
        found.update([from_worker(port)])
        return len(found) == 2

    until(ask_one)
    return found


def counts(value: Any) -> Any:
    """Without what is of the moment."""
    moment = {"processes", "connections", *GAUGES}
    return {name: number for name, number in value.items() if name not in moment}


def assert_no_less(after: Any, before: Any) -> None:
    """Each single number, in whatever it lies."""
    if isinstance(before, dict):
        for name in before:
            assert_no_less(after[name], before[name])
    elif isinstance(before, list):
        for one, other in zip(sorted(after), sorted(before), strict=False):
            assert_no_less(one[2], other[2])
    else:
        assert after >= before


def test_every_worker_and_the_master_tell_the_sums_of_all() -> None:
    with serving(TWO, MORE) as (child, port):
        workers = {pids(port)[1] for _ in range(60)}
        assert len(workers) == 2  # so none of them answered all of these alone
        for pid in from_both(port):
            assert pid in workers
        known = from_master(child)["requests"]
        assert known >= 62
        for number in range(4):
            text = fetch(port, "/metrics")
            assert sample(text, "requests_total") == known + number  # this one is not counted before it is answered
            assert sample(text, "processes") == 2
        until(lambda: sum(from_master(child)["connections"].values()) == 0)
        last = from_master(child)
        assert last["requests"] == last["accepted"] == last["responses"]["2xx"] == known + 4
        assert last["latency"]["count"] == known + 4
        assert sum(last["closed"].values()) == known + 4
        assert [last[name] for name in GAUGES] == [0] * 4
        stop(child)


def test_sums_do_not_go_back_when_a_worker_is_killed() -> None:
    with serving(TWO, MORE) as (child, port):
        for _ in range(40):
            fetch(port)
        with connect(port) as kept:
            _, worker = map(int, body(get(kept)).split())
            before = from_master(child)
            assert before["connections"]["idle"] + before["connections"]["closing"] >= 1
            os.kill(worker, KILL)
            child.says("another one begins in ")  # the master has given its row back by now
            assert_no_less(counts(from_master(child)), counts(before))
        until(lambda: gone(worker) and from_master(child)["processes"] == 2)
        for seen in from_both(port).values():
            assert_no_less(counts(seen), counts(before))
        assert from_master(child)["requests"] >= before["requests"] + 2
        until(lambda: sum(from_master(child)["connections"].values()) == 0)  # of the killed one nothing is left
        stop(child)


def test_gauges_end_with_their_process() -> None:
    """A worker that is killed had no time to count its connections and threads down."""
    hold = """
import threading
server.app.add(web.GET("/hold", lambda req: os.write(1, b"held\\n") and threading.Event().wait(), blocking=True))
"""
    with serving(TWO, MORE + hold) as (child, port), connect(port) as busy, connect(port) as half:
        half.sendall(b"GET / HT")
        busy.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        assert child.line() == "held"
        until(lambda: from_master(child)["unfinished"] == 1)
        seen = from_master(child)
        assert (seen["threads_busy"], seen["requests_pending"], seen["processes"]) == (1, 1, 2)
        assert seen["connections"]["active"] == 2
        for worker in {pids(port)[1] for _ in range(60)}:
            os.kill(worker, KILL)
        until(lambda: from_master(child)["threads_busy"] == 0)
        until(lambda: from_master(child)["unfinished"] == 0)
        until(lambda: from_master(child)["processes"] == 2)
        until(lambda: sum(from_master(child)["connections"].values()) == 0)
        assert from_master(child)["requests_pending"] == 0
        stop(child)


def test_sums_do_not_go_back_at_a_reload() -> None:
    with serving(TWO, MORE) as (child, port):
        for _ in range(40):
            fetch(port)
        old = set(from_both(port))
        before = from_master(child)
        child.signal(HUP)
        child.says("the reload is done")
        assert_no_less(counts(from_master(child)), counts(before))
        until(lambda: all(map(gone, old)))
        until(lambda: from_master(child)["processes"] == 2)
        assert_no_less(counts(from_master(child)), counts(before))
        new = from_both(port)
        assert not old & set(new)
        for seen in new.values():
            assert_no_less(counts(seen), counts(before))
        assert from_master(child)["requests"] >= before["requests"] + 2
        stop(child)


def test_refusals_of_all_workers_are_added_up_by_kind() -> None:
    """Each worker saw the kinds in an order of its own; a reload moves them to where those of earlier ones are."""
    wires = [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"]
    with serving(TWO, MORE) as (child, port):
        old = set(from_both(port))
        for wire in wires * 10:
            with connect(port) as sock:
                sock.sendall(wire)
                assert read_all(sock).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 "))
        expected = [
            [400, "HTTP/1.1 request without Host", 10],
            [400, "invalid character in the method", 10],
            [505, "HTTP version other than 1.x", 10],
        ]
        assert sorted(from_master(child)["refusals"]) == expected
        child.signal(HUP)
        child.says("the reload is done")
        until(lambda: all(map(gone, old)))
        for seen in from_both(port).values():
            assert (sorted(seen["refusals"]), seen["requests_refused"]) == (expected, 30)
        stop(child)


def test_sums_do_not_go_back_at_the_end_of_workers_that_answered_enough() -> None:
    with serving("{'workers': web.workers(2, max_requests=10)}", MORE) as (child, port):
        most = 0
        workers: set[int] = set()
        for _ in range(60):
            pid, seen = from_worker(port)
            assert seen["requests"] >= most
            most = seen["requests"]
            workers.add(pid)
        child.says("is replaced: it answered ")
        until(lambda: from_worker(port)[0] not in workers)
        until(lambda: gone(min(workers)) or gone(max(workers)))
        assert from_master(child)["requests"] > most
        stop(child)


def test_a_row_is_used_again() -> None:
    """More workers, one after another, than there are rows; none is counted twice or into nowhere."""
    with serving("{'workers': 1}", MORE + "server.app.add(web.GET('/ready', lambda req: 'yes'))") as (child, port):
        stats = [from_worker(port)[1]["requests"]]
        for _ in range(3):
            pid, _seen = from_worker(port)
            child.signal(HUP)
            child.says("the reload is done")
            until(lambda: gone(pid))  # noqa: B023 - called in this very round
            stats.append(from_worker(port)[1]["requests"])
        assert stats == [0, 2, 4, 6]
        assert from_master(child)["processes"] == 1
        stop(child)
