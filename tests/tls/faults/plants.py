"""The test of the test: faults put into a copy of the sources, each of which fails open. Every one must be found.

All of them are in one build (make faults), and WEB_PLANT says which one is alive: 0 is none.
usage: plants.py FOLDER (the copy's src/web)
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ALIVE = '\ncdef int planted = int(__import__("os").environ.get("WEB_PLANT", "0"))\n'
TLS, CONTEXT, SERVE = "_core_tls.pxi", "_core_tls_context.pxi", "_core_serve.pxi"
POLICY, SITES, DEV = "_core_tls_policy.pxi", "_core_tls_sites.pxi", "_core_dev_pair.pxi"


@dataclass(frozen=True)
class Plant:
    """A fault: what it changes, the scenario and the function whose failure shows it, and what is then said."""

    what: str
    file: str
    old: str
    new: str
    scenario: str
    target: str
    found: str


FIRST_CHECK = "if SSL_is_init_finished(self.ssl) != 1 or cipher == NULL or not self.hello_seen or self.site == NULL:"
KEY_USED = 'require(SSL_CTX_use_PrivateKey(ctx, key) == 1 and SSL_CTX_check_private_key(ctx) == 1, "key")'
OLDEST = "SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION if modern else TLS1_2_VERSION) == 1"

PLANTS: dict[int, Plant] = {
    1: Plant(
        "the end of the handshake is not checked",
        TLS,
        FIRST_CHECK,
        FIRST_CHECK.replace("if ", "if (").replace("NULL:", "NULL) and planted not in (1, 2):"),
        "requests, 1.3",
        "SSL_is_init_finished",
        "a handler ran",
    ),
    2: Plant(
        "what SSL_accept says is not looked at",
        TLS,
        "        if result == 1:\n            return self.handshake_done()\n",
        "        if result == 1 or planted == 2:\n            return self.handshake_done()\n",
        "requests, 1.3",
        "SSL_accept",
        "a handler ran for a connection that was not accepted",
    ),
    3: Plant(
        "a fatal error is a want",
        TLS,
        "        if why == SSL_ERROR_ZERO_RETURN:\n",
        """\
        if planted == 3 and why == SSL_ERROR_SSL:
            wants[0] = WEB_READ
            return WEB_WANT_READ
        if why == SSL_ERROR_ZERO_RETURN:
""",
        "requests, 1.2",
        "SSL_accept",
        "was called on a connection that is broken",
    ),
    4: Plant(
        "a connection that broke is used again",
        TLS,
        "        self.broken = True\n",
        "        self.broken = planted != 4\n",
        "steps, 1.3",
        "SSL_read_ex",
        "was called on a connection that is broken",
    ),
    5: Plant(
        "what cannot be encrypted is sent as it is",
        TLS,
        "            n = self.encrypt(data, count)\n",
        """\
            n = self.encrypt(data, count)
            if n == WEB_FAILED and planted == 5:
                return web_send(self.fd, data, count, more)
""",
        "requests, 1.3",
        "SSL_write_ex",
        "plaintext on the wire",
    ),
    6: Plant(
        "a key that was not taken makes a context",
        CONTEXT,
        KEY_USED,
        KEY_USED.replace("require(", "require((").replace(' == 1, "key")', ' == 1) or planted == 6, "key")'),
        "load",
        "SSL_CTX_use_PrivateKey",
        "a context was made",
    ),
    7: Plant(
        "the oldest version is not checked",
        POLICY,
        OLDEST,
        f"{OLDEST} or planted == 7",
        "renewal",
        "SSL_CTX_ctrl",
        "another policy",
    ),
    8: Plant(
        "the SSL of a connection that broke is kept",
        TLS,
        "            SSL_free(self.ssl) ",
        "            SSL_free(NULL if planted == 8 and self.broken else self.ssl) ",
        "requests, 1.2",
        "SSL_get_current_cipher",
        "objects: ",
    ),
    9: Plant(
        "an error is left in the queue",
        DEV,
        "        BIO_free(bio)\n        ERR_clear_error()\n",
        "        BIO_free(bio)\n        if planted != 9:\n            ERR_clear_error()\n",
        "development pair, looked at",
        "X509_check_host",
        "an error is left",
    ),
    10: Plant(
        "a context that is half made is kept",
        CONTEXT,
        "            SSL_CTX_free(self.site.ctx)\n            memset(",
        "            SSL_CTX_free(NULL if planted == 10 else self.site.ctx)\n            memset(",
        "load, names and clients",
        "X509_get_ext_d2i",
        "a context that was not loaded is kept",
    ),
    11: Plant(
        "a name that does not fit is found good",
        DEV,
        "len(text), 0, NULL) != 1:",
        "len(text), 0, NULL) != 1 and planted != 11:",
        "development pair, looked at",
        "X509_check_host",
        "a certificate was found good",
    ),
    12: Plant(
        "a handshake that failed is not ended",
        SERVE,
        "    if result < 0:\n        take_out(loop, c, CLOSE_HANDSHAKE_FAILED)\n",
        """\
    if result < 0 and planted == 12:
        deadline_clear(&loop.deadlines, &c.deadline)
        return
    if result < 0:
        take_out(loop, c, CLOSE_HANDSHAKE_FAILED)
""",
        "requests, 1.3",
        "SSL_new",
        "is served for more than",
    ),
    13: Plant(
        "what was found of a client's certificate is not looked at",
        SITES,
        "return 1 if SSL_get_verify_result(ssl) == X509_V_OK else",
        "return 1 if SSL_get_verify_result(ssl) == X509_V_OK or planted == 13 else",
        "client certificate, 1.3",
        "SSL_get_verify_result",
        "a handler ran after",
    ),
    14: Plant(
        "a check of a client that fails is a yes",
        SITES,
        "        log_check_failed()\n        return False\n",
        "        log_check_failed()\n        return planted == 14\n",
        "client certificate, 1.3",
        "X509_NAME_print_ex",
        "did not pass the application's check",
    ),
}


def plant(folder: Path) -> None:
    """Puts all of them into a copy of the sources."""
    for number, each in PLANTS.items():
        text = (folder / each.file).read_text()
        if text.count(each.old) != 1:
            raise SystemExit(f"plant {number}, {each.what}: {each.old!r} stands {text.count(each.old)} times")
        (folder / each.file).write_text(text.replace(each.old, each.new))
    with (folder / "_core_openssl.pxi").open("a") as declarations:
        declarations.write(ALIVE)


if __name__ == "__main__":
    plant(Path(sys.argv[1]))
