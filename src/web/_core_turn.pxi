# One turn of the loop, and the lists that it works through.
#
#     turn_wait    (no GIL)  wait; accept; the ready list: handshakes, reads, parsing; deadlines
#     turn_call    (GIL)     signals; new connections; the mailbox; handlers; what was taken out is buried
#     turn_finish  (no GIL)  answers go out; every connection that was called is settled
#
# So the GIL is taken at most once per wake-up, and not at all where nothing needs Python.
#
# Lists are threaded through the connections (next_ready, next_call, next_answered, next_gone); marks says in which one
# stands. It may be several: what a Task or a thread has pushed is queued while the connection waits to be called.
#
# Input and answers of a turn lie in the loop's arenas: turn_finish has to run before the next turn_wait, whatever was
# raised.

cdef bint turn_needs_python(Loop loop) noexcept nogil:
    return (loop.call_first != NULL or loop.accepted_count > 0 or loop.gone_first != NULL or loop.garbage != NULL
            or loop.http_garbage != NULL or loop.signals or loop.stop_asked or loop.poller_error != 0
            or loop.mail_waits or loop.stop_over or loop.raised is not None or loop.answered_first != NULL)


cdef void turn_wait(Loop loop, int timeout_ms) noexcept nogil:
    """Waits for something to do and does what needs no Python."""
    cdef web_event[64] events    # WEB_EVENTS
    cdef int found, i
    if loop.ready_first != NULL or turn_needs_python(loop) or (loop.stopping and not loop.swept):
        timeout_ms = 0
    turn_arm(loop)
    found = web_poller_wait(&loop.poller, events, timeout_ms)
    if found < 0:
        loop.poller_error = errno       # turn_call raises it: waiting again would only spin
    loop.now = loop.woke_at = web_monotonic_ns()
    stamp_update(loop)
    loop.in_top = loop.out_top = 0
    for i in range(found):
        turn_event(loop, &events[i])
    if loop.poller.timer_due:
        loop.deadlines.timer_at = 0
    turn_serve(loop)
    turn_deadlines(loop)


cdef void turn_arm(Loop loop) noexcept nogil:
    """Sets the poller's timer to the next deadline, when that is sooner than it is set to; an embedded loop's fd is
    made readable when work is left over."""
    cdef int64_t next_at = deadline_next(&loop.deadlines)
    if next_at >= 0 and (loop.deadlines.timer_at == 0 or next_at < loop.deadlines.timer_at):
        web_poller_set_timer(&loop.poller, next_at if next_at > 0 else 1)
        loop.deadlines.timer_at = next_at
    if loop.embedded and (loop.ready_first != NULL or turn_needs_python(loop)):
        web_poller_wake(&loop.poller)


cdef void turn_event(Loop loop, web_event* event) noexcept nogil:
    cdef size_t tag = <size_t>event.data & TAGS
    cdef void* target = <void*>(<size_t>event.data - tag)
    cdef char[64] drain
    if tag == TAG_LISTENER:
        listener_accept(loop, <Listener>target)
    elif tag == TAG_SIGNALS:
        while c_read(loop.signal_fd, drain, sizeof(drain)) > 0:
            pass
        loop.signals = True
    else:
        serve_event(loop, <Connection>target, event.what)


cdef void turn_deadlines(Loop loop) noexcept nogil:
    """Ends what is due, after what came in time was read. Where the loop itself is late (a handler held it, the process
    was suspended) all that the poller has to tell is heard before anybody is judged, and a handshake or a head gets its
    time anew: who could not be heard is not to blame. Limits.handshakes bounds how many these are."""
    cdef Deadline* due
    cdef int64_t at = deadline_next(&loop.deadlines)
    if at < 0 or at > loop.now:
        loop.late_turns = 0
        return
    if loop.now - at > LATE and loop.late_turns <= loop.count / WEB_EVENTS:
        loop.late_turns += 1
        return
    while True:
        due = deadline_pop(&loop.deadlines, loop.now)
        if due == NULL:
            return
        if loop.now - due.at > LATE and due.kind <= DEADLINE_HEAD:
            deadline_set(&loop.deadlines, due, due.kind, loop.now)
            continue
        turn_deadline(loop, due)


