# WebSocket, as applications hold it, and the events that it gives them.
#
# Two styles on one engine. A plain handler is called for each event, on the loop, in the connection's own context:
# handler(event, params, ws). An async one runs in a Task, and takes messages out of `arrived` when it comes to it; what
# it has not taken pauses the peer. Which style it is was decided at registration (web.websockets).

from web.errors import WebError


class SocketClosed(WebError):
    """A message was to be sent, or awaited, and the WebSocket is closing or closed. ``code`` and ``reason`` are those
    of the close frame; 1006 where there was none (RFC 6455 7.4.1)."""

    def __init__(self, int code, str reason):
        super().__init__(f"the WebSocket is closed: {code}{f', {reason}' if reason else ''}")
        self.code = code
        self.reason = reason


@cython.final
cdef class Connect:
    """The WebSocket is open."""
    __match_args__ = ()

    def __eq__(self, other):
        return isinstance(other, Connect)

    def __hash__(self):
        return hash(Connect)

    def __repr__(self):
        return "Connect()"


@cython.final
@cython.freelist(8)
cdef class Message:
    """A text message came. ``text``: str."""
    __match_args__ = ("text",)
    cdef readonly str text

    def __init__(self, str text not None):
        self.text = text

    def __eq__(self, other):
        return isinstance(other, Message) and self.text == (<Message>other).text

    def __hash__(self):
        return hash((Message, self.text))

    def __repr__(self):
        return f"Message({self.text!r})"


@cython.final
@cython.freelist(8)
cdef class Binary:
    """A binary message came. ``data``: bytes."""
    __match_args__ = ("data",)
    cdef readonly bytes data

    def __init__(self, bytes data not None):
        self.data = data

    def __eq__(self, other):
        return isinstance(other, Binary) and self.data == (<Binary>other).data

    def __hash__(self):
        return hash((Binary, self.data))

    def __repr__(self):
        return f"Binary({self.data!r})"


@cython.final
cdef class Close:
    """The WebSocket is over, once and last. ``code`` and ``reason`` of the close frame; 1005: it had no code; 1006:
    there was none (RFC 6455 7.4.1)."""
    __match_args__ = ("code", "reason")
    cdef readonly int code
    cdef readonly str reason

    def __init__(self, int code, str reason not None=""):
        self.code = code
        self.reason = reason

    def __eq__(self, other):
        return isinstance(other, Close) and (self.code, self.reason) == ((<Close>other).code, (<Close>other).reason)

    def __hash__(self):
        return hash((Close, self.code, self.reason))

    def __repr__(self):
        return f"Close({self.code}, {self.reason!r})"


