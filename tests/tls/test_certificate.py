"""Certificate: what is read of one, beside what another library reads."""

import datetime as dt
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.tls.authorities import Authority
from web import Certificate

KEY = ec.generate_private_key(ec.SECP256R1())


def made(
    name: x509.Name,
    *names: x509.GeneralName,
    ends: dt.datetime | None = None,
    extension: x509.ExtensionType | None = None,
) -> x509.Certificate:
    now = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(ends or now + dt.timedelta(days=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256())


def read(certificate: x509.Certificate) -> Certificate:
    return Certificate(certificate.public_bytes(serialization.Encoding.DER))


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def test_facts() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Büro, GmbH"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice"),
        ]
    )
    theirs = made(
        name,
        x509.DNSName("example.org"),
        x509.DNSName("*.example.org"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.RFC822Name("alice@example.org"),
        x509.UniformResourceIdentifier("spiffe://example.org/alice"),
        x509.DirectoryName(named("other")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    )
    ours = read(theirs)
    assert ours.subject == "CN=alice,O=Büro\\, GmbH,C=DE"
    assert ours.issuer == ours.subject
    assert ours.names == (
        ("DNS", "example.org"),
        ("DNS", "*.example.org"),
        ("IP", "192.0.2.1"),
        ("IP", "2001:db8::1"),
        ("email", "alice@example.org"),
        ("URI", "spiffe://example.org/alice"),
    )
    assert ours.serial == theirs.serial_number
    assert ours.not_before == theirs.not_valid_before_utc
    assert ours.not_after == theirs.not_valid_after_utc
    assert ours.fingerprint == theirs.fingerprint(hashes.SHA256()).hex()
    assert ours.pem.encode() == theirs.public_bytes(serialization.Encoding.PEM)
    assert ours.der == theirs.public_bytes(serialization.Encoding.DER)
    assert repr(ours) == "<Certificate 'CN=alice,O=Büro\\\\, GmbH,C=DE'>"


def test_subject_and_issuer(tmp_path: Path) -> None:
    ours = read(Authority(tmp_path, "issuer").issue("subject").certificate)
    assert (ours.subject, ours.issuer, ours.names) == ("CN=subject", "CN=issuer", ())


def test_an_empty_subject() -> None:
    assert read(made(x509.Name([]))).subject == ""


def test_a_far_end() -> None:
    """RFC 5280, 4.1.2.5: no end at all."""
    far = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    assert read(made(named("x"), ends=far)).not_after == far


def test_equality() -> None:
    one, other = made(named("x")), made(named("x"))
    assert read(one) == read(one)
    assert hash(read(one)) == hash(read(one))
    assert read(one) != read(other)
    assert read(one) != one
    assert len({read(one), read(one), read(other)}) == 2


def test_it_does_not_change() -> None:
    certificate = read(made(named("x")))
    with pytest.raises(RuntimeError, match="does not change"):
        certificate.__init__(certificate.der)
    with pytest.raises(AttributeError):
        certificate.der = b""  # type: ignore[misc]


DER = made(named("x"), x509.DNSName("a.example")).public_bytes(serialization.Encoding.DER)


@given(st.binary(max_size=100) | st.integers(0, len(DER) - 1).map(lambda end: DER[:end]) | st.just(DER + b"\0"))
def test_other_bytes(data: bytes) -> None:
    with pytest.raises(ValueError, match="this is no certificate in DER"):
        Certificate(data)


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_changed_bytes(at: int, value: int) -> None:
    """Whatever is read of them, nothing but ValueError comes of it."""
    data = bytearray(DER)
    data[at] = value
    try:
        certificate = Certificate(bytes(data))
    except ValueError:
        return
    for part in ("subject", "issuer", "names", "serial", "not_before", "not_after", "fingerprint", "pem"):
        try:
            getattr(certificate, part)
        except (ValueError, ConnectionError):
            continue


@given(st.lists(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=40)))
def test_any_subject(texts: list[str]) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, text) for text in texts])
    assert read(made(name)).subject.count("OU=") >= len(texts)


def test_names_that_cannot_be_read_are_not_no_names() -> None:
    """A check that refuses some names must not be told that there are none."""
    damaged = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05\x82\x05a")
    theirs = made(named("x"), extension=damaged)
    with pytest.raises(ValueError, match="cannot be read"):
        _ = read(theirs).names


def test_names_with_bytes_that_do_not_belong_there() -> None:
    """A NUL does not end a name, nor hides one (CVE-2009-2408 and its like)."""
    theirs = made(named("x"), x509.DNSName("good.example.evil"))
    der = theirs.public_bytes(serialization.Encoding.DER).replace(b"good.example.evil", b"good.example\0evil")
    assert Certificate(der).names == (("DNS", "good.example\0evil"),)
    der = theirs.public_bytes(serialization.Encoding.DER).replace(b"good.example.evil", b"good.example\xffevil")
    assert Certificate(der).names == (("DNS", "good.example\\xffevil"),)
