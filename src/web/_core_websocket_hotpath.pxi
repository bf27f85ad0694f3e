# The WebSocket codec as Python objects, for measuring and for tests (public through web.hotpath). Each wraps one pure
# part and adds nothing to it; what is called `repeat` runs it n times in C, without the GIL.
#
# Ownership: what is fed is copied into memory that may be written, but for the functions that take an address: they
# borrow it, and write to it, for the time of the call.


class FrameError(Exception):
    """The peer broke the protocol. The connection cannot go on: send a close frame with `code`, then close.

    Attributes:
        code: the code of that close frame (RFC 6455 7.4.1): 1002, 1007 or 1009.
        reason: what was wrong, in a few words.
        at: the place of the wrong byte in the data of this call.
        events: what came before it in the same data.
    """

    def __init__(self, code, reason, at=0, events=()):
        super().__init__(code, reason, at, events)
        self.code = code
        self.reason = reason
        self.at = at
        self.events = events

    def __str__(self):
        return f"{self.code}: {self.reason}"


cdef int _ws_limits(WsLimits* limits, object source) except -1:
    # From any object with these attributes; None: the defaults.
    if source is None:
        limits.frame, limits.message, limits.fragments = 1 << 24, 1 << 20, 100_000
        return 1
    for attribute in ("frame", "message", "fragments"):
        if not 0 <= getattr(source, attribute) <= 1 << 53:
            raise ValueError(f"limits.{attribute} is {getattr(source, attribute)}; give 0 to {1 << 53}")
    limits.frame, limits.message, limits.fragments = source.frame, source.message, source.fragments
    return 1


cdef object _ws_control_event(int result, const WsEvent* event):
    cdef bytes payload = event.data[:event.length]
    if result == WS_CLOSE:
        return "close", event.code, payload.decode()
    return "ping" if result == WS_PING else "pong", payload


cdef class FrameReader:
    """Reads frames (RFC 6455 5). `masked`: the peer is a client. `deflate`: permessage-deflate was agreed on."""

    cdef WsLimits _limits
    cdef WsReader _reader

    def __cinit__(self, limits=None, *, bint masked=True, bint deflate=False):
        _ws_limits(&self._limits, limits)
        ws_reader_init(&self._reader, masked, deflate)

    def feed(self, bytes data not None):
        """Add received bytes: a list of what is in them, each a tuple.

        ("data", opcode, payload, begins, ends, compressed): a span of a message; opcode 1 is text, 2 binary.
        ("ping", payload), ("pong", payload), ("close", code, reason): a control frame. Code 1005: it had none.
        Raises FrameError, then and from then on. What follows a close frame is thrown away.
        """
        cdef bytearray room = bytearray(data)
        return self.feed_address(<size_t>PyByteArray_AS_STRING(room), <size_t>len(room))

    def feed_address(self, size_t address, size_t length):
        """Like `feed`, but the bytes are unmasked where they are. For tests; the caller vouches for the address."""
        cdef unsigned char* data = <unsigned char*>address
        cdef WsEvent event
        cdef list events = []
        cdef size_t at = 0
        cdef int result
        while True:
            result = ws_feed(&self._reader, data + at, length - at, &event, &self._limits)
            at += event.consumed
            if result == WS_MORE:
                if at != length:
                    raise RuntimeError(f"the reader wants more and left {length - at} bytes: a defect of weblatch")
                return events
            if result == WS_FAULT:
                raise FrameError(self._reader.code, self._reader.fault.decode("ascii"), at, events)
            if result == WS_DATA:
                events.append(("data", event.opcode, event.data[:event.length], event.begins != 0, event.ends != 0,
                               event.compressed != 0))
            else:
                events.append(_ws_control_event(result, &event))

    def repeat(self, bytes data not None, Py_ssize_t n):
        """Read the frames in `data`, whole messages, n times in C; how many events there were the last time.

        They are unmasked in place, so the mask of text must be 0. Raises FrameError.
        """
        cdef bytearray room = bytearray(data)
        cdef unsigned char* start = <unsigned char*>PyByteArray_AS_STRING(room)
        cdef size_t length = <size_t>len(room)
        cdef size_t at = 0
        cdef Py_ssize_t events = 0
        cdef WsEvent event
        cdef int result = WS_MORE
        with nogil:
            while n > 0 and result != WS_FAULT:
                n -= 1
                at = 0
                events = -1
                result = WS_DATA
                while result > 0:
                    events += 1
                    result = ws_feed(&self._reader, start + at, length - at, &event, &self._limits)
                    at += event.consumed
        if result == WS_FAULT:
            raise FrameError(self._reader.code, self._reader.fault.decode("ascii"), at)
        return events


