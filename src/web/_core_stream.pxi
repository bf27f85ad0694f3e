# Sending a body while it is produced: framing, and the pace at which its Producer may go on.
#
# It is the state STREAMING of a Pending (_core_pending): head and first item are queued, more is to come. Who produces:
#
#     the loop    (pulls) a plain iterator of an inline route: next() is called within turn_call whenever all that was
#                 queued is sent, up to STREAM_MARK bytes or STREAM_BUDGET of time at once
#     a Task      push() between two turns; it awaits a future while more than STREAM_MARK bytes wait
#     a thread    push_from_thread() through the mailbox; it waits on an Event in the same case
#
# http.wants_room says that the producer waits: the exchange, once all is sent, has exchange_call come back here
# (stream_room). So a peer that does not read stops its producer, and the rate limit of answers judges it meanwhile.
#
# Framing: a promised length; else chunked (RFC 9112 7.1); for HTTP/1.0 the end of the connection. A body that fails
# midway, or is not as long as promised, never looks complete: the connection is reset where its end would mean the
# body's, and otherwise closed without the last chunk.

cdef enum:
    STREAM_MARK = 65536         # bytes that wait for one peer before its producer is paused
    STREAM_BUDGET = 1000000     # ns that one iterator may run in one turn
    ANSWER_STREAMS = 2

cdef enum Framing:
    FRAME_LENGTH = 1
    FRAME_CHUNKED = 2
    FRAME_CLOSE = 3

cdef const char* CHUNKED_LINE = "Transfer-Encoding: chunked\r\n"
cdef const char* LAST_CHUNK = "0\r\n\r\n"


cdef Framing stream_framing(Http1* http, Producer producer) noexcept:
    if producer.length >= 0:
        return FRAME_LENGTH
    return FRAME_CHUNKED if http.head.minor_version > 0 else FRAME_CLOSE


cdef int stream_begin(Loop loop, Connection c, Request request, Response response) except? -1:
    """Queues the head and the first items of a streamed Response: ANSWER_STREAMS: what becomes of the exchange is this
    part's affair; 1: it was an answer to HEAD, and that was all of it; WEB_FAILED without memory."""
    cdef Http1* http = c.http
    cdef Producer producer = response._producer
    cdef Framing framing = stream_framing(http, producer)
    cdef Pending pending
    if producer.state < PRODUCER_TAKEN:
        producer.step(PRODUCER_TAKEN)
    if answer_head(loop, c, response, framing, producer.length) < 0:
        return WEB_FAILED
    if http.head.method == METHOD_HEAD:
        if not producer.is_async:         # an async one is closed by its Task
            producer.close()
        return 1
    if http.pending == NULL:
        pending = pending_pulling(loop, c, request)
    else:
        pending = <Pending>http.pending
    pending_step(pending, PENDING_STREAMING)
    pending.producer = producer
    pending.framing = framing
    pending.left = producer.length
    http.wants_room = pending.pulls
    if producer.is_events and events_begin(loop, c, pending) > 0:
        return ANSWER_STREAMS
    if not pending.pulls:
        return stream_drain(loop, c, pending)
    return stream_pull(loop, c, pending)


cdef int stream_room(Loop loop, Connection c) except -1:
    """All that was queued is sent: the producer goes on."""
    cdef Pending pending = <Pending>c.http.pending
    c.http.wants_room = False
    if pending.pulls:
        stream_pull(loop, c, pending)
    else:
        stream_drain(loop, c, pending)
    return 1


# -- producers -------------------------------------------------------------------------------------------------------

cdef int stream_pull(Loop loop, Connection c, Pending pending) except? -1:
    """The loop is the producer: as many items as there is room, and time, for. Always ANSWER_STREAMS."""
    cdef Http1* http = c.http
    cdef int64_t until = web_monotonic_ns() + STREAM_BUDGET
    cdef int64_t called_at = web_coarse_ns()
    cdef Endpoint endpoint = pending.endpoint
    cdef bytes item
    if not loop.in_context:
        context_enter(loop)
    try:
        while True:
            item = pending.producer.next_item()
            if item is None:
                return stream_end(loop, c, pending)
            if stream_item(loop, c, pending, item) < 0:
                return stream_break(loop, c, pending, pending.error)
            if output_held(&http.out) >= STREAM_MARK or web_monotonic_ns() > until:
                http.wants_room = True
                return ANSWER_STREAMS
    except (KeyboardInterrupt, SystemExit):
        stream_break(loop, c, pending, None)
        raise
    except BaseException:
        return stream_break(loop, c, pending, _current_exception())
    finally:
        if web_context_len(loop.context) > 0:
            context_leave(loop)
        note_time(loop, endpoint, called_at)


