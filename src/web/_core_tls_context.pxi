# TlsContext: certificate, key and policy of a TLS server; and the throw-away certificate for development.
#
# A TlsContext is a value that records paths. load() reads the files and makes the SSL_CTX, once; from then on nothing
# changes it (connections share it, and each SSL holds a reference of its own). A load that fails leaves nothing behind:
# no SSL_CTX, no key in memory, an empty error queue. When the files have changed, _renewed() makes another one.
#
# The keys of session tickets are made at the first load and go on to what is renewed, and into processes forked later:
# a client's ticket is good wherever it connects next.
#
# No part of the policy is left to a default or to a configuration file. A private copy of OpenSSL (linked statically)
# loads no configuration at all. A shared libcrypto is the one that Python's ssl and hashlib use: there the operator's
# configuration (system policies, FIPS providers) stays in force, because to switch it off would switch it off for them
# too; set_policy() overrides what it says about protocols, suites, groups, options and levels. An OSSL_LIB_CTX of our
# own would not shield from that (SSL_CTX_new applies the file's system_default to any), and would step round FIPS.

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <stdint.h>
    #include <openssl/crypto.h>
    /* Whether OpenSSL is linked into this module itself, so that nobody else in the process uses the same copy. */
    static int web_openssl_is_private(void) {
        static const char here = 0;
        Dl_info ours, openssl;
        return dladdr(&here, &ours) != 0 && dladdr((void *)(uintptr_t)&OPENSSL_init_crypto, &openssl) != 0 &&
               ours.dli_fbase == openssl.dli_fbase;
    }
    """
    bint web_openssl_is_private() noexcept nogil

cdef enum:
    MAX_PEM_FILE = 1 << 20      # bytes; a longer file is no certificate chain and no key
    MAX_PASSWORD = 1024         # bytes; OpenSSL's buffer (PEM_BUFSIZE)
    SERIAL_BITS = 159           # RFC 5280, 4.1.2.2: positive, at most 20 octets
    TICKET_KEYS = 80            # bytes: a name of 16, a key for HMAC of 32, one for AES of 32 (OpenSSL 3.0 and newer)


from os import fsdecode
from sys import exc_info

from web.errors import WebError


class CertificateError(WebError):
    """A certificate or key file that cannot be used: one line that says which file, what is wrong and what to do."""


cdef int start_openssl() except -1:
    """NO_ATEXIT comes first: handlers of OpenSSL must not run at exit under threads that still use it."""
    if OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) != 1:
        raise ImportError("OpenSSL cannot be initialised")
    if web_openssl_is_private() and OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1:
        raise ImportError("OpenSSL cannot be initialised without a configuration file")
    return 1


start_openssl()


def openssl_version():
    """The OpenSSL that is linked: "OpenSSL 3.0.19 27 Jan 2026"."""
    return OpenSSL_version(OPENSSL_VERSION).decode("ascii")


@cython.final
cdef class TlsContext:
    """Certificate chain, key and policy for TLS connections (server side).

    cert_file: PEM; the server's own certificate first, then the intermediate ones; all of them are sent.
    key_file: PEM; PKCS#8 (encrypted too), or the older forms. password: for an encrypted key, str or bytes.
    ktls: let the kernel encrypt where it can (Linux with the tls module).

    Making one is cheap and touches no file; load() does, and raises CertificateError. Policy (RFC 9325): TLS 1.2 and
    1.3, suites with forward secrecy and AEAD only, X25519, P-256, P-384, security level 2, ALPN http/1.1; no
    compression, no renegotiation, no early data.
    """

    cdef readonly str cert_file
    cdef readonly str key_file
    cdef readonly bint ktls
    cdef bytes password
    cdef SSL_CTX* ctx           # NULL until load()
    cdef unsigned char[80] ticket_keys  # TICKET_KEYS
    cdef bint has_ticket_keys

    def __cinit__(self, cert_file, key_file, *, password=None, bint ktls=False):
        self.cert_file = fsdecode(cert_file)
        self.key_file = fsdecode(key_file)
        self.ktls = ktls
        if isinstance(password, str):
            password = password.encode()
        if password is not None and not isinstance(password, bytes):
            raise TypeError(f"password must be str or bytes, not {type(password).__name__}")
        if password is not None and len(password) > MAX_PASSWORD:
            raise ValueError(f"password must not be longer than {MAX_PASSWORD} bytes")
        self.password = password

    def __dealloc__(self):
        OPENSSL_cleanse(self.ticket_keys, TICKET_KEYS)
        if self.ctx != NULL:
            SSL_CTX_free(self.ctx)

    def load(self):
        """Reads the files and makes the context ready, once; later calls do nothing.

        CertificateError: a file cannot be used. TlsError: the linked OpenSSL lacks something that the policy needs.
        """
        if self.ctx == NULL:
            chain, key = self._read()
            self.use(chain, key)

    def _read(self):
        """(certificates, key) as the files hold them now, in memory that can be overwritten."""
        chain = read_pem_file(self.cert_file, "certificate")
        try:
            return chain, read_pem_file(self.key_file, "key")
        except BaseException:
            cleanse(chain)      # the same file may hold both
            raise

    def _renewed(self, bytearray chain not None, bytearray key not None):
        """A context that is ready, of what _read() gave, here or in another process: the paths, the pass phrase and the
        ticket keys are this one's. CertificateError, TlsError: as load(). Both texts are overwritten."""
        cdef TlsContext fresh = TlsContext(self.cert_file, self.key_file, password=self.password, ktls=self.ktls)
        if self.has_ticket_keys:
            memcpy(fresh.ticket_keys, self.ticket_keys, TICKET_KEYS)
            fresh.has_ticket_keys = True
        fresh.use(chain, key)
        return fresh

    cdef int use(self, bytearray chain, bytearray key_text) except -1:
        """Makes the context of the texts, and overwrites them."""
        cdef SSL_CTX* ctx = NULL
        cdef EVP_PKEY* key = NULL
        ERR_clear_error()
        try:
            ctx = SSL_CTX_new(TLS_server_method())
            require(ctx != NULL, "context")
            set_policy(ctx, self.ktls)
            key = parse_key(key_text, self.key_file, self.password)
            use_chain(ctx, key, chain, self.cert_file, self.key_file)
            require(SSL_CTX_use_PrivateKey(ctx, key) == 1 and SSL_CTX_check_private_key(ctx) == 1, "key")
            self.use_ticket_keys(ctx)
            self.ctx, ctx = ctx, NULL
        finally:
            cleanse(key_text)
            cleanse(chain)      # the same file may hold both
            EVP_PKEY_free(key)
            SSL_CTX_free(ctx)
            ERR_clear_error()
        return 1

    cdef int use_ticket_keys(self, SSL_CTX* ctx) except -1:
        if not self.has_ticket_keys:
            require(RAND_priv_bytes(self.ticket_keys, TICKET_KEYS) == 1, "randomness")
            self.has_ticket_keys = True
        return require(SSL_CTX_set_tlsext_ticket_keys(ctx, self.ticket_keys, TICKET_KEYS) == 1, "ticket keys")

    def __repr__(self):
        return f"TlsContext({self.cert_file!r}, {self.key_file!r})"


