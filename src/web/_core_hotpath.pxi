# The protocol code of the hot path as Python objects, for measuring and for tests (public through web.hotpath). Each
# wraps one pure part and adds nothing to it; `repeat` runs it n times in C, without the GIL: then the part is measured,
# not the call.
#
# Ownership: a RequestParser owns the buffer of the head it is reading; a ParsedRequest owns a copy of its head, into
# which all its offsets point. `feed_address` borrows memory for the time of the call only.

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc


class ProtocolError(Exception):
    """The peer broke the protocol. The connection cannot go on: answer with `status`, then close.

    Attributes:
        status: the HTTP status that says so (RFC 9110 15.5, 15.6), such as 400, 414, 417, 431, 501, 505.
        reason: what was wrong, in a few words.
    """

    def __init__(self, status, reason):
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self):
        return f"{self.status}: {self.reason}"


cdef object _protocol_error(Py_ssize_t result, const char* fault):
    return ProtocolError(-result, fault.decode("ascii"))


cdef int _http1_limits(Http1Limits* limits, object source) except -1:
    # From any object with these attributes, such as web.Limits; None: the defaults.
    if source is None:
        limits.request_line, limits.field, limits.fields, limits.field_count = 8192, 8192, 32768, 100
        return 1
    for attribute in ("request_line", "field", "fields", "field_count"):
        # Offsets into a head are 32 bits wide; 16 MiB each is far above any use and far below that.
        if not 1 <= getattr(source, attribute) <= 16777216:
            raise ValueError(f"limits.{attribute} is {getattr(source, attribute)}; give 1 to 16777216")
    limits.request_line = source.request_line
    limits.field = source.field
    limits.fields = source.fields
    limits.field_count = source.field_count
    return 1


cdef class ParsedRequest:
    """One request head as RequestParser read it (RFC 9112 2 to 6). Bytes are as received, nothing is decoded."""

    cdef bytes _head
    cdef Http1Head _parsed

    def __cinit__(self):
        self._head = b""
        http1_head_init(&self._parsed)

    def __init__(self):
        raise TypeError("ParsedRequest objects come from RequestParser.feed")

    cdef bytes _slice(self, size_t at, size_t length):
        return self._head[at:at + length]

    @property
    def method(self):
        """The method, case kept (RFC 9110 9)."""
        return self._slice(self._parsed.method_at, self._parsed.method_len).decode("ascii")

    @property
    def target(self):
        """The whole request target (RFC 9112 3.2)."""
        return self._slice(self._parsed.target_at, self._parsed.target_len)

    @property
    def path(self):
        """The target's path; b"/" for a URL without path, b"*" for OPTIONS *, empty for CONNECT."""
        return self._slice(self._parsed.path_at, self._parsed.path_len)

    @property
    def query(self):
        """The target's query without its question mark; empty when there is none."""
        return self._slice(self._parsed.query_at, self._parsed.query_len)

    @property
    def authority(self):
        """Host and port: from the target when it names them (RFC 9112 3.2.2), else from Host; empty without both."""
        return self._slice(self._parsed.authority_at, self._parsed.authority_len)

    @property
    def version(self):
        """(1, 0) or (1, 1)."""
        return 1, self._parsed.minor_version

    @property
    def headers(self):
        """The fields in order, as (name, value) pairs of bytes; white space around values is trimmed."""
        cdef Http1Field field
        cdef const char* head = PyBytes_AS_STRING(self._head)
        cdef size_t[1] at
        cdef list found = []
        at[0] = self._parsed.fields_at
        while http1_field_next(head, self._parsed.fields_end, at, &field) > 0:
            found.append((field.name[:field.name_len], field.value[:field.value_len]))
        return found

    @property
    def content_length(self):
        """Bytes of body announced by Content-Length, None without that field."""
        return None if self._parsed.content_length < 0 else self._parsed.content_length

    @property
    def chunked(self):
        """Whether the body is in the chunked coding (RFC 9112 7.1)."""
        return self._parsed.chunked != 0

    @property
    def keep_alive(self):
        """Whether the client lets the connection persist (RFC 9112 9.3)."""
        return self._parsed.keep_alive != 0

    @property
    def expect_continue(self):
        """Whether the client waits for 100 (Continue) before it sends the body (RFC 9110 10.1.1)."""
        return self._parsed.expect_continue != 0

    @property
    def head_length(self):
        """Bytes of the head, from the first byte given to the final empty line included."""
        return len(self._head)


cdef ParsedRequest _parsed_request(const char* data, const Http1Head* head):
    cdef ParsedRequest request = ParsedRequest.__new__(ParsedRequest)
    request._head = data[:head.result]
    request._parsed = head[0]
    return request


