# Response: an answer as a value. Nothing changes one after it was made: with_status, with_header and add_header return
# new ones, so a Response may be kept in a global, returned any number of times, and passed through after hooks.
#
# Invariants
# - _head holds the application's own field lines, each "Name: value\r\n", checked and encoded when they were set;
#   writing the head is two memcpy. No CR, LF or NUL comes from a name or a value (RFC 9110 5.5): there is no other way
#   into _head.
# - _body is never None. _file is None when the body is no file. A file is opened when it is sent (file_name points into
#   _file, _body is empty), or a static folder holds its content (file_name is NULL, _body is the content): who looks at
#   the Response cannot tell which. _parts is None when all of the file is sent.
# - _validators holds the lines that such content is sent with, as long as the status is 200: a file that is opened gets
#   them then (_core_conditional). Where a changed copy sets one of these fields itself, that line is left out.
# - status is 200 to 599, or 101 where the answer opens a WebSocket (open_websocket). With 204, 205 and 304
#   (RFC 9110 15.3.5, 15.3.6, 15.4.5) there is neither body nor file.
#
# What the exchange writes itself (Content-Length, Date, Server, Connection ...) an application cannot set: it is
# refused when it is tried, because two voices about framing are how responses are split (RFC 9112 11.1).
#
# All attributes are bytes, which hold no references: the collector does not track Responses.

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport (
    PyUnicode_AsLatin1String, PyUnicode_AsUTF8AndSize, PyUnicode_AsUTF8String)
from libc.string cimport memchr, memcpy

from re import compile as _compile
from os import fsdecode as _fsdecode, fsencode as _fsencode
from hashlib import blake2b as _digest
from urllib.parse import quote as _quote

from web.conditional import is_entity_tag as _is_entity_tag
from web.cookies import cookie_line as _cookie_line, expired_line as _expired_line
from web.dates import http_date as _http_date
from web.mime import content_type as _mime_content_type

cdef enum:
    STATUS_LINE_MAX = 64        # more than the longest line that http1_status_line gives

cdef object _control_character = _compile(r"[\x00-\x1f\x7f]").search
cdef object _bytes = bytes     # the class has a maker of that name
cdef bytes _NO_LINES = b""
cdef bytes _TEXT_LINE = b"Content-Type: text/plain; charset=utf-8\r\n"
cdef bytes _HTML_LINE = b"Content-Type: text/html; charset=utf-8\r\n"
cdef bytes _JSON_LINE = b"Content-Type: application/json\r\n"
cdef bytes _UPGRADE_LINES = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
cdef bytes _BYTES_LINE = b"Content-Type: application/octet-stream\r\n"

cdef dict _REFUSED = {
    "content-length": "it is counted from the body (RFC 9110 8.6)",
    "transfer-encoding": "the server chooses the framing (RFC 9112 6.1)",
    "trailer": "trailers are not sent",
    "connection": "it belongs to the connection, not to the answer (RFC 9110 7.6.1)",
    "keep-alive": "it belongs to the connection, not to the answer (RFC 9110 7.6.1)",
    "proxy-connection": "it belongs to the connection, not to the answer (RFC 9110 7.6.1)",
    "upgrade": "protocols are switched by the server (RFC 9110 7.8)",
    "date": "the server writes it (RFC 9110 6.6.1)",
    "server": "the server writes it, or leaves it out when told so",
}
cdef frozenset _REDIRECTS = frozenset({301, 302, 303, 307, 308})


# ---- field lines ----

