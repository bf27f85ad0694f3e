"""A figure of several rounds, and the bound by which it is judged."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING

from bench import harness
from bench.load.report import spread

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Figure:
    """Its median is judged, or with `each` every value."""

    what: str
    values: Sequence[float]
    bound: float
    at_most: bool = True
    each: bool = False
    why_not: str = ""  # why it could not be measured

    def holds(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    @property
    def good(self) -> bool:
        if self.why_not or not self.values:
            return False
        return all(map(self.holds, self.values)) if self.each else self.holds(statistics.median(self.values))

    @property
    def cells(self) -> tuple[str, str, str, str]:
        shown = spread(self.values, 2) if self.values and not self.why_not else f"not measured: {self.why_not}"
        bound = f"at {'most' if self.at_most else 'least'} {self.bound:.2f}"
        return self.what, shown, bound, "yes" if self.good else "**no**"

    def __str__(self) -> str:
        what, shown, bound, good = self.cells
        return f"{what}: {shown}, {bound}: {good}"


def figure_table(figures: Sequence[Figure]) -> str:
    return harness.table(("judged", "median (range)", "bound", "holds"), [figure.cells for figure in figures])
