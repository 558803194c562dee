"""Tables, blocks, values and mistakes of the command line, as they are printed."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest

from cascade.cli import Column, Output
from cascade.cli.columns import shown

ROWS: list[dict[str, Any]] = [
    {"run": "night", "n": 3, "note": "x", "none": None},
    {"run": "day", "n": 12, "note": "", "none": []},
]
COLUMNS = [Column("run"), Column("n", "tasks", right=True), Column("none"), Column("note", "what")]


class Terminal(StringIO):
    """A stream that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def printed(rows: list[dict[str, Any]], columns: list[Column]) -> list[str]:
    """The lines of a table without styles."""
    stream = Terminal()
    Output(stream).rows(rows, columns)
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()


def test_a_table_has_titles_aligns_numbers_and_leaves_out_what_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last column is as wide as its text."""
    monkeypatch.setenv("COLUMNS", "100")
    head, line, *rows = printed(ROWS, COLUMNS)
    assert head.split() == ["run", "tasks", "what"]
    assert set(line) == {"─"}
    assert rows == ["night       3   x", "day        12"]


def test_text_from_outside_is_shown_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    """Markup is text, and no control character reaches the terminal; an empty list is a sentence."""
    for width in ("100", "40"):
        monkeypatch.setenv("COLUMNS", width)
        text = "\n".join(printed([{"run": "night", "note": "[red]x\x1b]0;y"}], COLUMNS))
        assert "[red]x\\u001b]0;y" in text
    stream = Terminal()
    Output(stream).rows([], COLUMNS, empty="nothing here")
    assert stream.getvalue() == "nothing here\n"


def test_a_narrow_terminal_has_a_block_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first value, then each that is not empty with its title."""
    monkeypatch.setenv("COLUMNS", "40")
    assert printed(ROWS, COLUMNS) == ["night", "  tasks 3", "  what x", "day", "  tasks 12"]


def test_what_has_no_space_in_a_table_stands_below_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns that are short stay side by side, whatever comes between them; a value is not torn from its title."""
    monkeypatch.setenv("COLUMNS", "64")
    columns = [Column("run"), Column("on"), Column("why"), Column("n", right=True), Column("by")]
    why = "the oven is cold, and the hall is dark"
    rows = [
        {
            "run": "night",
            "on": "press",
            "why": f"{why}, and nobody is here yet",
            "n": 7,
            "by": "the operator",
        },
        {"run": "day", "on": "oven", "n": 12},
        {"run": "noon", "on": "oven", "why": why, "n": 1, "by": "ann of the north hall"},
    ]
    head, _, *lines = printed(rows, columns)
    assert head.split() == ["run", "on", "n"]
    assert lines == [
        "night   press    7",
        "    why the oven is cold, and the hall is dark, and nobody is",
        "    here yet",
        "    by the operator",
        "day     oven    12",
        "noon    oven     1",
        f"    why {why}",
        "    by ann of the north hall",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ([], ""),
        ({}, ""),
        (0, "0"),
        (False, "no"),
        (True, "yes"),
        ("a", "a"),
        ({"rate": "10/m", "burst": [1, None]}, "rate=10/m burst=1, "),
        ([True, "x"], "yes, x"),
        (1.5, "1.5"),
    ],
)
def test_a_value_of_json_as_a_person_reads_it(value: Any, text: str) -> None:
    """What is empty is nothing, and zero is something."""
    assert shown(value) == text
