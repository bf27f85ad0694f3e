# HTTP/1.x request heads: a strict, resumable parser. Pure: no I/O, no allocation, no Python object, no GIL.
#
# Parts, in this order: _core_http1.pxi (heads), _core_http1_host.pxi (host and port), _core_http1_chunked.pxi (chunked
# bodies), _core_http1_write.pxi (what answers are made of). They use nothing else of the extension.
#
# States of Http1Head.phase, only ever forwards:
#   START -> METHOD -> LINE -> FIELDS -> END
#     START   nothing but a possible empty line came so far (RFC 9112 2.2)
#     METHOD  inside the method: a byte is judged when it arrives, so junk and TLS are refused after their first bytes
#     LINE    the rest of the request line;   FIELDS  the field lines;   END  the result is final (see `result`)
#
# Invariants
# - Every offset is relative to the first byte given, so the caller may move or grow the buffer between two feeds.
# - line <= scan <= number of bytes seen. A line is parsed when it first shows and, if it was not whole then, again when
#   its end has come: between, only new bytes are searched for that. So the work is linear however the bytes are cut.
# - The verdict depends on the bytes alone, never on how they were cut: a line is judged when its CR, another control
#   character or its limit has come, from left to right, and no further than its limit.
# - Nothing at or after buf + len is read. 0 is never a result.
# - What makes the end of the message ambiguous is an error; the exchange answers and closes. Nothing is repaired.

from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

cdef extern from *:
    """
    /* What each byte may be part of. Bits: 1 token (RFC 9110 5.6.2); 2 field value (5.5: HTAB, SP, VCHAR, obs-text);
       4 path, 8 query (RFC 3986 3.3, 3.4 without '%', but with []^`{|} in both and the backslash in the query, which
       browsers send as they are); 16 host name (RFC 3986 3.2.2 without '%' and ','); 32 hexadecimal digit. */
    static const unsigned char web_http1_class[256] = {
         0,  0,  0,  0,  0,  0,  0,  0,  0,  2,  0,  0,  0,  0,  0,  0,  /* 00 */
         0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 10 */
         2, 31,  2,  3, 31,  3, 31, 31, 30, 30, 31, 31, 14, 31, 31, 14,  /* 20 */
        63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 14, 30,  2, 30,  2, 10,  /* 30 */
        14, 63, 63, 63, 63, 63, 63, 31, 31, 31, 31, 31, 31, 31, 31, 31,  /* 40 */
        31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 14, 10, 14, 15, 31,  /* 50 */
        15, 63, 63, 63, 63, 63, 63, 31, 31, 31, 31, 31, 31, 31, 31, 31,  /* 60 */
        31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 14, 15, 14, 31,  0,  /* 70 */
         2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* 80 */
         2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* 90 */
         2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* a0 */
         2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* b0 */
         2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* c0 */
         2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* d0 */
         2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* e0 */
         2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* f0 */
    };
    """
    const unsigned char* HTTP1_CLASS "web_http1_class"

cdef enum:
    HTTP1_DONE = 1
    HTTP1_MORE = -1        # any other negative result is -(status)

cdef enum:
    HTTP1_TOKEN = 1
    HTTP1_VALUE = 2
    HTTP1_PATH = 4
    HTTP1_QUERY = 8
    HTTP1_NAME = 16
    HTTP1_HEX = 32

cdef enum:
    HTTP1_START = 1
    HTTP1_METHOD
    HTTP1_LINE
    HTTP1_FIELDS
    HTTP1_END

cdef enum:
    METHOD_OTHER = 1
    METHOD_GET
    METHOD_HEAD
    METHOD_POST
    METHOD_PUT
    METHOD_PATCH
    METHOD_DELETE
    METHOD_OPTIONS
    METHOD_CONNECT
    METHOD_TRACE

cdef enum:                 # RFC 9112 3.2
    TARGET_ORIGIN = 1
    TARGET_ABSOLUTE
    TARGET_AUTHORITY
    TARGET_ASTERISK

cdef enum:                 # what the field lines said so far: bits of Http1Head.seen
    HTTP1_SAID_CLOSE = 1
    HTTP1_SAID_KEEP_ALIVE = 2
    HTTP1_SAID_ENCODING = 4     # a Transfer-Encoding field
    HTTP1_SAID_CODING = 8       # a transfer coding other than chunked
    HTTP1_SAID_CONDITION = 16   # a condition or a range (_core_conditional)

