# What every TLS connection must keep to (RFC 9325), whatever a file says. With the other _core_tls parts the only
# caller of OpenSSL.
#
# No part of the policy is left to a default or to a configuration file. A private copy of OpenSSL (linked statically)
# loads no configuration at all. A shared libcrypto is the one that Python's ssl and hashlib use: there the operator's
# configuration (system policies, FIPS providers) stays in force, because to switch it off would switch it off for them
# too; set_policy() overrides what it says about protocols, suites, groups, options and levels. An OSSL_LIB_CTX of our
# own would not shield from that (SSL_CTX_new applies the file's system_default to any), and would step round FIPS.

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

cdef frozenset POLICIES = frozenset(("intermediate", "modern"))     # Mozilla's names (Server Side TLS)


cdef int set_policy(SSL_CTX* ctx, bint modern, bint ktls) except -1:
    """Mozilla's guidelines without finite-field Diffie-Hellman: intermediate, or modern (TLS 1.3 only)."""
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
    require(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION if modern else TLS1_2_VERSION) == 1, "versions")
    require(SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1, "TLS 1.3")
    require(SSL_CTX_set_cipher_list(
        ctx, b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
        b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
        b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") == 1, "TLS 1.2 suites")
    require(SSL_CTX_set_ciphersuites(
        ctx, b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1, "TLS 1.3 suites")
    # The hybrid with ML-KEM where OpenSSL has it (3.5): what is recorded today stays secret from quantum computers.
    if SSL_CTX_set1_groups_list(ctx, b"X25519MLKEM768:X25519:P-256:P-384") != 1:
        ERR_clear_error()
        require(SSL_CTX_set1_groups_list(ctx, b"X25519:P-256:P-384") == 1, "groups")
    SSL_CTX_set_security_level(ctx, 2)      # after the suites: a configured list may have carried another level
    require(SSL_CTX_get_security_level(ctx) == 2, "security level")
    # Sessions live in one ticket that the client keeps (RFC 8446, 4.6.1; RFC 5077), so nothing grows here.
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF)
    require(SSL_CTX_get_session_cache_mode(ctx) == SSL_SESS_CACHE_OFF, "session cache")
    require(SSL_CTX_set_num_tickets(ctx, 1) == 1, "tickets")
    require(SSL_CTX_set_max_early_data(ctx, 0) == 1, "early data")      # replayable: RFC 8446, 8
    # One recv for a whole request, instead of one for a record's header and one for the rest. Not beside kernel TLS:
    # where the kernel does not take the keys of an update, OpenSSL 3.5 loses what it has read behind the update.
    SSL_CTX_set_read_ahead(ctx, not ktls)
    SSL_CTX_set_client_hello_cb(ctx, on_client_hello, NULL)
    SSL_CTX_set_info_callback(ctx, on_progress)
    require(SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name) == 1, "server name")
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL)
    SSL_CTX_set_cert_verify_callback(ctx, on_client_certificate, NULL)
    return 1


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
