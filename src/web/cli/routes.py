"""``web routes``: what an application answers, in the order in which it is tried."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout

from web.app import App
from web.cli.errors import DONE
from web.cli.target import find

__all__ = ["routes"]

_HEADINGS = ("methods", "pattern", "handler", "name")


def routes(options: argparse.Namespace) -> int:
    """``web routes``."""
    with redirect_stdout(sys.stderr):  # what the program says is none of it
        target = find(options.target)
    found = list(_rows(target.app))
    if options.json:
        print(json.dumps([dict(zip(_HEADINGS, row, strict=True)) for row in found], indent=2))
        return DONE
    table = [tuple(heading.upper() for heading in _HEADINGS), *found]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return DONE


def _rows(app: App) -> Iterator[tuple[str, str, str, str]]:
    for one in app._routes:
        yield " ".join(one.methods), one.pattern, one.endpoint.label, one.name or ""
    for folder in app._folders:  # these are tried after all routes
        yield "GET HEAD", f"{folder.at.rstrip('/')}/*", f"static({folder.folder!r})", ""
