"""The handshake of a Tls on its own, over a socket pair: its facts, its wants, and whom it refuses.

Faults that have had these classes of test elsewhere: plaintext taken for a request before the handshake ends (CPython
CVE-2023-40217, nginx CVE-2026-1642), callbacks that fail open (pyOpenSSL CVE-2026-27448), error paths that look like
success, renegotiation (CVE-2021-3449).
"""

import os
import select
import shutil
import socket
import ssl
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving import foreign_environment
from tests.tls.peer import STEPS, Files, connect, opened, shake_hands, shrink, state
from web import Connection, Plain, Tls, TlsError

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


# -- the handshake -----------------------------------------------------------------------------------------------------


@both_versions
def test_facts(files: Files, version: ssl.TLSVersion) -> None:
    connection, peer = connect(files.context(), files.client(version, alpn=("h2", "http/1.1")))
    facts = [connection.version, connection.cipher, connection.alpn, connection.server_name, connection.resumed]
    assert facts == [None] * 5
    shake_hands(connection, peer)
    match connection:
        case Tls(version=v, cipher=c):
            assert [v, c] == [peer.tls.version(), (peer.tls.cipher() or ("",))[0]]
        case _:
            pytest.fail("not matched")
    assert v == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    assert connection.is_tls
    assert connection.alpn == peer.tls.selected_alpn_protocol() == "http/1.1"
    assert connection.server_name == "localhost"
    assert connection.resumed is False
    assert connection.ktls is False
    connection.close()
    assert (connection.version, connection.cipher, connection.server_name) == (v, c, "localhost")
    assert not isinstance(connection, Plain)


def test_chain_is_sent_whole(files: Files) -> None:
    """The client knows the root only, so the handshake succeeds only with the intermediate certificate."""
    connection, peer = opened(files)
    assert peer.tls.getpeercert()
    assert connection.handshake() is True  # once more is allowed, and does nothing


def test_silent_client_has_no_ssl(files: Files) -> None:
    connection, _ = connect(files.context(), files.client())
    assert connection.wants is None
    for _ in range(3):
        assert connection.handshake() is None
        assert [connection.wants, state(connection)] == ["read", "peek"]


@both_versions
def test_handshake_byte_by_byte(files: Files, version: ssl.TLSVersion) -> None:
    connection, peer = connect(files.context(), files.client(version))
    finished = False
    for _ in range(STEPS):
        output = peer.reply()
        for i in range(len(output)):
            assert not finished
            peer.sock.send(output[i : i + 1])
            finished = connection.handshake() is True
            if not finished:
                assert (connection.wants, state(connection)) == ("read", "handshaking")
                assert connection.version is None
        if finished:
            break
    assert finished
    assert connection.wants is None
    assert peer.handshake()


@both_versions
def test_handshake_wants_write(long_files: Files, version: ssl.TLSVersion) -> None:
    connection, peer = connect(long_files.context(), long_files.client(version))
    shrink(connection, peer)
    wants = set()
    for _ in range(STEPS):
        done = connection.handshake()
        wants.add(connection.wants)
        peer.fetch(limit=1000)
        if peer.step(peer.finish) and done:
            break
    assert wants == {"read", "write", None}
    assert state(connection) == "open"
    assert connection.send(b"x") == 1
    assert peer.read() == b"x"


@pytest.mark.parametrize("offered", [(), ("http/1.1",), ("h2", "http/1.1"), ("http/1.0", "h2", "http/1.1", "x")])
def test_alpn(files: Files, offered: tuple[str, ...]) -> None:
    connection, peer = opened(files, files.client(alpn=offered))
    assert connection.alpn == peer.tls.selected_alpn_protocol() == ("http/1.1" if offered else None)


def test_alpn_for_a_client_that_speaks_http_1_0_only(files: Files) -> None:
    connection, peer = opened(files, files.client(alpn=("h2", "http/1.0")))
    assert connection.alpn == peer.tls.selected_alpn_protocol() == "http/1.0"


@both_versions
@pytest.mark.parametrize("offered", [("h2",), ("http/0.9", "http/1.10", "ttp/1.1")])
def test_alpn_without_overlap_is_refused(files: Files, version: ssl.TLSVersion, offered: tuple[str, ...]) -> None:
    """RFC 7301, 3.2: the alert is no_application_protocol."""
    connection, peer = connect(files.context(), files.client(version, alpn=offered))
    peer.handshake()
    with pytest.raises(TlsError, match=r"no application protocol.*http/1.1"):
        connection.handshake()
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        peer.handshake()


