"""What is done while one call fails: scenarios, each with a clean run and a check of what must hold after any run.

A scenario is prepared once in a process. run(case) arms the fault (none: a clean run), does the thing, and returns a
Result: what was wrong, whether it was done all the same. What must hold after every run: nothing hangs, no fd, no object
of OpenSSL and no error in its queue is left, and the same thing then works without a fault.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import web
from tests.tls.faults.agent import Agent
from tests.tls.faults.client import MARKER, Client, Script, stable
from tests.tls.faults.table import Failure
from web import _core

PATIENCE = 8.0  # seconds; whatever lasts longer hangs
LIMITS = web.Limits(
    handshake_timeout=0.3,
    head_timeout=0.3,
    idle_timeout=0.3,
    linger_timeout=0.3,
    shutdown_grace=0.3,
    body_grace=0.2,
    response_grace=0.2,
    response_min_rate=1 << 20,
    body_min_rate=1 << 20,
    body=1 << 22,
)
LARGE = MARKER * 25_000
ENDS = ("0, ZERO_RETURN", "returns 6")  # what says that the peer ended in good order
KTLS_YES = Failure("says yes", 1, False)


@dataclass(frozen=True)
class Case:
    """The nth call of a function, or of a callback, fails."""

    target: str
    nth: int
    failure: Failure

    def __str__(self) -> str:
        return f"{self.target} #{self.nth}: {self.failure.mode}"


@dataclass
class Result:
    problems: list[str] = field(default_factory=list)
    done: bool = False  # all was done, as without a fault
    hit: bool = False


def open_fds() -> set[str]:
    """Descriptors and what they are, without the one of the listing. A listener may have been opened anew."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(f"{fd}: {os.readlink(f'/proc/self/fd/{fd}').partition('[')[0]}")
    return found


class Scenario:
    """Checks what must hold before and after `act`, which a scenario adds."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        self.agent = agent
        self.folder = folder
        self.case: Case | None = None
        self.problems: list[str] = []
        self.calls: dict[str, int] = {}  # of the last run, up to where faults were armed

    def act(self) -> bool:
        """Does the thing; whether it was done as without a fault. What is wrong goes to `problems`."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives up what the scenario holds."""

    def run(self, case: Case | None) -> Result:
        agent = self.agent
        self.case, self.problems, self.calls = case, [], {}
        gc.collect()
        fds, live = open_fds(), agent.live()
        agent.reset()
        agent.clear_queue()
        if case is not None:
            agent.arm(case.target, case.nth, case.failure)
        done = self.act()
        self.disarm()
        hit = case is not None and agent.hits() > 0
        if agent.queued():
            self.problems.append(f"an error is left in OpenSSL's queue ({agent.queued():x})")
        if late := agent.late_call():
            self.problems.append(f"{late} was called on a connection that is broken")
        if agent.live() != live or open_fds() != fds:
            gc.collect()
        if agent.live() != live:
            self.problems.append(f"objects: {live} before, {agent.live()} after")
        if (after := open_fds()) != fds:
            self.problems.append(f"descriptors: {sorted(after - fds)} more, {sorted(fds - after)} less")
        return Result(self.problems, done, hit)

    def clean(self) -> Result:
        """A run without a fault; again where it failed, because a machine may be slow and deadlines are short."""
        for _ in range(3):
            result = self.run(None)
            if result.done and not result.problems:
                break
        return result

    def disarm(self) -> None:
        """What is under test is done; what follows only looks at it."""
        if not self.calls:
            self.calls = self.agent.calls()
            self.agent.disarm()

    def must_not_be(self, what: str) -> None:
        """Called where something is given out: a failure that closes must not come before that."""
        if self.case is not None and self.case.failure.closed and self.agent.hits():
            self.problems.append(f"{what} after {self.case}")


