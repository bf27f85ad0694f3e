"""HTTPS with a throw-away certificate, and a page that says what protects it.

Run: python examples/https.py   Then: curl --cacert .dev/dev-cert.pem https://localhost:8443/

For others than yourself use a real certificate: docs/how-to/https.md.
"""

import web


def home(req: web.Request) -> str:
    """What protects this connection: `connection` is a Tls or a Plain."""
    match req.connection:
        case web.Tls(version=version, cipher=cipher):
            return f"{version} with {cipher}\n"
        case _:
            return "no TLS\n"


def make_server(host: str = "127.0.0.1", port: int = 8443, folder: str = ".dev") -> web.Server:
    """The certificate is made once and kept in the folder; defserver_tls never makes one by itself."""
    certificate, key = web.dev_certificate(folder)
    return web.defserver_tls(host, port, certificate, key, web.GET("/", home))


if __name__ == "__main__":
    make_server().run()
