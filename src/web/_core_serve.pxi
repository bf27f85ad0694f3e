# One connection's share of a turn, named after the state of its transport, and how a connection ends in good order.
#
#     PROXY -> serve_proxy        PEEK, HANDSHAKING -> serve_handshaking
#     OPEN -> serve_open          CLOSING -> serve_closing
#     LINGERING -> serve_lingering                CLOSED: nothing is served; take_out made it so
#
# All of it runs without the GIL. serve() is called for what the poller or the loop's ready list named; settle() ends a
# connection's turn: it leaves each connection watched for exactly what it waits for.

cdef void serve_event(Loop loop, Connection c, unsigned int what) noexcept nogil:
    c.events |= <unsigned char>what
    loop_queue_ready(loop, c)


cdef void serve(Loop loop, Connection c, int64_t handshakes_until) noexcept nogil:
    if c.transport == TRANSPORT_OPEN:
        serve_open(loop, c)
    elif c.transport == TRANSPORT_PEEK or c.transport == TRANSPORT_HANDSHAKING:
        serve_handshaking(loop, c, handshakes_until)
    elif c.transport == TRANSPORT_CLOSING:
        serve_closing(loop, c)
    elif c.transport == TRANSPORT_LINGERING:
        serve_lingering(loop, c)
    elif c.transport == TRANSPORT_PROXY:
        serve_proxy(loop, c, handshakes_until)
    if not c.marks & (MARK_GONE | MARK_CALL):
        settle(loop, c)
    c.events = 0


cdef void settle(Loop loop, Connection c) noexcept nogil:
    if c.marks & MARK_GONE:
        return
    if c.transport == TRANSPORT_OPEN:
        if c.write_wants == 0 and c.flush_step() == WEB_FAILED:
            take_out(loop, c, c.failure_reason())
            return
        exchange_settle(loop, c)
    elif c.transport == TRANSPORT_LINGERING:
        loop_watch(loop, c, WEB_READ)
    else:
        loop_watch(loop, c, c.write_wants if c.write_wants else WEB_READ)


cdef void serve_proxy(Loop loop, Connection c, int64_t handshakes_until) noexcept nogil:
    """PROXY: once the header is whole, what follows it may be here already. From then on the connection counts as its
    client's (_core_sources); under TLS the handshake still has to end in the time that began at accept."""
    cdef int result = proxy_step(c)
    if result == WEB_WANT_READ:
        return
    if result < 0:
        take_out(loop, c, CLOSE_PROXY_HEADER)
        return
    unfinished_end(&loop.sources, &c.unfinished)
    loop_count_unfinished(loop, c)
    if c.transport == TRANSPORT_OPEN:
        deadline_set(&loop.deadlines, &c.deadline, DEADLINE_HEAD, loop.now)
        serve_open(loop, c)
    else:
        serve_handshaking(loop, c, handshakes_until)


cdef void serve_handshaking(Loop loop, Connection c, int64_t until) noexcept nogil:
    """PEEK and HANDSHAKING: one step of SSL_accept, only because the socket became ready."""
    cdef int result
    if until < web_monotonic_ns():
        loop_queue_ready(loop, c)
        return
    result = c.handshake_step()
    if c.hello_seen:
        unfinished_advance(&c.unfinished)
    if result == TLS_PLAINTEXT:
        answer_plaintext(loop, c)
        return
    if result == WEB_WANT_READ or result == WEB_WANT_WRITE:
        return
    if result < 0:
        take_out(loop, c, CLOSE_HANDSHAKE_FAILED)
        return
    loop.row.counts.handshakes += 1
    loop.row.counts.handshakes_resumed += (<Tls>c).session_resumed
    deadline_set(&loop.deadlines, &c.deadline, DEADLINE_HEAD, loop.now)
    serve_open(loop, c)         # the first request often comes with the last flight of the handshake


cdef void serve_open(Loop loop, Connection c) noexcept nogil:
    cdef bint blocked = c.http != NULL and (c.http.out.first != NULL
                                            or (c.http.socket != NULL and c.http.socket.out.size > 0))
    if blocked or c.write_wants:
        if c.events & WEB_HANGUP:
            take_out(loop, c, CLOSE_PEER_LEFT)
            return
        if blocked:
            exchange_write(loop, c)
        elif c.flush_step() == WEB_FAILED:
            take_out(loop, c, c.failure_reason())
        if c.marks & MARK_GONE or c.transport != TRANSPORT_OPEN:
            return
    if c.http != NULL and c.http.socket != NULL:
        socket_read(loop, c)
    elif c.http == NULL or c.http.stream != STREAM_HANDLER:
        exchange_read(loop, c)
    elif inflow_reads(c.http):
        inflow_read(loop, c)
    elif not blocked:
        exchange_overhear(loop, c)


cdef void serve_closing(Loop loop, Connection c) noexcept nogil:
    """close_notify (TLS) and FIN: then what the peer still sends is awaited, so that no reset overtakes our answer."""
    cdef int result = c.shutdown_step()
    if result == WEB_WANT_READ or result == WEB_WANT_WRITE:
        return
    if result < 0 or transport_step(c, TRANSPORT_LINGERING) < 0:
        take_out(loop, c, <CloseReason>c.reason)
        return
    serve_lingering(loop, c)


