# What of OpenSSL is used: declarations, nothing else. Callers: the _core_tls parts, _core_certificate and
# _core_dev_pair, no other part.
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
    ctypedef struct X509_CRL
    ctypedef struct X509_STORE
    ctypedef struct X509_STORE_CTX
    ctypedef struct X509_VERIFY_PARAM
    ctypedef struct EVP_PKEY
    ctypedef struct EVP_MD
    ctypedef struct EVP_CIPHER
    ctypedef struct EVP_CIPHER_CTX
    ctypedef struct EVP_MAC
    ctypedef struct EVP_MAC_CTX
    ctypedef struct OSSL_LIB_CTX
    ctypedef struct OSSL_PARAM:
        pass
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
    void web_openssl_free "OPENSSL_free" (void* block)

cdef extern from "openssl/err.h" nogil:
    const int ERR_LIB_SSL
    const int ERR_LIB_PEM
    unsigned long ERR_PACK(int library, int function, int reason)
    unsigned long ERR_get_error()                               # the oldest, taken off the queue; 0: it is empty
    unsigned long ERR_peek_last_error()
    void ERR_clear_error()
    int ERR_set_mark()                                          # 0: the queue is empty, and popping empties it again
    int ERR_pop_to_mark()
    int ERR_GET_LIB(unsigned long code)
    int ERR_GET_REASON(unsigned long code)
    const char* ERR_lib_error_string(unsigned long code)        # static, may be NULL
    const char* ERR_reason_error_string(unsigned long code)     # static, may be NULL

cdef extern from "openssl/rand.h" nogil:
    int RAND_bytes(unsigned char* to, int count)
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
    X509_CRL* PEM_read_bio_X509_CRL(BIO* bio, X509_CRL** out, pem_password_cb* password, void* data)
    int PEM_write_bio_X509(BIO* bio, X509* certificate)
    int PEM_write_bio_PKCS8PrivateKey(BIO* bio, const EVP_PKEY* key, const EVP_CIPHER* cipher, const char* password,
                                      int length, pem_password_cb* callback, void* data)

cdef extern from "openssl/bn.h" nogil:
    const int BN_RAND_TOP_ANY
    const int BN_RAND_BOTTOM_ANY
    BIGNUM* BN_new()
    void BN_free(BIGNUM* number)
    char* BN_bn2hex(const BIGNUM* number)                       # the caller's to free
    int BN_rand(BIGNUM* out, int bits, int top, int bottom)

cdef extern from "openssl/asn1.h" nogil:
    const int MBSTRING_ASC
    void ASN1_INTEGER_free(ASN1_INTEGER* number)
    ASN1_INTEGER* BN_to_ASN1_INTEGER(const BIGNUM* number, ASN1_INTEGER* out)
    BIGNUM* ASN1_INTEGER_to_BN(const ASN1_INTEGER* number, BIGNUM* out)
    ASN1_TIME* ASN1_TIME_adj(ASN1_TIME* out, time_t start, int days, long seconds)
    int ASN1_TIME_cmp_time_t(const ASN1_TIME* a, time_t b)      # -1, 0, 1; -2 failed

cdef extern from "openssl/ec.h" nogil:
    EVP_PKEY* EVP_EC_gen(const char* curve)

cdef extern from "openssl/evp.h" nogil:
    void EVP_PKEY_free(EVP_PKEY* key)
    int EVP_PKEY_get_base_id(const EVP_PKEY* key)               # the kind of key: a NID
    const EVP_MD* EVP_sha256()
    EVP_CIPHER* EVP_CIPHER_fetch(OSSL_LIB_CTX* library, const char* name, const char* properties)
    void EVP_CIPHER_free(EVP_CIPHER* cipher)
    int EVP_EncryptInit_ex2(EVP_CIPHER_CTX* ctx, const EVP_CIPHER* cipher, const unsigned char* key,
                            const unsigned char* iv, const OSSL_PARAM* params)
    int EVP_DecryptInit_ex2(EVP_CIPHER_CTX* ctx, const EVP_CIPHER* cipher, const unsigned char* key,
                            const unsigned char* iv, const OSSL_PARAM* params)
    EVP_MAC* EVP_MAC_fetch(OSSL_LIB_CTX* library, const char* name, const char* properties)
    void EVP_MAC_free(EVP_MAC* mac)
    EVP_MAC_CTX* EVP_MAC_CTX_new(EVP_MAC* mac)
    void EVP_MAC_CTX_free(EVP_MAC_CTX* ctx)
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX* ctx, const OSSL_PARAM* params)
    int EVP_MAC_init(EVP_MAC_CTX* ctx, const unsigned char* key, size_t length, const OSSL_PARAM* params)
    int EVP_MAC_update(EVP_MAC_CTX* ctx, const unsigned char* data, size_t length)
    int EVP_MAC_final(EVP_MAC_CTX* ctx, unsigned char* out, size_t* length, size_t size)

