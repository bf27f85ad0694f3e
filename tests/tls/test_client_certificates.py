"""Certificates of clients: nobody gets in without the one that is asked for; the alerts; what is told of one."""

import contextlib
import datetime as dt
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import web
from tests.serving import foreign_environment
from tests.tls.authorities import Authority, KeyUsage, Pair, client, join
from tests.tls.peer import STEPS, Peer, ask_in_turns, connect, shake_hands
from tests.wire.clients import eventually
from web import Tls, TlsContext, TlsError

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
both = pytest.mark.parametrize("version", VERSIONS)


@dataclass(frozen=True)
class World:
    """A server's pair, authorities, and what clients may come with."""

    folder: Path
    authority: Authority
    stranger: Authority
    middle: Authority  # signed by the authority
    server: Pair
    clients: dict[str, Pair | None]

    def context(self, mode: Any = "required", **options: Any) -> TlsContext:
        options.setdefault("client_ca", self.authority.file)
        return TlsContext(self.server.chain, self.server.key, client_cert=mode, **options)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("clients")
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    middle = Authority(folder, "middle", authority)
    clients = {
        "none": None,
        "good": authority.issue("alice", usage=KeyUsage.CLIENT_AUTH),
        "under": middle.issue("under", usage=KeyUsage.CLIENT_AUTH),
        "any use": authority.issue("anyuse"),
        "stranger": stranger.issue("mallory"),
        "expired": authority.issue("old", begins=-9, days=-1),
        "early": authority.issue("early", begins=1),
        "wrong use": authority.issue("site", usage=KeyUsage.SERVER_AUTH),
    }
    return World(
        folder, authority, stranger, middle, authority.issue("server", "localhost", "other.localhost"), clients
    )


def try_hands(connection: Tls, peer: Peer) -> tuple[str, str]:
    """Both ends go as far as they come: what the server raised, and what the client did ("": nothing)."""
    refused = alert = ""
    for _ in range(STEPS):
        try:
            done = connection.handshake()
        except TlsError as error:
            refused = str(error)
            break
        try:
            if peer.handshake() and done:
                break
        except ssl.SSLError as error:
            alert = error.reason
    with contextlib.suppress(ssl.SSLWantReadError):
        try:
            peer.read()
        except ssl.SSLError as error:
            alert = alert or error.reason
    return refused, alert