cdef bytes _field_line(object name, object value):
    """b"Name: value\\r\\n", checked. TypeError or ValueError, which name the field."""
    cdef Py_ssize_t[1] length
    cdef Py_ssize_t name_len
    cdef const char* text
    cdef bytes encoded, line
    cdef char* out
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"header {name!r}: name and value are str, not {type(name).__name__}, {type(value).__name__}")
    text = PyUnicode_AsUTF8AndSize(name, length)
    name_len = length[0]
    if not http1_is_token(text, name_len):
        raise ValueError(f"header {name!r}: a name is made of letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 5.1)")
    why = _REFUSED.get(name.lower())
    if why is not None:
        raise ValueError(f"header {name!r}: leave it out; {why}")
    try:
        encoded = PyUnicode_AsLatin1String(value)
    except UnicodeEncodeError:
        raise ValueError(f"header {name!r}: the value {value!r} holds characters beyond ISO-8859-1; encode them "
                         "(RFC 8187, percent-encoding)") from None
    length[0] = PyBytes_GET_SIZE(encoded)
    if not http1_is_field_value(PyBytes_AS_STRING(encoded), length[0]):
        raise ValueError(f"header {name!r}: the value {value!r} holds CR, LF, NUL or another control character, which "
                         "could begin another header (RFC 9110 5.5)")
    line = PyBytes_FromStringAndSize(NULL, name_len + 2 + length[0] + 2)
    out = PyBytes_AS_STRING(line)
    memcpy(out, text, name_len)
    memcpy(out + name_len, b": ", 2)
    memcpy(out + name_len + 2, PyBytes_AS_STRING(encoded), length[0])
    memcpy(out + name_len + 2 + length[0], b"\r\n", 2)
    return line


cdef bytes _lines_without(bytes head, str name):
    """The lines of head but those of that name."""
    cdef Http1Field field
    cdef size_t[1] at
    cdef size_t begin = 0
    cdef size_t end = PyBytes_GET_SIZE(head)
    cdef Py_ssize_t[1] length
    cdef const char* wanted = PyUnicode_AsUTF8AndSize(name, length)
    cdef const char* data = PyBytes_AS_STRING(head)
    cdef bytes kept = head
    cdef bint first = True
    at[0] = 0
    while http1_field_next(data, end, at, &field) == 1:
        if field.name_len == <size_t>length[0] and _same_name(field.name, wanted, field.name_len):
            if first:
                kept = PyBytes_FromStringAndSize(data, begin)
                first = False
        elif not first:
            kept += PyBytes_FromStringAndSize(data + begin, at[0] - begin)
        begin = at[0]
    return kept


cdef bytes _with_lines(bytes head, object headers):
    """head and the lines for headers=...: a mapping, or pairs, in which a name may come more than once.

    A Content-Type among them takes the place of the one that was there.
    """
    if isinstance(headers, dict):
        for name, value in (<dict>headers).items():
            head = _with_line(head, name, value)
    else:
        for name, value in headers.items() if hasattr(headers, "items") else headers:
            head = _with_line(head, name, value)
    return head


cdef bytes _with_line(bytes head, object name, object value):
    cdef bytes line = _field_line(name, value)
    if (<str>name).lower() == "content-type":
        head = _lines_without(head, name)
    return head + line


cdef int _check_status(int status) except -1:
    if not 200 <= status <= 599:
        raise ValueError(f"status {status}: a Response's status is 200 to 599 (1xx are sent by the server itself)")
    return 1


cdef inline bint _is_bodiless(int status) noexcept nogil:
    return status == 204 or status == 205 or status == 304


cdef Response _make_response(bytes body, bytes head, int status, object headers):
    cdef Response response
    if status != 200:
        _check_status(status)
        if PyBytes_GET_SIZE(body) != 0 and _is_bodiless(status):
            raise ValueError(f"status {status}: such an answer has no body (RFC 9110 15.3.5, 15.3.6, 15.4.5); "
                             f"use Response.empty(status={status})")
    if headers is not None:
        head = _with_lines(head, headers)
    response = <Response>Response.__new__(Response)
    response.status = status
    response._head = head
    response._body = body
    return response


def upgrade_required(str body not None, headers=()):
    """426, which must name the protocol that is needed (RFC 9110 15.5.22): Upgrade stands in no other answer."""
    return _make_response(PyUnicode_AsUTF8String(body), _TEXT_LINE + _UPGRADE_LINES, 426, headers)


