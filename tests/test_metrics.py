"""The form ``metrics()``: Prometheus' text format 0.0.4, parsed strictly; and the forms of health routes.

That the numbers are right, others show (test_stats.py, wire/test_stats.py); here is shown that what they are written in
can be read, and that the route is one like others.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

import web
from tests.serving import connect
from tests.wire.clients import Answer, Peer, request
from web._core import Probes, stats_of
from web.metrics import Counters, prometheus_text
from web.routing import make_router

# -- a strict reader ---------------------------------------------------------------------------------------------------

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)")
Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    kind: str
    help: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)  # (suffix, labels) -> value

    def by(self, label: str) -> dict[str, float]:
        """The value of the only label -> the sample."""
        found = {}
        for (suffix, labels), value in self.samples.items():
            assert (suffix, [name for name, _ in labels]) == ("", [label])
            found[labels[0][1]] = value
        return found

    @property
    def value(self) -> float:
        assert list(self.samples) == [("", ())]
        return self.samples["", ()]


def parse(text: str) -> dict[str, Family]:
    """Families by name. Each begins with HELP and TYPE, in this order, and is in one piece."""
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    name = ""
    lines = iter(text[:-1].split("\n"))
    for line in lines:
        if line.startswith("#"):
            help_line = re.fullmatch(rf"# HELP ({_NAME}) (\S.*)", line)
            type_line = re.fullmatch(rf"# TYPE ({_NAME}) (counter|gauge|histogram)", next(lines))
            assert help_line, line
            assert type_line, line
            name = help_line[1]
            assert type_line[1] == name
            assert name not in families, f"{name} is in two pieces"
            families[name] = Family(type_line[2], help_line[2])
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample, line
        assert sample[1].startswith(name), line
        family = families[name]
        labels = tuple(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', sample[2] or ""))
        key = (sample[1].removeprefix(name), labels)
        assert key not in family.samples, f"{line} comes twice"
        family.samples[key] = float(sample[3])
    for name, family in families.items():
        check(name, family)
    return families


def check(name: str, family: Family) -> None:
    if family.kind == "histogram":
        check_histogram(family)
        return
    assert {suffix for suffix, _ in family.samples} <= {""}
    assert name.endswith("_total") == (family.kind == "counter"), name
    if family.kind == "counter":
        assert all(value >= 0 and value == int(value) for value in family.samples.values())


def check_histogram(family: Family) -> None:
    buckets = [(labels, value) for (suffix, labels), value in family.samples.items() if suffix == "_bucket"]
    assert {suffix for suffix, _ in family.samples} == {"_bucket", "_sum", "_count"}
    assert [[name for name, _ in labels] for labels, _ in buckets] == [["le"]] * len(buckets)
    bounds = [float(labels[0][1]) for labels, _ in buckets]
    numbers = [value for _, value in buckets]
    assert bounds == sorted(set(bounds))
    assert buckets[-1][0] == (("le", "+Inf"),)
    assert numbers == sorted(numbers)  # each bucket holds all that the one before it holds
    assert numbers[-1] == family.samples["_count", ()]


# -- asking ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def serve(stack: ExitStack, app: web.App, **options: Any) -> Peer:
    """A client of a server that runs until the end of the test."""
    options.setdefault("limits", web.Limits(shutdown_grace=0.0))
    server = stack.enter_context(web.Server(app, "127.0.0.1", 0, **options).running())
    return client_of(stack, server)


def client_of(stack: ExitStack, server: web.Server) -> Peer:
    return Peer(stack.enter_context(connect(server.port)))


def read(answer: Answer) -> dict[str, Family]:
    assert (answer.status, answer["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return parse(answer.body.decode("ascii"))


def zero() -> Counters:
    return web.Server(web.App(), "127.0.0.1", 0).stats()


# -- the text ----------------------------------------------------------------------------------------------------------

FAMILIES = {
    "processes": "gauge",
    "requests_total": "counter",
    "responses_total": "counter",
    "requests_refused_total": "counter",
    "request_duration_seconds": "histogram",
    "requests_pending": "gauge",
    "slow_handlers_total": "counter",
    "threads_busy": "gauge",
    "threads_waiting": "gauge",
    "connections_accepted_total": "counter",
    "accept_failures_total": "counter",
    "connections": "gauge",
    "connections_unfinished": "gauge",
    "connections_closed_total": "counter",
    "timeouts_total": "counter",
    "tls_handshakes_total": "counter",
    "tls_handshakes_resumed_total": "counter",
    "tls_handshakes_failed_total": "counter",
    "received_bytes_total": "counter",
    "sent_bytes_total": "counter",
    "loop_held_seconds": "histogram",
}


def test_every_family_is_there_though_nothing_happened() -> None:
    """A series that appears with its first event has lost that event to who computes rates."""
    found = parse(prometheus_text(zero()))
    assert {name.removeprefix("weblatch_"): family.kind for name, family in found.items()} == FAMILIES
    assert all(name.startswith("weblatch_") for name in found)
    assert all(not any(family.samples.values()) for family in found.values())
    for name, family in found.items():
        assert len(family.samples) > 0 or name == "weblatch_requests_refused_total"


def test_labels() -> None:
    found = parse(prometheus_text(zero()))
    assert list(found["weblatch_responses_total"].by("class")) == ["1xx", "2xx", "3xx", "4xx", "5xx"]
    assert list(found["weblatch_connections"].by("state")) == ["handshaking", "idle", "active", "closing"]
    kinds = ["handshake", "head", "idle", "body", "response", "linger"]
    assert list(found["weblatch_timeouts_total"].by("kind")) == kinds
    for name, key in (("connections_closed", "closed"), ("tls_handshakes_failed", "handshakes_failed")):
        reasons = found[f"weblatch_{name}_total"].by("reason")
        assert list(reasons) == list(cast(dict[str, Any], zero())[key])
        assert all(re.fullmatch("[a-z_]+", reason) for reason in reasons)


def numbered(value: Any, numbers: Iterator[int]) -> Any:
    """The same, with another number in each place."""
    if isinstance(value, dict):
        return {key: numbered(one, numbers) for key, one in value.items()}
    return next(numbers) if isinstance(value, int) else value


def test_every_number_is_in_its_place() -> None:
    counters = cast(dict[str, Any], numbered(zero(), iter(range(1, 1000))))
    counters["refusals"] = [(400, "invalid Host", 7), (413, "it's too large", 8)]
    for name in ("latency", "turns"):
        histogram = counters[name]
        histogram["sum"] = 0.1 + histogram["count"]
        histogram["count"] = sum(histogram["buckets"].values()) + histogram["above"]
    found = parse(prometheus_text(cast(Counters, counters)))
    places = {
        "processes": "processes", "requests_total": "requests", "requests_pending": "requests_pending",
        "slow_handlers_total": "slow_handlers", "threads_busy": "threads_busy", "threads_waiting": "threads_waiting",
        "connections_accepted_total": "accepted", "accept_failures_total": "accept_failures",
        "connections_unfinished": "unfinished", "tls_handshakes_total": "handshakes",
        "tls_handshakes_resumed_total": "handshakes_resumed", "received_bytes_total": "bytes_received",
        "sent_bytes_total": "bytes_sent",
    }  # fmt: skip
    for name, key in places.items():
        assert found[f"weblatch_{name}"].value == counters[key], name
    labelled = {
        ("responses_total", "class"): "responses", ("connections", "state"): "connections",
        ("connections_closed_total", "reason"): "closed", ("timeouts_total", "kind"): "timeouts",
        ("tls_handshakes_failed_total", "reason"): "handshakes_failed",
    }  # fmt: skip
    for (name, label), key in labelled.items():
        assert found[f"weblatch_{name}"].by(label) == counters[key], name
    assert found["weblatch_requests_refused_total"].samples == {
        ("", (("status", "400"), ("reason", "invalid Host"))): 7,
        ("", (("status", "413"), ("reason", "it's too large"))): 8,
    }
    for name, key in (("request_duration_seconds", "latency"), ("loop_held_seconds", "turns")):
        samples = found[f"weblatch_{name}"].samples
        assert samples["_sum", ()] == pytest.approx(counters[key]["sum"])
        so_far = 0
        for bound, number in counters[key]["buckets"].items():
            so_far += number
            at = next(value for (_, labels), value in samples.items() if labels and float(labels[0][1]) == bound)
            assert at == so_far


def test_bounds_are_read_as_they_are_counted() -> None:
    """Rounded, two of them might be one."""
    samples = parse(prometheus_text(zero()))["weblatch_loop_held_seconds"].samples
    bounds = [float(labels[0][1]) for (suffix, labels) in samples if suffix == "_bucket"]
    assert bounds == [2**i / 1e6 for i in range(26)] + [math.inf]


@pytest.mark.parametrize("value", [2**53 + 1, 2**64 - 1])
def test_large_numbers_are_written_whole(value: int) -> None:
    counters = zero()
    counters["bytes_sent"] = value
    assert f"\nweblatch_sent_bytes_total {value}\n" in prometheus_text(counters)


BAD_ENDS = [
    b'"\r\n\r\n',
    b"\\: \x01\r\n\r\n",
    b"\n",
    b"\r\r",
    b"Host:\r\n\r\n",
    b"A: b\r\n" * 4,
    b" \r\n",
    b"A : b\r\n\r\n",
]


def test_what_the_parser_says_needs_no_escape() -> None:
    """The reasons of refusals are its own words: no client has one of its own in them."""
    server = web.Server(web.App(), "127.0.0.1", 0, limits=web.Limits(field_count=3))
    with ExitStack() as stack:
        running = stack.enter_context(server.running())
        for end in BAD_ENDS:
            for start in (b"GET / HTTP/1.1\r\nHost: a\r\n", b'GET / HTTP/1.1\r\nHost: "a', b"CONNECT a", b'GET "'):
                peer = client_of(stack, running)
                peer.send(start + end)
                peer.answer()
        found = parse(prometheus_text(running.stats()))["weblatch_requests_refused_total"]
        assert len(found.samples) >= 8
        assert sum(found.samples.values()) == running.stats()["requests_refused"] == 4 * len(BAD_ENDS)
        assert all('"' not in text and "\\" not in text for _, text, _ in running.stats()["refusals"])


# -- the route ---------------------------------------------------------------------------------------------------------


def test_it_tells_of_the_requests_before_it(stack: ExitStack) -> None:
    peer = serve(stack, web.App(web.metrics(), web.GET("/", lambda req: "hello")))
    for number in range(3):
        found = read(peer.ask("/metrics"))
        assert found["weblatch_requests_total"].value == 2 * number
        assert found["weblatch_request_duration_seconds"].samples["_count", ()] == 2 * number
        assert found["weblatch_processes"].value == found["weblatch_connections_accepted_total"].value == 1
        assert found["weblatch_connections"].by("state") == {"handshaking": 0, "idle": 0, "active": 1, "closing": 0}
        assert peer.ask("/").body == b"hello"


def test_head(stack: ExitStack) -> None:
    peer = serve(stack, web.App(web.metrics()))
    answer = peer.ask("/metrics", "HEAD")
    assert (answer.status, answer["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert int(answer["Content-Length"] or 0) > 5000
    read(peer.ask("/metrics"))  # there was no body: the next answer is read from its beginning


def test_other_methods(stack: ExitStack) -> None:
    peer = serve(stack, web.App(web.metrics()))
    refused = peer.ask("/metrics", "POST")
    assert (refused.status, refused["Allow"]) == (405, "GET, HEAD, OPTIONS")
    read(peer.ask("/metrics?debug=1"))


def test_another_path_and_one_with_captures(stack: ExitStack) -> None:
    peer = serve(stack, web.App(web.metrics("/internal/:tenant/metrics")))
    read(peer.ask("/internal/a/metrics"))
    assert peer.ask("/metrics").status == 404


def test_hooks_see_it_and_can_refuse_it(stack: ExitStack) -> None:
    def guard(req: web.Request) -> Any:
        return None if req.path != "/metrics" or req.header("x-token") == "secret" else ("no", 403)

    def mark(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return resp.with_header("X-Marked", req.path)

    peer = serve(stack, web.App(web.before(guard), web.after(mark), web.metrics()))
    assert peer.ask("/metrics").status == 403
    answer = peer.ask("/metrics", fields="X-Token: secret\r\n")
    assert answer["X-Marked"] == "/metrics"
    assert read(answer)["weblatch_responses_total"].by("class")["4xx"] == 1


class Json:
    """A JSON of the application's own, which has no part in this."""

    @staticmethod
    def dumps(value: object) -> str:
        return json.dumps({"wrapped": value})

    @staticmethod
    def loads(text: bytes) -> Any:
        return json.loads(text)


