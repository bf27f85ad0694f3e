"""Bars with ranges as SVG: one panel a workload, two panels beside each other. Nothing is needed but text."""

from __future__ import annotations

import dataclasses
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, MARGIN, LABELS, ROW, HEAD = 560, 20, 190, 22, 48
PLAIN, OURS, LIMIT, INK, FAINT = "#9db4c8", "#d9622b", "#5b6770", "#1d2429", "#5b6770"


@dataclasses.dataclass(frozen=True)
class Bar:
    label: str
    value: float
    low: float
    high: float
    ours: bool
    limit: bool


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        return HEAD + ROW * len(self.bars) + MARGIN


def text(x: float, y: float, words: str, size: int = 12, colour: str = INK, extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"{extra}>{escape(words)}</text>'


def draw_panel(panel: Panel, left: float, top: float) -> list[str]:
    room = WIDTH - LABELS - 90  # what is left of the bars' end is for the figure
    scale = room / max(bar.high for bar in panel.bars)
    out = [
        text(left, top + 16, panel.title, 15, extra=' font-weight="bold"'),
        text(left, top + 34, panel.unit, 11, FAINT),
    ]
    for number, bar in enumerate(panel.bars):
        y, start = top + HEAD + ROW * number, left + LABELS
        middle = y + ROW / 2 - 2
        colour = OURS if bar.ours else LIMIT if bar.limit else PLAIN
        bold = ' font-weight="bold"' if bar.ours else ""
        low, high = start + bar.low * scale, start + bar.high * scale
        whiskers = f"M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 4:.1f}v8M{high:.1f} {middle - 4:.1f}v8"
        out += [
            text(start - 8, middle + 4, bar.label, extra=f' text-anchor="end"{bold}'),
            f'<rect x="{start}" y="{y:.1f}" width="{bar.value * scale:.1f}" height="{ROW - 6}" fill="{colour}"/>',
            f'<path d="{whiskers}" stroke="{INK}" fill="none"/>',
            text(high + 7, middle + 4, f"{bar.value:,.0f}" if bar.value >= 100 else f"{bar.value:.2f}", extra=bold),
        ]
    return out


def draw(panels: Sequence[Panel], footer: str) -> str:
    out, top = [], float(MARGIN)
    for first in range(0, len(panels), 2):
        beside = panels[first : first + 2]
        for column, panel in enumerate(beside):
            out += draw_panel(panel, MARGIN + column * (WIDTH + MARGIN), top)
        top += max(panel.height for panel in beside) + MARGIN
    out.append(text(MARGIN, top, f"{footer}. Bars: medians; lines: least and greatest sample.", 11, FAINT))
    width, height = MARGIN + min(2, len(panels)) * (WIDTH + MARGIN), top + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
        f'viewBox="0 0 {width} {height:.0f}" font-family="Helvetica, Arial, sans-serif">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(out) + "\n</svg>\n"
    )