cdef class MessageReader:
    """Reads whole messages. `deflate`: None, or the peer's window bits and whether its context is taken over."""

    cdef WsLimits _limits
    cdef WsReader _reader
    cdef WsInflater _inflater
    cdef WsMessage _message

    def __cinit__(self, limits=None, *, bint masked=True, deflate=None):
        _ws_limits(&self._limits, limits)
        ws_reader_init(&self._reader, masked, deflate is not None)
        bits, takeover = (15, True) if deflate is None else deflate
        ws_inflater_init(&self._inflater, _ws_whole("bits", bits, 8, 15), takeover)

    def __dealloc__(self):
        ws_inflater_free(&self._inflater)
        ws_message_free(&self._message)

    @property
    def memory(self):
        """Bytes that are held now: zlib's, and the buffer of the message."""
        return self._inflater.memory, self._message.buffer.capacity

    def feed(self, bytes data not None):
        """Add received bytes: a list of the messages (str or bytes) and control frames (tuples) that they complete.

        Raises FrameError, then and from then on; MemoryError.
        """
        cdef bytearray room = bytearray(data)
        cdef unsigned char* start = <unsigned char*>PyByteArray_AS_STRING(room)
        cdef size_t length = <size_t>len(room)
        cdef size_t at = 0
        cdef WsEvent event
        cdef list found = []
        cdef int result
        while True:
            result = ws_feed(&self._reader, start + at, length - at, &event, &self._limits)
            at += event.consumed
            if result > 0 and result != WS_DATA:
                found.append(_ws_control_event(result, &event))
                continue
            if result == WS_MORE:
                return found
            if result == WS_DATA:
                result = ws_message_take(&self._message, &self._reader, &self._inflater, &event, &self._limits)
            if result == WS_FAULT:
                raise FrameError(self._reader.code, self._reader.fault.decode("ascii"), at, found)
            if result == WS_NO_MEMORY:
                raise MemoryError()
            if result == WS_DONE:
                payload = self._message.data[:self._message.length]
                found.append(payload.decode() if self._message.opcode == WS_OP_TEXT else payload)
                ws_message_done(&self._message)


cdef int _ws_whole(str name, object value, int least, int most) except? -1:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}; give {least} to {most}")
    return value


cdef class Inflater:
    """Inflates messages of permessage-deflate (RFC 7692 7.2.2). `bits`: 8 to 15, the sender's window."""

    cdef WsInflater _inflater

    def __cinit__(self, bits=15, *, bint takeover=True):
        ws_inflater_init(&self._inflater, _ws_whole("bits", bits, 8, 15), takeover)

    def __dealloc__(self):
        ws_inflater_free(&self._inflater)

    @property
    def memory(self):
        """Bytes that zlib holds; 0 before the first message, and after each without takeover."""
        return self._inflater.memory

    def feed(self, bytes data not None, *, bint ends=True, unsigned long long limit=1 << 20):
        """What a piece of a message inflates to. Raises FrameError, then and from then on; MemoryError.

        `limit`: bytes of the whole message, inflated.
        """
        cdef WsBuffer out
        cdef int result
        memset(&out, 0, sizeof(WsBuffer))
        result = ws_inflate(&self._inflater, <const unsigned char*>PyBytes_AS_STRING(data), <size_t>len(data), ends,
                            &out, min(limit, <unsigned long long>1 << 53))
        try:
            if result == WS_FAULT:
                raise FrameError(self._inflater.code, self._inflater.fault.decode("ascii"))
            if result == WS_NO_MEMORY:
                raise MemoryError()
            return PyBytes_FromStringAndSize(<const char*>out.data, <Py_ssize_t>out.size)
        finally:
            ws_buffer_free(&out)

    def free(self):
        """Give back zlib's memory."""
        ws_inflater_free(&self._inflater)


cdef class Deflater:
    """Compresses messages (RFC 7692 7.2.1). `bits`: 9 to 15, `mem_level`: 1 to 9, `level`: -1 to 9."""

    cdef WsDeflater _deflater

    def __cinit__(self, bits=12, mem_level=5, level=-1, *, bint takeover=True):
        ws_deflater_init(&self._deflater, _ws_whole("bits", bits, 9, 15), _ws_whole("mem_level", mem_level, 1, 9),
                         _ws_whole("level", level, -1, 9), takeover)

    def __dealloc__(self):
        ws_deflater_free(&self._deflater)

    @property
    def memory(self):
        """Bytes that zlib holds; 0 before the first message, and after each without takeover."""
        return self._deflater.memory

    def message(self, bytes data not None):
        """The payload of a whole message, compressed. MemoryError: nothing changed for the peer."""
        cdef WsBuffer out
        cdef int result
        memset(&out, 0, sizeof(WsBuffer))
        result = ws_deflate(&self._deflater, <const unsigned char*>PyBytes_AS_STRING(data), <size_t>len(data), &out)
        try:
            if result == WS_NO_MEMORY:
                raise MemoryError()
            if result != WS_DONE:
                raise RuntimeError("zlib did not compress a message: a defect of weblatch, please report it")
            return PyBytes_FromStringAndSize(<const char*>out.data, <Py_ssize_t>out.size)
        finally:
            ws_buffer_free(&out)

    def free(self):
        """Give back zlib's memory, between two messages."""
        ws_deflater_free(&self._deflater)


# ---- writing ----

