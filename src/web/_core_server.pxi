# The loop as a server sees it: made, given listeners, run, stopped, closed. What one turn does is in _core_turn.
#
# Ownership: a Loop owns its poller, its arenas and pools, its listeners, and one reference to each connection that it
# serves. take_out ends a connection's service at once (fd closed, nothing registered) but the object stays valid until
# loop_bury gives the reference up, with the GIL, at a point where no list of this turn can still name it.
#
# A loop belongs to the thread that runs it and to the process that made it; stop() and wake() are for every thread.

cdef enum:
    MARK_READY = 1
    MARK_CALL = 2
    MARK_GONE = 4
    MARK_ANSWERED = 8
    TAG_LISTENER = 1            # in the low bits of a poller's pointer: objects are aligned to 8 and more
    TAG_SIGNALS = 2
    TAGS = 3
    IN_ARENA = 1 << 20
    HTTP_POOL = 256
    HANDSHAKE_BUDGET = 500000   # ns of handshakes in one turn: requests that are ready do not wait longer for crypto
    TRIM_AFTER = 64             # connections that went: then their memory is given back to the system
    LATE = 250000000            # ns after its time at which a deadline tells of a slow loop, not of a slow peer
    CALL_BUDGET = 1000000       # ns of handlers before answers that are ready are sent
    NAMED_MAX = 100             # requests that the log names when they are cut off; the others it counts

cdef struct CoreLimits:
    Http1Limits http
    size_t body
    size_t out_buffer
    WsLimits websocket
    unsigned int connections
    unsigned int unfinished
    unsigned int requests
    int64_t body_min_rate
    int64_t body_grace          # ns
    int64_t response_min_rate
    int64_t response_grace      # ns


