# permessage-deflate (RFC 7692): a message's payload through zlib, and the growable buffer it goes into. Pure: no I/O,
# no Python object, no GIL; memory comes from PyMem_Raw, and its lack is a named result.
#
# WsInflater and WsDeflater have two states: live (zlib holds memory for it) or not. They become live with the first
# message that is compressed, so a connection that only agreed on the extension costs nothing. They end
# - after each message without context takeover (RFC 7692 7.1.1): an idle connection then costs nothing either;
# - at a fault, and by ws_inflater_free and ws_deflater_free, which may be called in any state, more than once.
# A deflater may be freed between any two messages: one that starts anew refers to nothing that came before, which every
# peer can read. An inflater with takeover may not: the next message may refer to the last one.
#
# Memory of zlib in bytes, while live (tests hold these as upper bounds), by window bits 9 to 15 and memLevel 1 to 9:
#   inflate    (1 << bits) + 10 KiB                        15: 42 KiB     12: 14 KiB
#   deflate    (1 << bits + 2) + (1 << memLevel + 9) + 7 KiB           15, 8: 263 KiB     12, 5: 39 KiB
#
# Invariants: what a message inflates to is bounded by `limit` while it is inflated; a full buffer at most doubles. A
# message ends at the end of a block, or is refused. Both structs stay where they are while live: zlib points to them.

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc

cdef extern from "zlib.h" nogil:
    enum:
        Z_OK
        Z_STREAM_END
        Z_BUF_ERROR
        Z_MEM_ERROR
        Z_NO_FLUSH
        Z_SYNC_FLUSH
        Z_DEFLATED
        Z_DEFAULT_STRATEGY

    ctypedef void* (*zlib_alloc "alloc_func")(void* opaque, unsigned int items, unsigned int size) noexcept nogil
    ctypedef void (*zlib_free "free_func")(void* opaque, void* block) noexcept nogil

    ctypedef struct z_stream:
        unsigned char* next_in
        unsigned int avail_in
        unsigned char* next_out
        unsigned int avail_out
        zlib_alloc zalloc
        zlib_free zfree
        void* opaque
        int data_type

    int inflateInit2(z_stream* z, int bits)
    int inflate(z_stream* z, int flush)
    int inflateResetKeep(z_stream* z)
    int inflateEnd(z_stream* z)
    int deflateInit2(z_stream* z, int level, int method, int bits, int mem_level, int strategy)
    int deflate(z_stream* z, int flush)
    int deflateEnd(z_stream* z)

cdef enum:
    WS_DONE = 1
    WS_NO_MEMORY = -3               # beside WS_FAULT

cdef enum:
    WS_ZLIB_MOST = 1 << 30          # bytes given to zlib at a time, whose counters have 32 bits
    WS_BUFFER_LEAST = 64

cdef struct WsBuffer:               # all zero: empty
    unsigned char* data             # owned
    size_t size
    size_t capacity

cdef struct WsInflater:
    z_stream z
    bint live
    unsigned char bits              # of the peer's window
    bint takeover                   # the peer's messages refer to the ones before
    uint64_t produced               # bytes of this message
    size_t memory                   # bytes that zlib holds
    unsigned short code             # once it failed
    const char* fault

cdef struct WsDeflater:
    z_stream z
    bint live
    unsigned char bits
    unsigned char mem_level
    signed char level               # -1: zlib's own choice
    bint takeover
    size_t memory


# ---- the buffer ----

cdef int ws_buffer_reserve(WsBuffer* b, size_t more) noexcept nogil:
    # Room for `more` bytes behind b.size: WS_DONE, or WS_NO_MEMORY, and b is as before.
    cdef size_t capacity
    cdef void* data
    if b.capacity - b.size >= more:
        return WS_DONE
    capacity = max(b.size + more, 2 * b.capacity, <size_t>WS_BUFFER_LEAST)
    data = PyMem_RawRealloc(b.data, capacity)
    if data == NULL:
        return WS_NO_MEMORY
    b.data = <unsigned char*>data
    b.capacity = capacity
    return WS_DONE


cdef void ws_buffer_free(WsBuffer* b) noexcept nogil:
    PyMem_RawFree(b.data)
    memset(b, 0, sizeof(WsBuffer))