@cython.final
@cython.no_gc_clear     # the reader's and zlib's states must outlive what the collector would clear
cdef class WebSocket:
    """One WebSocket (RFC 6455), on the server's side. Made by ``WS`` routes.

    Async handlers iterate it: ``async for message in ws`` gives str for text and bytes for binary messages, and ends
    when it is closed. It belongs to its event loop: from other threads only ``send``, ``send_bytes``, ``send_now``,
    ``ping`` and ``close`` may be called.
    """
    cdef Socket s
    cdef Loop loop
    cdef Connection connection
    cdef readonly Request request
    cdef readonly str protocol          # the subprotocol that was agreed on; None: none
    cdef Endpoint endpoint
    cdef object handler
    cdef bint in_task
    cdef bint drops
    cdef object context
    cdef readonly object task           # of an async handler, once it runs
    cdef list arrived                   # what an async handler has not taken; short: an empty deque takes 700 bytes
    cdef size_t arrived_bytes
    cdef object waiter                  # future: it awaits a message
    cdef list room                      # futures that await that less is queued
    cdef set topics
    cdef readonly unsigned long long dropped    # messages that were not sent because the peer does not read
    cdef object __weakref__

    def __cinit__(self):
        memset(&self.s, 0, sizeof(Socket))
        self.s.state = SOCKET_OPENING
        self.s.code = WS_NO_CLOSE
        ws_reader_init(&self.s.reader, True, False)

    def __init__(self):
        raise TypeError("a WebSocket is made by a WS route")

    def __dealloc__(self):
        ws_message_free(&self.s.message)
        ws_inflater_free(&self.s.inflater)
        ws_deflater_free(&self.s.deflater)
        ws_buffer_free(&self.s.out)

    # -- what an application may read --------------------------------------------------------------------------------

    @property
    def params(self):
        """dict: captures of the path, and what before hooks added."""
        return self.request.params

    @property
    def is_open(self):
        """bool: messages can be sent."""
        return self.s.state == SOCKET_OPEN

    @property
    def close_code(self):
        """int: of the close frame, 1006 where there was none; None while it is open."""
        return self.s.code if self.s.state > SOCKET_OPEN else None

    @property
    def close_reason(self):
        """str: of the close frame; empty while it is open."""
        return PyUnicode_DecodeUTF8(self.s.reason, self.s.reason_length, b"replace")

    @property
    def what(self):
        """str: how messages name it."""
        return f"WebSocket {self.request.raw_path} (handler {self.endpoint.label})"

    @property
    def buffered(self):
        """int: bytes that wait for the peer. RuntimeError in other threads than the event loop's: it frees them."""
        if self.connection is None:
            return 0
        if not self.is_ours():
            raise RuntimeError("buffered belongs to the thread of the WebSocket's event loop")
        return 0 if self.connection.http == NULL else socket_held(self.connection)

    def __repr__(self):
        state = ("", "opening", "open", "closing", "closed")[self.s.state]
        path = "" if self.request is None else f" {self.request.raw_path}"
        return f"<WebSocket {state}{path}>"

    # -- sending -----------------------------------------------------------------------------------------------------

    def send(self, data not None):
        """Queues a message at once: str as text, bytes-like as binary. Awaiting what it returns waits until the peer
        has room; it may be ignored. SocketClosed: it is not open."""
        if isinstance(data, str):
            self.send_text(<str>data)
        else:
            self.send_data(data if type(data) is bytes else bytes(memoryview(data)))
        return self

    def send_bytes(self, data not None):
        """The same for bytes-like objects only."""
        self.send_data(data if type(data) is bytes else bytes(memoryview(data)))
        return self

    def send_now(self, data not None):
        """Sends what ``send`` takes, and says whether the peer still drains: bool. False: it does not, or is gone. What
        another thread sends leaves with the loop's next turn, and is not known to drain or not: True."""
        if self.s.state != SOCKET_OPEN:
            return False
        self.send(data)
        if not self.is_ours():
            return True
        self.loop.flush()
        return self.s.state == SOCKET_OPEN and self.buffered < SOCKET_MARK

    def ping(self, data not None=b""):
        """Sends a ping with up to 125 bytes (RFC 6455 5.5.2). The server sends some itself to peers that are silent."""
        cdef bytes held = data if type(data) is bytes else bytes(memoryview(data))
        if len(held) > WS_CONTROL_MAX:
            raise ValueError(f"ping(): {len(held)} bytes; a control frame holds up to 125 (RFC 6455 5.5)")
        self.put(WS_OP_PING, PyBytes_AS_STRING(held), PyBytes_GET_SIZE(held), held)
        return self

    def close(self, int code=1000, str reason not None=""):
        """Begins the closing handshake (RFC 6455 7); nothing where it is closed already. ValueError: a code that must
        not be sent (7.4), a reason of more than 123 bytes."""
        cdef bytes encoded = reason.encode()
        if not ws_is_close_code(code) or len(encoded) > WS_REASON_MAX:
            raise ValueError(f"close({code}, {reason!r}): a code of 1000 to 4999 that may be sent, and a reason of at "
                             "most 123 bytes (RFC 6455 7.4, 5.5)")
        if self.s.state != SOCKET_OPEN:
            return self
        if not self.is_ours():
            mail_post(self.loop, (self, code, encoded))
            return self
        if socket_close(&self.s, code, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded)) < 0:
            raise MemoryError
        loop_queue_ready(self.loop, self.connection)        # it may have been paused
        self.flush_soon()
        return self

    def __await__(self):
        """Waits until the peer has room again."""
        if self.s.state != SOCKET_OPEN or self.buffered < socket_mark(self.loop):
            return iter(())
        future = _running_loop().create_future()
        if self.room is None:
            self.room = []
        self.room.append(future)
        self.s.wants_room = True
        return future.__await__()

    cdef inline int send_text(self, str text) except -1:
        cdef Py_ssize_t[1] length
        cdef const char* data = PyUnicode_AsUTF8AndSize(text, length)
        return self.put(WS_OP_TEXT, data, length[0], text)

    cdef inline int send_data(self, bytes data) except -1:
        return self.put(WS_OP_BINARY, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), data)

    cdef bint is_ours(self) noexcept:
        """Predicate: this is the loop's thread."""
        return self.loop.thread == PyThread_get_thread_ident()

    cdef int put(self, unsigned char opcode, const char* data, size_t length, object owner) except -1:
        """Queues one frame whose payload belongs to ``owner``, which never changes."""
        if self.s.state != SOCKET_OPEN:
            raise SocketClosed(self.s.code, self.close_reason)
        if not self.is_ours():
            mail_post(self.loop, (self, opcode, owner))
            return 1
        if socket_held(self.connection) > self.loop.limits.out_buffer and opcode < WS_OP_CLOSE and self.overflows():
            return 1
        if self.s.deflates and length >= SOCKET_DEFLATED and opcode < WS_OP_CLOSE:
            self.put_deflated(opcode, data, length)
        elif length > COPIED_BODY:
            self.put_shared(opcode, data, length, owner)
        elif socket_put(&self.s, opcode, False, data, length) < 0:
            raise MemoryError
        self.flush_soon()
        return 1

    cdef int put_deflated(self, unsigned char opcode, const char* data, size_t length) except -1:
        """RFC 7692 7.2.1."""
        cdef WsBuffer packed
        cdef int result
        memset(&packed, 0, sizeof(WsBuffer))
        result = ws_deflate(&self.s.deflater, <const unsigned char*>data, length, &packed)
        if result == WS_DONE:
            result = socket_put(&self.s, opcode, True, <const char*>packed.data, packed.size)
        elif result != WS_NO_MEMORY:
            result = socket_put(&self.s, opcode, False, data, length)
        ws_buffer_free(&packed)
        if result < 0:
            raise MemoryError
        return 1

    cdef int put_shared(self, unsigned char opcode, const char* data, size_t length, object owner) except -1:
        """A large frame: its payload is sent from where it is. What is gathered goes before it. Without memory for all
        of it the connection ends: it could not go on in the midst of a frame."""
        cdef Output* out = &self.connection.http.out
        cdef Segment* segment = NULL
        if ws_buffer_reserve(&self.s.out, WS_HEAD_MAX) < 0:
            raise MemoryError
        self.s.out.size += ws_write_head(self.s.out.data + self.s.out.size, opcode, 1, False, length)
        if socket_queue(self.loop, &self.s, out) > 0:
            segment = segment_take(self.loop, out)
        if segment == NULL:
            take_out(self.loop, self.connection, CLOSE_NO_MEMORY)
            raise MemoryError
        segment.data = data
        segment.left = length
        segment.owner = <PyObject*>owner
        Py_IncRef(segment.owner)
        return 1

    cdef bint overflows(self) except -1:
        """The peer does not read: by the route's policy the message is dropped (True), or the WebSocket ends."""
        if self.drops:
            self.dropped += 1
            return True
        self.loop.row.counts.timeouts[<int>TIMEOUT_RESPONSE] += 1
        take_out(self.loop, self.connection, CLOSE_RESPONSE_SLOW)
        self.loop.wake()
        raise SocketClosed(WS_NO_CLOSE, f"the peer does not read, and more than {self.loop.limits.out_buffer} bytes "
                                        "waited for it")

    cdef int flush_soon(self) except -1:
        """What was gathered leaves at the end of the turn, or of this step of a Task."""
        cdef Loop loop = self.loop
        loop_queue_answered(loop, self.connection)
        if loop.running or loop.between or loop.flush_asked:
            return 1
        if loop.call_soon is None:
            loop.wake()
        else:
            loop.flush_asked = True
            loop.call_soon(loop.flush)
        return 1

    # -- rooms -------------------------------------------------------------------------------------------------------

    def subscribe(self, str topic not None):
        """What is published to a topic is sent here from now on, until it is closed."""
        if self.s.state == SOCKET_OPEN:
            if self.topics is None:
                self.topics = set()
            self.topics.add(topic)
            self.loop.rooms.setdefault(topic, {})[self] = None

    def unsubscribe(self, str topic not None):
        """What is published to a topic is not sent here any more."""
        if self.topics is not None and topic in self.topics:
            self.topics.discard(topic)
            room_leave(self.loop, topic, self)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.receive()
        except SocketClosed:
            raise StopAsyncIteration from None

    async def receive(self):
        """The next message: str or bytes. SocketClosed at its end."""
        if self.arrived is None:
            raise RuntimeError("receive() is for async handlers; a plain one is called with each message")
        if not self.is_ours():
            raise RuntimeError("receive() belongs to the thread of the WebSocket's event loop")
        while not self.arrived:
            if self.s.state > SOCKET_OPEN:
                raise SocketClosed(self.s.code, self.close_reason)
            if self.waiter is not None:
                raise RuntimeError("another Task awaits this WebSocket's messages")
            self.waiter = _running_loop().create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
        return self.take()

    cdef object take(self):
        """The next of those that arrived. Where it had paused the peer and half is taken, reading goes on."""
        message = self.arrived.pop(0)
        self.arrived_bytes -= len(message)
        if self.s.paused and len(self.arrived) * 2 <= SOCKET_ARRIVED and self.arrived_bytes * 2 <= SOCKET_MARK:
            self.s.paused = False
            if self.connection is not None:
                loop_queue_ready(self.loop, self.connection)
                self.loop.wake()
        return message

    # -- what the machine calls --------------------------------------------------------------------------------------

    cdef int begin(self) except -1:
        """It is open."""
        if self.in_task:
            self.arrived = []
            self.loop.call_soon(self._start, context=self.context)
            return 1
        return self.tell(_CONNECT)

    def _start(self):
        """Runs an async handler. It cannot be started where it was accepted: a Task may be running there."""
        if self.arrived is not None and self.task is None and self.loop.spawn is not None:
            self.loop.tasks.add(self)
            self.task = self.loop.spawn(_run_socket(self))

    cdef int take_text(self, str text) except -1:
        if self.in_task:
            return self.arrive(text, len(text))
        message = <Message>Message.__new__(Message)
        (<Message>message).text = text
        return self.tell(message)

    cdef int take_bytes(self, bytes data) except -1:
        if self.in_task:
            return self.arrive(data, len(data))
        message = <Binary>Binary.__new__(Binary)
        (<Binary>message).data = data
        return self.tell(message)

    cdef int arrive(self, object message, size_t length) except -1:
        self.arrived.append(message)
        self.arrived_bytes += length
        if len(self.arrived) >= SOCKET_ARRIVED or self.arrived_bytes >= SOCKET_MARK:
            self.s.paused = True
        return self.wake_waiter()

    cdef int wake_waiter(self) except -1:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        return 1

    cdef int tell(self, object event) except -1:
        """Calls a plain handler. What it raises ends the WebSocket with 1011, but KeyboardInterrupt and SystemExit."""
        PyContext_Enter(self.context)
        try:
            self.handler(event, self.request.get_params(), self)
        except BaseException:
            error = _current_exception()
            if self.loop.forks != forks:
                end_fork(error)
            self.fail_by_handler(error)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
        finally:
            PyContext_Exit(self.context)
        if self.loop.forks != forks:
            end_fork(None)
        return 1

    cdef int fail_by_handler(self, object error) except -1:
        """It raised. That this very WebSocket is closed is no failure."""
        if not isinstance(error, (KeyboardInterrupt, SystemExit)) \
                and not (isinstance(error, SocketClosed) and self.s.state > SOCKET_OPEN):
            self.loop.dispatcher._tell(self.request, error, f"WebSocket {self.request.raw_path}, handler "
                                                            f"{self.endpoint.label}")
        if self.s.state == SOCKET_OPEN:
            self.close(WS_INTERNAL_ERROR)
        return 1

    cdef int give_room(self) except -1:
        """Those who await room go on."""
        room, self.room = self.room, None
        self.s.wants_room = False
        for future in room or ():
            if not future.done():
                future.set_result(None)
        return 1

    cdef int end(self) except -1:
        """It is over: the application is told, once."""
        if self.connection is None:
            return 1
        self.connection = None
        for topic in self.topics or ():
            room_leave(self.loop, topic, self)
        self.loop.sockets.discard(self)
        self.give_room()
        if self.in_task:
            return self.wake_waiter()
        return self.tell(Close(self.s.code, self.close_reason))


