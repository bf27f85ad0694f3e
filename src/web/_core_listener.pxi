# Listening sockets, the connections that they bring, and who makes room when a cap is reached.
#
# A Listener owns its fd. The loop accepts without the GIL into a small array (at most ACCEPT_BATCH per wake-up, the
# rest stay in the kernel's queue), and makes Connection objects of it once it holds the GIL; between the two the array
# owns the fds. Running out of fds or memory pauses the listener (DEADLINE_PAUSE) instead of spinning on a readable
# queue.

cdef enum:
    ACCEPT_BATCH = 64

cdef struct Accepted:
    int fd                      # owned until adopted
    void* listener
    web_address peer


@cython.final
cdef class Listener:
    """A listening socket of a loop: plain, or TLS when it has a context."""
    cdef int fd
    cdef TlsContext context     # None: plain
    cdef Networks proxies       # who may connect, and has to begin with a PROXY header; None: all, and nobody does
    cdef Deadline pause
    cdef bint watched

    def __cinit__(self):
        self.fd = -1
        self.pause.owner = <void*>self

    def __dealloc__(self):
        web_close_fd(&self.fd)


cdef void listener_watch(Loop loop, Listener listener, bint yes) noexcept nogil:
    """Starts or stops waiting for connections; doing so twice is allowed."""
    cdef void* tag = <void*>(<size_t><void*>listener | TAG_LISTENER)
    if listener.fd < 0 or listener.watched == yes:
        return
    if yes:
        listener.watched = web_poller_add(&loop.poller, listener.fd, tag, WEB_READ) > 0
    else:
        web_poller_remove(&loop.poller, listener.fd, WEB_READ)
        listener.watched = False
    if yes and not listener.watched:    # no memory in the kernel: try again later
        deadline_set(&loop.deadlines, &listener.pause, DEADLINE_PAUSE, loop.now)


cdef void listener_close(Loop loop, Listener listener) noexcept nogil:
    """Accepts no more. The Listener itself stays: what was accepted may still name it."""
    listener_watch(loop, listener, False)
    deadline_clear(&loop.deadlines, &listener.pause)
    web_close_fd(&listener.fd)


cdef int listener_accept(Loop loop, Listener listener) noexcept nogil:
    """Accepts what waits, as far as the array has room: 1 more may wait, WEB_WANT_READ none does, WEB_FAILED paused."""
    cdef Accepted* slot
    while loop.accepted_count < ACCEPT_BATCH:
        slot = &loop.accepted[loop.accepted_count]
        slot.fd = web_accept(listener.fd, &slot.peer)
        if slot.fd >= 0:
            slot.listener = <void*>listener
            loop.accepted_count += 1
        elif errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
            loop.row.counts.accept_failures += 1
            listener_watch(loop, listener, False)
            deadline_set(&loop.deadlines, &listener.pause, DEADLINE_PAUSE, loop.now)
            loop_make_room(loop)
            return WEB_FAILED
        elif errno == EAGAIN:
            return WEB_WANT_READ
        elif errno == EINTR or errno == ECONNABORTED:
            continue
        else:                   # an error of the network on the new socket (accept(2)), or of the listener
            loop.row.counts.accept_failures += 1
            listener_watch(loop, listener, False)
            deadline_set(&loop.deadlines, &listener.pause, DEADLINE_PAUSE, loop.now)
            return WEB_FAILED
    return 1


cdef int adopt_accepted(Loop loop) except -1:
    """Makes connections of what was accepted (GIL)."""
    cdef Accepted* slot
    cdef Listener listener
    cdef int i
    for i in range(loop.accepted_count):
        slot = &loop.accepted[i]
        listener = <Listener>slot.listener
        try:
            if listener.proxies is None or networks_hold(listener.proxies, &slot.peer):
                adopt_fd(loop, &slot.fd, &slot.peer, listener.context, listener.proxies is not None)
            else:
                loop.row.counts.closed[<int>CLOSE_UNTRUSTED_PROXY] += 1
        finally:
            web_close_fd(&slot.fd)      # not taken over: no memory, or no room
    loop.accepted_count = 0
    return 1


cdef Connection adopt_fd(Loop loop, int* fd, const web_address* peer, TlsContext context, bint proxied):
    """Takes an fd into service; None (and the fd stays its caller's) when a cap is reached and nobody makes room.
    proxied: it begins with a PROXY header."""
    cdef Connection c
    while loop.count >= loop.limits.connections:
        if loop_make_room(loop) < 0:
            loop.row.counts.closed[<int>CLOSE_REFUSED] += 1
            return None
    if context is None:
        c = Plain.__new__(Plain)
    else:
        c = Tls.__new__(Tls)
        (<Tls>c).context = context
    c.transport = TRANSPORT_PROXY if proxied else c.first_state()
    c.peer_address = c.client_address = peer[0]
    c.fd = web_detach_fd(fd)
    web_no_delay(c.fd, &c.peer_address)
    loop_take_in(loop, c, DEADLINE_HEAD if c.transport == TRANSPORT_OPEN else DEADLINE_HANDSHAKE)
    return c


cdef void loop_take_in(Loop loop, Connection c, int deadline) noexcept:
    """The loop begins to serve a connection: from here it holds a reference, until take_out and loop_bury."""
    Py_IncRef(<PyObject*>c)
    c.loop = loop
    c.later = loop.all_first
    if loop.all_first != NULL:
        (<Connection>loop.all_first).earlier = <void*>c
    loop.all_first = <void*>c
    loop.count += 1
    if loop.count > loop.peak:
        loop.peak = loop.count
    loop.row.counts.accepted += 1
    loop.row.gauges.transport[c.transport] += 1
    deadline_set(&loop.deadlines, &c.deadline, deadline, loop.now)
    loop_count_unfinished(loop, c)
    loop_watch(loop, c, WEB_READ)


cdef uint64_t source_of(Connection c) noexcept nogil:
    """By whom an unfinished connection counts. One whose PROXY header is still to come counts by itself: all of them
    come from the proxy, which writes it at once, and a burst of its clients must not look like one greedy source."""
    return <uint64_t><size_t><void*>c if c.transport == TRANSPORT_PROXY else web_source_key(&c.client_address)


cdef void loop_count_unfinished(Loop loop, Connection c) noexcept nogil:
    """Counts a connection as unfinished; at the cap an unfinished one makes room for it first."""
    cdef Unfinished* victim
    while loop.sources.count >= loop.limits.unfinished:
        victim = unfinished_victim(&loop.sources)
        if victim == NULL:
            break
        take_out(loop, <Connection>victim.owner, CLOSE_MADE_ROOM)
    unfinished_begin(&loop.sources, &c.unfinished, source_of(c))
    loop.row.gauges.unfinished = loop.sources.count


cdef int loop_make_room(Loop loop) noexcept nogil:
    """Ends one connection: one that was answered and only lingers, else an unfinished one by source, else the one that
    idled longest. 1, or WEB_FAILED where all are at work."""
    cdef Deadline* entry = loop.deadlines.first[DEADLINE_LINGER]
    cdef Unfinished* victim = unfinished_victim(&loop.sources)
    if entry == NULL and victim != NULL:
        take_out(loop, <Connection>victim.owner, CLOSE_MADE_ROOM)
        return 1
    if entry == NULL:
        entry = loop.deadlines.first[DEADLINE_IDLE]
    if entry == NULL:
        return WEB_FAILED
    take_out(loop, <Connection>entry.owner, CLOSE_MADE_ROOM)
    return 1