cdef void* _ws_zalloc(void* opaque, unsigned int items, unsigned int size) noexcept nogil:
    # `opaque`: the owner's `memory`. zlib gives blocks back only when the stream ends; then the count begins anew.
    cdef size_t bytes_ = <size_t>items * size
    cdef void* block
    if size > 0 and bytes_ // size != items:
        return NULL
    block = PyMem_RawMalloc(bytes_)
    if block != NULL:
        (<size_t*>opaque)[0] += bytes_
    return block


cdef void _ws_zfree(void* opaque, void* block) noexcept nogil:
    PyMem_RawFree(block)


cdef void _ws_zlib_init(z_stream* z, size_t* memory) noexcept nogil:
    memset(z, 0, sizeof(z_stream))
    memory[0] = 0
    z.zalloc = _ws_zalloc
    z.zfree = _ws_zfree
    z.opaque = memory


# ---- inflating ----

cdef void ws_inflater_init(WsInflater* f, int bits, bint takeover) noexcept nogil:
    # `bits`: the peer's window as agreed, 8 to 15. Some compressors that are asked for 8 use 9: that is always granted.
    memset(f, 0, sizeof(WsInflater))
    f.bits = <unsigned char>max(bits, 9)
    f.takeover = takeover


cdef void ws_inflater_free(WsInflater* f) noexcept nogil:
    if f.live:
        f.live = 0
        inflateEnd(&f.z)
        f.memory = 0


cdef int ws_inflate(WsInflater* f, const unsigned char* data, size_t n, bint ends, WsBuffer* out,
                    uint64_t limit) noexcept nogil:
    # Inflates a piece of a message, the last one if it `ends`, and appends what comes out. WS_DONE: all was taken.
    # WS_FAULT (f.code, f.fault; from then on always): no deflate, or the message is more than `limit` bytes.
    # WS_NO_MEMORY: the connection cannot go on. `limit` is at most 2**53.
    # What the sender took off the end, and the receiver puts there again (RFC 7692 7.2.1, 7.2.2).
    cdef const char* tail = b"\x00\x00\xff\xff"
    cdef int result
    if f.code:
        return WS_FAULT
    if not f.live:
        _ws_zlib_init(&f.z, &f.memory)
        if inflateInit2(&f.z, -<int>f.bits) != Z_OK:
            f.memory = 0                # zlib gave back what it had
            return WS_NO_MEMORY
        f.live = 1
    result = _ws_inflate_piece(f, data, n, out, limit)
    if result == WS_DONE and ends:
        result = _ws_inflate_piece(f, <const unsigned char*>tail, 4, out, limit)
        if result == WS_DONE and not f.z.data_type & 128:           # zlib.h: 128 is added at the end of a block
            result = _ws_inflate_fail(f, WS_BAD_DATA, b"compressed message that ends within a block")
        f.produced = 0
        if not f.takeover:
            ws_inflater_free(f)
    if result != WS_DONE:
        ws_inflater_free(f)
    return result


cdef int _ws_inflate_fail(WsInflater* f, unsigned short code, const char* fault) noexcept nogil:
    f.code = code
    f.fault = fault
    return WS_FAULT


cdef int _ws_inflate_piece(WsInflater* f, const unsigned char* data, size_t n, WsBuffer* out,
                           uint64_t limit) noexcept nogil:
    cdef size_t given
    cdef int result = WS_DONE
    while n > 0 and result == WS_DONE:
        given = min(n, <size_t>WS_ZLIB_MOST)
        f.z.next_in = <unsigned char*>data
        f.z.avail_in = <unsigned int>given
        result = WS_MORE
        while result == WS_MORE:
            result = _ws_inflate_some(f, out, limit)
        data += given
        n -= given
    return result


