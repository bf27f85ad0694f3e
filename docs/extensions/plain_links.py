"""Links that work on the code host work in the site: anchors of headings, and links to folders.

``slug`` is the anchor that a heading gets there. A link to a folder, which a site of pages does not have, leads to the
folder's README.md where there is one, and else becomes text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([\w./-]+)\)")


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def without_folders(text: str, folder: Path) -> str:
    """The text of a page in ``folder``, without links to folders."""

    def link(found: re.Match[str]) -> str:
        there = folder / found[2]
        if not there.is_dir():
            return found[0]
        return f"[{found[1]}]({found[2].rstrip('/')}/README.md)" if (there / "README.md").exists() else found[1]

    return _LINK.sub(link, text)


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """source-read."""
    source[0] = without_folders(source[0], (Path(app.srcdir) / name).parent)


def setup(app: Sphinx) -> dict[str, bool]:
    """The extension of Sphinx."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
