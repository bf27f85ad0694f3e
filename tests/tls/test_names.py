"""Contexts by host name (SNI): which certificate is shown, what is asked, and that no session crosses names."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import web
from tests.tls.authorities import Authority, Pair, client, join
from tests.tls.peer import Peer, ask_in_turns, connect, shake_hands
from tests.tls.test_client_certificates import both, session_of, try_hands
from tests.tls.test_tls_bio import Client
from tests.wire.clients import eventually
from web import Connection, Server, TlsContext, TlsError


@dataclass(frozen=True)
class World:
    folder: Path
    authority: Authority
    pairs: dict[str, Pair]
    alice: Pair

    def context(self, name: str, **options: Any) -> TlsContext:
        return TlsContext(self.pairs[name].chain, self.pairs[name].key, **options)

    def asking(self, version: ssl.TLSVersion | None = None, *, with_certificate: bool = False) -> ssl.SSLContext:
        return client(self.authority, self.alice if with_certificate else None, version)

    def required(self, name: str) -> TlsContext:
        return self.context(name, client_cert="required", client_ca=self.authority.file)


NAMES = {
    "outer": ("localhost", "outer.example"),
    "one": ("one.example",),
    "wild": ("*.wild.example", "exact.wild.example", "a.deep.wild.example"),
    "exact": ("exact.wild.example",),
    "closed": ("closed.example",),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("names")
    authority = Authority(folder)
    pairs = {name: authority.issue(name, *hosts) for name, hosts in NAMES.items()}
    return World(folder, authority, pairs, authority.issue("alice"))


@pytest.fixture(scope="module")
def outer(world: World) -> TlsContext:
    names = {
        "one.example": world.context("one"),
        "*.wild.example": world.context("wild"),
        "Exact.Wild.Example": world.context("exact"),
        "closed.example": world.required("closed"),
    }
    return world.context("outer", names=names)


def shown_to(context: TlsContext, asking: ssl.SSLContext, name: str | None) -> str:
    """The common name of the certificate that a client gets to see."""
    asking.check_hostname = False
    connection, peer = connect(context, asking, name)
    shake_hands(connection, peer)
    found = peer.tls.getpeercert()
    assert found
    subject: Any = found["subject"]
    return str(subject[0][0][1])


@both
def test_the_certificate_of_the_name(world: World, outer: TlsContext, version: ssl.TLSVersion) -> None:
    expected = {
        "one.example": "one",
        "ONE.example": "one",
        "two.example": "outer",
        "x.wild.example": "wild",
        "exact.wild.example": "exact",
        "wild.example": "outer",
        "a.deep.wild.example": "outer",  # a star is one label (RFC 9525, 6.3)
        "closed.example": "closed",
        "localhost": "outer",
        "one.example.other": "outer",
        "x.one.example": "outer",
        "one.exampl": "outer",
    }
    for name, shown in expected.items():
        assert shown_to(outer, world.asking(version, with_certificate=True), name) == shown, name
    assert shown_to(outer, world.asking(version, with_certificate=True), None) == "outer"


def test_no_names_at_all(world: World) -> None:
    assert shown_to(world.context("outer"), world.asking(), "one.example") == "outer"


@both
def test_rsa_beside_ecdsa(world: World, version: ssl.TLSVersion) -> None:
    """The kind of key that the client can check."""
    rsa = world.authority.issue("outer-rsa", "localhost", kind="RSA")
    context = world.context("outer", also=[(rsa.chain, rsa.key)])
    assert shown_to(context, world.asking(version), "localhost") == "outer"
    if version == ssl.TLSVersion.TLSv1_2:
        only_rsa = client(world.authority, None, version, ciphers="ECDHE-RSA-AES128-GCM-SHA256")
        assert shown_to(context, only_rsa, "localhost") == "outer-rsa"
    assert [one.subject for one in context.certificates] == ["CN=outer", "CN=outer-rsa"]


def test_two_of_one_kind_are_told(world: World) -> None:
    context = world.context("outer", also=[(world.pairs["one"].chain, world.pairs["one"].key)])
    with pytest.raises(web.CertificateError, match="is of the same kind as another one here"):
        context.load()
    with pytest.raises(TypeError, match="also: pairs are needed"):
        world.context("outer", also=["cert.pem"])


# -- unknown names -----------------------------------------------------------------------------------------------------


@both
def test_unknown_names_are_refused(world: World, version: ssl.TLSVersion) -> None:
    context = world.context("outer", names={"one.example": world.context("one")}, unknown_names="refuse")
    for name, shown in (("one.example", "one"), ("outer.example", "outer"), ("LOCALHOST", "outer"), (None, "outer")):
        assert shown_to(context, world.asking(version), name) == shown
    for name in ("two.example", "x.one.example", "example"):
        connection, peer = connect(context, world.asking(version), name)
        refused, alert = try_hands(connection, peer)
        assert refused
        assert alert == "TLSV1_UNRECOGNIZED_NAME"
        assert connection.server_name is None


@both
def test_a_name_comes_before_the_outer_certificates_own(world: World, version: ssl.TLSVersion) -> None:
    """exact.wild.example stands in the outer certificate, too: it must not open what names= closes with a star."""
    names = {"*.wild.example": world.required("wild")}
    for unknown in ("serve", "refuse"):
        context = world.context("exact", names=names, unknown_names=unknown)
        connection, peer = connect(context, world.asking(version), "exact.wild.example")
        assert "has shown no certificate" in try_hands(connection, peer)[0]


def test_unknown_names_are_counted(world: World) -> None:
    context = world.context("outer", unknown_names="refuse")
    with Server(web.App(), "127.0.0.1", 0, tls=context).running() as server:
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            say(server, world.asking(), "two.example", "two.example")
        eventually(lambda: server.stats()["handshakes_failed"]["name"] == 1)


# -- what is asked of clients ------------------------------------------------------------------------------------------


@both
def test_a_name_asks_what_its_context_says(world: World, outer: TlsContext, version: ssl.TLSVersion) -> None:
    for name, with_certificate, gets_in, told in (
        ("closed.example", False, False, False),
        ("closed.example", True, True, True),
        ("one.example", False, True, False),
        ("one.example", True, True, False),  # it is not asked for it
        ("localhost", True, True, False),
    ):
        connection, peer = connect(outer, world.asking(version, with_certificate=with_certificate), name)
        refused, _ = try_hands(connection, peer)
        assert bool(refused) != gets_in, name
        assert (connection.peer_certificate is not None) == told


@both
def test_an_outer_context_asks_and_a_name_does_not(world: World, version: ssl.TLSVersion) -> None:
    """Neither more nor less than the name's own rules, flags of the first context included."""
    crl = join(world.folder, "crl.pem", [world.authority.revocations(world.alice)])
    context = world.context(
        "outer",
        client_cert="required",
        client_ca=world.authority.file,
        client_crl=crl,
        client_depth=0,
        names={"one.example": world.context("one"), "closed.example": world.required("closed")},
    )
    for name, gets_in in (("localhost", False), ("one.example", True), ("closed.example", True)):
        connection, peer = connect(context, world.asking(version, with_certificate=True), name)
        assert (try_hands(connection, peer)[0] == "") == gets_in, name
    connection, peer = connect(context, world.asking(version), "localhost")
    assert try_hands(connection, peer)[0]
    connection, peer = connect(context, world.asking(version), "one.example")
    assert try_hands(connection, peer) == ("", "")