cdef int stream_drain(Loop loop, Connection c, Pending pending) except? -1:
    """A Task or a thread is the producer: queues what it has pushed, as far as there is room. Always
    ANSWER_STREAMS."""
    cdef Http1* http = c.http
    cdef bytes item
    while pending.items and output_held(&http.out) < STREAM_MARK:
        item = pending.items.popleft()
        pending.queued -= len(item)
        if stream_item(loop, c, pending, item) < 0:
            return stream_break(loop, c, pending, pending.error)
    if pending.items:
        http.wants_room = True
    elif pending.ended and pending.error is None:
        return stream_end(loop, c, pending)
    elif pending.ended:
        return stream_break(loop, c, pending, pending.error)
    if pending.queued < STREAM_MARK:
        if output_held(&http.out) < STREAM_MARK:
            pending.let_go_on()
        else:
            http.wants_room = True
    return ANSWER_STREAMS


# -- framing ---------------------------------------------------------------------------------------------------------

cdef int stream_item(Loop loop, Connection c, Pending pending, bytes item) except -2:
    """Queues one item, which is not empty: 1, or WEB_FAILED without memory, or past the promised length."""
    cdef Http1* http = c.http
    cdef size_t length = PyBytes_GET_SIZE(item)
    cdef bint copied = length <= COPIED_BODY
    cdef bint is_chunk = pending.framing == FRAME_CHUNKED
    cdef char* start
    cdef char* p
    cdef Segment* segment
    if pending.framing == FRAME_LENGTH:
        pending.left -= length
        if pending.left < 0:
            pending.error = _too_many_bytes()
            return WEB_FAILED
    if is_chunk or copied:
        start = p = output_reserve(loop, &http.out, 24 + (length if copied else 0))
        if start == NULL:
            return WEB_FAILED
        if is_chunk:
            p += http1_hex(p, length)
            p = put(p, END_LINE, 2)
        if copied:
            p = put(p, PyBytes_AS_STRING(item), length)
            if is_chunk:
                p = put(p, END_LINE, 2)
        output_commit(loop, &http.out, p - start)
    if copied:
        return 1
    segment = segment_take(loop, &http.out)
    if segment == NULL:
        return WEB_FAILED
    segment.data = PyBytes_AS_STRING(item)
    segment.left = length
    segment.owner = <PyObject*>item
    Py_IncRef(segment.owner)
    return output_static(loop, &http.out, END_LINE, 2) if is_chunk else 1


cdef size_t http1_hex(char* out, size_t number) noexcept nogil:
    """A chunk's size (RFC 9112 7.1): how many digits were written, 16 at most."""
    cdef size_t digits = 1, i
    while number >> (4 * digits) != 0 and digits < 16:
        digits += 1
    for i in range(digits):
        out[i] = b"0123456789abcdef"[(number >> (4 * (digits - 1 - i))) & 15]
    return digits


cdef int stream_end(Loop loop, Connection c, Pending pending) except? -1:
    """The body is whole, as far as the producer knows."""
    cdef Http1* http = c.http
    if pending.framing == FRAME_LENGTH and pending.left > 0:
        return stream_break(loop, c, pending, _too_few_bytes(pending.left))
    if pending.framing == FRAME_CHUNKED and output_static(loop, &http.out, LAST_CHUNK, 5) < 0:
        return stream_break(loop, c, pending, None)
    http.wants_room = False
    pending_step(pending, PENDING_OVER)
    pending_release(http)
    request_free(http)
    stream_step(loop, http, STREAM_HEAD)
    loop_queue_answered(loop, c)
    return ANSWER_STREAMS


cdef int stream_break(Loop loop, Connection c, Pending pending, object error) except? -1:
    """The body cannot be whole: the connection ends so that nobody takes it for whole."""
    if error is not None:
        loop.dispatcher._tell(pending.request, error, f"in the middle of {pending.what}")
    pending_step(pending, PENDING_OVER)
    pending_release(c.http)
    pending.let_go_on()
    if pending.framing == FRAME_CLOSE:
        web_reset_on_close(c.fd)
    take_out(loop, c, CLOSE_HANDLER)
    if pending.pulls:
        close_producer(pending.producer)
    return ANSWER_STREAMS


cdef void close_producer(Producer producer) noexcept:
    """Ends what produces a plain stream; an async one is ended by its Task."""
    if producer is None or producer.is_async or producer.state == PRODUCER_CLOSED:
        return
    try:
        producer.close()
    except BaseException:
        tell_unraisable(_current_exception())
