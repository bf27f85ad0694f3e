"""Every limit and time-out of a server, in one frozen value; all are on by default."""

import math
from dataclasses import dataclass, fields

__all__ = ["Limits"]

_KIB = 1024
_MIB = 1024 * 1024
_INT_MAX = 2**31 - 1
_SECONDS_MAX = 1e6

# The range of each number of bytes, or of things; what is not here is seconds.
_WHOLE: dict[str, tuple[int, int]] = {
    "request_line": (16, 16 * _MIB),
    "field": (16, 16 * _MIB),
    "fields": (16, 16 * _MIB),
    "field_count": (1, 16 * _MIB),
    "body": (0, 2**53),
    "body_min_rate": (0, _INT_MAX),
    "response_min_rate": (0, _INT_MAX),
    "connections": (1, _INT_MAX),
    "handshakes": (1, _INT_MAX),
    "requests_per_connection": (0, _INT_MAX),
    "blocking_queue": (0, _INT_MAX),
    "out_buffer": (16 * _KIB, 2**40),
    "websocket_frame": (125, 2**40),
    "websocket_message": (125, 2**40),
    "websocket_fragments": (1, _INT_MAX),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server grants its peers. Bytes are int, times are seconds (int or float); ValueError outside its range.

    Size of a request; past it the answer is the status named, and the connection closes:

    - ``request_line`` bytes of the request line without CRLF: 414 (RFC 9112 3)
    - ``field`` bytes of one field line or trailer: 431 (RFC 6585 5); of all chunk extensions of a body: 400
    - ``fields`` bytes of all field lines together: 431
    - ``field_count`` number of field lines: 431
    - ``body`` bytes of the body after transfer coding: 413 (RFC 9110 15.5.14)

    Time, absolute (bytes that trickle in move none of these):

    - ``handshake_timeout`` from accept to the end of the TLS handshake: closed silently
    - ``head_timeout`` from the connection's start, or from the first byte of a later request, to the head's end: 408
    - ``idle_timeout`` between two requests of one connection: closed silently
    - ``linger_timeout`` for the peer to read the last answer before the connection is closed for good (RFC 9112 9.6)
    - ``shutdown_grace`` for open requests to finish when the server stops
    - ``shutdown_delay`` before that, after SIGTERM: it goes on, and ``readyz()`` says that it is not ready, until
      balancers have seen that

    Rates, in bytes per second, looked at each second and only while bytes are owed; 0 turns one off:

    - ``body_min_rate`` of a request's body, once ``body_grace`` seconds have passed: 408
    - ``response_min_rate`` at which a peer takes its answer, once ``response_grace`` seconds have passed: closed

    Numbers:

    - ``connections`` open at one time; a server lowers it to what RLIMIT_NOFILE permits. Past it, who makes room is
      chosen by source (docs: security)
    - ``handshakes`` connections at one time whose TLS handshake or first request head is unfinished; the same choice
    - ``requests_per_connection`` before it is closed; 0: any number
    - ``blocking_queue`` requests that wait for a thread of the pool: 503 with Retry-After past it
    - ``out_buffer`` bytes of answers that wait for one peer before no more of its requests are read; of WebSocket
      messages, before one more is dropped or ends it
    - ``websocket_frame`` and ``websocket_message`` bytes of a frame and of a message, inflated; ``websocket_fragments``
      frames of one message; ``websocket_ping`` seconds of silence after which a peer is asked, three times, whether it
      is there
    """

    request_line: int = 8 * _KIB
    field: int = 8 * _KIB
    fields: int = 32 * _KIB
    field_count: int = 100
    body: int = 1 * _MIB
    handshake_timeout: float = 10.0
    head_timeout: float = 10.0
    body_min_rate: int = 1 * _KIB
    body_grace: float = 5.0
    response_min_rate: int = 1 * _KIB
    response_grace: float = 5.0
    idle_timeout: float = 60.0
    linger_timeout: float = 5.0
    connections: int = 10_000
    handshakes: int = 1_024
    requests_per_connection: int = 0
    shutdown_grace: float = 10.0
    shutdown_delay: float = 0.0
    blocking_queue: int = 1_000
    out_buffer: int = 1 * _MIB
    websocket_frame: int = 1 * _MIB
    websocket_message: int = 1 * _MIB
    websocket_fragments: int = 1_000
    websocket_ping: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _WHOLE:
                _check_whole(field.name, value, *_WHOLE[field.name])
            else:
                _check_seconds(field.name, value)
        if self.field > self.fields:
            raise ValueError(
                f"Limits(field={self.field}, fields={self.fields}): one field is more than all; raise fields"
            )


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"Limits({name}={value!r}): a whole number from {least} to {most} is needed")
    if not least <= value <= most:
        raise ValueError(f"Limits({name}={value}): give {least} to {most}")


def _check_seconds(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or math.isnan(value):
        raise ValueError(f"Limits({name}={value!r}): a number of seconds is needed")
    least = 0.0 if name.startswith("shutdown_") else 0.001
    if not least <= value <= _SECONDS_MAX:
        raise ValueError(f"Limits({name}={value}): give {least:g} to {_SECONDS_MAX:g} seconds")