@both
@pytest.mark.parametrize("first", ["localhost", "one.example", "closed.example", "exact.wild.example"])
@pytest.mark.parametrize("second", ["localhost", "one.example", "closed.example", "exact.wild.example"])
def test_sessions_do_not_cross_names(
    world: World, outer: TlsContext, version: ssl.TLSVersion, first: str, second: str
) -> None:
    """CVE-2025-23419 and its like: a session of one name is nothing in another."""
    asking = world.asking(version, with_certificate=True)
    session = session_of(outer, asking, first)
    asking.check_hostname = False
    connection, peer = connect(outer, asking, second, session)
    assert try_hands(connection, peer) == ("", "")
    assert connection.resumed == (first == second)
    assert (connection.peer_certificate is not None) == (second == "closed.example")


@both
def test_a_session_without_a_certificate_opens_no_closed_name(
    world: World, outer: TlsContext, version: ssl.TLSVersion
) -> None:
    asking = world.asking(version)
    for name in ("localhost", "one.example"):
        session = session_of(outer, asking, name)
        connection, peer = connect(outer, asking, "closed.example", session)
        refused, _ = try_hands(connection, peer)
        assert "has shown no certificate" in refused


@both
def test_a_wildcards_names_do_not_share_sessions(world: World, outer: TlsContext, version: ssl.TLSVersion) -> None:
    """RFC 6066, 3: no session for another name, though site and rules are the same."""
    asking = world.asking(version)
    session = session_of(outer, asking, "a.wild.example")
    connection, peer = connect(outer, asking, "b.wild.example", session)
    assert try_hands(connection, peer) == ("", "")
    assert not connection.resumed
    connection, peer = connect(outer, asking, "a.wild.example", session)
    assert try_hands(connection, peer) == ("", "")
    assert connection.resumed


