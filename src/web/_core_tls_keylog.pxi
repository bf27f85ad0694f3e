# KeyLog: the secrets of connections, written to a file for a program that decrypts captured traffic (Wireshark). For
# debugging alone: who reads the file reads everything. It is on when the application says so (TlsContext(keylog=True))
# and the environment names a file (SSLKEYLOGFILE); the one without the other does nothing.
#
# A KeyLog owns its file descriptor, which is opened for appending when the context is loaded and closed with the last
# context that has it: renewed ones share it, and workers inherit it. Each line is one write, so that lines of several
# threads and processes do not mix. A line that cannot be written is lost: connections do not suffer from it.

from os import (
    O_APPEND as _APPEND, O_CLOEXEC as _CLOEXEC, O_CREAT as _CREAT, O_NOFOLLOW as _NOFOLLOW, O_NONBLOCK as _NONBLOCK,
    O_WRONLY as _WRONLY, environ as _environ, open as _open_fd,
)
from stat import S_ISREG

cdef extern from "<unistd.h>" nogil:
    ssize_t c_write "write"(int fd, const void* data, size_t count)
    int c_close_log "close"(int fd)

cdef enum:
    MAX_KEY_LINE = 512      # bytes; the longest known is about 240


@cython.final
cdef class KeyLog:
    cdef int fd             # -1: none

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            c_close_log(self.fd)


cdef KeyLog open_key_log():
    """What SSLKEYLOGFILE names; None: it names nothing. CertificateError: it cannot be used."""
    cdef KeyLog log
    cdef int fd
    path = _environ.get("SSLKEYLOGFILE")
    if not path:
        return None
    try:
        fd = _open_fd(path, _WRONLY | _CREAT | _APPEND | _NOFOLLOW | _NONBLOCK | _CLOEXEC, 0o600)
    except (OSError, ValueError):
        error = exc_info()[1]
        why = getattr(error, "strerror", None) or error
        raise CertificateError(f"the key log {path!r} (SSLKEYLOGFILE) cannot be opened: {why}; it must be a file of "
                               "this user's, not a link") from None
    log = KeyLog()
    log.fd = fd
    mode = fstat(fd).st_mode
    if not S_ISREG(mode) or mode & 0o077:
        raise CertificateError(f"the key log {path!r} (SSLKEYLOGFILE) must be a plain file that nobody else can use: "
                               "chmod 600, or remove it")
    _log.warning("TLS secrets are written to %r (SSLKEYLOGFILE, keylog=True): whoever reads it can decrypt every "
                 "connection. Never in production", path)
    return log


cdef int use_key_log(SSL_CTX* ctx) except -1:
    SSL_CTX_set_keylog_callback(ctx, on_key_line)
    return 1


cdef void on_key_line(const SSL* ssl, const char* line) noexcept nogil:
    """SSL_CTX_set_keylog_callback(3): a line without its end."""
    cdef void* owner = SSL_get_app_data(ssl)
    cdef char[512] text             # MAX_KEY_LINE
    cdef size_t length = strlen(line)
    if owner == NULL or length >= MAX_KEY_LINE:
        return
    memcpy(text, line, length)
    text[length] = c"\n"
    while c_write((<Tls>owner).context.key_log.fd, text, length + 1) < 0 and errno == EINTR:
        pass
    OPENSSL_cleanse(text, sizeof(text))