ALERTS = {
    "none": ("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
    "stranger": ("TLSV1_ALERT_UNKNOWN_CA",) * 2,
    "expired": ("SSLV3_ALERT_CERTIFICATE_EXPIRED",) * 2,
    "early": ("SSLV3_ALERT_BAD_CERTIFICATE",) * 2,
    "wrong use": ("SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",) * 2,
}


@both
@pytest.mark.parametrize("mode", ["none", "optional", "required"])
@pytest.mark.parametrize("who", ["none", "good", "under", "any use", "stranger", "expired", "early", "wrong use"])
def test_who_gets_in(world: World, version: ssl.TLSVersion, mode: str, who: str) -> None:
    context = world.context(mode) if mode != "none" else TlsContext(world.server.chain, world.server.key)
    shown = world.clients[who]
    connection, peer = connect(context, client(world.authority, shown, version))
    refused, alert = try_hands(connection, peer)
    if mode == "none" or (who == "none" and mode == "optional"):
        assert (refused, connection.peer_certificate) == ("", None)
    elif who in ALERTS:
        assert refused
        assert alert == ALERTS[who][VERSIONS.index(version)]
        assert connection.peer_certificate is None
        assert connection.version is None  # nothing is told of a connection that is not one
        with pytest.raises(ValueError, match="the handshake is not finished"):
            connection.recv(1)
    else:
        assert refused == ""
        assert shown is not None
        assert connection.peer_certificate is not None
        assert connection.peer_certificate.subject == f"CN={shown.chain.stem.removesuffix('-EC')}"


@both
def test_why_is_told(world: World, version: ssl.TLSVersion) -> None:
    said = {
        "none": "the peer has shown no certificate, which is required here",
        "expired": "the client's certificate is refused: certificate has expired",
        "stranger": "the client's certificate is refused: unable to get local issuer certificate",
    }
    for who, words in said.items():
        connection, peer = connect(world.context(), client(world.authority, world.clients[who], version))
        assert words in try_hands(connection, peer)[0]


# -- revocation, depth, trust ------------------------------------------------------------------------------------------


@both
def test_revoked(world: World, version: ssl.TLSVersion) -> None:
    authority, (good, other) = world.authority, (world.clients["good"], world.clients["any use"])
    assert good
    assert other
    crl = join(world.folder, "crl.pem", [authority.revocations(good)])
    for who, reason in ((good, "SSLV3_ALERT_CERTIFICATE_REVOKED"), (other, "")):
        connection, peer = connect(world.context(client_crl=crl), client(authority, who, version))
        assert try_hands(connection, peer)[1] == reason


def test_an_authority_without_a_list_lets_nobody_in(world: World) -> None:
    """A list of the root alone says nothing of those whom the intermediate authority signed."""
    crl = join(world.folder, "root-crl.pem", [world.authority.revocations()])
    connection, peer = connect(world.context(client_crl=crl), client(world.authority, world.clients["under"]))
    assert "unable to get certificate CRL" in try_hands(connection, peer)[0]


@pytest.mark.parametrize("revoked", [False, True])
def test_a_revoked_authority_in_between(world: World, revoked: bool) -> None:
    """What it signed goes with it, though its own list is in order."""
    middle = world.middle
    lists = world.authority.revocations(*([middle] if revoked else [])), middle.revocations()
    crl = join(world.folder, "chain-crl.pem", lists)
    connection, peer = connect(world.context(client_crl=crl), client(world.authority, world.clients["under"]))
    refused, alert = try_hands(connection, peer)
    assert ("certificate revoked" in refused) == revoked
    assert alert == ("SSLV3_ALERT_CERTIFICATE_REVOKED" if revoked else "")


def test_a_list_out_of_date(world: World) -> None:
    crl = join(world.folder, "old-crl.pem", [world.authority.revocations(days=-1)])
    with pytest.raises(web.CertificateError, match=r"list 1 in .*old-crl.pem' is out of date: no client"):
        world.context(client_crl=crl).load()
    context = world.context(client_crl=crl, allow_expired=True)
    connection, peer = connect(context, client(world.authority, world.clients["good"]))
    assert "CRL has expired" in try_hands(connection, peer)[0]


@pytest.mark.parametrize("depth", [0, 1])
def test_depth(world: World, depth: int) -> None:
    for who, most in (("good", 0), ("under", 1)):
        connection, peer = connect(world.context(client_depth=depth), client(world.authority, world.clients[who]))
        assert bool(try_hands(connection, peer)[0]) == (depth < most)


def test_an_intermediate_authority_can_be_trusted_alone(world: World) -> None:
    context = world.context(client_ca=world.folder / "middle.pem")
    connection, peer = connect(context, client(world.authority, world.clients["under"]))
    assert try_hands(connection, peer) == ("", "")
    connection, peer = connect(context, client(world.authority, world.clients["good"]))
    assert "self-signed certificate in certificate chain" in try_hands(connection, peer)[0]


@both
def test_after_a_list_ended_no_session_is_resumed(world: World, version: ssl.TLSVersion) -> None:
    """Else who was revoked meanwhile would come in for as long as his tickets are good."""
    days = 2.5 / 86400
    crl = join(world.folder, "brief-crl.pem", [world.authority.revocations(days=days)])
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    context, asking = world.context(client_crl=crl), client(world.authority, world.clients["good"], version)
    session = session_of(context, asking)
    eventually(lambda: dt.datetime.now(dt.UTC) > ends + dt.timedelta(seconds=1))
    connection, peer = connect(context, asking, session=session)
    assert "CRL has expired" in try_hands(connection, peer)[0]


def test_a_list_needs_all_authorities(world: World) -> None:
    crl = join(world.folder, "middle-crl.pem", [world.middle.revocations()])
    with pytest.raises(web.CertificateError, match="'CN=authority', which signed 'CN=middle', is missing"):
        world.context(client_ca=world.middle.file, client_crl=crl).load()


# -- the application's check -------------------------------------------------------------------------------------------


def answer_of(value: Any) -> Callable[[web.Certificate], Any]:
    def check(certificate: web.Certificate) -> Any:
        if isinstance(value, type):
            raise value
        return value

    return check


@both
@pytest.mark.parametrize("mode", ["optional", "required"])
@pytest.mark.parametrize("answer", [True, False, None, 1, "yes", ValueError, KeyboardInterrupt])
def test_check(world: World, version: ssl.TLSVersion, mode: str, answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Only True is yes. It is not asked about certificates that are refused anyway, nor where none is shown."""
    connection, peer = connect(
        world.context(mode, client_check=answer_of(answer)), client(world.authority, world.clients["good"], version)
    )
    refused, alert = try_hands(connection, peer)
    if answer is True:
        assert (refused, alert) == ("", "")
        assert connection.peer_certificate
    else:
        assert "the client's certificate is refused: certificate rejected" in refused
        assert alert == "SSLV3_ALERT_BAD_CERTIFICATE"
    assert ("client_check= failed" in caplog.text) == isinstance(answer, type)
    connection.close()  # the record keeps the frames of the failure


def test_a_check_takes_nobody_into_service(world: World) -> None:
    """To make room a connection might be ended: the very one whose handshake runs."""
    said: list[str] = []
    theirs: list[socket.socket] = []

    def check(certificate: web.Certificate) -> bool:
        ours, beyond = socket.socketpair()
        theirs.append(beyond)
        try:
            server.adopt(ours)
        except RuntimeError as error:
            said.append(str(error))
            ours.close()
        return True

    app = web.App(web.GET("/", lambda req: "in"))
    server = web.Server(app, "127.0.0.1", 0, limits=web.Limits(handshakes=1))
    ours, beyond = socket.socketpair()
    try:
        server.adopt(ours, world.context(client_check=check))
        peer = Peer(client(world.authority, world.clients["good"]), beyond)
        assert ask_in_turns(server, peer).startswith(b"HTTP/1.1 200 ")
        assert said == ["not from client_check=: a handshake is under way"]
    finally:
        server.close()
        for sock in theirs:
            sock.close()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_in_a_check_ends_it(world: World, kind: type[BaseException]) -> None:
    server = web.Server(web.App(), "127.0.0.1", 0)
    ours, beyond = socket.socketpair()
    try:
        server.adopt(ours, world.context(client_check=answer_of(kind)))
        peer = Peer(client(world.authority, world.clients["good"], ssl.TLSVersion.TLSv1_2), beyond)
        with pytest.raises(kind):
            turn_until_it_raises(server, peer)
    finally:
        server.close()


def turn_until_it_raises(server: web.Server, peer: Peer) -> None:
    for _ in range(STEPS):
        with contextlib.suppress(ssl.SSLError):
            peer.handshake()
        server.run_once(0)


def test_check_sees_verified_certificates_only(world: World) -> None:
    seen: list[str] = []

    def check(certificate: web.Certificate) -> bool:
        seen.append(certificate.subject)
        return True

    context = world.context("optional", client_check=check)
    for who in world.clients:
        connection, peer = connect(context, client(world.authority, world.clients[who]))
        try_hands(connection, peer)
    assert seen == ["CN=alice", "CN=under", "CN=anyuse"]


# -- sessions ----------------------------------------------------------------------------------------------------------


def session_of(context: TlsContext, asking: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSession:
    connection, peer = connect(context, asking, name)
    shake_hands(connection, peer)
    connection.send(b"x")  # the ticket comes with the first answer
    assert peer.read() == b"x"
    assert peer.tls.session is not None
    return peer.tls.session


@both
def test_a_resumed_session_brings_its_certificate(world: World, version: ssl.TLSVersion) -> None:
    context, asking = world.context(), client(world.authority, world.clients["good"], version)
    connection, peer = connect(context, asking, session=session_of(context, asking))
    shake_hands(connection, peer)
    assert connection.resumed
    assert connection.peer_certificate
    assert connection.peer_certificate.subject == "CN=alice"


@both
def test_who_does_not_pass_any_more_is_not_resumed(world: World, version: ssl.TLSVersion) -> None:
    welcome = True
    asked: list[str] = []

    def check(certificate: web.Certificate) -> bool:
        asked.append(certificate.subject)
        return welcome

    context, asking = world.context(client_check=check), client(world.authority, world.clients["good"], version)
    session = session_of(context, asking)
    connection, peer = connect(context, asking, session=session)
    shake_hands(connection, peer)
    assert connection.resumed
    assert len(asked) >= 2
    welcome = False
    connection, peer = connect(context, asking, session=session)
    refused, alert = try_hands(connection, peer)
    assert "certificate rejected" in refused
    assert alert == "SSLV3_ALERT_BAD_CERTIFICATE"


@both
@pytest.mark.parametrize("what", ["client_ca", "client_crl", "nothing"])
def test_what_is_asked_changes_and_sessions_end(world: World, version: ssl.TLSVersion, what: str) -> None:
    """The context after a reload, with the old one's ticket keys: a new hash ends the sessions."""
    crl = join(world.folder, "live-crl.pem", [world.authority.revocations()])
    authorities = join(world.folder, "live-ca.pem", [world.authority.file.read_bytes()])
    context = world.context(client_ca=authorities, client_crl=crl)
    asking = client(world.authority, world.clients["good"], version)
    session = session_of(context, asking)
    if what == "client_ca":
        join(world.folder, "live-ca.pem", [world.authority.file.read_bytes(), world.stranger.file.read_bytes()])
    elif what == "client_crl":
        expired = world.clients["expired"]
        assert expired
        join(world.folder, "live-crl.pem", [world.authority.revocations(expired)])
    connection, peer = connect(context._renewed(context._read()), asking, session=session)
    shake_hands(connection, peer)
    assert connection.resumed == (what == "nothing")
    assert connection.peer_certificate


@both
def test_a_certificate_that_ended_meanwhile_is_not_resumed(
    world: World, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    seconds = 1.5 / 86400
    brief = world.authority.issue("brief", days=seconds)
    context, asking = world.context(), client(world.authority, brief, version)
    session = session_of(context, asking)
    eventually(lambda: dt.datetime.now(dt.UTC) > brief.certificate.not_valid_after_utc + dt.timedelta(seconds=1))
    connection, peer = connect(context, asking, session=session)
    refused, alert = try_hands(connection, peer)
    assert "certificate has expired" in refused
    assert alert == "SSLV3_ALERT_CERTIFICATE_EXPIRED"


# -- options -----------------------------------------------------------------------------------------------------------


async def later(certificate: web.Certificate) -> bool:
    return True


def test_options_that_do_not_go_together() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"client_cert": "always"}, "client_cert='always': give one of 'none', 'optional', 'required'"),
        ({"client_cert": "required"}, "needs client_ca="),
        ({"client_ca": "ca.pem"}, "go with client_cert="),
        ({"client_crl": "crl.pem"}, "go with client_cert="),
        ({"client_check": bool}, "go with client_cert="),
        ({"client_cert": "optional", "client_ca": "ca.pem", "client_depth": -1}, "client_depth=-1: give 0 to 100"),
        ({"client_cert": "optional", "client_ca": "ca.pem", "client_check": 1}, "client_check: a function"),
        ({"client_cert": "optional", "client_ca": "ca.pem", "client_check": later}, "client_check: a plain function"),
    ]
    for options, said in wrong:
        with pytest.raises((ValueError, TypeError), match=said):
            TlsContext("cert.pem", "key.pem", **options)


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("client_ca", b"", "the authorities' file '.*' is empty"),
        ("client_ca", b"nonsense", "there is no certificate in"),
        ("client_crl", b"nonsense", "there is no revocation list in"),
        (
            "client_crl",
            b"-----BEGIN X509 CRL-----\n!!!!\n-----END X509 CRL-----\n",
            "revocation list 1 in .* cannot be",
        ),
        (
            "client_ca",
            b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
            "certificate 1 in .* cannot be",
        ),
    ],
)
def test_files_without_what_they_should_hold(world: World, option: str, text: bytes, said: str) -> None:
    path = join(world.folder, "wrong.pem", [text])
    with pytest.raises(web.CertificateError, match=said):
        world.context(**{option: path}).load()
    with pytest.raises(web.CertificateError, match="cannot be read: No such file"):
        world.context(**{option: world.folder / "absent.pem"}).load()


def test_clients_are_told_whom_the_server_trusts(world: World) -> None:
    """certificate_authorities (RFC 8446, 4.2.4): a client picks what to show by it."""
    with web.Server(web.App(), "127.0.0.1", 0, tls=world.context()).running() as server:
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "localhost"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=foreign_environment(), check=False,
        )  # fmt: skip
    assert b"Acceptable client certificate CA names" in done.stdout
    assert b"CN = authority" in done.stdout
