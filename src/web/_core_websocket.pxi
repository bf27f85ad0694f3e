# WebSocket frames (RFC 6455 5): a strict, resumable reader, and the writer. Pure: no I/O, no allocation, no Python
# object, no GIL.
#
# Parts, in this order: _core_websocket.pxi (frames), _core_deflate.pxi (permessage-deflate),
# _core_websocket_message.pxi (from frames to messages). They use nothing else of the extension.
#
# States of WsReader.phase; WS_STEPS is the table of legal steps, ws_step the one function that takes them:
#   FIRST -> SECOND -> [LENGTH] -> [MASK] -> PAYLOAD -> FIRST ...     once for each frame
#     FIRST    nothing of a frame came; SECOND  its first byte;  LENGTH  within a length of 2 or 8 bytes
#     MASK     within the masking key;  PAYLOAD  all of the header came
#   PAYLOAD -> CLOSED    after a close frame: what follows it is thrown away (5.5.1);    FAILED from all others
#
# Invariants
# - Each byte is looked at once, when it comes: neither the verdict nor with which byte it comes depends on the cuts.
# - Nothing is kept of the bytes given: a header lies in the fields below, a control frame in `control`. The payload of
#   messages stays where it is: it is unmasked in place, and reported as spans.
# - What a peer announces is judged before it comes: frame and message too big, too many fragments (empty ones count).
# - Text is checked as it comes (8.1); of a compressed message whoever inflates it calls ws_text.
# - 0 is never a result. What is not plainly right is a fault with the code of the close frame that says so (7.4.1);
#   nothing is repaired.
#
# Ownership: the caller owns the buffer, which must be writable; a span in an event points into it. A control frame's
# payload points into the reader, and is good until the next call.

cdef extern from *:
    """
    /* From each phase to those that may follow it. */
    static const unsigned char web_ws_steps[8] = {
        0,
        1 << 2 | 1 << 7,                    /* FIRST: SECOND, FAILED */
        1 << 3 | 1 << 4 | 1 << 5 | 1 << 7,  /* SECOND: LENGTH, MASK, PAYLOAD, FAILED */
        1 << 4 | 1 << 5 | 1 << 7,           /* LENGTH: MASK, PAYLOAD, FAILED */
        1 << 5,                             /* MASK: PAYLOAD */
        1 << 1 | 1 << 6 | 1 << 7,           /* PAYLOAD: FIRST, CLOSED, FAILED */
        0,                                  /* CLOSED */
        0,                                  /* FAILED */
    };
    """
    const unsigned char* WS_STEPS "web_ws_steps"

cdef extern from "ws_helpers.h" nogil:
    ctypedef struct web_utf8:
        unsigned char left
        unsigned char low
        unsigned char high

    void web_mask(unsigned char* data, size_t n, const unsigned char* mask, size_t at)
    void web_mask_scalar(unsigned char* data, size_t n, const unsigned char* mask, size_t at)
    size_t web_utf8_feed(web_utf8* state, const unsigned char* data, size_t n)
    size_t web_utf8_scalar(web_utf8* state, const unsigned char* data, size_t n)

cdef enum:                          # opcodes (RFC 6455 5.2)
    WS_OP_CONTINUATION = 0
    WS_OP_TEXT = 1
    WS_OP_BINARY = 2
    WS_OP_CLOSE = 8
    WS_OP_PING = 9
    WS_OP_PONG = 10

cdef enum:                          # codes of close frames (RFC 6455 7.4.1)
    WS_NORMAL = 1000
    WS_GOING_AWAY = 1001
    WS_PROTOCOL_ERROR = 1002
    WS_NO_CODE = 1005               # never sent: the close frame had no code
    WS_NO_CLOSE = 1006              # never sent: there was no close frame
    WS_BAD_DATA = 1007
    WS_POLICY = 1008
    WS_TOO_BIG = 1009
    WS_INTERNAL_ERROR = 1011

