# Certificate: what an X.509 certificate says (RFC 5280), read by OpenSSL when it is asked for. With the _core_tls parts
# the only caller of OpenSSL.
#
# Ownership: a Certificate owns its X509, which nothing changes, so threads may share it. Its bytes are kept; all else
# is read anew each time.

cimport cython

from datetime import UTC as _UTC, datetime
from hashlib import sha256
from ipaddress import ip_address

cdef extern from *:
    """
    #include <time.h>
    #include <openssl/x509v3.h>
    static int web_names_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }
    static void web_names_free(GENERAL_NAMES *names) { sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free); }
    /* The kind (GEN_...) and the bytes of one alternative name; -1: of a kind that is not told. */
    static int web_name_at(const GENERAL_NAMES *names, int at, const unsigned char **data, int *length) {
        int kind = -1;
        const ASN1_STRING *text = (const ASN1_STRING *)GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, at), &kind);
        if (kind != GEN_DNS && kind != GEN_EMAIL && kind != GEN_URI && kind != GEN_IPADD) return -1;
        *data = ASN1_STRING_get0_data(text);
        *length = ASN1_STRING_length(text);
        return kind;
    }
    """
    struct tm:
        int tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec
    ctypedef struct GENERAL_NAMES
    const int GEN_DNS
    const int GEN_EMAIL
    const int GEN_URI
    const int GEN_IPADD
    int web_names_count(const GENERAL_NAMES* names) noexcept nogil
    void web_names_free(GENERAL_NAMES* names) noexcept nogil
    int web_name_at(const GENERAL_NAMES* names, int at, const unsigned char** data, int* length) noexcept nogil
    int ASN1_TIME_to_tm(const ASN1_TIME* time, tm* out) nogil

cdef dict NAME_KINDS = {GEN_DNS: "DNS", GEN_EMAIL: "email", GEN_URI: "URI", GEN_IPADD: "IP"}


@cython.final
cdef class Certificate:
    """An X.509 certificate (RFC 5280): a client's, as ``connection.peer_certificate``, or a server's own.

    ``Certificate(der)`` reads one; ValueError: the bytes are none. Two are equal when their bytes are.
    """

    cdef readonly bytes der     # as it is sent
    cdef X509* x509

    def __init__(self, bytes der not None):
        cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(der)
        cdef const unsigned char* end[1]
        cdef X509* found
        if self.x509 != NULL:
            raise RuntimeError("a Certificate does not change")
        end[0] = start
        found = d2i_X509(NULL, end, PyBytes_GET_SIZE(der))
        ERR_clear_error()
        if found == NULL or end[0] != start + PyBytes_GET_SIZE(der):
            X509_free(found)
            raise ValueError("this is no certificate in DER")
        self.x509 = found
        self.der = der

    def __dealloc__(self):
        X509_free(self.x509)

    cdef X509* get(self) except NULL:
        if self.x509 == NULL:
            raise ValueError("this Certificate was made without its bytes")
        return self.x509

    @property
    def subject(self):
        """Whose it is, as text (RFC 4514): "CN=alice,O=Example". What it says is only as true as its issuer is."""
        return name_text(self.get(), False)

    @property
    def issuer(self):
        """Who signed it, as text (RFC 4514)."""
        return name_text(self.get(), True)

    @property
    def names(self):
        """Its alternative names (RFC 5280, 4.2.1.6), as pairs: ("DNS", "example.org"), ("IP", "::1"), ("email", ...),
        ("URI", ...). Other kinds are left out. ValueError: they cannot be read, which is not to have none."""
        cdef int[1] critical
        cdef GENERAL_NAMES* names
        cdef const unsigned char* data[1]
        cdef int length[1]
        cdef int i, kind
        critical[0] = 0
        names = <GENERAL_NAMES*>X509_get_ext_d2i(self.get(), NID_subject_alt_name, critical, NULL)
        ERR_clear_error()
        if names == NULL and critical[0] != -1:     # -1: there are none
            raise ValueError("the alternative names of this certificate cannot be read")
        if names == NULL:
            return ()
        found = []
        try:
            for i in range(web_names_count(names)):
                kind = web_name_at(names, i, data, length)
                if kind >= 0:
                    found.append((NAME_KINDS[kind], name_value(kind, (<const char*>data[0])[:length[0]])))
        finally:
            web_names_free(names)
        return tuple(found)

    @property
    def serial(self):
        """Its serial number, which the issuer gave once (RFC 5280, 4.1.2.2)."""
        cdef BIGNUM* number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(self.get()), NULL)
        cdef char* digits = NULL
        try:
            require(number != NULL, "serial number")
            digits = BN_bn2hex(number)
            require(digits != NULL, "serial number")
            return int(digits.decode("ascii"), 16)
        finally:
            web_openssl_free(digits)
            BN_free(number)

    @property
    def not_before(self):
        """The datetime (UTC) from which it is valid."""
        return utc_time(X509_get0_notBefore(self.get()))

    @property
    def not_after(self):
        """The datetime (UTC) after which it is no longer valid."""
        return utc_time(X509_get0_notAfter(self.get()))

    @property
    def fingerprint(self):
        """SHA-256 of ``der``, in hexadecimal: what to compare, where one certificate is meant and no other."""
        self.get()
        return sha256(self.der).hexdigest()

    @property
    def pem(self):
        """The same as PEM text (RFC 7468)."""
        return certificate_pem(self.get()).decode("ascii")

    def __eq__(self, other):
        return self.der == (<Certificate>other).der if isinstance(other, Certificate) else NotImplemented

    def __hash__(self):
        return hash(self.der)

    def __repr__(self):
        return f"<Certificate {self.subject!r}>" if self.x509 != NULL else "<Certificate without bytes>"


cdef Certificate certificate_of(X509* x509):
    """A Certificate of its own, of one that stays its owner's."""
    cdef int length = i2d_X509(x509, NULL)
    cdef bytes der
    cdef unsigned char* to[1]
    require(length > 0, "certificate")
    der = PyBytes_FromStringAndSize(NULL, length)
    to[0] = <unsigned char*>PyBytes_AS_STRING(der)
    require(i2d_X509(x509, to) == length, "certificate")
    try:
        return Certificate(der)
    except ValueError:      # it is one: there is no memory
        raise TlsError("TLS cannot be set up (certificate): it cannot be copied") from None


cdef str name_text(X509* x509, bint of_issuer):
    """The subject or the issuer, whole: it may be empty."""
    cdef BIO* out = BIO_new(BIO_s_mem())
    cdef char* start[1]
    cdef int printed
    cdef long length
    start[0] = NULL
    try:
        require(out != NULL, "name")
        if of_issuer:
            printed = X509_NAME_print_ex(out, X509_get_issuer_name(x509), 0, NAME_FORM)
        else:
            printed = X509_NAME_print_ex(out, X509_get_subject_name(x509), 0, NAME_FORM)
        length = BIO_get_mem_data(out, start)
        require(printed >= 0 and length == printed, "name")
        return start[0][:length].decode("utf-8", "backslashreplace") if length > 0 else ""
    finally:
        BIO_free(out)


cdef str name_value(int kind, bytes value):
    """An alternative name as text. What is not ASCII there is against the rules (IA5String), and shown escaped."""
    if kind == GEN_IPADD:
        return str(ip_address(value)) if len(value) in (4, 16) else value.hex()
    return value.decode("ascii", "backslashreplace")


cdef object utc_time(const ASN1_TIME* when):
    cdef tm parts
    require(ASN1_TIME_to_tm(when, &parts) == 1, "time")
    return datetime(parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
                    min(parts.tm_sec, 59), tzinfo=_UTC)