cdef struct Http1Limits:
    unsigned int request_line       # bytes, without CRLF
    unsigned int field              # bytes of one field line, without CRLF
    unsigned int fields             # bytes of all field lines, with their CRLFs
    unsigned int field_count        # the sum of the three byte limits must stay below 2**31

cdef struct Http1Head:
    unsigned int line               # start of the line being read
    unsigned int scan               # how far that line was looked at
    unsigned char phase
    unsigned char method            # METHOD_*
    unsigned char minor_version     # 0 or 1
    unsigned char target_form       # TARGET_*
    unsigned char seen
    unsigned char chunked
    unsigned char keep_alive
    unsigned char expect_continue
    unsigned char has_host
    unsigned int method_at, method_len
    unsigned int target_at, target_len
    unsigned int path_at, path_len              # "/" for an URL without path, "*" for OPTIONS *, empty for CONNECT
    unsigned int query_at, query_len            # without '?'
    unsigned int authority_at, authority_len    # the target's, else Host's; length 0: none
    unsigned int fields_at, fields_end
    unsigned int field_count
    long long content_length        # -1: no Content-Length
    Py_ssize_t result               # of the last feed, once phase is END
    const char* fault               # what was wrong; set with every error


cdef void http1_head_init(Http1Head* h) noexcept nogil:
    memset(h, 0, sizeof(Http1Head))
    h.phase = HTTP1_START
    h.content_length = -1


cdef Py_ssize_t http1_head_feed(Http1Head* h, const char* buf, size_t len, const Http1Limits* limits) noexcept nogil:
    # buf[0:len] is all that was received of this request. > 0: the head's length, HTTP1_MORE, or -(status).
    cdef const unsigned char* data = <const unsigned char*>buf
    cdef Py_ssize_t result
    if h.phase == HTTP1_START:
        if len == 0:
            return HTTP1_MORE
        if data[0] == c'\r':                    # RFC 9112 2.2: an empty line comes before; one, not a stream of them
            if len == 1:
                return HTTP1_MORE
            if data[1] != c'\n':
                return _http1_fail(h, 400, b"CR without LF before the request line")
            if len == 2:
                return HTTP1_MORE
            h.line = h.scan = 2
        h.method_at = h.line
        h.phase = HTTP1_METHOD
    if h.phase == HTTP1_METHOD:
        result = _http1_method(h, data, len, limits.request_line)
        if result < 0:
            return result
    if h.phase == HTTP1_LINE:
        result = _http1_rest_of_line(h, data, len, limits.request_line)
        if result < 0:
            return result
    if h.phase == HTTP1_FIELDS:
        return _http1_fields(h, data, len, limits)
    return h.result


cdef Py_ssize_t _http1_fail(Http1Head* h, int status, const char* fault) noexcept nogil:
    h.phase = HTTP1_END
    h.fault = fault
    h.result = -status
    return h.result


cdef inline bint _http1_ended(Http1Head* h, const unsigned char* data, size_t end, size_t line_end) noexcept nogil:
    # Moves scan over the bytes that may stand inside a line. 1: the line's end, another control character or the limit
    # has come, so the line can be judged; 0: more may follow.
    h.scan = <unsigned int>(_http1_value_end(data + h.scan, data + end) - data)
    return h.scan < end or end == line_end


cdef inline Py_ssize_t _http1_not_yet(Http1Head* h, unsigned char phase) noexcept nogil:
    # Takes back what was found in a line that cannot be judged yet.
    h.phase = phase
    h.fault = NULL
    return HTTP1_MORE


# ---- request line (RFC 9112 3) ----

cdef Py_ssize_t _http1_method(Http1Head* h, const unsigned char* data, size_t len, size_t limit) noexcept nogil:
    cdef size_t line_end = h.line + limit + 2
    cdef size_t end = min(line_end, len)
    cdef size_t at = h.scan
    while at < end and HTTP1_CLASS[data[at]] & HTTP1_TOKEN:
        at += 1
    h.scan = <unsigned int>at
    if at == end:
        return HTTP1_MORE if end < line_end else _http1_fail(h, 414, b"request line too long")
    if data[at] != c' ' or at == h.line:
        return _http1_fail(h, 400, b"invalid character in the method")
    h.method_len = <unsigned int>at - h.method_at
    h.method = _http1_method_code(data + h.method_at, h.method_len)
    h.target_at = h.scan = <unsigned int>at + 1
    h.phase = HTTP1_LINE
    return HTTP1_DONE


