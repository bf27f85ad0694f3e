# What the fuzzer runs: the WebSocket codec, compiled by itself, without Python.
#
# Beside what the sanitizers find, each input must keep these rules, for a server and for a client, with compression and
# without, under loose and under tight limits:
# - However the bytes are cut (by a generator that the input seeds), events, messages and the verdict are the same, and
#   the verdict comes with the same byte. Every piece is given in memory of exactly its size, at a new address.
# - A result is one of those that are named; a fault has a code of 1002, 1007 or 1009, and only a fault has one.
# - No message, no frame and no buffer is larger than its limit allows; a text is UTF-8 by the scalar check, too.
# - What is compressed and written as frames is read again as it was.
# A rule that is broken is printed, then the process aborts.

from libc.stdint cimport uint8_t, uint64_t
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcmp, memcpy, memset

include "_core_websocket.pxi"
include "_core_deflate.pxi"
include "_core_websocket_message.pxi"

cdef void check(bint kept, const char* rule) noexcept nogil:
    if not kept:
        fprintf(stderr, b"broken rule: %s\n", rule)
        abort()


cdef unsigned char* exact_copy(const unsigned char* data, size_t size) noexcept nogil:
    cdef unsigned char* copy = <unsigned char*>malloc(size if size else 1)
    check(copy != NULL, b"there is memory")
    if size:
        memcpy(copy, data, size)
    return copy


cdef size_t next_piece(uint64_t* seed, size_t left) noexcept nogil:
    # xorshift; mostly small pieces, one byte often.
    seed[0] ^= seed[0] << 13
    seed[0] ^= seed[0] >> 7
    seed[0] ^= seed[0] << 17
    return min(left, <size_t>(1 + (seed[0] >> 8) % (1 << (seed[0] & 7))))


cdef struct Heard:
    uint64_t digest                 # of all events, independent of the cuts
    uint64_t messages
    int result
    size_t at
    unsigned short code
    const char* fault