cdef void serve_lingering(Loop loop, Connection c) noexcept nogil:
    """Reads raw and throws away, until the peer ends or the deadline comes (RFC 9112 9.6)."""
    cdef char* scratch = loop.in_arena + loop.in_top
    cdef size_t room = IN_ARENA - loop.in_top
    cdef Py_ssize_t n
    cdef size_t budget = READ_BUDGET
    if room < 4096:
        loop_queue_ready(loop, c)
        return
    while budget > 0:           # level-triggered: what is left makes it ready again
        n = web_recv(c.fd, scratch, room if room < budget else budget)
        if n == WEB_WANT_READ and not loop.stopping:    # what was sent is the kernel's to deliver
            return
        if n <= 0:
            take_out(loop, c, <CloseReason>c.reason)
            return
        budget -= n


cdef void serve_linger_end(Loop loop, Connection c) noexcept nogil:
    """The peer did not end in time; what had made us end comes first among the reasons."""
    loop.row.counts.timeouts[<int>TIMEOUT_LINGER] += 1
    take_out(loop, c, CLOSE_LINGER_TIMEOUT if c.reason <= CLOSE_DONE else <CloseReason>c.reason)


cdef void answer_plaintext(Loop loop, Connection c) noexcept nogil:
    """Plain HTTP on a TLS port gets one readable answer in plain text. Legal only in PEEK: no SSL exists, and no byte
    of an application was ever meant for this connection. Anything else that is no ClientHello is closed without a
    word."""
    cdef char first[1]
    cdef const char* text = PLAINTEXT_ANSWER
    if c.transport != TRANSPORT_PEEK:
        illegal_step()
        take_out(loop, c, CLOSE_ILLEGAL_STEP)
        return
    c.reason = CLOSE_PLAIN_ON_TLS
    if web_peek(c.fd, first, 1) <= 0 or not is_letter(first[0]):
        take_out(loop, c, CLOSE_PLAIN_ON_TLS)
        return
    unfinished_end(&loop.sources, &c.unfinished)
    # into an empty socket buffer: it fits, or the peer does without
    if web_send(c.fd, text, strlen(text), 0) <= 0 or c_shutdown(c.fd, SHUT_WR) < 0 \
            or transport_step(c, TRANSPORT_LINGERING) < 0:
        take_out(loop, c, CLOSE_PLAIN_ON_TLS)
        return
    count_handshake_failure(loop, c, CLOSE_PLAIN_ON_TLS)
    deadline_set(&loop.deadlines, &c.deadline, DEADLINE_LINGER, loop.now)
    serve_lingering(loop, c)


cdef void count_handshake_failure(Loop loop, Connection c, CloseReason reason) noexcept nogil:
    cdef HandshakeFault fault = FAULT_OTHER
    if reason == CLOSE_HANDSHAKE_FAILED:
        fault = c.handshake_fault()
    elif reason == CLOSE_HANDSHAKE_TIMEOUT:
        fault = FAULT_TIMEOUT
    elif reason == CLOSE_PLAIN_ON_TLS:
        fault = FAULT_NO_TLS
    elif reason == CLOSE_MADE_ROOM:
        fault = FAULT_MADE_ROOM
    elif reason == CLOSE_STOPPED:
        fault = FAULT_STOPPED
    loop.row.counts.handshakes_failed[<int>fault] += 1


cdef inline bint is_letter(char c) noexcept nogil:
    return c"A" <= c <= c"Z" or c"a" <= c <= c"z"


cdef const char* PLAINTEXT_ANSWER = (
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 81\r\nConnection: close\r\n"
    "\r\n400 Bad Request: plain HTTP was spoken to an HTTPS port; write https:// instead.\n")


cdef void transport_finish(Loop loop, Connection c, CloseReason reason) noexcept nogil:
    """Ends a connection in good order: close_notify, FIN, linger."""
    http1_free(loop, c)
    c.reason = <unsigned char>reason
    unfinished_end(&loop.sources, &c.unfinished)
    if transport_step(c, TRANSPORT_CLOSING) < 0:
        take_out(loop, c, CLOSE_ILLEGAL_STEP)
        return
    deadline_set(&loop.deadlines, &c.deadline, DEADLINE_LINGER, loop.now)
    serve_closing(loop, c)


cdef void transport_end(Loop loop, Connection c, CloseReason reason) noexcept nogil:
    """Says goodbye and closes at once: nothing is under way that the peer has yet to read, so there is nothing to
    linger for."""
    transport_finish(loop, c, reason)
    take_out(loop, c, reason)


cdef void take_out(Loop loop, Connection c, CloseReason reason) noexcept nogil:
    """Ends a connection's service at once, on every path: counted, unregistered, freed, closed."""
    if c.marks & MARK_GONE:
        return
    c.marks |= MARK_GONE
    c.reason = <unsigned char>reason
    loop.row.counts.closed[<int>reason] += 1
    if c.transport == TRANSPORT_PEEK or c.transport == TRANSPORT_HANDSHAKING:
        count_handshake_failure(loop, c, reason)
    loop.row.gauges.transport[c.transport] -= 1
    loop.count -= 1
    deadline_clear(&loop.deadlines, &c.deadline)
    unfinished_end(&loop.sources, &c.unfinished)
    if c.interest != 0:
        web_poller_remove(&loop.poller, c.fd, c.interest)
        c.interest = 0
    http1_free(loop, c)
    c.release()
    if c.earlier != NULL:
        (<Connection>c.earlier).later = c.later
    else:
        loop.all_first = c.later
    if c.later != NULL:
        (<Connection>c.later).earlier = c.earlier
    c.earlier = c.later = NULL
    c.next_gone = loop.gone_first
    loop.gone_first = <void*>c
