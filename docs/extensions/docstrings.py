"""Docstrings in the generated reference: they are text with ``code`` in it and lists, no markup beyond that.

So an asterisk is an asterisk. An attribute of the extension that has none is given its type, from the stub.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from written_signatures import EXTENSION, returned_by

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CODE = re.compile(r"(``.*?``)", re.DOTALL)


def as_text(text: str) -> str:
    """A docstring, with what would be markup escaped outside of its code."""
    parts = _CODE.split(text)
    return "".join(part if part.startswith("``") else re.sub(r"([*|\\])", r"\\\1", part) for part in parts)


def put(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """autodoc-process-docstring."""
    lines[:] = as_text("\n".join(lines)).splitlines()
    if not any(lines) and what in ("attribute", "property"):
        returned = returned_by(EXTENSION, name.removeprefix("web."))
        lines[:] = [f"``{returned}``"] if returned is not None else []


def setup(app: Sphinx) -> dict[str, bool]:
    """The extension of Sphinx."""
    app.connect("autodoc-process-docstring", put)
    return {"parallel_read_safe": True}
