# WebSocket: a connection after its 101 (RFC 6455): the protocol machine, and the object that applications hold.
#
# States of Socket.state; socket_step is the one function that changes them:
#
#     OPENING  the route has accepted; the 101 is not queued yet
#     OPEN     messages go both ways
#     CLOSING  our close frame is queued; the peer's is awaited, until a deadline (7.1.3)
#     OVER     nothing more is sent or received: the transport is ending, or gone
#
# Ways of a message. In: socket_read receives into the turn's arena and feeds the frame reader (no GIL); a message that
# is whole waits in Socket.message while the connection stands in the call list; socket_call (GIL) makes an object of
# it, gives it to the application, and goes on with the input. Until then the input stays where it is, though others
# send to the connection: the message may lie in it (exchange_settle). Control frames never need the GIL. Out: frames
# are gathered in Socket.out, from wherever the application is; socket_flush moves them into the connection's queue
# (http.out) when that is empty, so what one turn, or one step of a Task, has to say leaves in one system call.
#
# Ownership: the WebSocket owns its Socket, with zlib's states and both buffers, and frees them in __dealloc__. Http1
# owns a reference to it (socket_object; socket points into it) until the connection is taken out; then, with the GIL,
# socket_abandon tells the application. A WebSocket that outlives its connection is a value: OVER, with a close code.
#
# Threads: all of it belongs to the loop's thread. What another thread sends goes through the loop's mailbox.

cdef enum SocketState:
    SOCKET_OPENING = 1
    SOCKET_OPEN = 2
    SOCKET_CLOSING = 3
    SOCKET_OVER = 4

cdef unsigned char[5] SOCKET_STEPS
SOCKET_STEPS[:] = [
    0,
    (1 << SOCKET_OPEN) | (1 << SOCKET_OVER),        # OPENING
    (1 << SOCKET_CLOSING) | (1 << SOCKET_OVER),     # OPEN
    (1 << SOCKET_OVER),                             # CLOSING
    0,                                              # OVER
]

cdef enum:
    SOCKET_MARK = 65536         # bytes that wait for one peer before awaiting send() waits; and for the application
    SOCKET_ARRIVED = 64         # messages that wait for it before nothing more is read
    SOCKET_BUDGET = 256         # messages that one connection may have delivered in one turn
    SOCKET_PINGS = 3            # pings without a sign of life until it is over
    SOCKET_DEFLATED = 512       # bytes from which a message is compressed, where that was agreed

cdef struct Socket:
    unsigned char state         # SocketState
    unsigned char whole         # a message is whole and waits for the application
    unsigned char paused        # the application has enough to do: nothing more is read
    unsigned char wants_room    # it awaits that less is queued
    unsigned char heard         # bytes came since the last look (DEADLINE_PING)
    unsigned char pings         # without an answer
    unsigned char deflates      # permessage-deflate was agreed
    WsReader reader
    WsMessage message
    WsInflater inflater
    WsDeflater deflater
    WsBuffer out                # whole frames
    unsigned char said          # a close frame was sent or received: code and reason are those
    unsigned short code         # WS_NO_CLOSE until then
    unsigned char reason_length
    char[123] reason            # WS_REASON_MAX


cdef int socket_step(Socket* s, SocketState to) noexcept nogil:
    """Changes the state: 1, or WEB_FAILED where the table does not allow it."""
    if not SOCKET_STEPS[s.state] & (1 << <int>to):
        return illegal_step()
    s.state = to
    return 1


# -- frames out (no GIL) ---------------------------------------------------------------------------------------------

cdef int socket_put(Socket* s, unsigned char opcode, bint rsv1, const char* data, size_t length) noexcept nogil:
    """Gathers one frame: 1, or WEB_FAILED without memory, and nothing has changed."""
    if ws_buffer_reserve(&s.out, WS_HEAD_MAX + length) < 0:
        return WEB_FAILED
    s.out.size += ws_write_head(s.out.data + s.out.size, opcode, 1, rsv1, length)
    memcpy(s.out.data + s.out.size, data, length)
    s.out.size += length
    return 1


