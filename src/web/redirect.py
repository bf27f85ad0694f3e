"""``redirect_to_https()``: what a plain HTTP port is for once there is HTTPS: to say so, and to prove who one is.

One before hook, outer, stateless. Requests on TLS pass, so that it may stand in the App of a server that listens on
both ports. On plain HTTP it answers everything:

1. ``/.well-known/acme-challenge/<token>`` (RFC 8555 8.3), for GET and HEAD, whatever the host, with the file of that
   name below ``acme_folder``, the folder that certbot is given as its webroot. The token's letters are those of
   base64url, so the name leads nowhere else. A file that is not there is a 404.
2. No host (HTTP/1.0), or one that is no name or address: 400. A host that is not served here: 421 (RFC 9110 15.5.20).
3. Everything else: 308 to https, same host, path and query; 308 keeps the method (15.4.9).

Invariant: a Location begins with ``https://`` and a host that was checked; what the client chose beyond that is a path.
``OPTIONS *`` asks for no place and passes.
"""

import os
import re
from collections.abc import Iterable
from os import PathLike

from web._core import Request, Response
from web.errors import HTTPError, RouteError
from web.hook_checks import HOST, check_host, check_whole, listed
from web.routing import Before

__all__ = ["redirect_to_https"]

_CHALLENGES = "/.well-known/acme-challenge/"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,255}")


def redirect_to_https(
    port: int = 443,
    *,
    acme_folder: str | PathLike[str] | None = None,
    hosts: str | Iterable[str] | None = None,
) -> Before:
    """Answer what comes by plain HTTP with a redirect to HTTPS, and what an ACME server asks with the file for it.

    ``port``: that of HTTPS, as clients see it. ``acme_folder``: certbot's ``--webroot-path``. ``hosts``: the names
    under which this server is known, without port; None: a client is sent to the host that it named, whichever it is.
    RouteError: no such folder, or no host.
    """
    what = "redirect_to_https(...)"
    suffix = "" if check_whole(what, "port", port, 1, 65535) == 443 else f":{port}"
    folder = None if acme_folder is None else _check_folder(what, acme_folder)
    known = None if hosts is None else frozenset(check_host(what, host) for host in listed(hosts))
    if known is not None and not known:
        raise RouteError(f"{what}: hosts is empty, so nothing could be redirected; name one like 'example.org'")

    def redirect(req: Request) -> Response | None:
        path = req.raw_path
        if req.scheme == "https" or path == "*":
            return None
        if folder is not None and path.startswith(_CHALLENGES) and req.method in ("GET", "HEAD"):
            return _challenge(folder, path.removeprefix(_CHALLENGES))
        host = host_of(req)
        if known is not None and host not in known:
            raise HTTPError(421, f"421 Misdirected Request: {host} is not served here")
        query = f"?{req.query_string}" if req.query_string else ""
        return Response.redirect(f"https://{host}{suffix}{path}{query}", status=308)

    return Before(redirect, outer=True)


def host_of(req: Request) -> str:
    """The host that was asked for, in lower case, without port and final dot. HTTPError 400: there is none."""
    host = re.sub(r":[0-9]*\Z", "", req.host.lower()).removesuffix(".")
    if not HOST.fullmatch(host):
        raise HTTPError(400, "400 Bad Request: name the host, so that it can be told where HTTPS is")
    return host


def _check_folder(what: str, folder: str | PathLike[str]) -> str:
    path = os.path.realpath(folder)
    if not os.path.isdir(path):
        raise RouteError(f"{what}: acme_folder {path} is no folder; give the one that certbot has as --webroot-path")
    return path


def _challenge(folder: str, token: str) -> Response:
    path = f"{folder}{_CHALLENGES}{token}"
    if not _TOKEN.fullmatch(token) or not os.path.isfile(path):
        return Response.not_found("404 Not Found: no such challenge")
    return Response.file(path, "application/octet-stream")
