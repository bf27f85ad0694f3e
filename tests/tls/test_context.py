"""TlsContext: what it loads, what it refuses and in which words, and that no configuration file weakens its policy."""

import contextlib
import datetime as dt
import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.tls.peer import Files, connect, shake_hands
from web import CertificateError, TicketKeys, TlsContext, TlsError, WebError, openssl_version
from web.listeners import Listeners
from web.sockets import Address

PEM = serialization.Encoding.PEM
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def self_signed(key: PrivateKey, days: int = 30, begins: int = -2) -> bytes:
    """A certificate for localhost, from two days ago, or the day `begins`, until `days` from now."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + dt.timedelta(days=begins)).not_valid_after(now + dt.timedelta(days=days))
    return builder.sign(key, hashes.SHA256()).public_bytes(PEM)


def key_bytes(
    key: PrivateKey,
    password: bytes | None = None,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    encoding: serialization.Encoding = PEM,
) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(encoding, form, encryption)


def refusal(chain: Path, key: Path, password: str | bytes | None = None) -> str:
    """What the exception says: one line that names the file; and nothing of it may stay to disturb the next call."""
    context = TlsContext(chain, key, password=password)
    with pytest.raises(CertificateError) as caught:
        context.load()
    said = str(caught.value)
    assert isinstance(caught.value, WebError)
    with pytest.raises(CertificateError, match=re.escape(said)):
        context.load()
    assert "\n" not in said
    assert str(chain) in said or str(key) in said
    return said


def test_version() -> None:
    assert re.match(r"OpenSSL [3-9]\.\d+\.\d+", openssl_version())


def test_constructor_touches_no_file() -> None:
    context = TlsContext("no/chain.pem", Path("no/key.pem"), password="secret", ktls=True)
    assert (context.cert_file, context.key_file, context.ktls) == ("no/chain.pem", "no/key.pem", True)
    assert repr(context) == "TlsContext('no/chain.pem', 'no/key.pem')"
    with pytest.raises(AttributeError):
        context.key_file = "other"  # type: ignore[misc]


def test_constructor_refuses_wrong_types() -> None:
    with pytest.raises(TypeError):
        TlsContext("chain.pem", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="password must be str or bytes, not int"):
        TlsContext("chain.pem", "key.pem", password=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1024 bytes"):
        TlsContext("chain.pem", "key.pem", password="x" * 1025)


def test_load_reads_once(files: Files, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    shutil.copy(files.chain, chain)
    shutil.copy(files.key, key)
    context = TlsContext(chain, key)
    context.load()
    chain.unlink()
    key.unlink()
    context.load()
    connection, peer = connect(context, files.client())
    shake_hands(connection, peer)


def test_context_that_was_not_loaded_accepts_nobody(files: Files) -> None:
    """Connection.tls loads it; if it did not, there would be no SSL to go on with."""
    connection, peer = connect(TlsContext(files.chain, files.key), files.client())
    peer.handshake()
    try:
        done = connection.handshake()
    except TlsError:
        assert connection.version is None
    else:
        assert done is None
        shake_hands(connection, peer)


# -- the files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_files_that_cannot_be_opened(files: Files, tmp_path: Path, missing: str) -> None:
    def said(path: Path) -> str:
        return refusal(path, files.key) if missing == "certificate" else refusal(files.chain, path)

    absent, empty, long = tmp_path / "absent.pem", tmp_path / "empty.pem", tmp_path / "long.pem"
    empty.touch()
    long.write_bytes(b"x" * ((1 << 20) + 1))
    assert said(absent) == f"the {missing} file '{absent}' cannot be read: No such file or directory"
    assert said(tmp_path) == f"the {missing} file '{tmp_path}' cannot be read: Is a directory"
    assert said(empty) == f"the {missing} file '{empty}' is empty"
    assert "longer than 1 MiB" in said(long)
    with pytest.raises(CertificateError, match=r"cannot be read: .*null"):
        TlsContext("a\0b", files.key).load()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_key(files: Files, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    shutil.copy(files.key, key)
    key.chmod(0)
    assert refusal(files.chain, key).endswith("cannot be read: Permission denied")


def test_files_without_what_they_should_hold(files: Files, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("hello")
    assert "no certificate in" in refusal(text, files.key)
    assert "no private key in" in refusal(files.chain, text)
    assert "swapped?" in refusal(files.key, files.chain)
    assert "swapped?" in refusal(files.key, files.key)


def test_der_is_told(files: Files, tmp_path: Path) -> None:
    der = tmp_path / "file.der"
    der.write_bytes(ssl.PEM_cert_to_DER_cert(files.root.read_text()))
    assert "DER" in refusal(der, files.key)
    key = ec.generate_private_key(ec.SECP256R1())
    der.write_bytes(key_bytes(key, encoding=serialization.Encoding.DER))
    assert "DER" in refusal(files.chain, der)


def test_damaged_files(files: Files, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificates = files.chain.read_text().split("-----END CERTIFICATE-----")
    chain.write_text("-----END CERTIFICATE-----".join([certificates[0], certificates[1][:-8] + "!!!!", ""]))
    assert "certificate 2 in" in refusal(chain, files.key)
    chain.write_text(files.chain.read_text()[:-40])
    assert "certificate 2 in" in refusal(chain, files.key)
    key.write_text(files.key.read_text().replace("M", "N", 1))
    assert "cannot be read" in refusal(files.chain, key)


def test_key_of_another_certificate(files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)):
        other.write_bytes(key_bytes(key))
        assert refusal(files.chain, other) == f"the key in '{other}' does not match the certificate in '{files.chain}'"


def test_chain_in_the_wrong_order(files: Files, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    mark = "-----END CERTIFICATE-----\n"
    parts = [part + mark for part in files.chain.read_text().split(mark)[:-1]]
    chain.write_text("".join(reversed(parts)))
    assert f"is number {len(parts)} and must be the first" in refusal(chain, files.key)


def test_one_file_for_both(files: Files, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(files.key.read_text() + "a comment\n" + files.chain.read_text())
    context = TlsContext(both, both)
    context.load()
    connection, peer = connect(context, files.client())
    shake_hands(connection, peer)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_kinds_of_keys(tmp_path: Path, key: PrivateKey, version: ssl.TLSVersion) -> None:
    files = Files(tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "chain.pem")
    files.chain.write_bytes(self_signed(key))
    files.key.write_bytes(key_bytes(key, form=serialization.PrivateFormat.TraditionalOpenSSL))
    client = files.client(version)
    client.check_hostname = False  # the certificate has no names
    connection, peer = connect(files.context(), client)
    shake_hands(connection, peer)


def test_weak_certificate_is_refused(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    weak = rsa.generate_private_key(65537, 1024)
    chain.write_bytes(self_signed(weak))
    key.write_bytes(key_bytes(weak))
    assert re.search(r"certificate 1 in .* is refused: .*key too small; RSA keys need 2048 bits", refusal(chain, key))


# -- the pass phrase ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_pass_phrase(files: Files, tmp_path: Path, form: str) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    chain.write_bytes(self_signed(private))
    key.write_bytes(key_bytes(private, "gehéim".encode(), getattr(serialization.PrivateFormat, form)))
    for right in ("gehéim", "gehéim".encode()):
        TlsContext(chain, key, password=right).load()
    assert "is encrypted; give its pass phrase as password=" in refusal(chain, key)
    for wrong in ("other", b"", "gehéim ", "x" * 1024):
        assert "the pass phrase is wrong" in refusal(chain, key, wrong)
    TlsContext(files.chain, files.key, password="not needed").load()


def test_nobody_is_asked_on_the_terminal(tmp_path: Path) -> None:
    """OpenSSL's default is to ask; a server would hang there."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    chain.write_bytes(self_signed(private))
    key.write_bytes(key_bytes(private, b"secret"))
    code = f"import web; web.TlsContext({str(chain)!r}, {str(key)!r}).load()"
    main, side = os.openpty()
    os.write(main, b"secret\n")
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=side,
        stdout=side,
        stderr=subprocess.PIPE,
        start_new_session=True,
        timeout=60,
    )
    os.close(side)
    os.close(main)
    assert b"is encrypted" in done.stderr


