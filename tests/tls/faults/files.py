"""The files that the scenarios use: a chain of two certificates, its key, the same key encrypted, the root."""

from __future__ import annotations

from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


def make(folder: Path) -> None:
    root = trustme.CA()
    server = root.create_child_ca().issue_cert("localhost")
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
    }.items():
        (folder / name).write_bytes(text)
