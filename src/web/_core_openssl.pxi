# What of OpenSSL is used: declarations, nothing else. Callers: _core_tls, _core_tls_bio
# and _core_tls_context, no other part.
#
# OpenSSL 3.0 is the oldest that is supported, and 3.5 and 4.x compile from the same lines: structures are opaque, no
# name is deprecated or removed in any of them (check: -DOPENSSL_NO_DEPRECATED), and no result is used whose constness
# differs between them. Macros are declared as the functions that they look like.
# Man pages: docs.openssl.org. Whatever returns int returns 1 for success unless a line says otherwise.

cdef extern from "openssl/types.h" nogil:
    ctypedef struct SSL
    ctypedef struct SSL_CTX
    ctypedef struct SSL_METHOD
    ctypedef struct BIO
    ctypedef struct BIO_METHOD
    ctypedef struct X509
    ctypedef struct X509_NAME
    ctypedef struct X509_EXTENSION
    ctypedef struct EVP_PKEY
    ctypedef struct EVP_MD
    ctypedef struct EVP_CIPHER
    ctypedef struct BIGNUM
    ctypedef struct ASN1_INTEGER
    ctypedef struct ASN1_TIME

cdef extern from "openssl/crypto.h" nogil:
    const uint64_t OPENSSL_INIT_NO_ATEXIT
    const uint64_t OPENSSL_INIT_NO_LOAD_CONFIG
    const int OPENSSL_VERSION
    int OPENSSL_init_crypto(uint64_t options, const void* settings)
    const char* OpenSSL_version(int what)
    void OPENSSL_cleanse(void* start, size_t count)

cdef extern from "openssl/err.h" nogil:
    const int ERR_LIB_SSL
    const int ERR_LIB_PEM
    unsigned long ERR_PACK(int library, int function, int reason)
    unsigned long ERR_get_error()                               # the oldest, taken off the queue; 0: it is empty
    unsigned long ERR_peek_last_error()
    void ERR_clear_error()
    int ERR_GET_LIB(unsigned long code)
    int ERR_GET_REASON(unsigned long code)
    const char* ERR_lib_error_string(unsigned long code)        # static, may be NULL
    const char* ERR_reason_error_string(unsigned long code)     # static, may be NULL

cdef extern from "openssl/rand.h" nogil:
    int RAND_priv_bytes(unsigned char* to, int count)

cdef extern from "openssl/bio.h" nogil:
    BIO* BIO_new(const BIO_METHOD* method)
    const BIO_METHOD* BIO_s_mem()
    BIO* BIO_new_mem_buf(const void* start, int count)          # reads, does not copy
    long BIO_get_mem_data(BIO* bio, char** start)               # number of bytes
    bint BIO_get_ktls_send(BIO* bio)
    int BIO_free(BIO* bio)

    # a BIO of our own: read and write answer 1, or 0 (the end) or -1 with or without a retry flag
    ctypedef int (*bio_read_callback)(BIO* bio, char* to, size_t count, size_t* done) noexcept nogil
    ctypedef int (*bio_write_callback)(BIO* bio, const char* data, size_t count, size_t* done) noexcept nogil
    ctypedef long (*bio_control_callback)(BIO* bio, int command, long number, void* pointer) noexcept nogil
    const int BIO_TYPE_SOURCE_SINK
    const int BIO_CTRL_FLUSH
    const int BIO_CTRL_EOF
    int BIO_get_new_index()                                     # -1 failed
    BIO_METHOD* BIO_meth_new(int kind, const char* name)
    int BIO_meth_set_read_ex(BIO_METHOD* method, bio_read_callback callback)
    int BIO_meth_set_write_ex(BIO_METHOD* method, bio_write_callback callback)
    int BIO_meth_set_ctrl(BIO_METHOD* method, bio_control_callback callback)
    void BIO_set_data(BIO* bio, void* data)
    void* BIO_get_data(BIO* bio)
    void BIO_set_init(BIO* bio, int yes)
    void BIO_set_retry_read(BIO* bio)
    void BIO_set_retry_write(BIO* bio)
    void BIO_clear_retry_flags(BIO* bio)

cdef extern from "openssl/pem.h" nogil:
    ctypedef int pem_password_cb(char* out, int size, int writing, void* data) noexcept nogil
    const int PEM_R_NO_START_LINE
    X509* PEM_read_bio_X509(BIO* bio, X509** out, pem_password_cb* password, void* data)
    EVP_PKEY* PEM_read_bio_PrivateKey(BIO* bio, EVP_PKEY** out, pem_password_cb* password, void* data)
    int PEM_write_bio_X509(BIO* bio, X509* certificate)
    int PEM_write_bio_PKCS8PrivateKey(BIO* bio, const EVP_PKEY* key, const EVP_CIPHER* cipher, const char* password,
                                      int length, pem_password_cb* callback, void* data)

cdef extern from "openssl/bn.h" nogil:
    const int BN_RAND_TOP_ANY
    const int BN_RAND_BOTTOM_ANY
    BIGNUM* BN_new()
    void BN_free(BIGNUM* number)
    int BN_rand(BIGNUM* out, int bits, int top, int bottom)