@cython.final
@cython.freelist(64)
@cython.no_gc       # a Producer may be in a cycle, until it is sent or closed; to track all would cost each answer
cdef class Response:
    """The answer to a request, a value: nothing changes it, and it may be returned any number of times.

    ``Response(body=b"", status=200, headers=None, content_type=None)``: ``body`` str (sent as UTF-8) or bytes;
    ``status`` 200 to 599; ``headers`` a mapping or an iterable of pairs of str; ``content_type`` by default text/plain
    for str, application/octet-stream for bytes, none for an empty body.

    ValueError: a name or value that could split the answer, a header that the server writes itself (Content-Length,
    Transfer-Encoding, Trailer, Connection, Keep-Alive, Proxy-Connection, Upgrade, Date, Server), a status outside
    200..599, a body with 204, 205 or 304.
    """
    cdef readonly int status
    cdef bytes _head
    cdef bytes _body
    cdef bytes _file
    cdef const char* file_name
    cdef bytes _validators              # None: not known before the file is opened
    cdef _FileParts _parts
    cdef Producer _producer             # None: the body is there, or is a file
    cdef WebSocket _socket              # what a 101 opens

    def __cinit__(self):
        self.status = 200
        self._head = _NO_LINES
        self._body = _NO_LINES

    def __init__(self, body=b"", int status=200, headers=None, content_type=None):
        cdef Response made
        if isinstance(body, str):
            made = _make_response(PyUnicode_AsUTF8String(body), _TEXT_LINE if body else _NO_LINES, status, None)
        elif isinstance(body, bytes):
            made = _make_response(body, _BYTES_LINE if body else _NO_LINES, status, None)
        else:
            raise TypeError(f"Response(body): str or bytes is needed, not {type(body).__name__}; "
                            "Response.json() takes other values")
        if content_type is not None:
            made._head = _field_line("Content-Type", content_type)
        if headers is not None:
            made._head = _with_lines(made._head, headers)
        self._take(made)

    cdef void _take(self, Response other) noexcept:
        self.status = other.status
        self._head = other._head
        self._body = other._body
        self._file = other._file
        self.file_name = other.file_name
        self._validators = other._validators
        self._parts = other._parts
        self._producer = other._producer
        self._socket = other._socket

    cdef Response _copy(self):
        cdef Response copy = <Response>Response.__new__(Response)
        copy._take(self)
        return copy

    cdef Response with_content(self, bytes content, const web_file_mark* mark):
        """A copy whose file is not opened any more, because this is what is in it."""
        cdef Response copy = self._copy()
        copy._body = content
        copy._validators = validator_lines(self, mark)
        copy.file_name = NULL
        return copy

    cdef Response with_lines(self, bytes lines):
        """A copy with these lines, which are known to be right, behind its own."""
        cdef Response copy = self._copy()
        copy._head = self._head + lines
        copy._validators = None
        return copy

    # ---- what the exchange calls ----

    cdef size_t head_bound(self) noexcept:
        """At least as many bytes as head_write writes."""
        cdef size_t bound = STATUS_LINE_MAX + <size_t>PyBytes_GET_SIZE(self._head)
        return bound if self._validators is None else bound + <size_t>PyBytes_GET_SIZE(self._validators)

    cdef char* head_write(self, char* out) noexcept:
        """Writes the status line and the application's lines; the new end. The exchange adds its own lines and the
        empty one. It never writes more than head_bound()."""
        cdef size_t[1] length
        cdef const char* line = http1_status_line(self.status, length)
        memcpy(out, line, length[0])
        memcpy(out + length[0], PyBytes_AS_STRING(self._head), PyBytes_GET_SIZE(self._head))
        out += length[0] + PyBytes_GET_SIZE(self._head)
        if self._validators is not None and self.status == 200:
            memcpy(out, PyBytes_AS_STRING(self._validators), PyBytes_GET_SIZE(self._validators))
            out += PyBytes_GET_SIZE(self._validators)
        return out

    # ---- reading ----

    @property
    def body(self):
        """bytes: the body; empty when it is a file or a stream."""
        return self._body if self._file is None else _NO_LINES

    @property
    def size(self):
        """int: bytes of the body, as far as they are known before it is sent; None for a stream, and for a file that is
        sent whole."""
        if self._producer is not None:
            return None
        if self._file is None or self.file_name == NULL:
            return len(self._body)
        return None if self._parts is None else self._parts.length

    @property
    def is_streamed(self):
        """bool: whether the body is produced while it is sent."""
        return self._producer is not None

    @property
    def path(self):
        """str: the file that is the body, or None."""
        return None if self._file is None else _fsdecode(self._file)

    @property
    def headers(self):
        """Headers: the application's own, Content-Type included; not those that the server adds when it sends."""
        return headers_from(PyBytes_AS_STRING(self._head), 0, PyBytes_GET_SIZE(self._head))

    def __eq__(self, other):
        if not isinstance(other, Response):
            return NotImplemented
        return _value_of(self) == _value_of(other)

    def __hash__(self):
        return hash(_value_of(self))

    def __repr__(self):
        what = (f"file {self.path!r}" if self._file is not None else
                "streamed" if self._producer is not None else f"{len(self._body)} bytes")
        return f"<Response {self.status}, {what}>"

    # ---- changed copies ----

    def with_status(self, int status):
        """A copy with another status. With 204, 205 and 304 it has no body (RFC 9110 15.3.5, 15.3.6, 15.4.5)."""
        cdef Response copy = self._copy()
        _check_status(status)
        copy.status = status
        copy._socket = None
        if _is_bodiless(status):
            copy._body = _NO_LINES
            copy._file = None
            copy.file_name = NULL
            copy._parts = None
            close_producer(copy._producer)
            copy._producer = None
        return copy

    def with_header(self, str name not None, str value not None):
        """A copy in which this header stands once, with this value: what was there of that name is replaced."""
        cdef Response copy = self._copy()
        cdef bytes line = _field_line(name, value)
        copy._head = _lines_without(self._head, name) + line
        copy._forget_validator(name)
        return copy

    def add_header(self, str name not None, str value not None):
        """A copy with one more header, beside those of the same name (Set-Cookie, Vary, Link ...)."""
        cdef Response copy = self._copy()
        cdef bytes line = _field_line(name, value)
        if name.lower() == "content-type":
            raise ValueError("Content-Type may stand once (RFC 9110 8.3): use with_header, which replaces it")
        copy._head = self._head + line
        copy._forget_validator(name)
        return copy

    cdef int _forget_validator(self, str name) except -1:
        """The application has said this one itself."""
        if self._validators is not None:
            self._validators = _lines_without(self._validators, name)
        return 1

    def with_etag(self, str tag=None, *, bint weak=False):
        """A copy with an entity tag (RFC 9110 8.8.3): the server then answers If-None-Match, If-Match and Range itself.

        ``tag``: the text between the quotes; by default a digest of the body. ``weak``: bodies with this tag may differ
        in their bytes, and mean the same. ValueError: a tag with a quote or a space; a stream without a tag; files have
        a tag of their own.
        """
        if tag is None:
            if self._file is not None or self._producer is not None:
                raise ValueError("Response.with_etag(): there is no body to make a tag from; a file has a tag of its "
                                 "own, and for a stream give with_etag('...')")
            tag = _digest(self._body, digest_size=16).hexdigest()
        tag = f'W/"{tag}"' if weak else f'"{tag}"'
        if not _is_entity_tag(tag):
            raise ValueError(f"Response.with_etag({tag}): a tag has no quotes, spaces or control characters "
                             "(RFC 9110 8.8.3); the quotes around it are written here")
        return self.with_header("ETag", tag)

    def with_last_modified(self, when not None):
        """A copy with Last-Modified (RFC 9110 8.8.2). ``when``: a datetime with a time zone, or seconds since 1970."""
        return self.with_header("Last-Modified", _http_date(when))

    def _without_header(self, str name not None):
        """A copy without headers of that name."""
        cdef Response copy = self._copy()
        copy._head = _lines_without(self._head, name)
        return copy

    def _with_body(self, bytes body not None):
        """A copy with another body in the place of one that is in memory: fields and status stay as they are."""
        cdef Response copy = self._copy()
        if self._producer is not None or self._file is not None or _is_bodiless(self.status):
            raise ValueError(f"{self!r} has no body in memory")
        copy._body = body
        return copy

    def _encode_stream(self, encoder not None):
        """A copy whose stream goes through ``encoder`` (web.content_codings.Encoder), its length unknown. It takes the
        producer over: this one cannot be sent any more."""
        cdef Response copy = self._copy()
        if self._producer is None:
            raise ValueError(f"{self!r} is not streamed")
        copy._producer = self._producer.encoded_by(encoder)
        return copy

    def set_cookie(self, str name not None, str value not None, *, max_age=None, expires=None, str path not None="/",
                   str domain=None, bint secure=True, bint http_only=True, str same_site not None="Lax",
                   bint partitioned=False):
        """A copy that sets a cookie (RFC 6265 4.1, RFC 6265bis).

        ``max_age``: whole seconds, or a timedelta; ``expires``: a datetime with a time zone; neither: until the browser
        ends. ``path``, ``domain``: where it is sent to; without domain to this host alone. ``secure``: over TLS alone.
        ``http_only``: scripts cannot read it. ``same_site``: "Strict", "Lax" or "None". ``partitioned``: one for each
        site that embeds this one.

        ValueError: a name or value that needs encoding; more than 4,096 bytes; what browsers refuse (SameSite=None,
        Partitioned and the prefixes ``__Secure-`` and ``__Host-`` need Secure, ``__Host-`` path "/" and no domain).
        """
        return self.add_header("Set-Cookie", _cookie_line(
            name, value, max_age=max_age, expires=expires, path=path, domain=domain, secure=secure,
            http_only=http_only, same_site=same_site, partitioned=partitioned))

    def clear_cookie(self, str name not None, *, str path not None="/", str domain=None, bint secure=True,
                     str same_site not None="Lax", bint partitioned=False):
        """A copy that removes a cookie. It goes where all arguments are those with which it was set (RFC 6265 3.1)."""
        return self.add_header("Set-Cookie", _expired_line(
            name, path=path, domain=domain, secure=secure, same_site=same_site, partitioned=partitioned))

    # ---- makers (static, which is cheaper to call than class methods; the class is final) ----

    @staticmethod
    def text(str body not None, *, int status=200, headers=None):
        """text/plain in UTF-8."""
        return _make_response(PyUnicode_AsUTF8String(body), _TEXT_LINE, status, headers)

    @staticmethod
    def html(str body not None, *, int status=200, headers=None):
        """text/html in UTF-8. Nothing is escaped."""
        return _make_response(PyUnicode_AsUTF8String(body), _HTML_LINE, status, headers)

    @staticmethod
    def json(value, *, int status=200, headers=None):
        """application/json: the standard library's, compact, without NaN, characters as they are; or App(json=...)'s.

        TypeError or ValueError from the library when the value cannot be written as JSON.
        """
        return _make_response(_json_body(value), _JSON_LINE, status, headers)

    @staticmethod
    def file(path, content_type=None, *, int status=200, headers=None):
        """A file as the body, opened when it is sent: one that is missing then is answered with 404.

        ``path`` str, bytes or os.PathLike. ``content_type`` by default from the name's extension (web.mime).
        The path is taken as it is: one that a client chose belongs into ``static()``, which lets nothing out.
        """
        cdef Response response
        cdef object name = _fsencode(path)
        if memchr(PyBytes_AS_STRING(name), 0, PyBytes_GET_SIZE(name)) != NULL or not name:
            raise ValueError(f"Response.file({path!r}): not a file name")
        if _is_bodiless(status):
            raise ValueError(f"status {status}: such an answer has no body (RFC 9110 15.3.5, 15.3.6, 15.4.5)")
        if content_type is None:
            content_type = _mime_content_type(_fsdecode(name))
        response = _make_response(_NO_LINES, _field_line("Content-Type", content_type), status, headers)
        response._file = name
        response.file_name = PyBytes_AS_STRING(name)
        return response

    sendfile = file

    @staticmethod
    def stream(items, content_type=None, *, int status=200, headers=None, length=None):
        """A body that is produced while it is sent: an iterable, or in an async handler an async one, of str and bytes.

        ``content_type`` by default text/plain in UTF-8 where the first item is str, else application/octet-stream.
        ``length`` in bytes, if it is known: then it is said, and must come true. The first item is taken before the
        head is sent, so that what fails until then is a 500. A failure later breaks the connection: the answer is never
        taken for whole. The producer is paused while the client does not read, and closed when it goes away.

        A plain iterator runs on the event loop, where it must not wait; in a route with ``blocking=True`` it runs in
        its thread. A streamed Response is sent once.
        """
        return _stream_response(items, content_type, status, headers, -1 if length is None else length)

    @staticmethod
    def redirect(str location not None, *, int status=302, headers=None):
        """A redirect: ``status`` 301, 302, 303, 307 or 308 (RFC 9110 15.4). ``location`` is a URL or a path.

        Spaces, backslashes and what is not ASCII are percent-encoded (RFC 3986 2.1); control characters are a
        ValueError. A location from a client must be checked by the caller: "//host" leads elsewhere.
        """
        if status not in _REDIRECTS:
            raise ValueError(f"Response.redirect(status={status}): use 301, 302, 303, 307 or 308 (RFC 9110 15.4)")
        if not location:
            raise ValueError("Response.redirect(): the location is empty")
        if _control_character(location) is not None:
            raise ValueError(f"Response.redirect({location!r}): control characters do not belong into a URL")
        line = _field_line("Location", _quote(location, safe="!#$%&'()*+,/:;=?@[]~"))
        return _make_response(_NO_LINES, line, status, headers)

    @staticmethod
    def not_found(str body not None="Not Found", *, int status=404, headers=None):
        """404, text/plain."""
        return _make_response(PyUnicode_AsUTF8String(body), _TEXT_LINE, status, headers)

    @staticmethod
    def bad_request(str body not None="Bad Request", *, int status=400, headers=None):
        """400, text/plain."""
        return _make_response(PyUnicode_AsUTF8String(body), _TEXT_LINE, status, headers)

    @staticmethod
    def empty(*, int status=204, headers=None):
        """An answer without body."""
        return _make_response(_NO_LINES, _NO_LINES, status, headers)

    @staticmethod
    def bytes(content not None, content_type=None, *, int status=200, headers=None):
        """bytes (or bytearray, memoryview: copied) as they are; application/octet-stream unless said otherwise."""
        if not isinstance(content, (_bytes, bytearray, memoryview)):
            raise TypeError(f"Response.bytes(): bytes are needed, not {type(content).__name__}")
        return _make_response(_bytes(content),
                              _BYTES_LINE if content_type is None else _field_line("Content-Type", content_type),
                              status, headers)


cdef Response _stream_response(items, content_type, int status, headers, int64_t length):
    cdef Response response
    cdef Producer producer = producer_of(items, length)
    if _is_bodiless(status):
        raise ValueError(f"status {status}: such an answer has no body (RFC 9110 15.3.5, 15.3.6, 15.4.5)")
    response = _make_response(_NO_LINES, _NO_LINES if content_type is None else
                              _field_line("Content-Type", content_type), status, headers)
    producer.typed = content_type is not None or "content-type" in response.headers
    response._producer = producer
    return response


cdef tuple _value_of(Response response):
    return (response.status, response._head, response._body if response._file is None else _NO_LINES, response._file,
            response._producer, response._parts, response._socket)
