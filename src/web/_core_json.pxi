# JSON (RFC 8259) for Response.json, returned dicts and lists, and Request.json: the standard library's, or
# App(json=...)'s.
#
# JSONEncoder.encode() makes the C encoder anew for each value, which costs more than encoding a small one. Here it is
# made once. It keeps nothing between calls (markers is None), so threads may share it; without markers a value that
# contains itself ends in RecursionError, and then the library's own way says what is wrong with it.

from contextvars import ContextVar as _ContextVar
from json import JSONDecoder as _JSONDecoder, JSONEncoder as _JSONEncoder
from json.encoder import c_make_encoder as _c_make_encoder, encode_basestring as _encode_basestring


def _not_json(str name):
    raise ValueError(f"{name} is not JSON (RFC 8259 6)")


cdef object _json_decode = _JSONDecoder(parse_constant=_not_json).decode
cdef object _json_encoder = _JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
cdef object _json_chunks = None         # (value, 0) -> its JSON in pieces; None: this Python has no C encoder
if _c_make_encoder is not None:
    # markers, default, string encoder, indent, two separators, sort_keys, skipkeys, allow_nan: as encode() gives them
    _json_chunks = _c_make_encoder(None, _json_encoder.default, _encode_basestring, None, ":", ",", False, False, False)

# What App(json=...) gives, while that App answers; None: the standard library. A context variable, because another App
# may answer in another thread or task at the same time.
cdef object _json_dumps = _ContextVar("web.json.dumps", default=None)


def _json_loads(bytes data not None):
    return _json_decode(data.decode("utf-8"))     # JSON is UTF-8 (RFC 8259 8.1)


cdef str _json_text(object value):
    """The standard library's JSON: compact, without NaN, characters as they are."""
    if _json_chunks is not None:
        try:
            return "".join(_json_chunks(value, 0))
        except RecursionError:
            pass                        # nested too deeply, or within itself: encode() tells which
    return _json_encoder.encode(value)


cdef bytes _json_body(object value):
    dumps = _json_dumps.get()
    text = _json_text(value) if dumps is None else dumps(value)
    if type(text) is str:
        return PyUnicode_AsUTF8String(text)
    if type(text) is bytes:
        return text
    raise TypeError(f"App(json=...): dumps() must return str or bytes, not {type(text).__name__}")
