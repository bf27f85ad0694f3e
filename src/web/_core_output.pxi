# What a connection still has to send: a queue of segments, in order.
#
# A segment is memory or a piece of a file, and owns at most one of: a block of the heap, a reference to a bytes object,
# an fd. Several pieces of one file follow each other: the last of them owns its fd, the others are lent it.
#
# Answers are first written into the loop's arena, which lives for one turn: most are sent in the same turn and never
# own anything. output_keep moves what is left of them to the heap at the end of the turn.
#
# Bytes that were offered to the transport and blocked are immutable: segments are only ever appended, and the first one
# only shrinks by what the transport took (what TLS has encrypted of them is sent whatever comes again).

cdef extern from "Python.h":
    # An object that code without the GIL may carry, never touch.
    ctypedef struct PyObject
    void Py_IncRef(PyObject* o)
    void Py_DecRef(PyObject* o)

cdef struct Segment:
    Segment* next
    const char* data            # the next byte to send; NULL: a piece of a file
    size_t left                 # bytes to send from data
    char* heap                  # owned block that holds data, or NULL
    PyObject* owner             # owned reference to the object that holds data, or NULL
    int file                    # fd, or -1
    bint lent                   # a later segment owns it
    int64_t offset
    int64_t file_left

cdef struct Output:
    Segment* first
    Segment* last

cdef enum:
    OUT_ARENA = 1 << 20
    COPIED_BODY = 16384         # bodies up to this size are copied behind their head; larger ones are referenced
    WRITE_BUDGET = 1 << 20      # bytes that one connection may send in one turn
    SEGMENT_POOL = 256
    BUDGET_USED = -5            # a turn's share is used up: the rest comes at the tail of the ready list


cdef Segment* segment_take(Loop loop, Output* out) noexcept nogil:
    """An empty segment at the end of the queue; NULL without memory."""
    cdef Segment* segment = loop.segment_pool
    if segment != NULL:
        loop.segment_pool = segment.next
        loop.segment_pooled -= 1
    else:
        segment = <Segment*>PyMem_RawMalloc(sizeof(Segment))
        if segment == NULL:
            return NULL
    memset(segment, 0, sizeof(Segment))
    segment.file = -1
    if out.last != NULL:
        out.last.next = segment
    else:
        out.first = segment
    out.last = segment
    return segment


cdef void segment_drop(Loop loop, Output* out) noexcept nogil:
    """Takes the first segment off the queue and frees what it owns. A reference is given up once the GIL is held."""
    cdef Segment* segment = out.first
    out.first = segment.next
    if out.first == NULL:
        out.last = NULL
    PyMem_RawFree(segment.heap)
    segment.heap = NULL
    if segment.lent:
        segment.file = -1
    web_close_fd(&segment.file)
    if segment.owner != NULL:
        segment.next = loop.garbage
        loop.garbage = segment
    else:
        segment_recycle(loop, segment)


cdef void segment_recycle(Loop loop, Segment* segment) noexcept nogil:
    if loop.segment_pooled < SEGMENT_POOL:
        segment.next = loop.segment_pool
        loop.segment_pool = segment
        loop.segment_pooled += 1
    else:
        PyMem_RawFree(segment)


cdef void collect_garbage(Loop loop) noexcept:
    """Gives up the references of what was sent, or ended, without the GIL."""
    cdef Segment* segment
    cdef Http1* http
    while loop.http_garbage != NULL:
        http = loop.http_garbage
        loop.http_garbage = http.next
        if http.body_object != NULL:
            Py_DecRef(http.body_object)
        inflow_release(http)
        if http.pending != NULL:
            pending_abandon(<Pending>http.pending)
            pending_release(http)
        if http.socket_object != NULL:
            socket_abandon(loop, <WebSocket>http.socket_object)
            socket_release(http)
        http1_recycle(loop, http)
    while loop.garbage != NULL:
        segment = loop.garbage
        loop.garbage = segment.next
        Py_DecRef(segment.owner)
        segment_recycle(loop, segment)


