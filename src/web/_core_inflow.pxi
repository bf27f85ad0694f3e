# A request's body given to the application as it comes: routes with stream=True.
#
# The application runs (stream HANDLER, a Pending) while the exchange goes on reading the body. Bytes gather in Http1's
# block without the GIL (inflow_read); exchange_call hands them over (inflow_deliver), and whoever waits in next() goes
# on. Past INFLOW_MARK bytes that nobody has taken nothing more is read: the client's socket fills, and it waits.
#
# States of an Inflow: OPEN, more is to come; WHOLE, all of it is here; CUT, no more will come (error says why): the
# client left, was too slow, or sent what is no body. What is here can still be taken, but where it was CUT.
#
# Ownership: Http1 holds one reference (inflow) until the exchange is over or taken out (then collect_garbage cuts it),
# the Request and the application hold others. connection is None once the exchange is over: nothing is read for it.

cdef enum InflowState:
    INFLOW_OPEN = 1
    INFLOW_WHOLE = 2
    INFLOW_CUT = 3

cdef enum:
    INFLOW_MARK = 262144        # bytes that wait for the application before no more is read
    BODY_PIECE = 65536          # bytes of a body that is whole, of which one piece is made


class ClientDisconnected(ConnectionError):
    """The client went away before all of its body had come."""


@cython.final
cdef class Inflow:
    """What is here of a body, and who waits for more."""
    cdef unsigned char state            # InflowState
    cdef Loop loop
    cdef Connection connection
    cdef object chunks                  # deque of bytes
    cdef Py_ssize_t held                # bytes in them
    cdef object error
    cdef object future                  # a Task waits, or None
    cdef object event                   # a thread waits for it

    cdef bytes take(self):
        """The next bytes; None: there are none at this moment. Raises why no more will come."""
        cdef bytes chunk
        if self.state == INFLOW_CUT:
            raise self.error
        if not self.chunks:
            return None
        chunk = self.chunks.popleft()
        self.held -= len(chunk)
        if self.state == INFLOW_OPEN and self.held < INFLOW_MARK <= self.held + len(chunk):
            mail_post(self.loop, self)
        return chunk

    cdef bint is_over(self) noexcept:
        """Predicate: all of it was taken."""
        return self.state == INFLOW_WHOLE and not self.chunks

    cdef int wake(self) except -1:
        if self.event is not None:
            self.event.set()
        if self.future is not None:
            if not self.future.done():
                self.future.set_result(None)
            self.future = None
        return 1

    cdef bytes wait(self):
        """The next bytes, in a thread; None at the end."""
        cdef bytes chunk
        if self.event is None:
            self.event = _Event()
        while True:
            self.event.clear()
            chunk = self.take()
            if chunk is not None or self.is_over():
                return chunk
            self.event.wait()

    async def wait_async(self):
        """The next bytes, in a Task; None at the end."""
        while True:
            chunk = self.take()
            if chunk is not None or self.is_over():
                return chunk
            if self.future is None:
                self.future = _running_loop().create_future()
            await self.future


cdef int inflow_begin(Loop loop, Connection c) except -1:
    """The application is called before the body is here: the stream goes on to READY."""
    cdef Inflow inflow = Inflow.__new__(Inflow)
    inflow.state = INFLOW_OPEN
    inflow.loop = loop
    inflow.connection = c
    inflow.chunks = _deque()
    Py_IncRef(<PyObject*>inflow)
    c.http.inflow = <PyObject*>inflow
    c.http.inflow_open = True
    c.http.inflow_full = False
    c.http.inflow_fault = 0
    loop_queue_ready(loop, c)           # some of it may be in the input already
    stream_step(loop, c.http, STREAM_READY)
    return 1


cdef bint inflow_reads(const Http1* http) noexcept nogil:
    """Predicate: more of the body is to be read now."""
    return http.inflow != NULL and http.inflow_open and not http.inflow_full


