# The transport: one accepted socket, plain or under TLS, behind one set of operations chosen once, at accept.
#
# States of the transport (Transport below); transport_step is the one function that changes them:
#
#     PROXY        PROXY protocol: its header has not come whole; not a byte of anything else was taken (_core_proxy)
#     PEEK         TLS port, not a byte seen yet: no SSL object, a silent client costs this object and its fd
#     HANDSHAKING  TLS: SSL_accept is under way, driven by readiness
#     OPEN         bytes of the application's protocol flow
#     CLOSING      everything was handed over; close_notify (TLS) is going out
#     LINGERING    our side is shut; what still comes is read raw and thrown away until the peer ends or a deadline
#     CLOSED       the fd is closed, nothing is registered anywhere; the object may live on as a value
#
# Ownership: the Connection owns its fd from the moment web_detach_fd gave it, and release() is the one place that
# closes it. Tls owns its SSL besides. A loop that serves the connection holds one reference to it until it is CLOSED,
# and owns everything under "served" below; a connection without a loop (tests, benchmarks, other loops) is driven by
# the public steps, which a loop's connection refuses.
#
# Invariants: fd == -1 exactly when CLOSED. interest != 0 only while registered with the poller. A blocked operation
# leaves what it waits for in read_wants or write_wants, and clears it when it is tried again.

cdef enum Transport:
    TRANSPORT_PROXY = 1
    TRANSPORT_PEEK = 2
    TRANSPORT_HANDSHAKING = 3
    TRANSPORT_OPEN = 4
    TRANSPORT_CLOSING = 5
    TRANSPORT_LINGERING = 6
    TRANSPORT_CLOSED = 7

# The legal steps: for each state the set of states that may follow it, as bits. Every state but CLOSED may fail to
# CLOSED.
cdef unsigned char[8] TRANSPORT_STEPS
TRANSPORT_STEPS[:] = [
    0,
    (1 << TRANSPORT_PEEK) | (1 << TRANSPORT_OPEN) | (1 << TRANSPORT_CLOSED),                # PROXY
    (1 << TRANSPORT_HANDSHAKING) | (1 << TRANSPORT_LINGERING) | (1 << TRANSPORT_CLOSED),    # PEEK (plain HTTP lingers)
    (1 << TRANSPORT_OPEN) | (1 << TRANSPORT_CLOSED),                                        # HANDSHAKING
    (1 << TRANSPORT_CLOSING) | (1 << TRANSPORT_CLOSED),                                     # OPEN
    (1 << TRANSPORT_LINGERING) | (1 << TRANSPORT_CLOSED),                                   # CLOSING
    (1 << TRANSPORT_CLOSED),                                                                # LINGERING
    0,                                                                                      # CLOSED
]

cdef bint abort_on_illegal_step = False


def abort_on_illegal_steps(bint yes):
    """Make an illegal step of a state machine abort the process (the test-suite does), not only close its
    connection."""
    global abort_on_illegal_step
    abort_on_illegal_step = yes


cdef int illegal_step() noexcept nogil:
    if abort_on_illegal_step:
        abort()
    return WEB_FAILED


cdef int transport_step(Connection c, Transport to) noexcept nogil:
    """Changes the state of the transport: 1, or WEB_FAILED where the table does not allow it (the caller closes)."""
    if not TRANSPORT_STEPS[c.transport] & (1 << <int>to):
        return illegal_step()
    count_transport_step(c.loop, c.transport, to)
    c.transport = to
    return 1


class ConnectionInUse(Exception):
    """A step was asked of a connection that a server owns, or that another thread is using at this moment."""


