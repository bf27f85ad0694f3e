"""``serve`` and ``embed`` make a server from forms and limits; each test that takes them runs plain and under TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import web
from tests.wire.sites import Certificate, Embed, Embedded, Serve, Site


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    cert, key = web.dev_certificate(tmp_path_factory.mktemp("tls"))
    return Certificate(cert, key, ssl.create_default_context(cafile=cert))


@pytest.fixture(params=["plain", "tls"])
def transport(request: pytest.FixtureRequest, certificate: Certificate) -> Certificate | None:
    return certificate if request.param == "tls" else None


def make_server(certificate: Certificate | None, forms: tuple[web.app.Form, ...], limits: dict[str, Any]) -> web.Server:
    options: dict[str, Any] = {
        name: limits.pop(name)
        for name in ("server_header", "threads", "loop", "slow_handler", "proxies", "proxy_protocol")
        if name in limits
    }
    if certificate is not None:
        options["tls"] = web.TlsContext(certificate.cert, certificate.key)
    limits.setdefault("shutdown_grace", 0.0)
    return web.Server(web.App(*forms), "127.0.0.1", 0, limits=web.Limits(**limits), **options)


def serving(certificate: Certificate | None) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*forms: web.app.Form, **limits: Any) -> Site:
            server = stack.enter_context(make_server(certificate, forms, limits).running())
            return Site(server, certificate, stack)

        yield start


@pytest.fixture
def serve(transport: Certificate | None) -> Iterator[Serve]:
    """``serve(*forms, **limits)``: a Site, running in a thread."""
    yield from serving(transport)


@pytest.fixture
def serve_plain() -> Iterator[Serve]:
    yield from serving(None)


@pytest.fixture
def serve_tls(certificate: Certificate) -> Iterator[Serve]:
    yield from serving(certificate)


@pytest.fixture
def embed(transport: Certificate | None) -> Iterator[Embed]:
    """``embed(*forms, **limits)``: an Embedded, turned by the test."""
    with ExitStack() as stack:

        def start(*forms: web.app.Form, **limits: Any) -> Embedded:
            server = make_server(transport, forms, limits)
            stack.callback(server.close)
            return Embedded(server, transport, stack)

        yield start
