# What is counted: a row of numbers for each process that serves, in memory that all of them share.
#
# Stats owns the memory: anonymous and shared, so that processes forked after it was made count into the same rows.
# Row 0 is that of a server without workers. With workers it holds what those counted that have ended: their master
# adds a row to it once its process is gone, and gives the row to a later worker. So no sum over rows ever goes back.
#
# Counts only grow; gauges say what is at this moment, and end with their process. Each number has one writer at a time
# (the thread that runs the row's Loop, or whoever holds the GIL), so counting is a plain addition. A reader may see a
# sum that is a few events old. `version` is odd while the master moves a row: who read meanwhile reads again.

from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

cdef extern from *:
    """
    static inline int web_bits(uint64_t n) { return n == 0 ? 0 : 64 - __builtin_clzll(n); }
    static inline uint64_t web_version_load(const uint64_t *v) { return __atomic_load_n(v, __ATOMIC_SEQ_CST); }
    static inline void web_version_next(uint64_t *v) { __atomic_add_fetch(v, 1, __ATOMIC_SEQ_CST); }
    """
    int web_bits(uint64_t n) noexcept nogil
    uint64_t web_version_load(const uint64_t* version) noexcept nogil
    void web_version_next(uint64_t* version) noexcept nogil

cdef enum:
    HISTOGRAM_BUCKETS = 27      # 1 us, 2 us, 4 us ... 33.5 s, more
    REFUSALS = 64               # kinds of refused input; past that they count as one
    REFUSAL_TEXT = 72
    READ_TRIES = 100
    STATS_HEADER = 64           # bytes before the rows
    ROWS_MAX = 1 << 16

cdef enum Timeout:
    TIMEOUT_HANDSHAKE = 0
    TIMEOUT_HEAD = 1
    TIMEOUT_IDLE = 2
    TIMEOUT_BODY = 3
    TIMEOUT_RESPONSE = 4
    TIMEOUT_LINGER = 5
    TIMEOUT_COUNT = 6

cdef tuple RESPONSE_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")
cdef tuple TIMEOUTS = ("handshake", "head", "idle", "body", "response", "linger")

cdef enum HandshakeFault:       # why a handshake did not end well
    FAULT_TIMEOUT = 0
    FAULT_PEER_LEFT = 1
    FAULT_NO_TLS = 2            # what came is no TLS record: plain HTTP, mostly
    FAULT_VERSION = 3
    FAULT_CIPHER = 4
    FAULT_GROUP = 5
    FAULT_SIGNATURE = 6
    FAULT_ALPN = 7
    FAULT_ALERT = 8             # the peer refused: it does not trust the certificate, say
    FAULT_MADE_ROOM = 9
    FAULT_STOPPED = 10
    FAULT_NAME = 11             # the name that it asks for: none that is served
    FAULT_CLIENT_CERTIFICATE = 12       # none where one is required, or one that is not accepted
    FAULT_OTHER = 13
    FAULT_COUNT = 14

cdef tuple HANDSHAKE_FAULTS = ("timeout", "peer_left", "no_tls", "version", "cipher", "group", "signature", "alpn",
                               "alert", "made_room", "stopped", "name", "client_certificate", "other")

cdef struct Histogram:
    uint64_t[27] bucket         # HISTOGRAM_BUCKETS
    uint64_t sum                # ns

cdef struct Counts:             # uint64_t only: added up as an array
    uint64_t[6] responses       # by status class; 0: none
    Histogram latency
    Histogram turns
    uint64_t[25] closed         # CLOSE_REASON_COUNT
    uint64_t[6] timeouts        # TIMEOUT_COUNT
    uint64_t[14] handshakes_failed      # FAULT_COUNT
    uint64_t handshakes, handshakes_resumed
    uint64_t accepted, accept_failures
    uint64_t requests, requests_refused, slow_handlers
    uint64_t bytes_received, bytes_sent

cdef struct Gauges:             # int64_t only
    int64_t[8] transport        # connections by the state of their transport
    int64_t active              # connections with a request under way
    int64_t unfinished          # connections without a whole handshake or request head, as the turn ended
    int64_t pending             # requests that a Task or a thread answers
    int64_t threads_busy, threads_waiting
    int64_t loops

cdef struct Refusal:
    uint64_t count
    uint64_t status
    char[72] text               # REFUSAL_TEXT

