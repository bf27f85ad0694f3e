# Rooms: what is published to a topic, and its way to those who have subscribed.
#
# A message becomes a frame once, in Loop.publish: one bytes object, its header and its payload, which never changes. A
# small frame is copied behind what a member has gathered already; a large one is a segment that refers to the object.
# So 5,000 members cost 5,000 copies of 125 bytes, or 5,000 references to 64 KiB.
#
# Members that agreed on permessage-deflate share one compressed frame for each size of window (usually there is one).
# It is compressed by itself, so each of them can read it (RFC 7692 7.2.3.5); but it comes into the peer's window and
# was never in that of our deflater, which must not refer past it: it is ended, and starts anew with the member's own
# next message.
#
# Loop.rooms owns the members, until they unsubscribe or are over (WebSocket.end). All of it belongs to the loop's
# thread, but room_frame, and the look whether a topic has members at all.

cdef int room_leave(Loop loop, str topic, WebSocket ws) except -1:
    members = loop.rooms.get(topic)
    if members is not None:
        members.pop(ws, None)
        if not members:
            del loop.rooms[topic]
    return 1


cdef bytes room_frame(message):
    """A message, str or bytes-like, as a whole frame. TypeError; UnicodeEncodeError: text with half a surrogate."""
    cdef Py_ssize_t[1] length
    cdef const char* start
    cdef bytes data
    if isinstance(message, str):
        start = PyUnicode_AsUTF8AndSize(message, length)
        return room_frame_of(WS_OP_TEXT, False, start, length[0])
    data = message if type(message) is bytes else bytes(memoryview(message))
    return room_frame_of(WS_OP_BINARY, False, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef bytes room_frame_of(unsigned char opcode, bint rsv1, const char* data, size_t length):
    cdef unsigned char[WS_HEAD_MAX] head
    cdef size_t size = ws_write_head(head, opcode, 1, rsv1, length)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(size + length))
    memcpy(PyBytes_AS_STRING(frame), head, size)
    memcpy(PyBytes_AS_STRING(frame) + size, data, length)
    return frame


cdef size_t room_head(bytes frame) noexcept:
    """Bytes of a frame's header (RFC 6455 5.2)."""
    cdef unsigned char length = <unsigned char>PyBytes_AS_STRING(frame)[1]
    return 10 if length == 127 else 4 if length == 126 else 2


cdef int room_send(Loop loop, str topic, bytes frame) except -1:
    """To all members. Who does not read loses it, or is closed, by its route's policy, and the others go on."""
    cdef WebSocket ws
    cdef bytes chosen
    cdef dict packed = None     # window bits -> the frame compressed for it
    cdef bint may_deflate
    members = loop.rooms.get(topic)
    if members is None:
        return 1
    may_deflate = PyBytes_GET_SIZE(frame) - room_head(frame) >= SOCKET_DEFLATED
    for ws in list(members):
        if ws.s.state != SOCKET_OPEN:
            continue
        chosen = frame
        if may_deflate and ws.s.deflates:
            if packed is None:
                packed = {}
            chosen = packed.get(ws.s.deflater.bits)
            if chosen is None:
                chosen = packed[ws.s.deflater.bits] = room_deflate(ws, frame)
        try:
            room_put(loop, ws, chosen)
        except SocketClosed:        # it was closed by the policy
            pass
    return 1


cdef bytes room_deflate(WebSocket ws, bytes frame):
    """The frame compressed for all with the window of this member; itself, where that does not make it smaller."""
    cdef WsDeflater deflater
    cdef WsBuffer out
    cdef size_t head = room_head(frame)
    cdef size_t length = <size_t>PyBytes_GET_SIZE(frame) - head
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(frame)
    cdef bytes packed = frame
    cdef int result
    memset(&out, 0, sizeof(WsBuffer))
    ws_deflater_init(&deflater, ws.s.deflater.bits, ws.s.deflater.mem_level, ws.s.deflater.level, False)
    with nogil:
        result = ws_deflate(&deflater, start + head, length, &out)
    try:
        if result == WS_NO_MEMORY:
            raise MemoryError
        if result == WS_DONE and out.size < length:
            packed = room_frame_of(start[0] & 15, True, <const char*>out.data, out.size)
    finally:
        ws_buffer_free(&out)
    return packed


cdef int room_put(Loop loop, WebSocket ws, bytes frame) except -1:
    """Queues a shared frame for one member, which is open. SocketClosed: the policy closed it."""
    cdef size_t size = <size_t>PyBytes_GET_SIZE(frame)
    cdef const char* start = PyBytes_AS_STRING(frame)
    if socket_held(ws.connection) > loop.limits.out_buffer and ws.overflows():
        return 1
    if <unsigned char>start[0] & 0x40:
        ws_deflater_free(&ws.s.deflater)
    if size > COPIED_BODY:
        room_refer(loop, ws, frame)
    elif ws_buffer_reserve(&ws.s.out, size) < 0:
        raise MemoryError
    else:
        memcpy(ws.s.out.data + ws.s.out.size, start, size)
        ws.s.out.size += size
    ws.flush_soon()
    return 1


cdef int room_refer(Loop loop, WebSocket ws, bytes frame) except -1:
    """A large frame is sent from where it is. What is gathered goes before it."""
    cdef Output* out = &ws.connection.http.out
    cdef Segment* segment
    if ws.s.out.size > 0:
        segment = segment_take(loop, out)
        if segment == NULL:
            raise MemoryError
        segment.heap = <char*>ws.s.out.data
        segment.data = segment.heap
        segment.left = ws.s.out.size
        memset(&ws.s.out, 0, sizeof(WsBuffer))
    segment = segment_take(loop, out)
    if segment == NULL:
        raise MemoryError
    segment.data = PyBytes_AS_STRING(frame)
    segment.left = <size_t>PyBytes_GET_SIZE(frame)
    segment.owner = <PyObject*>frame
    Py_IncRef(segment.owner)
    return 1