cdef class Connection:
    """One connection: ``Plain`` or ``Tls``, told apart by ``match``.

    On its own (``Connection.plain(sock)``, ``Connection.tls(sock, context)``) it offers non-blocking steps. A step that
    would block returns None, and ``wants`` says what to wait for: ``"read"`` or ``"write"``. A failure raises OSError
    or TlsError and never looks like an answer. On a connection that a server owns the steps raise ConnectionInUse; the
    attributes stay readable.
    """
    # the transport
    cdef int fd
    cdef int error_number                # errno of the last failed operation; 0: it was not a system call
    cdef unsigned char transport         # Transport
    cdef unsigned char read_wants        # WEB_READ or WEB_WRITE: what a blocked read waits for; 0: none is blocked
    cdef unsigned char write_wants       # the same for a blocked write, handshake or shutdown
    cdef bint hello_seen                 # TLS: the whole ClientHello came
    cdef bint busy                       # a step is running (standalone use: two threads on one SSL corrupt it)
    cdef unsigned char announced         # Announced: what a PROXY header said (_core_proxy)
    cdef unsigned int read_cost          # of the last recv_some, beside its bytes: the bytes it might have read instead
    cdef web_address peer_address
    cdef web_address client_address      # the peer's, or the one that a PROXY header announced
    cdef ProxyPart* proxy_part           # owned: what came of that header, until it is whole; or NULL
    cdef object blocked                  # standalone: what a blocked send() or send_file() must be repeated with

    # served: touched by the loop's thread only
    cdef Loop loop                       # None: standalone
    cdef unsigned char interest          # what the poller watches
    cdef unsigned char events            # what it reported and nobody has looked at yet
    cdef unsigned char marks             # Mark: the loop's lists in which this connection stands
    cdef unsigned char reason            # CloseReason, counted when the connection is taken out of service
    cdef unsigned int requests           # how many were answered
    cdef void* next_ready
    cdef void* next_call
    cdef void* next_answered
    cdef void* next_gone
    cdef void* earlier                   # all connections of the loop
    cdef void* later
    cdef Http1* http                     # the protocol's state; NULL while idle between requests
    cdef Deadline deadline
    cdef Unfinished unfinished

    def __cinit__(self):
        self.fd = -1
        self.transport = TRANSPORT_CLOSED
        self.deadline.owner = <void*>self
        self.unfinished.owner = <void*>self

    def __init__(self):
        raise TypeError("a Connection is made by Connection.plain(sock) or Connection.tls(sock, context)")

    def __dealloc__(self):
        self.release()

    # -- the operations, overridden by Plain and Tls; the contract is conn_helpers.h's -------------------------------

    cdef Transport first_state(self) noexcept nogil:
        """In which a connection begins, or goes on after a PROXY header."""
        return TRANSPORT_CLOSED

    cdef int handshake_step(self) noexcept nogil:
        return WEB_FAILED

    cdef Py_ssize_t recv_some(self, char* to, size_t count) noexcept nogil:
        return WEB_FAILED

    cdef Py_ssize_t send_some(self, const char* data, size_t count, bint more) noexcept nogil:
        return WEB_FAILED

    cdef Py_ssize_t send_file_some(self, int file, int64_t* offset, size_t count, bint again) noexcept nogil:
        """WEB_END: the file ends before offset + count. again: the caller comes back at once for what was not taken."""
        return WEB_FAILED

    cdef int flush_step(self) noexcept nogil:
        """Hands to the kernel what the transport itself still holds: 1 nothing, WEB_WANT_WRITE, WEB_FAILED."""
        return 1

    cdef int64_t unacknowledged(self) noexcept nogil:
        """Bytes that were reported as sent and that the peer has not acknowledged; less than none where some are on
        their way that were not reported yet."""
        return web_unacknowledged(self.fd)

    cdef int shutdown_step(self) noexcept nogil:
        """Says that nothing more will be sent (close_notify, FIN): 1 done."""
        return WEB_FAILED

    cdef int has_pending(self) noexcept nogil:
        """1: bytes were taken from the socket and not yet given to a caller of recv_some; -1: none."""
        return -1

    cdef bint answers_for(self, str authority) except -1:
        """Predicate: requests for this host (and port) may come on this connection (RFC 9110 15.5.20)."""
        return True

    cdef CloseReason failure_reason(self) noexcept nogil:
        """How an operation that answered WEB_FAILED is counted."""
        return CLOSE_PEER_LEFT

    cdef HandshakeFault handshake_fault(self) noexcept nogil:
        """How a handshake that answered WEB_FAILED is counted."""
        return FAULT_OTHER

    cdef void release(self) noexcept nogil:
        """Closes the fd and frees what the transport holds. No I/O on the connection; may be called again."""
        proxy_free(self)
        web_close_fd(&self.fd)
        self.transport = TRANSPORT_CLOSED

    cdef object failure(self, str doing):
        """The exception for an operation that just answered WEB_FAILED."""
        if self.error_number == 0:
            return ConnectionError(f"{doing}: the connection failed")
        return OSError(self.error_number, f"{doing}: {os_strerror(self.error_number)}")

    # -- made from Python --------------------------------------------------------------------------------------------

    @staticmethod
    def plain(sock):
        """A Plain connection that takes the fd of a connected ``socket.socket``; the socket object is left detached."""
        cdef Plain self = Plain.__new__(Plain)
        take_socket(self, sock)
        self.transport = self.first_state()
        return self

    @staticmethod
    def tls(sock, TlsContext context not None):
        """A Tls connection (server side) that takes the fd of a connected ``socket.socket``; handshake() comes next."""
        cdef Tls self = Tls.__new__(Tls)
        context.load()
        take_socket(self, sock)
        self.context = context
        self.transport = self.first_state()
        return self

    # -- what an application may read --------------------------------------------------------------------------------

    @property
    def is_tls(self):
        """Whether TLS protects this connection."""
        return False

    @property
    def peer(self):
        """(host, port) of the other end; None for a Unix socket."""
        return address_tuple(&self.peer_address)

    @property
    def client(self):
        """(host, port) that a PROXY header announced; where there was none, or it announced nobody, those of the other
        end, as ``peer``."""
        return address_tuple(&self.client_address)

    @property
    def local(self):
        """(host, port) of this end; None for a Unix socket or once the connection is closed."""
        cdef web_address at
        if self.fd < 0 or web_socket_address(self.fd, 0, &at) < 0:
            return None
        return address_tuple(&at)

    @property
    def closed(self):
        """Whether the connection is closed."""
        return self.transport == TRANSPORT_CLOSED

    @property
    def wants(self):
        """What a step that answered None waits for: "read" or "write"; None when nothing is blocked."""
        cdef unsigned char wants = self.write_wants or self.read_wants
        if wants == 0:
            return None
        return "write" if wants & WEB_WRITE else "read"

    @property
    def pending(self):
        """Whether recv() would find bytes that were already taken from the socket. False while a server owns it."""
        return self.loop is None and self.fd >= 0 and self.has_pending() > 0

    def fileno(self):
        """The file descriptor, for waiting only. ValueError once the connection is closed."""
        if self.fd < 0:
            raise ValueError("the connection is closed")
        return self.fd

    # -- the steps ---------------------------------------------------------------------------------------------------

    cdef int begin(self, str doing) except -1:
        """Every step starts here: refuses a server's connection, a second thread, and a closed one."""
        if self.loop is not None:
            raise ConnectionInUse(f"{doing}: a server owns this connection; its bytes belong to the parser")
        if self.busy:
            raise ConnectionInUse(f"{doing}: another thread is using this connection")
        if self.fd < 0:
            raise ValueError(f"{doing}: the connection is closed")
        self.busy = True
        self.error_number = 0
        return 1

    cdef int require_open(self, str doing) except -1:
        if self.transport != TRANSPORT_OPEN:
            self.busy = False
            raise ValueError(f"{doing}: the handshake is not finished, or the connection was shut down")
        return 1

    cdef int require_again(self, str doing, bint same) except -1:
        """After a step that would have blocked the same one must come again: a TLS record may be made of it
        (SSL_write)."""
        if not same:
            self.busy = False
            raise ValueError(f"{doing}: the step that would have blocked must be repeated first, with the same bytes")
        return 1

    cdef object finish(self, Py_ssize_t result, str doing):
        """Every step ends here: None for a blocked one, an exception for a failed one, else the number."""
        self.busy = False
        if is_blocked(result):
            return None
        if result < 0:
            raise self.failure(doing)
        return result

    def handshake(self):
        """One step of the handshake (RFC 8446): True when it is finished, None when it would block. Plain: True."""
        cdef int result = 1
        self.begin("handshake")
        if self.transport == TRANSPORT_PEEK or self.transport == TRANSPORT_HANDSHAKING:
            with nogil:
                result = self.handshake_step()
        if result == 1 and self.transport == TRANSPORT_OPEN:
            with nogil:
                result = self.flush_step()
        elif self.transport > TRANSPORT_OPEN:
            self.busy = False
            raise ValueError("handshake: the connection was shut down")
        return None if self.finish(result, "handshake") is None else True

    def recv(self, Py_ssize_t n):
        """Up to n bytes (n >= 1); b"" at the end of the stream; None when it would block."""
        cdef Py_ssize_t result
        cdef bytes data
        cdef char* to
        if n < 1:
            raise ValueError("recv: n must be 1 or more")
        self.begin("recv")
        self.require_open("recv")
        try:
            data = PyBytes_FromStringAndSize(NULL, n)
        except BaseException:
            self.busy = False
            raise
        to = PyBytes_AS_STRING(data)
        with nogil:
            result = self.recv_some(to, n)
            if result != WEB_FAILED:
                self.flush_step()       # reading may have made the transport answer; a failure shows in the next step
        if self.finish(result, "recv") is None:
            return None
        return data[:result]

    def send(self, data):
        """Sends from data (bytes-like); the number of bytes that were taken (0 only for no data); None: it would block.

        After None the same bytes must come again, more of them or not: a TLS record may already be made of them
        (SSL_write). Other bytes are refused with ValueError, and nothing is lost.
        """
        cdef bytes held = data if type(data) is bytes else bytes(memoryview(data))
        cdef const char* start = PyBytes_AS_STRING(held)
        cdef Py_ssize_t count = PyBytes_GET_SIZE(held), result
        self.begin("send")
        self.require_open("send")
        if self.blocked is not None:
            self.require_again("send", type(self.blocked) is bytes and held.startswith(<bytes>self.blocked))
        if count == 0:
            self.busy = False
            return 0
        with nogil:
            result = self.send_some(start, count, False)
        # So much of it may be encrypted already, and is sent whatever comes again.
        self.blocked = held[:SEND_BATCH] if is_blocked(result) else None
        return self.finish(result, "send")

    def send_file(self, file, int64_t offset, Py_ssize_t count):
        """Sends up to count bytes of a file (an object with fileno()) from offset; the number sent, or None: would
        block.

        EOFError: the file ends before offset + count. Under TLS a bounded chunk is read and encrypted at a time.
        """
        cdef int source = file.fileno()
        cdef Py_ssize_t result
        if count < 1 or offset < 0:
            raise ValueError("send_file: count must be 1 or more and offset not negative")
        self.begin("send_file")
        self.require_open("send_file")
        cdef tuple again = (source, offset, min(count, <Py_ssize_t>SEND_BATCH))
        if self.blocked is not None:
            self.require_again("send_file", self.blocked == again)
        with nogil:
            result = self.send_file_some(source, &offset, count, False)
        self.blocked = again if is_blocked(result) else None
        if result == WEB_END:
            self.busy = False
            raise EOFError(f"send_file: the file ends before byte {offset + count}")
        return self.finish(result, "send_file")

    def shutdown(self):
        """Says that nothing more will be sent (close_notify and FIN): True when said, None when it would block."""
        cdef int result
        self.begin("shutdown")
        if self.transport == TRANSPORT_LINGERING:
            self.busy = False
            return True
        if self.transport != TRANSPORT_CLOSING:
            self.require_open("shutdown")
            if self.blocked is not None:
                self.require_again("shutdown", False)
            transport_step(self, TRANSPORT_CLOSING)
        with nogil:
            result = self.shutdown_step()
            if result > 0:
                transport_step(self, TRANSPORT_LINGERING)
        return None if self.finish(result, "shutdown") is None else True

    def close(self):
        """Closes at once, without telling the peer (shutdown() does). Closing twice is allowed."""
        if self.loop is not None or self.busy:
            raise ConnectionInUse("close: a server or another thread owns this connection")
        self.blocked = None
        self.release()

    def __repr__(self):
        cdef str state = ("", "proxy", "peek", "handshaking", "open", "closing", "lingering", "closed")[self.transport]
        return f"<{type(self).__name__} {state} fd={self.fd} peer={self.peer}>"