cdef extern from "openssl/asn1.h" nogil:
    const int MBSTRING_ASC
    void ASN1_INTEGER_free(ASN1_INTEGER* number)
    ASN1_INTEGER* BN_to_ASN1_INTEGER(const BIGNUM* number, ASN1_INTEGER* out)
    ASN1_TIME* ASN1_TIME_adj(ASN1_TIME* out, time_t start, int days, long seconds)
    int ASN1_TIME_cmp_time_t(const ASN1_TIME* a, time_t b)      # -1, 0, 1; -2 failed

cdef extern from "openssl/ec.h" nogil:
    EVP_PKEY* EVP_EC_gen(const char* curve)

cdef extern from "openssl/evp.h" nogil:
    void EVP_PKEY_free(EVP_PKEY* key)
    const EVP_MD* EVP_sha256()

cdef extern from "openssl/x509.h" nogil:
    const long X509_VERSION_3
    X509* X509_new()
    void X509_free(X509* certificate)
    int X509_set_version(X509* certificate, long version)
    int X509_set_serialNumber(X509* certificate, ASN1_INTEGER* serial)
    int X509_set_subject_name(X509* certificate, X509_NAME* name)
    int X509_set_issuer_name(X509* certificate, X509_NAME* name)
    int X509_set_pubkey(X509* certificate, EVP_PKEY* key)
    ASN1_TIME* X509_getm_notBefore(X509* certificate)
    ASN1_TIME* X509_getm_notAfter(X509* certificate)
    const ASN1_TIME* X509_get0_notBefore(const X509* certificate)
    const ASN1_TIME* X509_get0_notAfter(const X509* certificate)
    int X509_add_ext(X509* certificate, X509_EXTENSION* extension, int at)
    void X509_EXTENSION_free(X509_EXTENSION* extension)
    int X509_sign(X509* certificate, EVP_PKEY* key, const EVP_MD* digest)       # size of the signature, 0 failed
    int X509_check_private_key(const X509* certificate, const EVP_PKEY* key)
    X509_NAME* X509_NAME_new()
    void X509_NAME_free(X509_NAME* name)
    int X509_NAME_add_entry_by_txt(X509_NAME* name, const char* field, int type, const unsigned char* text, int length,
                                   int at, int level)