@cython.final
@cython.no_gc_clear     # the collector must not take stats away before loop_free has counted this loop out
cdef class Loop:
    """The event loop: serves connections with a dispatcher. Made, run and closed by Server; embedded by fileno()."""
    cdef web_poller poller
    cdef int pid
    cdef unsigned int forks     # of this process, when the loop was made
    cdef unsigned long thread   # who runs it, while it is running
    cdef bint is_open, embedded, running, stopping, swept, stop_asked, leave_asked, signals, server_line
    cdef bint last_answers      # each next answer is its connection's last
    cdef bint draining          # told to stop, it goes on for a while, and says that it is not ready
    cdef bint stop_over         # the grace has passed
    cdef public bint ready      # as the application says
    cdef readonly bint has_left     # what leave() asks for was done
    cdef double stop_grace, stop_delay  # seconds; negative: not asked
    cdef int64_t slow_after     # ns that a handler may hold the loop before the log names it; 0: any time
    cdef CoreLimits limits
    cdef Deadlines deadlines
    cdef Deadline stop_deadline
    cdef Sources sources
    cdef int64_t now, woke_at
    cdef readonly Dispatcher dispatcher
    cdef bytes spool_folder     # where bodies that are too large for memory are kept
    cdef const char* spool_path
    cdef Request request        # the one that is used again and again, while nobody else holds it
    cdef list listeners
    cdef int signal_fd
    cdef int poller_error       # errno of a wait that failed and was not yet told; 0: none
    # what answers later (_core_pending)
    cdef readonly set pendings
    cdef readonly Pool pool     # None: no threads
    cdef object spawn           # coroutine -> Task; None: no asyncio runs this loop
    cdef bint spawns_eagerly
    cdef object call_soon       # of that asyncio
    cdef bint flush_asked       # it will call flush()
    cdef bint between           # between two turns something is answered or sent: the arenas are in use
    cdef readonly set sockets   # WebSockets that are open
    cdef readonly set tasks     # WebSockets whose async handlers run
    cdef dict rooms             # topic -> {WebSocket: None}, in the order in which they came
    cdef object context         # for inline calls, while it is empty
    cdef bint in_context        # it is entered: only within turn_call
    cdef object mail
    cdef bint mail_waits
    cdef bint in_check          # a client_check= runs, within OpenSSL: no connection may end
    cdef object raised          # KeyboardInterrupt or SystemExit that leaves by the next turn
    # the turn
    cdef char* in_arena
    cdef char* out_arena
    cdef size_t in_top, out_top
    cdef void* ready_first
    cdef void* ready_last
    cdef void* call_first
    cdef void* call_last
    cdef void* answered_first
    cdef void* gone_first
    cdef void* all_first
    cdef unsigned int count
    cdef unsigned int late_turns
    cdef unsigned int peak      # of count, since memory was last given back
    cdef Deadline trim
    cdef Accepted[64] accepted  # ACCEPT_BATCH
    cdef int accepted_count
    cdef char[128] stamp        # STAMP_SIZE
    cdef size_t stamp_len
    cdef int64_t stamp_second
    # pools
    cdef Segment* segment_pool
    cdef Segment* garbage
    cdef int segment_pooled
    cdef Http1* http_pool
    cdef Http1* http_garbage    # their bodies are Python objects: given up once the GIL is held
    cdef int http_pooled
    # what is counted
    cdef readonly Stats stats
    cdef Row* row               # in stats: where this loop counts
    cdef object __weakref__     # Rooms refers to it

    def __cinit__(self):
        self.poller.fd = self.poller.timer_fd = self.poller.wake_fd = -1
        self.signal_fd = -1
        self.stop_grace = self.stop_delay = -1

    def __init__(self, Dispatcher dispatcher not None, limits, *, bint server_header=True, Stats stats=None, int row=0,
                 double slow_handler=0.0):
        cdef double second = 1e9
        if self.is_open:
            raise RuntimeError("the loop was made before")
        self.dispatcher = dispatcher
        self.listeners = []
        self.pendings = set()
        self.mail = _deque()
        self.sockets = set()
        self.tasks = set()
        self.rooms = {}
        self.server_line = server_header
        self.spool_folder = _fsencode(_gettempdir())
        self.spool_path = PyBytes_AS_STRING(self.spool_folder)
        self.ready = True
        self.slow_after = <int64_t>(slow_handler * second)
        self.count_in(stats or Stats(1), row)
        self.limits.http.request_line = limits.request_line
        self.limits.http.field = limits.field
        self.limits.http.fields = limits.fields
        self.limits.http.field_count = limits.field_count
        self.limits.body = limits.body
        self.limits.out_buffer = limits.out_buffer
        self.limits.websocket.frame = limits.websocket_frame
        self.limits.websocket.message = limits.websocket_message
        self.limits.websocket.fragments = limits.websocket_fragments
        self.limits.connections = limits.connections
        self.limits.unfinished = limits.handshakes
        self.limits.requests = limits.requests_per_connection
        self.limits.body_min_rate = limits.body_min_rate
        self.limits.response_min_rate = limits.response_min_rate
        self.limits.body_grace = <int64_t>(limits.body_grace * second)
        self.limits.response_grace = <int64_t>(limits.response_grace * second)
        self.deadlines.duration[DEADLINE_HANDSHAKE] = <int64_t>(limits.handshake_timeout * second)
        self.deadlines.duration[DEADLINE_HEAD] = <int64_t>(limits.head_timeout * second)
        self.deadlines.duration[DEADLINE_RATE] = <int64_t>second
        self.deadlines.duration[DEADLINE_IDLE] = <int64_t>(limits.idle_timeout * second)
        self.deadlines.duration[DEADLINE_LINGER] = <int64_t>(limits.linger_timeout * second)
        self.deadlines.duration[DEADLINE_PAUSE] = <int64_t>(second / 4)
        self.deadlines.duration[DEADLINE_TRIM] = <int64_t>second
        self.deadlines.duration[DEADLINE_PING] = <int64_t>(limits.websocket_ping * second)
        self.stop_deadline.owner = <void*>self
        self.pid = getpid()
        self.forks = forks
        self.now = web_monotonic_ns()
        self.in_arena = <char*>PyMem_RawMalloc(IN_ARENA)
        self.out_arena = <char*>PyMem_RawMalloc(OUT_ARENA)
        if self.in_arena == NULL or self.out_arena == NULL:
            raise MemoryError
        if sources_open(&self.sources, self.limits.connections, int.from_bytes(urandom(8), "little")) < 0:
            raise MemoryError
        if web_poller_open(&self.poller) < 0:
            raise_errno("the poller cannot be opened")
        self.is_open = True
        self.row.gauges.loops += 1
        stamp_update(self)

    def __dealloc__(self):
        loop_free(self)

    # -- what a server asks ------------------------------------------------------------------------------------------

    def listen(self, sock, TlsContext context=None, Networks proxies=None):
        """Takes over a listening ``socket.socket`` (it is left detached) and accepts from it, under TLS with a context;
        with proxies from these alone, each connection with a PROXY header before all else."""
        cdef Listener listener = Listener.__new__(Listener)
        self.check_usable()
        self.heed_names(context)
        listener.fd = sock.detach()
        listener.context = context
        listener.proxies = proxies
        if listener.fd < 0 or web_prepare_fd(listener.fd) < 0:
            raise_errno("the listening socket cannot be used")
        self.listeners.append(listener)
        listener_watch(self, listener, True)

    cdef int check_outside(self) except -1:
        if self.in_check:
            raise RuntimeError("not from client_check=: a handshake is under way")
        return 1

    cdef void heed_names(self, TlsContext context) noexcept:
        if context is not None and context.rules_differ:
            self.dispatcher.check_names()

    def adopt(self, sock, TlsContext context=None):
        """Serves an already connected ``socket.socket`` (it is left detached) and returns its Connection."""
        cdef Connection c
        cdef Connection holder
        self.check_usable()
        self.check_outside()
        if self.stopping or self.stop_asked:
            raise RuntimeError("the server is stopping: it takes no more connections")
        self.heed_names(context)
        holder = Connection.plain(sock)     # owns the fd until the loop does
        self.now = web_monotonic_ns()
        c = adopt_fd(self, &holder.fd, &holder.peer_address, context, False)
        if c is None:
            holder.close()
            raise ConnectionError("no room for another connection (Limits.connections)")
        holder.transport = TRANSPORT_CLOSED
        turn_arm(self)
        return c

    def watch_signals(self, sock):
        """Watches the reading end of the socket pair of ``signal.set_wakeup_fd`` until it is called with None."""
        self.check_usable()
        if self.signal_fd >= 0:
            web_poller_remove(&self.poller, self.signal_fd, WEB_READ)
            self.signal_fd = -1
        if sock is None:
            return
        self.signal_fd = sock.fileno()
        if web_poller_add(&self.poller, self.signal_fd, <void*>TAG_SIGNALS, WEB_READ) < 0:
            raise_errno("the signal socket cannot be watched")

    def fileno(self):
        """A file descriptor that is readable exactly when run_once() has work to do, for another event loop to
        watch."""
        self.check_usable()
        self.embedded = True
        turn_arm(self)
        return self.poller.fd

    def run_once(self, timeout=None):
        """One turn: waits up to timeout seconds (None: for ever, 0: not at all) and does what is ready."""
        cdef int timeout_ms = -1 if timeout is None else <int>min(max(0.0, timeout * 1000.0 + 0.999), 2e9)
        self.enter()
        try:
            with nogil:
                turn_wait(self, timeout_ms)
            turn_call(self)
            with nogil:
                turn_finish(self)
        finally:
            loop_bury(self)
            turn_arm(self)
            self.running = False

    def run(self):
        """Turns until stop() was called and the last connection is gone."""
        self.enter()
        try:
            while not (self.stopping and self.count == 0):
                with nogil:
                    turn_wait(self, -1)
                    while not turn_needs_python(self):
                        turn_finish(self)
                        turn_wait(self, -1)
                turn_call(self)
                with nogil:
                    turn_finish(self)
        finally:
            self.running = False
        if self.raised is not None:     # by the last that was told of its end
            raised, self.raised = self.raised, None
            raise raised

    def stop(self, double grace=0.0, double delay=0.0):
        """Stops accepting, ends idle connections, lets open requests finish for grace seconds, then ends those too.
        For delay seconds before that it goes on, says that it is not ready, and each answer is its connection's last.
        May be called from any thread and from a handler; a later call with less shortens either."""
        if self.stop_grace < 0 or grace < self.stop_grace:
            self.stop_grace = grace
        if self.stop_delay < 0 or delay < self.stop_delay:
            self.stop_delay = delay
        self.stop_asked = True
        self.wake()

    def leave(self):
        """Accepts no more; each connection gets its next answer with ``Connection: close``, and idle ones stay. What
        waits to be accepted is left to others who hold the listening sockets. From any thread."""
        self.leave_asked = self.stop_asked = True
        self.wake()

    def use_context(self, TlsContext old not None, TlsContext fresh not None):
        """Listeners of one context go on with another; connections keep theirs. From any thread."""
        cdef Listener listener
        self.heed_names(fresh)
        for listener in self.listeners:
            if listener.context is old:
                listener.context = fresh

    def use_tasks(self, spawn, bint eagerly, call_soon=None):
        """Coroutines run by ``spawn(coroutine)``, which gives a Task of asyncio; eagerly: its first step is already
        taken then. ``call_soon(function)``: it calls it when the step of a Task that runs is over."""
        self.check_usable()
        load_asyncio()
        self.spawn = spawn
        self.spawns_eagerly = eagerly
        self.call_soon = call_soon
        self.flush_asked = False

    def use_threads(self, int threads, Py_ssize_t most):
        """Starts threads for handlers that may block; past ``most`` that wait the answer is 503."""
        self.check_usable()
        self.pool = Pool(self.dispatcher, self, threads, most)

    def wake(self):
        """Makes the loop take a turn. From any thread."""
        if self.is_open and web_poller_wake(&self.poller) < 0:
            raise_errno("the loop cannot be woken")

    def flush(self):
        """Sends what was given to WebSockets between two turns."""
        self.flush_asked = False
        if self.is_open and not self.running and not self.between:
            turn_between(self)
            turn_between_end(self)

    def publish(self, str topic not None, message not None):
        """Sends a message, str or bytes-like, to all WebSockets that have subscribed to a topic. From any thread.
        TypeError, UnicodeEncodeError: what is no message."""
        cdef bytes frame = room_frame(message)
        if topic not in self.rooms or self.pid != getpid():     # nobody here; a forked child's sockets are its parent's
            return
        if self.running and self.thread == PyThread_get_thread_ident():
            room_send(self, topic, frame)
        else:
            mail_post(self, (None, topic, frame))

    def end_connections(self):
        """Ends every connection at once; what answers one is told (a Task is cancelled). Between two turns."""
        self.check_usable()
        self.check_outside()
        loop_end_all(self, CLOSE_STOPPED)
        loop_forget_lists(self)
        loop_bury(self)

    def close(self):
        """Ends every connection and gives everything back. Not while it runs; closing twice is allowed."""
        if self.running:
            raise RuntimeError("the loop is running: stop() it first")
        if self.pid != getpid():    # a forked child: what is registered and counted is its parent's
            web_poller_close(&self.poller)
            if self.is_open:
                self.count_in(Stats(1), 0)
        loop_end_all(self, CLOSE_STOPPED)
        loop_forget_lists(self)
        loop_bury(self)
        self.listeners = []
        loop_free(self)
        if self.pool is not None and self.pid == getpid():
            if self.pool.close(POOL_PATIENCE) > 0:
                _log.error("handlers go on in threads, and are left behind: %s",
                           "; ".join([(<Pending>pending).what for pending in self.pendings]))
            self.pool = None
            loop_forget_pendings(self)

    @property
    def connections(self):
        """How many connections are served at this moment."""
        return self.count

    @property
    def turned_at(self):
        """When the loop last turned, in nanoseconds of a monotonic clock: one that a handler holds does not turn."""
        return self.now

    @property
    def finished(self):
        """Whether stop() was called and nothing is left to do."""
        return self.stopping and self.count == 0

    @property
    def requests(self):
        """How many requests were answered by the application, in the row in which this loop counts."""
        return 0 if self.row == NULL else self.row.counts.requests

    def note_lag(self, double seconds):
        """What else runs in this thread held the loop for so long."""
        self.check_usable()
        histogram_add(&self.row.counts.turns, <int64_t>(seconds * 1e9), 1)

    # -- checks ------------------------------------------------------------------------------------------------------

    cdef int count_in(self, Stats stats, int row) except -1:
        stats.check_row(row)
        self.stats = stats
        self.row = stats.row(row)
        return 1

    cdef int check_usable(self) except -1:
        if not self.is_open:
            raise RuntimeError("the loop is closed")
        if self.pid != getpid():
            raise RuntimeError("this loop was made by another process: make it after the fork")
        if self.running and self.thread != PyThread_get_thread_ident():
            raise RuntimeError("another thread runs this loop: only stop() and wake() are for other threads")
        return 1

    cdef int enter(self) except -1:
        self.check_usable()
        if self.running:
            raise RuntimeError("the loop is already running (a handler cannot run it again)")
        self.running = True
        self.thread = PyThread_get_thread_ident()
        return 1


