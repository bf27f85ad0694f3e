# HTTP/1 (RFC 9112): the protocol machine of a connection and the stream machine of each request, first byte to last.
#
# Stream (one request at a time; a later one waits in the input until the earlier is answered):
#
#     HEAD     waiting for a request, or in the middle of its head
#     BODY     the head is whole, its body is not
#     READY    the whole request is here, or it was refused: the loop calls the handler when it next holds the GIL
#     HANDLER  the application runs: within the turn, or in a Task or a thread (http.pending) until it answers
#     SOCKET   it answered with 101: frames go both ways from here on (_core_socket); input and answers stay here
#
# Protocol: reading is READ_OPEN until no further request will be read (READ_ENDED); writing is WRITE_OPEN until the
# last answer was queued (WRITE_LAST), after which the transport closes once the queue is empty.
#
# A turn goes exchange_read (no GIL) -> exchange_call (GIL; _core_calling) -> exchange_write (no GIL) ->
# exchange_settle.
#
# Ownership: Http1 belongs to its connection and exists only while there is something to remember; an idle connection
# has none. Input bytes lie in the loop's arena for one turn (in_cap == 0) and are moved to a heap block of the
# connection's own when they must outlive it. head and body point into the input while the whole request lies there,
# else into what Http1 owns: head_copy, and where _core_body gathers the body. http1_free gives back all of it; one that
# holds a Python object (body_object, pending) waits in the loop's http_garbage until the GIL is held.

cdef enum Stream:
    STREAM_HEAD = 1
    STREAM_BODY = 2
    STREAM_READY = 3
    STREAM_HANDLER = 4
    STREAM_SOCKET = 5

cdef unsigned char[6] STREAM_STEPS
STREAM_STEPS[:] = [
    0,
    (1 << STREAM_BODY) | (1 << STREAM_READY),       # HEAD
    (1 << STREAM_READY),                            # BODY
    (1 << STREAM_HANDLER),                          # READY
    (1 << STREAM_HEAD) | (1 << STREAM_SOCKET),      # HANDLER
    0,                                              # SOCKET
]

cdef enum Protocol:
    READ_OPEN = 1
    READ_ENDED = 2
    WRITE_OPEN = 1
    WRITE_LAST = 2

cdef struct Http1:
    Http1* next                 # in the pool
    unsigned char stream        # Stream
    unsigned char reading       # READ_*: only ever OPEN -> ENDED
    unsigned char writing       # WRITE_*: only ever OPEN -> LAST
    bint peer_ended             # the peer will send no more (half-close)
    # input
    char* in_data
    size_t in_at, in_end
    size_t in_cap               # 0: lies in the arena of this turn
    # the request
    Http1Head head
    Http1Chunked chunked
    size_t head_len
    char* head_copy
    const char* body
    size_t body_len
    unsigned char plan          # Plan (_core_body)
    size_t body_limit           # the most that it may have
    size_t body_came            # bytes of it that have come; body_len of them are in memory
    PyObject* body_object       # owned: bytes of content_length; or NULL
    char* body_block            # owned: else the body gathers here
    size_t body_cap             # bytes for which there is room in one of these
    int spool                   # owned: the file to which it is written, or -1
    int spool_error             # errno of a file that could not be written
    PyObject* inflow            # owned: the Inflow by which the application reads it (_core_inflow); or NULL
    bint inflow_open            # more of it is to be read
    bint inflow_full            # ... once the application has taken what is here
    int inflow_fault            # status: what came is no body; 0: none
    int refused                 # status of a refusal by the protocol once the head was parsed; 0: none
    const char* fault           # why, in words
    int64_t ready_at            # when the stream became READY, ns: from here on the answer is ours to give
    PyObject* pending           # owned: the Pending that will answer (stream HANDLER); or NULL
    bint wants_room             # its producer goes on once all that is queued was sent (_core_stream)
    bint outlives_peer          # of it: it goes on when the peer goes away
    int64_t keep_alive          # ns that an event stream may be quiet (_core_events); 0: it is none
    int64_t quiet_since         # when something of it was last sent
    uint64_t quiet_moved        # ... and moved then
    Socket* socket              # of the WebSocket that the connection has become; or NULL
    PyObject* socket_object     # owned: it
    unsigned char overheard     # what the poller is asked meanwhile: WEB_READ, WEB_ENDED or only WEB_HANGUP
    # the answers
    Output out
    # minimum rate: what moved since the look before
    uint64_t moved
    int64_t moved_since
    int64_t unacknowledged      # at that look: what the kernel took is not yet what the peer took

