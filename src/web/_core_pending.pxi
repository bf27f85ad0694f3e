# Pending: a request whose answer comes after the turn in which it was called.
#
# States (pending_step changes them):
#
#     STARTED     pending_begin runs its first step; an answer that is there when it returns is taken at once
#     WAITING     its connection waits for it (stream HANDLER, Http1.pending); it stands in loop.pendings
#     STREAMING   the head is sent, and the body while it is produced (_core_stream)
#     ABANDONED   the connection is gone, or ended: a Task was cancelled, a thread goes on; what it answers is dropped
#     OVER        answered or dropped: it is in no list
#
# Who answers: a Task, on the loop's own thread, by finish(), within a turn or between two; a thread of the pool, by
# post(), through the loop's mailbox, which turn_call empties.
#
# Ownership: loop.pendings holds a Pending until it is OVER; Http1.pending holds a second reference, from WAITING until
# it is answered or the Http1 is freed, which happens without the GIL: then collect_garbage abandons it
# (pending_abandon). The Request owns its bytes (detach) from WAITING on.

cdef enum PendingState:
    PENDING_STARTED = 1
    PENDING_WAITING = 2
    PENDING_STREAMING = 3
    PENDING_ABANDONED = 4
    PENDING_OVER = 5

cdef unsigned char[6] PENDING_STEPS
PENDING_STEPS[:] = [
    0,
    (1 << PENDING_WAITING) | (1 << PENDING_OVER),       # STARTED
    (1 << PENDING_STREAMING) | (1 << PENDING_ABANDONED) | (1 << PENDING_OVER),  # WAITING
    (1 << PENDING_ABANDONED) | (1 << PENDING_OVER),     # STREAMING
    (1 << PENDING_OVER),                                # ABANDONED
    0,                                                  # OVER
]


@cython.final
cdef class Pending:
    """One request that a Task or a thread of the pool is answering."""
    cdef unsigned char state            # PendingState
    cdef Loop loop
    cdef Connection connection          # None once ABANDONED or OVER
    cdef Request request
    cdef Endpoint endpoint              # None: no route, or the protocol refused it
    cdef readonly object task           # None: a thread answers
    cdef Response response
    cdef object raised                  # KeyboardInterrupt or SystemExit of the application
    cdef object context                 # in which a thread runs it
    cdef int refused                    # status of a refusal by the protocol, or 0
    cdef str fault
    cdef int64_t since                  # when it was called, ns
    # streaming (_core_stream)
    cdef Producer producer
    cdef bint pulls                     # the loop is the producer
    cdef unsigned char framing          # Framing
    cdef int64_t left                   # bytes of the promised length that are still to come
    cdef object items                   # deque of bytes: pushed, and not yet queued
    cdef Py_ssize_t queued              # how many bytes these are
    cdef bint ended                     # no more is pushed
    cdef object error                   # ... because of this
    cdef object room                    # what a paused producer waits for: a future of asyncio, or an Event

    cdef bint cancels(self) noexcept:
        """Predicate: it ends when its client goes away."""
        return self.endpoint is None or self.endpoint.cancels

    cdef bint streams(self) noexcept:
        """Predicate: what it answers has a body that is produced while it is sent."""
        return (self.response is not None and self.response._producer is not None
                and self.request.parsed.method != METHOD_HEAD)

    cdef int finish(self, Response response, object raised) except -1:
        """A Task has its answer, or was ended by KeyboardInterrupt or SystemExit. On the loop's thread."""
        if self.loop is None:
            raise RuntimeError("a Pending is made by a loop")
        if self.loop.forks != forks:
            end_fork(raised)
        self.response = response
        self.raised = raised
        if self.state == PENDING_STARTED:
            return pending_step(self, PENDING_OVER)
        if self.state == PENDING_OVER:
            return 1
        return self.deliver()

    cdef int deliver(self) except -1:
        """The loop looks at what there is. On the loop's thread."""
        if self.loop.running:           # a turn of this very loop is under way: its arenas are in use
            return mail_post(self.loop, self)
        return pending_deliver_now(self.loop, self)

    cdef object push(self, bytes item):
        """A Task has more of its body: a future to await where there is no room for further items, else None."""
        if self.state >= PENDING_ABANDONED:
            return None
        self.items.append(item)
        self.queued += len(item)
        self.deliver()
        if self.state >= PENDING_ABANDONED or (self.queued == 0 and not self.connection.http.wants_room):
            return None
        self.room = _running_loop().create_future()
        return self.room

    cdef int end(self, object error) except -1:
        """A Task pushes no more, because its body is whole, or of an error."""
        if self.state >= PENDING_ABANDONED and self.ended:
            return 1
        self.ended = True
        self.error = error
        if self.state == PENDING_OVER:
            return 1
        return self.deliver()

    cdef bint push_from_thread(self, bytes item) except -1:
        """The same of a thread, which waits here for room. False: nobody wants more."""
        if self.state >= PENDING_ABANDONED:
            return False
        self.room.clear()
        self.items.append(item)
        self.queued += len(item)
        mail_post(self.loop, self)
        if self.queued >= STREAM_MARK:
            self.room.wait()
        return self.state < PENDING_ABANDONED

    cdef int let_go_on(self) except -1:
        """There is room, or nobody wants more: a paused producer goes on."""
        room = self.room
        if room is None:
            return 1
        if self.task is None:
            room.set()
            return 1
        self.room = None
        if not room.done():
            room.set_result(None)
        return 1

    def task_done(self, task):
        """A Task that was cancelled before its first step never came to say so itself."""
        if task.cancelled():
            self.finish(None, None)

    @property
    def what(self):
        """How messages name it: method, path, how long it has taken."""
        age = (web_monotonic_ns() - self.since) / 1e9
        return f"{self.request.method} {self.request.raw_path} ({_handler_text(self.endpoint)}, {age:.1f} s)"


