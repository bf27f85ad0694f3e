# Networks: blocks of addresses (RFC 4632), and whether an address lies in one of them. So is told who a proxy is.
#
# No state: made once, when a Server is. An IPv4 address within IPv6 (::ffff:192.0.2.1) is the IPv4 address here, as it
# is for connections (web_set_address), so that no block can be passed by writing an address another way.

cdef struct NetworkBlock:
    uint8_t[16] ip              # network order; IPv4 takes the first four
    unsigned char family        # 4 or 6
    unsigned char prefix        # bits that count


@cython.final
cdef class Networks:
    """``Networks(blocks, unix)``: blocks as (4 or 16 bytes, bits that count); whether Unix sockets lie in it, too."""
    cdef NetworkBlock* blocks
    cdef Py_ssize_t count
    cdef readonly bint unix

    def __init__(self, blocks, bint unix=False):
        cdef list given = list(blocks)
        cdef NetworkBlock* made
        cdef Py_ssize_t i
        if self.blocks != NULL:
            raise RuntimeError("these Networks were made before")
        for ip, prefix in given:
            if type(ip) is not bytes or len(ip) not in (4, 16) or not 0 <= prefix <= 8 * len(ip):
                raise ValueError(f"Networks: {ip!r}/{prefix!r}: 4 or 16 bytes and a number of their bits are needed")
        made = <NetworkBlock*>PyMem_RawCalloc(len(given) + 1, sizeof(NetworkBlock))
        if made == NULL:
            raise MemoryError
        for i in range(len(given)):
            memcpy(made[i].ip, PyBytes_AS_STRING(given[i][0]), len(given[i][0]))
            made[i].family = 4 if len(given[i][0]) == 4 else 6
            made[i].prefix = given[i][1]
        self.blocks = made
        self.count = len(given)
        self.unix = unix

    def __dealloc__(self):
        PyMem_RawFree(self.blocks)

    def hold(self, bytes ip not None):
        """Whether an address, as read_ip() gives it, lies in one of them."""
        cdef web_address at
        if len(ip) not in (4, 16):
            raise ValueError(f"Networks: {ip!r}: 4 or 16 bytes are needed")
        web_set_address(&at, 4 if len(ip) == 4 else 6, <const uint8_t*>PyBytes_AS_STRING(ip), 0)
        return networks_hold(self, &at)

    def hold_client(self, Connection connection not None):
        """Whether they hold whom a connection is said to come from: its peer, or whom a PROXY header named."""
        return connection.announced != ANNOUNCED_UNKNOWN and networks_hold(self, &connection.client_address)


cdef bint networks_hold(Networks networks, const web_address* at) noexcept nogil:
    """Predicate: the address lies in one of the blocks."""
    cdef NetworkBlock* block = networks.blocks
    cdef Py_ssize_t i
    if at.family == WEB_UNIX:
        return networks.unix
    for i in range(networks.count):
        if block[i].family == at.family and same_bits(block[i].ip, at.ip, block[i].prefix):
            return True
    return False


cdef bint same_bits(const uint8_t* a, const uint8_t* b, unsigned int bits) noexcept nogil:
    """Predicate: the first so many bits are equal."""
    cdef unsigned int whole = bits // 8, left = bits % 8
    return memcmp(a, b, whole) == 0 and (left == 0 or (a[whole] ^ b[whole]) >> (8 - left) == 0)


cdef bint address_read(const char* text, size_t n, unsigned char family, web_address* out) noexcept nogil:
    """An address as text, IPv4 without leading zeros, IPv6 without brackets and zone; family: 4, 6, 0 for both."""
    cdef char[INET6_ADDRSTRLEN] copy
    cdef uint8_t[16] ip
    cdef bint is_four = family != 6 and _http1_is_ipv4(<const unsigned char*>text, n)
    if not is_four and (family == 4 or not _http1_is_ipv6(<const unsigned char*>text, n)):
        return False
    if n >= sizeof(copy):
        return False
    memcpy(copy, text, n)
    copy[n] = 0
    if web_inet_pton(4 if is_four else 6, copy, ip) != 1:
        return False
    web_set_address(out, 4 if is_four else 6, ip, 0)
    return True


def read_ip(str text not None):
    """(its usual form, its 4 or 16 bytes) of an IP address; None: it is none."""
    cdef Py_ssize_t[1] size
    cdef const char* data = PyUnicode_AsUTF8AndSize(text, size)
    cdef web_address at
    if not address_read(data, size[0], 0, &at):
        return None
    return address_tuple(&at)[0], PyBytes_FromStringAndSize(<const char*>at.ip, 4 if at.family == 4 else 16)
