# Decoder of the chunked transfer coding (RFC 9112 7.1). Pure: no I/O, no allocation, no GIL; its state is Http1Chunked.
#
# States:
#   SIZE -> [SPACE -> EXTENSION] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
#   after the size line of a chunk of size 0:    TRAILER -> END_LF -> END
#   TRAILER -> NAME -> VALUE -> VALUE_LF -> TRAILER, once for each trailer field;    FAILED from all
#
# Invariants
# - Each byte is looked at once, however the bytes are cut; the verdict does not depend on the cuts.
# - produced <= consumed <= len, and output never overtakes input, so `out` may be `buf`.
# - What a body may cost beside its payload is bounded: sizes by 16 digits, chunk extensions by limits.field bytes in a
#   whole body (CVE-2023-39326 and its kin), trailers like the fields of a head. Trailers are checked, then dropped.
# - `left` is less than 2**62; a caller that bounds bodies may compare it before the data came (phase CHUNKED_DATA).

cdef enum:
    CHUNKED_SIZE = 1
    CHUNKED_SPACE
    CHUNKED_EXTENSION
    CHUNKED_SIZE_LF
    CHUNKED_DATA
    CHUNKED_DATA_CR
    CHUNKED_DATA_LF
    CHUNKED_TRAILER
    CHUNKED_NAME
    CHUNKED_VALUE
    CHUNKED_VALUE_LF
    CHUNKED_END_LF
    CHUNKED_END
    CHUNKED_FAILED

cdef struct Http1Chunked:
    unsigned char phase
    unsigned char digits            # of the size being read
    uint64_t left                   # the size being read, then the payload still to come of this chunk
    unsigned int extensions         # bytes of chunk extensions so far in this body
    unsigned int field              # bytes of this trailer line, without CRLF
    unsigned int fields             # bytes of all trailer lines, with their CRLFs
    unsigned int field_count
    int result                      # once FAILED
    const char* fault               # what was wrong; set with every error


cdef void http1_chunked_init(Http1Chunked* d) noexcept nogil:
    memset(d, 0, sizeof(Http1Chunked))
    d.phase = CHUNKED_SIZE


cdef Py_ssize_t http1_chunked_feed(Http1Chunked* d, const char* buf, size_t len, size_t* consumed, char* out,
                                   size_t* produced, const Http1Limits* limits) noexcept nogil:
    # HTTP1_DONE: the body and its trailers ended at buf + *consumed. HTTP1_MORE: all was consumed. -400, -431: the byte
    # at *consumed is wrong. *produced payload bytes were written to out in each case.
    cdef const unsigned char* data = <const unsigned char*>buf
    cdef size_t at = 0, run
    cdef Py_ssize_t result = HTTP1_MORE
    produced[0] = 0
    while at < len and result == HTTP1_MORE:
        if d.phase == CHUNKED_DATA:
            run = len - at
            if run > d.left:
                run = <size_t>d.left
            if out + produced[0] != buf + at:
                memmove(out + produced[0], buf + at, run)
            produced[0] += run
            at += run
            d.left -= run
            if d.left == 0:
                d.phase = CHUNKED_DATA_CR
        elif d.phase < CHUNKED_TRAILER:
            result = _http1_chunk_line(d, data[at], limits)
            at += 1
        else:
            result = _http1_trailer(d, data[at], limits)
            at += 1
    if result < HTTP1_MORE:
        at -= 1
    elif d.phase == CHUNKED_END:
        result = HTTP1_DONE
    elif d.phase == CHUNKED_FAILED:
        result = d.result
    consumed[0] = at
    return result


cdef Py_ssize_t _http1_chunk_fail(Http1Chunked* d, int status, const char* fault) noexcept nogil:
    d.phase = CHUNKED_FAILED
    d.result = -status
    d.fault = fault
    return -status