cdef int require(bint done, str what) except -1:
    """For calls that fail only for want of memory, or in an OpenSSL that lacks what the policy needs."""
    if not done:
        raise TlsError(f"TLS cannot be set up ({what}): {last_reason()}")
    return 1


cdef str last_reason():
    """OpenSSL's words for the newest error; empties the queue."""
    cdef str reason = static_text(ERR_reason_error_string(ERR_peek_last_error()))
    ERR_clear_error()
    return reason or "OpenSSL gives no reason"


cdef int set_policy(SSL_CTX* ctx, bint ktls) except -1:
    """RFC 9325, Mozilla's intermediate guidelines without finite-field Diffie-Hellman."""
    cdef uint64_t options = (SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE
                             | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_ENABLE_MIDDLEBOX_COMPAT)
    # RELEASE_BUFFERS: an idle connection keeps no 16 KiB buffers. AUTO_RETRY: records without data are not taken for
    # WANT_READ while more lies in the buffer. NO_AUTO_CHAIN: what the file holds is sent, nothing is looked up.
    cdef long mode = (SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS
                      | SSL_MODE_AUTO_RETRY | SSL_MODE_NO_AUTO_CHAIN)
    if ktls:
        options |= SSL_OP_ENABLE_KTLS
    SSL_CTX_clear_options(ctx, SSL_CTX_get_options(ctx))
    require(SSL_CTX_set_options(ctx, options) == options, "options")
    require(SSL_CTX_set_mode(ctx, mode) & mode == mode, "mode")
    require(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1, "TLS 1.2")
    require(SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1, "TLS 1.3")
    require(SSL_CTX_set_cipher_list(
        ctx, b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
        b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
        b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") == 1, "TLS 1.2 suites")
    require(SSL_CTX_set_ciphersuites(
        ctx, b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1, "TLS 1.3 suites")
    require(SSL_CTX_set1_groups_list(ctx, b"X25519:P-256:P-384") == 1, "groups")
    SSL_CTX_set_security_level(ctx, 2)      # after the suites: a configured list may have carried another level
    require(SSL_CTX_get_security_level(ctx) == 2, "security level")
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL)
    # Sessions live in one ticket that the client keeps (RFC 8446, 4.6.1; RFC 5077), so nothing grows here.
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF)
    require(SSL_CTX_get_session_cache_mode(ctx) == SSL_SESS_CACHE_OFF, "session cache")
    require(SSL_CTX_set_session_id_context(ctx, b"weblatch", 8) == 1, "session id context")
    require(SSL_CTX_set_num_tickets(ctx, 1) == 1, "tickets")
    require(SSL_CTX_set_max_early_data(ctx, 0) == 1, "early data")      # replayable: RFC 8446, 8
    # One recv for a whole request, instead of one for a record's header and one for the rest.
    SSL_CTX_set_read_ahead(ctx, 1)
    SSL_CTX_set_client_hello_cb(ctx, on_client_hello, NULL)
    SSL_CTX_set_info_callback(ctx, on_progress)
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL)
    return 1