cdef void output_drop(Loop loop, Output* out) noexcept nogil:
    while out.first != NULL:
        segment_drop(loop, out)


cdef char* output_reserve(Loop loop, Output* out, size_t count) noexcept nogil:
    """Room for count bytes at the end of the queue: in the turn's arena, else in a block of its own. NULL: no memory.
    output_commit follows, before anything else is appended anywhere."""
    cdef Segment* last = out.last
    cdef char* top = loop.out_arena + loop.out_top
    if count <= OUT_ARENA - loop.out_top:
        if last == NULL or last.data == NULL or last.data + last.left != top:
            last = segment_take(loop, out)
            if last == NULL:
                return NULL
            last.data = top
        return top
    last = segment_take(loop, out)
    if last == NULL:
        return NULL
    last.heap = <char*>PyMem_RawMalloc(count)
    last.data = last.heap
    return last.heap


cdef void output_commit(Loop loop, Output* out, size_t used) noexcept nogil:
    out.last.left += used
    if out.last.heap == NULL:
        loop.out_top += used


cdef int output_static(Loop loop, Output* out, const char* data, size_t count) noexcept nogil:
    """Appends bytes that live for ever: 1, or WEB_FAILED without memory."""
    cdef Segment* segment = segment_take(loop, out)
    if segment == NULL:
        return WEB_FAILED
    segment.data = data
    segment.left = count
    segment.heap = NULL
    return 1


cdef int output_keep(Loop loop, Output* out) noexcept nogil:
    """The turn ends: what is left in the arena moves to the heap. 1, or WEB_FAILED without memory."""
    cdef Segment* segment = out.first
    cdef char* block
    while segment != NULL:
        if loop.out_arena <= segment.data < loop.out_arena + OUT_ARENA:
            block = <char*>PyMem_RawMalloc(segment.left)
            if block == NULL:
                return WEB_FAILED
            memcpy(block, segment.data, segment.left)
            segment.heap = block
            segment.data = block
        segment = segment.next
    return 1


cdef size_t output_held(const Output* out) noexcept nogil:
    """Bytes of memory that wait to be sent (files are not memory)."""
    cdef const Segment* segment = out.first
    cdef size_t total = 0
    while segment != NULL:
        total += segment.left
        segment = segment.next
    return total


cdef bint output_has_file(const Output* out) noexcept nogil:
    """Predicate: a file waits to be sent. A connection keeps one file open, however many requests it pipelines."""
    cdef const Segment* segment = out.first
    while segment != NULL:
        if segment.file >= 0:
            return True
        segment = segment.next
    return False


cdef Py_ssize_t output_send(Loop loop, Connection c, Output* out, uint64_t* moved) noexcept nogil:
    """Sends as much as the transport takes: 1 all of it, BUDGET_USED, WEB_WANT_READ or WEB_WANT_WRITE, WEB_FAILED, and
    WEB_END where a file turned out to be shorter than was promised."""
    cdef Segment* segment
    cdef Py_ssize_t n
    cdef size_t count
    cdef size_t budget = WRITE_BUDGET
    while out.first != NULL:
        segment = out.first
        if budget == 0:
            return BUDGET_USED
        if segment.data != NULL:
            n = c.send_some(segment.data, segment.left, segment.next != NULL)
            if n <= 0:
                return WEB_FAILED if n == WEB_END else n
            segment.data += n
            segment.left -= n
        else:
            count = <size_t>segment.file_left if segment.file_left < <int64_t>budget else budget
            n = c.send_file_some(segment.file, &segment.offset, count, True)
            if n <= 0:
                return n
            segment.file_left -= n
        moved[0] += n
        loop.row.counts.bytes_sent += n
        budget = budget - n if <size_t>n < budget else 0
        if segment.left == 0 and segment.file_left == 0:
            segment_drop(loop, out)
    return 1