cdef struct Row:
    Counts counts
    Gauges gauges
    Refusal[64] refused         # REFUSALS: in the order in which the kinds were first seen


# -- counting (no GIL) -----------------------------------------------------------------------------------------------

cdef inline void histogram_add(Histogram* h, int64_t ns, uint64_t times) noexcept nogil:
    """Bucket i takes what is more than 2**(i-1) and at most 2**i microseconds."""
    cdef uint64_t span = <uint64_t>ns if ns > 0 else 0
    cdef int bits = web_bits((span - 1) // 1000 if span > 0 else 0)
    h.bucket[bits if bits < HISTOGRAM_BUCKETS else HISTOGRAM_BUCKETS - 1] += times
    h.sum += span * times


cdef void count_transport_step(Loop loop, unsigned char was, Transport to) noexcept nogil:
    if loop is not None:        # a connection without a server is not counted
        loop.row.gauges.transport[was] -= 1
        loop.row.gauges.transport[<int>to] += 1


cdef void count_refusal(Row* row, int status, const char* text) noexcept nogil:
    """Input was refused. ``text`` is one of the parser's faults: a short list, by which an operator knows what came."""
    row.counts.requests_refused += 1
    refusal_add(row.refused, status, text, 1)


cdef void refusal_add(Refusal* all, int status, const char* text, uint64_t count) noexcept nogil:
    cdef int i = 0
    cdef size_t length = strlen(text)
    if length >= REFUSAL_TEXT:
        length = REFUSAL_TEXT - 1
    while i < REFUSALS - 1 and all[i].status != 0:
        if all[i].status == <uint64_t>status and all[i].text[length] == 0 and memcmp(all[i].text, text, length) == 0:
            break
        i += 1
    if all[i].status == 0:
        memcpy(all[i].text, text, length)
        all[i].text[length] = 0
        all[i].status = <uint64_t>status
    all[i].count += count


# -- adding up (no GIL) ----------------------------------------------------------------------------------------------

cdef void row_add_counts(Row* to, const Row* row) noexcept nogil:
    cdef uint64_t* sums = <uint64_t*>&to.counts
    cdef const uint64_t* numbers = <const uint64_t*>&row.counts
    cdef size_t i
    for i in range(sizeof(Counts) // sizeof(uint64_t)):
        sums[i] += numbers[i]
    i = 0
    while i < REFUSALS and row.refused[i].status != 0:
        refusal_add(to.refused, <int>row.refused[i].status, row.refused[i].text, row.refused[i].count)
        i += 1


cdef void row_add_gauges(Row* to, const Row* row) noexcept nogil:
    cdef int64_t* sums = <int64_t*>&to.gauges
    cdef const int64_t* numbers = <const int64_t*>&row.gauges
    cdef size_t i
    for i in range(sizeof(Gauges) // sizeof(int64_t)):
        sums[i] += numbers[i]


@cython.final
cdef class Stats:
    """``Stats(rows)``: what a server counts. ``snapshot()`` is the sum of all rows; the first is row 0."""
    cdef char* memory
    cdef size_t size
    cdef readonly int rows
    cdef list free_rows         # of the master: those that no worker counts into

    def __init__(self, int rows=1):
        cdef void* memory
        if self.memory != NULL:
            raise RuntimeError("these Stats were made before")
        if not 1 <= rows <= ROWS_MAX:
            raise ValueError(f"Stats({rows}): give 1 to {ROWS_MAX}")
        self.size = STATS_HEADER + <size_t>rows * sizeof(Row)
        memory = mmap(NULL, self.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
        if memory == MAP_FAILED:
            raise_errno("there is no memory for counters")
        self.memory = <char*>memory
        self.rows = rows
        self.free_rows = list(range(rows - 1, 0, -1))

    def __dealloc__(self):
        if self.memory != NULL:
            munmap(self.memory, self.size)

    cdef uint64_t* version(self) noexcept nogil:
        return <uint64_t*>self.memory

    cdef Row* row(self, int number) noexcept nogil:
        return <Row*>(self.memory + STATS_HEADER) + number

    cdef int check_row(self, int number) except -1:
        if not 0 <= number < self.rows:
            raise ValueError(f"there is no row {number}: there are {self.rows}")
        return 1

    def take_row(self):
        """A row that nobody counts into, for a process to come; -1: there is none left."""
        return self.free_rows.pop() if self.free_rows else -1

    def give_back_row(self, int number):
        """The process that counted into the row has ended: row 0 takes over what it counted."""
        cdef Row* row
        self.check_row(number)
        if number == 0 or number in self.free_rows:
            raise ValueError(f"row {number} was not taken")
        row = self.row(number)
        web_version_next(self.version())
        row_add_counts(self.row(0), row)
        memset(row, 0, sizeof(Row))
        web_version_next(self.version())
        self.free_rows.append(number)

    cdef int add_up(self, Row* total) noexcept nogil:
        """The sum of all rows: 1, or WEB_FAILED where a row was moved each time (its master died while it did)."""
        cdef uint64_t version
        cdef int number, tries = 0
        while tries < READ_TRIES:
            tries += 1
            version = web_version_load(self.version())
            memset(total, 0, sizeof(Row))
            for number in range(self.rows):
                row_add_counts(total, self.row(number))
                row_add_gauges(total, self.row(number))
            if version % 2 == 0 and web_version_load(self.version()) == version:
                return 1
        return WEB_FAILED

    def snapshot(self):
        """The sum of all rows as a dict; ``web.metrics`` tells what is in it."""
        cdef Row total
        cdef int done
        if self.memory == NULL:
            raise RuntimeError("these Stats were never made")
        with nogil:
            done = self.add_up(&total)
        if done < 0:            # with the GIL: a master in this very process moves no row meanwhile
            self.add_up(&total)
        return counted(&total)


# -- as Python sees it -----------------------------------------------------------------------------------------------

cdef dict counted(Row* row):
    cdef Counts* counts = &row.counts
    cdef Gauges* gauges = &row.gauges
    cdef int64_t* transport = gauges.transport
    cdef int i = 0
    refusals = []
    while i < REFUSALS and row.refused[i].status != 0:
        refusals.append((row.refused[i].status, row.refused[i].text.decode("ascii", "replace"), row.refused[i].count))
        i += 1
    return {
        "processes": gauges.loops,
        "requests": counts.requests,
        "requests_refused": counts.requests_refused,
        "requests_pending": gauges.pending,
        "responses": named(RESPONSE_CLASSES, counts.responses, 1),
        "refusals": refusals,
        "latency": histogram_dict(&counts.latency),
        "slow_handlers": counts.slow_handlers,
        "threads_busy": gauges.threads_busy,
        "threads_waiting": gauges.threads_waiting,
        "accepted": counts.accepted,
        "accept_failures": counts.accept_failures,
        "connections": {
            "handshaking": transport[<int>TRANSPORT_PROXY] + transport[<int>TRANSPORT_PEEK]
            + transport[<int>TRANSPORT_HANDSHAKING],
            "idle": max(0, transport[<int>TRANSPORT_OPEN] - gauges.active),
            "active": gauges.active,
            "closing": transport[<int>TRANSPORT_CLOSING] + transport[<int>TRANSPORT_LINGERING],
        },
        "unfinished": gauges.unfinished,
        "closed": named(CLOSE_REASONS, counts.closed, 1),
        "timeouts": named(TIMEOUTS, counts.timeouts, 0),
        "handshakes": counts.handshakes,
        "handshakes_resumed": counts.handshakes_resumed,
        "handshakes_failed": named(HANDSHAKE_FAULTS, counts.handshakes_failed, 0),
        "bytes_received": counts.bytes_received,
        "bytes_sent": counts.bytes_sent,
        "turns": histogram_dict(&counts.turns),
    }


cdef dict named(tuple names, const uint64_t* numbers, Py_ssize_t first):
    cdef Py_ssize_t i = first
    cdef dict found = {}
    while i < len(names):
        found[names[i]] = numbers[i]
        i += 1
    return found


cdef dict histogram_dict(Histogram* h):
    """Upper bound in seconds -> how many are at most that and more than the bound before."""
    cdef int i
    cdef dict buckets = {}
    cdef uint64_t count = 0
    for i in range(HISTOGRAM_BUCKETS):
        if i < HISTOGRAM_BUCKETS - 1:
            buckets[2 ** i / 1e6] = h.bucket[i]
        count += h.bucket[i]
    return {"count": count, "sum": h.sum / 1e9, "buckets": buckets, "above": h.bucket[HISTOGRAM_BUCKETS - 1]}
