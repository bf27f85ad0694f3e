"""The page that lists a folder, for ``static(..., listing=True)``. Pure: names in, HTML out; every name is escaped."""

import os
from collections.abc import Iterable
from html import escape
from itertools import islice
from urllib.parse import quote

from web.folders import FOLDER

__all__ = ["MOST", "listing_page"]

MOST = 1_000  # entries that are shown: each costs a look at it, on the loop
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body{{font:1em/1.5 system-ui,sans-serif;margin:2em}}td{{padding-right:2em}}td+td{{text-align:right}}</style>
</head><body><h1>{title}</h1><table>
{rows}
</table>{more}</body></html>
"""


def listing_page(title: str, entries: Iterable[tuple[str, int]], *, top: bool) -> str:
    """Folders first, then files with their sizes. ``title``: the path; ``top``: there is nothing above it."""
    found = list(islice(entries, MOST + 1))
    more = f"<p>Only {MOST} of its entries are shown.</p>" if len(found) > MOST else ""
    found = sorted(found[:MOST], key=lambda entry: (entry[1] != FOLDER, entry[0]))
    rows = [] if top else ['<tr><td><a href="../">../</a></td><td></td></tr>']
    rows += [_row(name, size) for name, size in found]
    return _PAGE.format(title=escape(title), rows="\n".join(rows), more=more)


def _row(name: str, size: int) -> str:
    slash = "/" if size == FOLDER else ""
    # "./": a name with a colon would be read as a URL with a scheme
    link = "./" + quote(os.fsencode(name)) + slash
    shown = escape(os.fsencode(name).decode(errors="replace")) + slash
    return f'<tr><td><a href="{escape(link)}">{shown}</a></td><td>{"" if slash else f"{size:,}"}</td></tr>'