cdef enum:
    READ_CHUNK = 16384          # asked of the transport at a time
    READ_BUDGET = 262144        # bytes that one connection may read in one turn
    READ_COST = 4096            # what one read counts for at least: a record of one byte is opened and parsed, too
    PIPELINE_BUDGET = 32        # requests that one connection may have answered in one turn
    PROBE_ANSWERED = 2          # exchange_parse: a health route was answered, without the application
    PROBE_NONE = -10

cdef const char* CONTINUE_LINE = "HTTP/1.1 100 Continue\r\n\r\n"


cdef int stream_step(Loop loop, Http1* http, Stream to) noexcept nogil:
    """Changes the state of the stream: 1, or WEB_FAILED where the table does not allow it."""
    if not STREAM_STEPS[http.stream] & (1 << <int>to):
        return illegal_step()
    http.stream = to
    if to == STREAM_READY:
        http.ready_at = loop.now
    return 1


# -- memory ----------------------------------------------------------------------------------------------------------

cdef Http1* http1_of(Loop loop, Connection c) noexcept nogil:
    """The protocol's state of a connection, made when there is none. NULL: no memory."""
    cdef Http1* http = c.http
    if http != NULL:
        return http
    http = loop.http_pool
    if http != NULL:
        loop.http_pool = http.next
        loop.http_pooled -= 1
    else:
        http = <Http1*>PyMem_RawMalloc(sizeof(Http1))
        if http == NULL:
            return NULL
    memset(http, 0, sizeof(Http1))
    http.stream = STREAM_HEAD
    http.reading = READ_OPEN
    http.writing = WRITE_OPEN
    http.spool = -1
    http1_head_init(&http.head)
    c.http = http
    loop.row.gauges.active += 1
    return http


cdef void http1_free(Loop loop, Connection c) noexcept nogil:
    """Gives back everything that the protocol holds for a connection."""
    cdef Http1* http = c.http
    if http == NULL:
        return
    c.http = NULL
    loop.row.gauges.active -= 1
    output_drop(loop, &http.out)
    if http.in_cap > 0:
        PyMem_RawFree(http.in_data)
    PyMem_RawFree(http.head_copy)
    PyMem_RawFree(http.body_block)
    web_close_fd(&http.spool)
    if http.socket != NULL:
        http.socket.state = SOCKET_OVER         # from all states: nothing can be sent any more
    if http.body_object != NULL or http.pending != NULL or http.inflow != NULL or http.socket != NULL:
        http.next = loop.http_garbage
        loop.http_garbage = http
    else:
        http1_recycle(loop, http)


cdef void http1_recycle(Loop loop, Http1* http) noexcept nogil:
    if loop.http_pooled < HTTP_POOL:
        http.next = loop.http_pool
        loop.http_pool = http
        loop.http_pooled += 1
    else:
        PyMem_RawFree(http)


cdef void request_free(Http1* http) noexcept:
    """Frees what the request that was answered owns, and makes ready for the next."""
    request_free_bytes(http)
    inflow_release(http)
    web_close_fd(&http.spool)
    http.plan = PLAN_NONE
    http.body_came = 0
    http.refused = 0
    http.fault = NULL
    http.keep_alive = 0
    http1_head_init(&http.head)


cdef void request_free_bytes(Http1* http) noexcept:
    """Frees the request's bytes (GIL). What was parsed of its head stays: the answer is framed by that."""
    PyMem_RawFree(http.head_copy)
    PyMem_RawFree(http.body_block)
    if http.body_object != NULL:
        Py_DecRef(http.body_object)
    http.head_copy = http.body_block = NULL
    http.body_object = NULL
    http.body = NULL
    http.body_len = http.body_cap = 0


