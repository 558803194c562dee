"""What the files come to, all together."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyaudit.metrics import measure_text
from pyaudit.model import Finding, Lines, Module, Source
from pyaudit.summary import findings_of, modules_of, most_complex, totals_of


def module(name: str, text: str) -> Module:
    return measure_text(Source(Path(name), name, name, is_package=False), text)


A = module("a", "# c\n\nclass C:\n def m(self):\n  if x: pass\n")
B = module("b", "def f():\n if x: pass\ndef g(): pass\ndef h():\n" + " if x: pass\n" * 10)


def test_totals_are_the_sums_of_the_files() -> None:
    """Lines, functions and classes are added up; complexity is averaged, and counted above ten."""
    totals = totals_of([A, B])
    assert (totals.files, totals.functions, totals.classes) == (2, 4, 1)
    assert totals.lines == Lines(total=19, code=17, comment=1, blank=1)
    assert totals.mean_complexity == pytest.approx((2 + 2 + 1 + 11) / 4)
    assert totals.complex_functions == 1


def test_totals_of_nothing_are_zero() -> None:
    """A folder in which nothing parses has a report too."""
    assert totals_of([]).mean_complexity == 0
    assert totals_of([]).lines == Lines()


def test_the_most_complex_functions_come_first_then_by_place() -> None:
    """Equals are ordered by file and line, so that two runs print the same."""
    ranked = most_complex([B, A], top=3)
    assert [(f.name, f.shown) for f in ranked] == [("h", "b"), ("C.m", "a"), ("f", "b")]


def test_findings_and_modules_are_distinguished() -> None:
    """What could not be audited is in no sum."""
    finding = Finding("c", 1, "does not parse")
    assert modules_of([A, finding, B]) == [A, B]
    assert findings_of([A, finding, B]) == [finding]
