# TLS on one connection: the handshake, read, write, shutdown. With the other _core_tls parts the only caller of
# OpenSSL.
#
# The states are the transport's (_core_connection); what this part adds to them:
#
#     PEEK         ssl is NULL. The first bytes are looked at, not taken: a TLS record makes the SSL and goes on to
#                  HANDSHAKING; anything else is TLS_PLAINTEXT: in this state, and no other, plain text may answer
#     HANDSHAKING  SSL_accept, when the fd is ready and never otherwise; success copies out the facts and opens
#     OPEN         SSL_read and SSL_write; they are legal in no other state
#     CLOSING      close_notify, once, if nothing is half written; after it OpenSSL is not called but by SSL_free
#
# Ownership: Tls owns its SSL, the SSL holds its SSL_CTX, Tls holds the TlsContext. The SSL's app data point back to
# the Tls without owning it: release() frees the SSL before the Tls goes. What applications read (version, cipher, ALPN,
# name, certificate) is copied out when the handshake ends, because the SSL belongs to the loop's thread.
#
# Invariants:
# - the error queue is empty and errno is 0 before each call whose failure is judged; the return value is judged first,
#   then SSL_get_error, errno only for SYSCALL; what is not explicitly success is a want or WEB_FAILED;
# - broken: an SSL or SYSCALL error came; no call but SSL_free follows (SSL_get_error(3));
# - what OpenSSL wrote is held (_core_tls_bio) until flush() handed it to the kernel. taken > 0: that many bytes of the
#   caller's are encrypted and held, and their sender was told that it blocked: it comes again with the same bytes, and
#   is told their number when they have gone;
# - with kernel TLS OpenSSL writes to the socket itself and nothing is held. blocked > 0: OpenSSL holds a record of that
#   many bytes; the same bytes come first again, and not fewer, before anything else (it sends the old ones, and reports
#   the length of the new ones). Without kernel TLS SSL_write blocks only within a message of the peer's, and holds
#   nothing;
# - chatter: steps of OpenSSL's handshake machine since the handshake or since data came last. Key updates cost the
#   peer next to nothing and us a derivation of keys each, so who sends more than CHATTER_MAX steps of them in a row is
#   closed, and those before data count in read_cost;
# - a Tls is drained only when recv_some said WEB_WANT_READ, or has_pending said -1: SSL_has_pending counts part of a
#   record too, so that has_pending 1 may be followed by WEB_WANT_READ.

from cpython.unicode cimport PyUnicode_InternFromString

cdef extern from *:
    """
    static inline void web_clear_errno(void) { errno = 0; }
    static inline void web_set_errno(int number) { errno = number; }
    #if !defined(SSL_R_RECORD_LAYER_FAILURE) /* OpenSSL before 3.2 */
    #define SSL_R_RECORD_LAYER_FAILURE -1
    #endif
    """
    void web_clear_errno() noexcept nogil
    void web_set_errno(int number) noexcept nogil
    const int SSL_R_RECORD_LAYER_FAILURE

cdef enum:
    TLS_PLAINTEXT = -4          # handshake_step, in PEEK only: what came is no TLS record, and not a byte was taken
    TLS_RECORD = 16384          # the most plaintext in one record (RFC 8446, 5.1)
    CHATTER_MAX = 160           # steps in a row; a key update takes three, and five when it asks for an answer
    CHATTER_COST = 4096         # bytes that might be decrypted in the time of such a step
    TLS_HANDSHAKE_RECORD = 22   # ContentType handshake (RFC 8446, 5.1)


class TlsError(ConnectionError):
    """TLS failed: the handshake, or an established connection.

    ``code`` is OpenSSL's packed error code (0: it gave none), ``library`` and ``reason`` are its words for it
    ("SSL routines", "wrong version number"; "" without code).
    """

    def __init__(self, message, code=0, library="", reason=""):
        super().__init__(message)
        self.code = code
        self.library = library
        self.reason = reason