cdef void add(Heard* h, const unsigned char* data, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        h.digest = (h.digest ^ data[i]) * 1099511628211ULL


cdef void add_number(Heard* h, uint64_t n) noexcept nogil:
    h.digest = (h.digest ^ n) * 1099511628211ULL


cdef int take(Heard* h, WsReader* r, WsInflater* f, WsMessage* m, const WsEvent* e, int result,
              const WsLimits* limits) noexcept nogil:
    # One event: WS_MORE, or WS_FAULT of the message.
    cdef web_utf8 utf8
    if result != WS_DATA:
        check(e.length <= WS_CONTROL_MAX, b"a control frame has at most 125 bytes")
        add_number(h, result)
        add_number(h, e.code)
        add(h, e.data, e.length)
        return WS_MORE
    check(e.opcode == WS_OP_TEXT or e.opcode == WS_OP_BINARY, b"a message is text or binary")
    check(e.length > 0 or e.ends, b"only the end of a message is an empty span")
    check(e.left <= limits.frame, b"no frame is larger than its limit")
    result = ws_message_take(m, r, f, e, limits)
    check(m.buffer.capacity <= max(2 * limits.message + 64, <uint64_t>128), b"the buffer is bounded by the message")
    check(result == WS_DONE or result == WS_MORE or result == WS_FAULT, b"results of messages are known")
    check((result == WS_DONE) == (e.ends and result != WS_FAULT), b"a message is whole with its last span")
    if result == WS_DONE:
        check(m.length <= limits.message, b"no message is larger than its limit")
        memset(&utf8, 0, sizeof(web_utf8))
        check(m.opcode != WS_OP_TEXT or (web_utf8_scalar(&utf8, m.data, m.length) == m.length and utf8.left == 0),
              b"a text is UTF-8")
        h.messages += 1
        add_number(h, m.opcode)
        add_number(h, m.length)
        add(h, m.data, m.length)
        ws_message_done(m)
    return WS_FAULT if result == WS_FAULT else WS_MORE


cdef Heard hear(const unsigned char* data, size_t size, bint masked, bint deflate, bint takeover,
                const WsLimits* limits, uint64_t seed, bint whole) noexcept nogil:
    cdef Heard h
    cdef WsReader r
    cdef WsInflater f
    cdef WsMessage m
    cdef WsEvent e
    cdef size_t fed = 0, piece, at
    cdef unsigned char* copy
    cdef int result = WS_MORE
    memset(&h, 0, sizeof(Heard))
    memset(&m, 0, sizeof(WsMessage))
    ws_reader_init(&r, masked, deflate)
    ws_inflater_init(&f, 15, takeover)
    while fed < size and result != WS_FAULT:
        piece = size - fed if whole else next_piece(&seed, size - fed)
        copy = exact_copy(data + fed, piece)
        at = 0
        while True:
            result = ws_feed(&r, copy + at, piece - at, &e, limits)
            check(e.consumed <= piece - at, b"no more is used than was given")
            at += e.consumed
            check(result == WS_FAULT or (WS_DATA <= result <= WS_CLOSE) or result == WS_MORE, b"results are known")
            check(result != WS_MORE or at == piece, b"all is used while more is wanted")
            if result < 0:
                break
            result = take(&h, &r, &f, &m, &e, result, limits)
            if result == WS_FAULT:
                break
        h.at = fed + at
        fed += piece
        free(copy)
    check((r.phase == WS_FAILED) == (result == WS_FAULT), b"a fault, and only a fault, is for ever")
    check((r.fault != NULL) == (result == WS_FAULT), b"a fault has words")
    check(result != WS_FAULT or r.code == WS_PROTOCOL_ERROR or r.code == WS_BAD_DATA or r.code == WS_TOO_BIG,
          b"a fault has a code")
    h.result = result
    h.code = r.code
    h.fault = r.fault
    ws_inflater_free(&f)
    check(f.memory == 0, b"zlib's memory is given back")
    ws_message_free(&m)
    return h


cdef void try_reading(const unsigned char* data, size_t size, bint masked, bint deflate, bint takeover,
                      const WsLimits* limits, uint64_t seed) noexcept nogil:
    cdef Heard whole = hear(data, size, masked, deflate, takeover, limits, seed, 1)
    cdef Heard pieces = hear(data, size, masked, deflate, takeover, limits, seed, 0)
    check(whole.result == pieces.result and whole.code == pieces.code and whole.fault == pieces.fault,
          b"cuts do not change the verdict")
    check(whole.digest == pieces.digest and whole.messages == pieces.messages, b"cuts do not change what was read")
    # What fails once it is inflated fails with a span, whose end depends on the cuts.
    check(deflate or whole.at == pieces.at, b"cuts do not change with which byte the verdict comes")


cdef void try_writing(const unsigned char* data, size_t size, const WsLimits* limits) noexcept nogil:
    # The input as a binary message: compressed, masked, read again; then once more in the same context.
    cdef WsDeflater d
    cdef WsInflater f
    cdef WsBuffer out
    cdef WsReader r
    cdef WsMessage m
    cdef WsEvent e
    cdef unsigned char* wire
    cdef size_t n
    cdef int bits = 9 + size % 7
    cdef int time
    memset(&out, 0, sizeof(WsBuffer))
    memset(&m, 0, sizeof(WsMessage))
    ws_deflater_init(&d, bits, 1 + size % 9, -1, size & 1)
    ws_inflater_init(&f, bits, size & 1)
    ws_reader_init(&r, 1, 1)
    for time in range(2):
        out.size = 0
        check(ws_deflate(&d, data, size, &out) == WS_DONE, b"all can be compressed")
        wire = <unsigned char*>malloc(out.size + WS_HEAD_MAX)
        check(wire != NULL, b"there is memory")
        n = ws_write_masked(wire, WS_OP_BINARY, 1, 1, <const unsigned char*>b"\x01\x80\xfe\x33", out.data, out.size)
        check(ws_feed(&r, wire, n, &e, limits) == WS_DATA and e.consumed == n, b"what is written is read")
        check(ws_message_take(&m, &r, &f, &e, limits) == WS_DONE, b"what is written is a message")
        check(m.length == size and (size == 0 or memcmp(m.data, data, size) == 0), b"what is written is read as it was")
        free(wire)
    ws_deflater_free(&d)
    ws_inflater_free(&f)
    ws_message_free(&m)
    ws_buffer_free(&out)


cdef public int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) noexcept nogil:
    cdef WsLimits[2] limits
    cdef uint64_t seed = 14695981039346656037ULL
    cdef size_t i
    cdef int way
    for i in range(size):                       # FNV-1a
        seed = (seed ^ bytes[i]) * 1099511628211ULL
    limits[0].frame, limits[0].message, limits[0].fragments = 1 << 20, 1 << 16, 1000
    limits[1].frame, limits[1].message, limits[1].fragments = 200, 100, 4
    for i in range(2):
        for way in range(6):                    # masked or not; no compression, with takeover, without
            try_reading(bytes, size, way & 1, way > 1, way > 3, &limits[i], seed)
    try_writing(bytes, size, &limits[0])
    return 0
