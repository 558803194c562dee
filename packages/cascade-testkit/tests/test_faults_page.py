"""FAULTS.md and the tests agree: what is cited is on the page, and what is on the page is shown."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2]
PAGE = (PACKAGES / "cascade-testkit" / "FAULTS.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"^\| (?:(\d+) \| .*|(I\d+) .*) \| (`[^|]*`) \|$", re.MULTILINE)
ROWS = re.compile(r"\b[Rr]ows? (\d+(?:(?:, | and | to )\d+)*)")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def shown_by() -> dict[str, set[str]]:
    """For each row and invariant of the page the files that it names."""
    return {
        row or invariant: set(re.findall(r"`([^`]+)`", files))
        for row, invariant, files in ENTRY.findall(PAGE)
    }


def rows_of(text: str) -> Iterator[str]:
    """The numbers that a text cites: one, several, or from one to another."""
    for cited in ROWS.findall(text):
        words = re.split(r"(?:, | and )", cited)
        for first, _, last in (word.partition(" to ") for word in words):
            yield from map(str, range(int(first), int(last or first) + 1))


def cited_in(node: DOCUMENTED) -> Iterator[str]:
    """The rows and invariants in a docstring and in the name of a test."""
    text, name = ast.get_docstring(node) or "", getattr(node, "name", "")
    yield from rows_of(text)
    yield from re.findall(r"\bI\d+\b", text)
    yield from re.findall(r"test_row_(\d+)_", name)
    yield from (f"I{number}" for number in re.findall(r"test_i(\d+)_", name))


@cache
def documented() -> list[tuple[str, bool, frozenset[str]]]:
    """For each that may have a docstring, in the files of tests: its file, whether it is a test, and what it cites.

    The trees themselves are not kept: they are millions of objects, over which the garbage collector would go
    again and again in every later test.
    """
    paths = (*PACKAGES.glob("*/tests/**/*.py"), *PACKAGES.glob("cascade-testkit/src/**/_contract/*.py"))
    return [
        (path.name, is_test(node), frozenset(cited_in(node)))
        for path in paths
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, DOCUMENTED)
    ]


def citations(*, of_tests: bool) -> dict[str, set[str]]:
    """For each row and invariant the files that cite it; ``of_tests``: those in which a test itself does."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, tests, cited in documented():
        if not of_tests or tests:
            for row in cited:
                found[row].add(name)
    return found


def is_test(node: DOCUMENTED) -> bool:
    """Whether pytest would run it, and not merely what is in it."""
    return not isinstance(node, ast.Module | ast.ClassDef) and node.name.startswith("test_")


@pytest.mark.full
@pytest.mark.process
def test_every_row_that_is_cited_is_on_the_page() -> None:
    """A number in a docstring names a row of the page."""
    assert citations(of_tests=False).keys() - shown_by().keys() == set()


def test_every_row_of_the_page_is_shown_by_the_tests_that_it_names() -> None:
    """Each named file has a test that cites the row; each row names at least one."""
    found = citations(of_tests=True)
    assert [(row, strays) for row, files in shown_by().items() if (strays := files - found[row])] == []
    assert all(shown_by().values())


def test_the_page_has_all_rows_in_order() -> None:
    """In ascending order, none twice, and the first 35 without a hole."""
    rows = [int(row) for row, _, _ in ENTRY.findall(PAGE) if row]
    assert rows == sorted(set(rows))
    assert rows[:35] == list(range(1, 36))
    assert len(re.findall(r"^\| (?:\d|I\d)", PAGE, re.MULTILINE)) == len(shown_by())


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("Row 3: it holds.", ["3"]),
        ("Rows 1 to 4: no broker", ["1", "2", "3", "4"]),
        ("seen: rows 20 to 22, 34 and 35", ["20", "21", "22", "34", "35"]),
        ("the next row: 3", []),
    ],
)
def test_citations_are_understood(text: str, rows: list[str]) -> None:
    """One row, a range, and several of both."""
    assert list(rows_of(text)) == rows