cdef int input_keep(Http1* http) noexcept nogil:
    """The turn ends: input that was not consumed moves from the arena to a block of its own. 1, WEB_FAILED."""
    cdef size_t count = http.in_end - http.in_at
    cdef char* block
    if http.in_cap > 0:
        if count == 0:
            PyMem_RawFree(http.in_data)
            http.in_data = NULL
            http.in_cap = http.in_at = http.in_end = 0
        return 1
    if count == 0:
        http.in_data = NULL
        http.in_at = http.in_end = 0
        return 1
    block = <char*>PyMem_RawMalloc(count + 1024)
    if block == NULL:
        return WEB_FAILED
    memcpy(block, http.in_data + http.in_at, count)
    http.in_data = block
    http.in_cap = count + 1024
    http.in_at = 0
    http.in_end = count
    return 1


cdef Py_ssize_t input_room(Loop loop, Http1* http) noexcept nogil:
    """Makes room behind the input and gives its size; WEB_FAILED: no memory, BUDGET_USED: the arena is full this
    turn."""
    cdef size_t held
    cdef char* block
    if http.in_data == NULL:
        if IN_ARENA - loop.in_top < READ_CHUNK:
            return BUDGET_USED
        http.in_data = loop.in_arena + loop.in_top
        http.in_at = http.in_end = 0
    if http.in_cap == 0:
        if http.in_at == http.in_end and http.in_data + http.in_end == loop.in_arena + loop.in_top:
            loop.in_top -= http.in_end      # all of it was consumed: the room is used again
            http.in_at = http.in_end = 0
        if http.in_data + http.in_end == loop.in_arena + loop.in_top and IN_ARENA - loop.in_top >= READ_CHUNK:
            return READ_CHUNK
        if input_keep(http) < 0:
            return WEB_FAILED
        if http.in_data == NULL:
            return input_room(loop, http)
    if http.in_cap - http.in_end >= 1024:
        return http.in_cap - http.in_end
    held = http.in_end - http.in_at
    block = <char*>PyMem_RawMalloc(2 * held + 4096)
    if block == NULL:
        return WEB_FAILED
    memcpy(block, http.in_data + http.in_at, held)
    PyMem_RawFree(http.in_data)
    http.in_data = block
    http.in_cap = 2 * held + 4096
    http.in_at = 0
    http.in_end = held
    return http.in_cap - held


# -- reading (no GIL) ------------------------------------------------------------------------------------------------

cdef int exchange_parse(Loop loop, Connection c) noexcept nogil:
    """Looks at the input: 1 a request is READY (whole, or refused), PROBE_ANSWERED one was answered here, HTTP1_MORE
    more bytes are needed, WEB_FAILED: the connection was taken out of service."""
    cdef Http1* http = c.http
    cdef Py_ssize_t result
    cdef size_t got
    if http.stream == STREAM_HEAD:
        if http.in_at == http.in_end:
            return HTTP1_MORE
        result = http1_head_feed(&http.head, http.in_data + http.in_at, http.in_end - http.in_at, &loop.limits.http)
        if result == HTTP1_MORE:
            return HTTP1_MORE
        if result < 0:
            return exchange_refuse_head(loop, c, <int>-result)
        http.head_len = result
        http.in_at += http.head_len
        unfinished_end(&loop.sources, &c.unfinished)
        deadline_clear(&loop.deadlines, &c.deadline)    # the next head has its own
        if http.head.content_length <= 0 and not http.head.chunked:
            http.body_len = 0
            if loop.dispatcher.probes.count > 0:
                result = exchange_probe(loop, c)
                if result != PROBE_NONE:
                    return <int>result
            return stream_step(loop, http, STREAM_READY)
        if http.head.content_length > <int64_t>loop.limits.body and not loop.dispatcher.plans_bodies:
            return exchange_refuse(loop, http, 413, BODY_TOO_LARGE)
        got = http.in_end - http.in_at
        if (not http.head.chunked and got >= <size_t>http.head.content_length
                and http.head.content_length <= <int64_t>loop.limits.body):
            http.body = http.in_data + http.in_at
            http.body_len = <size_t>http.head.content_length
            http.in_at += http.body_len
            return stream_step(loop, http, STREAM_READY)
        if body_begin(loop, c) < 0:
            take_out(loop, c, CLOSE_NO_MEMORY)
            return WEB_FAILED
    if http.stream == STREAM_BODY:
        return body_parse(loop, c)
    return 1 if http.stream == STREAM_READY else HTTP1_MORE