cdef enum:                          # what ws_feed answers
    WS_DATA = 1                     # a span of a message
    WS_PING = 2
    WS_PONG = 3
    WS_CLOSE = 4
    WS_MORE = -1                    # all was consumed, and there is nothing to report
    WS_FAULT = -2                   # reader.code, reader.fault; from then on always

cdef enum:
    WS_FIRST = 1
    WS_SECOND = 2
    WS_LENGTH = 3
    WS_MASK = 4
    WS_PAYLOAD = 5
    WS_CLOSED = 6
    WS_FAILED = 7

cdef enum:
    WS_CONTROL_MAX = 125            # bytes of a control frame's payload (RFC 6455 5.5)
    WS_REASON_MAX = 123             # ... of which two are the code
    WS_HEAD_MAX = 14                # bytes of a frame's header; without a mask 10

cdef struct WsLimits:               # each at most 2**53
    uint64_t frame                  # bytes of one frame's payload, as it comes
    uint64_t message                # bytes of one message's payload, inflated
    uint64_t fragments              # frames of one message

cdef struct WsReader:
    unsigned char phase
    unsigned char masked            # the peer must mask (it is a client); else it must not (RFC 6455 5.1)
    unsigned char deflate           # permessage-deflate was agreed: RSV1 may be set (RFC 7692 6)
    # the frame being read
    unsigned char frame             # its opcode
    unsigned char fin
    unsigned char wanted            # bytes of its length, or of its mask, still to come
    unsigned char wide              # bytes of its length: 2 or 8
    unsigned char[4] mask
    uint64_t left                   # the length being read, then the payload still to come
    uint64_t at                     # bytes of the payload that came
    unsigned char[125] control      # WS_CONTROL_MAX
    # the message being read; control frames may come between its frames
    unsigned char opcode            # TEXT, BINARY; 0: none
    unsigned char compressed
    unsigned char begun             # a span of it was reported
    uint64_t message                # bytes of payload that its frames announced
    uint64_t fragments
    web_utf8 utf8
    # once FAILED
    unsigned short code
    const char* fault

cdef struct WsEvent:
    size_t consumed                 # bytes of the buffer that the call used; set with every result
    unsigned char* data             # WS_DATA: in the buffer; PING, PONG: the payload; CLOSE: the reason, UTF-8
    size_t length
    # WS_DATA
    unsigned char opcode            # of the message: TEXT or BINARY
    bint compressed                 # the span is to be inflated
    bint begins                     # the first span of its message
    bint ends                       # the last one; a message may begin and end with an empty span
    uint64_t left                   # bytes of this frame still to come
    # WS_CLOSE
    unsigned short code             # WS_NO_CODE: there was none


cdef void ws_reader_init(WsReader* r, bint masked, bint deflate) noexcept nogil:
    memset(r, 0, sizeof(WsReader))
    r.phase = WS_FIRST
    r.masked = masked
    r.deflate = deflate


cdef int ws_step(WsReader* r, unsigned char to) noexcept nogil:
    # WS_MORE, or WS_FAULT where the table does not allow the step: a defect of ours.
    if not WS_STEPS[r.phase] & (1 << to):
        r.phase = WS_FAILED
        r.code = WS_INTERNAL_ERROR
        r.fault = b"illegal step of the frame reader"
        return WS_FAULT
    r.phase = to
    return WS_MORE


cdef int ws_fail(WsReader* r, unsigned short code, const char* fault) noexcept nogil:
    if ws_step(r, WS_FAILED) == WS_MORE:
        r.code = code
        r.fault = fault
    return WS_FAULT


