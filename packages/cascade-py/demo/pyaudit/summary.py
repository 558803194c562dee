"""Reduce what was measured in all files to the few numbers that a person reads."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from .model import Finding, Function, Lines, Module, Totals

COMPLEX = 10
"""McCabe's own limit for one function (IEEE TSE SE-2, 1976, page 314)."""

Measured = Module | Finding


def modules_of(measured: Sequence[Measured]) -> list[Module]:
    """Return the files that could be audited."""
    return [item for item in measured if isinstance(item, Module)]


def findings_of(measured: Sequence[Measured]) -> list[Finding]:
    """Return the files that could not."""
    return [item for item in measured if isinstance(item, Finding)]


def totals_of(modules: Sequence[Module]) -> Totals:
    """Add everything up."""
    complexities = [function.complexity for module in modules for function in module.functions]
    return Totals(
        files=len(modules),
        lines=sum((module.lines for module in modules), Lines()),
        functions=len(complexities),
        classes=sum(module.classes for module in modules),
        mean_complexity=sum(complexities) / len(complexities) if complexities else 0.0,
        complex_functions=sum(complexity > COMPLEX for complexity in complexities),
    )


def most_complex(modules: Sequence[Module], *, top: int) -> list[Function]:
    """Return the ``top`` most complex functions, most complex first, then by place."""
    functions = (function for module in modules for function in module.functions)
    return heapq.nsmallest(top, functions, key=lambda f: (-f.complexity, f.shown, f.line))