class Serving(Scenario):
    """One connection to a whole Server, whose loop is turned here: nothing runs beside."""

    def __init__(
        self,
        agent: Agent,
        folder: Path,
        script: Script,
        version: ssl.TLSVersion,
        *,
        resumed: bool = False,
        ktls: bool = False,
        sendfile: bool = False,
        drains: bool = False,
    ) -> None:
        super().__init__(agent, folder)
        self.script, self.ktls, self.sendfile, self.drains = script, ktls, sendfile, drains
        self.session: ssl.SSLSession | None = None
        self.trusting = ssl.create_default_context(cafile=folder / "root.pem")
        self.trusting.minimum_version = self.trusting.maximum_version = version
        self.trusting.set_alpn_protocols(["http/1.1"])
        (folder / "file.bin").write_bytes(LARGE)
        app = web.App(
            web.GET("/small", self.handler(lambda req: b"small " + MARKER)),
            web.GET("/large", self.handler(lambda req: LARGE)),
            web.GET("/file", self.handler(lambda req: web.Response.file(folder / "file.bin"))),
            web.POST("/upload", self.handler(lambda req: b"%d %b" % (len(req.body), MARKER))),
        )
        self.context = web.TlsContext(folder / "chain.pem", folder / "key.pem", ktls=ktls)
        self.server = web.Server(app, "127.0.0.1", 0, tls=self.context, limits=LIMITS)
        self.server.open()
        self.expected = b""
        first = self.connect()
        self.expected = stable(first.got)
        assert first.complete, first.failure
        if resumed:
            self.session = first.tls.session
            assert self.session is not None

    def handler(self, answer: Callable[[web.Request], object]) -> Callable[[web.Request], object]:
        def handle(req: web.Request) -> object:
            if self.agent.succeeded("SSL_accept") != 1:
                self.problems.append("a handler ran for a connection that was not accepted")
            self.must_not_be("a handler ran")
            return answer(req)

        return handle

    def close(self) -> None:
        self.server.close()

    def act(self) -> bool:
        if self.sendfile:
            self.agent.arm("BIO_ctrl", 0, KTLS_YES, slot=1)
        client = self.connect()
        self.problems += client.problems(self.expected)
        resumed = self.session is None or client.tls.session_reused is True
        return client.complete and resumed and (client.clean_end or self.script.leave == "cut")

    def connect(self) -> Client:
        """A client from beginning to end, both sides turned in this thread."""
        server = self.server
        client = Client(server.port, self.trusting, self.script, self.session)
        poller = select.poll()
        poller.register(server.fileno(), select.POLLIN)
        until = time.monotonic() + PATIENCE
        stopped = False
        with client.sock:
            while time.monotonic() < until:
                self.turn()
                client.step()
                if self.drains and not stopped and client.answers == len(self.script.requests):
                    stopped = True
                    server.stop()
                if client.failure or client.over:
                    break
                poller.register(client.sock, select.POLLIN | (select.POLLOUT if client.unsent else 0))
                poller.poll(50)
        if self.drains and not stopped:
            server.stop()
        while server.connections and time.monotonic() < until:
            self.turn(0.02)
        self.turn()
        if server.connections:
            self.problems.append(f"a connection is served for more than {PATIENCE} seconds")
        if self.drains or server.connections:  # for the next run
            server.close()
            server.open()
        return client

    def turn(self, timeout: float = 0.0) -> None:
        self.agent.clear_queue()  # the client's
        self.server.run_once(timeout)
        if code := self.agent.queued():
            self.problems.append(f"after a turn an error is left in OpenSSL's queue ({code:x})")
        self.agent.clear_queue()


