# The body of a request that did not come whole with its head: where its bytes go, and when it is whole.
#
#     said to have at most BODY_AT_ONCE bytes   into a bytes object of exactly that size, which handlers are then given
#                                               without a copy. It is made with the GIL, in the turn's call part: until
#                                               then (body_waits_for_object) nothing of the body is read
#     longer, or chunked                        into a block that grows with what really came
#
# The bytes of the object are written before anybody but the exchange has a reference to it. Memory that was made and
# not yet written is not resident: a client that announces much and sends little costs address space.
#
# glibc gives the free top of the heap back to the system when it is more than twice the largest block that was ever
# freed and had pages of its own. That would be after each large body, and each page of the next one would have to be
# asked for again, which costs more than receiving it. So one block of the largest size is freed once (heap_keep), and a
# second after the last large body DEADLINE_TRIM gives back what is free.
#
# Ownership: Http1 owns the object and the block (body_object, body_block); http1_free and request_free give them back.

cdef enum:
    BODY_AT_ONCE = 16 << 20     # the most that is made before it came
    BODY_STEP = 65536           # room in a growing block for this much is made before it comes
    BODY_LARGE = 65536          # bytes of an object from which its pages are worth keeping

cdef bint heap_is_kept = False


cdef int body_begin(Loop loop, Connection c) noexcept nogil:
    """The head is whole and its body is not: the head is set aside, and a client that waits for it is told to go on. 1,
    or WEB_FAILED without memory."""
    cdef Http1* http = c.http
    http.head_copy = <char*>PyMem_RawMalloc(http.head_len)
    if http.head_copy == NULL:
        return WEB_FAILED
    memcpy(http.head_copy, http.in_data + http.in_at - http.head_len, http.head_len)
    http1_chunked_init(&http.chunked)
    rate_restart(loop, c)
    # RFC 9110 10.1.1: not needed once the client has begun to send
    if http.head.expect_continue and http.in_at == http.in_end:
        if output_static(loop, &http.out, CONTINUE_LINE, strlen(CONTINUE_LINE)) < 0:
            return WEB_FAILED
    return stream_step(loop, http, STREAM_BODY)


cdef bint body_waits_for_object(const Http1* http) noexcept nogil:
    """Predicate: the GIL is needed before more of this body is read."""
    return (http.stream == STREAM_BODY and http.body_object == NULL and http.body_block == NULL
            and not http.head.chunked and http.head.content_length <= BODY_AT_ONCE)


cdef void heap_keep() noexcept:
    global heap_is_kept
    if not heap_is_kept:
        heap_is_kept = True
        PyMem_RawFree(PyMem_RawMalloc(BODY_AT_ONCE))


cdef int body_make_object(Loop loop, Http1* http) noexcept:
    """Makes the object for which a body waits (GIL). 1, or WEB_FAILED without memory."""
    cdef bytes made
    if http.head.content_length >= BODY_LARGE:
        heap_keep()
        deadline_set(&loop.deadlines, &loop.trim, DEADLINE_TRIM, loop.now)
    try:
        made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>http.head.content_length)
    except MemoryError:
        return WEB_FAILED
    Py_IncRef(<PyObject*>made)
    http.body_object = <PyObject*>made
    http.body = PyBytes_AS_STRING(made)
    http.body_cap = <size_t>http.head.content_length
    return 1


cdef int body_room(Http1* http, size_t count) noexcept nogil:
    """Makes room for count bytes of body in all: 1, WEB_FAILED without memory."""
    cdef size_t size = 2 * http.body_cap
    cdef char* block
    if http.body_cap >= count:
        return 1
    if size < count:
        size = count
    block = <char*>PyMem_RawRealloc(http.body_block, size)
    if block == NULL:
        return WEB_FAILED
    http.body_block = block
    http.body_cap = size
    http.body = block
    return 1


cdef int body_parse(Loop loop, Connection c) noexcept nogil:
    """Moves body bytes from the input to where they belong. Results as exchange_parse."""
    cdef Http1* http = c.http
    cdef size_t got = http.in_end - http.in_at
    cdef size_t owed
    if body_waits_for_object(http):
        return HTTP1_MORE
    if http.head.chunked:
        return body_parse_chunked(loop, c)
    owed = <size_t>http.head.content_length - http.body_len
    if got > owed:
        got = owed
    if got > 0:
        if body_room(http, http.body_len + got) < 0:
            take_out(loop, c, CLOSE_NO_MEMORY)
            return WEB_FAILED
        memcpy(<char*>http.body + http.body_len, http.in_data + http.in_at, got)
        http.in_at += got
        http.body_len += got
    return HTTP1_MORE if got < owed else stream_step(loop, http, STREAM_READY)


cdef int body_parse_chunked(Loop loop, Connection c) noexcept nogil:
    cdef Http1* http = c.http
    cdef Py_ssize_t result
    cdef size_t got = http.in_end - http.in_at
    cdef size_t consumed[1]
    cdef size_t produced[1]
    if got == 0:
        return HTTP1_MORE
    if body_room(http, http.body_len + got) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return WEB_FAILED
    result = http1_chunked_feed(&http.chunked, http.in_data + http.in_at, got, consumed,
                                http.body_block + http.body_len, produced, &loop.limits.http)
    http.in_at += consumed[0]
    http.body_len += produced[0]
    if http.body_len > loop.limits.body:
        return exchange_refuse(loop, http, 413, "the body is larger than this server accepts")
    if result == HTTP1_MORE:
        return HTTP1_MORE
    if result < 0:
        return exchange_refuse(loop, http, <int>-result, http.chunked.fault)
    return stream_step(loop, http, STREAM_READY)


cdef Py_ssize_t body_receive(Connection c, size_t budget) noexcept nogil:
    """Reads of a body with Content-Length what the transport has, straight to where it belongs, and not a byte further:
    what follows is the next request. At most budget bytes; results as recv_some, WEB_FAILED also without memory."""
    cdef Http1* http = c.http
    cdef size_t count = <size_t>http.head.content_length - http.body_len
    cdef Py_ssize_t n
    if count > budget:
        count = budget
    if http.body_object == NULL:
        if count > BODY_STEP:
            count = BODY_STEP
        if body_room(http, http.body_len + count) < 0:
            return WEB_FAILED
    n = c.recv_some(<char*>http.body + http.body_len, count)
    if n > 0:
        http.body_len += n
    return n
