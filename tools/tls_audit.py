"""``make tls-audit``: what two scanners of TLS servers say of weblatch, offline, and whether that is good enough.

The scanners judge a server that this program runs, with a certificate as an authority of the public web would give
(made here, for an hour of scanning: only the protocol is judged). sslyze compares it with Mozilla's profile; testssl.sh
grades each finding. Exit status: 0, both are content; 1, sslyze's comparison failed, or testssl.sh graded something
worse than LOW, or could not look at what EXPLAINED does not name; 2, a scanner could not do its work.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import web

HOST = "audit.example.org"
HOUR = dt.timedelta(hours=1)
PATIENCE = 900  # seconds for one scan
HARMLESS = {
    "OK",
    "INFO",
    "LOW",
}  # testssl.sh's grades; worse are MEDIUM, HIGH, CRITICAL; WARN and FATAL: it could not look

# What testssl.sh may be unable to look at (WARN), and why. Nothing that it grades is excused.
EXPLAINED = {
    "engine_problem": "its own openssl has no engine with GOST ciphers",
    "sessionresumption_ticket": "its client leaves with the handshake, and then has the ticket or not",
    "sessionresumption_ID": "the same",
}

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class ScanError(Exception):
    """A scanner gave no result."""


@dataclass(frozen=True)
class Files:
    """A server's certificate chain and key, and the root that a scanner is told to trust."""

    chain: Path
    key: Path
    root: Path


# -- a certificate with nothing to object to -------------------------------------------------------------------------


