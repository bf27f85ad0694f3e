"""The test of the test: faults put into a copy of the sources, each of which fails open. Every one must be found.

All of them are in one build (make faults), and WEB_PLANT says which one is alive: 0 is none.
usage: plants.py FOLDER (the copy's src/web)
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ALIVE = '\ncdef int planted = int(__import__("os").environ.get("WEB_PLANT", "0"))\n'


@dataclass(frozen=True)
class Plant:
    """A fault: what it changes, the scenario and the function whose failure shows it, and what is then said."""

    what: str
    file: str
    changes: tuple[tuple[str, str], ...]
    scenario: str
    target: str
    found: str


JUDGED = "        if why == SSL_ERROR_ZERO_RETURN:\n"
CHECKED = "if SSL_is_init_finished(self.ssl) != 1 or cipher == NULL or not self.hello_seen:"
KEY_USED = 'require(SSL_CTX_use_PrivateKey(ctx, key) == 1 and SSL_CTX_check_private_key(ctx) == 1, "key")'

PLANTS: dict[int, Plant] = {
    1: Plant(
        "what SSL_accept says is not looked at",
        "_core_tls.pxi",
        (
            (
                "        if result == 1:\n            return self.handshake",
                "        if result == 1 or planted == 1:\n            return self.handshake",
            ),
            (CHECKED, CHECKED.replace("if ", "if planted not in (1, 2) and (")[:-1] + "):"),
        ),
        "requests, 1.3",
        "SSL_accept",
        "a handler ran for a connection that was not accepted",
    ),  # fmt: skip
    2: Plant(
        "the end of the handshake is not checked",
        "_core_tls.pxi",
        (),
        "requests, 1.3",
        "SSL_is_init_finished",
        "a handler ran",
    ),  # changed by 1
    3: Plant(
        "a fatal error is a want",
        "_core_tls.pxi",
        (
            (
                JUDGED,
                "        if planted == 3 and why == SSL_ERROR_SSL:\n            wants[0] = WEB_READ\n"
                "            return WEB_WANT_READ\n" + JUDGED,
            ),
        ),
        "requests, 1.2",
        "SSL_accept",
        "was called on a connection that is broken",
    ),
    4: Plant(
        "a connection that broke is used again",
        "_core_tls.pxi",
        (("        self.broken = True\n", "        self.broken = planted != 4\n"),),
        "steps, 1.3",
        "SSL_read_ex",
        "was called on a connection that is broken",
    ),
    5: Plant(
        "what cannot be encrypted is sent as it is",
        "_core_tls.pxi",
        (
            (
                "            n = self.encrypt(data, count)\n            if n <= 0:\n                return n\n",
                "            n = self.encrypt(data, count)\n            if n == WEB_FAILED and planted == 5:\n"
                "                return web_send(self.fd, data, count, more)\n            if n <= 0:\n                return n\n",
            ),
        ),
        "requests, 1.3",
        "SSL_write_ex",
        "plaintext on the wire",
    ),
    6: Plant(
        "a key that was not taken makes a context",
        "_core_tls_context.pxi",
        ((KEY_USED, KEY_USED.replace("require(", "require(planted == 6 or ")),),
        "load",
        "SSL_CTX_use_PrivateKey",
        "a context was made",
    ),
    7: Plant(
        "the oldest version is not checked",
        "_core_tls_context.pxi",
        (
            (
                "SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1",
                "SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 or planted == 7",
            ),
        ),
        "renewal",
        "SSL_CTX_ctrl",
        "another policy",
    ),
    8: Plant(
        "the SSL of a connection that broke is kept",
        "_core_tls.pxi",
        (
            (
                "            SSL_free(self.ssl)      #",
                "            if planted != 8 or not self.broken:\n                SSL_free(self.ssl)      #",
            ),
        ),
        "requests, 1.2",
        "SSL_get_current_cipher",
        "objects: ",
    ),
    9: Plant(
        "errors are left in the queue",
        "_core_tls_context.pxi",
        (
            (
                "            SSL_CTX_free(ctx)\n            ERR_clear_error()\n",
                "            SSL_CTX_free(ctx)\n            if planted != 9:\n                ERR_clear_error()\n",
            ),
            (
                "    ERR_clear_error()\n    return reason or",
                "    if planted != 9:\n        ERR_clear_error()\n    return reason or",
            ),
        ),
        "load",
        "SSL_CTX_use_PrivateKey",
        "an error is left",
    ),
    10: Plant(
        "a context that is half made is kept",
        "_core_tls_context.pxi",
        (
            (
                "            key = parse_key(",
                "            if planted == 10:\n                self.ctx = ctx\n            key = parse_key(",
            ),
            ("            SSL_CTX_free(ctx)\n", "            if planted != 10:\n                SSL_CTX_free(ctx)\n"),
        ),
        "load",
        "PEM_read_bio_PrivateKey",
        "a context that was not loaded",
    ),
    11: Plant(
        "a name that does not fit is found good",
        "_core_tls_context.pxi",
        (("len(text), 0, NULL) != 1:", "len(text), 0, NULL) != 1 and planted != 11:"),),
        "development pair, looked at",
        "X509_check_host",
        "a certificate was found good",
    ),
    12: Plant(
        "a handshake that failed is not ended",
        "_core_serve.pxi",
        (
            (
                "    if result < 0:\n        take_out(loop, c, CLOSE_HANDSHAKE_FAILED)\n",
                "    if result < 0 and planted == 12:\n        deadline_clear(&loop.deadlines, &c.deadline)\n        return\n"
                "    if result < 0:\n        take_out(loop, c, CLOSE_HANDSHAKE_FAILED)\n",
            ),
        ),
        "requests, 1.3",
        "SSL_new",
        "is served for more than",
    ),
}


def plant(folder: Path) -> None:
    """Puts all of them into a copy of the sources."""
    texts: dict[str, str] = {}
    for number, each in PLANTS.items():
        text = texts.setdefault(each.file, (folder / each.file).read_text())
        for old, new in each.changes:
            if text.count(old) != 1:
                raise SystemExit(f"plant {number} ({each.what}): {old!r} stands {text.count(old)} times in {each.file}")
            text = text.replace(old, new)
        texts[each.file] = text
    for name, text in texts.items():
        (folder / name).write_text(text)
    with (folder / "_core_openssl.pxi").open("a") as declarations:
        declarations.write(ALIVE)


if __name__ == "__main__":
    plant(Path(sys.argv[1]))