# -- the files -------------------------------------------------------------------------------------------------------

cdef bytearray read_pem_file(str path, str what):
    """The whole file, in memory that the caller can overwrite."""
    cdef bytearray text = bytearray(MAX_PEM_FILE + 1)
    cdef Py_ssize_t length = 0, n
    try:
        with open(path, "rb", buffering=0) as file:
            while n := file.readinto(memoryview(text)[length:]):
                length += n
    except (OSError, ValueError):       # ValueError: NUL in the path
        error = exc_info()[1]
        why = getattr(error, "strerror", None) or error
        raise CertificateError(f"the {what} file {path!r} cannot be read: {why}") from None
    if length == 0:
        raise CertificateError(f"the {what} file {path!r} is empty")
    if length > MAX_PEM_FILE:
        cleanse(text)
        raise CertificateError(f"the {what} file {path!r} is longer than 1 MiB; it must hold PEM text only")
    del text[length:]
    return text


cdef int cleanse(bytearray text) except -1:
    OPENSSL_cleanse(PyByteArray_AS_STRING(text), PyByteArray_GET_SIZE(text))
    return 1


cdef str wrong_content(bytearray text, bytes other):
    """Why no certificate, or no key, was found in a file."""
    if other in text:
        return "are the certificate file and the key file swapped?"
    if text[0] == 0x30:     # SEQUENCE: how DER begins
        return "it seems to be DER; convert it to PEM (openssl x509 or openssl pkey, with -inform DER)"
    return "it must be PEM text (-----BEGIN ...)"


cdef struct Password:
    const char* text            # NULL: none was given
    int length
    bint asked


cdef int give_password(char* out, int size, int writing, void* data) noexcept nogil:
    """OpenSSL asks for the pass phrase of a file. It never asks on the terminal: a server has none to answer."""
    cdef Password* password = <Password*>data
    if password == NULL:
        return -1
    password.asked = True
    if password.text == NULL or password.length > size:
        return -1
    memcpy(out, password.text, password.length)
    return password.length


