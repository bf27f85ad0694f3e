"""The picture of the README, docs/images/speed.svg, from the first table under "Figures" in bench/README.md.

One place for the figures: the table, which is copied from what `make bench-load` writes. This measures nothing. Each
row of the picture is a row of the table: what a request (or, for large files, a byte) costs us, as a share of what it
costs the best of the other servers in the same rounds. Rows in which we lose stand there like the others.

    python bench/picture.py            writes the picture
    python bench/picture.py --check    exits with status 1 where it is not the one of the table
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "bench/README.md"
PICTURE = ROOT / "docs/images/speed.svg"

WIDTH, TOP, ROW, BAR = 900, 92, 26, 14
LABELS, UNIT, WORDS = 316, 230, 24  # where bars begin; how long the best other one is; from the bar to its words
FONTS = "system-ui, Helvetica, Arial, sans-serif"

# Colours by what they are for, in light and in dark. The background is drawn, so that no page's own shows through.
LIGHT = {
    "back": "#ffffff",
    "ink": "#1d2429",
    "faint": "#5b6770",
    "less": "#0a6e4b",
    "more": "#a8480f",
    "line": "#8a97a1",
}
DARK = {
    "back": "#12181c",
    "ink": "#e8edf0",
    "faint": "#a3b0b9",
    "less": "#3fc08c",
    "more": "#f0955a",
    "line": "#6c7a84",
}


@dataclass(frozen=True)
class Row:
    """One workload."""

    title: str
    ours: str
    best: str
    """Name and figure of the best other server."""
    ratio: float
    by_bytes: bool

    @property
    def cost(self) -> float:
        """Ours to that of the best other server. Figures by bytes say how much is got: the other way round."""
        return 1 / self.ratio if self.by_bytes else self.ratio


@dataclass(frozen=True)
class Figures:
    machine: str
    """Date, processor, system, versions."""
    command: str
    rows: tuple[Row, ...]


def read(text: str) -> Figures:
    """What stands in bench/README.md. ValueError: it has no such table."""
    found = re.search(r"^## Figures\n\n(.*?)\n\n`(.*?)`.*?\n\n((?:\|[^\n]*\n)+)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError("no paragraph, command and table under '## Figures'")
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in found[3].splitlines()]
    if lines[0] != ["workload", "base", "ours", "ours/base", "best other", "ours/best other"]:
        raise ValueError(f"the first table under '## Figures' has the columns {lines[0]}")
    rows = [
        Row(title, ours, best, float(ratio), by_bytes=" MiB" in title and title.startswith("G "))
        for title, _, ours, _, best, ratio in lines[2:]
    ]
    return Figures(" ".join(found[1].partition(";")[0].split()), found[2], tuple(rows))


def draw(figures: Figures) -> str:
    """The picture as SVG."""
    bottom = TOP + ROW * len(figures.rows)
    measured = f"{figures.command}: all servers in turns. Medians; shares are medians of those of the same round."
    footer = [*textwrap.wrap(figures.machine, 110), measured]
    height = bottom + 22 + 18 * len(footer)
    best = LABELS + UNIT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="{FONTS}">',
        "<title>CPU time per request: weblatch, as a share of the best other server in each workload</title>",
        f"<style>{_rules(LIGHT)}\n@media (prefers-color-scheme: dark) {{{_rules(DARK)}}}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="8"/>',
        _text(
            20,
            34,
            "CPU time per request, as a share of the best other server",
            "ink",
            'font-size="18" font-weight="600"',
        ),
        _text(
            20,
            56,
            "Shorter is better; 1 is the best other server, which each row names. Large files: CPU time per byte.",
            "faint",
        ),
        _text(best, 80, "1", "faint", 'text-anchor="middle"'),
        f'<path class="line" d="M{best} 86V{bottom}"/>',
    ]
    for number, row in enumerate(figures.rows):
        parts += _row(row, TOP + ROW * number)
    parts += [_text(20, bottom + 26 + 18 * at, line, "faint", 'font-size="12"') for at, line in enumerate(footer)]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _row(row: Row, y: int) -> list[str]:
    kind, end = "less" if row.cost <= 1 else "more", LABELS + UNIT * row.cost
    middle = y + BAR - 2
    unit = "MB/CPU s" if row.by_bytes else "µs"
    return [
        _text(LABELS - 12, middle, row.title.partition(" ")[2], "ink", 'text-anchor="end"'),
        f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{UNIT * row.cost:.1f}" height="{BAR}"/>',
        _text(
            max(end, LABELS + UNIT) + WORDS, middle, f"{row.cost:.2f}", kind, 'text-anchor="middle" font-weight="600"'
        ),
        _text(max(end, LABELS + UNIT) + 2 * WORDS, middle, f"{row.ours} {unit}; {row.best}", "faint", 'font-size="12"'),
    ]


def _text(x: float, y: float, words: str, kind: str, more: str = 'font-size="13"') -> str:
    size = "" if "font-size" in more else ' font-size="13"'
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" {more}{size}>{escape(words)}</text>'


def _rules(colours: dict[str, str]) -> str:
    rules = [f".{name}{{fill:{colour}}}" for name, colour in colours.items() if name != "line"]
    return "".join([*rules, f".line{{stroke:{colours['line']};stroke-dasharray:3 3;fill:none}}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 where the picture is not this one"
    )
    drawn = draw(read(FIGURES.read_text(encoding="utf-8")))
    if not parser.parse_args().check:
        PICTURE.write_text(drawn, encoding="utf-8")
        return 0
    if PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == drawn:
        return 0
    print(f"{PICTURE.relative_to(ROOT)} is not of these figures: run python bench/picture.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
