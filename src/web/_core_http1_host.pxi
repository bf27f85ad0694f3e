# Host and port, as they stand in a Host field or in a target (RFC 9110 7.2, RFC 3986 3.2). Predicates over n bytes:
# 1 valid, 0 not. No state.

cdef bint _http1_is_authority(const unsigned char* p, size_t n, bint port_needed) noexcept nogil:
    # uri-host [ ":" port ], the host not empty. Refused though RFC 3986 has them: user information (RFC 9110 4.2.4),
    # '%' and ',' in a name, IPvFuture. Nothing real uses them, and they make one host look like another.
    cdef size_t at = 0
    cdef unsigned int port = 0
    if n > 0 and p[0] == c'[':
        while at < n and p[at] != c']':
            at += 1
        if at == n or not _http1_is_ipv6(p + 1, at - 1):
            return 0
        at += 1
    else:
        while at < n and HTTP1_CLASS[p[at]] & HTTP1_NAME:
            at += 1
        if at == 0:
            return 0
    if at == n:
        return not port_needed
    if p[at] != c':' or n - at > 6:
        return 0
    at += 1
    if at == n:                                         # "host:" is in the grammar: the default port
        return not port_needed
    while at < n:
        if not c'0' <= p[at] <= c'9':
            return 0
        port = port * 10 + (p[at] - <unsigned int>c'0')
        at += 1
    return port <= 65535


cdef bint _http1_is_ipv4(const unsigned char* p, size_t n) noexcept nogil:
    # Four dec-octets, no leading zeros (RFC 3986 3.2.2).
    cdef size_t at = 0, start
    cdef unsigned int octet, number
    for octet in range(4):
        start = at
        number = 0
        while at < n and at - start < 3 and c'0' <= p[at] <= c'9':
            number = number * 10 + (p[at] - <unsigned int>c'0')
            at += 1
        if at == start or number > 255 or (p[start] == c'0' and at - start > 1):
            return 0
        if octet < 3:
            if at == n or p[at] != c'.':
                return 0
            at += 1
    return at == n


cdef bint _http1_is_ipv6(const unsigned char* p, size_t n) noexcept nogil:
    # IPv6address of RFC 3986 3.2.2, without zone.
    cdef size_t at = 0, start
    cdef unsigned int groups = 0
    cdef bint gap = 0
    if n < 2:
        return 0
    if p[0] == c':':
        if p[1] != c':':
            return 0
        gap = 1
        at = 2
    while at < n:
        start = at
        while at < n and at - start < 4 and HTTP1_CLASS[p[at]] & HTTP1_HEX:
            at += 1
        if at == start:
            return 0
        if at < n and p[at] == c'.':                    # the last 32 bits may be written as IPv4
            groups += 2
            return _http1_is_ipv4(p + start, n - start) and (groups <= 7 if gap else groups == 8)
        groups += 1
        if at == n:
            break
        if p[at] != c':' or at + 1 == n:
            return 0
        at += 1
        if p[at] == c':':
            if gap:
                return 0
            gap = 1
            at += 1
    return groups <= 7 if gap else groups == 8
