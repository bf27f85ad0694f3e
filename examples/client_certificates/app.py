"""Who somebody is, by a certificate: only clients that our own authority signed get in. README.md says what to try.

Run: examples/client_certificates/make_certificates.sh, then: python examples/client_certificates/app.py
"""

from pathlib import Path

import web

CERTIFICATES = Path("certificates")  # in the current folder, as the script makes it
MAY_OPEN = {"CN=ann"}  # subjects


def who(req: web.Request) -> web.Certificate:
    """The certificate of the client: verified at the handshake, before any handler is called."""
    assert isinstance(req.connection, web.Tls)
    certificate = req.connection.peer_certificate
    assert certificate is not None  # client_cert="required"
    return certificate


def only_some(req: web.Request) -> None:
    """A before hook: whoever may not goes no further."""
    if who(req).subject not in MAY_OPEN:
        raise web.HTTPError(403, f"403 Forbidden: this is not for {who(req).subject}")


def home(req: web.Request) -> dict[str, str]:
    certificate = who(req)
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "until": certificate.not_after.isoformat(),
        "fingerprint": certificate.fingerprint,
    }


app = web.App(
    web.security_headers(hsts=None),  # hsts: not for localhost; leave it out elsewhere
    web.GET("/", home),
    web.GET("/vault", lambda req: "gold\n", before=[only_some]),
)
tls = web.TlsContext(
    CERTIFICATES / "localhost.pem",
    CERTIFICATES / "localhost.key",
    client_cert="required",  # "optional": without one, too, and peer_certificate is None
    client_ca=CERTIFICATES / "authority.pem",
)
server = web.Server(app, "127.0.0.1", 8443, tls=tls)  # reads no file yet

if __name__ == "__main__":
    server.run()
