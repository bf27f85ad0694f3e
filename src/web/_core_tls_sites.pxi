# Sites: what a server shows and asks, by the name that a client asks for (SNI: RFC 6066, 3); and clients' certificates.
# With the other _core_tls parts the only caller of OpenSSL.
#
# A Site is one TlsContext as the handshake needs it: without the GIL, and all of it together. SSL_set_SSL_CTX alone
# moves the certificate; verify mode, flags, depth and the session id context would stay those of the first context, and
# a name that asks for certificates would take sessions of one that does not (CVE-2025-23419). So site_use() sets them
# all, in the ClientHello callback, before OpenSSL looks at versions, sessions or certificates.
#
# A client's certificate is verified (site_admits) when there is one, X509_verify_cert found nothing wrong with it, and
# the application's check, if there is one, said True. An exception there, or anything but True, is no. A session that
# is resumed brings its certificate with it; site_resumes() looks at it once more; a session that does not pass is
# forgotten: the whole handshake that follows ends with the right alert. A session is good for the name that it was made
# for, and for one session id context, which is a hash of the site's names and of all that was asked of the client, CA
# and CRL contents included: who changes them ends those sessions.
#
# Ownership: a Site is a field of its TlsContext; its strings and its check are that context's. A NameTable is its
# context's, and points to Sites of contexts that the same context holds. Connections hold the outer context.

cdef enum:
    SITE_HASH = 32              # SHA-256
    HOST_NAME_MAX = 255         # RFC 1035, 2.3.4

cdef struct Site:
    SSL_CTX* ctx                # NULL: not loaded
    int verify_mode
    int depth
    unsigned long flags
    unsigned char[32] session_id        # SITE_HASH
    unsigned char[32] rules             # the same without the names: what was asked of the client
    void* check                 # a Python object, or NULL
    int64_t until               # unix time at which a list or an authority ends: no session is resumed after it

cdef struct SiteName:
    const char* name            # in lower case; "*.example.org" for one label in the star's place
    Py_ssize_t length
    const Site* site

cdef struct NameTable:
    SiteName* rows              # sorted by name
    Py_ssize_t count
    bint strict                 # a name that is not here is refused


# -- the names -------------------------------------------------------------------------------------------------------

cdef int compare_names(const char* a, Py_ssize_t a_length, const char* b, Py_ssize_t b_length) noexcept nogil:
    cdef int order = memcmp(a, b, min(a_length, b_length))
    return order if order != 0 else (a_length > b_length) - (a_length < b_length)


cdef const Site* names_get(const NameTable* table, const char* name, Py_ssize_t length) noexcept nogil:
    """The site of exactly this entry, or NULL."""
    cdef Py_ssize_t low = 0, high = table.count, middle
    cdef int order
    while low < high:
        middle = (low + high) >> 1
        order = compare_names(name, length, table.rows[middle].name, table.rows[middle].length)
        if order == 0:
            return table.rows[middle].site
        if order < 0:
            high = middle
        else:
            low = middle + 1
    return NULL


cdef const Site* names_find(const NameTable* table, const char* name, Py_ssize_t length) noexcept nogil:
    """The site for a host name, in any case and with or without the root's dot; the name itself comes before a
    wildcard, which stands for one whole label (RFC 9525, 6.3). NULL: there is none."""
    cdef char[HOST_NAME_MAX] lower
    cdef const Site* found
    cdef Py_ssize_t i
    if length > 0 and name[length - 1] == c".":
        length -= 1
    if length <= 0 or length > HOST_NAME_MAX or table.count == 0:
        return NULL
    memset(lower, 0, sizeof(lower))     # a compiler does not see that what follows fills all that is read
    for i in range(length):
        lower[i] = name[i] | 0x20 if c"A" <= name[i] <= c"Z" else name[i]
    found = names_get(table, lower, length)
    if found != NULL:
        return found
    for i in range(length):
        if lower[i] == c".":
            if i == 0:
                return NULL
            lower[i - 1] = c"*"
            return names_get(table, lower + i - 1, length - i + 1)
    return NULL


# -- what a site asks of a connection ----------------------------------------------------------------------------------

cdef int site_use(const Site* site, SSL* ssl) noexcept nogil:
    """Makes a new connection that site's: 0, or the alert."""
    cdef X509_VERIFY_PARAM* param = SSL_get0_param(ssl)
    if site.ctx == NULL or param == NULL or SSL_set_SSL_CTX(ssl, site.ctx) != site.ctx:
        return SSL_AD_INTERNAL_ERROR
    SSL_set_verify(ssl, site.verify_mode, NULL)
    SSL_set_verify_depth(ssl, site.depth)
    if (X509_VERIFY_PARAM_clear_flags(param, CLIENT_FLAGS) != 1
            or (site.flags != 0 and X509_VERIFY_PARAM_set_flags(param, site.flags) != 1)
            or SSL_set_session_id_context(ssl, site.session_id, SITE_HASH) != 1
            or SSL_get_verify_mode(ssl) != site.verify_mode):
        return SSL_AD_INTERNAL_ERROR
    return 0