@cython.final
cdef class Plain(Connection):
    """A connection without TLS."""

    __match_args__ = ("peer",)

    cdef Transport first_state(self) noexcept nogil:
        return TRANSPORT_OPEN

    cdef int handshake_step(self) noexcept nogil:
        return 1

    cdef Py_ssize_t recv_some(self, char* to, size_t count) noexcept nogil:
        return plain_result(self, &self.read_wants, web_recv(self.fd, to, count))

    cdef Py_ssize_t send_some(self, const char* data, size_t count, bint more) noexcept nogil:
        return plain_result(self, &self.write_wants, web_send(self.fd, data, count, more))

    cdef Py_ssize_t send_file_some(self, int file, int64_t* offset, size_t count, bint again) noexcept nogil:
        return plain_result(self, &self.write_wants, web_send_file(self.fd, file, offset, count))

    cdef int shutdown_step(self) noexcept nogil:
        if c_shutdown(self.fd, SHUT_WR) < 0:
            self.error_number = errno
            return WEB_FAILED
        return 1


cdef Py_ssize_t plain_result(Connection c, unsigned char* wants, Py_ssize_t result) noexcept nogil:
    """Keeps what a blocked operation waits for, and why a failed one failed."""
    wants[0] = 0
    if result == WEB_WANT_READ:
        wants[0] = WEB_READ
    elif result == WEB_WANT_WRITE:
        wants[0] = WEB_WRITE
    elif result == WEB_FAILED:
        c.error_number = errno
    return result


