# Time-outs. Each kind has one duration, so its entries fall due in the order in which they were set: one FIFO list per
# kind. Setting, clearing and finding the next cost O(1); no wake-up walks all connections.
#
# An entry lies inside its owner (a connection, a listener) and stands in one list at most. It owns nothing. The owner
# clears it before it goes away.

cdef enum:
    DEADLINE_HANDSHAKE = 0      # absolute: from accept to the end of the handshake
    DEADLINE_HEAD = 1           # absolute: from the connection's start, or a request's first byte, to its whole head
    DEADLINE_RATE = 2           # a look each second while body or response bytes are owed
    DEADLINE_IDLE = 3           # keep-alive, between requests
    DEADLINE_LINGER = 4         # CLOSING and LINGERING
    DEADLINE_PAUSE = 5          # a listener that ran out of fds tries again
    DEADLINE_STOP = 6           # the server stops: what is left is aborted
    DEADLINE_TRIM = 7           # a wave of connections, or of large bodies, has passed: memory goes back to the system
    DEADLINE_DRAIN = 8          # the server is to stop, and goes on until balancers have seen that it is not ready
    DEADLINE_PING = 9           # a look at a WebSocket: whether its peer was heard of
    DEADLINE_QUIET = 10         # a look at an event stream: whether it was quiet for too long (_core_events)
    DEADLINE_KINDS = 11
    DEADLINE_NONE = 255

cdef struct Deadline:
    Deadline* earlier
    Deadline* later
    int64_t at                  # CLOCK_MONOTONIC, ns
    void* owner
    unsigned char kind          # meaningful while set
    bint is_set

cdef struct Deadlines:
    Deadline* first[11]
    Deadline* last[11]
    int64_t duration[11]        # ns
    int64_t timer_at            # when the poller's timer runs out; 0: it is not set


cdef void deadline_clear(Deadlines* all, Deadline* entry) noexcept nogil:
    if not entry.is_set:
        return
    if entry.earlier != NULL:
        entry.earlier.later = entry.later
    else:
        all.first[entry.kind] = entry.later
    if entry.later != NULL:
        entry.later.earlier = entry.earlier
    else:
        all.last[entry.kind] = entry.earlier
    entry.earlier = entry.later = NULL
    entry.is_set = False


cdef void deadline_set(Deadlines* all, Deadline* entry, int kind, int64_t now) noexcept nogil:
    """(Re)starts an entry: it falls due one duration of its kind from now."""
    cdef Deadline* last
    deadline_clear(all, entry)
    entry.kind = <unsigned char>kind
    entry.at = now + all.duration[kind]
    last = all.last[kind]
    entry.earlier = last
    entry.later = NULL
    if last != NULL:
        last.later = entry
    else:
        all.first[kind] = entry
    all.last[kind] = entry
    entry.is_set = True


cdef void deadline_shorten(Deadlines* all, int kind, int64_t duration, int64_t now) noexcept nogil:
    """A kind lasts less from now on; what is set falls due no later than what is set now. O(n): for what seldom
    changes."""
    cdef Deadline* entry = all.last[kind]
    all.duration[kind] = duration
    while entry != NULL and entry.at > now + duration:
        entry.at = now + duration
        entry = entry.earlier


cdef Deadline* deadline_pop(Deadlines* all, int64_t now) noexcept nogil:
    """Takes one entry that is due out of its list; NULL when none is."""
    cdef int kind
    cdef Deadline* entry
    for kind in range(DEADLINE_KINDS):
        entry = all.first[kind]
        if entry != NULL and entry.at <= now:
            deadline_clear(all, entry)
            return entry
    return NULL


cdef int64_t deadline_next(const Deadlines* all) noexcept nogil:
    """The moment at which the next entry falls due; -1: none is set."""
    cdef int kind
    cdef int64_t at = -1
    for kind in range(DEADLINE_KINDS):
        if all.first[kind] != NULL and (at < 0 or all.first[kind].at < at):
            at = all.first[kind].at
    return at