def write_frame(int opcode, bytes payload not None, *, bint fin=True, bint rsv1=False, bytes mask=None):
    """A frame (RFC 6455 5.2); with `mask`, four bytes, as a client sends it. Nothing is checked."""
    cdef size_t n = <size_t>len(payload)
    cdef bytes room = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(WS_HEAD_MAX + n))
    cdef unsigned char* out = <unsigned char*>PyBytes_AS_STRING(room)
    cdef size_t size
    if mask is None:
        size = ws_write_head(out, <unsigned char>(opcode & 15), fin, rsv1, n)
        memcpy(out + size, PyBytes_AS_STRING(payload), n)
        return room[:size + n]
    if len(mask) != 4:
        raise ValueError(f"mask has {len(mask)} bytes; give 4")
    size = ws_write_masked(out, <unsigned char>(opcode & 15), fin, rsv1, <const unsigned char*>PyBytes_AS_STRING(mask),
                           <const unsigned char*>PyBytes_AS_STRING(payload), n)
    return room[:size]


def write_frame_repeat(int opcode, bytes payload not None, Py_ssize_t n):
    """Write the unmasked header of such a frame n times in C, and copy the payload; its length in bytes."""
    cdef size_t length = <size_t>len(payload)
    cdef bytes room = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(WS_HEAD_MAX + length))
    cdef unsigned char* out = <unsigned char*>PyBytes_AS_STRING(room)
    cdef const char* start = PyBytes_AS_STRING(payload)
    cdef size_t size = 0
    with nogil:
        while n > 0:
            n -= 1
            size = ws_write_head(out, <unsigned char>(opcode & 15), 1, 0, length)
            memcpy(out + size, start, length)
            size += length
    return size


def write_close(unsigned int code=1005, str reason not None=""):
    """A close frame (RFC 6455 5.5.1); 1005: without a code. ValueError: it must not be sent so."""
    cdef unsigned char[2 + WS_CONTROL_MAX] out
    cdef bytes text = reason.encode()
    cdef Py_ssize_t size = ws_write_close(out, code, <const unsigned char*>PyBytes_AS_STRING(text), <size_t>len(text))
    if size < 0:
        raise ValueError(f"a close frame cannot have code {code} and a reason of {len(text)} bytes: give 1000 to 1003, "
                         f"1007 to 1014 or 3000 to 4999, and at most {WS_REASON_MAX} bytes")
    return out[:size]


def is_close_code(unsigned int code):
    """Whether a close frame may have this code (RFC 6455 7.4)."""
    return ws_is_close_code(code) != 0


# ---- ws_helpers.h ----

def mask_address(size_t address, size_t length, bytes mask not None, size_t at=0, *, bint scalar=False):
    """Mask or unmask (RFC 6455 5.3) the bytes at an address. `at`: their place in the payload."""
    cdef const unsigned char* key = <const unsigned char*>PyBytes_AS_STRING(mask)
    if len(mask) != 4:
        raise ValueError(f"mask has {len(mask)} bytes; give 4")
    if scalar:
        web_mask_scalar(<unsigned char*>address, length, key, at)
    else:
        web_mask(<unsigned char*>address, length, key, at)


def mask_repeat(bytearray data not None, bytes mask not None, Py_ssize_t n, *, bint scalar=False):
    """Mask `data` in place, n times in C; its length."""
    cdef unsigned char* start = <unsigned char*>PyByteArray_AS_STRING(data)
    cdef const unsigned char* key = <const unsigned char*>PyBytes_AS_STRING(mask)
    cdef size_t length = <size_t>len(data)
    if len(mask) != 4:
        raise ValueError(f"mask has {len(mask)} bytes; give 4")
    with nogil:
        while n > 0:
            n -= 1
            if scalar:
                web_mask_scalar(start, length, key, 0)
            else:
                web_mask(start, length, key, 0)
    return length


cdef class Utf8Reader:
    """Whether a text that comes in pieces is UTF-8 (RFC 3629). `scalar`: byte by byte."""

    cdef web_utf8 _state
    cdef bint _scalar

    def __cinit__(self, *, bint scalar=False):
        self._scalar = scalar

    @property
    def whole(self):
        """Whether the text so far ends between two characters."""
        return self._state.left == 0

    def feed(self, bytes data not None):
        """How many of the bytes go on with the text: all, or the place of the first that does not."""
        return self.feed_address(<size_t>PyBytes_AS_STRING(data), <size_t>len(data))

    def feed_address(self, size_t address, size_t length):
        """Like `feed`, but the bytes are read where they are. For tests; the caller vouches for the address."""
        if self._scalar:
            return web_utf8_scalar(&self._state, <const unsigned char*>address, length)
        return web_utf8_feed(&self._state, <const unsigned char*>address, length)

    def repeat(self, bytes data not None, Py_ssize_t n):
        """Feed `data` n times in C; what `feed` says of the last time."""
        cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(data)
        cdef size_t length = <size_t>len(data)
        cdef size_t good = 0
        with nogil:
            while n > 0:
                n -= 1
                if self._scalar:
                    good = web_utf8_scalar(&self._state, start, length)
                else:
                    good = web_utf8_feed(&self._state, start, length)
        return good