from collections import deque as _deque
from tempfile import gettempdir as _gettempdir


cdef extern from "pythread.h" nogil:
    unsigned long PyThread_get_thread_ident()

cdef extern from "unistd.h" nogil:
    int getpid()
    ssize_t c_read "read" (int fd, void* to, size_t count)
    ssize_t c_write "write" (int fd, const void* data, size_t count)


# -- stopping --------------------------------------------------------------------------------------------------------

cdef int loop_begin_stop(Loop loop) except -1:
    """No more connections after those that the kernel had already taken; every one that is served gets a last look."""
    cdef Listener listener
    cdef void* item
    loop.stop_asked = False
    if loop.leave_asked:
        loop.leave_asked = False
        adopt_accepted(loop)
        loop.last_answers = True
        for listener in loop.listeners:
            listener_close(loop, listener)
        loop.has_left = True
        events_end_all(loop)
    if loop.stop_grace < 0:
        return 1
    if loop.stop_delay > 0 and not loop.stopping:
        loop.draining = loop.last_answers = True
        stop_by(loop, DEADLINE_DRAIN, loop.stop_delay)
        return 1
    loop.swept = False
    if not loop.stopping:
        loop.stopping = True
        for listener in loop.listeners:
            while listener.fd >= 0 and listener_accept(loop, listener) > 0:
                adopt_accepted(loop)
            listener_close(loop, listener)
        adopt_accepted(loop)
        events_end_all(loop)
    item = loop.all_first
    while item != NULL:
        loop_queue_ready(loop, <Connection>item)
        item = (<Connection>item).later
    stop_by(loop, DEADLINE_STOP, loop.stop_grace)
    return 1


