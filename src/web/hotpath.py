"""The pieces of the hot path, callable from Python for measuring and for tests.

Each piece is the compiled code that the server itself runs. `repeat` runs a piece n times in C, so that a benchmark
measures it and not the call.
"""

from web._core import (
    ChunkedDecoder,
    ParsedRequest,
    ProtocolError,
    RequestParser,
    Router,
    decimal,
    http_date,
    is_field_value,
    is_token,
    response_head,
    response_head_repeat,
    status_line,
)
from web.routing import make_router

__all__ = [
    "ChunkedDecoder",
    "ParsedRequest",
    "ProtocolError",
    "RequestParser",
    "Router",
    "decimal",
    "http_date",
    "is_field_value",
    "is_token",
    "make_router",
    "response_head",
    "response_head_repeat",
    "status_line",
]
