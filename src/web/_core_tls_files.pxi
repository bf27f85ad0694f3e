# The files of a TLS server: read whole, parsed, given to an SSL_CTX. With the other _core_tls parts the only caller of
# OpenSSL.
#
# Texts are bytearrays, so that their owner (the caller of TlsContext._read) can overwrite them. Every function frees
# what it makes, leaves an empty error queue, and raises CertificateError, in one line: which file, what is wrong, what
# to do.

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE

from sys import exc_info

from web.errors import WebError

cdef enum:
    MAX_PEM_FILE = 1 << 20      # bytes; a longer file holds no certificates and no key


class CertificateError(WebError):
    """A certificate or key file that cannot be used: one line that says which file, what is wrong and what to do."""


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
    cdef BIO* bio = open_text(text)
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


cdef BIO* open_text(bytearray text) except NULL:
    """Reads from the text, which must stay as it is; the caller frees it."""
    cdef BIO* bio = BIO_new_mem_buf(PyByteArray_AS_STRING(text), <int>PyByteArray_GET_SIZE(text))
    require(bio != NULL, "file")
    return bio


cdef int check_end(bytearray text, str path, str what, int place, bytes other) except -1:
    """Behind the last that PEM_read_bio_... gave: whether the file ended there, and held any."""
    cdef unsigned long end = ERR_peek_last_error()
    reason = last_reason()
    if ERR_GET_LIB(end) != ERR_LIB_PEM or ERR_GET_REASON(end) != PEM_R_NO_START_LINE:
        raise CertificateError(f"{what} {place + 1} in {path!r} cannot be read: {reason}")
    if place == 0:
        raise CertificateError(f"there is no {what} in {path!r}; {wrong_content(text, other)}")
    return 1


cdef Certificate use_chain(SSL_CTX* ctx, EVP_PKEY* key, bytearray text, str path, str key_path, bint allow_expired):
    """Gives all certificates of a file to a context; the first, which is returned, must be the key's."""
    cdef Certificate own = None
    cdef X509* certificate
    cdef int place = 0, key_place = 0, taken
    cdef BIO* bio = open_text(text)
    try:
        while True:
            certificate = PEM_read_bio_X509(bio, NULL, give_password, NULL)
            if certificate == NULL:
                break
            place += 1
            try:
                if key_place == 0 and X509_check_private_key(certificate, key) == 1:
                    key_place = place
                ERR_clear_error()
                if place == 1:
                    own = certificate_of(certificate)
                    taken = SSL_CTX_use_certificate(ctx, certificate)
                else:
                    taken = SSL_CTX_add1_chain_cert(ctx, certificate)
            finally:
                X509_free(certificate)
            if taken != 1:
                raise CertificateError(f"certificate {place} in {path!r} is refused: {last_reason()}; "
                                       "RSA keys need 2048 bits, EC keys 224, signatures SHA-256 or better")
    finally:
        BIO_free(bio)
    check_end(text, path, "certificate", place, b" PRIVATE KEY-----")
    if key_place == 0:
        raise CertificateError(f"the key in {key_path!r} does not match the certificate in {path!r}")
    if key_place != 1:
        raise CertificateError(f"the certificates in {path!r} are in the wrong order: the server's own, which matches "
                               f"the key in {key_path!r}, is number {key_place} and must be the first")
    if not allow_expired:
        check_dates(own, path)
    return own


cdef int check_dates(Certificate own, str path) except -1:
    cdef time_t now = web_unix_seconds()
    if ASN1_TIME_cmp_time_t(X509_get0_notAfter(own.get()), now) not in (0, 1):
        raise CertificateError(f"the certificate in {path!r} has expired ({own.not_after:%Y-%m-%d %H:%M} UTC): clients "
                               "would refuse it; renew it, or serve it all the same with allow_expired=True")
    if ASN1_TIME_cmp_time_t(X509_get0_notBefore(own.get()), now) not in (-1, 0):
        raise CertificateError(f"the certificate in {path!r} is not valid yet ({own.not_before:%Y-%m-%d %H:%M} UTC): "
                               "is the clock right? To serve it all the same: allow_expired=True")
    return 1


cdef list use_issuers(SSL_CTX* ctx, bytearray text, str path):
    """Trusts the authorities of a file to sign clients' certificates, and tells clients their names. Gives them."""
    cdef list found = []
    cdef X509* certificate
    cdef int place = 0, taken
    cdef BIO* bio = open_text(text)
    try:
        while True:
            certificate = PEM_read_bio_X509(bio, NULL, give_password, NULL)
            if certificate == NULL:
                break
            place += 1
            try:
                taken = (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificate) == 1
                         and SSL_CTX_add_client_CA(ctx, certificate) == 1)
                found.append(certificate_of(certificate))
            finally:
                X509_free(certificate)
            if taken != 1:
                raise CertificateError(f"certificate {place} in {path!r} is refused: {last_reason()}")
    finally:
        BIO_free(bio)
    check_end(text, path, "certificate", place, b" PRIVATE KEY-----")
    return found


cdef int check_anchors(list authorities, str path) except -1:
    """With revocation lists every authority is judged, up to one that signed itself; where that is not known, nobody
    would be let in."""
    subjects = {one.subject for one in authorities}
    for one in authorities:
        if one.issuer not in subjects:
            raise CertificateError(f"client_crl= needs all authorities up to the root in {path!r}: {one.issuer!r}, "
                                   f"which signed {one.subject!r}, is missing")
    return 1


cdef list use_revocations(SSL_CTX* ctx, bytearray text, str path, bint allow_expired):
    """Knows the revocation lists of a file (RFC 5280, 5). One that is out of date would let nobody in. Gives until when
    each is good."""
    cdef list ends = []
    cdef X509_CRL* crl
    cdef const ASN1_TIME* until
    cdef int place = 0, taken
    cdef bint is_old
    cdef BIO* bio = open_text(text)
    try:
        while True:
            crl = PEM_read_bio_X509_CRL(bio, NULL, give_password, NULL)
            if crl == NULL:
                break
            place += 1
            try:
                until = X509_CRL_get0_nextUpdate(crl)
                is_old = until != NULL and ASN1_TIME_cmp_time_t(until, web_unix_seconds()) not in (0, 1)
                if until != NULL:
                    ends.append(utc_time(until))
                taken = X509_STORE_add_crl(SSL_CTX_get_cert_store(ctx), crl)
            finally:
                X509_CRL_free(crl)
            if taken != 1:
                raise CertificateError(f"revocation list {place} in {path!r} is refused: {last_reason()}")
            if is_old and not allow_expired:
                raise CertificateError(f"revocation list {place} in {path!r} is out of date: no client would be let "
                                       "in; fetch the new one")
    finally:
        BIO_free(bio)
    check_end(text, path, "revocation list", place, b" CERTIFICATE-----")
    return ends
