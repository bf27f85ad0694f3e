"""Scenarios of what is made before anybody connects: a context of files, a certificate for development."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import web
from tests.tls.faults.agent import Agent
from tests.tls.faults.scenario import Scenario
from web import _core


class Context(Scenario):
    """TlsContext.load."""

    makes = True

    def __init__(self, agent: Agent, folder: Path, make: Callable[[Path], web.TlsContext]) -> None:
        super().__init__(agent, folder)
        self.make = make
        context = make(folder)
        context.load()
        self.policy = agent.policy()

    def act(self) -> bool:
        context = self.make(self.folder)
        before = self.agent.live()["SSL_CTX"]
        try:
            context.load()
        except (web.CertificateError, web.TlsError):
            self.disarm()
            if self.agent.live()["SSL_CTX"] != before:
                self.problems.append("a context that was not loaded is kept")
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


class DevPair(Scenario):
    """make_dev_pair: a whole pair, or an error."""

    makes = True

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

    makes = True

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

    makes = True

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