class Context(Scenario):
    """TlsContext.load."""

    def __init__(self, agent: Agent, folder: Path, key: str, password: str | None) -> None:
        super().__init__(agent, folder)
        self.key, self.password = key, password
        self.policy = ""
        context = self.make()
        context.load()
        self.policy = agent.policy()

    def make(self) -> web.TlsContext:
        return web.TlsContext(self.folder / "chain.pem", self.folder / self.key, password=self.password)

    def act(self) -> bool:
        context = self.make()
        try:
            context.load()
        except (web.CertificateError, web.TlsError):
            self.disarm()
            self.refuses_all(context)
            self.load_again(context)
            return False
        self.must_not_be("a context was made")
        if (policy := self.agent.policy()) != self.policy:
            self.problems.append(f"a context of another policy was made: {policy}")
        return True

    def load_again(self, context: web.TlsContext) -> None:
        """What failed once is no reason to fail again."""
        context.load()
        if (policy := self.agent.policy()) != self.policy:
            self.problems.append(f"loaded again, the context has another policy: {policy}")

    def refuses_all(self, context: web.TlsContext) -> None:
        """A context that could not be loaded makes no connection."""
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(b"\x16\x03\x01\x00\x05hello")
            connection = None
            try:
                connection = _core.Connection.tls(ours, context)
                if connection.handshake() is not None:
                    self.problems.append("a context that was not loaded accepts")
                if self.agent.live()["SSL"]:
                    self.problems.append("a context that was not loaded makes SSL objects")
            except (OSError, ValueError, web.WebError):
                pass
            finally:
                if connection is not None:
                    connection.close()
                else:
                    ours.close()


class Renewal(Serving):
    """Server.reload_certificates: renewed or not, the next client is served and resumes its session."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        script = Script((request("GET /small"),))
        super().__init__(agent, folder, script, ssl.TLSVersion.TLSv1_3, resumed=True)
        self.policy = agent.policy()

    def act(self) -> bool:
        done = False
        try:
            self.server.reload_certificates()
            done = True
            self.must_not_be("certificates were renewed")
        except (web.WebError, web.TlsError):
            pass
        if (policy := self.agent.policy()) != self.policy and done:
            self.problems.append(f"a context of another policy is in use: {policy}")
        if self.agent.queued():
            self.problems.append("an error is left in OpenSSL's queue")
        self.disarm()
        self.case = None
        client = self.connect()
        self.problems += client.problems(self.expected)
        if not client.complete or not client.tls.session_reused:
            self.problems.append(f"after a renewal ({done=}) a client is not served: {client.failure}")
        return done


class DevPair(Scenario):
    """make_dev_pair: a whole pair, or an error."""

    def act(self) -> bool:
        try:
            cert, key = _core.make_dev_pair(["localhost"], ["127.0.0.1"], 30)
        except web.TlsError:
            return False
        self.must_not_be("a pair was made")
        self.disarm()
        (self.folder / "made.pem").write_bytes(cert + key)
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.folder / "made.pem")
            web.TlsContext(self.folder / "made.pem", self.folder / "made.pem").load()
            if not _core.dev_pair_serves(cert, ["localhost"], ["127.0.0.1"], 3600):
                self.problems.append("a pair was made that does not serve its names")
        except (ssl.SSLError, web.WebError) as error:
            self.problems.append(f"a pair was made that cannot be used: {error}")
        return True


class DevPairServes(Scenario):
    """dev_pair_serves never says yes where a check failed."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        super().__init__(agent, folder)
        self.cert, _ = _core.make_dev_pair(["localhost", "b.example"], ["127.0.0.1", "::1"], 30)

    def act(self) -> bool:
        try:
            yes = _core.dev_pair_serves(self.cert, ["localhost", "b.example"], ["127.0.0.1", "::1"], 3600)
        except web.TlsError:
            return False
        if yes:
            self.must_not_be("a certificate was found good")
        return yes