def issue(name: str, key: Key, issuer: x509.Certificate | None, signer: Key, days: int) -> x509.Certificate:
    """A certificate of an authority (no issuer: a root's own); of a server when it is for less than 400 days."""
    is_server = days < 400
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        issuer.subject if issuer else subject, subject, key.public_key(), x509.random_serial_number()
    )
    builder = builder.not_valid_before(now - HOUR).not_valid_after(now + dt.timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(not is_server, None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    usage |= {"digital_signature": is_server, "key_encipherment": False}
    usage |= {"key_cert_sign": not is_server, "crl_sign": not is_server}
    builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    if is_server:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        crl = x509.UniformResourceIdentifier("http://crl.example.org/ca.crl")
        builder = builder.add_extension(
            x509.CRLDistributionPoints([x509.DistributionPoint([crl], None, None, None)]), critical=False
        )
    return builder.sign(signer, hashes.SHA256())


def make_files(folder: Path, make_key: Callable[[], Key]) -> Files:
    root_key, middle_key, key = make_key(), make_key(), make_key()
    root = issue("Audit root", root_key, None, root_key, 3650)
    middle = issue("Audit authority", middle_key, root, root_key, 1000)
    server = issue(HOST, key, middle, middle_key, 89)
    files = Files(folder / "chain.pem", folder / "key.pem", folder / "root.pem")
    pem = serialization.Encoding.PEM
    files.chain.write_bytes(server.public_bytes(pem) + middle.public_bytes(pem))
    files.root.write_bytes(root.public_bytes(pem))
    files.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


KEYS: dict[str, Callable[[], Key]] = {
    "ECDSA": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


def application() -> web.App:
    """A page with the headers that the scanners look for; hooks of ours set them."""
    return web.App(web.security_headers(hsts=63072000), web.GET("*", lambda req: "weblatch"))


# -- the scanners ----------------------------------------------------------------------------------------------------


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ScanError(f"{command[0]} did not work: {error}") from None


def run_sslyze(python: str, port: int, files: Files, profile: str, folder: Path) -> bool:
    """Whether the server is as Mozilla's profile wants it; what is not is printed."""
    out = folder / "sslyze.json"
    done = run(
        [
            python, "-m", "sslyze", f"--mozilla_config={profile}", f"--certinfo_ca_file={files.root}",
            f"--sni={HOST}", f"--json_out={out}", f"127.0.0.1:{port}",
        ]
    )  # fmt: skip
    verdict = done.stdout.partition("COMPLIANCE AGAINST")[2]
    if "OK - Compliant" not in verdict and "FAILED - Not compliant" not in verdict:
        raise ScanError(f"sslyze gave no verdict:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    good = done.returncode == 0 and "FAILED" not in verdict
    found = json.loads(out.read_text())["server_scan_results"][0]["scan_result"]
    print(f"sslyze, Mozilla's {profile} profile: {'compliant' if good else 'NOT compliant'}")
    for line in sslyze_facts(found):
        print(f"  {line}")
    if not good:
        print("\n".join(f"  {line.strip()}" for line in verdict.splitlines()[1:] if line.strip()))
    return good


def sslyze_facts(found: dict[str, dict[str, dict[str, object]]]) -> Iterator[str]:
    """One line for each suite, group and check of sslyze's result."""
    for key, version in (("tls_1_2_cipher_suites", "TLS 1.2"), ("tls_1_3_cipher_suites", "TLS 1.3")):
        accepted = found[key]["result"]["accepted_cipher_suites"]
        assert isinstance(accepted, list)
        yield f"{version}: {', '.join(one['cipher_suite']['name'] for one in accepted)}"
    groups = found["elliptic_curves"]["result"]["supported_curves"]
    assert isinstance(groups, list)
    yield f"groups: {', '.join(sorted(one['name'] for one in groups))}"
    for key, field in (
        ("heartbleed", "is_vulnerable_to_heartbleed"),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"),
        ("tls_compression", "supports_compression"),
        ("tls_1_3_early_data", "supports_early_data"),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"),
        ("session_renegotiation", "supports_secure_renegotiation"),
        ("tls_fallback_scsv", "supports_fallback_scsv"),
        ("tls_extended_master_secret", "supports_ems_extension"),
        ("robot", "robot_result"),
    ):
        result = found.get(key, {}).get("result")
        if result is not None:
            yield f"{field}: {result[field]}"


def run_testssl(testssl: str, port: int, files: Files, folder: Path) -> bool:
    """Whether nothing is graded worse than LOW; what is not OK or INFO is printed."""
    out = folder / "testssl.json"
    done = run(
        [
            testssl, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1",
            "--add-ca", str(files.root), "--jsonfile", str(out), f"https://{HOST}:{port}/",
        ]
    )  # fmt: skip
    (folder / "testssl.txt").write_text(done.stdout)
    try:
        findings = json.loads(out.read_text())
    except (OSError, ValueError):
        raise ScanError(f"testssl.sh gave no findings:\n{done.stdout[-3000:]}{done.stderr[-3000:]}") from None
    grades = [one["severity"] for one in findings]
    if grades.count("OK") < 20:  # an address where nobody answers has few findings, and no bad ones
        raise ScanError(f"testssl.sh found next to nothing:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    counts = {grade: grades.count(grade) for grade in sorted(set(grades))}
    print(f"testssl.sh: {', '.join(f'{grade} {n}' for grade, n in counts.items())}")
    good = True
    for one in findings:
        if one["severity"] in ("OK", "INFO"):
            continue
        known = EXPLAINED.get(one["id"]) if one["severity"] == "WARN" else None
        fine = one["severity"] in HARMLESS or known is not None
        good = good and fine
        why = f" ({known})" if known else "" if fine else "  <- not explained"
        print(f"  {one['severity']:8} {one['id']}: {one['finding']}{why}")
    return good


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sslyze-python", default=sys.executable, help="the interpreter that has sslyze")
    parser.add_argument("--testssl", default=shutil.which("testssl") or shutil.which("testssl.sh") or "")
    parser.add_argument("--profile", default="intermediate", choices=["intermediate", "modern"])
    parser.add_argument("--keys", nargs="+", default=[*KEYS], choices=[*KEYS], help="kinds of the server's key")
    parser.add_argument("--output", type=Path, help="folder for the scanners' own reports")
    options = parser.parse_args(arguments)
    print(f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, weblatch {web.__version__}, {web.openssl_version()}")
    good = True
    with tempfile.TemporaryDirectory() as place:
        for kind in options.keys:
            folder = (options.output or Path(place)) / kind
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            files = make_files(folder, KEYS[kind])
            tls = web.TlsContext(files.chain, files.key, policy=options.profile)
            print(f"== {kind} certificate")
            try:
                with web.Server(application(), "127.0.0.1", 0, tls=tls).running() as server:
                    good = run_sslyze(options.sslyze_python, server.port, files, options.profile, folder) and good
                    if not options.testssl:
                        raise ScanError("testssl.sh is not installed (apt-get install testssl.sh), or give --testssl")
                    good = run_testssl(options.testssl, server.port, files, folder) and good
            except ScanError as error:
                print(error, file=sys.stderr)
                return 2
            finally:
                os.unlink(files.key)
    print("content" if good else "NOT content")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