cdef int exchange_refuse(Loop loop, Http1* http, int status, const char* fault) noexcept nogil:
    """Refuses a request whose head was parsed. The application's hooks see the answer; the rest of its body is not
    framed by anything that we trust, so nothing more is read as a request."""
    body_refuse(http, status, fault)
    http.body_len = 0
    return stream_step(loop, http, STREAM_READY)


cdef int exchange_refuse_head(Loop loop, Connection c, int status) noexcept nogil:
    """Answers a head that could not be parsed: there is no request, so no hook sees it. RFC 9112 2.2, 3: close after.
    Always WEB_FAILED: nothing more is read."""
    cdef Http1* http = c.http
    http.reading = READ_ENDED
    http.writing = WRITE_LAST
    c.reason = CLOSE_BAD_REQUEST
    if answer_without_request(loop, http, status, http.head.fault) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
    return WEB_FAILED


cdef Py_ssize_t exchange_receive(Loop loop, Connection c, size_t budget) noexcept nogil:
    """One read of the transport, to where its bytes belong. Bytes read, or what the transport said, or BUDGET_USED."""
    cdef Http1* http = c.http
    cdef Py_ssize_t n, room
    if (http.stream == STREAM_BODY or http.inflow != NULL) and not http.head.chunked and http.in_at == http.in_end:
        n = body_receive(c, budget)
    else:
        room = input_room(loop, http)
        if room < 0:
            return room
        n = c.recv_some(http.in_data + http.in_end, room)
        if n > 0:
            http.in_end += n
            if http.in_cap == 0:
                loop.in_top += n
    if n > 0:
        if http.socket == NULL:         # a WebSocket's rate is that at which its peer takes what is sent
            http.moved += n
        loop.row.counts.bytes_received += n
    return n


cdef size_t budget_after(Connection c, size_t budget, Py_ssize_t n) noexcept nogil:
    """What is left of a turn's share after a read of n bytes: what it cost counts, not only what it brought."""
    cdef size_t spent = <size_t>max(n, <Py_ssize_t>READ_COST) + c.read_cost
    return budget - spent if spent < budget else 0


cdef void exchange_read(Loop loop, Connection c) noexcept nogil:
    """The transport is readable, or input is left from the turn before: reads and parses until a request is READY,
    nothing is left, or the turn's share is used up."""
    cdef Http1* http = http1_of(loop, c)
    cdef size_t budget = READ_BUDGET
    cdef Py_ssize_t n
    cdef int parsed
    if http == NULL:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return
    if http.out.first != NULL or http.reading == READ_ENDED or http.stream == STREAM_HANDLER:
        return                      # what was asked is not yet answered and sent: the next request waits with the peer
    while True:
        parsed = exchange_parse(loop, c)
        if parsed == WEB_FAILED:
            if c.http != NULL:
                exchange_write(loop, c)
            return
        if parsed == PROBE_ANSWERED:    # one in a turn: a pipeline of them does not hold the others up
            exchange_write(loop, c)
            return
        if parsed > 0:
            loop_queue_call(loop, c)
            return
        if http.peer_ended:
            exchange_peer_left(loop, c)
            return
        if http.out.first != NULL:  # 100 Continue
            exchange_write(loop, c)
            if c.http == NULL or http.out.first != NULL:
                return
        if body_waits_for_plan(http):
            loop_queue_call(loop, c)
            return
        if budget == 0:
            loop_queue_ready(loop, c)
            return
        n = exchange_receive(loop, c, budget)
        if n == WEB_WANT_READ or n == WEB_WANT_WRITE:
            return
        if n == BUDGET_USED:
            loop_queue_ready(loop, c)
            return
        if n == WEB_FAILED:
            take_out(loop, c, c.failure_reason())
            return
        if n == WEB_END:
            http.peer_ended = True
            continue
        budget = budget_after(c, budget, n)