cdef class RequestParser:
    """Reads request heads (RFC 9112), strictly: what is ambiguous about framing is an error, never repaired.

    `limits` is any object with the attributes request_line, field, fields (bytes) and field_count, such as web.Limits.
    """

    cdef Http1Limits _limits
    cdef Http1Head _head
    cdef bytearray _buffer

    def __cinit__(self, limits=None):
        _http1_limits(&self._limits, limits)
        self._buffer = bytearray()
        http1_head_init(&self._head)

    def feed(self, bytes data not None):
        """Add received bytes. The request when its head is whole, None when more is needed.

        Raises ProtocolError, then and from then on. After a request the next call begins a new head, with its own data
        only: pass on `unused` when requests are pipelined.
        """
        cdef Py_ssize_t result
        if self._head.phase == HTTP1_END and self._head.result > 0:
            http1_head_init(&self._head)
            self._buffer = bytearray()
        self._buffer += data
        result = http1_head_feed(&self._head, PyByteArray_AS_STRING(self._buffer), <size_t>len(self._buffer),
                                 &self._limits)
        if result == HTTP1_MORE:
            return None
        if result < 0:
            raise _protocol_error(result, self._head.fault)
        return _parsed_request(PyByteArray_AS_STRING(self._buffer), &self._head)

    @property
    def unused(self):
        """What followed the last request's head: its body, or the next request. Empty while a head is being read."""
        if self._head.phase != HTTP1_END or self._head.result < 0:
            return b""
        return bytes(self._buffer[self._head.result:])

    def feed_address(self, size_t address, size_t length):
        """Like `feed` on a fresh parser, but the bytes are read where they are, without copying.

        For tests that put unreadable memory behind the last byte. The caller vouches for the address.
        """
        cdef Http1Head head
        cdef Py_ssize_t result
        http1_head_init(&head)
        result = http1_head_feed(&head, <const char*>address, length, &self._limits)
        if result == HTTP1_MORE:
            return None
        if result < 0:
            raise _protocol_error(result, head.fault)
        return _parsed_request(<const char*>address, &head)

    def repeat(self, bytes data not None, Py_ssize_t n):
        """Parse the head at the start of `data` n times in C. Its length in bytes; ValueError when it is not whole."""
        cdef Http1Head head
        cdef const char* start = PyBytes_AS_STRING(data)
        cdef size_t length = <size_t>len(data)
        cdef Py_ssize_t result = HTTP1_MORE
        http1_head_init(&head)
        with nogil:
            while n > 0:
                n -= 1
                http1_head_init(&head)
                result = http1_head_feed(&head, start, length, &self._limits)
        if result == HTTP1_MORE:
            raise ValueError("repeat needs a whole request head and n of at least 1")
        if result < 0:
            raise _protocol_error(result, head.fault)
        return result


cdef class ChunkedDecoder:
    """Decodes one body in the chunked transfer coding (RFC 9112 7.1). Trailers are checked and dropped."""

    cdef Http1Limits _limits
    cdef Http1Chunked _state
    cdef bytes _unused

    def __cinit__(self, limits=None):
        _http1_limits(&self._limits, limits)
        self._unused = b""
        http1_chunked_init(&self._state)

    @property
    def finished(self):
        """Whether the last chunk and the trailer section were read."""
        return self._state.phase == CHUNKED_END

    @property
    def unused(self):
        """What followed the body in the data that ended it."""
        return self._unused

    cdef size_t _decode(self, const char* data, size_t length, char* out) except? 0:
        # Payload bytes written to `out`.
        cdef size_t[1] consumed, produced
        cdef Py_ssize_t result
        if self._state.phase == CHUNKED_END:
            raise ValueError("the body has ended; make a new ChunkedDecoder for the next one")
        result = http1_chunked_feed(&self._state, data, length, consumed, out, produced, &self._limits)
        if result < HTTP1_MORE:
            raise _protocol_error(result, self._state.fault)
        self._unused = data[consumed[0]:length]
        return produced[0]

    def feed(self, bytes data not None):
        """Add received bytes; the payload in them. Raises ProtocolError, then and from then on."""
        cdef bytes out = PyBytes_FromStringAndSize(NULL, len(data))
        return out[:self._decode(PyBytes_AS_STRING(data), <size_t>len(data), PyBytes_AS_STRING(out))]

    def feed_in_place(self, bytearray data not None):
        """Like `feed`, but the payload is written over the start of `data`; the number of payload bytes."""
        cdef char* start = PyByteArray_AS_STRING(data)
        return self._decode(start, <size_t>len(data), start)

    def feed_address(self, size_t address, size_t length):
        """Like `feed`, but the bytes are read where they are. For tests; the caller vouches for the address."""
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
        return out[:self._decode(<const char*>address, length, PyBytes_AS_STRING(out))]

    def repeat(self, bytes data not None, Py_ssize_t n):
        """Decode the whole body `data` n times in C. Its payload's length in bytes; ValueError when it is not whole."""
        cdef Http1Chunked state
        cdef const char* start = PyBytes_AS_STRING(data)
        cdef size_t length = <size_t>len(data)
        cdef size_t[1] consumed
        cdef size_t produced = 0
        cdef Py_ssize_t result = HTTP1_MORE
        cdef bytes room = PyBytes_FromStringAndSize(NULL, len(data))
        cdef char* out = PyBytes_AS_STRING(room)
        http1_chunked_init(&state)
        with nogil:
            while n > 0:
                n -= 1
                http1_chunked_init(&state)
                result = http1_chunked_feed(&state, start, length, consumed, out, &produced, &self._limits)
        if result == HTTP1_MORE:
            raise ValueError("repeat needs a whole chunked body and n of at least 1")
        if result < 0:
            raise _protocol_error(result, state.fault)
        return produced