cdef int ws_feed(WsReader* r, unsigned char* buf, size_t len, WsEvent* event, const WsLimits* limits) noexcept nogil:
    # Up to the next event, or the end of the bytes: WS_DATA, PING, PONG, CLOSE, MORE or FAULT. To be called again with
    # what follows event.consumed until it says MORE. At a fault consumed is the place of the byte that is wrong (or the
    # end of the frame that is, where no single byte is).
    cdef size_t at = 0, run
    cdef int result = WS_MORE
    memset(event, 0, sizeof(WsEvent))
    while result == WS_MORE:
        if r.phase == WS_PAYLOAD:
            if at == len and r.left > 0:
                break
            run = len - at
            if run > r.left:
                run = <size_t>r.left
            if r.frame >= WS_OP_CLOSE:
                result = _ws_control(r, buf + at, run, event)
            else:
                result = _ws_data(r, buf + at, &run, event)
            at += run
        elif r.phase == WS_FAILED:
            result = WS_FAULT
        elif at == len:
            break
        elif r.phase == WS_CLOSED:
            at = len
        else:
            result = _ws_header(r, buf[at], limits)
            if result == WS_MORE:
                at += 1
    event.consumed = at
    return result


# ---- headers (RFC 6455 5.2) ----

cdef inline int _ws_header(WsReader* r, unsigned char c, const WsLimits* limits) noexcept nogil:
    if r.phase == WS_FIRST:
        return _ws_first(r, c, limits)
    if r.phase == WS_SECOND:
        return _ws_second(r, c, limits)
    if r.phase == WS_LENGTH:
        if r.wanted == 8 and c & 0x80:
            return ws_fail(r, WS_PROTOCOL_ERROR, b"length with its highest bit set")
        r.left = r.left << 8 | c
        r.wanted -= 1
        return WS_MORE if r.wanted else _ws_length(r, limits)
    r.mask[4 - r.wanted] = c
    r.wanted -= 1
    return WS_MORE if r.wanted else ws_step(r, WS_PAYLOAD)


cdef int _ws_first(WsReader* r, unsigned char c, const WsLimits* limits) noexcept nogil:
    # FIN, RSV1 to 3, opcode.
    cdef unsigned char opcode = c & 15
    cdef bint rsv1 = c & 0x40
    if c & 0x30:
        return ws_fail(r, WS_PROTOCOL_ERROR, b"reserved bit RSV2 or RSV3 set")
    if rsv1 and not r.deflate:
        return ws_fail(r, WS_PROTOCOL_ERROR, b"reserved bit RSV1 set, and no extension was agreed")
    if WS_OP_BINARY < opcode < WS_OP_CLOSE or opcode > WS_OP_PONG:
        return ws_fail(r, WS_PROTOCOL_ERROR, b"reserved opcode")
    if rsv1 and opcode != WS_OP_TEXT and opcode != WS_OP_BINARY:        # RFC 7692 6.1: on the first frame only
        return ws_fail(r, WS_PROTOCOL_ERROR, b"RSV1 set on a continuation or control frame")
    r.frame = opcode
    r.fin = c >> 7
    if opcode >= WS_OP_CLOSE:
        if not r.fin:
            return ws_fail(r, WS_PROTOCOL_ERROR, b"fragmented control frame")
    elif opcode == WS_OP_CONTINUATION:
        if r.opcode == 0:
            return ws_fail(r, WS_PROTOCOL_ERROR, b"continuation without a message")
    elif r.opcode != 0:
        return ws_fail(r, WS_PROTOCOL_ERROR, b"new message within another one")
    else:
        r.opcode = opcode
        r.compressed = rsv1
        r.begun = 0
        r.message = r.fragments = 0
    if opcode < WS_OP_CLOSE:
        r.fragments += 1
        if r.fragments > limits.fragments:
            return ws_fail(r, WS_TOO_BIG, b"message of too many fragments")
    return ws_step(r, WS_SECOND)