cdef bint exchange_is_busy(Connection c) noexcept nogil:
    """Predicate: a request was received whole as far as its head, or an answer is still being sent."""
    return c.http != NULL and (c.http.stream != STREAM_HEAD or c.http.out.first != NULL)


cdef void exchange_overhear(Loop loop, Connection c) noexcept nogil:
    """Something came while the application is answering. Bytes of a next request wait with the kernel. The end of what
    the peer sends is its going away: a client that closed looks the same as one that will still read (RFC 9112 9.6),
    until we write. So it ends the exchange, unless the route says that its handler outlives its client."""
    cdef Http1* http = c.http
    if c.events & WEB_HANGUP or (c.events & WEB_ENDED and not http.outlives_peer):
        take_out(loop, c, CLOSE_PEER_LEFT)
    elif c.events & WEB_ENDED:
        http.overheard = WEB_HANGUP
    elif c.events & WEB_READ:
        http.overheard = WEB_ENDED


cdef void exchange_peer_left(Loop loop, Connection c) noexcept nogil:
    """The peer ended. Between requests that is how a connection ends; in a request there is nobody to answer."""
    cdef Http1* http = c.http
    if http.stream == STREAM_HEAD and http.in_at == http.in_end:
        transport_finish(loop, c, CLOSE_DONE)
    else:
        take_out(loop, c, CLOSE_PEER_LEFT)


# -- writing and settling (no GIL) -----------------------------------------------------------------------------------

cdef void exchange_write(Loop loop, Connection c) noexcept nogil:
    """Sends what is queued; after the last answer the transport begins to close."""
    cdef Http1* http = c.http
    cdef Py_ssize_t result
    if http == NULL:
        return
    if http.socket != NULL and socket_flush(loop, c) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return
    if http.out.first != NULL:
        result = output_send(loop, c, &http.out, &http.moved)
        if result == BUDGET_USED:
            loop_queue_ready(loop, c)
            return
        if result == WEB_END:
            take_out(loop, c, CLOSE_FILE_SHRANK)     # what was promised cannot be sent: never look complete
            return
        if result == WEB_FAILED:
            take_out(loop, c, c.failure_reason())
            return
        if result < 0:
            return
    if http.socket != NULL:
        if http.socket.out.size > 0:        # gathered while others were on their way
            loop_queue_ready(loop, c)
        else:
            socket_written(loop, c)
        return
    if http.stream == STREAM_HANDLER:
        if http.wants_room:
            loop_queue_call(loop, c)
        return
    if http.writing == WRITE_LAST:
        transport_finish(loop, c, <CloseReason>c.reason if c.reason != CLOSE_NONE else CLOSE_DONE)
    elif http.in_at < http.in_end or http.peer_ended or c.has_pending() > 0:
        loop_queue_ready(loop, c)       # more of a request waits in the input, or inside the transport
    elif loop.stopping and http.stream == STREAM_HEAD:
        transport_finish(loop, c, CLOSE_STOPPED)        # its last answer was queued before the loop was asked to stop