class DevCertificate(Scenario):
    """web.dev_certificate in a folder that is empty, and then again: whole files or an error, nothing half written."""

    def act(self) -> bool:
        place = self.folder / "dev"
        place.mkdir(mode=0o700, exist_ok=True)
        done = True
        for _ in range(2):
            try:
                web.dev_certificate(place)
            except (web.WebError, web.TlsError):
                done = False
        names = {path.name for path in place.iterdir()}
        if not names <= {"dev-cert.pem", "dev-key.pem"}:
            self.problems.append(f"files are left: {names}")
        if (key := place / "dev-key.pem").exists() and key.stat().st_mode & 0o077:
            self.problems.append("the key is readable by others")
        for path in place.iterdir():
            path.unlink()
        return done


class Steps(Scenario):
    """The public steps of a Connection on its own: each says what it did, or raises; none takes a failure for success."""

    def __init__(self, agent: Agent, folder: Path, version: ssl.TLSVersion) -> None:
        super().__init__(agent, folder)
        self.context = web.TlsContext(folder / "chain.pem", folder / "key.pem")
        self.context.load()
        self.trusting = ssl.create_default_context(cafile=folder / "root.pem")
        self.trusting.minimum_version = self.trusting.maximum_version = version
        (folder / "file.bin").write_bytes(LARGE)

    def act(self) -> bool:
        ours, theirs = socket.socketpair()
        connection = _core.Connection.tls(ours, self.context)
        theirs.setblocking(False)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = self.trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
        raw = bytearray()
        with theirs, (self.folder / "file.bin").open("rb") as file:
            try:
                return self.converse(connection, peer, theirs, incoming, outgoing, raw, file.fileno())
            except (OSError, EOFError):  # TlsError is an OSError
                for step in (lambda: connection.recv(10), connection.shutdown):
                    with suppress(OSError, ValueError):  # nothing that failed is used again
                        step()
                return False
            finally:
                connection.close()
                if MARKER in raw:
                    self.problems.append("plaintext on the wire")

    def converse(
        self,
        connection: web.Tls,
        peer: ssl.SSLObject,
        sock: socket.socket,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        raw: bytearray,
        file: int,
    ) -> bool:
        got = bytearray()
        shaken = False

        def turn_peer() -> None:
            nonlocal shaken
            with suppress(BlockingIOError):
                while data := sock.recv(1 << 16):
                    raw.extend(data)
                    incoming.write(data)
            with suppress(ssl.SSLWantReadError):
                if not shaken:
                    peer.do_handshake()
                    shaken = True
                    peer.write(b"to read")
                while data := peer.read(1 << 16):
                    got.extend(data)
            with suppress(BlockingIOError):
                sock.sendall(outgoing.read())
            self.agent.clear_queue()

        def until(step: Callable[[], object], what: str) -> object:
            for _ in range(200):
                turn_peer()
                self.agent.clear_queue()
                result = step()
                if result is not None and result is not False:
                    if what:
                        self.must_not_be(what)
                    return result
            return None

        if until(connection.handshake, "a handshake was done") is None:
            return False
        if self.agent.succeeded("SSL_accept") != 1:
            self.problems.append("handshake() says that it is done, and it is not")
        read = until(lambda: connection.recv(100), "")
        if read == b"" and not (self.case is not None and self.case.failure.mode in ENDS):
            self.problems.append("recv() gave an end that did not come")
        if read:
            self.must_not_be("recv() gave something")
        if read != b"to read":
            return False
        sent = 0
        while sent < len(LARGE):
            n = until(lambda: connection.send(LARGE[sent:]), "send() took something")
            if n is None:
                return False
            sent += int(str(n))
        place = 0
        while place < len(LARGE):
            n = until(lambda: self.send_file(connection, file, place), "send_file() took something")
            if n is None:
                return False
            place += int(str(n))
        ended = until(connection.shutdown, "")  # with a FIN alone, where close_notify cannot be sent
        with suppress(ssl.SSLError):
            turn_peer()
        if ended and not (LARGE * 2).startswith(got):
            self.problems.append("the peer was given other bytes")
        return bool(ended) and got == LARGE * 2

    @staticmethod
    def send_file(connection: web.Tls, file: int, place: int) -> int | None:
        with os.fdopen(file, "rb", closefd=False) as opened:
            return connection.send_file(opened, place, len(LARGE) - place)