def test_an_app_with_json_of_its_own(stack: ExitStack) -> None:
    peer = serve(stack, web.App(web.metrics(), web.livez(), web.GET("/", lambda req: {"a": 1}), json=Json()))
    assert peer.ask("/").body == b'{"wrapped": {"a": 1}}'
    read(peer.ask("/metrics"))
    assert peer.ask("/%6Civez").body == b"200 OK\n"


def test_it_runs_on_the_loop_whatever_threads_says(stack: ExitStack) -> None:
    """It answers though the only thread is stuck."""
    import threading

    opened, begun = threading.Event(), threading.Event()
    stack.callback(opened.set)

    def stuck(req: web.Request) -> str:
        begun.set()
        opened.wait(60)
        return "opened"

    app = web.App(web.metrics(), web.GET("/stuck", stuck))
    server = stack.enter_context(web.Server(app, "127.0.0.1", 0, threads=1).running())
    busy, peer = client_of(stack, server), client_of(stack, server)
    busy.send(request("/stuck"))
    assert begun.wait(20)
    found = read(peer.ask("/metrics"))
    assert found["weblatch_threads_busy"].value == found["weblatch_requests_pending"].value == 1
    opened.set()
    assert busy.answer().body == b"opened"


def test_in_an_app_of_async_handlers_and_hooks(stack: ExitStack) -> None:
    async def hook(req: web.Request) -> None:
        await asyncio.sleep(0)

    async def hello(req: web.Request) -> str:
        return "hello"

    peer = serve(stack, web.App(web.before(hook), web.metrics(), web.livez(), web.readyz(), web.GET("/", hello)))
    assert peer.ask("/").body == b"hello"
    assert read(peer.ask("/metrics"))["weblatch_requests_total"].value == 1
    for path in ("/livez", "/readyz", "/%6Civez", "/%72eadyz"):
        assert peer.ask(path).body == b"200 OK\n"
    assert read(peer.ask("/metrics"))["weblatch_requests_total"].value == 6


