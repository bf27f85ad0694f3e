# The body of a request that did not come whole with its head: what is to become of it, and where its bytes go.
#
# The plan is made when the head is here (body_plan, which needs the GIL): the route is looked up, because it may grant
# more or less than Limits.body, or want the body as it comes. Until then nothing of the body is read, and a client that
# asked for 100 Continue is not told to go on.
#
#     OBJECT  said to have at most BODY_SPOOL bytes: a bytes object of exactly that size, which handlers are given
#             without a copy
#     BLOCK   chunked: a block that grows with what came; past BODY_SPOOL it becomes
#     SPOOL   longer: an unlinked file, written as the body comes; the block is what has not been written yet
#     FLOW    a route with stream=True: the application is called at once, and given what the block holds (_core_inflow)
#
# Memory that was made and not yet written is not resident: a client that announces much and sends little costs address
# space.
#
# glibc gives the free top of the heap back to the system when it is more than twice the largest block that was ever
# freed and had pages of its own. That would be after each large body, and each page of the next one would have to be
# asked for again, which costs more than receiving it. So one block of a large size is freed once (heap_keep), and a
# second after the last large body DEADLINE_TRIM gives back what is free.
#
# Ownership: Http1 owns the object, the block and the file (body_object, body_block, spool); http1_free and request_free
# give them back. Request.take_body and take_spool take object and file over.

cdef enum Plan:
    PLAN_NONE = 0               # it is yet to be made
    PLAN_OBJECT = 1
    PLAN_BLOCK = 2
    PLAN_SPOOL = 3
    PLAN_FLOW = 4

cdef enum:
    BODY_SPOOL = 256 << 10      # the most that is kept in memory
    BODY_STEP = 65536           # room in a growing block for this much is made before it comes
    BODY_LARGE = 65536          # bytes of an object from which its pages are worth keeping
    BODY_KEPT = 16 << 20

cdef bint heap_is_kept = False


cdef int body_begin(Loop loop, Connection c) noexcept nogil:
    """The head is whole and its body is not: the head is set aside. 1, or WEB_FAILED without memory."""
    cdef Http1* http = c.http
    http.head_copy = <char*>PyMem_RawMalloc(http.head_len)
    if http.head_copy == NULL:
        return WEB_FAILED
    memcpy(http.head_copy, http.in_data + http.in_at - http.head_len, http.head_len)
    http1_chunked_init(&http.chunked)
    http.plan = PLAN_NONE
    rate_restart(loop, c)
    return stream_step(loop, http, STREAM_BODY)


cdef bint body_waits_for_plan(const Http1* http) noexcept nogil:
    """Predicate: the GIL is needed before more of this body is read."""
    return http.stream == STREAM_BODY and http.plan == PLAN_NONE


cdef void heap_keep() noexcept:
    global heap_is_kept
    if not heap_is_kept:
        heap_is_kept = True
        PyMem_RawFree(PyMem_RawMalloc(BODY_KEPT))


cdef int body_plan(Loop loop, Connection c) noexcept:
    """Makes the plan (GIL), and what it needs. 1, also where the body is refused; WEB_FAILED without memory."""
    cdef Http1* http = c.http
    cdef Http1Head* head = &http.head
    cdef Endpoint endpoint
    try:
        endpoint = loop.dispatcher.router.route(
            head.method, http.head_copy + head.method_at, head.method_len, http.head_copy + head.path_at, head.path_len)
        http.body_limit = body_limit_of(loop, endpoint)
        if head.content_length > <int64_t>http.body_limit:
            return exchange_refuse(loop, http, 413, BODY_TOO_LARGE)
        if endpoint is not None and endpoint.streams:
            http.plan = PLAN_FLOW
            inflow_begin(loop, c)
        elif head.chunked:
            http.plan = PLAN_BLOCK
        elif head.content_length > BODY_SPOOL:
            http.plan = PLAN_SPOOL
        else:
            http.plan = PLAN_OBJECT
            body_make_object(loop, http)
    except BaseException:       # no memory
        tell_unraisable(_current_exception())
        return WEB_FAILED
    # RFC 9110 10.1.1: not needed once the client has begun to send
    if head.expect_continue and http.in_at == http.in_end:
        if output_static(loop, &http.out, CONTINUE_LINE, strlen(CONTINUE_LINE)) < 0:
            return WEB_FAILED
    return 1


cdef void body_refuse(Http1* http, int status, const char* fault) noexcept nogil:
    """The request is refused, and nothing more is read as one."""
    http.refused = status
    http.fault = fault
    http.reading = READ_ENDED


cdef const char* BODY_TOO_LARGE = "the body is larger than this server accepts"


cdef size_t body_limit_of(Loop loop, Endpoint endpoint) noexcept:
    """How many bytes a body for this route may have."""
    return loop.limits.body if endpoint is None or endpoint.max_body < 0 else <size_t>endpoint.max_body


