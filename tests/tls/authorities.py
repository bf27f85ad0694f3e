"""Authorities, certificates and revocation lists for tests of names and of client certificates, made with cryptography
where trustme cannot say it."""

import datetime as dt
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

PEM = serialization.Encoding.PEM
KeyUsage = ExtendedKeyUsageOID


@dataclass(frozen=True)
class Pair:
    """The files of a certificate with its chain, and of its key."""

    chain: Path
    key: Path
    certificate: x509.Certificate


class Authority:
    """Signs certificates and revocation lists. ``parent``: who signed its own, if it did not itself."""

    def __init__(self, folder: Path, name: str = "authority", parent: "Authority | None" = None) -> None:
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.parent = parent
        builder = _builder(self.name, parent.name if parent else self.name, self.key.public_key(), -10, 100)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(parent.key if parent else self.key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(PEM))

    def issue(
        self,
        name: str,
        *hosts: str,
        begins: float = -1,
        days: float = 30,
        usage: x509.ObjectIdentifier | None = None,
        kind: str = "EC",
    ) -> Pair:
        """A certificate for a subject and its host names. ``usage``: the only extended key usage; None: any."""
        key = ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self.name, key.public_key(), begins, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if hosts:
            names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        certificate = builder.sign(self.key, hashes.SHA256())
        chain, authority = certificate.public_bytes(PEM), self
        while authority.parent is not None:
            chain += authority.certificate.public_bytes(PEM)
            authority = authority.parent
        stem = f"{name}-{kind}".replace("*", "star")
        pair = Pair(self.folder / f"{stem}.pem", self.folder / f"{stem}.key", certificate)
        pair.chain.write_bytes(chain)
        plain = serialization.NoEncryption()
        pair.key.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain))
        return pair

    def revocations(self, *revoked: "Pair | Authority", days: float = 10) -> bytes:
        """A revocation list as PEM."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder(self.name)
        builder = builder.last_update(now - dt.timedelta(days=20)).next_update(now + dt.timedelta(days=days))
        for one in revoked:
            entry = x509.RevokedCertificateBuilder(one.certificate.serial_number, now - dt.timedelta(days=1)).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, begins: float, days: float
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return builder.not_valid_before(now + dt.timedelta(days=begins)).not_valid_after(now + dt.timedelta(days=days))


def client(
    trusted: Authority, shown: Pair | None = None, version: ssl.TLSVersion | None = None, ciphers: str = ""
) -> ssl.SSLContext:
    """A client that trusts an authority, and may show a certificate."""
    context = ssl.create_default_context(cafile=trusted.file)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if shown is not None:
        context.load_cert_chain(shown.chain, shown.key)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def join(folder: Path, name: str, texts: Iterable[bytes]) -> Path:
    path = folder / name
    path.write_bytes(b"".join(texts))
    return path