cdef extern from "openssl/core_names.h" nogil:
    const char* OSSL_MAC_PARAM_DIGEST

cdef extern from "openssl/params.h" nogil:
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char* name, char* text, size_t length)    # 0: strlen
    OSSL_PARAM OSSL_PARAM_construct_end()

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
    X509* d2i_X509(X509** out, const unsigned char** data, long count)
    int i2d_X509(const X509* certificate, unsigned char** out)  # bytes; out: where they go, and then their end
    unsigned long NAME_FORM "(XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB)"
    X509_NAME* X509_get_subject_name(const X509* certificate)   # passed on at once: its constness differs
    X509_NAME* X509_get_issuer_name(const X509* certificate)
    int X509_NAME_print_ex(BIO* out, const X509_NAME* name, int indent, unsigned long flags)   # bytes; -1 failed
    const ASN1_INTEGER* X509_get0_serialNumber(const X509* certificate)
    void X509_CRL_free(X509_CRL* crl)
    const ASN1_TIME* X509_CRL_get0_nextUpdate(const X509_CRL* crl)
    const char* X509_verify_cert_error_string(long error)       # static
    X509_NAME* X509_NAME_new()
    void X509_NAME_free(X509_NAME* name)
    int X509_NAME_add_entry_by_txt(X509_NAME* name, const char* field, int type, const unsigned char* text, int length,
                                   int at, int level)

cdef extern from "openssl/x509_vfy.h" nogil:
    const int X509_V_OK
    const int X509_V_ERR_UNSPECIFIED
    const int X509_V_ERR_CERT_REJECTED
    const unsigned long X509_V_FLAG_CRL_CHECK
    const unsigned long X509_V_FLAG_CRL_CHECK_ALL
    const unsigned long X509_V_FLAG_PARTIAL_CHAIN
    unsigned long CLIENT_FLAGS "(X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL | X509_V_FLAG_PARTIAL_CHAIN)"
    int X509_STORE_add_cert(X509_STORE* store, X509* certificate)
    int X509_STORE_add_crl(X509_STORE* store, X509_CRL* crl)
    int X509_verify_cert(X509_STORE_CTX* store)                 # 0 or less: not verified
    int X509_STORE_CTX_get_error(const X509_STORE_CTX* store)
    void X509_STORE_CTX_set_error(X509_STORE_CTX* store, int error)
    X509* X509_STORE_CTX_get0_cert(const X509_STORE_CTX* store)         # what is to be verified
    void* X509_STORE_CTX_get_ex_data(const X509_STORE_CTX* store, int index)
    int X509_VERIFY_PARAM_clear_flags(X509_VERIFY_PARAM* param, unsigned long flags)
    int X509_VERIFY_PARAM_set_flags(X509_VERIFY_PARAM* param, unsigned long flags)

