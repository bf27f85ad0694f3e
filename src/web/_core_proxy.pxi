# The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): who a connection comes from, as the proxy
# says before the first byte of anything else.
#
# proxy_header_parse is pure: no I/O, no allocation, no Python object, no GIL; nothing at or after data + n is read. The
# verdict depends on the bytes alone: PROXY_MORE is said of what can still become a header, PROXY_BAD where a field, or
# a line that is whole, cannot, and never more than PROXY_HEADER_MAX bytes are asked for.
#
# proxy_step drives it for a connection in TRANSPORT_PROXY: it looks at what came (MSG_PEEK), and takes what is certain
# to be the header's. So not a byte of the TLS handshake, or of the request, is taken, however all this was cut.
#
# Ownership: a header of which a part came lies in c.proxy_part, a block of the connection's own, until it is whole;
# proxy_free gives it back (proxy_step, Connection.release).

cdef enum:
    PROXY_HEADER_MAX = 2048     # of version 2, with what a proxy adds (TLVs): four times what its authors foresee
    PROXY_LINE_MAX = 107        # of version 1, with CRLF (2.1)
    PROXY_FIXED = 16            # of version 2: all but addresses and TLVs
    PROXY_MORE = -1
    PROXY_BAD = -2

cdef enum Announced:            # what a PROXY header said
    ANNOUNCED_NOTHING = 0       # there was none
    ANNOUNCED_LOCAL = 1         # the proxy's own connection: a look at our health
    ANNOUNCED_UNKNOWN = 2       # of somebody for whom the proxy has no address of TCP
    ANNOUNCED_ADDRESS = 3

cdef struct ProxyHeader:
    web_address source          # with ANNOUNCED_ADDRESS
    unsigned char announced     # Announced
    const char* fault           # what is wrong, with PROXY_BAD

cdef struct ProxyPart:
    size_t size
    char[2048] data             # PROXY_HEADER_MAX

cdef const char* PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"      # 12 bytes


cdef Py_ssize_t proxy_header_parse(const char* data, size_t n, ProxyHeader* out) noexcept nogil:
    """> 0: the header's length; PROXY_MORE; PROXY_BAD."""
    memset(out, 0, sizeof(ProxyHeader))
    if n == 0:
        return PROXY_MORE
    if data[0] == PROXY_SIGNATURE[0]:
        return proxy_binary(<const unsigned char*>data, n, out)
    return proxy_line(data, n, out)


cdef Py_ssize_t proxy_fail(ProxyHeader* out, const char* fault) noexcept nogil:
    out.fault = fault
    return PROXY_BAD


# ---- version 1 (2.1) ----

cdef Py_ssize_t proxy_line(const char* data, size_t n, ProxyHeader* out) noexcept nogil:
    cdef size_t end = 0
    cdef size_t limit = min(n, <size_t>PROXY_LINE_MAX)
    if memcmp(data, b"PROXY ", min(n, <size_t>6)) != 0:
        return proxy_fail(out, b"no PROXY header")
    while end < limit and data[end] != c"\n":
        end += 1
    if end == PROXY_LINE_MAX:
        return proxy_fail(out, b"a PROXY line of more than 107 bytes")
    if end == n:
        return PROXY_MORE
    if data[end - 1] != c"\r":
        return proxy_fail(out, b"LF without CR in a PROXY line")
    if end >= 14 and memcmp(data + 6, b"UNKNOWN", 7) == 0 and (end == 14 or data[13] == c" "):
        out.announced = ANNOUNCED_UNKNOWN       # what else the line says is to be ignored
    elif end >= 12 and memcmp(data + 6, b"TCP4 ", 5) == 0 and proxy_words(data, 11, end - 1, 4, &out.source):
        out.announced = ANNOUNCED_ADDRESS
    elif end >= 12 and memcmp(data + 6, b"TCP6 ", 5) == 0 and proxy_words(data, 11, end - 1, 6, &out.source):
        out.announced = ANNOUNCED_ADDRESS
    else:
        return proxy_fail(out, b"malformed PROXY line")
    return <Py_ssize_t>end + 1


cdef bint proxy_words(const char* line, size_t at, size_t end, unsigned char family,
                      web_address* source) noexcept nogil:
    """Source, destination, source port and destination port, with one space between, and nothing else."""
    cdef size_t[4] start
    cdef size_t[4] size
    cdef web_address destination
    cdef int[2] ports
    cdef int i
    for i in range(4):
        start[i] = at
        while at < end and line[at] != c" ":
            at += 1
        size[i] = at - start[i]
        if (at == end) != (i == 3):
            return False
        at += 1
    for i in range(2):
        ports[i] = proxy_port(line + start[2 + i], size[2 + i])
    if ports[0] < 0 or ports[1] < 0 or not address_read(line + start[1], size[1], family, &destination) \
            or not address_read(line + start[0], size[0], family, source):
        return False
    source.port = <uint16_t>ports[0]
    return True


cdef int proxy_port(const char* text, size_t n) noexcept nogil:
    """0 to 65535 without leading zeros; -1: it is no port."""
    cdef int port = 0
    cdef size_t i
    if n == 0 or n > 5 or (n > 1 and text[0] == c"0"):
        return -1
    for i in range(n):
        if not c"0" <= text[i] <= c"9":
            return -1
        port = port * 10 + (text[i] - c"0")
    return port if port <= 65535 else -1