cdef unsigned char _http1_method_code(const unsigned char* name, size_t length) noexcept nogil:
    # Case-sensitive (RFC 9110 9.1). A token that is not known here is passed on, for the routes to judge.
    if length == 3:
        if memcmp(name, b"GET", 3) == 0:
            return METHOD_GET
        if memcmp(name, b"PUT", 3) == 0:
            return METHOD_PUT
    elif length == 4:
        if memcmp(name, b"POST", 4) == 0:
            return METHOD_POST
        if memcmp(name, b"HEAD", 4) == 0:
            return METHOD_HEAD
    elif length == 5:
        if memcmp(name, b"PATCH", 5) == 0:
            return METHOD_PATCH
        if memcmp(name, b"TRACE", 5) == 0:
            return METHOD_TRACE
    elif length == 6:
        if memcmp(name, b"DELETE", 6) == 0:
            return METHOD_DELETE
    elif length == 7:
        if memcmp(name, b"OPTIONS", 7) == 0:
            return METHOD_OPTIONS
        if memcmp(name, b"CONNECT", 7) == 0:
            return METHOD_CONNECT
    return METHOD_OTHER


cdef Py_ssize_t _http1_rest_of_line(Http1Head* h, const unsigned char* data, size_t len, size_t limit) noexcept nogil:
    cdef size_t line_end = h.line + limit + 2
    cdef size_t end = min(line_end, len)
    cdef Py_ssize_t result
    if h.scan > h.target_at and not _http1_ended(h, data, end, line_end):
        return HTTP1_MORE
    result = _http1_target_and_version(h, data, end)
    if result > 0:
        h.line = h.scan = h.fields_at = <unsigned int>result
        h.phase = HTTP1_FIELDS
        return HTTP1_DONE
    if not _http1_ended(h, data, end, line_end):
        return _http1_not_yet(h, HTTP1_LINE)
    if result == HTTP1_MORE and end == line_end:
        return _http1_fail(h, 414, b"request line too long")
    return result


cdef Py_ssize_t _http1_target_and_version(Http1Head* h, const unsigned char* data, size_t end) noexcept nogil:
    # target SP HTTP-version CRLF: one space, no HTAB, no bare CR or LF. RFC 9112 2.2 and 3 allow repairs: none is made.
    # > 0: where the next line begins.
    cdef size_t at = h.target_at
    cdef size_t query = 0
    cdef unsigned char allowed = HTTP1_PATH
    cdef Py_ssize_t result
    while True:
        while at < end and HTTP1_CLASS[data[at]] & allowed:
            at += 1
        if at == end:
            return HTTP1_MORE
        if data[at] == c' ':
            break
        if data[at] == c'%' and query:          # typed so, a browser sends it so, and nothing is routed by a query
            at += 1
        elif data[at] == c'?':
            query = at + 1
            allowed = HTTP1_QUERY
            at += 1
        elif data[at] == c'%':
            if ((end - at > 1 and not HTTP1_CLASS[data[at + 1]] & HTTP1_HEX)
                    or (end - at > 2 and not HTTP1_CLASS[data[at + 2]] & HTTP1_HEX)):
                return _http1_fail(h, 400, b"'%' without two hexadecimal digits in the path")
            if end - at < 3:
                return HTTP1_MORE
            if data[at + 1] == c'0' and data[at + 2] == c'0':
                return _http1_fail(h, 400, b"NUL (%00) in the path")
            at += 3
        elif data[at] == c'\r' or data[at] == c'\n':
            return _http1_fail(h, 400, b"request line without HTTP version")
        else:
            return _http1_fail(h, 400, b"invalid character in the target")
    h.target_len = <unsigned int>at - h.target_at
    if h.target_len == 0:
        return _http1_fail(h, 400, b"empty target, or two spaces, in the request line")
    at += 1
    result = _http1_version(h, data + at, end - at)
    if result < 0:
        return result
    result = _http1_target(h, data, query)
    return result if result < 0 else <Py_ssize_t>at + 10


