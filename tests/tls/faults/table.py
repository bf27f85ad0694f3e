"""How each function of OpenSSL that web._core imports can fail: one row a function.

A function in the binary without a row fails the tests, and so does a row without a function: whoever calls something
new adds a line here and says what a failure of it looks like.

    good(), null(), io(), ...   the kinds of result; each gives the failures that are tried
    closed=False                the caller may go on after this failure, and still serves rightly; say why beside it.
                                All others must end what they were part of: a context, a certificate, a connection
    makes="SSL", frees="SSL"    what is counted, so that a leak is seen
    Callback(...)               an argument that is a function of ours, and each value that it returns for a failure
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass, replace

# SSL_get_error(3)
SSL, WANT_READ, WANT_WRITE, WANT_X509_LOOKUP, SYSCALL, ZERO_RETURN = 1, 2, 3, 4, 5, 6
MADE = "made"  # a failure of this kind ends what is made of it, and not always a connection
READ_FLAG, WRITE_FLAG = 1, 2  # BIO_FLAGS_READ, BIO_FLAGS_WRITE


@dataclass(frozen=True)
class Failure:
    """One way to fail: what is returned without calling OpenSSL, and what goes with that."""

    mode: str
    value: int
    queue_error: bool = True
    number: int = 0  # errno
    forced: int = 0  # what SSL_get_error says next
    fatal: bool = False  # on a connection: no call but SSL_free follows
    retry: int = 0  # a BIO's flag
    after: bool = False  # OpenSSL is called, and what it did stays done
    closed: bool | str = True  # nothing may be served, or made, after it; MADE: nothing made


@dataclass(frozen=True)
class Row:
    failures: tuple[Failure, ...] = ()
    makes: str = ""
    frees: str = ""
    frees_arg: int = 0
    quiet: bool = False  # may be called on a connection that broke
    reached: bool = True  # some scenario calls it
    at_import: bool = False  # it is called when the module is imported, and never again
    why: str = ""  # why it cannot fail, or why nothing reaches it


@dataclass(frozen=True)
class Callback:
    """A function of ours that OpenSSL calls: the argument by which it is registered, and its failures."""

    name: str
    function: str
    argument: int
    failures: tuple[Failure, ...]
    command: int = -1  # SSL_CTX_ctrl and its like: what argument 1 must be
    is_bio: bool = False
    reached: bool = True


def values(*numbers: int, closed: bool | str = True, **more: str | bool) -> Row:
    return replace(Row(numbers_of(*numbers, closed=closed)), **more)  # type: ignore[arg-type]


def says(*numbers: int, closed: bool | str = True) -> Row:
    """It only tells something, and queues no error."""
    return Row(numbers_of(*numbers, closed=closed, queue_error=False))


def good(*, closed: bool | str = True, **more: str | bool) -> Row:
    """1 is success."""
    return values(0, closed=closed, **more)


def null(*, closed: bool | str = True, **more: str | bool) -> Row:
    """A pointer."""
    row = Row((Failure("returns NULL", 0, closed=closed),))
    return replace(row, **more)  # type: ignore[arg-type]


def io(*results: int, nothing: int | None = None) -> Row:
    """SSL_get_error says how it went: an error, a system call's, a want that is not true, and whatever else it can say.

    nothing: what says success, of no byte at all.
    """
    found = [] if nothing is None else [Failure(f"{nothing}, and nothing is done", nothing, False)]
    for value in results:
        found += [
            Failure(f"{value}, SSL", value, forced=SSL, fatal=True),
            Failure(f"{value}, SSL, having done its work", value, forced=SSL, fatal=True, after=True),
            Failure(f"{value}, SYSCALL", value, False, errno.ECONNRESET, SYSCALL, fatal=True),
            Failure(f"{value}, SYSCALL without errno", value, False, 0, SYSCALL, fatal=True),
            Failure(f"{value}, WANT_READ", value, False, forced=WANT_READ, closed=False),
            Failure(f"{value}, WANT_WRITE", value, False, forced=WANT_WRITE, closed=False),
            Failure(f"{value}, ZERO_RETURN", value, False, forced=ZERO_RETURN),
            Failure(f"{value}, WANT_X509_LOOKUP", value, False, forced=WANT_X509_LOOKUP, fatal=True),
        ]
    return Row(tuple(found))


def void(frees: str = "", frees_arg: int = 0, *, quiet: bool = False, at_import: bool = False) -> Row:
    """Returns nothing, and so cannot fail."""
    return Row(frees=frees, frees_arg=frees_arg, quiet=quiet, at_import=at_import, why="returns nothing")


def inside(why: str, **more: bool) -> Row:
    """Cannot fail: it reads a field."""
    row = Row(why=why)
    return replace(row, **more)  # type: ignore[arg-type]


def numbers_of(*numbers: int, closed: bool | str = True, queue_error: bool = True) -> tuple[Failure, ...]:
    return tuple(Failure(f"returns {number}", number, queue_error, closed=closed) for number in numbers)


FUNCTIONS: dict[str, Row] = {
    # -- when the module is imported
    "OPENSSL_init_crypto": good(at_import=True),
    "OPENSSL_init_ssl": good(at_import=True, reached=False, why="called where OpenSSL is linked statically"),
    "BIO_get_new_index": values(-1, at_import=True),
    "BIO_meth_new": null(at_import=True),
    "BIO_meth_set_read_ex": good(at_import=True),
    "BIO_meth_set_write_ex": good(at_import=True),
    "BIO_meth_set_ctrl": good(at_import=True),
    # -- anywhere
    "OpenSSL_version": inside("one of its own strings for each number", reached=False),
    "OPENSSL_cleanse": void(quiet=True),
    "RAND_priv_bytes": values(0, -1),
    "RAND_bytes": values(0, -1, closed=False),  # the client gets no ticket
    "ERR_clear_error": void(quiet=True),
    "ERR_set_mark": void(quiet=True),
    "ERR_pop_to_mark": void(quiet=True),
    "ERR_get_error": says(0, closed=False),  # it knows no reason: what failed stays a failure
    "ERR_peek_last_error": says(0, closed=False),  # the same
    "ERR_lib_error_string": says(0, closed=False),  # an exception without words
    "ERR_reason_error_string": says(0, closed=False),  # the same
    # -- the context
    "TLS_server_method": null(),
    "SSL_CTX_new": null(makes="SSL_CTX"),
    "SSL_CTX_free": void("SSL_CTX"),
    "SSL_CTX_get_options": says(0, closed=False),  # clears nothing, which set_options tells
    "SSL_CTX_set_options": values(0),
    "SSL_CTX_clear_options": values(0, closed=False),  # the same
    "SSL_CTX_ctrl": values(0, closed=False),  # the setter of the cache says what was before: the getter tells
    "SSL_CTX_set_security_level": void(),
    "SSL_CTX_get_security_level": says(0, 1),
    "SSL_CTX_set_cipher_list": good(),
    "SSL_CTX_set_ciphersuites": good(),
    "SSL_CTX_set_verify": void(),
    "SSL_CTX_set_session_id_context": good(),
    "SSL_CTX_set_num_tickets": good(),
    "SSL_CTX_set_max_early_data": good(),
    "SSL_CTX_set_client_hello_cb": void(),
    "SSL_CTX_set_alpn_select_cb": void(),
    "SSL_CTX_set_info_callback": void(),
    "SSL_CTX_set_keylog_callback": void(),
    # -- tickets
    "SSL_CTX_set_timeout": inside("says what it was before"),
    "SSL_CTX_set_tlsext_ticket_key_evp_cb": good(),
    "EVP_CIPHER_fetch": null(makes="EVP_CIPHER"),
    "EVP_CIPHER_free": void("EVP_CIPHER"),
    "EVP_MAC_fetch": null(makes="EVP_MAC"),
    "EVP_MAC_free": void("EVP_MAC"),
    "EVP_MAC_CTX_new": null(makes="EVP_MAC_CTX"),
    "EVP_MAC_CTX_free": void("EVP_MAC_CTX"),
    "EVP_MAC_CTX_set_params": good(),
    "EVP_MAC_init": good(closed=MADE),  # the client gets no ticket, or its own is not taken
    "EVP_MAC_update": good(),
    "EVP_MAC_final": good(),
    "EVP_EncryptInit_ex2": good(closed=False),  # the client gets no ticket
    "EVP_DecryptInit_ex2": good(closed=False),  # its ticket is not taken
    "OSSL_PARAM_construct_utf8_string": inside("fills a structure"),
    "OSSL_PARAM_construct_end": inside("fills a structure"),
    "SSL_get_session": says(0, closed=False),  # the client gets no ticket
    "SSL_version": says(0, closed=False),  # a ticket of TLS 1.3 is taken more than once
    "SSL_SESSION_get0_ticket_appdata": good(closed=False),  # the session is not taken
    "SSL_SESSION_set1_ticket_appdata": good(closed=False),  # the client gets no ticket
    "SSL_set_shutdown": void(),
    "SSL_CTX_use_certificate": values(0, -1),
    "SSL_CTX_use_PrivateKey": values(0, -1),
    "SSL_CTX_check_private_key": good(),
    "SSL_CTX_callback_ctrl": good(),
    "SSL_CTX_set_cert_verify_callback": void(),
    "SSL_CTX_set_session_ticket_cb": good(),
    "SSL_CTX_get_cert_store": inside("a field of the context"),
    "SSL_CTX_add_client_CA": good(),
    "X509_STORE_add_cert": good(),
    "X509_STORE_add_crl": good(),
    # -- files
    "BIO_new_mem_buf": null(makes="BIO"),
    "BIO_free": Row((), frees="BIO", why="its result says nothing that anybody could act upon"),
    "PEM_read_bio_X509": null(makes="X509"),
    "PEM_read_bio_PrivateKey": null(makes="EVP_PKEY"),
    "X509_check_private_key": good(),
    "X509_free": void("X509"),
    "EVP_PKEY_free": void("EVP_PKEY"),
    "EVP_PKEY_get_base_id": says(0, closed=False),  # a kind of its own
    "PEM_read_bio_X509_CRL": null(makes="X509_CRL"),
    "X509_CRL_free": void("X509_CRL"),
    "X509_CRL_get0_nextUpdate": says(0, closed=False),  # the list says no end
    # -- what a certificate says: to a check of the application, which then says no, or to a handler
    "d2i_X509": null(makes="X509", closed=MADE),
    "i2d_X509": values(0, -1, closed=MADE),
    "X509_get_subject_name": inside("a pointer into the certificate"),
    "X509_get_issuer_name": inside("a pointer into the certificate"),
    "X509_get0_serialNumber": inside("a pointer into the certificate"),
    "X509_NAME_print_ex": values(-1, closed=MADE),
    "X509_get_ext_d2i": null(makes="GENERAL_NAMES", closed=MADE),
    "OPENSSL_sk_num": inside("a field"),
    "OPENSSL_sk_value": inside("a field"),
    "OPENSSL_sk_pop_free": void("GENERAL_NAMES"),
    "GENERAL_NAME_free": void(),
    "GENERAL_NAME_get0_value": inside("a field"),
    "ASN1_STRING_get0_data": inside("a field"),
    "ASN1_STRING_length": inside("a field"),
    "ASN1_INTEGER_to_BN": null(makes="BIGNUM", closed=MADE),
    "BN_bn2hex": null(closed=MADE),
    "CRYPTO_free": void(),
    "ASN1_TIME_to_tm": good(closed=MADE),
    # -- the certificate for development
    "BIO_s_mem": inside("a table of its own"),
    "BIO_ctrl": says(0, -1, -2, closed=False),  # how much text there is; whether the kernel does TLS: no
    "BN_new": null(makes="BIGNUM"),
    "BN_free": void("BIGNUM"),
    "BN_rand": good(),
    "BN_to_ASN1_INTEGER": null(makes="ASN1_INTEGER"),
    "ASN1_INTEGER_free": void("ASN1_INTEGER"),
    "ASN1_TIME_adj": null(),
    "ASN1_TIME_cmp_time_t": values(-2),
    "EVP_PKEY_Q_keygen": null(makes="EVP_PKEY"),
    "EVP_sha256": null(closed=False),  # the key's default digest is taken, which is SHA-256
    "X509_new": null(makes="X509"),
    "X509_set_version": good(),
    "X509_set_serialNumber": good(),
    "X509_set_subject_name": good(),
    "X509_set_issuer_name": good(),
    "X509_set_pubkey": good(),
    "X509_getm_notBefore": inside("a pointer into the certificate"),
    "X509_getm_notAfter": inside("a pointer into the certificate"),
    "X509_get0_notBefore": inside("a pointer into the certificate"),
    "X509_get0_notAfter": inside("a pointer into the certificate"),
    "X509_add_ext": good(),
    "X509_EXTENSION_free": void("X509_EXTENSION"),
    "X509V3_EXT_conf_nid": null(makes="X509_EXTENSION"),
    "X509_sign": values(0),
    "X509_NAME_new": null(makes="X509_NAME"),
    "X509_NAME_free": void("X509_NAME"),
    "X509_NAME_add_entry_by_txt": good(),
    "X509_check_host": values(0, -1, -2),
    "X509_check_ip_asc": values(0, -1, -2),
    "PEM_write_bio_X509": good(),
    "PEM_write_bio_PKCS8PrivateKey": good(),
    # -- a connection
    "SSL_new": null(makes="SSL"),
    "SSL_free": void("SSL", quiet=True),
    "SSL_set_fd": good(),
    "SSL_set_bio": void("BIO", 1),  # the SSL owns it from here on
    "SSL_set_ex_data": good(),
    "SSL_get_ex_data": says(0, closed=False),  # without owner a hello is refused, and no ticket is taken
    "BIO_new": null(makes="BIO", closed=MADE),  # a connection's own, or that of a text
    "BIO_set_data": void(),
    "BIO_set_init": void(),
    "BIO_get_data": inside("a field of the BIO"),
    "BIO_set_flags": void(),
    "BIO_clear_flags": void(),
    "SSL_client_hello_get0_ext": says(0, closed=False),  # the client named no server
    "SSL_accept": io(-1, 0),
    "SSL_get_error": Row((*numbers_of(SSL, SYSCALL, WANT_X509_LOOKUP, 99), *numbers_of(ZERO_RETURN)), quiet=True),
    "SSL_is_init_finished": says(0),
    "SSL_get0_param": null(),
    "SSL_set_SSL_CTX": null(),
    "SSL_get_SSL_CTX": says(0),
    "SSL_set_verify": void(),
    "SSL_set_verify_depth": void(),
    "SSL_get_verify_mode": says(-1),
    "SSL_set_session_id_context": good(),
    "X509_VERIFY_PARAM_clear_flags": good(),
    "X509_VERIFY_PARAM_set_flags": good(),
    "SSL_get0_peer_certificate": says(0, closed=False),  # STRICT where one is required
    "SSL_get_verify_result": says(1),
    "SSL_get_ex_data_X509_STORE_CTX_idx": says(-1),
    "X509_STORE_CTX_get_ex_data": says(0),
    "X509_verify_cert": values(0, -1),
    "X509_STORE_CTX_get_error": says(1, 50),
    "X509_STORE_CTX_set_error": void(),
    "X509_STORE_CTX_get0_cert": says(0),
    "X509_verify_cert_error_string": says(0, closed=False),  # a message without words
    "SSL_SESSION_get0_peer": says(0, closed=False),  # the handshake is a full one
    "SSL_SESSION_get0_hostname": says(0, closed=False),  # the same
    "SSL_get_current_cipher": says(0),
    "SSL_get0_alpn_selected": void(),
    "SSL_get_version": inside("a text of its own, whatever the version"),
    "SSL_CIPHER_get_name": inside("a text of its own for each suite"),
    "SSL_session_reused": says(0, closed=False),  # the same
    "SSL_get_wbio": says(0, closed=False),  # then the kernel is not asked whether it does TLS
    "SSL_read_ex": io(0, nothing=1),
    "SSL_write_ex": io(0, nothing=1),
    "SSL_sendfile": io(-1, nothing=0),
    "SSL_has_pending": says(0, closed=False),  # what is pending is read with the next bytes
    "SSL_shutdown": io(-1),
}

RETRY_READ = Failure("retry", -1, False, retry=READ_FLAG, closed=False)
RETRY_WRITE = Failure("retry", -1, False, retry=WRITE_FLAG, closed=False)
READ_BROKEN = Failure("fails", -1, False, errno.ECONNRESET)
WRITE_BROKEN = Failure("fails", -1, False, errno.ENOMEM)
READ_OVER = Failure("ends", 0, False)
ASKED_AGAIN = numbers_of(-1, 0, closed=False)  # OpenSSL asks more than once, and the next answer is the right one
CONTROL_FAILED = numbers_of(0, -1, closed=False, queue_error=False)  # most of what it is asked has "no" for an answer

CALLBACKS = (
    Callback("on_client_hello", "SSL_CTX_set_client_hello_cb", 1, numbers_of(0)),
    Callback("on_alpn", "SSL_CTX_set_alpn_select_cb", 1, numbers_of(2)),
    Callback("on_server_name", "SSL_CTX_callback_ctrl", 2, numbers_of(2), command=53),
    Callback("on_client_certificate", "SSL_CTX_set_cert_verify_callback", 1, numbers_of(0, -1)),
    Callback("on_ticket_key", "SSL_CTX_set_tlsext_ticket_key_evp_cb", 1, numbers_of(0, -1, closed=False)),
    Callback("on_ticket_made", "SSL_CTX_set_session_ticket_cb", 1, numbers_of(0, closed=False)),
    Callback("on_ticket_read", "SSL_CTX_set_session_ticket_cb", 2, numbers_of(0, 1, 2, closed=False)),
    Callback("give_password (key)", "PEM_read_bio_PrivateKey", 2, ASKED_AGAIN),
    Callback("give_password (certificate)", "PEM_read_bio_X509", 2, ASKED_AGAIN, reached=False),
    Callback("bio_read", "BIO_meth_set_read_ex", 1, (RETRY_READ, READ_BROKEN, READ_OVER), is_bio=True),
    Callback("bio_write", "BIO_meth_set_write_ex", 1, (RETRY_WRITE, WRITE_BROKEN), is_bio=True),
    Callback("bio_control", "BIO_meth_set_ctrl", 1, CONTROL_FAILED),
)


STRICT = frozenset({"SSL_get0_peer_certificate"})  # these end a connection whose client must show a certificate


def tracked(rows: Iterable[Row]) -> list[str]:
    """The kinds of objects that are counted; the first has number 1."""
    return sorted({row.makes for row in rows if row.makes})