cdef int _ws_second(WsReader* r, unsigned char c, const WsLimits* limits) noexcept nogil:
    # MASK and the length, or how wide it is.
    cdef unsigned char length = c & 127
    if r.masked != (c >> 7):
        if r.masked:
            return ws_fail(r, WS_PROTOCOL_ERROR, b"frame without a mask from a client")
        return ws_fail(r, WS_PROTOCOL_ERROR, b"masked frame from a server")
    if r.frame >= WS_OP_CLOSE and length > WS_CONTROL_MAX:
        return ws_fail(r, WS_PROTOCOL_ERROR, b"control frame of more than 125 bytes")
    r.at = 0
    if length > 125:
        r.left = 0
        r.wide = r.wanted = 2 if length == 126 else 8
        return ws_step(r, WS_LENGTH)
    r.left = length
    r.wide = 1
    return _ws_length(r, limits)


cdef int _ws_length(WsReader* r, const WsLimits* limits) noexcept nogil:
    # The length is known: whether it was written in the fewest bytes (5.2), and whether it may come.
    if (r.wide == 2 and r.left < 126) or (r.wide == 8 and r.left < 65536):
        return ws_fail(r, WS_PROTOCOL_ERROR, b"length not in the fewest bytes")
    if r.frame < WS_OP_CLOSE:
        if r.left > limits.frame:
            return ws_fail(r, WS_TOO_BIG, b"frame too big")
        if r.message + r.left > ws_wire_limit(limits.message, r.compressed):
            return ws_fail(r, WS_TOO_BIG, b"message too big")
        r.message += r.left
    if not r.masked:
        return ws_step(r, WS_PAYLOAD)
    r.wanted = 4
    return ws_step(r, WS_MASK)


cdef inline uint64_t ws_wire_limit(uint64_t message, bint compressed) noexcept nogil:
    # What a message may take on the wire. Deflate makes what does not compress a little larger: an eighth is more than
    # any compressor adds. What it inflates to is bounded where it is inflated.
    return message + message // 8 + 64 if compressed else message


# ---- payloads ----

cdef int _ws_data(WsReader* r, unsigned char* data, size_t* run, WsEvent* event) noexcept nogil:
    # *run bytes of a message's frame came; 0: the frame is empty.
    cdef size_t n = run[0]
    cdef bint ends
    if r.masked:
        web_mask(data, n, r.mask, <size_t>r.at)
    r.at += n
    r.left -= n
    ends = r.fin and r.left == 0
    if r.opcode == WS_OP_TEXT and not r.compressed and ws_text(r, data, n, ends, run) == WS_FAULT:
        return WS_FAULT
    if r.left == 0 and ws_step(r, WS_FIRST) == WS_FAULT:
        return WS_FAULT
    if n == 0 and not ends:
        return WS_MORE
    event.data = data
    event.length = n
    event.opcode = r.opcode
    event.compressed = r.compressed
    event.begins = not r.begun
    event.ends = ends
    event.left = r.left
    r.begun = 1
    if ends:
        r.opcode = 0
    return WS_DATA


cdef int ws_text(WsReader* r, const unsigned char* data, size_t n, bint ends, size_t* good) noexcept nogil:
    # Checks that a piece of a text message, inflated if it was compressed, goes on in UTF-8 (RFC 6455 8.1): WS_MORE, or
    # WS_FAULT. *good: how many bytes of it do.
    good[0] = web_utf8_feed(&r.utf8, data, n)
    if good[0] < n:
        return ws_fail(r, WS_BAD_DATA, b"text that is not UTF-8")
    if ends and r.utf8.left:
        return ws_fail(r, WS_BAD_DATA, b"text that ends within a character")
    return WS_MORE


cdef int _ws_control(WsReader* r, const unsigned char* data, size_t n, WsEvent* event) noexcept nogil:
    cdef unsigned char* to = r.control + r.at
    memcpy(to, data, n)
    if r.masked:
        web_mask(to, n, r.mask, <size_t>r.at)
    r.at += n
    r.left -= n
    if r.left > 0:
        return WS_MORE
    event.data = r.control
    event.length = <size_t>r.at
    if r.frame == WS_OP_CLOSE:
        return _ws_close(r, event)
    if ws_step(r, WS_FIRST) == WS_FAULT:
        return WS_FAULT
    return WS_PING if r.frame == WS_OP_PING else WS_PONG