cdef void exchange_settle(Loop loop, Connection c) noexcept nogil:
    """The end of a connection's turn: nothing of it stays in the arenas, it has the deadline of what it waits for, and
    the poller watches for that."""
    cdef Http1* http = c.http
    cdef bint partial
    if http == NULL:
        loop_watch(loop, c, WEB_READ | c.write_wants)
        return
    if http.socket != NULL and http.socket.whole:   # it is called within this turn: the message may lie in the input
        return
    if input_keep(http) < 0 or output_keep(loop, &http.out) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return
    if http.socket != NULL:
        socket_settle(loop, c)
        return
    if http.out.first != NULL:
        if not c.deadline.is_set or c.deadline.kind != DEADLINE_RATE:
            rate_restart(loop, c)
            deadline_set(&loop.deadlines, &c.deadline, DEADLINE_RATE, loop.now)
        loop_watch(loop, c, (c.write_wants if c.write_wants else <unsigned char>WEB_WRITE)
                   | (<unsigned char>WEB_READ if inflow_reads(http) else <unsigned char>0))
        return
    if inflow_reads(http):
        if not c.deadline.is_set or c.deadline.kind != DEADLINE_RATE:
            rate_restart(loop, c)
            deadline_set(&loop.deadlines, &c.deadline, DEADLINE_RATE, loop.now)
        loop_watch(loop, c, (c.read_wants if c.read_wants else <unsigned char>WEB_READ) | c.write_wants)
        return
    if http.stream == STREAM_HANDLER:   # how long the application takes is its own affair
        if http.keep_alive > 0:
            events_settle(loop, c)
        else:
            deadline_clear(&loop.deadlines, &c.deadline)
        loop_watch(loop, c, http.overheard | c.write_wants)
        return
    if http.stream == STREAM_BODY:
        if not c.deadline.is_set or c.deadline.kind != DEADLINE_RATE:
            deadline_set(&loop.deadlines, &c.deadline, DEADLINE_RATE, loop.now)
    elif http.stream == STREAM_HEAD:
        partial = http.in_at < http.in_end
        if partial or c.requests == 0:      # absolute: bytes that trickle in do not move it
            if not c.deadline.is_set or c.deadline.kind != DEADLINE_HEAD:
                deadline_set(&loop.deadlines, &c.deadline, DEADLINE_HEAD, loop.now)
            if c.unfinished.source == NULL:
                loop_count_unfinished(loop, c)
        elif not c.deadline.is_set or c.deadline.kind != DEADLINE_IDLE:     # records without data do not move it either
            deadline_set(&loop.deadlines, &c.deadline, DEADLINE_IDLE, loop.now)
        if not partial and not http.peer_ended:
            http1_free(loop, c)
    loop_watch(loop, c, (c.read_wants if c.read_wants else <unsigned char>WEB_READ) | c.write_wants)


cdef void exchange_head_late(Loop loop, Connection c) noexcept nogil:
    """The head did not come in time: 408 where it had begun (RFC 9110 15.5.9), else an end without a word."""
    cdef Http1* http = c.http
    loop.row.counts.timeouts[<int>TIMEOUT_HEAD] += 1
    if http == NULL or http.in_at == http.in_end:
        transport_end(loop, c, CLOSE_HEAD_TIMEOUT)
        return
    c.reason = CLOSE_HEAD_TIMEOUT
    if answer_without_request(loop, http, 408, "the request's head came too slowly") < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return
    exchange_write(loop, c)
    settle(loop, c)


cdef void rate_restart(Loop loop, Connection c) noexcept nogil:
    """Begins a period over which the minimum rate is measured."""
    c.http.moved = 0
    c.http.moved_since = loop.now
    c.http.unacknowledged = c.unacknowledged()


cdef void exchange_check_rate(Loop loop, Connection c, bint late) noexcept nogil:
    """Each second while body or response bytes are owed: fewer than the minimum rate over the grace period ends it.

    late: this look comes long after its time. Then it was the loop that did not move, and a new period begins.
    """
    cdef Http1* http = c.http
    cdef bint writing
    cdef int64_t elapsed, moved, grace, rate
    if http == NULL or c.marks & MARK_CALL:
        return                      # all of it came with this very turn
    writing = http.out.first != NULL
    grace = loop.limits.response_grace if writing else loop.limits.body_grace
    rate = loop.limits.response_min_rate if writing else loop.limits.body_min_rate
    elapsed = loop.now - http.moved_since
    if late:
        rate_restart(loop, c)
    elif elapsed >= grace:
        moved = <int64_t>http.moved
        if writing:
            moved += http.unacknowledged - c.unacknowledged()
        if <double>moved < <double>rate * <double>elapsed / 1e9:
            loop.row.counts.timeouts[<int>TIMEOUT_RESPONSE if writing else <int>TIMEOUT_BODY] += 1
            if writing:
                take_out(loop, c, CLOSE_RESPONSE_SLOW)
                return
            if http.stream == STREAM_HANDLER:       # the application, which is reading it, hears that the client left
                take_out(loop, c, CLOSE_BODY_SLOW)
                return
            exchange_refuse(loop, http, 408, "the body came too slowly")
            loop_queue_call(loop, c)
            return
        rate_restart(loop, c)
    deadline_set(&loop.deadlines, &c.deadline, DEADLINE_RATE, loop.now)
