# From frames to messages: gathers the spans that the frame reader reports, inflates what is compressed. Pure, as those.
#
# States: between messages; within one (its bytes so far lie in `buffer`); whole (`data`, `length`), until the next span
# is taken or ws_message_free.
#
# Ownership: a message that came in one span, not compressed, is not copied: `data` points into the receive buffer.
# Every other one lies in `buffer`. So `data` is good until either changes: a Python object is to be made of it at once.
#
# Memory: the buffer is at most twice what came of the message, inflated; so it is bounded by twice limits.message, and
# what a peer only announces reserves nothing. ws_message_done gives a large one back.

cdef enum:
    WS_KEEP = 4096                  # bytes of buffer that a connection may keep between messages

cdef struct WsMessage:              # all zero: between messages
    WsBuffer buffer
    unsigned char* data             # once whole; not NULL
    size_t length
    unsigned char opcode            # WS_OP_TEXT (it is UTF-8), WS_OP_BINARY


cdef int ws_message_take(WsMessage* m, WsReader* r, WsInflater* f, const WsEvent* event,
                         const WsLimits* limits) noexcept nogil:
    # To be called with every WS_DATA. WS_DONE: the message is whole. WS_MORE: it is not yet. WS_FAULT: r.code, r.fault.
    # WS_NO_MEMORY: the connection cannot go on. `f` is needed only where the reader was made with deflate.
    cdef size_t before
    cdef size_t[1] good
    cdef int result
    if event.begins:
        m.buffer.size = 0
        m.opcode = event.opcode
        if event.ends and not event.compressed:
            m.data = event.data
            m.length = event.length
            return WS_DONE
    before = m.buffer.size
    if event.compressed:
        result = ws_inflate(f, event.data, event.length, event.ends, &m.buffer, limits.message)
        if result == WS_NO_MEMORY:
            return WS_NO_MEMORY
        # Text that came out before inflating failed is judged first: so the verdict does not depend on the cuts.
        if event.opcode == WS_OP_TEXT and ws_text(r, m.buffer.data + before, m.buffer.size - before,
                                                  event.ends and result == WS_DONE, good) == WS_FAULT:
            return WS_FAULT
        if result == WS_FAULT:
            return ws_fail(r, f.code, f.fault)
    else:
        if ws_buffer_reserve(&m.buffer, max(event.length, <size_t>1)) == WS_NO_MEMORY:
            return WS_NO_MEMORY
        if event.data != m.buffer.data + before:        # else it was received there
            memcpy(m.buffer.data + before, event.data, event.length)
        m.buffer.size += event.length
    if not event.ends:
        return WS_MORE
    m.data = m.buffer.data
    m.length = m.buffer.size
    return WS_DONE


cdef void ws_message_done(WsMessage* m) noexcept nogil:
    # The message was used: an idle connection keeps little.
    m.data = NULL
    m.length = 0
    m.buffer.size = 0
    if m.buffer.capacity > WS_KEEP:
        ws_buffer_free(&m.buffer)


cdef void ws_message_free(WsMessage* m) noexcept nogil:
    ws_buffer_free(&m.buffer)
    memset(m, 0, sizeof(WsMessage))
