"""weblatch: a web framework with its server built in. HTTP/1.1 and TLS on one event loop.

import web

server = web.defserver("127.0.0.1", 8000, web.GET("/", lambda req: "Hello, World!"))
server.run()
"""

from importlib.metadata import PackageNotFoundError, version

from web._core import (
    Binary,
    Certificate,
    CertificateError,
    ClientDisconnected,
    Close,
    Connect,
    Message,
    Request,
    Response,
    SocketClosed,
    TicketKeys,
    TlsContext,
    TlsError,
    WebSocket,
    openssl_version,
)
from web.access_log import access_log
from web.app import App
from web.brokers import Broker
from web.compress import compress
from web.connection import Connection, ConnectionInUse, Plain, Tls
from web.cors import cors
from web.csrf import csrf
from web.dev_certificate import dev_certificate
from web.errors import HTTPError, RouteError, WebError
from web.factories import defserver, defserver_tls
from web.groups import group
from web.hosts import hosts
from web.limits import Limits
from web.metrics import livez, metrics, readyz
from web.proxies import Proxies
from web.rate_limit import rate_limit
from web.redirect import redirect_to_https
from web.redis_broker import RedisBroker
from web.request_id import request_id
from web.routing import DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, after, before, errors, on_start, on_stop, route
from web.security_headers import security_headers
from web.server import Server
from web.sessions import Session, sessions
from web.signing import Signer
from web.sockets import ListenError
from web.sse import SSE, ServerEvent
from web.static import static
from web.time_limit import time_limit
from web.websockets import WS
from web.worker_options import workers
from web.ws_extensions import Deflate

__all__ = [
    "DELETE",
    "GET",
    "HEAD",
    "OPTIONS",
    "PATCH",
    "POST",
    "PUT",
    "SSE",
    "WS",
    "App",
    "Binary",
    "Broker",
    "Certificate",
    "CertificateError",
    "ClientDisconnected",
    "Close",
    "Connect",
    "Connection",
    "ConnectionInUse",
    "Deflate",
    "HTTPError",
    "Limits",
    "ListenError",
    "Message",
    "Plain",
    "Proxies",
    "RedisBroker",
    "Request",
    "Response",
    "RouteError",
    "Server",
    "ServerEvent",
    "Session",
    "Signer",
    "SocketClosed",
    "TicketKeys",
    "Tls",
    "TlsContext",
    "TlsError",
    "WebError",
    "WebSocket",
    "__version__",
    "access_log",
    "after",
    "before",
    "compress",
    "cors",
    "csrf",
    "defserver",
    "defserver_tls",
    "dev_certificate",
    "errors",
    "group",
    "hosts",
    "livez",
    "metrics",
    "on_start",
    "on_stop",
    "openssl_version",
    "rate_limit",
    "readyz",
    "redirect_to_https",
    "request_id",
    "route",
    "security_headers",
    "sessions",
    "static",
    "time_limit",
    "workers",
]

__distribution__ = "weblatch"  # the mark by which weblatch.names knows this package from others of its name

try:
    __version__ = version("weblatch")
except PackageNotFoundError:  # imported from a source tree that was not installed
    __version__ = "0+unknown"