cdef int pending_step(Pending pending, PendingState to) except -1:
    """Changes the state: 1; an illegal step is a defect of ours."""
    if not PENDING_STEPS[pending.state] & (1 << <int>to):
        illegal_step()
        raise RuntimeError(f"a pending request cannot go from state {pending.state} to {to}")
    pending.state = to
    if to == PENDING_WAITING:
        pending.loop.pendings.add(pending)
        pending.loop.row.gauges.pending += 1
    elif to == PENDING_OVER:
        if pending in pending.loop.pendings:
            pending.loop.pendings.remove(pending)
            pending.loop.row.gauges.pending -= 1
        pending.task = None
    if to >= PENDING_ABANDONED:
        pending.connection = None
    return 1


cdef Response pending_begin(Loop loop, Connection c, Request request, Endpoint endpoint, Mode mode):
    """Has a Task or a thread answer the request. The answer, where it is there at once; None: the connection waits."""
    cdef Http1* http = c.http
    cdef Pending pending = Pending.__new__(Pending)
    pending.state = PENDING_STARTED
    pending.loop = loop
    pending.connection = c
    pending.request = request
    pending.endpoint = endpoint
    pending.since = loop.now
    if http.refused:
        pending.refused = http.refused
        pending.fault = http.fault.decode("ascii")
    if mode == MODE_POOL:
        if not loop.pool.has_room():
            return loop.dispatcher.busy(request, endpoint)
        request.detach()
        pending.context = PyContext_CopyCurrent()
        pending_wait(http, pending)
        loop.pool.put(pending)
        return None
    if loop.spawn is None:
        raise RuntimeError("async handlers need asyncio: call server.run(), or await server.run_async()")
    pending.task = loop.spawn(run_task(loop.dispatcher, pending))
    if pending.state == PENDING_OVER:       # it never waited for anything
        if pending.raised is not None:
            raise pending.raised
        return pending.response
    if not loop.spawns_eagerly:
        pending.task.add_done_callback(pending.task_done)
    request.detach()
    pending_wait(http, pending)
    return None


cdef Pending pending_pulling(Loop loop, Connection c, Request request):
    """For a body that the loop itself produces."""
    cdef Pending pending = Pending.__new__(Pending)
    pending.state = PENDING_STARTED
    pending.loop = loop
    pending.connection = c
    pending.request = request
    pending.endpoint = request.endpoint
    pending.since = loop.now
    pending.pulls = True
    request.detach()
    pending_wait(c.http, pending)
    return pending


cdef int pending_wait(Http1* http, Pending pending) except -1:
    """STARTED -> WAITING. The request's bytes are its own by now; of the exchange's only the parsed head stays, by
    which the answer will be framed."""
    pending_step(pending, PENDING_WAITING)
    Py_IncRef(<PyObject*>pending)
    http.pending = <PyObject*>pending
    http.outlives_peer = not pending.cancels()
    http.overheard = WEB_READ
    request_free_bytes(http)
    return 1


cdef void pending_release(Http1* http) noexcept:
    """Gives up the exchange's reference."""
    cdef PyObject* pending = http.pending
    http.pending = NULL
    Py_DecRef(pending)


