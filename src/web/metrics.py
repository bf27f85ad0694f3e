"""What a server tells of itself: the form ``metrics()``, which writes its counters as Prometheus reads them, and the
health routes ``livez()`` and ``readyz()``.

``Server.stats()`` gives the same numbers as a dict; ``Counters`` names what is in it. With workers they are the sums of
all, whichever is asked, those that have ended included. An upgrade of the program (SIGUSR2) starts them at 0 again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypedDict, cast

from web._core import Certificate, Request, Response, answer_livez, answer_readyz, certificates_of, stats_of
from web.certificate_watch import name_of
from web.errors import RouteError
from web.routing import LITERAL, Handler, Route

__all__ = ["Counters", "Histogram", "livez", "metrics", "prometheus_text", "readyz"]

_PREFIX = "weblatch_"
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram(TypedDict):
    """How long something took, in seconds."""

    count: int
    sum: float
    buckets: dict[float, int]
    """Upper bound -> how many took at most that, and more than the bound before."""
    above: int
    """How many took longer than the last bound."""


class Counters(TypedDict):
    """What ``Server.stats()`` gives. Numbers count from the start; those marked with (now) are of the moment."""

    processes: int
    """(now) Event loops that serve: one, or one for each worker."""
    requests: int
    """Requests that the application, its hooks or the health routes answered."""
    requests_refused: int
    """Requests that the parser or a limit refused."""
    requests_pending: int
    """(now) Requests that an async handler or a thread is answering."""
    responses: dict[str, int]
    """Status class, "1xx" to "5xx" -> answers, refusals among them."""
    refusals: list[tuple[int, str, int]]
    """(status, what was wrong, how often) of the refused requests."""
    latency: Histogram
    """From the moment at which all of a request was here to that at which its answer was queued."""
    slow_handlers: int
    """Calls that held the event loop longer than ``Server(slow_handler=)``."""
    threads_busy: int
    """(now) Threads that run a handler."""
    threads_waiting: int
    """(now) Handlers that wait for a thread."""
    accepted: int
    """Connections taken into service."""
    accept_failures: int
    """Failed accepts: out of file descriptors, say."""
    connections: dict[str, int]
    """(now) "handshaking" (TLS, PROXY header), "idle", "active" (a request is under way), "closing" -> connections."""
    unfinished: int
    """(now) Connections without a whole TLS handshake, or without a whole request head: ``Limits.handshakes`` bounds
    them."""
    closed: dict[str, int]
    """Reason -> connections that ended for it."""
    timeouts: dict[str, int]
    """"handshake", "head", "idle", "body", "response", "linger" -> how often that time or rate was not kept."""
    handshakes: int
    """TLS handshakes that ended well."""
    handshakes_resumed: int
    """Those of them that resumed an earlier session."""
    handshakes_failed: dict[str, int]
    """Reason -> TLS handshakes that did not end well."""
    bytes_received: int
    """Bytes of HTTP, without TLS's own."""
    bytes_sent: int
    """Bytes of HTTP, without TLS's own."""
    turns: Histogram
    """How long the event loop was at work before it listened again: what came meanwhile waited up to so long."""


# -- forms ------------------------------------------------------------------------------------------------------------


def metrics(pattern: str = "/metrics") -> Route:
    """Answer GET with the server's counters in Prometheus' text format 0.0.4. A route like others: hooks see it, and
    can guard it; it runs on the event loop, whatever ``threads`` says."""
    return Route(("GET",), pattern, _answer_metrics, blocking=False)


def livez(path: str = "/livez") -> Route:
    """Answer GET with 200 as long as the event loop turns, without the application: no hook is called, and no thread is
    needed."""
    return _probe(path, answer_livez)


def readyz(path: str = "/readyz") -> Route:
    """Answer GET with 200 where new requests are welcome, else 503: while the server drains or stops, and while the
    application has set ``server.ready = False``. Without the application, as ``livez()``."""
    return _probe(path, answer_readyz)


def _probe(path: str, handler: Handler) -> Route:
    route = Route(("GET",), path, handler, blocking=False)
    if not path or not route.parts or any(kind != LITERAL for kind, _ in route.parts):
        raise RouteError(f"pattern {path!r}: a health route has a fixed path, without captures")
    return route


def _answer_metrics(req: Request) -> Response:
    stats = stats_of(req)
    if stats is None:
        raise RuntimeError("metrics() is answered by a server: there is none here")
    text = prometheus_text(cast(Counters, stats.snapshot())) + certificates_text(certificates_of(req))
    return Response.bytes(text.encode(), content_type=_CONTENT_TYPE)