cdef void stop_by(Loop loop, int kind, double seconds) noexcept nogil:
    """Ends this phase of the stop so many seconds from now, if it would not end sooner anyhow."""
    cdef int64_t span = <int64_t>(seconds * 1e9)
    if loop.stop_deadline.is_set and loop.stop_deadline.kind == kind and loop.stop_deadline.at <= loop.now + span:
        return
    loop.deadlines.duration[kind] = span
    deadline_set(&loop.deadlines, &loop.stop_deadline, kind, loop.now)


cdef void loop_sweep(Loop loop) noexcept nogil:
    """After that last look: whoever has no request under way is ended."""
    cdef void* item = loop.all_first
    cdef void* following
    loop.swept = True
    while item != NULL:
        following = (<Connection>item).later
        if (<Connection>item).transport < TRANSPORT_OPEN:
            take_out(loop, <Connection>item, CLOSE_STOPPED)
        elif (<Connection>item).transport == TRANSPORT_OPEN and not exchange_is_busy(<Connection>item):
            transport_end(loop, <Connection>item, CLOSE_STOPPED)
        item = following


cdef bint loop_is_ready(Loop loop) noexcept nogil:
    """Predicate: new requests are welcome here. Not any more once a stop was asked for."""
    return loop.ready and not (loop.draining or loop.stopping or loop.stop_grace >= 0)