cdef inline Py_ssize_t _http1_chunk_line(Http1Chunked* d, unsigned char c, const Http1Limits* limits) noexcept nogil:
    # One byte between two runs of payload: chunk-size *( BWS ";" extension ) CRLF, and the CRLF after the data.
    if d.phase == CHUNKED_SIZE:
        if HTTP1_CLASS[c] & HTTP1_HEX:
            # Sizes end below 2**62; a 17th digit is refused though it be a leading zero.
            if d.digits == 16 or d.left >> 58:
                return _http1_chunk_fail(d, 400, b"chunk size too large")
            d.digits += 1
            d.left = d.left << 4 | ((c & 15) + (9 if c & 64 else 0))
            return HTTP1_MORE
        if d.digits == 0:
            return _http1_chunk_fail(d, 400, b"chunk size that does not begin with a hexadecimal digit")
        if c == c'\r':
            d.phase = CHUNKED_SIZE_LF
            return HTTP1_MORE
        if c != c';' and c != c' ' and c != c'\t':
            return _http1_chunk_fail(d, 400, b"invalid character in a chunk size")
        d.phase = CHUNKED_SPACE
    if d.phase == CHUNKED_SPACE or d.phase == CHUNKED_EXTENSION:
        # What an extension says is ignored (7.1.1). CRLF ends it whatever quotes stand in it: no quoted-string holds CR
        # or LF. A parser that took a bare LF for its end would see other chunks than its neighbour (CVE-2025-55315).
        if d.phase == CHUNKED_EXTENSION and c == c'\r':
            d.phase = CHUNKED_SIZE_LF
            return HTTP1_MORE
        if d.extensions >= limits.field:
            return _http1_chunk_fail(d, 400, b"chunk extensions too long")
        d.extensions += 1
        if c == c';':
            d.phase = CHUNKED_EXTENSION
        elif d.phase == CHUNKED_SPACE and c != c' ' and c != c'\t':     # BWS is legal only before ';' (7.1.1)
            return _http1_chunk_fail(d, 400, b"white space after a chunk size")
        elif not HTTP1_CLASS[c] & HTTP1_VALUE:
            return _http1_chunk_fail(d, 400, b"control character (perhaps a bare LF) in a chunk extension")
        return HTTP1_MORE
    if d.phase == CHUNKED_DATA_CR:
        if c != c'\r':
            return _http1_chunk_fail(d, 400, b"chunk data not followed by CRLF")
        d.phase = CHUNKED_DATA_LF
        return HTTP1_MORE
    if c != c'\n':
        return _http1_chunk_fail(d, 400, b"CR without LF in the chunked coding")
    if d.phase == CHUNKED_DATA_LF:
        d.phase = CHUNKED_SIZE
        d.digits = 0
    else:
        d.phase = CHUNKED_DATA if d.left else CHUNKED_TRAILER
    return HTTP1_MORE


cdef Py_ssize_t _http1_trailer(Http1Chunked* d, unsigned char c, const Http1Limits* limits) noexcept nogil:
    # One byte of the trailer section (RFC 9112 7.1.2): field lines by the rules of heads, then an empty line.
    if d.phase == CHUNKED_END_LF:
        if c != c'\n':
            return _http1_chunk_fail(d, 400, b"CR without LF at the end of the trailers")
        d.phase = CHUNKED_END
        return HTTP1_DONE
    if d.phase == CHUNKED_TRAILER:
        if c == c'\r':
            d.phase = CHUNKED_END_LF
            return HTTP1_MORE
        if d.field_count >= limits.field_count:
            return _http1_chunk_fail(d, 431, b"too many trailers")
        d.field_count += 1
        d.field = 0
        if c == c' ' or c == c'\t':
            return _http1_chunk_fail(d, 400, b"trailer that begins with white space")
        if not HTTP1_CLASS[c] & HTTP1_TOKEN:
            return _http1_chunk_fail(d, 400, b"trailer without a valid name and colon")
        d.phase = CHUNKED_NAME
    elif d.phase == CHUNKED_NAME:
        if c == c':':
            d.phase = CHUNKED_VALUE
        elif not HTTP1_CLASS[c] & HTTP1_TOKEN:
            return _http1_chunk_fail(d, 400, b"trailer without a valid name and colon")
    elif d.phase == CHUNKED_VALUE:
        if c == c'\r':
            d.phase = CHUNKED_VALUE_LF
        elif not HTTP1_CLASS[c] & HTTP1_VALUE:
            return _http1_chunk_fail(d, 400, b"control character (perhaps a bare LF) in a trailer")
    elif d.phase == CHUNKED_VALUE_LF:
        if c != c'\n':
            return _http1_chunk_fail(d, 400, b"CR without LF in a trailer")
        d.phase = CHUNKED_TRAILER
    else:                                               # END and FAILED take nothing more
        return d.result if d.phase == CHUNKED_FAILED else _http1_chunk_fail(d, 400, b"bytes after the end of the body")
    d.fields += 1
    if c != c'\r' and c != c'\n':
        d.field += 1
    if d.field > limits.field or d.fields > limits.fields:
        return _http1_chunk_fail(d, 431, b"trailer, or all trailers together, too long")
    return HTTP1_MORE
