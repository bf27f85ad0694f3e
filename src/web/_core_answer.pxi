# From a Response to bytes in a connection's queue: the lines that the framework adds, and how an answer is framed.
#
# Framing is decided here and nowhere else (RFC 9112 6.3): every answer that may have content says its Content-Length;
# an answer to HEAD says the same as the one to GET and has none; 204 and 304 have neither. The last answer of a
# connection says "Connection: close".

cdef enum:
    STAMP_SIZE = 128
    FRAME_LINES = 128           # an upper bound of Content-Length, Connection and the empty line

cdef const char* CLOSE_LINE = "Connection: close\r\n"
cdef const char* KEEP_ALIVE_LINE = "Connection: keep-alive\r\n"
cdef const char* LENGTH_NAME = "Content-Length: "
cdef const char* SERVER_LINE = "Server: weblatch\r\n"
cdef const char* TEXT_LINE = "Content-Type: text/plain; charset=utf-8\r\n"
cdef const char* END_LINE = "\r\n"


cdef inline char* put(char* to, const char* data, size_t count) noexcept nogil:
    memcpy(to, data, count)
    return to + count


cdef inline char* put_line(char* to, const char* text) noexcept nogil:
    return put(to, text, strlen(text))


cdef char* put_length(char* to, uint64_t length) noexcept nogil:
    to = put_line(to, LENGTH_NAME)
    to += http1_decimal(to, length)
    return put(to, END_LINE, 2)


cdef char* put_persistence(char* to, Http1* http, bint last) noexcept nogil:
    """The line that says whether the connection goes on. After the last answer nothing more is written."""
    if last:
        http.writing = WRITE_LAST
        return put_line(to, CLOSE_LINE)
    if http.head.minor_version == 0:        # RFC 9112 9.3: HTTP/1.0 asks for what 1.1 takes for granted
        return put_line(to, KEEP_ALIVE_LINE)
    return to


cdef void stamp_update(Loop loop) noexcept nogil:
    """The lines that all answers of one second share: Date (RFC 9110 6.6.1) and Server."""
    cdef int64_t second = web_unix_seconds()
    cdef char* p = loop.stamp
    if second == loop.stamp_second:
        return
    loop.stamp_second = second
    p = put_line(p, "Date: ")
    http1_date(p, second)
    p = put(p + 29, END_LINE, 2)
    if loop.server_line:
        p = put_line(p, SERVER_LINE)
    loop.stamp_len = p - loop.stamp


cdef inline int answer_write(Loop loop, Connection c, Request request, Response response) except? -1:
    """Queues a response: 1, ANSWER_STREAMS (stream_begin), or WEB_FAILED without memory."""
    if response.file_name != NULL:
        return answer_file(loop, c, request, response)
    if response._producer is not None:
        return stream_begin(loop, c, request, response)
    if response._socket is not None:
        return socket_begin(loop, c, request, response)
    return answer_queue(loop, c, response)


cdef bint answer_is_last(Loop loop, Connection c) noexcept nogil:
    """Predicate: the connection ends after this answer."""
    return (not c.http.head.keep_alive or c.http.reading == READ_ENDED or loop.stopping or loop.stop_asked
            or loop.last_answers or (c.http.inflow != NULL and c.http.inflow_open)
            or (loop.limits.requests > 0 and c.requests >= loop.limits.requests))


cdef inline bint response_is_bodiless(Response response) noexcept:
    return response.status == 204 or response.status == 304


cdef inline char* answer_start(Loop loop, Http1* http, Response response, size_t more) noexcept:
    """Room for a head, and so many bytes more; NULL without memory."""
    return output_reserve(loop, &http.out, response.head_bound() + loop.stamp_len + FRAME_LINES + more)