cdef inline bint is_blocked(Py_ssize_t result) noexcept nogil:
    """Predicate: the operation would have blocked."""
    return result == WEB_WANT_READ or result == WEB_WANT_WRITE


cdef object address_tuple(const web_address* at):
    cdef char[INET6_ADDRSTRLEN] text
    if web_address_text(at, text) == NULL:
        return None
    return (text.decode("ascii"), at.port)


cdef int take_socket(Connection c, object sock) except -1:
    """Moves the fd of a socket object into a connection. The object is detached first, so exactly one owner ever closes
    the fd, whatever fails after."""
    if not isinstance(sock, socket_type):
        raise TypeError(f"a connected socket.socket is needed, not {type(sock).__name__}")
    if hasattr(sock, "do_handshake"):
        raise TypeError("a plain socket is needed: an ssl.SSLSocket's fd carries records, not the bytes you mean")
    if sock.type != SOCK_STREAM:
        raise ValueError("a stream socket is needed (socket.SOCK_STREAM)")
    c.fd = sock.detach()
    if c.fd < 0:
        raise ValueError("the socket is closed")
    if web_prepare_fd(c.fd) < 0:
        raise_errno("the socket cannot be made non-blocking")
    web_socket_address(c.fd, 1, &c.peer_address)
    c.client_address = c.peer_address
    return 1