cdef int loop_cut_off(Loop loop) except -1:
    """The grace is over: what is left is named and ended."""
    cdef Connection c
    cdef void* item = loop.all_first
    cdef Py_ssize_t left = 0
    while item != NULL:
        c = <Connection>item
        if c.transport == TRANSPORT_OPEN and exchange_is_busy(c):
            left += 1
            if left <= NAMED_MAX:
                log_cut_off(c)
        item = c.later
    if left > NAMED_MAX:
        log_warning("%d more requests were cut off", left - NAMED_MAX)
    loop_end_all(loop, CLOSE_STOPPED)
    return 1


cdef int log_cut_off(Connection c) except -1:
    cdef Http1* http = c.http
    if http.pending != NULL:
        return log_warning("the server stops, and cuts off %s", (<Pending>http.pending).what)
    if http.socket != NULL:
        return log_warning("the server stops, and cuts off %s", (<WebSocket>http.socket_object).what)
    if http.stream == STREAM_BODY:
        return log_warning("the server stops, and cuts off a request of which not all has come: %r", c)
    return log_warning("the server stops, and cuts off an answer that its client has not taken: %r", c)


cdef int log_warning(str text, value) except -1:
    """A log that fails does not keep the server from what it does."""
    try:
        _log.warning(text, value)
    except Exception:
        tell_unraisable(_current_exception())
    return 1


