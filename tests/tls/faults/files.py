"""The files that the scenarios use: a chain of two certificates, its key, the same key encrypted, the root; another
server's, under the same root; clients' certificates, one good and others not."""

from __future__ import annotations

from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

from tests.tls.authorities import Authority


def make(folder: Path) -> None:
    root = trustme.CA()
    server = root.create_child_ca().issue_cert("localhost")
    other = root.issue_cert("other.example")
    make_clients(folder)
    key = server.private_key_pem.bytes()
    locked = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"pass phrase"),
    )
    for name, text in {
        "chain.pem": b"".join(blob.bytes() for blob in server.cert_chain_pems),
        "key.pem": key,
        "locked.pem": locked,
        "root.pem": root.cert_pem.bytes(),
        "other.pem": other.cert_chain_pems[0].bytes(),
        "other.key": other.private_key_pem.bytes(),
    }.items():
        (folder / name).write_bytes(text)


def make_clients(folder: Path) -> None:
    """good-EC.pem and .key may come in; revoked-EC and stranger-EC may not."""
    authority = Authority(folder, "clients")
    authority.issue("good", "good.example")
    revoked = authority.issue("revoked", "revoked.example")
    Authority(folder, "strangers").issue("stranger", "stranger.example")
    (folder / "revoked.crl").write_bytes(authority.revocations(revoked))