# -- a name in the handshake, another one in the request ---------------------------------------------------------------


def say(server: Server, asking: ssl.SSLContext, name: str, host: str) -> int:
    """The status of GET / for a host, on a connection that asked for a name."""
    asking.check_hostname = False
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
        connection = http.client.HTTPConnection(name)
        connection.sock = asking.wrap_socket(plain, server_hostname=name)
        with connection.sock:
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().status


@pytest.fixture(scope="module")
def served(outer: TlsContext) -> Iterator[tuple[Server, list[str]]]:
    hosts: list[str] = []

    def handler(req: web.Request) -> str:
        hosts.append(req.host)
        return "in"

    with Server(web.App(web.GET("/", handler)), "127.0.0.1", 0, tls=outer).running() as server:
        yield server, hosts


@both
def test_a_request_for_a_closed_name_on_another_names_connection(
    world: World, served: tuple[Server, list[str]], version: ssl.TLSVersion
) -> None:
    """421 (RFC 9110, 15.5.20), and no handler: else the name in the handshake would say who may ask for which host."""
    server, hosts = served
    asking = world.asking(version, with_certificate=True)
    for name, host, status in (
        ("one.example", "closed.example", 421),
        ("one.example", "CLOSED.example.:443", 421),
        ("localhost", "closed.example", 421),
        ("closed.example", "one.example", 421),
        ("closed.example", "closed.example", 200),
        ("closed.example", f"Closed.Example:{server.port}", 200),
        ("one.example", "localhost", 200),  # both ask nothing
        ("one.example", "elsewhere.example", 200),
    ):
        hosts.clear()
        assert say(server, asking, name, host) == status, (name, host)
        assert len(hosts) == (status == 200)


def test_names_of_an_adopted_connection_count_too(world: World, outer: TlsContext) -> None:
    server = Server(web.App(web.GET("/", lambda req: "in")), "127.0.0.1", 0)
    server.open()
    ours, theirs = socket.socketpair()
    try:
        server.adopt(ours, outer)
        asking = world.asking()
        asking.check_hostname = False
        peer = Peer(asking, theirs, "one.example")
        assert ask_in_turns(server, peer, "closed.example").startswith(b"HTTP/1.1 421 ")
    finally:
        server.close()


# -- two ClientHellos --------------------------------------------------------------------------------------------------


