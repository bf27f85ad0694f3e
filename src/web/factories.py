"""``defserver`` and ``defserver_tls``: a Server from forms, in one call."""

from os import PathLike
from typing import Unpack

from web._core import TlsContext
from web.app import App, Form, ServeOptions
from web.server import Server

__all__ = ["defserver", "defserver_tls"]


def defserver(host: str, port: int, *forms: Form, **options: Unpack[ServeOptions]) -> Server:
    """``Server(App(*forms), host, port, **options)``: an HTTP server, not started. Options are Server's."""
    return Server(App(*forms), host, port, **options)


def defserver_tls(
    host: str,
    port: int,
    cert_file: str | PathLike[str],
    key_file: str | PathLike[str],
    *forms: Form,
    password: str | bytes | None = None,
    **options: Unpack[ServeOptions],
) -> Server:
    """``Server(App(*forms), host, port, tls=TlsContext(cert_file, key_file), **options)``: HTTPS, not started.

    ``cert_file``: PEM, the certificate first, then its chain. ``key_file``: PEM. ``password``: of an encrypted key.
    The files are read when the server is opened. Options are Server's.
    """
    return Server(App(*forms), host, port, tls=TlsContext(cert_file, key_file, password=password), **options)