cdef int body_make_object(Loop loop, Http1* http) except -1:
    cdef bytes made
    if http.head.content_length >= BODY_LARGE:
        heap_keep()
        deadline_set(&loop.deadlines, &loop.trim, DEADLINE_TRIM, loop.now)
    made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>http.head.content_length)
    Py_IncRef(<PyObject*>made)
    http.body_object = <PyObject*>made
    http.body = PyBytes_AS_STRING(made)
    http.body_cap = <size_t>http.head.content_length
    return 1


cdef int body_room(Http1* http, size_t count) noexcept nogil:
    """Makes room for count bytes in memory: 1, WEB_FAILED without memory."""
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
    cdef int result
    if body_waits_for_plan(http):
        return HTTP1_MORE
    result = body_gather(loop, c)
    if result == WEB_FAILED:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return WEB_FAILED
    if result < 0 and result != HTTP1_MORE:
        return exchange_refuse(loop, http, -result, http.chunked.fault if result != -413 else BODY_TOO_LARGE)
    if http.plan == PLAN_BLOCK and http.body_len > BODY_SPOOL:
        http.plan = PLAN_SPOOL
    if http.plan == PLAN_SPOOL and http.body_len > 0 and spool_write(loop, http) < 0:
        return exchange_refuse(loop, http, 503, "this server has no room to keep the body")
    return stream_step(loop, http, STREAM_READY) if result == 1 else HTTP1_MORE


cdef int body_gather(Loop loop, Connection c) noexcept nogil:
    """Moves body bytes from the input to memory: 1 it is whole, HTTP1_MORE, WEB_FAILED without memory, or -(status)."""
    cdef Http1* http = c.http
    cdef size_t got = http.in_end - http.in_at
    cdef size_t owed
    cdef size_t consumed[1]
    cdef size_t produced[1]
    cdef Py_ssize_t result
    if not http.head.chunked:
        owed = <size_t>http.head.content_length - http.body_came
        if got > owed:
            got = owed
        if got > 0:
            if body_room(http, http.body_len + got) < 0:
                return WEB_FAILED
            memcpy(<char*>http.body + http.body_len, http.in_data + http.in_at, got)
            http.in_at += got
            http.body_len += got
            http.body_came += got
        return 1 if got == owed else HTTP1_MORE
    if got == 0:
        return HTTP1_MORE
    if body_room(http, http.body_len + got) < 0:
        return WEB_FAILED
    result = http1_chunked_feed(&http.chunked, http.in_data + http.in_at, got, consumed,
                                http.body_block + http.body_len, produced, &loop.limits.http)
    http.in_at += consumed[0]
    http.body_len += produced[0]
    http.body_came += produced[0]
    if http.body_came > http.body_limit:
        return -413
    if result == HTTP1_MORE:
        return HTTP1_MORE
    return 1 if result >= 0 else <int>result


cdef Py_ssize_t body_receive(Connection c, size_t budget) noexcept nogil:
    """Reads of a body with Content-Length what the transport has, straight to where it belongs, and not a byte further:
    what follows is the next request. At most budget bytes; results as recv_some, WEB_FAILED also without memory."""
    cdef Http1* http = c.http
    cdef size_t count = <size_t>http.head.content_length - http.body_came
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
        http.body_came += n
    return n


# -- the file --------------------------------------------------------------------------------------------------------

cdef int spool_write(Loop loop, Http1* http) noexcept nogil:
    """Writes what is in memory to the file: 1, WEB_FAILED with spool_error set. It is the page cache that takes it."""
    cdef size_t at = 0
    cdef Py_ssize_t n
    if http.spool < 0:
        http.spool = web_open_unlinked(loop.spool_path)
        if http.spool < 0:
            http.spool_error = errno
            return WEB_FAILED
    while at < http.body_len:
        n = c_write(http.spool, http.body_block + at, http.body_len - at)
        if n <= 0:
            if n < 0 and errno == EINTR:
                continue
            http.spool_error = errno
            return WEB_FAILED
        at += n
    http.body_len = 0
    return 1


@cython.final
cdef class Spool:
    """A request's body in a file without a name. It owns the fd, and is what holds it open."""
    cdef int fd
    cdef readonly long long size

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        web_close_fd(&self.fd)

    def fileno(self):
        """The file descriptor. Read it with os.pread: its position is nobody's."""
        if self.fd < 0:
            raise ValueError("there is no file")
        return self.fd

    def read(self):
        """bytes: all of it. OSError, or EOFError where somebody has made it shorter."""
        cdef bytes made = PyBytes_FromStringAndSize(NULL, self.size)
        cdef char* to = PyBytes_AS_STRING(made)
        cdef long long at = 0
        cdef Py_ssize_t n
        while at < self.size:
            with nogil:
                n = web_read_file(self.fd, to + at, <size_t>(self.size - at), at)
            if n < 0:
                raise_errno("the body cannot be read from its file")
            if n == 0:
                raise EOFError("the body's file is shorter than it was written")
            at += n
        return made


cdef Spool spool_of(Http1* http):
    """Takes the file over."""
    cdef Spool spool = Spool.__new__(Spool)
    spool.fd = web_detach_fd(&http.spool)
    spool.size = <long long>http.body_came
    return spool
