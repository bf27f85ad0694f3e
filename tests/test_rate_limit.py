"""web.rate_limit: a token bucket for each client, bounded memory, and nothing that a flood sets free."""

from __future__ import annotations

import math
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from tests.asking import ask
from web.rate_limit import Buckets, client_key


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sys.modules["web.rate_limit"], "monotonic", clock)
    return clock


def site(*args: Any, **options: Any) -> web.App:
    return web.App(web.rate_limit(*args, **options), web.GET("/", lambda req: "ok"))


# ---- the buckets ----


def test_a_burst_and_then_one_for_each_interval() -> None:
    buckets = Buckets(2.0, 3)
    assert [buckets.take("a", 100.0) for _ in range(5)] == [0, 0, 0, 2.0, 2.0]
    assert buckets.take("a", 101.5) == 0.5
    assert buckets.take("a", 102.0) == 0
    assert buckets.take("a", 102.0) == 2.0
    assert [buckets.take("a", 1000.0) for _ in range(4)] == [0, 0, 0, 2.0], "a pause fills it, and no more than that"


def test_clients_do_not_share() -> None:
    buckets = Buckets(1.0, 1)
    assert [buckets.take(key, 1.0) for key in "abab"] == [0, 0, 1.0, 1.0]


def test_buckets_that_are_full_again_are_dropped() -> None:
    buckets = Buckets(1.0, 1)
    for key in range(100):
        buckets.take(key, 0.0)
    assert len(buckets) == 100
    for step in range(100):
        buckets.take("busy", 5.0 + 2 * step)
    assert len(buckets) == 1


def test_a_flood_cannot_grow_it_nor_set_a_busy_client_free() -> None:
    buckets = Buckets(60.0, 2, most=100)
    assert [buckets.take("busy", 0.0) for _ in range(3)][-1] > 0
    for number in range(10_000):
        assert buckets.take(number, 1.0) == 0
        assert len(buckets) <= 100
        if number % 50 == 0:
            assert buckets.take("busy", 1.0) > 0
    assert buckets.take(0, 1.0) == buckets.take(0, 1.0) == 0, "it was forgotten long ago"


@given(
    st.floats(0.001, 100), st.integers(1, 20), st.lists(st.floats(0, 50), min_size=1, max_size=60),
)  # fmt: skip
def test_never_more_than_the_rate(interval: float, burst: int, pauses: list[float]) -> None:
    """In every span of time at most burst and what was refilled, whatever the pattern; refused ones cost nothing."""
    buckets, now, granted = Buckets(interval, burst), 0.0, []
    for pause in pauses:
        now += pause
        wait = buckets.take("a", now)
        if wait == 0:
            granted.append(now)
        else:
            assert wait < 1e-4 or buckets.take("a", now + wait * 0.9) > 0
            now += wait
            assert buckets.take("a", now) == 0, "what it says is enough"
            granted.append(now)
    for first, start in enumerate(granted):
        for last in range(first, len(granted)):
            assert last - first + 1 <= burst + (granted[last] - start) / interval + 0.1


class Slow:
    """A key that lets other threads in whenever it is looked at."""

    def __hash__(self) -> int:
        time.sleep(0.0001)
        return 1


def test_threads() -> None:
    buckets, key = Buckets(1000.0, 50), Slow()
    granted: list[int] = []

    def take() -> None:
        granted.append(sum(buckets.take(key, 0.0) == 0 for _ in range(50)))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 50


# ---- who a client is ----


def key(host: str) -> bytes:
    return client_key(cast(web.Request, SimpleNamespace(client=(host, 1))))


def test_addresses() -> None:
    assert key("192.0.2.1") != key("192.0.2.2")
    assert key("2001:db8::1") == key("2001:db8::ffff:1") == key("2001:db8:0:0:ffff:ffff:ffff:ffff")
    assert key("2001:db8::1") != key("2001:db8:0:1::1")
    assert key("::ffff:192.0.2.1") == key("192.0.2.1") != key("::ffff:192.0.2.2")
    assert key("fe80::1%eth0") == key("fe80::2")
    assert client_key(cast(web.Request, SimpleNamespace(client=None))) == b""


# ---- the hook ----


def test_429_says_when_to_come_back(clock: Clock) -> None:
    app = site(2, 5)
    assert [ask(app).status for _ in range(2)] == [200, 200]
    answer = ask(app)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    assert answer.body == b"429 Too Many Requests: try again in 3 s"
    clock.now += 2.4
    assert ask(app).headers["Retry-After"] == "1"
    clock.now += 0.1
    assert [ask(app).status for _ in range(2)] == [200, 429]


def test_everything_counts(clock: Clock) -> None:
    app = site(3, 60)
    assert [ask(app, target).status for target in ("/nowhere", "/", "/nowhere", "/nowhere")] == [404, 200, 404, 429]


def test_burst(clock: Clock) -> None:
    app = site(60, 60, burst=2)
    assert [ask(app).status for _ in range(3)] == [200, 200, 429]
    clock.now += 1
    assert [ask(app).status for _ in range(2)] == [200, 429]


def test_by_a_function(clock: Clock) -> None:
    app = site(1, 60, by=lambda req: req.header("x-user"))
    for user in ("anna", "bert"):
        assert [ask(app, fields=f"X-User: {user}").status for _ in range(2)] == [200, 429]
    assert [ask(app).status for _ in range(3)] == [200] * 3, "None: not limited"


def test_long_keys_are_cut_and_still_differ(clock: Clock) -> None:
    app = site(1, 60, by=lambda req: req.header("x-user"))
    long = "x" * 5000
    assert [ask(app, fields=f"X-User: {long}{last}").status for last in "aabb"] == [200, 429, 200, 429]
    short = sys.modules["web.rate_limit"]._short
    for one in (long, long.encode(), 10**5000):
        assert sys.getsizeof(short(one)) < 100
        assert not isinstance(short(one), tuple) or len(short(one)[0]) == 48


def test_a_key_of_another_kind_is_a_500(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(site(1, 60, by=lambda req: ["x"])).status == 500
    assert "str, bytes, int or None is needed" in caplog.text


async def later(req: web.Request) -> str:
    return ""


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((0, 60), {}, "requests=0: give a whole number from 1"),
        ((1.5, 60), {}, "requests=1.5"),
        ((True, 60), {}, "requests=True"),
        ((1, 0), {}, "per_seconds=0: give a number of seconds from 0.001"),
        ((1, math.inf), {}, "per_seconds=inf"),
        ((1, math.nan), {}, "per_seconds=nan"),
        ((1, "60"), {}, "per_seconds='60'"),
        ((1, 60), {"burst": 0}, "burst=0"),
        ((1, 60), {"by": "client"}, "by='client': give a plain function"),
        ((1, 60), {"by": later}, "give a plain function"),
    ],
)
def test_start_up_errors(args: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(web.RouteError, match=message):
        web.rate_limit(*args, **options)