cdef extern from "openssl/x509v3.h" nogil:
    const int NID_basic_constraints
    const int NID_key_usage
    const int NID_ext_key_usage
    const int NID_subject_alt_name
    X509_EXTENSION* X509V3_EXT_conf_nid(void* conf, void* context, int nid, const char* value)
    int X509_check_host(X509* certificate, const char* name, size_t length, unsigned int flags, char** matched)
    int X509_check_ip_asc(X509* certificate, const char* address, unsigned int flags)

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL_CIPHER
    const int TLS1_2_VERSION
    const int TLS1_3_VERSION
    const int TLSEXT_TYPE_server_name
    const int TLSEXT_NAMETYPE_host_name

    const int SSL_ERROR_SSL
    const int SSL_ERROR_WANT_READ
    const int SSL_ERROR_WANT_WRITE
    const int SSL_ERROR_SYSCALL
    const int SSL_ERROR_ZERO_RETURN

    const int SSL_R_HTTP_REQUEST
    const int SSL_R_HTTPS_PROXY_REQUEST
    const int SSL_R_WRONG_VERSION_NUMBER
    const int SSL_R_UNSUPPORTED_PROTOCOL
    const int SSL_R_NO_SHARED_CIPHER
    const int SSL_R_NO_SUITABLE_KEY_SHARE
    const int SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM
    const int SSL_R_NO_APPLICATION_PROTOCOL
    const int SSL_R_UNEXPECTED_EOF_WHILE_READING
    const int SSL_R_TOO_MANY_KEY_UPDATES
    const int SSL_AD_REASON_OFFSET
    const int SSL_R_TLSV1_ALERT_UNKNOWN_CA
    const int SSL_R_SSLV3_ALERT_BAD_CERTIFICATE
    const int SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED
    const int SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN

    const int SSL_CB_ACCEPT_LOOP
    const int SSL_RECEIVED_SHUTDOWN

    const int SSL_AD_DECODE_ERROR
    const int SSL_AD_INTERNAL_ERROR
    const int SSL_AD_UNRECOGNIZED_NAME
    const int SSL_CLIENT_HELLO_SUCCESS
    const int SSL_CLIENT_HELLO_ERROR
    const int SSL_TLSEXT_ERR_OK
    const int SSL_TLSEXT_ERR_ALERT_FATAL

    const uint64_t SSL_OP_NO_COMPRESSION
    const uint64_t SSL_OP_NO_RENEGOTIATION
    const uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE
    const uint64_t SSL_OP_PRIORITIZE_CHACHA
    const uint64_t SSL_OP_ENABLE_MIDDLEBOX_COMPAT
    const uint64_t SSL_OP_ENABLE_KTLS
    const long SSL_MODE_ENABLE_PARTIAL_WRITE
    const long SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
    const long SSL_MODE_AUTO_RETRY
    const long SSL_MODE_NO_AUTO_CHAIN
    const long SSL_MODE_RELEASE_BUFFERS
    const long SSL_SESS_CACHE_OFF
    const int SSL_VERIFY_NONE

    int OPENSSL_init_ssl(uint64_t options, const void* settings)

    # the context
    ctypedef int (*client_hello_callback)(SSL* ssl, int* alert, void* data) noexcept nogil
    ctypedef int (*alpn_callback)(SSL* ssl, const unsigned char** out, unsigned char* out_length,
                                  const unsigned char* offered, unsigned int offered_length, void* data) noexcept nogil
    ctypedef void (*info_callback)(const SSL* ssl, int where, int result) noexcept nogil
    const SSL_METHOD* TLS_server_method()
    SSL_CTX* SSL_CTX_new(const SSL_METHOD* method)
    void SSL_CTX_free(SSL_CTX* ctx)
    uint64_t SSL_CTX_get_options(const SSL_CTX* ctx)
    uint64_t SSL_CTX_set_options(SSL_CTX* ctx, uint64_t options)        # the options now
    uint64_t SSL_CTX_clear_options(SSL_CTX* ctx, uint64_t options)      # the options now
    long SSL_CTX_set_mode(SSL_CTX* ctx, long mode)                      # the mode now
    int SSL_CTX_set_min_proto_version(SSL_CTX* ctx, int version)
    int SSL_CTX_set_max_proto_version(SSL_CTX* ctx, int version)
    void SSL_CTX_set_security_level(SSL_CTX* ctx, int level)
    int SSL_CTX_get_security_level(const SSL_CTX* ctx)
    int SSL_CTX_set_cipher_list(SSL_CTX* ctx, const char* names)        # TLS 1.2
    int SSL_CTX_set_ciphersuites(SSL_CTX* ctx, const char* names)       # TLS 1.3
    long SSL_CTX_set1_groups_list(SSL_CTX* ctx, const char* names)
    void SSL_CTX_set_verify(SSL_CTX* ctx, int mode, void* callback)
    long SSL_CTX_set_session_cache_mode(SSL_CTX* ctx, long mode)        # the mode before
    long SSL_CTX_get_session_cache_mode(SSL_CTX* ctx)
    int SSL_CTX_set_session_id_context(SSL_CTX* ctx, const unsigned char* name, unsigned int length)
    int SSL_CTX_set_num_tickets(SSL_CTX* ctx, size_t count)
    long SSL_CTX_set_tlsext_ticket_keys(SSL_CTX* ctx, void* keys, long count)   # copies them; 1, or 0 for a wrong count
    int SSL_CTX_set_max_early_data(SSL_CTX* ctx, uint32_t count)
    void SSL_CTX_set_read_ahead(SSL_CTX* ctx, int yes)
    void SSL_CTX_set_client_hello_cb(SSL_CTX* ctx, client_hello_callback callback, void* data)
    void SSL_CTX_set_info_callback(SSL_CTX* ctx, info_callback callback)
    void SSL_CTX_set_alpn_select_cb(SSL_CTX* ctx, alpn_callback callback, void* data)
    int SSL_CTX_use_certificate(SSL_CTX* ctx, X509* certificate)
    int SSL_CTX_add1_chain_cert(SSL_CTX* ctx, X509* certificate)
    int SSL_CTX_use_PrivateKey(SSL_CTX* ctx, EVP_PKEY* key)
    int SSL_CTX_check_private_key(const SSL_CTX* ctx)

    # a connection
    SSL* SSL_new(SSL_CTX* ctx)
    void SSL_free(SSL* ssl)
    int SSL_set_fd(SSL* ssl, int fd)
    void SSL_set_bio(SSL* ssl, BIO* reading, BIO* writing)              # owns them; the same one twice is one reference
    int SSL_set_app_data(SSL* ssl, void* data)
    void* SSL_get_app_data(const SSL* ssl)
    BIO* SSL_get_wbio(const SSL* ssl)
    int SSL_accept(SSL* ssl)
    int SSL_is_init_finished(const SSL* ssl)
    int SSL_read_ex(SSL* ssl, void* to, size_t count, size_t* done)
    int SSL_write_ex(SSL* ssl, const void* data, size_t count, size_t* done)
    Py_ssize_t SSL_sendfile(SSL* ssl, int file, off_t offset, size_t count, int flags)  # bytes sent; -1 failed
    int SSL_has_pending(const SSL* ssl)
    int SSL_shutdown(SSL* ssl)                                                          # 0: ours is sent; 1: both are
    void SSL_set_shutdown(SSL* ssl, int mode)
    int SSL_get_error(const SSL* ssl, int result)
    int SSL_client_hello_get0_ext(SSL* ssl, unsigned int type, const unsigned char** data, size_t* length)
    const char* SSL_get_version(const SSL* ssl)                                         # static
    const SSL_CIPHER* SSL_get_current_cipher(const SSL* ssl)
    const char* SSL_CIPHER_get_name(const SSL_CIPHER* cipher)                           # static
    void SSL_get0_alpn_selected(const SSL* ssl, const unsigned char** name, unsigned int* length)
    int SSL_session_reused(const SSL* ssl)