cdef void turn_deadline(Loop loop, Deadline* due) noexcept nogil:
    """A deadline passed; it is out of its list already."""
    if due.kind == DEADLINE_PAUSE:
        listener_watch(loop, <Listener>due.owner, True)
        return
    if due.kind == DEADLINE_TRIM:
        loop.peak = loop.count
        web_trim_memory()
        return
    if due.kind == DEADLINE_DRAIN:
        loop.stop_delay = 0.0
        loop.stop_asked = True
        return
    if due.kind == DEADLINE_STOP:
        loop.stop_over = True           # turn_call cuts off what is left, and names it
        return
    if due.kind == DEADLINE_RATE:
        exchange_check_rate(loop, <Connection>due.owner, loop.now - due.at > LATE)
    elif due.kind == DEADLINE_HANDSHAKE:
        loop.row.counts.timeouts[<int>TIMEOUT_HANDSHAKE] += 1
        take_out(loop, <Connection>due.owner, CLOSE_HANDSHAKE_TIMEOUT)
    elif due.kind == DEADLINE_HEAD:
        exchange_head_late(loop, <Connection>due.owner)
    elif due.kind == DEADLINE_IDLE:
        loop.row.counts.timeouts[<int>TIMEOUT_IDLE] += 1
        transport_end(loop, <Connection>due.owner, CLOSE_IDLE_TIMEOUT)
    elif due.kind == DEADLINE_QUIET:
        events_look(loop, <Connection>due.owner)
    elif due.kind == DEADLINE_PING:
        socket_look(loop, <Connection>due.owner)
    else:
        serve_linger_end(loop, <Connection>due.owner)


cdef void turn_serve(Loop loop) noexcept nogil:
    """Serves the ready list as it stands now; what comes back to its tail waits for the next turn."""
    cdef void* last = loop.ready_last
    cdef void* item
    cdef int64_t handshakes_until = loop.now + HANDSHAKE_BUDGET
    while loop.ready_first != NULL:
        item = loop.ready_first
        loop.ready_first = (<Connection>item).next_ready
        if loop.ready_first == NULL:
            loop.ready_last = NULL
        (<Connection>item).next_ready = NULL
        unmark(<Connection>item, MARK_READY)
        if not (<Connection>item).marks & (MARK_GONE | MARK_CALL):
            serve(loop, <Connection>item, handshakes_until)
        if item == last:
            return


cdef int turn_call(Loop loop) except -1:
    """Everything of a turn that needs Python. KeyboardInterrupt and SystemExit of a handler go through, but only when
    the turn is whole: the other connections' bytes lie in its arenas."""
    cdef int64_t until
    cdef void* item
    cdef void* last
    cdef object raised = None
    if loop.poller_error != 0:
        raised = OSError(loop.poller_error, f"the poller cannot wait: {os_strerror(loop.poller_error)}")
        loop.poller_error = 0
    if loop.signals:
        loop.signals = False
        raised = call_signal_handlers() or raised
    if loop.stop_asked:
        loop_begin_stop(loop)
    if loop.raised is not None:
        raised = loop.raised if raised is None else raised
        loop.raised = None
    if loop.accepted_count > 0:
        adopt_accepted(loop)
    if loop.mail_waits:
        raised = mail_deliver(loop, raised)
    if loop.call_first != NULL:
        until = loop.now + CALL_BUDGET
        last = loop.call_last           # who comes back to the list meanwhile waits for the next turn
        item = NULL
        while item != last:
            item = loop.call_first
            loop.call_first = (<Connection>item).next_call
            if loop.call_first == NULL:
                loop.call_last = NULL
            unmark(<Connection>item, MARK_CALL)
            loop_queue_answered(loop, <Connection>item)
            if not (<Connection>item).marks & MARK_GONE:
                raised = call_exchange(loop, <Connection>item, raised)
            if item != last and loop.now > until:
                with nogil:     # handlers are slow: what is answered does not wait for the rest of them
                    turn_send(loop)
                until = loop.now + CALL_BUDGET
        context_leave(loop)
    if loop.stop_over:
        loop.stop_over = False
        loop_cut_off(loop)
    if loop.garbage != NULL or loop.http_garbage != NULL or loop.gone_first != NULL:
        loop_bury(loop)
    if raised is not None:
        with nogil:
            turn_send(loop)
        raise raised
    return 1


cdef object call_exchange(Loop loop, Connection c, object raised):
    """Answers a connection's requests; the first exception of this turn, if any."""
    try:
        exchange_call(loop, c)
    except BaseException:
        return _current_exception() if raised is None else raised
    return raised


cdef object call_signal_handlers():
    """Runs Python's signal handlers; the exception that one raised, or None."""
    try:
        PyErr_CheckSignals()
    except BaseException:
        return _current_exception()
    return None


cdef void turn_finish(Loop loop) noexcept nogil:
    """The end of a turn."""
    turn_send(loop)
    loop.row.gauges.unfinished = loop.sources.count
    histogram_add(&loop.row.counts.turns, web_monotonic_ns() - loop.woke_at, 1)