cdef void inflow_read(Loop loop, Connection c) noexcept nogil:
    """The transport is readable, or input is left: gathers what there is of the body, up to the turn's share."""
    cdef Http1* http = c.http
    cdef size_t budget = READ_BUDGET
    cdef Py_ssize_t n
    cdef int result
    while True:
        result = body_gather(loop, c)
        if result == WEB_FAILED:
            take_out(loop, c, CLOSE_NO_MEMORY)
            return
        if result != HTTP1_MORE:        # whole, or no body at all: the application is told
            http.inflow_open = False
            http.inflow_fault = 0 if result == 1 else -result
            loop_queue_call(loop, c)
            return
        if http.body_len >= INFLOW_MARK or budget == 0:
            break
        if http.peer_ended:
            take_out(loop, c, CLOSE_PEER_LEFT)
            return
        n = exchange_receive(loop, c, budget)
        if n == WEB_WANT_READ or n == WEB_WANT_WRITE or n == BUDGET_USED:
            if n == BUDGET_USED:
                loop_queue_ready(loop, c)
            break
        if n == WEB_FAILED:
            take_out(loop, c, c.failure_reason())
            return
        if n == WEB_END:
            http.peer_ended = True
            continue
        budget = budget_after(c, budget, n)
    if http.body_len > 0:
        loop_queue_call(loop, c)
    elif budget == 0:
        loop_queue_ready(loop, c)


cdef int inflow_deliver(Loop loop, Connection c) except -1:
    """Hands over what has gathered (GIL)."""
    cdef Http1* http = c.http
    cdef Inflow inflow = <Inflow>http.inflow
    if http.body_len > 0:
        inflow.chunks.append(PyBytes_FromStringAndSize(http.body, http.body_len))
        inflow.held += http.body_len
        http.body_len = 0
    http.inflow_full = inflow.held >= INFLOW_MARK
    if not http.inflow_open and inflow.state == INFLOW_OPEN:
        if http.inflow_fault == 0:
            inflow.state = INFLOW_WHOLE
        else:
            count_refusal(loop.row, http.inflow_fault, inflow_words(http))
            http.reading = READ_ENDED
            inflow_cut(inflow, HTTPError(http.inflow_fault, inflow_words(http).decode("ascii")))
    elif not http.inflow_full:
        loop_queue_ready(loop, c)       # more may be here already
    inflow.wake()
    return 1


cdef const char* inflow_words(const Http1* http) noexcept:
    return BODY_TOO_LARGE if http.inflow_fault == 413 else http.chunked.fault


cdef int inflow_cut(Inflow inflow, object error) except -1:
    """No more will come."""
    if inflow.state == INFLOW_OPEN:
        inflow.state = INFLOW_CUT
        inflow.error = error
        inflow.wake()
    return 1


cdef void inflow_release(Http1* http) noexcept:
    """The exchange is over: gives up its reference. Whoever still waits hears that the client is gone."""
    cdef PyObject* held = http.inflow
    cdef Inflow inflow
    if held == NULL:
        return
    inflow = <Inflow>held
    http.inflow = NULL
    try:
        inflow.connection = None
        inflow_cut(inflow, ClientDisconnected("the exchange ended before the whole body had come"))
    except BaseException:
        tell_unraisable(_current_exception())
    Py_DecRef(held)


cdef int inflow_go_on(Loop loop, Inflow inflow) except -1:
    """The loop reads on, if there is a connection to read from."""
    cdef Connection c = inflow.connection
    if c is None or c.marks & MARK_GONE or c.http == NULL or c.http.inflow != <PyObject*>inflow:
        return 1
    c.http.inflow_full = inflow.held >= INFLOW_MARK
    rate_restart(loop, c)
    if not c.http.inflow_full:
        loop_queue_ready(loop, c)
    return 1


@cython.final
cdef class BodyPieces:
    """What ``Request.stream()`` gives: an iterator and an async iterator of the pieces of a body."""
    cdef Inflow inflow                  # None: the body is whole
    cdef object file

    def __iter__(self):
        return self

    def __next__(self):
        if self.inflow is not None:
            if self.inflow.loop.thread == PyThread_get_thread_ident():
                raise RuntimeError("req.stream() in an async handler is read by async for: a for would wait for itself")
            piece = self.inflow.wait()
        else:
            piece = self.read()
        if not piece:
            raise StopIteration
        return piece

    def __aiter__(self):
        return self

    async def __anext__(self):
        piece = self.read() if self.inflow is None else await self.inflow.wait_async()
        if not piece:
            raise StopAsyncIteration
        return piece

    def read(self):
        return b"" if self.file is None else self.file.read(BODY_PIECE)


cdef BodyPieces body_pieces(Inflow inflow, object file):
    cdef BodyPieces pieces = BodyPieces.__new__(BodyPieces)
    pieces.inflow = inflow
    pieces.file = file
    return pieces
