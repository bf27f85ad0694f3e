"""``request_id()``: a name for each request, for both sides' logs: ``req.state.request_id``, and a field of the answer.

128 random bits in hexadecimal, or what a trusted client sent, when it is well-formed: 1 to 128 characters of
``A-Z a-z 0-9 . _ ~ + / = @ : -``, so that it can stand anywhere, in logs too. Both hooks are outer. The after hook
makes the name where no before hook ran (a body that was refused).
"""

import os
import re
from collections.abc import Callable
from typing import Any

from web._core import Request, Response
from web.hook_checks import ask, check_field, check_function
from web.routing import After, Before, Bundle

__all__ = ["request_id"]

_WELL_FORMED = re.compile(r"[A-Za-z0-9._~+/=@:-]{1,128}")


def request_id(header: str = "X-Request-ID", *, trust: bool | Callable[[Request], bool] = False) -> Bundle:
    """Name each request in ``req.state.request_id`` and in the answer's field ``header``.

    ``trust``: whether a name that came in that field is taken: True behind a proxy that writes it, False, or a plain
    function from the request to bool. RouteError: a field that cannot be sent.
    """
    what = "request_id(...)"
    check_field(what, header, "x")
    function = None if isinstance(trust, bool) else check_function(what, "trust", trust)

    def is_trusted(req: Request) -> bool:
        return trust is True if function is None else ask(what, function, req)

    def name(req: Request) -> None:
        given = req.header(header)
        if given is None or not _WELL_FORMED.fullmatch(given) or not is_trusted(req):
            given = os.urandom(16).hex()
        req.state.request_id = given

    def tell(req: Request, params: dict[str, Any], resp: Response) -> Response:
        if not hasattr(req.state, "request_id"):
            name(req)
        return resp.with_header(header, req.state.request_id)

    return Bundle((Before(name, outer=True), After(tell, outer=True)))