cdef int site_admits(const Site* site, const SSL* ssl) noexcept nogil:
    """After a handshake: 1 when everything that the site asks was given, else WEB_FAILED. OpenSSL has looked at it
    before; no handler runs on its word alone."""
    cdef bint shown = SSL_get0_peer_certificate(ssl) != NULL
    if site.ctx == NULL or SSL_get_SSL_CTX(ssl) != site.ctx or SSL_get_verify_mode(ssl) != site.verify_mode:
        return WEB_FAILED
    if site.verify_mode == SSL_VERIFY_NONE:
        return 1 if not shown else WEB_FAILED
    if not shown:
        return 1 if not site.verify_mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT else WEB_FAILED
    return 1 if SSL_get_verify_result(ssl) == X509_V_OK else WEB_FAILED


cdef int on_client_certificate(X509_STORE_CTX* store, void* unused) noexcept nogil:
    """OpenSSL has a client's certificates: 1 they are good, else 0 and an error, which becomes the alert."""
    cdef const SSL* ssl = <const SSL*>X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    cdef void* owner = SSL_get_app_data(ssl) if ssl != NULL else NULL
    cdef int error = X509_V_ERR_UNSPECIFIED
    if owner != NULL and (<Tls>owner).site != NULL:
        if X509_verify_cert(store) == 1:
            error = X509_STORE_CTX_get_error(store)
            if error == X509_V_OK and not check_passes(<Tls>owner, X509_STORE_CTX_get0_cert(store)):
                error = X509_V_ERR_CERT_REJECTED
        elif X509_STORE_CTX_get_error(store) != X509_V_OK:
            error = X509_STORE_CTX_get_error(store)
        (<Tls>owner).verify_error = error
    X509_STORE_CTX_set_error(store, error)
    return 1 if error == X509_V_OK else 0


cdef bint site_resumes(Tls c, SSL_SESSION* session) noexcept nogil:
    """Predicate: a session whose ticket was good is for the name that is asked for, and its certificate would still let
    the client in."""
    cdef const Site* site = c.site
    cdef X509* shown
    if site == NULL or not same_text(SSL_SESSION_get0_hostname(session), c.name_text):
        return False                    # RFC 6066, 3: not for another name
    if site.verify_mode == SSL_VERIFY_NONE:
        return True
    shown = SSL_SESSION_get0_peer(session)
    if shown == NULL:
        return not site.verify_mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    if c.session_refused or site.until < web_unix_seconds() or not is_in_time(shown):
        return False
    c.session_refused = not check_passes(c, shown)      # a ClientHello may hold a hundred tickets: one is enough
    return not c.session_refused


cdef bint same_text(const char* a, const char* b) noexcept nogil:
    """Predicate: both are NULL, or the same."""
    return strcmp(a, b) == 0 if a != NULL and b != NULL else a == b


cdef bint is_in_time(const X509* certificate) noexcept nogil:
    cdef time_t now = web_unix_seconds()
    return (ASN1_TIME_cmp_time_t(X509_get0_notAfter(certificate), now) == 1
            and ASN1_TIME_cmp_time_t(X509_get0_notBefore(certificate), now) == -1)


cdef bint check_passes(Tls c, X509* certificate) noexcept nogil:
    """Predicate: the application has no check, or it said True. OpenSSL is in the middle of a call: errno and its error
    queue are as they were."""
    cdef bint passes
    cdef int number = errno
    if c.site.check == NULL:
        return True
    if certificate == NULL:
        return False
    ERR_set_mark()
    with gil:
        passes = asked_application(c, <object>c.site.check, certificate)
    ERR_pop_to_mark()
    web_set_errno(number)
    return passes


cdef bint asked_application(Tls c, object check, X509* certificate) noexcept:
    """What the application says of a certificate that was verified. Whatever it raises is no. Meanwhile the loop ends
    no connection: it might be this one."""
    cdef Loop loop = c.loop
    if loop is not None:
        loop.in_check = True
    try:
        return check(certificate_of(certificate)) is True
    except BaseException:
        error = _current_exception()
        if loop is not None and isinstance(error, (KeyboardInterrupt, SystemExit)):
            loop.raised = error
        log_check_failed()
        return False
    finally:
        if loop is not None:
            loop.in_check = False


cdef int log_check_failed() noexcept:
    try:
        import logging
        logging.getLogger("web").exception("client_check= failed: the client is refused")
    except BaseException:
        return -1           # there is no way left to say so
    return 1
