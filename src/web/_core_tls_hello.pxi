# What a ClientHello asks for: the name (SNI: RFC 6066, 3) and the protocol (ALPN: RFC 7301). Callbacks of OpenSSL, each
# of which says no where it does not know better. With the other _core_tls parts the only caller of OpenSSL.
#
# on_client_hello comes first, before OpenSSL acts on anything: there the site is chosen, whole (_core_tls_sites). A
# second ClientHello (HelloRetryRequest) must ask for the same name again (RFC 8446, 4.1.2).

cdef bint host_name_byte(unsigned char c) noexcept nogil:
    """Predicate: letters, digits, hyphen, dot; and the underscore, which names in use have."""
    return (c"a" <= c <= c"z" or c"A" <= c <= c"Z" or c"0" <= c <= c"9" or c == c"-" or c == c"." or c == c"_")


cdef int take_hello(Tls c, SSL* ssl) noexcept nogil:
    """The whole ClientHello is here: keeps the name that it asks for, and chooses the site. 0, or the alert."""
    cdef const Site* site = &c.context.site
    cdef char* first = c.name_text
    cdef bint is_second = c.site != NULL, is_same
    cdef int alert
    c.hello_seen = True
    c.name_text = NULL
    alert = take_name(c, ssl)
    is_same = same_text(first, c.name_text)
    PyMem_RawFree(first)
    if alert != 0:
        return alert
    if is_second:
        return 0 if is_same else SSL_AD_ILLEGAL_PARAMETER
    if c.name_text != NULL:
        site = c.context.site_for(c.name_text, <Py_ssize_t>strlen(c.name_text))
    if site == NULL:
        return SSL_AD_UNRECOGNIZED_NAME
    c.site = site
    return site_use(site, ssl)


cdef int take_name(Tls c, SSL* ssl) noexcept nogil:
    """Keeps the host name of a ClientHello, if it has one: 0, or the alert."""
    cdef const unsigned char* extension[1]
    cdef size_t[1] size
    cdef const unsigned char* data
    cdef size_t length, i
    if SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, extension, size) != 1:
        return 0
    data = extension[0]
    length = size[0]
    # A list with one entry: length of the list (2), type (1), length of the name (2), the name (RFC 6066, 3).
    if (length < 6 or (data[0] << 8 | data[1]) != <int>(length - 2) or data[2] != TLSEXT_NAMETYPE_host_name
            or (data[3] << 8 | data[4]) != <int>(length - 5)):
        return SSL_AD_DECODE_ERROR
    data += 5
    length -= 5
    if length > HOST_NAME_MAX:
        return SSL_AD_UNRECOGNIZED_NAME
    for i in range(length):
        if not host_name_byte(data[i]):
            return SSL_AD_UNRECOGNIZED_NAME
    c.name_text = <char*>PyMem_RawMalloc(length + 1)
    if c.name_text == NULL:
        return SSL_AD_INTERNAL_ERROR
    memcpy(c.name_text, data, length)
    c.name_text[length] = 0
    return 0


cdef int on_client_hello(SSL* ssl, int* alert, void* data) noexcept nogil:
    """OpenSSL received a whole ClientHello and has acted on none of it yet (SSL_CTX_set_client_hello_cb(3))."""
    cdef void* owner = SSL_get_app_data(ssl)
    alert[0] = SSL_AD_INTERNAL_ERROR
    if owner == NULL:
        return SSL_CLIENT_HELLO_ERROR
    alert[0] = take_hello(<Tls>owner, ssl)
    return SSL_CLIENT_HELLO_SUCCESS if alert[0] == 0 else SSL_CLIENT_HELLO_ERROR


cdef int on_server_name(SSL* ssl, int* alert, void* data) noexcept nogil:
    """The name was taken: the client is told so (RFC 6066, 3). Whatever depends on it stands since on_client_hello."""
    cdef void* owner = SSL_get_app_data(ssl)
    alert[0] = SSL_AD_INTERNAL_ERROR
    if owner == NULL or (<Tls>owner).site == NULL:
        return SSL_TLSEXT_ERR_ALERT_FATAL
    return SSL_TLSEXT_ERR_OK if (<Tls>owner).name_text != NULL else SSL_TLSEXT_ERR_NOACK


cdef unsigned char http_version(const unsigned char* name, unsigned int length) noexcept nogil:
    """A protocol's name in ALPN (RFC 7301, 6): 11 for http/1.1, 10 for http/1.0, 0 for what is not spoken here."""
    if length != 8 or memcmp(name, b"http/1.", 7) != 0:
        return 0
    return 11 if name[7] == c"1" else 10 if name[7] == c"0" else 0


cdef int on_alpn(SSL* ssl, const unsigned char** out, unsigned char* out_length, const unsigned char* offered,
                 unsigned int offered_length, void* data) noexcept nogil:
    """Takes http/1.1 where it is offered, else http/1.0; no overlap is fatal, no_application_protocol (RFC 7301, 3.2).
    """
    cdef unsigned int at = 0, length
    cdef unsigned char version, best = 0
    while at < offered_length:
        length = offered[at]
        at += 1
        if length == 0 or length > offered_length - at:
            return SSL_TLSEXT_ERR_ALERT_FATAL
        version = http_version(offered + at, length)
        if version > best:
            best = version
            out[0] = offered + at
            out_length[0] = 8
        at += length
    return SSL_TLSEXT_ERR_OK if best > 0 else SSL_TLSEXT_ERR_ALERT_FATAL
