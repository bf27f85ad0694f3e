# How OpenSSL reaches the socket: a BIO of our own over a connection's fd. With _core_tls and _core_tls_context the only
# caller of OpenSSL.
#
# Reading goes straight to the socket. Writing does not: what OpenSSL writes is held, behind what is held already, and
# Tls.flush hands it to the kernel when a step is whole. So several records of a file, the flights of a handshake, or a
# ticket and the answer to the first request go out in one call, and SSL_write never blocks with a record half written.
#
# Invariants
# - Held bytes are sent in order and never changed. At most HELD_MAX of them: then the BIO asks for a retry, and OpenSSL
#   says WANT_WRITE. That is for what OpenSSL writes unasked (handshakes, answers to key updates); a batch of the
#   caller's bytes is encrypted behind at most SEND_BATCH, so there is always room for all of it.
# - One call of OpenSSL reads at most STEP_READ bytes: a peer that streams records without data holds up nobody.
#
# Ownership: the SSL owns the BIO; the BIO points back to the Tls without owning it, as the SSL does. The Tls owns the
# block of what is held; it exists only while something is held.

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc

cdef enum:
    SEND_BATCH = 65536          # plaintext that is encrypted before it is sent
    STEP_READ = 32768           # what one call of OpenSSL may read: the largest record, and what is read ahead
    RECORD_COST = 64            # more than what a record adds to its plaintext (RFC 8446, 5.2; RFC 5246, 6.2.3)
    HELD_MAX = 2 * SEND_BATCH + 8 * RECORD_COST

cdef struct Held:
    char* data                  # NULL: nothing is held
    unsigned int at, end, cap

cdef BIO_METHOD* bio_method = NULL


cdef int make_bio_method() except -1:
    """Once, when the module is imported; it lives as long as the process."""
    global bio_method
    cdef int kind = BIO_get_new_index()
    if kind != -1:
        bio_method = BIO_meth_new(kind | BIO_TYPE_SOURCE_SINK, b"weblatch connection")
    if (bio_method == NULL or BIO_meth_set_read_ex(bio_method, bio_read) != 1
            or BIO_meth_set_write_ex(bio_method, bio_write) != 1 or BIO_meth_set_ctrl(bio_method, bio_control) != 1):
        raise ImportError("OpenSSL cannot be given a BIO method")
    return 1


make_bio_method()


cdef int held_room(Held* held, size_t count) noexcept nogil:
    """Makes room for count bytes behind what is held: 1, WEB_FAILED without memory."""
    cdef size_t wanted
    cdef char* data
    if held.end + count > held.cap and held.at > 0:     # what was sent makes room first
        memmove(held.data, held.data + held.at, held.end - held.at)
        held.end -= held.at
        held.at = 0
    wanted = held.end + count
    if wanted <= held.cap:
        return 1
    data = <char*>PyMem_RawRealloc(held.data, wanted)
    if data == NULL:
        return WEB_FAILED
    held.data = data
    held.cap = <unsigned int>wanted
    return 1


cdef void held_drop(Held* held) noexcept nogil:
    PyMem_RawFree(held.data)
    memset(held, 0, sizeof(Held))


cdef int bio_attach(Tls c) noexcept nogil:
    """Gives a new SSL its BIO: 1, or WEB_FAILED without memory."""
    cdef BIO* bio = BIO_new(bio_method)
    if bio == NULL:
        return WEB_FAILED
    BIO_set_data(bio, <void*>c)
    BIO_set_init(bio, 1)
    SSL_set_bio(c.ssl, bio, bio)        # from here on the SSL's
    return 1


cdef int bio_read(BIO* bio, char* to, size_t count, size_t* done) noexcept nogil:
    """1 and how many; 0: the end; -1: nothing, with a retry flag where it would block, else a failure (errno)."""
    cdef void* owner = BIO_get_data(bio)
    cdef Py_ssize_t n = WEB_WANT_READ
    BIO_clear_retry_flags(bio)
    done[0] = 0
    if count > (<Tls>owner).read_left:
        count = (<Tls>owner).read_left
    if count > 0:
        n = web_recv((<Tls>owner).fd, to, count)
    if n > 0:
        (<Tls>owner).read_left = (<Tls>owner).read_left - <unsigned int>n
        done[0] = <size_t>n
        return 1
    if n == WEB_WANT_READ:
        BIO_set_retry_read(bio)
    elif n == WEB_END:
        (<Tls>owner).read_ended = True
        return 0
    return -1


cdef int bio_write(BIO* bio, const char* data, size_t count, size_t* done) noexcept nogil:
    """1: all of it is held; -1: nothing, with a retry flag where too much is held already, else for want of memory.
    Never 0: OpenSSL may take that for success."""
    cdef Held* held = &(<Tls>BIO_get_data(bio)).held
    BIO_clear_retry_flags(bio)
    done[0] = 0
    if held.end - held.at + count > HELD_MAX:
        BIO_set_retry_write(bio)
        return -1
    if held_room(held, count) < 0:
        return -1
    memcpy(held.data + held.end, data, count)
    held.end += <unsigned int>count
    done[0] = count
    return 1


cdef long bio_control(BIO* bio, int command, long number, void* pointer) noexcept nogil:
    """What OpenSSL asks of a BIO beside bytes. 0: no, or nothing; kernel TLS is asked for here, and refused."""
    if command == BIO_CTRL_FLUSH:       # what is held goes out after the call, not within it
        return 1
    if command == BIO_CTRL_EOF:
        return (<Tls>BIO_get_data(bio)).read_ended
    return 0