cdef dict TLS_HINTS = {
    SSL_R_HTTP_REQUEST: "the peer speaks plain HTTP; the address begins with https://",
    SSL_R_HTTPS_PROXY_REQUEST: "the peer takes this server for a proxy",
    SSL_R_WRONG_VERSION_NUMBER: "the peer does not speak TLS; plain HTTP sent to a TLS port looks like this",
    SSL_R_UNSUPPORTED_PROTOCOL: "the peer offers neither TLS 1.2 nor TLS 1.3",
    SSL_R_NO_SHARED_CIPHER: "the peer offers no forward-secret AEAD suite that fits the certificate's key",
    SSL_R_NO_SUITABLE_KEY_SHARE: "the peer offers none of X25519, P-256 and P-384",
    SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM: "the peer accepts no signature that the certificate's key can make",
    SSL_R_NO_APPLICATION_PROTOCOL: "the peer asked by ALPN for other protocols than http/1.1",
    SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: "the peer has shown no certificate, which is required here",
    SSL_R_TLSV1_ALERT_UNKNOWN_CA: "the peer does not trust the certificate's issuer",
    SSL_R_SSLV3_ALERT_BAD_CERTIFICATE: "the peer refuses the certificate",
    SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: "the peer says that the certificate has expired",
    SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN: "the peer refuses the certificate",
}


cdef str static_text(const char* text):
    """One of OpenSSL's static strings; "" for NULL."""
    return "" if text == NULL else text.decode("ascii", "replace")


cdef object tls_error(str doing, unsigned long code, str why = None):
    """The exception for an OpenSSL error; why: better words than OpenSSL's own."""
    cdef str reason = static_text(ERR_reason_error_string(code))
    cdef object hint = TLS_HINTS.get(ERR_GET_REASON(code)) if ERR_GET_LIB(code) == ERR_LIB_SSL else None
    if why is None:
        why = f"TLS: {reason or 'failed'}" + (f" ({hint})" if hint else "")
    return TlsError(f"{doing}: {why}", code, static_text(ERR_lib_error_string(code)), reason)


