"""The pages of the project, and what stands in them: blocks, prose, sections, tables, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/README.md"), *ROOT.glob("bench/**/*.md")]
)

_FENCE = re.compile(r"^```([^\s`]*)(?: ([^`\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``language`` and ``mark`` stand behind its first fence, which is on line ``line``."""

    page: Path
    line: int
    language: str
    mark: str | None
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def all_blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(page, text[: one.start()].count("\n") + 1, one[1], one[2], one[3]) for one in _FENCE.finditer(text)]


def blocks(page: Path, language: str) -> list[tuple[int, str, bool]]:
    """(line before it, text, whether it is to be run) of each block in a language."""
    return [(one.line, one.text, one.mark is None) for one in all_blocks(page) if one.language == language]


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def section(page: Path, heading: str) -> str:
    """What stands under a heading, to the next one of its level or above."""
    level = heading.partition(" ")[0]
    found = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", page.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"{name_of(page)} has no {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of all tables in a text, without the rules below their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.fullmatch(r"[|\- ]+", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def slug(heading: str) -> str:
    """The anchor that a heading gets on the usual sites."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def linked_pages(page: Path) -> set[Path]:
    """The pages that a page has links to."""
    found = re.findall(r"\]\(([\w./-]+\.md)(?:#[\w-]+)?\)", prose(page))
    return {(page.parent / path).resolve() for path in found}