cdef Connect _CONNECT = Connect()


async def _run_socket(WebSocket ws not None):
    """The Task of an async handler. What it raises ends the WebSocket with 1011; its return closes it with 1000."""
    cdef object error = None
    try:
        await ws.handler(ws)
    except BaseException:
        error = _current_exception()
    if ws.loop.forks != forks:
        end_fork(error)
    ws.loop.tasks.discard(ws)
    if error is not None and not isinstance(error, _CancelledError):
        ws.fail_by_handler(error)
    elif ws.s.state == SOCKET_OPEN:
        ws.close(WS_NORMAL if error is None else WS_GOING_AWAY)
    if isinstance(error, (_CancelledError, KeyboardInterrupt, SystemExit)):
        raise error


cdef int socket_mail(Loop loop, tuple item) except -1:
    """What another thread had to say to a WebSocket, (it, opcode or close code, what), or to a topic (None, topic,
    frame); it is dropped where there is nobody any more."""
    cdef WebSocket ws = item[0]
    try:
        if ws is None:
            room_send(loop, item[1], item[2])
        elif ws.s.state != SOCKET_OPEN:
            pass
        elif item[1] >= WS_NORMAL:
            ws.close(item[1], item[2].decode())
        elif isinstance(item[2], str):
            ws.send_text(<str>item[2])
        elif item[1] == WS_OP_PING:
            ws.ping(item[2])
        else:
            ws.send_data(item[2])
    except SocketClosed:            # it was closed by the policy for peers that do not read
        pass
    except BaseException:           # no memory, say: it is no reason to stop serving others
        tell_unraisable(_current_exception())
    return 1