cdef Py_ssize_t _http1_version(Http1Head* h, const unsigned char* p, size_t available) noexcept nogil:
    # "HTTP/" DIGIT "." DIGIT CRLF, case-sensitive (RFC 9112 2.3). A higher minor version means 1.1 (RFC 9110 2.5).
    cdef const char* pattern = b"HTTP/0.0\r\n"
    cdef size_t i
    if available >= 10 and memcmp(p, b"HTTP/1.1\r\n", 10) == 0:
        h.minor_version = 1
        return HTTP1_DONE
    for i in range(min(available, <size_t>10)):
        if not (c'0' <= p[i] <= c'9' if pattern[i] == c'0' else p[i] == <unsigned char>pattern[i]):
            return _http1_fail(h, 400, b"malformed HTTP version or line end in the request line")
    if available < 10:
        return HTTP1_MORE
    if p[5] != c'1':
        return _http1_fail(h, 505, b"HTTP version other than 1.x")
    h.minor_version = 0 if p[7] == c'0' else 1
    return HTTP1_DONE


cdef Py_ssize_t _http1_target(Http1Head* h, const unsigned char* data, size_t query) noexcept nogil:
    # The four forms of RFC 9112 3.2. `query`: where the query begins, 0 without one.
    cdef size_t begin = h.target_at
    cdef size_t end = begin + h.target_len
    cdef size_t path_end = query - 1 if query else end
    cdef size_t at
    if h.method == METHOD_CONNECT:                      # 3.2.3; RFC 9110 9.3.6: the port must be there
        if not _http1_is_authority(data + begin, h.target_len, 1):
            return _http1_fail(h, 400, b"CONNECT needs host:port as its target")
        h.target_form = TARGET_AUTHORITY
        h.authority_at = h.target_at
        h.authority_len = h.target_len
        return HTTP1_DONE
    if data[begin] == c'/':                             # 3.2.1
        h.target_form = TARGET_ORIGIN
        h.path_at = h.target_at
    elif data[begin] == c'*' and h.target_len == 1:     # 3.2.4
        if h.method != METHOD_OPTIONS:
            return _http1_fail(h, 400, b"the target * is for OPTIONS only")
        h.target_form = TARGET_ASTERISK
        h.path_at = h.target_at
    else:                                               # 3.2.2
        h.target_form = TARGET_ABSOLUTE
        if path_end - begin > 7 and _http1_same(data + begin, b"http://", 7):
            begin += 7
        elif path_end - begin > 8 and _http1_same(data + begin, b"https://", 8):
            begin += 8
        else:
            return _http1_fail(h, 400, b"the target is neither a path nor an http or https URL")
        at = begin
        while at < path_end and data[at] != c'/':
            at += 1
        if not _http1_is_authority(data + begin, at - begin, 0):
            return _http1_fail(h, 400, b"invalid host in the target")
        h.authority_at = <unsigned int>begin
        h.authority_len = <unsigned int>(at - begin)
        if at == path_end:                              # no path means "/" (RFC 9110 4.2.3): the one before the host
            h.path_at = <unsigned int>begin - 1
            h.path_len = 1
        else:
            h.path_at = <unsigned int>at
    if h.path_len == 0:
        h.path_len = <unsigned int>path_end - h.path_at
    if query:
        h.query_at = <unsigned int>query
        h.query_len = <unsigned int>(end - query)
    return HTTP1_DONE


# ---- field lines (RFC 9112 5) ----

cdef Py_ssize_t _http1_fields(Http1Head* h, const unsigned char* data, size_t len,
                              const Http1Limits* limits) noexcept nogil:
    cdef size_t line_end, end
    cdef Py_ssize_t result
    while True:
        if h.line >= len:
            return HTTP1_MORE
        if data[h.line] == c'\r':                       # the empty line
            if h.line + 1 >= len:
                return HTTP1_MORE
            if data[h.line + 1] != c'\n':
                return _http1_fail(h, 400, b"CR without LF at the end of the head")
            return _http1_finish(h)
        if h.field_count >= limits.field_count:
            return _http1_fail(h, 431, b"too many fields")
        line_end = min(<size_t>h.line + limits.field + 2, <size_t>h.fields_at + limits.fields)
        end = min(line_end, len)
        if h.scan > h.line and not _http1_ended(h, data, end, line_end):
            return HTTP1_MORE
        result = _http1_field_line(h, data, end)
        if result < 0:
            if not _http1_ended(h, data, end, line_end):
                return _http1_not_yet(h, HTTP1_FIELDS)
            if result == HTTP1_MORE and end == line_end:
                return _http1_fail(h, 431, b"field line, or all fields together, too long")
            return result
        h.line += <unsigned int>result
        h.scan = h.line
        h.field_count += 1