# -- the policy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_groups(tmp_path: Path, version: ssl.TLSVersion) -> None:
    key = rsa.generate_private_key(65537, 2048)  # an EC key would need its own curve among the client's
    files = Files(tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "chain.pem")
    files.chain.write_bytes(self_signed(key))
    files.key.write_bytes(key_bytes(key))
    for group, taken in (("X25519", True), ("prime256v1", True), ("secp384r1", True), ("secp521r1", False)):
        client = files.client(version)
        client.check_hostname = False  # the certificate has no names
        client.set_ecdh_curve(group)
        connection, peer = connect(files.context(), client)
        if taken:
            shake_hands(connection, peer)
        else:
            peer.handshake()
            with pytest.raises(TlsError, match=r"no suitable key share|no shared cipher"):
                connection.handshake()


WEAK = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = weak
[weak]
MinProtocol = TLSv1
CipherString = ALL:@SECLEVEL=0
Options = UnsafeLegacyRenegotiation,-ServerPreference
Groups = secp521r1:X25519:P-256:P-384
NumTickets = 0
"""


def test_configuration_file_cannot_weaken_the_policy(tmp_path: Path) -> None:
    """SSL_CTX_new applies the system_default section of openssl.cnf, if the process has loaded that file."""
    (tmp_path / "openssl.cnf").write_text(WEAK)
    folder = Path(__file__).parent
    selected = "refused or resumption or facts or groups or server_prefers or weak_certificate"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", selected]
    command += [str(folder / "test_tls_handshake.py"), str(folder / "test_context.py")]
    environment = os.environ | {"OPENSSL_CONF": str(tmp_path / "openssl.cnf")}
    done = subprocess.run(
        command, env=environment, cwd=folder.parent.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 20


def test_a_certificate_out_of_its_time_is_refused(tmp_path: Path) -> None:
    """Clients would refuse it. allow_expired is for tests, and for whoever knows better."""
    key = ec.generate_private_key(ec.SECP256R1())
    chain = tmp_path / "chain.pem"
    (tmp_path / "key.pem").write_bytes(key_bytes(key))
    for begins, days, why in ((-2, -1, "has expired"), (1, 2, "is not valid yet")):
        chain.write_bytes(self_signed(key, days, begins))
        said = refusal(chain, tmp_path / "key.pem")
        assert said.startswith(f"the certificate in '{chain}' {why} (")
        assert "allow_expired=True" in said
        TlsContext(chain, tmp_path / "key.pem", allow_expired=True).load()


# -- reading it again --------------------------------------------------------------------------------------------------


def test_a_renewed_context_resumes_the_old_ones_sessions(files: Files, long_files: Files, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    shutil.copy(files.chain, chain)
    shutil.copy(files.key, key)
    context = TlsContext(chain, key)
    context.load()
    client = files.client()
    connection, peer = connect(context, client)
    shake_hands(connection, peer)
    connection.send(b"x")  # the ticket comes with the first answer
    assert peer.read() == b"x"
    session = peer.tls.session
    shutil.copy(long_files.chain, chain)
    shutil.copy(long_files.key, key)
    fresh = context._renewed(context._read())
    connection, peer = connect(fresh, client, session=session)
    shake_hands(connection, peer)
    assert connection.resumed
    connection, peer = connect(fresh, long_files.client())  # and who has none sees the new certificate
    shake_hands(connection, peer)
    assert not connection.resumed


def test_a_renewal_that_fails_says_why_and_leaves_the_old_one(files: Files) -> None:
    context = files.context()
    texts = context._read()
    texts[str(files.key)] = bytearray(b"nonsense")
    with pytest.raises(CertificateError, match="no private key in"):
        context._renewed(texts)
    connection, peer = connect(context, files.client())
    shake_hands(connection, peer)


def test_texts_of_keys_are_overwritten(files: Files, tmp_path: Path) -> None:
    """By whoever has read them, whether they could be used or not. Two contexts may share a file."""
    secret = tmp_path / "tickets.key"
    secret.write_bytes(b"s" * 64)
    secret.chmod(0o600)
    listeners = Listeners()
    for port in (0, 1):
        context = TlsContext(files.chain, files.key, tickets=TicketKeys(secret))
        context.load()
        listeners.add(Address("127.0.0.1", port), context)
    for spoiled in (False, True):
        texts = listeners.read_certificates()
        assert b"PRIVATE KEY" in texts[str(files.key)]
        if spoiled:
            texts[str(files.chain)][:] = b"nonsense"
        with contextlib.suppress(CertificateError):
            listeners.renew(texts)
        assert not any(any(text) for text in texts.values())


def test_contexts_do_not_share_ticket_keys(files: Files) -> None:
    client = files.client()
    connection, peer = connect(files.context(), client)
    shake_hands(connection, peer)
    connection.send(b"x")
    assert peer.read() == b"x"
    connection, peer = connect(files.context(), client, session=peer.tls.session)
    shake_hands(connection, peer)
    assert not connection.resumed