def open_websocket(Request request not None, headers, handler, bint in_task, *, str protocol=None, deflate=None,
                   bint drops=False):
    """The answer of a WS route that accepts: a Response with status 101, for this request's connection only.

    ``headers``: the fields of the handshake; ``deflate``: (our bits, memory level, level, takeover, the peer's bits,
    its takeover), or None.
    """
    cdef WebSocket ws = WebSocket.__new__(WebSocket)
    cdef Response response = <Response>Response.__new__(Response)
    cdef bytes lines = b""
    for name, value in headers:
        lines += f"{name}: {value}\r\n".encode("ascii")
    ws.request = request
    ws.endpoint = request.endpoint
    ws.handler = handler
    ws.in_task = in_task
    ws.context = PyContext_CopyCurrent()    # with what before hooks have set
    ws.drops = drops
    ws.protocol = protocol
    if deflate is not None:
        bits, mem_level, level, takeover, peer_bits, peer_takeover = deflate
        ws.s.deflates = True
        ws_reader_init(&ws.s.reader, True, True)
        ws_deflater_init(&ws.s.deflater, bits, mem_level, level, takeover)
        ws_inflater_init(&ws.s.inflater, peer_bits, peer_takeover)
    response.status = 101
    response._head = lines
    response._socket = ws
    return response