def test_the_second_client_hello_must_ask_for_the_same_name(world: World, outer: TlsContext) -> None:
    """RFC 8446, 4.1.2. Who could change the name in between might be shown one site and be judged by another."""
    cases = (
        (b"one.example", b"one.example", None),
        (b"one.example", b"two.example", 47),
        (b"one.example", b"localhost\0\0", 112),
        (b"a.wild.example", b"b.wild.example", 47),  # the same site, and yet
    )
    for asked, name, alert in cases:
        ours, middle = socket.socketpair()
        beyond, theirs = socket.socketpair()
        connection, peer = Connection.tls(ours, outer), Client(theirs)
        with middle, beyond:
            peer.ask_for(asked.decode(), groups="P-521:X25519")
            peer.lib.SSL_connect(peer.ssl)
            middle.sendall(beyond.recv(1 << 16))
            assert connection.handshake() is None
            beyond.sendall(middle.recv(1 << 16))  # HelloRetryRequest
            peer.lib.SSL_connect(peer.ssl)
            hello = beyond.recv(1 << 16)
            assert hello.count(asked) == 1
            middle.sendall(hello.replace(asked, name))
            if alert is None:
                assert connection.handshake() is None
                assert connection.wants == "read"
            else:
                with pytest.raises(TlsError):
                    connection.handshake()
                assert middle.recv(1 << 16).endswith(bytes([2, alert]))  # fatal
        peer.close()
        connection.close()


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "names: a mapping is needed"),
        ({"": TlsContext("a", "b")}, "'' is no host name"),
        ({"*": TlsContext("a", "b")}, "'\\*' is no host name"),
        ({"a.*.b": TlsContext("a", "b")}, "is no host name"),
        ({"*.*.b": TlsContext("a", "b")}, "is no host name"),
        ({"a..b": TlsContext("a", "b")}, "is no host name"),
        ({"a.b.": TlsContext("a", "b")}, "is no host name"),
        ({"bücher.example": TlsContext("a", "b")}, "as IDNA writes them"),
        ({"a b": TlsContext("a", "b")}, "is no host name"),
        ({"a:443": TlsContext("a", "b")}, "is no host name"),
        ({1: TlsContext("a", "b")}, "1 is no host name"),
        ({"a.example": "cert.pem"}, r"names\['a.example'\]: a TlsContext is needed, not str"),
        ({"a.example": TlsContext("a", "b", names={"c": TlsContext("c", "d")})}, "are the outer context's"),
        ({"a.example": TlsContext("a", "b", unknown_names="refuse")}, "are the outer context's"),
        ({"a.example": TlsContext("a", "b", policy="modern")}, "must be those of the outer context"),
        ({"a.example": TlsContext("a", "b"), "A.example": TlsContext("a", "b")}, "stands there twice"),
    ],
)
def test_names_that_cannot_be(names: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        TlsContext("cert.pem", "key.pem", names=names)


def test_a_file_of_a_name_that_cannot_be_used(world: World) -> None:
    broken = TlsContext(world.pairs["one"].chain, world.pairs["exact"].key)
    context = world.context("outer", names={"one.example": broken, "exact.example": world.context("exact")})
    for _ in range(2):
        with pytest.raises(web.CertificateError, match="does not match"):
            context.load()
        assert context.certificates == ()


def test_names_that_are_changed_later_change_nothing(world: World) -> None:
    names = {"closed.example": world.required("closed")}
    context = world.context("outer", names=names)
    context.load()
    names.clear()
    fresh = context._renewed(context._read())
    connection, peer = connect(fresh, world.asking(), "closed.example")
    assert "has shown no certificate" in try_hands(connection, peer)[0]


def test_threads_that_load_it_get_the_same(world: World) -> None:
    """Connections point into what was made: it must not be made twice."""
    context = world.context("outer", names={"one.example": world.context("one")})
    found: list[tuple[int, ...]] = []

    def load() -> None:
        context.load()
        found.append(tuple(map(id, context.certificates)))

    threads = [threading.Thread(target=load) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_what_it_is_made_of(world: World, outer: TlsContext) -> None:
    outer.load()
    subjects = [one.subject for one in outer.certificates]
    assert subjects == ["CN=outer", "CN=one", "CN=wild", "CN=exact", "CN=closed"]
    assert outer.files[:2] == (str(world.pairs["outer"].chain), str(world.pairs["outer"].key))
    assert len(outer.files) == 2 * len(NAMES) + 1
    assert set(outer.names) == {"one.example", "*.wild.example", "exact.wild.example", "closed.example"}
    with pytest.raises(TypeError):
        outer.names["x"] = outer  # type: ignore[index]


def test_one_value_for_several_names(world: World) -> None:
    """It stays a value, and may listen by itself elsewhere."""
    inner = world.context("wild")
    context = world.context("outer", names={"exact.wild.example": inner, "a.deep.wild.example": inner})
    for name in context.names:
        assert shown_to(context, world.asking(), name) == "wild"
    assert inner.certificates == ()
    assert len(context.certificates) == 2


@both
def test_modern(world: World, version: ssl.TLSVersion) -> None:
    connection, peer = connect(world.context("outer", policy="modern"), world.asking(version))
    refused, _ = try_hands(connection, peer)
    assert bool(refused) == (version == ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ValueError, match="policy='old': give one of 'intermediate', 'modern'"):
        world.context("outer", policy="old")
