"""dev_certificate: made once, found again, replaced when it must be, its key readable by nobody else at any moment."""

import contextlib
import datetime as dt
import os
import select
import shutil
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.serving import foreign_environment
from tests.tls.peer import connect, shake_hands
from web import GET, App, CertificateError, Connection, TlsContext, _core, defserver_tls, dev_certificate


@pytest.fixture(autouse=True)
def loose_umask() -> Iterator[None]:
    """Permissions must not depend on a careful umask."""
    before = os.umask(0)
    yield
    os.umask(before)


def certificate(path: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def test_contents(tmp_path: Path) -> None:
    cert, key = dev_certificate(tmp_path / "deep" / "folder", days=90)
    made = certificate(cert)
    assert made.version == x509.Version.v3
    assert made.issuer == made.subject
    assert 0 < made.serial_number < 1 << 159
    public = made.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    lifetime = made.not_valid_after_utc - made.not_valid_before_utc
    assert dt.timedelta(days=89) < lifetime < dt.timedelta(days=90)
    assert made.not_valid_before_utc <= dt.datetime.now(dt.UTC)
    extensions = made.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(False, None)
    assert extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["localhost", "127.0.0.1", "::1"]
    assert Path(key).read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_permissions(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    _, key = dev_certificate(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(key).stat().st_mode) == 0o600
    assert sorted(os.listdir(folder)) == [".gitignore", "dev-cert.pem", "dev-key.pem"]


def test_key_is_never_loose(tmp_path: Path) -> None:
    """The mode is right from the moment when the file is made, and nothing corrects it afterwards."""
    code = f"""
import os, sys
os.umask(0)
modes = []
real = os.open
def spy(path, flags, mode=0o777, **rest):
    if flags & os.O_CREAT:
        modes.append((os.path.basename(path)[:9], mode, bool(flags & os.O_EXCL)))
    return real(path, flags, mode, **rest)
os.open = spy
os.chmod = os.fchmod = None
import web
web.dev_certificate({str(tmp_path)!r})
assert modes == [(".dev-key.", 0o600, True), (".dev-cert", 0o644, True)], modes
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_found_again(tmp_path: Path) -> None:
    first = dev_certificate(tmp_path)
    content = [Path(path).read_bytes() for path in first]
    assert dev_certificate(str(tmp_path)) == first
    assert [Path(path).read_bytes() for path in first] == content
    assert dev_certificate(tmp_path, ["localhost"]) == first  # it serves fewer names too
    assert [Path(path).read_bytes() for path in first] == content


def test_replaced(tmp_path: Path) -> None:
    cert, key = (Path(path) for path in dev_certificate(tmp_path / "a"))
    strange_cert, strange_key = (Path(path) for path in dev_certificate(tmp_path / "b"))

    def is_replaced() -> bool:
        before = cert.read_bytes() if cert.exists() else b""
        dev_certificate(tmp_path / "a")
        TlsContext(cert, key).load()
        return cert.read_bytes() != before and stat.S_IMODE(key.stat().st_mode) == 0o600

    assert not is_replaced()
    key.chmod(0o640)
    assert is_replaced()
    cert.write_text("damaged")
    assert is_replaced()
    shutil.copy(strange_key, key)  # one half of another pair
    assert is_replaced()
    key.unlink()
    key.symlink_to(strange_key)
    assert is_replaced()
    assert not key.is_symlink()
    cert.unlink()
    assert is_replaced()
    TlsContext(strange_cert, strange_key).load()  # the link's target was not written to


def test_replaced_before_it_expires(tmp_path: Path) -> None:
    old_cert, old_key = _core.make_dev_pair(["localhost"], ["127.0.0.1", "::1"], 1)
    for name, content in (("dev-cert.pem", old_cert), ("dev-key.pem", old_key)):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    cert, _ = dev_certificate(tmp_path)
    assert Path(cert).read_bytes() != old_cert
    assert not _core.dev_pair_serves(old_cert, ["localhost"], [], 24 * 3600)
    assert _core.dev_pair_serves(old_cert, ["localhost"], ["127.0.0.1"], 23 * 3600)
    assert not _core.dev_pair_serves(old_cert, ["other"], [], 0)
    assert not _core.dev_pair_serves(old_cert, [], ["192.0.2.1"], 0)
    assert not _core.dev_pair_serves(b"damaged", [], [], 0)


def test_other_names(tmp_path: Path) -> None:
    dev_certificate(tmp_path)
    cert, key = dev_certificate(tmp_path, ("app.test", "*.app.test", "192.0.2.7"))
    client = ssl.create_default_context(cafile=cert)
    context = TlsContext(cert, key)
    context.load()
    for name in ("app.test", "www.app.test", "192.0.2.7"):
        connection, peer = connect(context, client, name)
        shake_hands(connection, peer)
    connection, peer = connect(context, client, "localhost")
    peer.handshake()
    connection.handshake()
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)hostname mismatch"):
        peer.handshake()


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a,IP:192.0.2.1", "a\nb", "über.test", "-a", "a..b", "http://a", "a" * 254, "[::1]", "127.0.0.1/8"],
)
def test_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="neither a DNS name nor an IP address"):
        dev_certificate(tmp_path, [name])
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="several names"):
        dev_certificate(tmp_path, "localhost")
    with pytest.raises(ValueError, match="at least one"):
        dev_certificate(tmp_path, [])
    for days in (0, 1, 91):
        with pytest.raises(ValueError, match="from 2 to 90"):
            dev_certificate(tmp_path, days=days)


def test_started_together(tmp_path: Path) -> None:
    """Processes that start at the same time end up with the same pair."""
    code = f"import web; web.dev_certificate({str(tmp_path)!r}); print(open({str(tmp_path / 'dev-cert.pem')!r}).read())"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    answers = {process.communicate(timeout=60)[0] for process in started}
    assert len(answers) == 1
    TlsContext(tmp_path / "dev-cert.pem", tmp_path / "dev-key.pem").load()


def test_nothing_uses_it_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose files are missing does not start, though a development pair lies where it could be found; none is
    made either."""
    monkeypatch.chdir(tmp_path)
    for folder in (".", ".dev"):
        dev_certificate(folder)
    before = sorted(path.read_bytes() for path in tmp_path.rglob("*.pem"))
    for name in ("make_dev_pair", "dev_pair_serves"):
        monkeypatch.setattr(_core, name, None)
    route = GET("/", lambda req: "hello")
    for cert, key in (("cert.pem", "key.pem"), ("dev-cert.pem", "key.pem"), ("", "")):
        server = defserver_tls("127.0.0.1", 0, cert, key, route)
        for serve in (server.check, server.open):
            with pytest.raises(CertificateError, match="cannot be read: No such file"):
                serve()
        with pytest.raises(CertificateError, match="cannot be read: No such file"):
            App(route).serve_tls("127.0.0.1", 0, cert, key)
    for missing in ((), (None, None)):
        with pytest.raises(TypeError):
            defserver_tls("127.0.0.1", 0, *missing)
    assert sorted(path.read_bytes() for path in tmp_path.rglob("*.pem")) == before


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_curl_accepts_it(tmp_path: Path, host: str) -> None:
    cert, key = dev_certificate(tmp_path)
    context = TlsContext(cert, key)
    context.load()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://{host}:{listener.getsockname()[1]}/"
        command = ["curl", "-sS", "--ipv4", "--max-time", "50", "--noproxy", "*", "--cacert", cert, url]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=foreign_environment())
        accepted, _ = listener.accept()
        connection = Connection.tls(accepted, context)
        serve_one(connection)
        output, _ = client.communicate(timeout=60)
    assert (client.returncode, output) == (0, b"hello")


def serve_one(connection: Connection) -> None:
    while not connection.handshake():
        select.select([connection], [], [], 60)
    while connection.recv(65536) is None:
        select.select([connection], [], [], 60)
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    with contextlib.suppress(OSError):  # curl may have closed already
        connection.shutdown()
