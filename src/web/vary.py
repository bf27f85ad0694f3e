"""Vary (RFC 9110 12.5.5): on which fields of a request an answer depends. Pure; a Response in, another one out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from web._core import Response

__all__ = ["add_vary"]


def add_vary(resp: Response, names: str) -> Response:
    """The answer with ``names``, a list as in the field, in Vary: each once, in one line: not all caches read a second
    one."""
    value = ", ".join(resp.headers.get_all("vary"))
    there = set(_members(value.lower()))
    new = [name for name in _members(names) if name.lower() not in there]
    if "*" in there or not new:
        return resp
    return resp.with_header("Vary", ", ".join([value, *new] if value else new))


def _members(text: str) -> list[str]:
    return [name for one in text.split(",") if (name := one.strip())]