cdef extern from "openssl/x509v3.h" nogil:
    void* X509_get_ext_d2i(const X509* certificate, int nid, int* critical, int* at)
    const int NID_basic_constraints
    const int NID_key_usage
    const int NID_ext_key_usage
    const int NID_subject_alt_name
    X509_EXTENSION* X509V3_EXT_conf_nid(void* conf, void* context, int nid, const char* value)
    int X509_check_host(X509* certificate, const char* name, size_t length, unsigned int flags, char** matched)
    int X509_check_ip_asc(X509* certificate, const char* address, unsigned int flags)

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL_CIPHER
    ctypedef struct SSL_SESSION
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
    const int SSL_R_CERTIFICATE_VERIFY_FAILED
    const int SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE
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
    const int SSL_AD_ILLEGAL_PARAMETER
    const int SSL_AD_UNRECOGNIZED_NAME
    const int SSL_CLIENT_HELLO_SUCCESS
    const int SSL_CLIENT_HELLO_ERROR
    const int SSL_TLSEXT_ERR_OK
    const int SSL_TLSEXT_ERR_ALERT_FATAL
    const int SSL_TLSEXT_ERR_NOACK

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
    const int SSL_VERIFY_PEER
    const int SSL_VERIFY_FAIL_IF_NO_PEER_CERT

    int OPENSSL_init_ssl(uint64_t options, const void* settings)

    # the context
    ctypedef int (*client_hello_callback)(SSL* ssl, int* alert, void* data) noexcept nogil
    ctypedef int (*alpn_callback)(SSL* ssl, const unsigned char** out, unsigned char* out_length,
                                  const unsigned char* offered, unsigned int offered_length, void* data) noexcept nogil
    ctypedef int (*server_name_callback)(SSL* ssl, int* alert, void* data) noexcept nogil
    ctypedef int (*verify_callback)(X509_STORE_CTX* store, void* data) noexcept nogil
    ctypedef int (*ticket_key_callback)(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                                        EVP_MAC_CTX* mac, int issues) noexcept nogil
    ctypedef int SSL_TICKET_STATUS
    ctypedef int SSL_TICKET_RETURN
    const int SSL_TICKET_SUCCESS
    const int SSL_TICKET_SUCCESS_RENEW
    const int SSL_TICKET_RETURN_IGNORE_RENEW
    const int SSL_TICKET_RETURN_USE
    const int SSL_TICKET_RETURN_USE_RENEW
    ctypedef int (*ticket_made_callback)(SSL* ssl, void* data) noexcept nogil
    ctypedef SSL_TICKET_RETURN (*ticket_read_callback)(
        SSL* ssl, SSL_SESSION* session, const unsigned char* name, size_t length, SSL_TICKET_STATUS status,
        void* data) noexcept nogil
    ctypedef void (*keylog_callback)(const SSL* ssl, const char* line) noexcept nogil
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
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(SSL_CTX* ctx, ticket_key_callback callback)
    int SSL_CTX_set_session_ticket_cb(SSL_CTX* ctx, ticket_made_callback made, ticket_read_callback read, void* data)
    long SSL_CTX_set_timeout(SSL_CTX* ctx, long seconds)                # the time-out before
    void SSL_CTX_set_keylog_callback(SSL_CTX* ctx, keylog_callback callback)
    int SSL_CTX_set_max_early_data(SSL_CTX* ctx, uint32_t count)
    void SSL_CTX_set_read_ahead(SSL_CTX* ctx, int yes)
    void SSL_CTX_set_client_hello_cb(SSL_CTX* ctx, client_hello_callback callback, void* data)
    void SSL_CTX_set_info_callback(SSL_CTX* ctx, info_callback callback)
    void SSL_CTX_set_alpn_select_cb(SSL_CTX* ctx, alpn_callback callback, void* data)
    long SSL_CTX_set_tlsext_servername_callback(SSL_CTX* ctx, server_name_callback callback)
    void SSL_CTX_set_cert_verify_callback(SSL_CTX* ctx, verify_callback callback, void* data)
    X509_STORE* SSL_CTX_get_cert_store(const SSL_CTX* ctx)
    int SSL_CTX_add_client_CA(SSL_CTX* ctx, X509* certificate)
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
    SSL_CTX* SSL_set_SSL_CTX(SSL* ssl, SSL_CTX* ctx)                    # the context now; NULL failed
    SSL_CTX* SSL_get_SSL_CTX(const SSL* ssl)
    void SSL_set_verify(SSL* ssl, int mode, void* callback)
    int SSL_get_verify_mode(const SSL* ssl)
    void SSL_set_verify_depth(SSL* ssl, int depth)
    X509_VERIFY_PARAM* SSL_get0_param(SSL* ssl)
    int SSL_set_session_id_context(SSL* ssl, const unsigned char* name, unsigned int length)
    int SSL_get_ex_data_X509_STORE_CTX_idx()
    X509* SSL_get0_peer_certificate(const SSL* ssl)                     # NULL: none was shown
    X509* SSL_SESSION_get0_peer(SSL_SESSION* session)
    const char* SSL_SESSION_get0_hostname(const SSL_SESSION* session)
    long SSL_get_verify_result(const SSL* ssl)                          # X509_V_OK also where none is shown
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
    int SSL_version(const SSL* ssl)                                                     # TLS1_3_VERSION ...
    const char* SSL_get_version(const SSL* ssl)                                         # static
    const SSL_CIPHER* SSL_get_current_cipher(const SSL* ssl)
    const char* SSL_CIPHER_get_name(const SSL_CIPHER* cipher)                           # static
    void SSL_get0_alpn_selected(const SSL* ssl, const unsigned char** name, unsigned int* length)
    SSL_SESSION* SSL_get_session(const SSL* ssl)                                        # not a reference
    int SSL_SESSION_set1_ticket_appdata(SSL_SESSION* session, const void* data, size_t length)
    int SSL_SESSION_get0_ticket_appdata(SSL_SESSION* session, void** data, size_t* length)
    int SSL_session_reused(const SSL* ssl)