cdef int socket_put_close(Socket* s, unsigned short code, const char* reason, size_t length) noexcept nogil:
    """Gathers the close frame, which is the last one (5.5.1): 1, or WEB_FAILED without memory."""
    cdef unsigned char[127] frame
    cdef Py_ssize_t size
    if length > WS_REASON_MAX:
        length = 0
    size = ws_write_close(frame, code, <const unsigned char*>reason, length)
    if size < 0 or ws_buffer_reserve(&s.out, size) < 0:
        return WEB_FAILED
    memcpy(s.out.data + s.out.size, frame, size)
    s.out.size += size
    return 1


cdef void socket_note_close(Socket* s, unsigned short code, const char* reason, size_t length) noexcept nogil:
    """What the application will be told; the first close frame counts."""
    if s.said:
        return
    s.said = True
    s.code = code
    s.reason_length = <unsigned char>(length if length <= WS_REASON_MAX else 0)
    memcpy(s.reason, reason, s.reason_length)


cdef int socket_close(Socket* s, unsigned short code, const char* reason, size_t length) noexcept nogil:
    """OPEN -> CLOSING: 1, or WEB_FAILED without memory."""
    if socket_put_close(s, code, reason, length) < 0:
        return WEB_FAILED
    socket_note_close(s, code, reason, length)
    s.paused = False            # nobody takes messages any more: the peer's close frame stands behind them
    return socket_step(s, SOCKET_CLOSING)


cdef int socket_flush(Loop loop, Connection c) noexcept nogil:
    """Moves the gathered frames into the connection's queue, if that is empty: 1, or WEB_FAILED without memory."""
    if c.http.socket.out.size == 0 or c.http.out.first != NULL:
        return 1
    return socket_queue(loop, c.http.socket, &c.http.out)


cdef int socket_queue(Loop loop, Socket* s, Output* out) noexcept nogil:
    """Appends the gathered frames to a queue: 1, or WEB_FAILED without memory."""
    cdef Segment* segment = segment_take(loop, out)
    if segment == NULL:
        return WEB_FAILED
    segment.heap = <char*>s.out.data
    segment.data = segment.heap
    segment.left = s.out.size
    s.out.data = NULL
    s.out.size = s.out.capacity = 0
    return 1


cdef inline size_t socket_held(Connection c) noexcept nogil:
    """Bytes that wait for the peer."""
    return output_held(&c.http.out) + c.http.socket.out.size


cdef inline size_t socket_mark(Loop loop) noexcept nogil:
    """Bytes from which awaiting send() waits: whoever awaits never comes past Limits.out_buffer."""
    return min(<size_t>SOCKET_MARK, loop.limits.out_buffer)


# -- the connection's share of a turn (no GIL) -----------------------------------------------------------------------

cdef void socket_read(Loop loop, Connection c) noexcept nogil:
    """Reads and parses until a message is whole, nothing is left, or the turn's share is used up."""
    cdef Http1* http = c.http
    cdef Socket* s = http.socket
    cdef size_t budget = READ_BUDGET
    cdef Py_ssize_t n
    if loop.stopping and s.state == SOCKET_OPEN and socket_close(s, WS_GOING_AWAY, "the server stops", 16) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return
    if s.paused and c.events & WEB_HANGUP:      # the poller would tell it for ever
        take_out(loop, c, CLOSE_PEER_LEFT)
        return
    while not s.paused and not s.whole and http.writing == WRITE_OPEN:
        if not socket_parse(loop, c):
            return
        if s.whole or http.writing == WRITE_LAST:
            break
        if budget == 0:
            loop_queue_ready(loop, c)
            break
        if socket_gathers(http, s):
            n = socket_gather(loop, c, budget)
            if c.marks & MARK_GONE:
                return
        else:
            n = exchange_receive(loop, c, budget)
        if n == WEB_WANT_READ or n == WEB_WANT_WRITE:
            break
        if n == BUDGET_USED:
            loop_queue_ready(loop, c)
            break
        if n == WEB_FAILED:
            take_out(loop, c, c.failure_reason())
            return
        if n == WEB_END:
            take_out(loop, c, CLOSE_PEER_LEFT if s.state == SOCKET_OPEN else CLOSE_DONE)
            return
        s.heard = True
        budget = budget_after(c, budget, n)
    if s.whole:
        loop_queue_call(loop, c)
    exchange_write(loop, c)


