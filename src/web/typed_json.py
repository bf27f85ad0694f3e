"""``req.json(type=...)``: bodies that are decoded and validated at once, by the library `msgspec`, an extra:
``pip install weblatch[msgspec]``.

The one state is a cache of decoders: making one costs more than decoding a small body, and an application names few
types. It is bounded, since a type may be made anew for each request. Malformed JSON is a 400, as without a type; JSON
that is not of that type a 422, whose text names the place (``$.items[2].name``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from web.errors import HTTPError, WebError

__all__ = ["decode_as"]

_DECODERS_MOST = 256


def decode_as(body: bytes, kind: Any) -> Any:
    """A value of the type ``kind``.

    HTTPError 400 for what is no JSON, 422 for JSON of another type; TypeError for a type that nothing can be decoded
    as; WebError without msgspec.
    """
    msgspec = _library()
    decode = _decoder(kind)
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise HTTPError(422, f"the body is not what is expected: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPError(400, f"the body is not JSON: {error}") from error


def _library() -> Any:
    try:
        import msgspec.json
    except ImportError:
        raise WebError("req.json(type=...): msgspec is not installed; pip install weblatch[msgspec]") from None
    return msgspec


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    try:
        hash(kind)
    except TypeError:  # Annotated with a list, say
        return _make_decoder(kind)
    return _kept_decoder(kind)


def _make_decoder(kind: Any) -> Callable[[bytes], Any]:
    try:
        made: Callable[[bytes], Any] = _library().json.Decoder(kind).decode
    except (TypeError, NameError) as error:  # NameError: an annotation that names what is not there
        raise TypeError(f"req.json(type={kind!r}): no JSON can be decoded as that: {error}") from error
    return made


_kept_decoder = lru_cache(_DECODERS_MOST)(_make_decoder)