def test_no_server_name(files: Files) -> None:
    client = files.client()
    client.check_hostname = False
    connection, peer = connect(files.context(), client, name=None)
    shake_hands(connection, peer)
    assert connection.server_name is None


@pytest.mark.parametrize(
    ("found", "put", "alert"),
    [
        (b"localhost", b"local\x00ost", "unrecognized.name"),
        (b"localhost", b"local\xe9ost", "unrecognized.name"),
        (b"localhost", b"local ost", "unrecognized.name"),
        (b"localhost", b"local/ost", "unrecognized.name"),
        (b"\x00\x00\x09localhost", b"\x01\x00\x09localhost", "decode.error"),  # not a host_name
        (b"\x00\x00\x09localhost", b"\x00\x00\x08localhost", "decode.error"),  # a length that does not fit
        (b"\x00\x0c\x00\x00\x09localhost", b"\x00\x0b\x00\x00\x09localhost", "decode.error"),
        (b"\x00\x0c\x00\x00\x09localhost", b"\x00\x0c\x00\x00\x00localhost", "decode.error"),  # an empty name
    ],
)
def test_odd_server_names_are_refused(files: Files, found: bytes, put: bytes, alert: str) -> None:
    connection, peer = connect(files.context(), files.client())
    hello = peer.reply()
    assert hello.count(found) == 1
    peer.sock.send(hello.replace(found, put))
    with pytest.raises(TlsError, match="handshake"):
        connection.handshake()
    with pytest.raises(ssl.SSLError, match=f"(?i){alert}"):
        peer.handshake()
    assert connection.server_name is None


@both_versions
def test_resumption(files: Files, version: ssl.TLSVersion) -> None:
    context, client = files.context(), files.client(version)
    connection, peer = connect(context, client)
    shake_hands(connection, peer)
    connection.send(b"x")
    assert peer.read() == b"x"  # in TLS 1.3 the ticket comes before it
    again, second = connect(context, client, session=peer.tls.session)
    shake_hands(again, second)
    assert second.tls.session_reused
    assert (again.resumed, again.server_name, again.version) == (True, "localhost", connection.version)
    # Another context has other ticket keys: the full handshake, and no failure.
    other, third = connect(files.context(), client, session=peer.tls.session)
    shake_hands(other, third)
    assert other.resumed is False


# -- what is refused ---------------------------------------------------------------------------------------------------


def refusal(files: Files, client: ssl.SSLContext) -> TlsError:
    """The server's error; the client must have got an alert."""
    connection, peer = connect(files.context(), client)
    assert not peer.handshake()
    with pytest.raises(TlsError) as caught:
        connection.handshake()
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        peer.handshake()
    assert connection.version is None
    return caught.value