cdef inline char* put_head(char* to, Loop loop, Connection c, Response response, Framing framing, size_t length) \
        noexcept:
    """The whole head of an answer."""
    cdef bint last = framing == FRAME_CLOSE or answer_is_last(loop, c)
    loop.row.counts.responses[response.status // 100] += 1
    to = response.head_write(to)
    if framing == FRAME_CHUNKED:
        to = put_line(to, CHUNKED_LINE)
    elif framing == FRAME_LENGTH and not response_is_bodiless(response):
        to = put_length(to, length)
    to = put(to, loop.stamp, loop.stamp_len)
    to = put_persistence(to, c.http, last)
    return put(to, END_LINE, 2)


cdef int answer_head(Loop loop, Connection c, Response response, Framing framing, int64_t length) noexcept:
    """Queues a head whose content comes later: 1, WEB_FAILED without memory."""
    cdef char* start = answer_start(loop, c.http, response, 0)
    if start == NULL:
        return WEB_FAILED
    output_commit(loop, &c.http.out, put_head(start, loop, c, response, framing, <size_t>length) - start)
    return 1


cdef int answer_queue(Loop loop, Connection c, Response response) noexcept:
    """Queues a head and content that is in memory."""
    cdef Http1* http = c.http
    cdef bint send_body = not response_is_bodiless(response) and http.head.method != METHOD_HEAD
    cdef size_t length = PyBytes_GET_SIZE(response._body)
    cdef bint copied = send_body and length <= COPIED_BODY
    cdef Segment* segment
    cdef char* start = answer_start(loop, http, response, length if copied else 0)
    cdef char* p = start
    if start == NULL:
        return WEB_FAILED
    p = put_head(p, loop, c, response, FRAME_LENGTH, length)
    if copied:
        p = put(p, PyBytes_AS_STRING(response._body), length)
    output_commit(loop, &http.out, p - start)
    if not send_body or copied:
        return 1
    segment = segment_take(loop, &http.out)
    if segment == NULL:
        return WEB_FAILED
    segment.data = PyBytes_AS_STRING(response._body)
    segment.left = length
    segment.owner = <PyObject*>response._body
    Py_IncRef(segment.owner)
    return 1


cdef int answer_without_request(Loop loop, Http1* http, int status, const char* fault) noexcept nogil:
    """Queues the answer to something that is no request, or that came at a moment when Python cannot be asked. The
    connection closes after it. 1, or WEB_FAILED without memory."""
    http.reading = READ_ENDED
    if fault != NULL:
        count_refusal(loop.row, status, fault)
    return answer_text(loop, http, status, fault, True)


cdef int answer_text(Loop loop, Http1* http, int status, const char* fault, bint last) noexcept nogil:
    """Queues an answer without the application: a status and a line of text. 1, or WEB_FAILED without memory."""
    cdef size_t line_len[1]
    cdef const char* line = http1_status_line(status, line_len)
    # "HTTP/1.1 400 Bad Request\r\n": the text begins with what stands between the version and the line's end
    cdef const char* words = line + 9
    cdef size_t words_len = line_len[0] - 11
    cdef size_t fault_len = strlen(fault) if fault != NULL else 0
    cdef size_t length = words_len + (2 + fault_len if fault_len > 0 else 0) + 1
    cdef char* start = output_reserve(loop, &http.out, line_len[0] + 64 + loop.stamp_len + FRAME_LINES + length)
    cdef char* p = start
    if start == NULL:
        return WEB_FAILED
    loop.row.counts.responses[status // 100] += 1
    p = put(p, line, line_len[0])
    p = put_line(p, TEXT_LINE)
    p = put_length(p, length)
    p = put(p, loop.stamp, loop.stamp_len)
    p = put_persistence(p, http, last)
    p = put(p, END_LINE, 2)
    if http.head.method != METHOD_HEAD:     # a head that could not be parsed may have got so far
        p = put(p, words, words_len)
        if fault_len > 0:
            p = put(p, ": ", 2)
            p = put(p, fault, fault_len)
        p = put(p, "\n", 1)
    output_commit(loop, &http.out, p - start)
    return 1