cdef bint socket_gathers(Http1* http, Socket* s) noexcept nogil:
    """Predicate: much of a frame is still to come, of a message that gathers as it is: it need not pass the arena."""
    return (s.reader.phase == WS_PAYLOAD and s.reader.frame < WS_OP_CLOSE and s.reader.left >= READ_CHUNK
            and not s.reader.compressed and s.reader.begun and http.in_at == http.in_end)


cdef Py_ssize_t socket_gather(Loop loop, Connection c, size_t budget) noexcept nogil:
    """One read of the transport into the message itself: bytes read, or what the transport said. Room is made for what
    has come once more, and for no more than the frame has: what a peer only announces reserves little."""
    cdef Socket* s = c.http.socket
    cdef WsBuffer* into = &s.message.buffer
    cdef size_t room = max(into.size, <size_t>READ_CHUNK)
    cdef Py_ssize_t n
    cdef WsEvent event
    cdef int found
    if room > s.reader.left:
        room = <size_t>s.reader.left
    if ws_buffer_reserve(into, room) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return WEB_FAILED
    n = c.recv_some(<char*>into.data + into.size, min(room, budget))
    if n > 0:
        loop.row.counts.bytes_received += n
        found = ws_feed(&s.reader, into.data + into.size, n, &event, &loop.limits.websocket)
        socket_found(loop, c, found, &event)
    return n


cdef bint socket_parse(Loop loop, Connection c) noexcept nogil:
    """Feeds the input to the frame reader, up to the end of a message: False where the connection was taken out."""
    cdef Http1* http = c.http
    cdef Socket* s = http.socket
    cdef WsEvent event
    cdef int found
    while http.in_at < http.in_end and not s.whole and http.writing == WRITE_OPEN:
        found = ws_feed(&s.reader, <unsigned char*>http.in_data + http.in_at, http.in_end - http.in_at, &event,
                        &loop.limits.websocket)
        http.in_at += event.consumed
        if not socket_found(loop, c, found, &event):
            return False
    return True


cdef bint socket_found(Loop loop, Connection c, int found, const WsEvent* event) noexcept nogil:
    """What becomes of what the frame reader found: False where the connection was taken out."""
    cdef Socket* s = c.http.socket
    if found == WS_DATA:
        found = ws_message_take(&s.message, &s.reader, &s.inflater, event, &loop.limits.websocket)
        if found == WS_DONE and s.state == SOCKET_OPEN:
            s.whole = True
        elif found == WS_DONE:          # we have said that we are closing: it has come too late
            ws_message_done(&s.message)
        elif found == WS_NO_MEMORY:
            take_out(loop, c, CLOSE_NO_MEMORY)
            return False
    if found == WS_FAULT:
        return socket_fail(loop, c, s.reader.code, s.reader.fault) > 0
    if found == WS_PING and s.state == SOCKET_OPEN:
        # 5.5.3: a peer that sends pings and does not read gets no more of them answered
        if socket_held(c) < loop.limits.out_buffer \
                and socket_put(s, WS_OP_PONG, 0, <const char*>event.data, event.length) < 0:
            take_out(loop, c, CLOSE_NO_MEMORY)
            return False
    elif found == WS_CLOSE:
        return socket_closed_by_peer(loop, c, event) > 0
    return True


