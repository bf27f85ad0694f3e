"""The bodies of built-in errors: which kind a client wants, problem+json (RFC 9457), and the page for developers.

Which kind (RFC 9110 12.5.1): JSON where ``application/json`` or ``application/problem+json`` is named, and neither
``text/html`` nor ``text/plain`` is wanted more; the page where ``text/html`` is named. Ranges with a star count for
neither: everybody sends them. Text for all others.
"""

import json
import re
from collections.abc import Iterable
from html import escape
from traceback import format_exception

from web.errors import reason_phrase

__all__ = ["hint", "in_one_line", "kind_of_body", "message_page", "problem", "traceback_page"]

_JSON = ("application/json", "application/problem+json")
_TEXT = ("text/html", "text/plain")
_WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")


def kind_of_body(accept: Iterable[str], *, html: bool = False) -> str:
    """ "json", "text", or, where ``html`` allows it, "html", by the values of the Accept fields of a request."""
    weights = _weights(",".join(accept))
    as_json = max(weights.get(name, 0.0) for name in _JSON)
    as_text = max(weights.get(name, 0.0) for name in _TEXT)
    if as_json > 0 and as_json >= as_text:
        return "json"
    return "html" if html and weights.get("text/html", 0.0) > 0 else "text"


def _weights(accept: str) -> dict[str, float]:
    """Media range -> weight. A weight that is none is 0: who cannot say what it wants gets text."""
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        media, *parameters = (word.strip() for word in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = float(value) if _WEIGHT.fullmatch(value := value.strip()) else 0.0
        found[media] = max(weight, found.get(media, 0.0))
    return found


_HINTS = {
    413: "for developers: Limits(body=...) of the server and max_body= of a route say how much",
    421: "for developers: web.hosts([...]), or web dev --allow-host, says for which",
}


def hint(status: int) -> str:
    """What a developer may do about an error that the framework answers, in parentheses; empty: nothing."""
    return f" ({text})" if (text := _HINTS.get(status)) else ""


def problem(status: int, detail: str | None) -> bytes:
    """A problem of no type of its own (RFC 9457 4.2.1): its title is the status's phrase."""
    members: dict[str, str | int] = {"type": "about:blank", "title": reason_phrase(status), "status": status}
    if detail is not None:
        members["detail"] = detail
    return json.dumps(members, separators=(",", ":")).encode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}}
pre{{background:#f4f4f4;overflow:auto;padding:1em}}h1{{color:#b00020;font-size:1.4em}}</style></head>
<body><h1>{title}</h1><p>{what}</p><pre>{traceback}</pre>
<p>Shown because the server runs with <code>dev=True</code>.</p></body></html>
"""


def traceback_page(error: BaseException, method: str, path: str) -> str:
    """HTML with the traceback of an exception."""
    return message_page(in_one_line(error), f"{method} {path}", "".join(format_exception(error)))


def in_one_line(error: BaseException) -> str:
    """Its type and the first line of its text."""
    try:
        text = str(error).partition("\n")[0]
    except Exception:  # noqa: BLE001 - the application's
        text = ""
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def message_page(title: str, what: str, text: str) -> str:
    """HTML for developers: a heading, a line and preformatted text, all of it escaped."""
    return _PAGE.format(title=escape(title), what=escape(what), traceback=escape(text))