def test_two_servers_of_one_app_have_numbers_of_their_own(stack: ExitStack) -> None:
    app = web.App(web.metrics(), web.livez())
    first, second = serve(stack, app), serve(stack, app)
    for _ in range(3):
        first.ask("/livez")
    assert read(first.ask("/metrics"))["weblatch_requests_total"].value == 3
    assert read(second.ask("/metrics"))["weblatch_requests_total"].value == 0


def test_a_request_of_no_server_has_no_numbers() -> None:
    request = web.Request.__new__(web.Request)
    assert stats_of(request) is None
    with pytest.raises(RuntimeError, match="answered by a server"):
        cast(Any, web.metrics().handler)(request)


# -- forms -------------------------------------------------------------------------------------------------------------

FORMS = [web.livez, web.readyz]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", ["/:name", "/health/:id:int", "/health/*", "*", "/*"])
def test_a_health_route_has_no_captures(form: Any, path: str) -> None:
    with pytest.raises(web.RouteError, match=f"pattern {re.escape(repr(path))}: a health route has a fixed path"):
        form(path)


@pytest.mark.parametrize("form", [*FORMS, web.metrics])
@pytest.mark.parametrize("path", ["livez", "/a b?c", "/{name}", "/a//b", "/%20", None, 5])
def test_wrong_patterns_are_route_errors(form: Any, path: Any) -> None:
    with pytest.raises(web.RouteError, match="pattern"):
        form(path)


@pytest.mark.parametrize("form", [*FORMS, web.metrics])
@pytest.mark.parametrize("other", [web.livez, web.readyz, web.metrics, lambda path: web.GET(path, lambda req: "x")])
def test_one_path_is_one_route(form: Any, other: Any) -> None:
    for forms in ((form("/same"), other("/same")), (other("/same"), form("/same"))):
        with pytest.raises(web.RouteError, match="GET /same is a duplicate of /same"):
            web.App(*forms)


@pytest.mark.parametrize("form", [*FORMS, web.metrics])
@pytest.mark.parametrize("earlier", ["*", "/:name", "/*"])
def test_behind_a_route_that_takes_everything_it_is_never_reached(form: Any, earlier: str) -> None:
    """Though the core would find it first: the rule is one for all routes."""
    everything = web.GET(earlier, lambda req: "x")
    with pytest.raises(web.RouteError, match="can never be reached"):
        web.App(everything, form())
    web.App(form(), everything)


def test_other_methods_of_its_path_are_free() -> None:
    app = web.App(
        web.livez("/state"), web.POST("/state", lambda req: "x"), web.route(["PUT"], "/state", lambda req: "")
    )
    assert len(app._compile().router.endpoints) == 3


def test_handlers_of_health_routes_answer_by_themselves() -> None:
    """As a test of an application may call them, without a server."""
    for form in FORMS:
        route = form()
        assert (route.methods, route.blocking, route.pattern) == (("GET",), False, f"/{form.__name__}")
        response = cast(web.Response, cast(Any, route.handler)(web.Request.__new__(web.Request)))
        assert (response.status, response.body) == (200, b"200 OK\n")


def test_routes_of_health_are_found_by_their_handlers() -> None:
    Probes(make_router())
    Probes(make_router(web.livez(), web.readyz(), web.GET("/:n", lambda req: "x")))
    with pytest.raises(TypeError):
        Probes(None)  # type: ignore[arg-type]


def test_the_counters_can_be_sent_as_json() -> None:
    server = web.Server(web.App(), "127.0.0.1", 0)
    app = web.App(web.GET("/", lambda req: cast(dict[str, Any], server.stats())))
    answer = app._compile().respond(web.Request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert (answer.status, json.loads(answer.body)["latency"]["count"]) == (200, 0)
