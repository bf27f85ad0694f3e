"""The pieces of the hot path, callable from Python for measuring and for tests.

Each piece is the compiled code that the server itself runs. `repeat` runs a piece n times in C, so that a benchmark
measures it and not the call.
"""

from web._core import (
    ChunkedDecoder,
    Deflater,
    FrameError,
    FrameReader,
    Inflater,
    MessageReader,
    ParsedRequest,
    ProtocolError,
    RequestParser,
    Router,
    Utf8Reader,
    decimal,
    http_date,
    is_close_code,
    is_field_value,
    is_token,
    mask_address,
    mask_repeat,
    response_head,
    response_head_repeat,
    status_line,
    write_close,
    write_frame,
    write_frame_repeat,
)
from web.routing import make_router

__all__ = [
    "ChunkedDecoder",
    "Deflater",
    "FrameError",
    "FrameReader",
    "Inflater",
    "MessageReader",
    "ParsedRequest",
    "ProtocolError",
    "RequestParser",
    "Router",
    "Utf8Reader",
    "decimal",
    "http_date",
    "is_close_code",
    "is_field_value",
    "is_token",
    "make_router",
    "mask_address",
    "mask_repeat",
    "response_head",
    "response_head_repeat",
    "status_line",
    "write_close",
    "write_frame",
    "write_frame_repeat",
]