cdef void pending_abandon(Pending pending) noexcept:
    """Its connection was taken out (GIL): a Task is cancelled, unless its route says otherwise."""
    if pending.state != PENDING_WAITING and pending.state != PENDING_STREAMING:
        return
    try:
        pending_step(pending, PENDING_ABANDONED)
        if pending.pulls:
            pending_step(pending, PENDING_OVER)
            close_producer(pending.producer)
            return
        pending.let_go_on()
        if pending.task is not None and (pending.cancels() or pending.loop.stopping):
            pending.task.cancel()
    except BaseException:
        tell_unraisable(_current_exception())


cdef int pending_answer(Loop loop, Pending pending) except -1:
    """Queues the answer of a WAITING request, or more of a STREAMING one's; that of an ABANDONED one is dropped. The
    connection, if it still stands, is listed among those that were answered in this turn."""
    cdef Connection c = pending.connection
    if pending.state >= PENDING_ABANDONED or c is None or c.marks & MARK_GONE:
        if pending.state == PENDING_OVER:
            return 1
        if pending.streams() and not pending.ended and pending.raised is None:
            return 1                    # what its producer has pushed meanwhile; it will see that nobody wants more
        pending_step(pending, PENDING_OVER)
        if pending.raised is not None:
            raise pending.raised
        return 1
    if pending.state == PENDING_STREAMING and pending.raised is None:
        stream_drain(loop, c, pending)
        if not c.marks & MARK_GONE:
            loop_queue_answered(loop, c)
        return 1
    return pending_answer_first(loop, c, pending)


cdef int pending_answer_first(Loop loop, Connection c, Pending pending) except -1:
    """Queues the answer, or the head of a streamed one."""
    cdef Request request = pending.request
    cdef Http1* http = c.http
    cdef Response response = pending.response
    cdef int result
    if pending.raised is not None or response is None or not pending.streams():
        pending_step(pending, PENDING_OVER)
        pending_release(http)
    if pending.raised is not None:
        take_out(loop, c, CLOSE_HANDLER)
        raise pending.raised
    if response is None:                # its Task was cancelled before it began, by somebody else
        take_out(loop, c, CLOSE_HANDLER)
        return 1
    loop.row.counts.requests += 1
    c.requests += 1
    histogram_add(&loop.row.counts.latency, loop.now - http.ready_at, 1)
    try:
        result = answer_write(loop, c, request, response)
    except (KeyboardInterrupt, SystemExit):
        take_out(loop, c, CLOSE_HANDLER)
        raise
    except BaseException:
        tell_unraisable(_current_exception())
        result = WEB_FAILED
    if result < 0:
        take_out(loop, c, CLOSE_HANDLER)
        return 1
    if result != ANSWER_STREAMS:
        request_free(http)
        stream_step(loop, http, STREAM_HEAD)
    if not c.marks & MARK_GONE:
        loop_queue_answered(loop, c)
    return 1


cdef int pending_deliver_now(Loop loop, Pending pending) except -1:
    """Answers between two turns: the arenas are free, and are free again when this returns."""
    if not loop.is_open:
        return pending_step(pending, PENDING_OVER)
    turn_between(loop)
    try:
        pending_answer(loop, pending)
    except (KeyboardInterrupt, SystemExit):
        loop.raised = _current_exception()      # it leaves by the next turn, as that of a plain handler does
        loop.wake()
    finally:
        turn_between_end(loop)
    return 1


# -- the mailbox -----------------------------------------------------------------------------------------------------

cdef int mail_post(Loop loop, item) except -1:
    """Puts a Pending (it answers), an Inflow (it has room) or what is for WebSockets (a tuple, socket_mail) into the
    loop's mailbox, from any thread. deque.append is atomic; a wake-up is written once until the mailbox is emptied."""
    loop.mail.append(item)
    if not loop.mail_waits:
        loop.mail_waits = True
        if loop.is_open:
            web_poller_wake(&loop.poller)
    return 1


cdef object mail_deliver(Loop loop, object raised):
    """Takes what waits in the mailbox; the first exception of this turn, if any."""
    cdef object item
    loop.mail_waits = False         # before it is emptied: what is posted from here on wakes again
    while loop.mail:
        try:
            item = loop.mail.popleft()
            if type(item) is Inflow:
                inflow_go_on(loop, <Inflow>item)
            elif type(item) is tuple:
                socket_mail(loop, <tuple>item)
            else:
                pending_answer(loop, <Pending>item)
        except BaseException:
            raised = _current_exception() if raised is None else raised
    return raised