# -- Prometheus -------------------------------------------------------------------------------------------------------


def prometheus_text(counters: Counters) -> str:
    """The counters in Prometheus' text format 0.0.4."""
    return "".join(f"{line}\n" for line in _lines(counters))


def certificates_text(certificates: Iterable[Certificate]) -> str:
    """When the server's certificates end, in the same format; "" where there are none."""
    name = "tls_certificate_not_after_seconds"
    lines = [
        f'{_PREFIX}{name}{{name="{_escaped(name_of(one))}",fingerprint="{one.fingerprint}"}} '
        f"{one.not_after.timestamp():.0f}"
        for one in certificates
    ]
    head = _head(name, "gauge", "When a certificate ends, unix time.") if lines else ()
    return "".join(f"{line}\n" for line in (*head, *lines))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _lines(n: Counters) -> Iterator[str]:
    yield from _number("processes", "gauge", "Event loops that serve.", n["processes"])
    yield from _number("requests_total", "counter", "Requests answered.", n["requests"])
    yield from _labelled("responses_total", "counter", "Answers by status class.", "class", n["responses"])
    yield from _refusals(n["refusals"])
    yield from _histogram(
        "request_duration_seconds", "From a whole request to its answer, ready to be sent.", n["latency"]
    )
    yield from _number("requests_pending", "gauge", "Requests with async handlers or threads.", n["requests_pending"])
    yield from _number("slow_handlers_total", "counter", "Calls that held the event loop too long.", n["slow_handlers"])
    yield from _number("threads_busy", "gauge", "Threads that run a handler.", n["threads_busy"])
    yield from _number("threads_waiting", "gauge", "Handlers that wait for a thread.", n["threads_waiting"])
    yield from _number("connections_accepted_total", "counter", "Connections taken into service.", n["accepted"])
    yield from _number("accept_failures_total", "counter", "Accepts that failed.", n["accept_failures"])
    yield from _labelled("connections", "gauge", "Connections by state.", "state", n["connections"])
    yield from _number("connections_unfinished", "gauge", "Without whole handshake or head.", n["unfinished"])
    yield from _labelled("connections_closed_total", "counter", "Ended connections by reason.", "reason", n["closed"])
    yield from _labelled("timeouts_total", "counter", "Times and rates not kept, by kind.", "kind", n["timeouts"])
    yield from _number("tls_handshakes_total", "counter", "TLS handshakes that ended well.", n["handshakes"])
    yield from _number("tls_handshakes_resumed_total", "counter", "Of these, resumptions.", n["handshakes_resumed"])
    yield from _labelled(
        "tls_handshakes_failed_total", "counter", "Other TLS handshakes by reason.", "reason", n["handshakes_failed"]
    )
    yield from _number("received_bytes_total", "counter", "Bytes of HTTP received.", n["bytes_received"])
    yield from _number("sent_bytes_total", "counter", "Bytes of HTTP sent.", n["bytes_sent"])
    yield from _histogram("loop_held_seconds", "How long the event loop did not listen, at a time.", n["turns"])


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {text}"
    yield f"# TYPE {_PREFIX}{name} {kind}"


def _number(name: str, kind: str, text: str, value: int) -> Iterator[str]:
    yield from _head(name, kind, text)
    yield f"{_PREFIX}{name} {value}"


def _labelled(name: str, kind: str, text: str, label: str, values: Mapping[str, int]) -> Iterator[str]:
    yield from _head(name, kind, text)
    for key, value in values.items():
        yield f'{_PREFIX}{name}{{{label}="{key}"}} {value}'


def _refusals(refusals: Iterable[tuple[int, str, int]]) -> Iterator[str]:
    """The texts are the parser's own: no peer has a word in them, and there is nothing to escape."""
    yield from _head("requests_refused_total", "counter", "Refused input by reason.")
    for status, reason, value in refusals:
        yield f'{_PREFIX}requests_refused_total{{status="{status}",reason="{reason}"}} {value}'


def _histogram(name: str, text: str, histogram: Histogram) -> Iterator[str]:
    yield from _head(name, "histogram", text)
    so_far = 0
    for bound, number in histogram["buckets"].items():
        so_far += number
        yield f'{_PREFIX}{name}_bucket{{le="{bound:.9g}"}} {so_far}'
    yield f'{_PREFIX}{name}_bucket{{le="+Inf"}} {histogram["count"]}'
    yield f"{_PREFIX}{name}_sum {histogram['sum']:.9g}"
    yield f"{_PREFIX}{name}_count {histogram['count']}"