@cython.final
cdef class Tls(Connection):
    """A connection under TLS, server side (RFC 8446, RFC 5246). The facts below are None until the handshake ends."""

    cdef TlsContext context
    cdef SSL* ssl
    cdef unsigned long error_code           # OpenSSL's error of the last failure; 0: it was not OpenSSL's
    cdef const char* version_name           # OpenSSL's static strings; NULL until the handshake ends
    cdef const char* cipher_name
    cdef char* name_text                    # PyMem_RawMalloc; NULL: the client named no server
    cdef const Site* site                   # the context's, by that name; NULL until the ClientHello came
    cdef unsigned char* peer_der            # PyMem_RawMalloc; NULL: the client has shown no certificate
    cdef unsigned int peer_size
    cdef int verify_error                   # why its certificate was refused; 0: it was not
    cdef Held held                          # ciphertext that the kernel has not been given yet
    cdef unsigned int taken
    cdef unsigned int read_left             # bytes that this call of OpenSSL may still read from the socket
    cdef unsigned short blocked
    cdef unsigned short chatter
    cdef unsigned char broken
    cdef unsigned char read_ended           # the socket said that nothing more comes
    cdef unsigned char notified             # our close_notify was made
    cdef unsigned char truncated            # the peer ended without close_notify (RFC 8446, 6.1)
    cdef unsigned char alpn_agreed          # 11: http/1.1, 10: http/1.0, 0: the client did not ask
    cdef unsigned char session_resumed
    cdef unsigned char session_refused      # the application's check said no to a session of this connection
    cdef unsigned char kernel_sends         # the kernel encrypts what is sent

    __match_args__ = ("version", "cipher")

    def __dealloc__(self):
        PyMem_RawFree(self.name_text)       # before the base's, which calls release(): SSL_free calls nothing of ours
        PyMem_RawFree(self.peer_der)

    # -- what an application may read --------------------------------------------------------------------------------

    @property
    def is_tls(self):
        """True: TLS protects this connection."""
        return True

    @property
    def version(self):
        """"TLSv1.2" or "TLSv1.3"."""
        return None if self.version_name == NULL else interned(self.version_name)

    @property
    def cipher(self):
        """OpenSSL's name of the cipher suite: "TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"."""
        return None if self.cipher_name == NULL else interned(self.cipher_name)

    @property
    def alpn(self):
        """The protocol agreed on by ALPN (RFC 7301): "http/1.1"; None when the client did not ask."""
        return None if self.alpn_agreed == 0 else "http/1.1" if self.alpn_agreed == 11 else "http/1.0"

    @property
    def server_name(self):
        """The host name that the client asked for (SNI: RFC 6066, 3), as it was sent; None when it sent none."""
        if self.version_name == NULL or self.name_text == NULL:
            return None
        return self.name_text.decode("ascii")

    @property
    def resumed(self):
        """Whether an earlier session was resumed (RFC 8446, 2.2)."""
        return None if self.version_name == NULL else self.session_resumed == 1

    @property
    def ktls(self):
        """Whether the kernel encrypts what is sent; send_file() then copies nothing through this process."""
        return None if self.version_name == NULL else self.kernel_sends == 1

    @property
    def peer_certificate(self):
        """The client's Certificate, which was verified (``TlsContext(client_cert=...)``); None: it has shown none."""
        if self.version_name == NULL or self.peer_der == NULL:
            return None
        return Certificate((<const char*>self.peer_der)[:self.peer_size])

    # -- the handshake -----------------------------------------------------------------------------------------------

    cdef Transport first_state(self) noexcept nogil:
        return TRANSPORT_PEEK

    cdef int handshake_step(self) noexcept nogil:
        cdef int result
        cdef Py_ssize_t outcome
        if self.transport == TRANSPORT_PEEK:
            result = self.peek_step()
            if result != 1:
                return result
        if self.transport != TRANSPORT_HANDSHAKING or self.ssl == NULL:
            return illegal_step()
        if self.broken:
            return WEB_FAILED
        outcome = self.flush(False)     # a flight that did not go out whole comes before what answers it
        if outcome != 1:
            return <int>outcome
        self.read_left = STEP_READ
        prepare_call()
        result = SSL_accept(self.ssl)
        if result == 1:
            return self.handshake_done()
        outcome = self.judge(result, &self.write_wants)
        if outcome == WEB_END:
            return self.fail(0)
        if is_blocked(outcome) and self.flush(False) != 1:
            return WEB_FAILED if self.broken else WEB_WANT_WRITE
        if outcome == WEB_WANT_WRITE:
            self.write_wants = WEB_WRITE        # there is more of a flight than may be held at a time
        return <int>outcome

    cdef int peek_step(self) noexcept nogil:
        """PEEK: looks at the first bytes without taking them. 1: the SSL is made, HANDSHAKING."""
        cdef unsigned char[2] first
        cdef Py_ssize_t n = web_peek(self.fd, first, sizeof(first))
        self.write_wants = 0
        if n == WEB_WANT_READ:
            self.write_wants = WEB_READ
            return WEB_WANT_READ
        if n < 0:
            self.error_number = errno
            return WEB_FAILED
        if n == 0:
            self.truncated = True
            return WEB_FAILED
        # A record begins with its type and the major version 3; the minor one is to be ignored (RFC 8446, 5.1).
        if first[0] != TLS_HANDSHAKE_RECORD or (n > 1 and first[1] != 3):
            self.error_code = ERR_PACK(ERR_LIB_SSL, 0, SSL_R_WRONG_VERSION_NUMBER)
            return TLS_PLAINTEXT
        prepare_call()
        self.ssl = SSL_new(self.context.site.ctx)    # NULL for a context that was not loaded
        if self.ssl == NULL or self.attach() != 1 or SSL_set_app_data(self.ssl, <void*>self) != 1:
            return self.fail(ERR_peek_last_error())
        return transport_step(self, TRANSPORT_HANDSHAKING)

    cdef int attach(self) noexcept nogil:
        """Joins SSL and socket. Kernel TLS works with OpenSSL's own BIO only."""
        return SSL_set_fd(self.ssl, self.fd) if self.context.ktls else bio_attach(self)

    cdef int handshake_done(self) noexcept nogil:
        """SSL_accept succeeded: copies out what applications may read, and opens the connection. The ticket is held: it
        goes out with the first answer, or when the connection's turn ends."""
        cdef const SSL_CIPHER* cipher = SSL_get_current_cipher(self.ssl)
        cdef const unsigned char* alpn[1]
        cdef unsigned int[1] alpn_length
        alpn[0] = NULL
        alpn_length[0] = 0
        SSL_get0_alpn_selected(self.ssl, alpn, alpn_length)
        if SSL_is_init_finished(self.ssl) != 1 or cipher == NULL or not self.hello_seen or self.site == NULL:
            return self.fail(0)
        if site_admits(self.site, self.ssl) != 1 or self.keep_certificate() != 1:
            return self.fail(0)
        if alpn_length[0] != 0:
            self.alpn_agreed = http_version(alpn[0], alpn_length[0])
            if self.alpn_agreed == 0:
                return self.fail(0)
        self.version_name = SSL_get_version(self.ssl)
        self.cipher_name = SSL_CIPHER_get_name(cipher)
        self.session_resumed = SSL_session_reused(self.ssl) == 1
        self.kernel_sends = BIO_get_ktls_send(SSL_get_wbio(self.ssl))
        self.write_wants = 0
        return transport_step(self, TRANSPORT_OPEN)

    cdef int keep_certificate(self) noexcept nogil:
        """Copies out what the client has shown: 1, or WEB_FAILED, as where the site wants one and there is none."""
        cdef const X509* shown = SSL_get0_peer_certificate(self.ssl)
        cdef unsigned char* to
        cdef int size
        if shown == NULL:
            return WEB_FAILED if self.site.verify_mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT else 1
        size = i2d_X509(shown, NULL)
        if size <= 0:
            return WEB_FAILED
        self.peer_der = to = <unsigned char*>PyMem_RawMalloc(size)
        if to == NULL or i2d_X509(shown, &to) != size:
            return WEB_FAILED
        self.peer_size = size
        return 1

    # -- the operations ----------------------------------------------------------------------------------------------

    cdef Py_ssize_t recv_some(self, char* to, size_t count) noexcept nogil:
        cdef size_t[1] done
        cdef int result
        if self.transport != TRANSPORT_OPEN or self.ssl == NULL:
            return illegal_step()
        if self.broken:
            return WEB_FAILED
        done[0] = 0
        self.read_left = STEP_READ
        prepare_call()
        result = SSL_read_ex(self.ssl, to, count, done)
        if self.chatter > CHATTER_MAX:
            return self.fail(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_TOO_MANY_KEY_UPDATES))
        if result == 1 and done[0] > 0:
            self.read_wants = 0
            self.read_cost = <unsigned int>self.chatter * CHATTER_COST
            self.chatter = 0
            return <Py_ssize_t>done[0]
        return self.judge(result, &self.read_wants)

    cdef Py_ssize_t send_some(self, const char* data, size_t count, bint more) noexcept nogil:
        """Encrypts at most SEND_BATCH bytes and sends them; with more a batch that is not full waits for what follows.
        """
        cdef Py_ssize_t n
        if self.transport != TRANSPORT_OPEN or self.ssl == NULL or count < self.blocked or count < self.taken:
            return illegal_step()
        if self.broken:
            return WEB_FAILED
        if self.taken == 0:
            n = self.encrypt(data, count)
            if n <= 0:
                return n
            self.taken = <unsigned int>n
        return self.send_taken(more)

    cdef Py_ssize_t send_file_some(self, int file, int64_t* offset, size_t count, bint again) noexcept nogil:
        """Reads at most SEND_BATCH bytes and sends them: memory per download is constant, whatever the file's size.
        What was read once is not read again, so a file that changes meanwhile is sent as it was."""
        cdef char[TLS_RECORD] chunk
        cdef Py_ssize_t n
        cdef size_t done = 0
        if self.kernel_sends:
            return self.kernel_send_file(file, offset, count)
        if self.transport != TRANSPORT_OPEN or self.ssl == NULL or count < self.taken:
            return illegal_step()
        if self.taken == 0:
            while done < count and done < self.batch():
                n = web_read_file(file, chunk, min(count - done, <size_t>TLS_RECORD), offset[0] + <int64_t>done)
                if n < 0:
                    self.error_number = errno
                elif n < self.blocked:      # a record waits in OpenSSL, and the file has become shorter than it
                    n = WEB_END
                elif n > 0:
                    n = self.encrypt(chunk, <size_t>n)
                if n <= 0:
                    if done == 0 or self.broken:
                        return n
                    break                   # what came before goes out; the next call sees the same again
                done += <size_t>n
            self.taken = <unsigned int>done
        n = self.send_taken(again and count > self.taken)
        if n > 0:
            offset[0] += n
        return n

    cdef size_t batch(self) noexcept nogil:
        """How many bytes are encrypted before any are sent. One record where OpenSSL writes to the socket itself: it
        would keep the next one when that blocks, and whoever is told of the first may go on with other bytes than
        those."""
        return TLS_RECORD if self.context.ktls else SEND_BATCH

    cdef Py_ssize_t encrypt(self, const char* data, size_t count) noexcept nogil:
        """Makes records of at most SEND_BATCH bytes; they are held. How many bytes, or a want, or WEB_FAILED."""
        cdef size_t[1] done
        cdef size_t total = 0
        cdef Py_ssize_t outcome
        cdef int result
        if self.broken:
            return WEB_FAILED
        if self.blocked:
            count = self.blocked        # exactly the record that OpenSSL holds: it takes no others in this call
        else:
            count = min(count, self.batch())
        if self.held.end - self.held.at > SEND_BATCH:
            outcome = self.flush(False)
            if outcome != 1:
                return outcome
        if not self.context.ktls and held_room(&self.held, count + (count // TLS_RECORD + 1) * RECORD_COST) < 0:
            return self.fail(0)
        while total < count:
            done[0] = 0
            self.read_left = STEP_READ        # within a message of the peer's it reads the rest of that first
            prepare_call()
            result = SSL_write_ex(self.ssl, data + total, min(count - total, <size_t>TLS_RECORD), done)
            if result == 1 and done[0] > 0:
                self.blocked = 0
                self.write_wants = 0
                total += done[0]
                continue
            outcome = self.judge(result, &self.write_wants)
            if outcome == WEB_END or outcome == WEB_FAILED:
                return self.fail(0) if not self.broken else WEB_FAILED
            self.blocked = <unsigned short>min(count - total, <size_t>TLS_RECORD)
            return <Py_ssize_t>total if total > 0 else outcome
        return <Py_ssize_t>total

    cdef Py_ssize_t send_taken(self, bint more) noexcept nogil:
        """Sends what is held, and tells how many bytes of the caller's that were; a want: the kernel takes no more."""
        cdef Py_ssize_t n = self.taken
        cdef int outcome
        if not more or self.held.end - self.held.at >= SEND_BATCH:
            outcome = self.flush(more)
            if outcome != 1:
                return outcome
        self.taken = 0
        return n

    cdef int flush_step(self) noexcept nogil:
        return self.flush(False)

    cdef int flush(self, bint more) noexcept nogil:
        """Hands what is held to the kernel: 1 nothing is held any more, WEB_WANT_WRITE, WEB_FAILED. more: further bytes
        follow at once."""
        cdef Py_ssize_t n
        if self.held.data == NULL:
            return 1
        while self.held.at < self.held.end:
            n = web_send(self.fd, self.held.data + self.held.at, self.held.end - self.held.at, more)
            if n == WEB_WANT_WRITE:
                self.write_wants = WEB_WRITE
                return WEB_WANT_WRITE
            if n <= 0:
                self.error_number = errno
                return self.fail(0)
            self.held.at += <unsigned int>n
        held_drop(&self.held)
        if self.write_wants == WEB_WRITE:
            self.write_wants = 0
        return 1

    cdef int64_t unacknowledged(self) noexcept nogil:
        """A batch is reported when all of it has gone; a slow peer is judged by what it took of it until then."""
        return web_unacknowledged(self.fd) + <int64_t>(self.held.end - self.held.at) - <int64_t>self.taken

    cdef Py_ssize_t kernel_send_file(self, int file, int64_t* offset, size_t count) noexcept nogil:
        cdef Py_ssize_t n, outcome
        if self.transport != TRANSPORT_OPEN or self.ssl == NULL or self.blocked:
            return illegal_step()
        if self.broken:
            return WEB_FAILED
        prepare_call()
        n = SSL_sendfile(self.ssl, file, <off_t>offset[0], count, 0)
        if n >= 0:
            self.write_wants = 0
            offset[0] += n
            return n                # 0: the file ends there
        outcome = self.judge(-1, &self.write_wants)
        return outcome if outcome != WEB_END else self.fail(0)

    cdef int shutdown_step(self) noexcept nogil:
        """close_notify (RFC 8446, 6.1), then FIN. The peer's close_notify is not waited for.

        A connection that broke, or that has a record half written, gets the FIN only: its end is not a clean one.
        """
        cdef int result
        cdef Py_ssize_t outcome
        if (self.ssl != NULL and not self.broken and not self.notified and self.blocked == 0 and self.taken == 0
                and SSL_is_init_finished(self.ssl) == 1):
            if self.held.end - self.held.at > SEND_BATCH:
                outcome = self.flush(False)     # else the alert may find no room, and nothing would make any
                if outcome != 1:
                    return <int>outcome
            prepare_call()
            result = SSL_shutdown(self.ssl)
            if result < 0:
                outcome = self.judge(result, &self.write_wants)
                return <int>outcome if outcome != WEB_END else self.fail(0)
            self.notified = True
        if not self.broken:
            outcome = self.flush(False)
            if outcome != 1:
                return <int>outcome
        self.write_wants = 0
        if c_shutdown(self.fd, SHUT_WR) < 0:
            self.error_number = errno
            return WEB_FAILED
        return 1

    cdef bint answers_for(self, str authority) except -1:
        cdef bytes name
        cdef const Site* site
        if not self.context.rules_differ:
            return True
        name = host_name_of(authority).encode("utf-8", "replace")
        site = self.context.site_for(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        return site != NULL and self.site != NULL and same_rules(site, self.site)

    cdef CloseReason failure_reason(self) noexcept nogil:
        if self.truncated:
            return CLOSE_TRUNCATED
        return CLOSE_TLS_FAILED if self.error_code != 0 else CLOSE_PEER_LEFT

    cdef HandshakeFault handshake_fault(self) noexcept nogil:
        cdef int reason = ERR_GET_REASON(self.error_code)
        if self.truncated or self.error_code == 0:
            return FAULT_PEER_LEFT if self.truncated or self.error_number != 0 else FAULT_OTHER
        if self.verify_error != 0 or reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return FAULT_CLIENT_CERTIFICATE
        if ERR_GET_LIB(self.error_code) != ERR_LIB_SSL:
            return FAULT_OTHER
        if reason > SSL_AD_REASON_OFFSET:       # an alert of the peer's, as OpenSSL numbers those
            return FAULT_ALERT
        if reason == SSL_R_WRONG_VERSION_NUMBER or reason == SSL_R_HTTP_REQUEST:
            return FAULT_NO_TLS
        if reason == SSL_R_UNSUPPORTED_PROTOCOL:
            return FAULT_VERSION
        if reason == SSL_R_NO_SHARED_CIPHER:
            return FAULT_CIPHER
        if reason == SSL_R_NO_SUITABLE_KEY_SHARE:
            return FAULT_GROUP
        if reason == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
            return FAULT_SIGNATURE
        if self.hello_seen and self.site == NULL:
            return FAULT_NAME
        return FAULT_ALPN if reason == SSL_R_NO_APPLICATION_PROTOCOL else FAULT_OTHER

    cdef int has_pending(self) noexcept nogil:
        return 1 if self.ssl != NULL and not self.broken and SSL_has_pending(self.ssl) == 1 else -1

    cdef void release(self) noexcept nogil:
        if self.ssl != NULL:
            SSL_free(self.ssl)      # quiet: it sends nothing, and its BIO does not own the fd
            self.ssl = NULL
            ERR_clear_error()
        held_drop(&self.held)
        Connection.release(self)

    # -- how a call went ---------------------------------------------------------------------------------------------

    cdef Py_ssize_t judge(self, int result, unsigned char* wants) noexcept nogil:
        """What a call means that did not say success: a want (kept), WEB_END for close_notify, else WEB_FAILED."""
        cdef int number = errno     # before another call changes it
        cdef int why = SSL_get_error(self.ssl, result)
        wants[0] = 0
        if why == SSL_ERROR_WANT_READ:
            wants[0] = WEB_READ
            return WEB_WANT_READ
        if why == SSL_ERROR_WANT_WRITE:
            wants[0] = WEB_WRITE
            return WEB_WANT_WRITE
        if why == SSL_ERROR_ZERO_RETURN:
            return WEB_END
        if why == SSL_ERROR_SYSCALL:
            self.error_number = number
            self.truncated = number == 0
            return self.fail(0)
        return self.fail(take_error())

    cdef int fail(self, unsigned long code) noexcept nogil:
        """No OpenSSL call but SSL_free from here on; keeps why. An alert that OpenSSL wrote goes out if it can at once
        (RFC 8446, 6.2)."""
        self.broken = True
        if self.held.at < self.held.end:
            web_send(self.fd, self.held.data + self.held.at, self.held.end - self.held.at, 0)
        held_drop(&self.held)
        self.error_code = code
        if ERR_GET_LIB(code) == ERR_LIB_SSL and ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING:
            self.truncated = True
        ERR_clear_error()
        return WEB_FAILED

    cdef object failure(self, str doing):
        if self.truncated:
            if self.version_name == NULL:
                return tls_error(doing, self.error_code, "the peer ended the connection during the handshake")
            return tls_error(doing, self.error_code,
                             "the peer ended the connection without close_notify; what it sent may be cut off")
        if self.verify_error != 0:
            return tls_error(doing, self.error_code, "TLS: the client's certificate is refused: "
                             + static_text(X509_verify_cert_error_string(self.verify_error)))
        if self.error_code != 0:
            return tls_error(doing, self.error_code)
        if self.error_number == 0:
            return TlsError(f"{doing}: TLS failed on this connection; it can only be closed")
        return Connection.failure(self, doing)


cdef str interned(const char* text):
    """A name from OpenSSL's tables; they are finite, so interning it is no leak."""
    return PyUnicode_InternFromString(text)


cdef void prepare_call() noexcept nogil:
    """Before each call that judge() may have to judge: nothing older may be mistaken for its failure."""
    ERR_clear_error()
    web_clear_errno()


cdef unsigned long take_error() noexcept nogil:
    """The newest error that says what is wrong; 0: there is none. Since OpenSSL 3.2 one about the record layer, which
    says no more than that, comes behind it."""
    cdef unsigned long found = 0, code = ERR_get_error()
    while code != 0:
        if found == 0 or ERR_GET_LIB(code) != ERR_LIB_SSL or ERR_GET_REASON(code) != SSL_R_RECORD_LAYER_FAILURE:
            found = code
        code = ERR_get_error()
    return found


cdef void on_progress(const SSL* ssl, int where, int result) noexcept nogil:
    """OpenSSL's handshake machine takes a step (SSL_CTX_set_info_callback(3)): in TLS 1.3 for key updates, too."""
    cdef void* owner = SSL_get_app_data(ssl)
    if where != SSL_CB_ACCEPT_LOOP or owner == NULL or (<Tls>owner).transport != TRANSPORT_OPEN:
        return
    if (<Tls>owner).chatter <= CHATTER_MAX:
        (<Tls>owner).chatter = (<Tls>owner).chatter + 1
    if (<Tls>owner).chatter > CHATTER_MAX:      # so that OpenSSL ends its call, and reads no further record
        SSL_set_shutdown((<Tls>owner).ssl, SSL_RECEIVED_SHUTDOWN)
