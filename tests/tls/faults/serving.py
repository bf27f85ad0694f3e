"""Scenarios of a whole Server: one connection from accept to end, and a renewal of certificates before one.

Client and server take turns in one thread, so nothing runs beside and every wait is the server's own deadline.
"""

from __future__ import annotations

import os
import select
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import web
from tests.tls.faults.agent import Agent
from tests.tls.faults.client import MARKER, Client, Script, stable
from tests.tls.faults.scenario import LARGE, PATIENCE, Scenario
from tests.tls.faults.table import STRICT, Failure
from web import TlsContext

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
Answer = Callable[[web.Request], bytes | web.Response]
KTLS_YES = Failure("says yes", 1, False)


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
        keylog: bool = False,
        shows: str | None = None,
        refused: bool = False,
    ) -> None:
        super().__init__(agent, folder)
        self.script, self.ktls, self.sendfile, self.drains = script, ktls, sendfile, drains
        self.checked = False
        self.asks, self.refused = shows is not None, refused
        self.session: ssl.SSLSession | None = None
        self.trusting = ssl.create_default_context(cafile=folder / "root.pem")
        self.trusting.minimum_version = self.trusting.maximum_version = version
        self.trusting.set_alpn_protocols(["http/1.1"])
        if shows:
            self.trusting.load_cert_chain(folder / f"{shows}-EC.pem", folder / f"{shows}-EC.key")
        (folder / "file.bin").write_bytes(LARGE)
        os.environ["SSLKEYLOGFILE"] = str(folder / "secrets.log")  # read with keylog=True alone
        app = web.App(
            web.GET("/small", self.handler(lambda req: b"small " + MARKER)),
            web.GET("/large", self.handler(lambda req: LARGE)),
            web.GET("/file", self.handler(lambda req: web.Response.file(folder / "file.bin"))),
            web.POST("/upload", self.handler(lambda req: b"%d %b" % (len(req.body), MARKER))),
        )
        self.context = (
            asking(folder, self.passes)
            if self.asks
            else TlsContext(folder / "chain.pem", folder / "key.pem", ktls=ktls, keylog=keylog)
        )
        self.server = web.Server(app, "127.0.0.1", 0, tls=self.context, limits=LIMITS)
        self.server.open()
        self.policy = agent.policy()
        self.expected = b""
        first = self.connect()
        self.expected = stable(first.got)
        assert first.complete is not refused, first.failure
        if resumed:
            self.session = first.tls.session
            assert self.session is not None

    def handler(self, answer: Answer) -> Answer:
        def handle(req: web.Request) -> bytes | web.Response:
            if self.agent.succeeded("SSL_accept") != 1:
                self.problems.append("a handler ran for a connection that was not accepted")
            if self.asks:
                self.check_client(req)
            self.must_not_be("a handler ran")
            return answer(req)

        return handle

    def check_client(self, req: web.Request) -> None:
        """A handler runs for a site that requires certificates."""
        if self.refused:
            self.problems.append("a handler ran for a client whose certificate is no good")
        if self.agent.succeeded("X509_verify_cert") != 1 and self.session is None:
            self.problems.append("a handler ran for a client whose certificate was not verified")
        if not self.checked:
            self.problems.append("a handler ran for a client whose certificate did not pass the application's check")
        if self.case is not None and self.case.target in STRICT and self.agent.hits():
            self.problems.append(f"a handler ran after {self.case}, where a certificate is required")
        assert isinstance(req.connection, web.Tls)
        with suppress(web.WebError, OSError, ValueError):  # it cannot be read, and says so
            shown = req.connection.peer_certificate
            if shown is None or ("DNS", "good.example") not in shown.names or "good" not in shown.subject:
                self.problems.append(f"a handler was shown {shown!r}")

    def passes(self, shown: web.Certificate) -> bool:
        """The application's check. What it is told must be so, or there is an exception, and the client is refused."""
        self.checked = False
        self.checked = (
            ("DNS", "good.example") in shown.names
            and shown.serial > 0
            and "clients" in shown.issuer
            and shown.not_before < shown.not_after
        )
        return self.checked

    def close(self) -> None:
        self.server.close()

    def act(self) -> bool:
        self.checked = False
        if self.sendfile:
            self.agent.arm("BIO_ctrl", 0, KTLS_YES, slot=1)
        client = self.connect()
        self.problems += client.problems(self.expected)
        if self.refused:
            return not client.complete
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


def asking(folder: Path, check: Callable[[web.Certificate], bool] | None = None) -> TlsContext:
    """For "localhost" of one certificate and "other.example" of another; both require a client's, which is checked."""
    asks = partial(
        TlsContext,
        client_cert="required",
        client_ca=folder / "clients.pem",
        client_crl=folder / "revoked.crl",
        client_check=check,
    )
    inner = asks(folder / "other.pem", folder / "other.key")
    names = {"other.example": inner}
    return asks(folder / "chain.pem", folder / "key.pem", names=names, unknown_names="refuse")


class Renewal(Serving):
    """Server.reload_certificates: renewed or not, the next client is served and resumes its session."""

    makes = True

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