cdef int _ws_close(WsReader* r, WsEvent* event) noexcept nogil:
    # RFC 6455 5.5.1: nothing, or a code and a reason.
    cdef web_utf8 utf8
    event.code = WS_NO_CODE
    if event.length == 1:
        return ws_fail(r, WS_PROTOCOL_ERROR, b"close frame with half a code")
    if event.length > 1:
        event.code = <unsigned short>(r.control[0] << 8 | r.control[1])
        event.data += 2
        event.length -= 2
        if not ws_is_close_code(event.code):
            return ws_fail(r, WS_PROTOCOL_ERROR, b"close frame with a code that must not be sent")
        memset(&utf8, 0, sizeof(web_utf8))
        if web_utf8_feed(&utf8, event.data, event.length) < event.length or utf8.left:
            return ws_fail(r, WS_BAD_DATA, b"reason of a close frame that is not UTF-8")
    return WS_CLOSE if ws_step(r, WS_CLOSED) == WS_MORE else WS_FAULT


cdef bint ws_is_close_code(unsigned int code) noexcept nogil:
    # Predicate: may stand in a close frame (RFC 6455 7.4; 1012 to 1014 by IANA's registry).
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


# ---- writing ----

cdef size_t ws_write_head(unsigned char* out, unsigned char opcode, bint fin, bint rsv1,
                          uint64_t length) noexcept nogil:
    # The header of an unmasked frame: 2, 4 or 10 bytes (`out` has room for 10). length < 2**63.
    cdef int i
    out[0] = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
    if length <= 125:
        out[1] = <unsigned char>length
        return 2
    if length < 65536:
        out[1] = 126
        out[2] = <unsigned char>(length >> 8)
        out[3] = <unsigned char>(length & 255)
        return 4
    out[1] = 127
    for i in range(8):
        out[2 + i] = <unsigned char>(length >> (56 - 8 * i) & 255)
    return 10


cdef size_t ws_write_masked(unsigned char* out, unsigned char opcode, bint fin, bint rsv1, const unsigned char* mask,
                            const unsigned char* data, size_t n) noexcept nogil:
    # A whole frame as a client sends it; `out` has room for WS_HEAD_MAX + n bytes.
    cdef size_t head = ws_write_head(out, opcode, fin, rsv1, n)
    out[1] |= 0x80
    memcpy(out + head, mask, 4)
    head += 4
    memcpy(out + head, data, n)
    web_mask(out + head, n, mask, 0)
    return head + n


cdef Py_ssize_t ws_write_close(unsigned char* out, unsigned int code, const unsigned char* reason,
                               size_t n) noexcept nogil:
    # A whole unmasked close frame; `out` has room for 2 + WS_CONTROL_MAX bytes. WS_NO_CODE: without code and reason.
    # > 0: its length. WS_FAULT: the code must not be sent, or the reason is longer than WS_REASON_MAX or not UTF-8.
    cdef web_utf8 utf8
    cdef size_t head
    if code == WS_NO_CODE and n == 0:
        return <Py_ssize_t>ws_write_head(out, WS_OP_CLOSE, 1, 0, 0)
    memset(&utf8, 0, sizeof(web_utf8))
    if not ws_is_close_code(code) or n > WS_REASON_MAX or web_utf8_feed(&utf8, reason, n) < n or utf8.left:
        return WS_FAULT
    head = ws_write_head(out, WS_OP_CLOSE, 1, 0, n + 2)
    out[head] = <unsigned char>(code >> 8)
    out[head + 1] = <unsigned char>(code & 255)
    memcpy(out + head + 2, reason, n)
    return <Py_ssize_t>(head + 2 + n)
