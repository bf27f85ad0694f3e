# The throw-away certificate for development: a key and a certificate signed by itself (dev_certificate.py writes the
# files). With the _core_tls parts and _core_certificate the only caller of OpenSSL. Each function frees what it makes.

cdef enum:
    SERIAL_BITS = 159           # RFC 5280, 4.1.2.2: positive, at most 20 octets


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