cdef void turn_send(Loop loop) noexcept nogil:
    """Sends the answers of this turn so far and settles the connections that were called."""
    cdef void* item
    while loop.answered_first != NULL:
        item = loop.answered_first
        loop.answered_first = (<Connection>item).next_answered
        (<Connection>item).next_answered = NULL
        unmark(<Connection>item, MARK_ANSWERED)
        if not (<Connection>item).marks & MARK_GONE:
            exchange_write(loop, <Connection>item)
            settle(loop, <Connection>item)
    if loop.stopping and not loop.swept and loop.ready_first == NULL:
        loop_sweep(loop)
    if loop.peak > 2 * loop.count + TRIM_AFTER and not loop.trim.is_set:
        deadline_set(&loop.deadlines, &loop.trim, DEADLINE_TRIM, loop.now)


cdef void turn_between(Loop loop) noexcept nogil:
    """Between two turns something is answered or sent: the arenas are free, and are free again after
    turn_between_end."""
    loop.now = web_monotonic_ns()
    loop.in_top = loop.out_top = 0
    loop.between = True
    stamp_update(loop)


cdef int turn_between_end(Loop loop) except -1:
    with nogil:
        turn_send(loop)
    loop.between = False
    loop_bury(loop)
    turn_arm(loop)
    if loop.stopping and loop.count == 0:
        web_poller_wake(&loop.poller)   # it is finished, which whoever turns it looks at after a turn
    return 1


# -- the lists -------------------------------------------------------------------------------------------------------

cdef inline void unmark(Connection c, unsigned char mark) noexcept nogil:
    c.marks &= ~mark


cdef void loop_queue_ready(Loop loop, Connection c) noexcept nogil:
    if c.marks & (MARK_READY | MARK_GONE):
        return
    c.marks |= MARK_READY
    c.next_ready = NULL
    if loop.ready_last != NULL:
        (<Connection>loop.ready_last).next_ready = <void*>c
    else:
        loop.ready_first = <void*>c
    loop.ready_last = <void*>c


cdef void loop_queue_call(Loop loop, Connection c) noexcept nogil:
    if c.marks & (MARK_CALL | MARK_GONE):
        return
    c.marks |= MARK_CALL
    c.next_call = NULL
    if loop.call_last != NULL:
        (<Connection>loop.call_last).next_call = <void*>c
    else:
        loop.call_first = <void*>c
    loop.call_last = <void*>c


cdef void loop_queue_answered(Loop loop, Connection c) noexcept nogil:
    if c.marks & (MARK_ANSWERED | MARK_GONE):
        return
    c.marks |= MARK_ANSWERED
    c.next_answered = loop.answered_first
    loop.answered_first = <void*>c


cdef void loop_watch(Loop loop, Connection c, unsigned char want) noexcept nogil:
    """Makes the poller watch for what the connection waits for: a system call only where that changed."""
    cdef int result
    if c.interest == want:
        return
    if c.interest == 0:
        result = web_poller_add(&loop.poller, c.fd, <void*>c, want)
    else:
        result = web_poller_change(&loop.poller, c.fd, <void*>c, c.interest, want)
    if result < 0:
        take_out(loop, c, CLOSE_NO_MEMORY)
    else:
        c.interest = want


cdef void loop_forget_lists(Loop loop) noexcept:
    """Empties the turn's lists: nothing will be served any more."""
    cdef void* item
    while loop.ready_first != NULL:
        item = loop.ready_first
        loop.ready_first = (<Connection>item).next_ready
        unmark(<Connection>item, MARK_READY)
    while loop.call_first != NULL:
        item = loop.call_first
        loop.call_first = (<Connection>item).next_call
        unmark(<Connection>item, MARK_CALL)
    while loop.answered_first != NULL:
        item = loop.answered_first
        loop.answered_first = (<Connection>item).next_answered
        unmark(<Connection>item, MARK_ANSWERED)
    loop.ready_last = loop.call_last = NULL


cdef void loop_bury(Loop loop) noexcept:
    """Gives up the loop's references to what was taken out (GIL). Such an object may still stand in the ready list."""
    cdef Connection c
    cdef void* item = loop.gone_first
    cdef void* kept = NULL
    cdef void* following
    loop.gone_first = NULL
    while item != NULL:
        c = <Connection>item
        following = c.next_gone
        if c.marks & (MARK_READY | MARK_CALL | MARK_ANSWERED):
            c.next_gone = kept
            kept = item
        else:
            c.next_gone = NULL
            c.loop = None
            Py_DecRef(<PyObject*>c)
        item = following
    loop.gone_first = kept
    collect_garbage(loop)