cdef void loop_end_all(Loop loop, CloseReason reason) noexcept nogil:
    while loop.all_first != NULL:
        take_out(loop, <Connection>loop.all_first, reason)


cdef int loop_forget_pendings(Loop loop) except -1:
    """Nobody empties the mailbox any more: what threads have answered meanwhile, or will answer, is dropped."""
    loop.mail.clear()
    loop.row.gauges.pending -= len(loop.pendings)
    loop.pendings = set()
    return 1


cdef void loop_free(Loop loop) noexcept:
    """Gives back what the loop holds besides connections; may be called again."""
    cdef Segment* segment
    cdef Http1* http
    cdef int i
    for i in range(loop.accepted_count):
        web_close_fd(&loop.accepted[i].fd)
    loop.accepted_count = 0
    while loop.segment_pool != NULL:
        segment = loop.segment_pool
        loop.segment_pool = segment.next
        PyMem_RawFree(segment)
    loop.segment_pooled = 0
    while loop.http_pool != NULL:
        http = loop.http_pool
        loop.http_pool = http.next
        PyMem_RawFree(http)
    loop.http_pooled = 0
    PyMem_RawFree(loop.in_arena)
    PyMem_RawFree(loop.out_arena)
    loop.in_arena = loop.out_arena = NULL
    if loop.is_open and loop.pid == getpid():       # in a forked child the row is its parent's
        loop.row.gauges.loops -= 1
        loop.row.gauges.unfinished = loop.sources.count
    sources_close(&loop.sources)
    web_poller_close(&loop.poller)
    loop.is_open = False
