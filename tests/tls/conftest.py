"""Certificates for the TLS tests, made once: a root, an intermediate authority under it, and a server's under that."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.tls.peer import PEERS, Files


@pytest.fixture(autouse=True)
def close_peers() -> Iterator[None]:
    yield
    while PEERS:
        PEERS.pop().sock.close()


def make_files(folder: Path, *names: str) -> Files:
    root = trustme.CA()
    server = root.create_child_ca().issue_cert(*names)
    files = Files(folder / "chain.pem", folder / "key.pem", folder / "root.pem")
    files.chain.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    server.private_key_pem.write_to_path(files.key)
    root.cert_pem.write_to_path(files.root)
    return files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(scope="session")
def long_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A chain of more than 16 KiB, which no small socket buffer takes at once."""
    return make_files(tmp_path_factory.mktemp("long"), "localhost", *[f"name-{i}.example.org" for i in range(1000)])
