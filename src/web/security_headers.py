"""``security_headers()``: fields on every answer that make browsers stricter, errors included.

They are made once; an answer that has a field of that name already keeps its own. The hook is outer, so that the
answers to failed hooks have them, too. Strict-Transport-Security is sent on TLS only (RFC 6797 7.2).
"""

import re
from typing import Any

from web._core import Request, Response
from web.errors import RouteError
from web.hook_checks import check_field, check_switch, check_whole
from web.routing import After

__all__ = ["security_headers"]

_YEAR = 31_536_000
_HSTS = "Strict-Transport-Security"
_POLICIES = {
    "no-referrer", "no-referrer-when-downgrade", "origin", "origin-when-cross-origin", "same-origin", "strict-origin",
    "strict-origin-when-cross-origin", "unsafe-url",
}  # fmt: skip


def security_headers(
    *,
    hsts: int | None = _YEAR,
    hsts_subdomains: bool = False,
    hsts_preload: bool = False,
    frame: str | None = "DENY",
    content_type_options: bool = True,
    referrer_policy: str | None = "strict-origin-when-cross-origin",
    csp: str | None = None,
    permissions_policy: str | None = None,
    opener_policy: str | None = None,
    resource_policy: str | None = None,
) -> After:
    """Add the fields that an answer does not have already; None or False leaves one out.

    ``hsts``: seconds for which browsers ask for TLS only, on TLS; 0 takes it back; ``hsts_subdomains`` and
    ``hsts_preload`` are its other directives. ``frame``: X-Frame-Options, "DENY" or "SAMEORIGIN".
    ``content_type_options``: X-Content-Type-Options: nosniff. ``csp``: Content-Security-Policy. ``permissions_policy``:
    Permissions-Policy. ``opener_policy``: Cross-Origin-Opener-Policy. ``resource_policy``:
    Cross-Origin-Resource-Policy. RouteError: a value that no browser knows, or that cannot be sent.
    """
    what = "security_headers(...)"
    if frame not in (None, "DENY", "SAMEORIGIN"):
        raise RouteError(f"{what}: frame={frame!r}: give 'DENY', 'SAMEORIGIN' or None (RFC 7034 2.1)")
    if referrer_policy is not None and not set(re.split(r"\s*,\s*", referrer_policy)) <= _POLICIES:
        raise RouteError(f"{what}: referrer_policy={referrer_policy!r}: give one of {', '.join(sorted(_POLICIES))}")
    check_switch(what, "content_type_options", content_type_options)
    given = {
        "X-Frame-Options": frame,
        "X-Content-Type-Options": "nosniff" if content_type_options else None,
        "Referrer-Policy": referrer_policy,
        "Content-Security-Policy": csp,
        "Permissions-Policy": permissions_policy,
        "Cross-Origin-Opener-Policy": opener_policy,
        "Cross-Origin-Resource-Policy": resource_policy,
    }
    fields = [(name, check_field(what, name, value)) for name, value in given.items() if value is not None]
    strict = _strict_transport(what, hsts, hsts_subdomains, hsts_preload)
    tls_fields = fields if strict is None else [(_HSTS, strict), *fields]

    def harden(req: Request, params: dict[str, Any], resp: Response) -> Response:
        there = resp.headers
        for name, value in tls_fields if req.scheme == "https" else fields:
            if name not in there:
                resp = resp.add_header(name, value)
        return resp

    return After(harden, outer=True)


def _strict_transport(what: str, seconds: int | None, subdomains: bool, preload: bool) -> str | None:
    """The value of Strict-Transport-Security (RFC 6797 6.1)."""
    subdomains = check_switch(what, "hsts_subdomains", subdomains)
    if check_switch(what, "hsts_preload", preload) and not (subdomains and seconds is not None and seconds >= _YEAR):
        raise RouteError(f"{what}: hsts_preload=True needs hsts_subdomains=True and hsts of at least {_YEAR} (a year)")
    if seconds is None:
        return None
    value = f"max-age={check_whole(what, 'hsts', seconds, 0, 10 * _YEAR)}"
    return value + "; includeSubDomains" * subdomains + "; preload" * preload
