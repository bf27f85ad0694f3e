"""TicketKeys: which tickets are accepted when, held against a model of the ratchet in Python; and what is forgotten.

Each test sets the clock of its keys to the middle of a period, so that none depends on when it runs.
"""

from __future__ import annotations

import copy
import pickle
import re
import shutil
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import web
from tests.serving import foreign_environment
from tests.tls.peer import Files, connect
from tests.tls.ticket_model import (
    ANCHOR,
    DAY,
    EPOCH,
    NOW,
    WEEK,
    Model,
    at,
    context_with,
    issued_in,
    mac,
    memory,
    offer,
    secret_file,
    visit,
)
from web import CertificateError, TicketKeys, TlsContext

both_versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


# -- what is accepted when ---------------------------------------------------------------------------------------------


@both_versions
def test_tickets_are_made_by_the_period_s_keys(files: Files, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """AES-256-CBC and HMAC-SHA256 over name, IV and ciphertext (RFC 5077, 4), under the model's keys."""
    model = Model(b"s" * 64, DAY)
    context = context_with(files, TicketKeys(secret_file(tmp_path / "keys"), lifetime=DAY))
    client = files.client(version)
    seen = set()
    for _ in range(3):
        _, session = visit(context, client)
        assert issued_in(model, context, client, session) == {NOW}
        hello, key = offer(context, client, session), model.key(NOW)
        start = hello.index(key.name)
        size = int.from_bytes(hello[start - 2 : start], "big")
        ticket = hello[start : start + size]
        assert mac(key.mac, ticket[:-32]) == ticket[-32:]
        decryptor = Cipher(algorithms.AES(key.cipher), modes.CBC(ticket[16:32])).decryptor()
        text = decryptor.update(ticket[32:-32]) + decryptor.finalize()
        assert text[0] == 0x30  # OpenSSL's SSL_SESSION, in ASN.1
        seen.add(ticket[16:32])
    assert len(seen) == 3  # each has an IV of its own


@both_versions
def test_a_ticket_is_accepted_and_renewed_in_the_next_period(
    files: Files, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    model = Model(b"s" * 64, DAY)
    keys = TicketKeys(secret_file(tmp_path / "keys"), lifetime=DAY)
    context, client = context_with(files, keys), files.client(version)
    _, first = visit(context, client)
    resumed, same = visit(context, client, first)
    assert resumed
    assert issued_in(model, context, client, same) == {NOW}
    if version == ssl.TLSVersion.TLSv1_2:
        assert offer(context, client, first).count(ticket_of(context, client, same)) == 1
    else:  # single use: who sees both connections must not know that the client is the same
        assert ticket_of(context, client, first) != ticket_of(context, client, same)
    at(keys, NOW + 1)
    resumed, renewed = visit(context, client, first)
    assert resumed
    assert issued_in(model, context, client, renewed) == {NOW + 1}
    at(keys, NOW + 2)
    assert visit(context, client, renewed)[0]
    resumed, fresh = visit(context, client, first)
    assert not resumed
    assert issued_in(model, context, client, fresh) == {NOW + 2}


def ticket_of(context: TlsContext, client: ssl.SSLContext, session: ssl.SSLSession) -> bytes:
    """The first bytes of a ticket by the keys of NOW."""
    hello = offer(context, client, session)
    start = hello.index(Model(b"s" * 64, DAY).key(NOW).name)
    return hello[start : start + 100]


@both_versions
def test_machines_with_the_same_file_accept_each_other_s_tickets(
    files: Files, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Also where their clocks are a period apart, in both directions; not with another file or another lifetime."""
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    secret_file(one, b"1" * 64)
    secret_file(same, b"1" * 64)
    secret_file(other, b"1" * 65)
    client = files.client(version)
    _, session = visit(context_with(files, TicketKeys(one, lifetime=DAY)), client)
    for period, expected in ((NOW, True), (NOW + 1, True), (NOW - 1, True), (NOW + 2, False), (NOW - 2, False)):
        assert visit(context_with(files, TicketKeys(same, lifetime=DAY), period), client, session)[0] is expected
    assert not visit(context_with(files, TicketKeys(other, lifetime=DAY)), client, session)[0]
    shorter = TicketKeys(same, lifetime=DAY // 2)
    for period in (NOW, 2 * NOW, 2 * NOW + 1):  # the same period, or the same time
        assert not visit(context_with(files, shorter, period), client, session)[0]
    assert not visit(context_with(files, TicketKeys(lifetime=DAY)), client, session)[0]


@both_versions
def test_contexts_may_share_their_keys(files: Files, long_files: Files, version: ssl.TLSVersion) -> None:
    keys = TicketKeys(lifetime=DAY)
    first, second = context_with(files, keys), context_with(long_files, keys)
    assert first.tickets is second.tickets is keys
    client = files.client(version)
    _, session = visit(first, client)
    assert visit(second, client, session)[0]


@pytest.mark.parametrize("period", [1, EPOCH - 2, EPOCH - 1, EPOCH, EPOCH + 1, 2 * EPOCH - 1, 3 * EPOCH + 7])
def test_every_way_to_a_period_leads_to_the_same_keys(tmp_path: Path, files: Files, period: int) -> None:
    """In one jump, step by step, and over the edges of epochs."""
    model = Model(b"s" * 64, 300)
    path = secret_file(tmp_path / "keys")
    jumped, walked, hopped = (TicketKeys(path, lifetime=300) for _ in range(3))
    starts = ((jumped, period), (walked, max(1, period - 6)), (hopped, max(1, period - EPOCH - 3)))
    for keys, start in starts:
        context_with(files, keys, start)
    for step in range(max(1, period - 6), period + 1):
        at(walked, step)
        assert walked._advance()
    at(hopped, period)
    assert hopped._advance()
    expected = [model.key(number) for number in (period - 1, period, period + 1)]
    content = b"".join(key.name + key.mac + key.cipher for key in expected)
    for keys, _ in starts:
        assert content in memory(keys)


def test_a_clock_that_goes_back_changes_nothing(files: Files, tmp_path: Path) -> None:
    """The newest period that was reached goes on: what was forgotten cannot be made again."""
    model = Model(b"s" * 64, DAY)
    keys = TicketKeys(secret_file(tmp_path / "keys"), lifetime=DAY)
    context, client = context_with(files, keys), files.client()
    _, session = visit(context, client)
    for period in (NOW - 1, NOW - 500, -5, -(10**6)):
        at(keys, period)
        assert visit(context, client, session)[0]
        assert issued_in(model, context, client, visit(context, client)[1]) == {NOW}
    at(keys, NOW + 1)
    assert visit(context, client, session)[0]


@pytest.mark.parametrize("seconds", [-(1 << 62), -ANCHOR, 1 << 40, 1 << 62])
@pytest.mark.parametrize("lifetime", [300, WEEK])
def test_absurd_clocks_still_serve(files: Files, seconds: int, lifetime: int) -> None:
    keys = TicketKeys(lifetime=lifetime)
    keys._shift(seconds)
    context = TlsContext(files.chain, files.key, tickets=keys)
    context.load()
    client = files.client()
    _, session = visit(context, client)
    assert visit(context, client, session)[0]
    keys._shift(0)
    assert visit(context, client)[0] is False


@both_versions
def test_what_clients_are_told(files: Files, version: ssl.TLSVersion) -> None:
    for keys, lifetime in ((TicketKeys(), 43200), (TicketKeys(lifetime=300), 300), (TicketKeys(lifetime=WEEK), WEEK)):
        _, session = visit(context_with(files, keys), files.client(version))
        assert session.has_ticket
        assert session.ticket_lifetime_hint == lifetime


@both_versions
def test_a_session_ends_a_week_after_its_full_handshake(files: Files, version: ssl.TLSVersion) -> None:
    """However often it was resumed, and its ticket renewed."""
    keys = TicketKeys(lifetime=DAY)
    context, client = context_with(files, keys), files.client(version)
    _, session = visit(context, client)
    for days in (0.5, 1, 2, 3, 4, 5, 6, 6.9):
        at(keys, NOW + days)
        resumed, session = visit(context, client, session)
        assert resumed
    at(keys, NOW + 7.1)
    resumed, session = visit(context, client, session)
    assert not resumed
    at(keys, NOW + 8)
    assert visit(context, client, session)[0]


# -- tickets that are none ---------------------------------------------------------------------------------------------


def is_full_handshake(flight: bytes) -> bool:
    """Whether a server's first flight answers as if no ticket had been offered."""
    assert flight[0] == 22, "no handshake message: an alert?"
    assert flight[5] == 2, "no ServerHello"
    end = 9 + int.from_bytes(flight[6:9], "big")
    hello = flight[9:end]
    at_extensions = 35 + hello[34] + 3
    extensions, here = {}, at_extensions + 2
    while here < len(hello):
        kind, size = int.from_bytes(hello[here : here + 2], "big"), int.from_bytes(hello[here + 2 : here + 4], "big")
        extensions[kind] = hello[here + 4 : here + 4 + size]
        here += 4 + size
    if 43 in extensions:  # supported_versions: TLS 1.3
        return 41 not in extensions  # pre_shared_key
    assert flight[end] == 22 or flight[end] == 20 or flight[end] == 11 or flight[end] == 4
    return b"\x0b\x00" in flight[end : end + 7]  # Certificate follows


@both_versions
def test_a_changed_ticket_is_no_ticket(files: Files, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Each byte of it: the server answers with the first flight of a full handshake, never with an alert."""
    key = Model(b"s" * 64, DAY).key(NOW)
    context = context_with(files, TicketKeys(secret_file(tmp_path / "keys"), lifetime=DAY))
    client = files.client(version)
    _, session = visit(context, client)

    def answer(change: int | None) -> tuple[bool, int]:
        """(whether it is a full handshake, length of the ticket)"""
        connection, peer = connect(context, client, session=session)
        hello = bytearray(peer.reply())
        start = hello.index(key.name)
        if change is not None:
            hello[start + change] ^= 0x10
        peer.sock.send(hello)
        assert connection.handshake() is None
        full = is_full_handshake(peer.raw_bytes())
        connection.close()
        peer.sock.close()
        return full, int.from_bytes(hello[start - 2 : start], "big")

    full, size = answer(None)
    assert not full
    assert size > 150
    assert [at for at in range(size) if not answer(at)[0]] == []


@pytest.fixture
def tool() -> str:
    path = shutil.which("openssl")
    if path is None:
        pytest.skip("needs openssl")
    return path


class Visitor:
    """openssl s_client, with sessions in files."""

    def __init__(self, tool: str, port: int, root: Path, version: str) -> None:
        self.command = [tool, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", f"-{version}"]
        self.command += ["-CAfile", str(root), "-verify_return_error", "-ign_eof"]

    def visit(self, *options: str) -> str:
        """What it says; it asks for / and reads the answer to its end."""
        done = subprocess.run(
            [*self.command, *options],
            input=b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            capture_output=True,
            env=foreign_environment(),
            timeout=60,
        )
        said = done.stdout.decode(errors="replace")
        assert "hello" in said, said + done.stderr.decode(errors="replace")
        return said


def changed(pem: Path, name: bytes, place: int) -> Path:
    """A session file whose ticket has another byte at a place, counted from the ticket's start or, below 0, its end."""
    der = bytearray(ssl.PEM_cert_to_DER_cert(pem.read_text().replace("SSL SESSION PARAMETERS", "CERTIFICATE")))
    start = der.index(name)
    width = der[start - 2] & 0x7F if der[start - 2] & 0x80 else 0  # DER: 81 nn
    size = der[start - 1] if width < 2 else int.from_bytes(der[start - 2 : start], "big")
    der[start + (place if place >= 0 else size + place)] ^= 1
    out = pem.with_suffix(f".{place}")
    out.write_text(ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "SSL SESSION PARAMETERS"))
    return out


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_s_client(files: Files, tmp_path: Path, tool: str, version: str) -> None:
    """Another client than Python's: resumption, no early data, and tickets that were changed, to the end."""
    name = Model(b"s" * 64, DAY).key(NOW).name
    context = context_with(files, TicketKeys(secret_file(tmp_path / "keys"), lifetime=DAY))
    server = web.defserver("127.0.0.1", 0, web.GET("/", lambda req: "hello"))
    server = web.Server(server.app, "127.0.0.1", 0, tls=context)
    with server.running():
        visitor = Visitor(tool, server.port, files.root, version)
        session = tmp_path / "session"
        said = visitor.visit("-sess_out", str(session))
        assert "\nNew, TLSv1." in said
        assert f"TLS session ticket lifetime hint: {DAY} (seconds)" in said
        early = re.findall(r"Max Early Data: (\d+)", said)
        assert set(early) <= {"0"}
        assert early or version == "tls1_2"
        data = tmp_path / "early"
        data.write_bytes(b"GET /early HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = visitor.visit("-sess_in", str(session))
        assert "\nReused, TLSv1." in said
        if version == "tls1_3":
            said = visitor.visit("-sess_in", str(session), "-early_data", str(data))
            assert "Early data was not sent" in said
        for place in (0, 16, 40, -33, -1):  # name, IV, ciphertext, its end, MAC
            assert "\nNew, TLSv1." in visitor.visit("-sess_in", str(changed(session, name, place)))


def test_keys_that_were_not_made_issue_nothing(files: Files) -> None:
    """A context that was not loaded has no keys, and no SSL either."""
    keys = TicketKeys()
    assert keys._advance()
    assert not any(memory(keys)[64:1024])


# -- threads -----------------------------------------------------------------------------------------------------------


@both_versions
def test_threads_share_keys_while_the_clock_runs(files: Files, version: ssl.TLSVersion) -> None:
    """Whatever the clock does, handshakes succeed, and in a period that stands still sessions are resumed."""
    keys = TicketKeys(lifetime=300)
    context = context_with(files, keys)
    failures: list[str] = []
    over = threading.Event()

    def visit_often() -> None:
        try:
            client, session = files.client(version), None
            for _ in range(40):
                session = visit(context, client, session)[1]
        except BaseException as error:  # noqa: BLE001 - it is told below
            failures.append(repr(error))

    def turn_the_clock() -> None:
        period = NOW
        while not over.is_set():
            at(keys, period)
            keys._advance()
            period += 1

    threads = [threading.Thread(target=visit_often) for _ in range(3)]
    clock = threading.Thread(target=turn_the_clock)
    for thread in [*threads, clock]:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    clock.join()
    assert failures == []
    client = files.client(version)
    assert visit(context, client, visit(context, client)[1])[0]


# -- the file that is read again ---------------------------------------------------------------------------------------


def reread(context: TlsContext) -> TlsContext:
    """As Server.reload_certificates() does it."""
    texts = context._read()
    fresh = context._renewed(texts)
    context._renew_tickets(texts)
    return fresh


@both_versions
def test_a_changed_file_issues_and_the_old_one_still_accepts(
    files: Files, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    path = secret_file(tmp_path / "keys", b"a" * 64)
    old, new = Model(b"a" * 64, DAY), Model(b"b" * 64, DAY)
    keys = TicketKeys(path, lifetime=DAY)
    context, client = context_with(files, keys), files.client(version)
    _, session = visit(context, client)
    assert reread(context).tickets is keys
    assert visit(context, client, session)[0]
    path.write_bytes(b"b" * 64)
    fresh = reread(context)
    for one in (context, fresh):
        resumed, renewed = visit(one, client, session)
        assert resumed
        assert issued_in(new, one, client, renewed) == {NOW}
        assert issued_in(old, one, client, renewed) == set()
    at(keys, NOW + 1)
    assert visit(fresh, client, session)[0]
    behind = context_with(files, TicketKeys(secret_file(tmp_path / "behind", b"a" * 64), lifetime=DAY), NOW + 1)
    _, late = visit(behind, client)  # of a machine that did not read the new file yet
    assert visit(fresh, client, late)[0]
    at(keys, NOW + 2)
    assert not visit(fresh, client, session)[0]
    assert visit(fresh, client, late)[0]
    at(keys, NOW + 3)
    assert not visit(fresh, client, late)[0]
    for period in range(NOW, NOW + 6):
        assert old.key(period).cipher not in memory(keys)


def test_old_contents_are_remembered_and_make_room(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    secret_file(path, b"0" * 64)
    keys = TicketKeys(path, lifetime=DAY)
    context, client = context_with(files, keys), files.client()
    sessions = [visit(context, client)[1]]
    for number in range(1, 4):
        path.write_bytes(b"%d" % number * 64)
        reread(context)
        sessions.append(visit(context, client)[1])
    assert [visit(context, client, session)[0] for session in sessions] == [False, True, True, True]
    path.write_bytes(b"1" * 64)  # back to one that is remembered
    reread(context)
    _, again = visit(context, client)
    assert issued_in(Model(b"1" * 64, DAY), context, client, again) == {NOW}
    at(keys, NOW + 3)  # it is not an old one any more
    _, later = visit(context, client)
    assert issued_in(Model(b"1" * 64, DAY), context, client, later) == {NOW + 3}
    assert [visit(context, client, session)[0] for session in [*sessions, again, later]] == [False] * 5 + [True]


def test_random_keys_stay_when_certificates_are_read_again(files: Files) -> None:
    context, client = context_with(files, TicketKeys()), files.client()
    _, session = visit(context, client)
    before = memory(context.tickets)
    fresh = reread(context)
    assert visit(fresh, client, session)[0]
    assert memory(fresh.tickets)[64:] == before[64:]


def test_a_file_that_cannot_be_used_changes_nothing(files: Files, tmp_path: Path) -> None:
    path = secret_file(tmp_path / "keys")
    keys = TicketKeys(path, lifetime=DAY)
    context, client = context_with(files, keys), files.client()
    _, session = visit(context, client)
    path.write_bytes(b"short")
    with pytest.raises(CertificateError, match="32 random bytes or more"):
        reread(context)
    path.chmod(0o640)
    with pytest.raises(CertificateError, match="chmod 600"):
        reread(context)
    path.unlink()
    with pytest.raises(CertificateError, match="cannot be read: No such file"):
        reread(context)
    assert visit(context, client, session)[0]


# -- the file's rules --------------------------------------------------------------------------------------------------


def refusal(files: Files, path: str | Path) -> str:
    context = TlsContext(files.chain, files.key, tickets=TicketKeys(path))
    with pytest.raises(CertificateError) as caught:
        context.load()
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"the ticket key file {str(path)!r} ")
    return said


def test_files_that_are_refused(files: Files, tmp_path: Path) -> None:
    assert refusal(files, tmp_path / "absent").endswith("cannot be read: No such file or directory")
    assert refusal(files, tmp_path).endswith("cannot be read: Is a directory")
    assert "null" in refusal(files, "a\0b")
    path = secret_file(tmp_path / "keys", b"x" * 31)
    assert refusal(files, path).endswith("must hold 32 random bytes or more, at most 1 MiB: openssl rand -out FILE 64")
    path.write_bytes(b"x" * ((1 << 20) + 1))
    assert "at most 1 MiB" in refusal(files, path)
    for size in (32, 1 << 20):
        path.write_bytes(b"x" * size)
        TlsContext(files.chain, files.key, tickets=TicketKeys(path)).load()
    for mode in (0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o644):
        path.chmod(mode)
        said = refusal(files, path)
        assert f"(mode 0{mode:o})" in said
        assert "chmod 600" in said
    for mode in (0o600, 0o400, 0o700):
        path.chmod(mode)
        TlsContext(files.chain, files.key, tickets=TicketKeys(path)).load()


def test_every_byte_of_the_file_counts(files: Files, tmp_path: Path) -> None:
    content = bytearray(range(200)) * 3
    client = files.client()
    path = secret_file(tmp_path / "keys", content)
    _, session = visit(context_with(files, TicketKeys(path, lifetime=DAY)), client)
    for place in (0, 100, 599):
        other = bytearray(content)
        other[place] ^= 1
        path.write_bytes(other)
        assert not visit(context_with(files, TicketKeys(path, lifetime=DAY)), client, session)[0]
    path.write_bytes(content)
    assert visit(context_with(files, TicketKeys(path, lifetime=DAY)), client, session)[0]


# -- the value ---------------------------------------------------------------------------------------------------------


def test_arguments() -> None:
    keys = TicketKeys(Path("tickets.key"), lifetime=3600)
    assert (keys.file, keys.lifetime) == ("tickets.key", 3600)
    assert repr(keys) == "TicketKeys('tickets.key', lifetime=3600)"
    assert repr(TicketKeys()) == "TicketKeys(lifetime=43200)"
    assert TicketKeys(b"name").file == "name"  # type: ignore[arg-type]
    for lifetime in (299, 604801, 0, -1, 1 << 70):
        with pytest.raises(ValueError, match="lifetime must be from 300 to 604800 seconds"):
            TicketKeys(lifetime=lifetime)
    for odd in (None, 3600.0, "3600", True):
        with pytest.raises(TypeError, match="lifetime must be a number of seconds"):
            TicketKeys(lifetime=odd)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        TicketKeys(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        TlsContext("chain", "key", tickets=b"key")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        keys.lifetime = 1  # type: ignore[misc]


def test_keys_are_not_copied(files: Files) -> None:
    keys = context_with(files, TicketKeys()).tickets
    with pytest.raises(TypeError):
        pickle.dumps(keys)
    with pytest.raises(TypeError):
        copy.copy(keys)


# -- what is forgotten -------------------------------------------------------------------------------------------------


def test_only_the_present_is_remembered(files: Files, tmp_path: Path) -> None:
    """Neither the file's content nor the secret, nor anything from which keys of the past follow."""
    content = bytes(range(100, 164))
    model = Model(content, DAY)
    keys = TicketKeys(secret_file(tmp_path / "keys", content), lifetime=DAY)
    context, client = context_with(files, keys), files.client()
    for period in (NOW, NOW + 1, NOW + 2, EPOCH - 1, EPOCH + 3):
        at(keys, period)
        visit(context, client)  # a handshake is enough
        held = memory(keys)
        for number in (period - 1, period, period + 1):
            assert model.key(number).cipher in held
        forgotten = [content, content[:32], model.secret, model.first_epoch, model.epoch(period // EPOCH)]
        for number in (period - 4, period - 3, period - 2):
            key = model.key(number)
            forgotten += [model.state(number), key.name, key.mac, key.cipher]
        forgotten += [model.state(period - 1), model.state(period), model.state(period + 1)]
        assert not [value.hex() for value in forgotten if value in held]
        assert model.state(period + 2) in held
        assert model.epoch((period + 2) // EPOCH + 1) in held


def test_a_load_that_fails_can_be_tried_again(files: Files, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text("nonsense")
    context = TlsContext(chain, files.key, tickets=TicketKeys(secret_file(tmp_path / "keys")))
    with pytest.raises(CertificateError, match="no certificate"):
        context.load()
    shutil.copy(files.chain, chain)
    context.load()
    client = files.client()
    assert visit(context, client, visit(context, client)[1])[0]
