# What single fields of a head say, as far as the server itself obeys them: framing (RFC 9112 6), the connection (9.3),
# Host, Expect, and whether there is a condition or a range (RFC 9110 13, 14), which is read once there is an answer.
# Pure, as the parser is, of which this is a part: _http1_said is called once for each well-formed field line.

cdef inline Py_ssize_t _http1_said(Http1Head* h, const unsigned char* data, const unsigned char* name, size_t length,
                                   const unsigned char* value, const unsigned char* end) noexcept nogil:
    # HTTP1_DONE, or -(status). Upgrade is ignored (RFC 9110 7.8).
    if length == 4:
        if _http1_same(name, b"host", 4):
            return _http1_host(h, data, value, end)
    elif length == 5:
        if _http1_same(name, b"range", 5):
            h.seen |= HTTP1_SAID_CONDITION
    elif length == 6:
        if _http1_same(name, b"expect", 6):
            return _http1_expect(h, value, end)
    elif length == 8:
        if _http1_same(name, b"if-match", 8):
            h.seen |= HTTP1_SAID_CONDITION
    elif length == 10:
        if _http1_same(name, b"connection", 10):
            _http1_connection(h, value, end)
    elif length == 13:
        if _http1_same(name, b"if-none-match", 13):
            h.seen |= HTTP1_SAID_CONDITION
    elif length == 14:
        if _http1_same(name, b"content-length", 14):
            return _http1_content_length(h, value, end)
    elif length == 17:
        if _http1_same(name, b"transfer-encoding", 17):
            return _http1_transfer_encoding(h, value, end)
        if _http1_same(name, b"if-modified-since", 17):
            h.seen |= HTTP1_SAID_CONDITION
    elif length == 19:
        if _http1_same(name, b"if-unmodified-since", 19):
            h.seen |= HTTP1_SAID_CONDITION
    return HTTP1_DONE


cdef struct Http1List:
    const unsigned char* at         # what is not yet walked; past `end` when the walk is over
    const unsigned char* end
    const unsigned char* element    # white space trimmed; may be empty
    size_t length


cdef bint _http1_next_element(Http1List* walk) noexcept nogil:
    # Walks a comma-separated list (RFC 9110 5.6.1). 1: there is an element, 0: no more.
    cdef const unsigned char* p = walk.at
    cdef const unsigned char* stop = p
    if p > walk.end:
        return 0
    while stop < walk.end and stop[0] != c',':
        stop += 1
    walk.at = stop + 1
    while p < stop and (p[0] == c' ' or p[0] == c'\t'):
        p += 1
    while stop > p and (stop[-1] == c' ' or stop[-1] == c'\t'):
        stop -= 1
    walk.element = p
    walk.length = stop - p
    return 1


cdef Py_ssize_t _http1_host(Http1Head* h, const unsigned char* data, const unsigned char* value,
                            const unsigned char* end) noexcept nogil:
    if h.has_host:                                      # RFC 9112 3.2
        return _http1_fail(h, 400, b"more than one Host field")
    h.has_host = 1
    if end > value and not _http1_is_authority(value, end - value, 0):
        return _http1_fail(h, 400, b"invalid Host")
    if h.target_form == TARGET_ORIGIN or h.target_form == TARGET_ASTERISK:
        h.authority_at = <unsigned int>(value - data)   # else the target's host wins over the field (RFC 9112 3.2.2)
        h.authority_len = <unsigned int>(end - value)
    return HTTP1_DONE


cdef Py_ssize_t _http1_content_length(Http1Head* h, const unsigned char* value,
                                      const unsigned char* end) noexcept nogil:
    # 1*DIGIT (RFC 9110 8.6): no sign, no list, no second field even when equal; at most 19 digits and 2**63 - 1.
    cdef uint64_t number = 0
    cdef const unsigned char* p = value
    if h.content_length >= 0:
        return _http1_fail(h, 400, b"more than one Content-Length field")
    if end == value or end - value > 19:
        return _http1_fail(h, 400, b"Content-Length is not a number of 1 to 19 digits")
    while p < end:
        if not c'0' <= p[0] <= c'9':
            return _http1_fail(h, 400, b"Content-Length is not a number of 1 to 19 digits")
        number = number * 10 + (p[0] - <unsigned char>c'0')
        p += 1
    if number > 0x7fffffffffffffffULL:
        return _http1_fail(h, 400, b"Content-Length is too large to count")
    h.content_length = <long long>number
    return HTTP1_DONE


cdef Py_ssize_t _http1_transfer_encoding(Http1Head* h, const unsigned char* value,
                                         const unsigned char* end) noexcept nogil:
    # Several fields are one list (RFC 9112 6.1). Only `chunked`, once and last, has a meaning here; what else the list
    # holds is judged at the end of the head. Empty elements and parameters are refused: they are used to hide codings.
    cdef Http1List codings
    codings.at = value
    codings.end = end
    h.seen |= HTTP1_SAID_ENCODING
    while _http1_next_element(&codings):
        if h.chunked:
            return _http1_fail(h, 400, b"chunked is repeated, or not the last transfer coding")
        if not http1_is_token(<const char*>codings.element, codings.length):
            return _http1_fail(h, 400, b"malformed Transfer-Encoding")
        if codings.length == 7 and _http1_same(codings.element, b"chunked", 7):
            h.chunked = 1
        else:
            h.seen |= HTTP1_SAID_CODING
    return HTTP1_DONE


cdef void _http1_connection(Http1Head* h, const unsigned char* value, const unsigned char* end) noexcept nogil:
    # RFC 9112 9.3. Options that mean nothing here are ignored: they do not touch framing.
    cdef Http1List options
    options.at = value
    options.end = end
    while _http1_next_element(&options):
        if options.length == 5 and _http1_same(options.element, b"close", 5):
            h.seen |= HTTP1_SAID_CLOSE
        elif options.length == 10 and _http1_same(options.element, b"keep-alive", 10):
            h.seen |= HTTP1_SAID_KEEP_ALIVE


cdef Py_ssize_t _http1_expect(Http1Head* h, const unsigned char* value, const unsigned char* end) noexcept nogil:
    if h.minor_version == 0:                            # RFC 9110 10.1.1: ignored from an HTTP/1.0 client
        return HTTP1_DONE
    if end - value != 12 or not _http1_same(value, b"100-continue", 12):
        return _http1_fail(h, 417, b"an expectation other than 100-continue")
    h.expect_continue = 1
    return HTTP1_DONE