cdef EVP_PKEY* parse_key(bytearray text, str path, bytes given) except NULL:
    cdef Password password
    cdef EVP_PKEY* key
    cdef BIO* bio = BIO_new_mem_buf(PyByteArray_AS_STRING(text), <int>PyByteArray_GET_SIZE(text))
    require(bio != NULL, "key")
    password.text = NULL if given is None else PyBytes_AS_STRING(given)
    password.length = 0 if given is None else <int>PyBytes_GET_SIZE(given)
    password.asked = False
    key = PEM_read_bio_PrivateKey(bio, NULL, give_password, &password)
    BIO_free(bio)
    if key != NULL:
        return key
    reason = last_reason()
    if password.asked and given is None:
        raise CertificateError(f"the key file {path!r} is encrypted; give its pass phrase as password=")
    if password.asked:
        raise CertificateError(f"the key file {path!r} cannot be decrypted: the pass phrase is wrong")
    if b" PRIVATE KEY-----" in text:
        raise CertificateError(f"the private key in {path!r} cannot be read: {reason}")
    raise CertificateError(f"there is no private key in {path!r}; {wrong_content(text, b' CERTIFICATE-----')}")


cdef int use_chain(SSL_CTX* ctx, EVP_PKEY* key, bytearray text, str path, str key_path) except -1:
    """Gives all certificates of a file to a context; the first must be the key's."""
    cdef X509* certificate
    cdef unsigned long end
    cdef int place = 0, key_place = 0, taken
    cdef BIO* bio = BIO_new_mem_buf(PyByteArray_AS_STRING(text), <int>PyByteArray_GET_SIZE(text))
    require(bio != NULL, "certificate")
    try:
        while True:
            certificate = PEM_read_bio_X509(bio, NULL, give_password, NULL)
            if certificate == NULL:
                break
            place += 1
            if key_place == 0 and X509_check_private_key(certificate, key) == 1:
                key_place = place
            ERR_clear_error()
            if place == 1:
                taken = SSL_CTX_use_certificate(ctx, certificate)
            else:
                taken = SSL_CTX_add1_chain_cert(ctx, certificate)
            X509_free(certificate)
            if taken != 1:
                raise CertificateError(f"certificate {place} in {path!r} is refused: {last_reason()}; "
                                       "RSA keys need 2048 bits, EC keys 224, signatures SHA-256 or better")
    finally:
        BIO_free(bio)
    end = ERR_peek_last_error()
    reason = last_reason()
    if ERR_GET_LIB(end) != ERR_LIB_PEM or ERR_GET_REASON(end) != PEM_R_NO_START_LINE:
        raise CertificateError(f"certificate {place + 1} in {path!r} cannot be read: {reason}")
    if place == 0:
        raise CertificateError(f"there is no certificate in {path!r}; {wrong_content(text, b' PRIVATE KEY-----')}")
    if key_place == 0:
        raise CertificateError(f"the key in {key_path!r} does not match the certificate in {path!r}")
    if key_place != 1:
        raise CertificateError(f"the certificates in {path!r} are in the wrong order: the server's own, which matches "
                               f"the key in {key_path!r}, is number {key_place} and must be the first")
    return 1


# -- the certificate for development (dev_certificate.py writes the files) -------------------------------------------

def make_dev_pair(names, addresses, int days):
    """(certificate, key) as PEM bytes: a new P-256 key and a certificate for it, signed by itself, for a TLS server.

    names, addresses: what the certificate is for, checked by the caller; days: how long it is valid from now.
    """
    cdef X509* certificate = NULL
    cdef EVP_PKEY* key = NULL
    alternatives = ",".join([f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses])
    ERR_clear_error()
    try:
        key = EVP_EC_gen(b"P-256")
        certificate = X509_new()
        require(key != NULL and certificate != NULL, "key")
        fill_certificate(certificate, key, alternatives.encode("ascii"), days)
        require(X509_sign(certificate, key, EVP_sha256()) > 0, "signature")
        return certificate_pem(certificate), key_pem(key)
    finally:
        X509_free(certificate)
        EVP_PKEY_free(key)
        ERR_clear_error()