# ---- version 2 (2.2) ----

cdef Py_ssize_t proxy_binary(const unsigned char* p, size_t n, ProxyHeader* out) noexcept nogil:
    cdef size_t length, needed
    cdef unsigned char kind
    if memcmp(p, PROXY_SIGNATURE, min(n, <size_t>12)) != 0:
        return proxy_fail(out, b"no PROXY header")
    if n > 12 and p[12] != 0x20 and p[12] != 0x21:
        return proxy_fail(out, b"a PROXY header of another version, or with another command")
    if n > 13 and p[12] == 0x21 and (p[13] >> 4 > 3 or (p[13] & 15) > 2):
        return proxy_fail(out, b"a PROXY header of another family or transport")
    if n < PROXY_FIXED:
        return PROXY_MORE
    length = PROXY_FIXED + (p[14] << 8 | p[15])
    kind = p[13] if p[12] == 0x21 else 0        # LOCAL: the rest is to be ignored
    needed = proxy_addresses(kind)
    if length > PROXY_HEADER_MAX:
        return proxy_fail(out, b"a PROXY header of more than 2048 bytes")
    if length < PROXY_FIXED + needed:
        return proxy_fail(out, b"a PROXY header without room for its addresses")
    if n < length:
        return PROXY_MORE
    if kind == 0x11:
        web_set_address(&out.source, 4, p + 16, <uint16_t>(p[24] << 8 | p[25]))
    elif kind == 0x21:
        web_set_address(&out.source, 6, p + 16, <uint16_t>(p[48] << 8 | p[49]))
    out.announced = ANNOUNCED_LOCAL if p[12] == 0x20 else ANNOUNCED_UNKNOWN if out.source.family == 0 \
        else ANNOUNCED_ADDRESS
    return <Py_ssize_t>length


cdef size_t proxy_addresses(unsigned char kind) noexcept nogil:
    """Bytes of both addresses with their ports; 0 where neither family nor transport says that there are some."""
    if kind & 15 == 0:
        return 0
    return 12 if kind >> 4 == 1 else 36 if kind >> 4 == 2 else 216 if kind >> 4 == 3 else 0


# ---- of a connection ----

cdef int proxy_step(Connection c) noexcept nogil:
    """PROXY -> where a connection without a header begins: 1. WEB_WANT_READ: not all of it has come. WEB_FAILED: there
    is none."""
    cdef char[PROXY_HEADER_MAX] data
    cdef ProxyHeader header
    cdef size_t had = 0 if c.proxy_part == NULL else c.proxy_part.size
    cdef Py_ssize_t length, n
    if had > 0:
        memcpy(data, c.proxy_part.data, had)
    n = web_peek(c.fd, data + had, PROXY_HEADER_MAX - had)
    if n == WEB_WANT_READ:
        return WEB_WANT_READ
    if n <= 0:
        return WEB_FAILED
    length = proxy_header_parse(data, had + n, &header)
    if length == PROXY_BAD:
        return WEB_FAILED
    n = web_recv(c.fd, data + had, n if length == PROXY_MORE else length - had)
    if n <= 0:
        return WEB_FAILED
    if length != <Py_ssize_t>had + n:       # PROXY_MORE, or what was there a moment ago was given in part only
        return proxy_keep(c, data, had + n)
    proxy_free(c)
    c.announced = header.announced
    if header.announced == ANNOUNCED_ADDRESS:
        c.client_address = header.source
    return transport_step(c, c.first_state())


cdef int proxy_keep(Connection c, const char* data, size_t size) noexcept nogil:
    """A part came: WEB_WANT_READ, or WEB_FAILED without memory."""
    if c.proxy_part == NULL:
        c.proxy_part = <ProxyPart*>PyMem_RawMalloc(sizeof(ProxyPart))
        if c.proxy_part == NULL:
            return WEB_FAILED
    memcpy(c.proxy_part.data, data, size)
    c.proxy_part.size = size
    return WEB_WANT_READ


cdef void proxy_free(Connection c) noexcept nogil:
    PyMem_RawFree(c.proxy_part)
    c.proxy_part = NULL


# ---- as Python sees it, for tests (web.hotpath) ----

def proxy_header(const unsigned char[::1] data not None):
    """What bytes begin with: (length of the PROXY header, "tcp", "unknown" or "local", (host, port) or None); None:
    more are needed. ValueError says why it is none."""
    return proxy_header_address(<size_t>&data[0] if data.shape[0] > 0 else 0, data.shape[0])


def proxy_header_address(size_t address, size_t n):
    """proxy_header() of n bytes that lie at an address, which is borrowed for the time of the call."""
    cdef ProxyHeader header
    cdef Py_ssize_t length
    with nogil:
        length = proxy_header_parse(<const char*>address, n, &header)
    if length == PROXY_MORE:
        return None
    if length == PROXY_BAD:
        raise ValueError(header.fault.decode("ascii"))
    return length, ("", "local", "unknown", "tcp")[header.announced], address_tuple(&header.source)