cdef int _ws_inflate_some(WsInflater* f, WsBuffer* out, uint64_t limit) noexcept nogil:
    # One call of zlib. WS_MORE: it has more to write, or to read behind a final block. One byte beyond the limit shows
    # that it was passed.
    cdef uint64_t most = limit - f.produced + 1
    cdef size_t room = <size_t>min(max(<uint64_t>f.z.avail_in * 4, <uint64_t>WS_BUFFER_LEAST), most)
    cdef int status
    if out.capacity == out.size and ws_buffer_reserve(out, room) == WS_NO_MEMORY:
        return WS_NO_MEMORY
    room = <size_t>min(<uint64_t>(out.capacity - out.size), most, <uint64_t>WS_ZLIB_MOST)
    f.z.next_out = out.data + out.size
    f.z.avail_out = <unsigned int>room
    status = inflate(&f.z, Z_SYNC_FLUSH)
    room -= f.z.avail_out
    out.size += room
    f.produced += room
    if status == Z_MEM_ERROR:
        return WS_NO_MEMORY
    if f.produced > limit:
        return _ws_inflate_fail(f, WS_TOO_BIG, b"message too big once it is inflated")
    if status == Z_STREAM_END:
        # A block with BFINAL set (RFC 7692 7.2.3.4): the next block refers to the same window. inflateReset would
        # forget that; copying it out and in would cost 64 KiB for each such block, which may have two bytes.
        if inflateResetKeep(&f.z) != Z_OK:
            return _ws_inflate_fail(f, WS_INTERNAL_ERROR, b"zlib could not go on behind a final block")
        return WS_MORE if f.z.avail_in > 0 else WS_DONE
    if status != Z_OK and status != Z_BUF_ERROR:
        return _ws_inflate_fail(f, WS_BAD_DATA, b"compressed message that is not deflate")
    return WS_DONE if f.z.avail_out > 0 else WS_MORE


# ---- deflating ----

cdef void ws_deflater_init(WsDeflater* d, int bits, int mem_level, int level, bint takeover) noexcept nogil:
    # `bits`: our window, 9 to 15 (zlib cannot write raw deflate with 8). `mem_level`: 1 to 9. `level`: -1 to 9.
    memset(d, 0, sizeof(WsDeflater))
    d.bits = <unsigned char>bits
    d.mem_level = <unsigned char>mem_level
    d.level = <signed char>level
    d.takeover = takeover


cdef void ws_deflater_free(WsDeflater* d) noexcept nogil:
    if d.live:
        d.live = 0
        deflateEnd(&d.z)                # Z_DATA_ERROR only says that a message was under way
        d.memory = 0


cdef int ws_deflate(WsDeflater* d, const unsigned char* data, size_t n, WsBuffer* out) noexcept nogil:
    # Appends a whole message, compressed: what goes into frames with RSV1 set on the first. WS_DONE; WS_NO_MEMORY, or
    # WS_FAULT for a defect of ours: out.size is as before, and the message may be sent as it is.
    cdef const char* tail = b"\x00\x00\xff\xff"
    cdef size_t before = out.size
    cdef int result
    if n == 0:                          # RFC 7692 7.2.3.6; zlib has nothing to flush for a second one
        if ws_buffer_reserve(out, 1) == WS_NO_MEMORY:
            return WS_NO_MEMORY
        out.data[out.size] = 0
        out.size += 1
        return WS_DONE
    if not d.live:
        _ws_zlib_init(&d.z, &d.memory)
        if deflateInit2(&d.z, d.level, Z_DEFLATED, -<int>d.bits, d.mem_level, Z_DEFAULT_STRATEGY) != Z_OK:
            d.memory = 0
            return WS_NO_MEMORY
        d.live = 1
    result = _ws_deflate_all(d, data, n, out)
    if result == WS_DONE:
        if out.size - before > 4 and memcmp(out.data + out.size - 4, tail, 4) == 0:
            out.size -= 4
        else:
            result = WS_FAULT
    if result != WS_DONE:
        out.size = before
    if result != WS_DONE or not d.takeover:
        ws_deflater_free(d)
    return result


cdef int _ws_deflate_all(WsDeflater* d, const unsigned char* data, size_t n, WsBuffer* out) noexcept nogil:
    cdef size_t given, room
    cdef int status
    d.z.avail_in = 0
    while True:
        if d.z.avail_in == 0:
            given = min(n, <size_t>WS_ZLIB_MOST)
            d.z.next_in = <unsigned char*>data
            d.z.avail_in = <unsigned int>given
            data += given
            n -= given
        # zlib.h: more than six bytes of room, or the flush may be written twice.
        if ws_buffer_reserve(out, max(<size_t>d.z.avail_in // 2, <size_t>WS_BUFFER_LEAST)) == WS_NO_MEMORY:
            return WS_NO_MEMORY
        room = min(out.capacity - out.size, <size_t>WS_ZLIB_MOST)
        d.z.next_out = out.data + out.size
        d.z.avail_out = <unsigned int>room
        status = deflate(&d.z, Z_SYNC_FLUSH if n == 0 else Z_NO_FLUSH)
        if status != Z_OK and status != Z_BUF_ERROR:
            return WS_FAULT
        out.size += room - d.z.avail_out
        if n == 0 and d.z.avail_out > 0:
            return WS_DONE