cdef int fill_certificate(X509* certificate, EVP_PKEY* key, bytes alternatives, int days) except -1:
    """RFC 5280: version 3, a random serial number, and the extensions of a server's certificate that is no CA."""
    cdef X509_NAME* name = NULL
    cdef BIGNUM* random = NULL
    cdef ASN1_INTEGER* serial = NULL
    cdef time_t now = web_unix_seconds()
    cdef const unsigned char* title = b"weblatch development certificate"
    try:
        random = BN_new()
        require(random != NULL and BN_rand(random, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1, "randomness")
        serial = BN_to_ASN1_INTEGER(random, NULL)
        require(serial != NULL and X509_set_serialNumber(certificate, serial) == 1, "serial number")
        name = X509_NAME_new()
        require(name != NULL and X509_NAME_add_entry_by_txt(name, b"CN", MBSTRING_ASC, title, -1, -1, 0) == 1, "name")
        require(X509_set_subject_name(certificate, name) == 1 and X509_set_issuer_name(certificate, name) == 1, "name")
        require(X509_set_version(certificate, X509_VERSION_3) == 1 and X509_set_pubkey(certificate, key) == 1, "key")
        require(ASN1_TIME_adj(X509_getm_notBefore(certificate), now, 0, 0) != NULL
                and ASN1_TIME_adj(X509_getm_notAfter(certificate), now, days, -1) != NULL, "validity")
        add_extension(certificate, NID_basic_constraints, b"critical,CA:FALSE")
        add_extension(certificate, NID_key_usage, b"critical,digitalSignature")
        add_extension(certificate, NID_ext_key_usage, b"serverAuth")
        add_extension(certificate, NID_subject_alt_name, alternatives)
    finally:
        BN_free(random)
        ASN1_INTEGER_free(serial)
        X509_NAME_free(name)
    return 1


cdef int add_extension(X509* certificate, int kind, const char* value) except -1:
    cdef X509_EXTENSION* extension = X509V3_EXT_conf_nid(NULL, NULL, kind, value)
    cdef int added
    require(extension != NULL, "extension")
    added = X509_add_ext(certificate, extension, -1)        # copies it
    X509_EXTENSION_free(extension)
    return require(added == 1, "extension")


cdef bytes certificate_pem(X509* certificate):
    cdef BIO* out = BIO_new(BIO_s_mem())
    try:
        require(out != NULL and PEM_write_bio_X509(out, certificate) == 1, "certificate")
        return written(out)
    finally:
        BIO_free(out)


cdef bytes key_pem(EVP_PKEY* key):
    cdef BIO* out = BIO_new(BIO_s_mem())
    try:
        require(out != NULL and PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1, "key")
        return written(out)
    finally:
        BIO_free(out)       # overwrites what it held


cdef bytes written(BIO* out):
    cdef char* start[1]
    cdef long length
    start[0] = NULL
    length = BIO_get_mem_data(out, start)
    require(length > 0 and start[0] != NULL, "PEM")
    return start[0][:length]


def dev_pair_serves(bytes pem not None, names, addresses, Py_ssize_t seconds):
    """Whether the first certificate in pem is valid now and for so many seconds more, for all names and addresses."""
    cdef BIO* bio = BIO_new_mem_buf(PyBytes_AS_STRING(pem), <int>PyBytes_GET_SIZE(pem))
    cdef X509* certificate = NULL
    cdef time_t now = web_unix_seconds()
    cdef bytes text
    try:
        require(bio != NULL, "certificate")
        certificate = PEM_read_bio_X509(bio, NULL, give_password, NULL)
        if (certificate == NULL or ASN1_TIME_cmp_time_t(X509_get0_notBefore(certificate), now) not in (-1, 0)
                or ASN1_TIME_cmp_time_t(X509_get0_notAfter(certificate), now + seconds) != 1):
            return False
        for name in names:
            text = name.encode("ascii")
            if X509_check_host(certificate, text, len(text), 0, NULL) != 1:
                return False
        for address in addresses:
            text = address.encode("ascii")
            if X509_check_ip_asc(certificate, text, 0) != 1:
                return False
        return True
    finally:
        X509_free(certificate)
        BIO_free(bio)
        ERR_clear_error()