def test_old_versions_are_refused(files: Files) -> None:
    client = files.client(ciphers="ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = ssl.TLSVersion.TLSv1
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    error = refusal(files, client)
    assert error.reason == "unsupported protocol"
    assert "TLS 1.2" in str(error)


@pytest.mark.parametrize(
    "cipher",
    ["AES128-GCM-SHA256", "AES128-SHA", "ECDHE-RSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "ADH-AES128-SHA256"],
)
def test_weak_suites_are_refused(files: Files, cipher: str) -> None:
    """No forward secrecy, no AEAD, no authentication."""
    client = files.client(ssl.TLSVersion.TLSv1_2, ciphers=f"{cipher}:@SECLEVEL=0")
    assert refusal(files, client).reason == "no shared cipher"


@both_versions
def test_server_prefers_its_order(files: Files, version: ssl.TLSVersion) -> None:
    client = files.client(version, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256")
    connection, _ = opened(files, client)
    assert connection.cipher in {"TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"}


def test_chacha_is_preferred_by_clients_that_prefer_it(files: Files) -> None:
    client = files.client(ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256")
    connection, _ = opened(files, client)
    assert connection.cipher == "ECDHE-ECDSA-CHACHA20-POLY1305"


def wait_for_bytes(connection: Connection) -> bytes:
    while (data := connection.recv(100)) is None:
        select.select([connection], [], [], 60)
    return data


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")
def test_renegotiation_is_refused(files: Files) -> None:
    """RFC 5246, 7.2.2: a warning alert no_renegotiation; nothing is negotiated again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{listener.getsockname()[1]}"]
        client = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=foreign_environment(),
        )
        assert client.stdin
        accepted, _ = listener.accept()
        connection = Connection.tls(accepted, files.context())
        while not connection.handshake():
            select.select([connection], [], [], 60)
        client.stdin.write(b"R\n")
        client.stdin.flush()
        with pytest.raises(ConnectionError):  # the client gives up; what it sent is no request of ours
            wait_for_bytes(connection)
        connection.close()
        output, _ = client.communicate(timeout=60)
    assert b"RENEGOTIATING" in output
    assert b"no renegotiation" in output.lower()


# -- what is not TLS ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G",
        b"\x80\x2e\x01\x03\x01",
        b"\x15\x03\x03\x00\x02",
        b"\x16\x02",
        b"\x00",
    ],
)
def test_plaintext_is_told_before_a_byte_is_taken(files: Files, first: bytes) -> None:
    connection, peer = connect(files.context(), files.client())
    peer.sock.send(first)
    for _ in range(2):
        with pytest.raises(TlsError, match="does not speak TLS") as caught:
            connection.handshake()
        assert (caught.value.library, caught.value.reason) == ("SSL routines", "wrong version number")
    assert state(connection) == "peek"
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        assert ours.recv(100) == first
    assert peer.raw_bytes() == b""


def test_garbage_behind_a_record_header(files: Files) -> None:
    connection, peer = connect(files.context(), files.client())
    peer.sock.send(b"\x16")
    assert connection.handshake() is None
    peer.sock.send(b"\x03\x01\x00\x05hello")
    with pytest.raises(TlsError):
        connection.handshake()
    assert peer.raw_bytes()[:1] == b"\x15"  # an alert
    with pytest.raises(TlsError, match=r"can only be closed|TLS:"):
        connection.handshake()


@pytest.mark.parametrize("step", ["recv", "send", "send_file", "shutdown"])
def test_no_step_before_the_handshake(files: Files, step: str, tmp_path: Path) -> None:
    """Application data that lies in the socket before the handshake is finished is never given out."""
    connection, peer = connect(files.context(), files.client())
    (tmp_path / "file").write_bytes(b"x")
    with open(tmp_path / "file", "rb") as file:
        steps: dict[str, Callable[[], object]] = {
            "recv": lambda: connection.recv(10),
            "send": lambda: connection.send(b"x"),
            "send_file": lambda: connection.send_file(file, 0, 1),
            "shutdown": connection.shutdown,
        }
        with pytest.raises(ValueError, match="handshake"):
            steps[step]()
        peer.handshake()
        assert connection.handshake() is None
        with pytest.raises(ValueError, match="handshake"):
            steps[step]()
    shake_hands(connection, peer)


# -- a failure never looks like success --------------------------------------------------------------------------------


def client_flights(files: Files, version: ssl.TLSVersion) -> list[int]:
    """How many bytes a client sends in each of its turns."""
    connection, peer = connect(files.context(), files.client(version))
    flights = []
    while True:
        output = peer.reply()
        flights.append(len(output))
        peer.sock.send(output)
        if connection.handshake():
            return flights


@both_versions
@pytest.mark.parametrize("flight", [0, 1])
def test_a_cut_handshake_always_fails(files: Files, version: ssl.TLSVersion, flight: int) -> None:
    context, client = files.context(), files.client(version)
    for length in range(client_flights(files, version)[flight]):
        connection, peer = connect(context, client)
        if flight:
            peer.handshake()
            assert connection.handshake() is None
        peer.sock.send(peer.reply()[:length])
        peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(TlsError, match="during the handshake"):
            connection.handshake()
        assert connection.version is None
        assert connection.cipher is None
        with pytest.raises(ValueError, match="handshake"):
            connection.recv(1)
        connection.close()
        peer.sock.close()


@both_versions
def test_a_tampered_handshake_always_fails(files: Files, version: ssl.TLSVersion) -> None:
    """Every byte of the client's second flight, which ends with Finished, is changed in turn."""
    context, client = files.context(), files.client(version)
    for at in range(client_flights(files, version)[1]):
        connection, peer = connect(context, client)
        peer.handshake()
        assert connection.handshake() is None
        output = bytearray(peer.reply())
        output[at] ^= 0x81
        peer.sock.send(output)
        peer.sock.shutdown(socket.SHUT_WR)
        ignored = version == ssl.TLSVersion.TLSv1_3 and output[0] == 0x14 and at == 2  # the minor version of a record
        if not ignored:
            with pytest.raises(TlsError):
                assert not connection.handshake(), f"byte {at} of {bytes(output)!r}"
            assert connection.version is None
        connection.close()
        peer.sock.close()
