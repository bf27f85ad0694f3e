# Why things fail: errno as an exception, and the counted reasons for which connections close.
#
# A hostile or broken peer is normal: its connection closes with a reason that is counted, and nothing is logged.
# CLOSE_REASONS is the one list of those reasons; CloseReason and Loop.counters follow it.

from os import strerror as os_strerror


cdef enum CloseReason:
    CLOSE_NONE = 0
    CLOSE_DONE = 1                  # as both sides agreed: Connection: close, or the peer ended between requests
    CLOSE_PEER_LEFT = 2             # the peer ended or reset in the middle of a request or an answer
    CLOSE_TRUNCATED = 3             # TLS: the peer ended without close_notify
    CLOSE_BAD_REQUEST = 4           # the request was refused by the parser or a limit
    CLOSE_HANDSHAKE_FAILED = 5
    CLOSE_PLAIN_ON_TLS = 6          # plain HTTP, or something else that is no ClientHello, on a TLS port
    CLOSE_TLS_FAILED = 7            # TLS broke after the handshake
    CLOSE_HANDSHAKE_TIMEOUT = 8
    CLOSE_HEAD_TIMEOUT = 9
    CLOSE_IDLE_TIMEOUT = 10
    CLOSE_BODY_SLOW = 11
    CLOSE_RESPONSE_SLOW = 12
    CLOSE_LINGER_TIMEOUT = 13
    CLOSE_MADE_ROOM = 14            # chosen when a cap was reached
    CLOSE_REFUSED = 15              # a cap was reached and nobody could make room
    CLOSE_FILE_SHRANK = 16
    CLOSE_HANDLER = 17              # the handler's answer could not be written
    CLOSE_STOPPED = 18              # the server stopped
    CLOSE_NO_MEMORY = 19
    CLOSE_ILLEGAL_STEP = 20         # a state machine was asked for a step that it does not have: a defect of ours
    CLOSE_WEBSOCKET = 21            # a WebSocket's peer broke the protocol or a limit
    CLOSE_WEBSOCKET_SILENT = 22     # a WebSocket's peer answered no ping
    CLOSE_PROXY_HEADER = 23         # PROXY protocol: no header came, or none that is valid
    CLOSE_UNTRUSTED_PROXY = 24      # PROXY protocol: the peer is none of the proxies; it was not taken into service
    CLOSE_REASON_COUNT = 25

cdef tuple CLOSE_REASONS = (
    "none", "done", "peer_left", "truncated", "bad_request", "handshake_failed", "plain_on_tls", "tls_failed",
    "handshake_timeout", "head_timeout", "idle_timeout", "body_slow", "response_slow", "linger_timeout", "made_room",
    "refused", "file_shrank", "handler", "stopped", "no_memory", "illegal_step",
    "websocket", "websocket_silent", "proxy_header", "untrusted_proxy",
)


# How often this process was forked off another one since the module was loaded: a loop that was made before runs in the
# parent. Counted by the C library, so that the question costs no system call.
cdef unsigned int forks = 0

cdef extern from "pthread.h" nogil:
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                       void (*child)() noexcept nogil)

cdef extern from "unistd.h" nogil:
    void c_exit "_exit" (int status)


cdef void count_fork() noexcept nogil:
    global forks
    forks += 1


if pthread_atfork(NULL, NULL, count_fork) != 0:
    raise MemoryError


cdef int end_fork(object raised) except -1:
    """A child that a handler forked came back out of the handler: it must not go on as its parent's server, on its
    parent's connections. Ends it, as its parent would expect of a SystemExit."""
    cdef int status = 70        # EX_SOFTWARE
    try:
        if isinstance(raised, SystemExit):
            status = raised.code if isinstance(raised.code, int) else 0 if raised.code is None else 1
        else:
            _log.error("process %d was forked by a handler and came back from it; it is ended: end such a child by "
                       "os._exit(), or use subprocess", getpid())
    except BaseException:
        tell_unraisable(_current_exception())
    c_exit(status & 255)
    return 1


cdef void tell_unraisable(object error) noexcept:
    """Gives sys.unraisablehook an exception that nobody can be given: an exception out of a noexcept function."""
    raise error


cdef int raise_errno(str what) except -1:
    """Raises OSError for the current errno, with what failed before the system's own words."""
    cdef int number = errno
    raise OSError(number, f"{what}: {os_strerror(number)}")