cdef Py_ssize_t _http1_field_line(Http1Head* h, const unsigned char* data, size_t stop) noexcept nogil:
    # field-name ":" OWS field-value OWS CRLF. > 0: the line's length.
    cdef const unsigned char* name = data + h.line
    cdef const unsigned char* end = data + stop
    cdef const unsigned char* p = name
    cdef const unsigned char* value
    cdef const unsigned char* value_end
    cdef size_t length
    cdef Py_ssize_t result
    while p < end and HTTP1_CLASS[p[0]] & HTTP1_TOKEN:
        p += 1
    if p == end:
        return HTTP1_MORE
    if p[0] != c':' or p == name:
        if p[0] != c' ' and p[0] != c'\t':
            return _http1_fail(h, 400, b"field line without a valid name and colon")
        if p == name:                                   # 5.2: obs-fold; before the first field 2.2
            return _http1_fail(h, 400, b"field line that begins with white space")
        return _http1_fail(h, 400, b"white space between field name and colon")    # 5.1
    length = p - name
    p += 1
    while p < end and (p[0] == c' ' or p[0] == c'\t'):
        p += 1
    value = p
    p = _http1_value_end(p, end)
    if p == end:
        return HTTP1_MORE
    if p[0] != c'\r':
        return _http1_fail(h, 400, b"control character (perhaps a bare LF) in a field value")
    if p + 1 == end:
        return HTTP1_MORE
    if p[1] != c'\n':
        return _http1_fail(h, 400, b"CR without LF in a field line")
    value_end = p
    while value_end > value and (value_end[-1] == c' ' or value_end[-1] == c'\t'):
        value_end -= 1
    result = _http1_said(h, data, name, length, value, value_end)
    if result < 0:
        return result
    return p + 2 - name


cdef inline const unsigned char* _http1_value_end(const unsigned char* p, const unsigned char* end) noexcept nogil:
    # The first byte that no field value may hold, or `end`. Eight at a time while none of the eight is below 0x20 or
    # equal to 0x7f (both terms are exact about whether there is one); HTAB stops that too, then it goes on one by one.
    cdef uint64_t[1] eight
    cdef uint64_t word, other, below, equal
    while end - p >= 8:
        memcpy(eight, p, 8)
        word = eight[0]
        other = word ^ 0x7f7f7f7f7f7f7f7fULL
        below = (word - 0x2020202020202020ULL) & ~word
        equal = (other - 0x0101010101010101ULL) & ~other
        if (below | equal) & 0x8080808080808080ULL:
            break
        p += 8
    while p < end and HTTP1_CLASS[p[0]] & HTTP1_VALUE:
        p += 1
    return p


cdef inline bint _http1_same(const unsigned char* name, const char* lower, size_t length) noexcept nogil:
    # 1: equal but for case. `name` holds characters of tokens or targets, of which none but a letter becomes a letter,
    # and none but '-' becomes '-', by | 0x20; ':' and '/' have the bit set already.
    cdef size_t i
    for i in range(length):
        if (name[i] | 0x20) != <unsigned char>lower[i]:
            return 0
    return 1


cdef Py_ssize_t _http1_finish(Http1Head* h) noexcept nogil:
    # The fields together. On success the head's length, the empty line included.
    if h.minor_version == 1 and not h.has_host:         # RFC 9112 3.2
        return _http1_fail(h, 400, b"HTTP/1.1 request without Host")
    if h.has_host and h.authority_len == 0 and h.target_form == TARGET_ORIGIN:
        # An http URL without host is invalid (RFC 9110 4.2.1). OPTIONS * names no URL; other forms bring their host.
        return _http1_fail(h, 400, b"empty Host")
    if h.seen & HTTP1_SAID_ENCODING:
        if h.minor_version == 0:                        # RFC 9112 6.1: faulty framing
            return _http1_fail(h, 400, b"Transfer-Encoding in an HTTP/1.0 request")
        if h.content_length >= 0:                       # 6.3 (3): ought to be handled as an error
            return _http1_fail(h, 400, b"both Transfer-Encoding and Content-Length")
        if not h.chunked:                               # 6.3 (4): the length cannot be told
            return _http1_fail(h, 400, b"the last transfer coding is not chunked")
        if h.seen & HTTP1_SAID_CODING:                  # 6.1
            return _http1_fail(h, 501, b"a transfer coding other than chunked")
    h.keep_alive = not h.seen & HTTP1_SAID_CLOSE and (h.minor_version == 1 or h.seen & HTTP1_SAID_KEEP_ALIVE != 0)
    h.fields_end = h.line
    h.phase = HTTP1_END
    h.result = h.line + 2
    return h.result
