# Event streams (WHATWG HTML, "Server-sent events"): what they need beside other streamed answers. Each item of their
# Producer is whole events, so between two items is always between two events.
#
# Keep-alive. When nothing was sent for Producer.keep_alive the loop sends a comment, without the GIL: proxies see that
# the connection lives, and a peer that has gone is found (its RST ends the exchange, and the producer with it). The
# connection's Deadline is of kind DEADLINE_QUIET while all that was queued is sent, and DEADLINE_RATE while it is not,
# so a comment is never queued behind what the peer does not take. A kind has one duration: it is the shortest
# keep_alive that was seen, and streams that may be quiet for longer are looked at more often than they need. Times are
# rounded down to 1/16 of it: however many streams are idle, they are looked at in 16 turns.
#
# The end. A server that stops, or a worker that was replaced, ends these streams at once, whole: that is what makes
# their clients connect anew, elsewhere. One that begins later than that ends behind its head.

cdef enum:
    QUIET_STEPS = 16

cdef const char* COMMENT = ": \n\n"
cdef const char* COMMENT_CHUNK = "4\r\n: \n\n\r\n"


def event_stream(items, headers, double keep_alive):
    """A streamed Response of text/event-stream, with what this part does for one. ``items``: each is whole events;
    ``keep_alive``: seconds without one after which a comment is sent; 0: never."""
    cdef Response response = _stream_response(items, "text/event-stream", 200, headers, -1)
    response._producer.is_events = True
    response._producer.keep_alive = <int64_t>(keep_alive * 1e9)
    return response


cdef int events_begin(Loop loop, Connection c, Pending pending) except -1:
    """The head is queued: ANSWER_STREAMS where that is the end already, else 0."""
    cdef Http1* http = c.http
    cdef int64_t keep_alive = pending.producer.keep_alive
    cdef int64_t duration = loop.deadlines.duration[DEADLINE_QUIET]
    if loop.stopping or loop.has_left:
        return events_end(loop, c, pending)
    http.keep_alive = keep_alive
    if keep_alive > 0 and (duration == 0 or keep_alive < duration):
        deadline_shorten(&loop.deadlines, DEADLINE_QUIET, keep_alive, loop.now)
    return 0


# -- keep-alive (no GIL) ---------------------------------------------------------------------------------------------

@cython.cdivision(True)             # the divisor is never 0: no check, which would need the GIL
cdef inline int64_t quiet_from(Loop loop) noexcept nogil:
    """The moment, rounded, from which a Deadline that is set now runs."""
    return loop.now - loop.now % (loop.deadlines.duration[DEADLINE_QUIET] // QUIET_STEPS + 1)


cdef void events_settle(Loop loop, Connection c) noexcept nogil:
    """All that was queued is sent. Where that was something, the time without a word begins anew."""
    cdef Http1* http = c.http
    if c.deadline.is_set and c.deadline.kind == DEADLINE_QUIET and http.moved == http.quiet_moved:
        return
    http.quiet_since = loop.now
    http.quiet_moved = http.moved
    deadline_set(&loop.deadlines, &c.deadline, DEADLINE_QUIET, quiet_from(loop))


cdef void events_look(Loop loop, Connection c) noexcept nogil:
    """Sends a comment, unless the next look comes in time for it."""
    cdef Http1* http = c.http
    cdef bint is_chunk = http.head.minor_version > 0
    if quiet_from(loop) + loop.deadlines.duration[DEADLINE_QUIET] <= http.quiet_since + http.keep_alive:
        deadline_set(&loop.deadlines, &c.deadline, DEADLINE_QUIET, quiet_from(loop))
        return
    if output_static(loop, &http.out, COMMENT_CHUNK if is_chunk else COMMENT, 9 if is_chunk else 4) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return
    exchange_write(loop, c)
    settle(loop, c)


# -- the end ---------------------------------------------------------------------------------------------------------

cdef int events_end_all(Loop loop) except -1:
    """Ends all event streams."""
    cdef Connection c
    cdef Pending pending
    cdef list found = []
    cdef void* item = loop.all_first
    while item != NULL:
        c = <Connection>item
        if c.http != NULL and c.http.pending != NULL:
            pending = <Pending>c.http.pending
            if pending.state == PENDING_STREAMING and pending.producer.is_events:
                found.append(c)
        item = c.later
    for c in found:         # ending one may run code of the application
        if c.http != NULL and c.http.pending != NULL:
            events_end(loop, c, <Pending>c.http.pending)
    return 1


cdef int events_end(Loop loop, Connection c, Pending pending) except -1:
    """What was pushed is sent, then the end of the body, then that of the connection; what produces it is ended as if
    its client had left. Always ANSWER_STREAMS."""
    cdef Http1* http = c.http
    while pending.items:
        if stream_item(loop, c, pending, pending.items.popleft()) < 0:
            return stream_break(loop, c, pending, pending.error)
    if pending.framing == FRAME_CHUNKED and output_static(loop, &http.out, LAST_CHUNK, 5) < 0:
        return stream_break(loop, c, pending, None)
    http.writing = WRITE_LAST
    c.reason = CLOSE_STOPPED
    pending_release(http)
    request_free(http)
    stream_step(loop, http, STREAM_HEAD)
    loop_queue_answered(loop, c)
    pending_abandon(pending)
    return ANSWER_STREAMS
