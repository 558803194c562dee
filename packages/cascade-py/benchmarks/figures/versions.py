"""Compare a row between two versions: ratios per round, the spread of one version, the verdict. No I/O."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

WORSE = 1.05
"""A row is worse only if its median ratio is above this bound."""
BLOCKS = 5
"""Into how many blocks of consecutive rounds the A/A ratios are divided."""

_WIDTHS = (46, 12, 12, 8, 12)
HEADINGS = ("row", "this", "that", "ratio", "A/A spread", "verdict")


class Run(Enum):
    """One of the three processes of a round."""

    THIS = "this"
    THAT = "that"
    AGAIN = "again"
    """This checkout once more: its ratio to the first run shows what chance alone does."""


class Verdict(Enum):
    """How this version stands beside the other one."""

    WORSE = "WORSE"
    BETTER = "better"
    SAME = "same"


def orders() -> Iterator[tuple[Run, ...]]:
    """Yield the order of the three runs for each round, without end.

    All six orders take turns, so that no run always comes first or last.
    """
    return itertools.cycle(itertools.permutations(Run))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row with one sample per round and run; all ratios are costs, so above 1 means worse."""

    name: str
    unit: str
    this: Sequence[float]
    that: Sequence[float]
    again: Sequence[float]

    def __post_init__(self) -> None:
        if not len(self.this) == len(self.that) == len(self.again):
            raise ValueError(f"{self.name}: every round must measure all three runs")
        if not self.this:
            raise ValueError(f"{self.name}: no rounds")

    @property
    def ratio(self) -> float:
        """The median over the rounds of this version's cost divided by the other one's."""
        return statistics.median(self._ratios(self.this, self.that))

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and largest block median of the A/A ratios.

        Each A/A ratio counts in both directions, because either run could have been called the first.
        """
        medians = block_medians(self._ratios(self.this, self.again))
        both = [*medians, *(_divide(1, median) for median in medians)]
        return min(both), max(both)

    @property
    def verdict(self) -> Verdict:
        """Worse or better only beyond both the bound and the A/A spread."""
        low, high = self.spread
        if self.ratio > max(WORSE, high):
            return Verdict.WORSE
        return Verdict.BETTER if self.ratio < min(1 / WORSE, low) else Verdict.SAME

    def as_dict(self) -> dict[str, Any]:
        """Return the row with all its samples, for a file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "this": list(self.this),
            "that": list(self.that),
            "again": list(self.again),
            "ratio": self.ratio,
            "spread": list(self.spread),
            "verdict": self.verdict.value,
        }

    def _ratios(self, first: Sequence[float], second: Sequence[float]) -> list[float]:
        if self.unit == "/s":  # a rate: the higher number is the lower cost
            first, second = second, first
        return [_divide(one, other) for one, other in zip(first, second, strict=True)]


def block_medians(ratios: Sequence[float]) -> list[float]:
    """Return the median of each of five blocks of consecutive rounds; with fewer than ten, each ratio."""
    size = max(1, len(ratios) // BLOCKS) if len(ratios) >= 2 * BLOCKS else 1
    starts = range(0, len(ratios) - size + 1, size)
    return [statistics.median(ratios[start : start + size]) for start in starts]


def header() -> str:
    """Return the two first lines of the table."""
    line = _line(HEADINGS)
    return f"{line}\n{'-' * len(line)}"


def line_of(row: Comparison) -> str:
    """Return one row of the table."""
    low, high = row.spread
    this, that = (f"{statistics.median(samples):.4g} {row.unit}".rstrip() for samples in (row.this, row.that))
    return _line((row.name, this, that, f"{row.ratio:.3f}x", f"{low:.3f}-{high:.3f}", row.verdict.value))


def summary(rows: Sequence[Comparison]) -> str:
    """Return how many rows are not worse, and the names of those that are."""
    worse = [row.name for row in rows if row.verdict is Verdict.WORSE]
    text = f"{len(rows) - len(worse)} of {len(rows)} rows not worse"
    return f"{text}; worse: {', '.join(worse)}" if worse else text


def _divide(one: float, other: float) -> float:
    if other:
        return one / other
    return math.inf if one else 1.0


def _line(cells: Sequence[str]) -> str:
    right = [cell.rjust(width) for cell, width in zip(cells[1:-1], _WIDTHS[1:], strict=True)]
    return "  ".join([cells[0].ljust(_WIDTHS[0]), *right, cells[-1]])