# ---- answers ----

cdef class _HeadFields:
    # A response's fields as C pointers into bytes that this object keeps alive.
    cdef list kept
    cdef Http1Field* fields
    cdef size_t count
    cdef size_t bound               # bytes that all lines take

    def __cinit__(self, headers):
        cdef bytes name, value
        cdef size_t i = 0
        self.kept = [(str.encode(n, "latin-1"), str.encode(v, "latin-1")) for n, v in headers]
        self.count = <size_t>len(self.kept)
        self.fields = <Http1Field*>PyMem_RawMalloc(max(self.count, <size_t>1) * sizeof(Http1Field))
        if self.fields == NULL:
            raise MemoryError()
        for name, value in self.kept:
            self.fields[i].name = PyBytes_AS_STRING(name)
            self.fields[i].name_len = <size_t>len(name)
            self.fields[i].value = PyBytes_AS_STRING(value)
            self.fields[i].value_len = <size_t>len(value)
            self.bound += <size_t>(len(name) + len(value) + 4)
            i += 1

    def __dealloc__(self):
        PyMem_RawFree(self.fields)


cdef Py_ssize_t _write_head(char* out, int status, const Http1Field* fields, size_t count) noexcept nogil:
    # > 0: bytes written; negative: -(n + 1) when field n must not be sent.
    cdef size_t i
    cdef size_t[1] length
    cdef const char* line = http1_status_line(status, length)
    cdef char* p = out
    memcpy(p, line, length[0])
    p += length[0]
    for i in range(count):
        if not (http1_is_token(fields[i].name, fields[i].name_len)
                and http1_is_field_value(fields[i].value, fields[i].value_len)):
            return -<Py_ssize_t>i - 1
        memcpy(p, fields[i].name, fields[i].name_len)
        p += fields[i].name_len
        memcpy(p, b": ", 2)
        p += 2
        memcpy(p, fields[i].value, fields[i].value_len)
        p += fields[i].value_len
        memcpy(p, b"\r\n", 2)
        p += 2
    memcpy(p, b"\r\n", 2)
    return p + 2 - out


cdef bytes _head_repeated(int status, headers, Py_ssize_t n):
    cdef _HeadFields fields = _HeadFields(headers)
    cdef size_t[1] length
    cdef Py_ssize_t written = 0
    cdef bytes room
    cdef char* out
    if not 100 <= status <= 599:
        raise ValueError(f"status {status} is outside 100..599")
    if n < 1:
        raise ValueError("n must be at least 1")
    http1_status_line(status, length)
    room = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(length[0] + fields.bound + 2))
    out = PyBytes_AS_STRING(room)
    with nogil:
        while n > 0:
            n -= 1
            written = _write_head(out, status, fields.fields, fields.count)
    if written < 0:
        raise ValueError(f"field {fields.kept[-written - 1]!r} cannot be sent: a name is a token, a value has no CR, "
                         "LF, NUL or other control character")
    return room[:written]


def response_head(int status, headers):
    """A response head (RFC 9112 4): the status line, these fields in order, the empty line.

    `headers`: a list of (name, value) strings, sent in Latin-1. Nothing is added. Raises ValueError for a status
    outside 100..599, a name that is no token, or a value with CR, LF, NUL or another control character but HTAB.
    """
    return _head_repeated(status, headers, 1)


def response_head_repeat(int status, headers, Py_ssize_t n):
    """Write the same head n times in C; its length in bytes."""
    return len(_head_repeated(status, headers, n))


def status_line(int status):
    """The status line with its CRLF (RFC 9112 4); outside 100..599 that of 500."""
    cdef size_t[1] length
    cdef const char* line = http1_status_line(status, length)
    return line[:length[0]]


def http_date(long long unix_seconds):
    """A moment as an IMF-fixdate, 29 bytes (RFC 9110 5.6.7). Seconds since 1970, held within the years 1970 to 9999."""
    cdef char out[HTTP1_DATE_LENGTH]
    http1_date(out, unix_seconds)
    return out[:HTTP1_DATE_LENGTH]


def decimal(unsigned long long n):
    """A number below 2**64 in decimal digits."""
    cdef char out[20]
    return out[:http1_decimal(out, n)]


def is_token(bytes data not None):
    """Whether `data` is a token (RFC 9110 5.6.2): may be a method or a field name."""
    return http1_is_token(PyBytes_AS_STRING(data), <size_t>len(data)) != 0


def is_field_value(bytes data not None):
    """Whether `data` may be sent as a field value: no control character but HTAB (RFC 9110 5.5)."""
    return http1_is_field_value(PyBytes_AS_STRING(data), <size_t>len(data)) != 0