cdef int socket_fail(Loop loop, Connection c, unsigned short code, const char* fault) noexcept nogil:
    """What came breaks the protocol or a limit (7.1.7): a close frame says so, and the connection ends. 1, or
    WEB_FAILED: it was taken out."""
    cdef Socket* s = c.http.socket
    if s.state < SOCKET_CLOSING and socket_put_close(s, code, fault, strlen(fault)) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return WEB_FAILED
    socket_note_close(s, code, fault, strlen(fault))
    c.reason = CLOSE_WEBSOCKET
    return socket_end(c)


cdef int socket_closed_by_peer(Loop loop, Connection c, const WsEvent* event) noexcept nogil:
    """5.5.1: a close frame is answered with one, if none was sent. The server is the first to end the TCP connection
    (7.1.1). 1, or WEB_FAILED: it was taken out."""
    cdef Socket* s = c.http.socket
    if s.state == SOCKET_OPEN and socket_put_close(s, event.code, "", 0) < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
        return WEB_FAILED
    socket_note_close(s, event.code, <const char*>event.data, event.length)
    return socket_end(c)


cdef int socket_end(Connection c) noexcept nogil:
    """What is gathered is the last that is sent."""
    c.http.writing = WRITE_LAST
    return socket_step(c.http.socket, SOCKET_OVER)


cdef void socket_written(Loop loop, Connection c) noexcept nogil:
    """All that was queued is sent."""
    cdef Http1* http = c.http
    cdef Socket* s = http.socket
    if http.writing == WRITE_LAST:
        transport_finish(loop, c, <CloseReason>c.reason if c.reason != CLOSE_NONE else CLOSE_DONE)
        return
    if s.wants_room:
        loop_queue_call(loop, c)
    if not s.paused and not s.whole and (http.in_at < http.in_end or c.has_pending() > 0):
        loop_queue_ready(loop, c)


cdef void socket_settle(Loop loop, Connection c) noexcept nogil:
    """The end of a connection's turn: its deadline, and what the poller watches for."""
    cdef Http1* http = c.http
    cdef Socket* s = http.socket
    cdef unsigned char want = c.write_wants
    if loop.stopping and s.state == SOCKET_OPEN:
        loop_queue_ready(loop, c)       # it opened, or was being called, when the loop was asked to stop
    if http.out.first != NULL:      # that of a close begins when its frame, the last in the queue, is sent
        if not c.deadline.is_set or c.deadline.kind != DEADLINE_RATE:
            rate_restart(loop, c)
            deadline_set(&loop.deadlines, &c.deadline, DEADLINE_RATE, loop.now)
    elif s.state > SOCKET_OPEN:
        if not c.deadline.is_set or c.deadline.kind != DEADLINE_LINGER:
            deadline_set(&loop.deadlines, &c.deadline, DEADLINE_LINGER, loop.now)
    elif not c.deadline.is_set or c.deadline.kind != DEADLINE_PING:
        deadline_set(&loop.deadlines, &c.deadline, DEADLINE_PING, loop.now)
    if http.out.first != NULL and want == 0:
        want = WEB_WRITE
    if s.paused or http.writing == WRITE_LAST:
        want |= WEB_HANGUP
    else:
        want |= c.read_wants if c.read_wants else <unsigned char>WEB_READ
    loop_watch(loop, c, want)


cdef void socket_look(Loop loop, Connection c) noexcept nogil:
    """DEADLINE_PING: a peer that was silent since the look before is asked whether it is there (5.5.2)."""
    cdef Socket* s = c.http.socket
    if s.state != SOCKET_OPEN or s.heard or s.paused:
        s.heard = False
        s.pings = 0
    elif s.pings >= SOCKET_PINGS:
        take_out(loop, c, CLOSE_WEBSOCKET_SILENT)
        return
    else:
        s.pings += 1
        if socket_put(s, WS_OP_PING, 0, "", 0) < 0:
            take_out(loop, c, CLOSE_NO_MEMORY)
            return
        exchange_write(loop, c)
    settle(loop, c)


