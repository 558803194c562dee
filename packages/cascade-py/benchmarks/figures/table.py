"""Rows of figures: samples, their ratio, the target, and their table. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_WIDTHS = (40, 22, 10, 10, 7, 11, 9)


class Judged(Enum):
    """Which number of a row its target bounds."""

    RATIO = "ratio"
    OURS = "ours"
    DIFFERENCE = "difference"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound, and what it bounds."""

    bound: float
    judged: Judged = Judged.RATIO
    at_least: bool = False

    def reached(self, value: float) -> bool:
        """Return whether ``value`` keeps to the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    def text(self, unit: str) -> str:
        """Return the bound as people write it: ``<= 3x``, ``>= 0.85x``, ``<= +20 ms``."""
        sign = ">=" if self.at_least else "<="
        if self.judged is Judged.RATIO:
            return f"{sign} {self.bound:g}x"
        plus = "+" if self.judged is Judged.DIFFERENCE else ""
        return f"{sign} {plus}{_number(self.bound)} {unit}".rstrip()


def at_most(times: float) -> Target:
    """Bound the ratio from above."""
    return Target(times)


def at_least(times: float) -> Target:
    """Bound the ratio from below."""
    return Target(times, at_least=True)


def no_more_than(amount: float) -> Target:
    """Bound our own figure from above, in the row's unit."""
    return Target(amount, Judged.OURS)


def no_more_above(amount: float) -> Target:
    """Bound what our own figure has more than the other one, in the row's unit."""
    return Target(amount, Judged.DIFFERENCE)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. ``ours`` and ``theirs`` have one sample for each round, in the same order."""

    name: str
    unit: str
    ours: Sequence[float]
    against: str = ""
    theirs: Sequence[float] = ()
    target: Target | None = None
    ratios: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.ours:
            raise ValueError(f"{self.name}: no samples")
        if self.theirs and len(self.theirs) != len(self.ours):
            raise ValueError(f"{self.name}: {len(self.ours)} samples of ours, {len(self.theirs)} of theirs")
        pairs = zip(self.ours, self.theirs, strict=True) if self.theirs else ()
        object.__setattr__(self, "ratios", tuple(ours / theirs for ours, theirs in pairs if theirs))

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios; None when nothing can be divided by."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def value(self) -> float | None:
        """The number that the target bounds."""
        if self.target is None or self.target.judged is Judged.RATIO:
            return self.ratio
        if self.target.judged is Judged.OURS:
            return statistics.median(self.ours)
        return statistics.median(self.ours) - statistics.median(self.theirs) if self.theirs else None

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None when there is none."""
        if self.target is None:
            return None
        return self.value is not None and self.target.reached(self.value)

    def as_dict(self) -> dict[str, Any]:
        """Return the row with all its samples, for a file."""
        return {
            "name": self.name,
            "against": self.against,
            "unit": self.unit,
            "ours": list(self.ours),
            "theirs": list(self.theirs),
            "ratio": self.ratio,
            "target": self.target.text(self.unit) if self.target else None,
            "reached": self.reached,
        }


HEADINGS = ("row", "against", "ours", "theirs", "ratio", "(quartiles)", "target", "reached")


def header() -> str:
    """Return the table's two first lines."""
    line = _line(HEADINGS)
    return f"{line}\n{'-' * len(line)}"


def line_of(row: Row) -> str:
    """Return one row of the table; its ratio only where that is what counts."""
    ratios = row.ratios if row.target is None or row.target.judged is Judged.RATIO else ()
    ratio = f"{_ratio(statistics.median(ratios))}x" if ratios else ""
    theirs = _amount(row.theirs, row.unit) if row.theirs else ""
    target = row.target.text(row.unit) if row.target else ""
    verdict = {True: "yes", False: "NO", None: "-"}[row.reached]
    ours = _amount(row.ours, row.unit)
    return _line((row.name, row.against, ours, theirs, ratio, _spread(ratios), target, verdict))


def summary(rows: Iterable[Row]) -> str:
    """Return how many targets are reached, and the names of those that are not."""
    judged = [row for row in rows if row.reached is not None]
    missed = [row.name for row in judged if not row.reached]
    text = f"{len(judged) - len(missed)} of {len(judged)} targets reached"
    return f"{text}; missed: {', '.join(missed)}" if missed else text


def _line(cells: Sequence[str]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:2], _WIDTHS, strict=False)]
    right = [cell.rjust(width) for cell, width in zip(cells[2:-1], _WIDTHS[2:], strict=True)]
    return "  ".join([*left, *right, cells[-1]]).rstrip()


def _spread(ratios: Sequence[float]) -> str:
    if len(ratios) < 2:
        return ""
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{_ratio(low)}-{_ratio(high)}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _amount(samples: Sequence[float], unit: str) -> str:
    return f"{_number(statistics.median(samples))} {unit}".rstrip()


def _number(value: float) -> str:
    """Three digits that matter, and thousands with a comma."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