class Refusal(Scenario):
    """A client that offers no protocol of ours is refused; the exception says why, as far as OpenSSL does."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        super().__init__(agent, folder)
        self.context = web.TlsContext(folder / "chain.pem", folder / "key.pem")
        self.context.load()
        self.trusting = ssl.create_default_context(cafile=folder / "root.pem")
        self.trusting.set_alpn_protocols(["h2"])

    def act(self) -> bool:
        ours, theirs = socket.socketpair()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = self.trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
        connection = _core.Connection.tls(ours, self.context)
        with suppress(ssl.SSLWantReadError):
            peer.do_handshake()
        self.agent.clear_queue()
        with theirs:
            theirs.sendall(outgoing.read())
            try:
                for _ in range(3):
                    if connection.handshake():
                        self.problems.append("the handshake was done")
            except web.TlsError as error:
                return "ALPN" in str(error) and bool(error.reason)
            except OSError:
                pass
            finally:
                connection.close()
        return False


def request(line: str, body: bytes = b"", extra: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\nX-Marker: {MARKER.decode()}\r\n{length}{extra}\r\n"
    return head.encode() + body


TWO = (request("GET /small"), request("GET /small"))
LAST = (request("GET /small", extra="Connection: close\r\n"),)
FILE, DOWNLOAD = (request("GET /file"),), (request("GET /large"),)
UPLOAD = (request("POST /upload", LARGE),)
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

SCENARIOS: dict[str, Callable[[Agent, Path], Scenario]] = {
    "load": lambda agent, folder: Context(agent, folder, "key.pem", None),
    "load, encrypted key": lambda agent, folder: Context(agent, folder, "locked.pem", "pass phrase"),
    "renewal": Renewal,
    "development pair": DevPair,
    "development pair, looked at": DevPairServes,
    "dev_certificate": DevCertificate,
    "refusal": Refusal,
    "steps, 1.2": lambda agent, folder: Steps(agent, folder, V12),
    "steps, 1.3": lambda agent, folder: Steps(agent, folder, V13),
    "requests, 1.2": lambda agent, folder: Serving(agent, folder, Script(TWO), V12),
    "requests, 1.3": lambda agent, folder: Serving(agent, folder, Script(TWO), V13),
    "resumed, 1.2": lambda agent, folder: Serving(agent, folder, Script(TWO), V12, resumed=True),
    "resumed, 1.3": lambda agent, folder: Serving(agent, folder, Script(TWO), V13, resumed=True),
    "last answer": lambda agent, folder: Serving(agent, folder, Script(LAST, "stay"), V13),
    "client cuts off": lambda agent, folder: Serving(agent, folder, Script(TWO, "cut"), V13),
    "slow download, 1.2": lambda agent, folder: Serving(agent, folder, Script(DOWNLOAD, sip=32768), V12),
    "slow download, 1.3": lambda agent, folder: Serving(agent, folder, Script(DOWNLOAD, sip=32768), V13),
    "file": lambda agent, folder: Serving(agent, folder, Script(FILE, sip=32768), V13),
    "upload": lambda agent, folder: Serving(agent, folder, Script(UPLOAD), V13),
    "drain": lambda agent, folder: Serving(agent, folder, Script(TWO, "stay"), V13, drains=True),
    "ktls, requests": lambda agent, folder: Serving(agent, folder, Script(TWO), V12, ktls=True),
    "ktls, slow download": lambda agent, folder: Serving(
        agent, folder, Script(DOWNLOAD, sip=32768), V13, ktls=True
    ),
    "ktls, file": lambda agent, folder: Serving(
        agent, folder, Script(FILE, sip=32768), V12, ktls=True, sendfile=True
    ),
}  # fmt: skip