# -- the application's side (GIL) ------------------------------------------------------------------------------------

cdef int socket_begin(Loop loop, Connection c, Request request, Response response) except? -1:
    """Queues the 101, and the connection speaks WebSocket: ANSWER_STREAMS, or WEB_FAILED without memory."""
    cdef Http1* http = c.http
    cdef WebSocket ws = response._socket
    cdef char* start
    cdef char* p
    if ws.s.state != SOCKET_OPENING or ws.connection is not None:
        raise RuntimeError("the answer of a WebSocket's route is for one connection")
    request.detach()
    request.forget()
    start = p = answer_start(loop, http, response, 0)
    if start == NULL:
        return WEB_FAILED
    p = response.head_write(p)
    p = put(p, loop.stamp, loop.stamp_len)
    p = put(p, END_LINE, 2)
    output_commit(loop, &http.out, p - start)
    loop.row.counts.responses[1] += 1
    stream_step(loop, http, STREAM_SOCKET)
    deadline_clear(&loop.deadlines, &c.deadline)
    request_free_bytes(http)
    ws.loop = loop
    ws.connection = c
    Py_IncRef(<PyObject*>ws)
    http.socket_object = <PyObject*>ws
    http.socket = &ws.s
    socket_step(&ws.s, SOCKET_OPEN)
    loop.sockets.add(ws)
    ws.begin()
    return ANSWER_STREAMS


cdef int socket_call(Loop loop, Connection c) except -1:
    """Gives messages to the application, and room to what awaits it."""
    try:
        return socket_deliver(loop, c)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:           # no memory, say: no reason to stop serving others
        tell_unraisable(_current_exception())
        take_out(loop, c, CLOSE_HANDLER)
    return 1


cdef int socket_deliver(Loop loop, Connection c) except -1:
    cdef Http1* http = c.http
    cdef WebSocket ws = <WebSocket>http.socket_object
    cdef Socket* s = http.socket
    cdef int delivered = 0
    cdef int64_t called_at = web_coarse_ns()
    cdef bytes data
    if s.wants_room and socket_held(c) < socket_mark(loop):
        ws.give_room()
    while s.whole and s.state == SOCKET_OPEN:
        s.whole = False
        if s.message.opcode == WS_OP_TEXT:
            text = PyUnicode_DecodeUTF8(<const char*>s.message.data, s.message.length, NULL)
            ws_message_done(&s.message)
            ws.take_text(text)
        else:
            data = PyBytes_FromStringAndSize(<const char*>s.message.data, s.message.length)
            ws_message_done(&s.message)
            ws.take_bytes(data)
        delivered += 1
        if c.marks & MARK_GONE or c.http == NULL:
            return 1
        if s.paused or delivered == SOCKET_BUDGET:
            break
        if not socket_parse(loop, c):
            return 1
    note_time(loop, ws.endpoint, called_at)
    if s.whole:                     # somebody has closed it since the message came: it has come too late
        s.whole = False
        ws_message_done(&s.message)
    if not s.paused and (http.in_at < http.in_end or c.has_pending() > 0):
        loop_queue_ready(loop, c)
    return 1


cdef void socket_abandon(Loop loop, WebSocket ws) noexcept:
    """Its connection was taken out (GIL). What must go through leaves by the next turn."""
    try:
        ws.end()
    except (KeyboardInterrupt, SystemExit):
        if loop.raised is None:
            loop.raised = _current_exception()
        if loop.is_open:
            web_poller_wake(&loop.poller)
    except BaseException:
        tell_unraisable(_current_exception())


cdef void socket_release(Http1* http) noexcept:
    """Gives up the connection's reference."""
    cdef PyObject* ws = http.socket_object
    http.socket = NULL
    http.socket_object = NULL
    Py_DecRef(ws)
