"""The key log: only where the option is on and SSLKEYLOGFILE names a file; what it holds, and what is refused."""

from __future__ import annotations

import logging
import os
import re
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import environment
from tests.tls.peer import Files, connect, shake_hands
from web import CertificateError, TlsContext

LINE = re.compile(r"[A-Z0-9_]+ ([0-9a-f]{64}) ([0-9a-f]{64}|[0-9a-f]{96})\n")
TLS_1_3 = ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "EXPORTER_SECRET"]
TLS_1_3 += ["SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"]


@pytest.fixture(autouse=True)
def loose_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What SSLKEYLOGFILE names; it is not there."""
    path = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    return path


def quiet_client(files: Files, version: ssl.TLSVersion) -> ssl.SSLContext:
    """One that writes no log of its own (create_default_context minds SSLKEYLOGFILE)."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(files.root)
    client.minimum_version = client.maximum_version = version
    return client


def visit(context: TlsContext, client: ssl.SSLContext) -> None:
    connection, peer = connect(context, client)
    shake_hands(connection, peer)
    connection.send(b"x")
    assert peer.read() == b"x"


def labels(path: Path) -> list[str]:
    lines = path.read_text().splitlines(keepends=True)
    assert all(map(LINE.fullmatch, lines))
    return sorted(line.split()[0] for line in lines)


def test_nothing_is_written_without_the_option(files: Files, log: Path, caplog: pytest.LogCaptureFixture) -> None:
    visit(files.context(), quiet_client(files, ssl.TLSVersion.TLSv1_3))
    assert not log.exists()
    assert not caplog.records


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_is_written_without_the_variable(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    if value is not None:
        monkeypatch.setenv("SSLKEYLOGFILE", value)
    context = TlsContext(files.chain, files.key, keylog=True)
    context.load()
    visit(context, quiet_client(files, ssl.TLSVersion.TLSv1_3))
    assert not list(tmp_path.iterdir())
    assert not caplog.records


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_secrets_are_the_client_s(
    files: Files, log: Path, tmp_path: Path, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """Line for line what the client of the same connection writes: what decrypts the one decrypts the other."""
    context = TlsContext(files.chain, files.key, keylog=True)
    assert context.keylog
    assert not log.exists()
    with caplog.at_level(logging.WARNING, "web"):
        context.load()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(log) in record.getMessage()
    assert "decrypt every connection" in record.getMessage()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    client = quiet_client(files, version)
    client.keylog_filename = str(tmp_path / "client.log")
    visit(context, client)
    assert labels(log) == (TLS_1_3 if version == ssl.TLSVersion.TLSv1_3 else ["CLIENT_RANDOM"])
    theirs = [line for line in (tmp_path / "client.log").read_text().splitlines() if not line.startswith("#")]
    assert sorted(log.read_text().splitlines()) == sorted(theirs)
    visit(context, client)
    assert len(labels(log)) == 2 * len(theirs)


def test_a_renewed_context_goes_on(files: Files, log: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the same file, also where it could not be opened again; told once."""
    context = TlsContext(files.chain, files.key, keylog=True)
    context.load()
    content = context._read()
    log.rename(log.with_name("moved"))
    fresh = context._renewed(content)
    del context
    assert fresh.keylog
    visit(fresh, quiet_client(files, ssl.TLSVersion.TLSv1_3))
    assert labels(log.with_name("moved")) == TLS_1_3
    assert not log.exists()
    assert len(caplog.records) == 1


def test_connections_of_other_names_are_in_it(files: Files, log: Path) -> None:
    inner = TlsContext(files.chain, files.key)
    context = TlsContext(files.chain, files.key, names={"localhost": inner}, keylog=True)
    context.load()
    visit(context, quiet_client(files, ssl.TLSVersion.TLSv1_3))
    assert labels(log) == TLS_1_3


def test_it_is_appended_to(files: Files, log: Path) -> None:
    log.touch(0o600)
    log.write_text("# before\n")
    for _ in range(2):
        context = TlsContext(files.chain, files.key, keylog=True)
        context.load()
        visit(context, quiet_client(files, ssl.TLSVersion.TLSv1_2))
    first, *rest = log.read_text().splitlines()
    assert first == "# before"
    assert [line.split()[0] for line in rest] == ["CLIENT_RANDOM"] * 2


def refusal(files: Files, path: Path) -> str:
    with pytest.raises(CertificateError) as caught:
        TlsContext(files.chain, files.key, keylog=True).load()
    said = str(caught.value)
    assert said.startswith(f"the key log {str(path)!r} (SSLKEYLOGFILE) ")
    assert "\n" not in said
    return said


def test_files_that_are_refused(files: Files, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.touch(0o644)
    assert "chmod 600" in refusal(files, log)
    assert log.read_text() == ""
    log.unlink()
    target = log.with_name("target")
    target.touch(0o600)
    log.symlink_to(target)
    assert "not a link" in refusal(files, log)
    log.unlink()
    log.symlink_to(log.with_name("nowhere"))
    assert "not a link" in refusal(files, log)
    assert not log.with_name("nowhere").exists()
    log.unlink()
    os.mkfifo(log, 0o600)
    refusal(files, log)  # and nobody waits for its reader
    with open(os.open(log, os.O_RDONLY | os.O_NONBLOCK)):
        assert "plain file" in refusal(files, log)
    log.unlink()
    log.mkdir(0o700)
    assert "cannot be opened: Is a directory" in refusal(files, log)
    monkeypatch.setenv("SSLKEYLOGFILE", str(log / "absent" / "file"))
    assert "No such file" in refusal(files, log / "absent" / "file")


def test_nothing_stays_open(files: Files, log: Path) -> None:
    def opened() -> int:
        return sum(os.path.exists(f"/dev/fd/{fd}") for fd in range(256))

    TlsContext(files.chain, files.key, keylog=True).load()
    before = opened()
    for _ in range(3):
        context = TlsContext(files.chain, files.key, keylog=True)
        context.load()
        fresh = context._renewed(context._read())
        del context, fresh
    log.chmod(0o644)
    for _ in range(3):
        refusal(files, log)
    assert opened() == before


def test_lines_of_threads_and_processes_do_not_mix(files: Files, log: Path) -> None:
    context = TlsContext(files.chain, files.key, keylog=True)
    context.load()

    def visit_often() -> None:
        client = quiet_client(files, ssl.TLSVersion.TLSv1_3)
        for _ in range(20):
            visit(context, client)

    threads = [threading.Thread(target=visit_often) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(labels(log)) == 60 * len(TLS_1_3)


def test_a_full_disk_ends_no_connection(files: Files, tmp_path: Path) -> None:
    """Lines are lost then, handshakes are not."""
    code = f"""
import os, resource, signal, ssl, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.tls.peer import Files
from tests.tls.test_keylog import quiet_client, visit
from web import TlsContext
files = Files(Path({str(files.chain)!r}), Path({str(files.key)!r}), Path({str(files.root)!r}))
context = TlsContext(files.chain, files.key, keylog=True)
context.load()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
visit(context, quiet_client(files, ssl.TLSVersion.TLSv1_3))
print("visited")
"""
    path = tmp_path / "keys.log"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment(), "SSLKEYLOGFILE": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "visited\n", done.stderr
    assert path.stat().st_size <= 100
