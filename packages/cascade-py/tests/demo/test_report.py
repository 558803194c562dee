"""What a person sees: the report and the counts, on screens of several kinds."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
from pyaudit.counts import EventCounts, Received
from pyaudit.model import Cycle, Finding, Function, ImportGraph, Lines, Report, Totals
from pyaudit.report import show_counts, show_report
from rich.console import Console

NASTY = "[red]a[/red]\x1b[2J\nb"
REPORT = Report(
    Totals(3, Lines(1234, 1000, 200, 34), functions=7, classes=2, mean_complexity=3.14, complex_functions=1),
    (Function("C.method", "pkg/a.py", 12, 11), Function(NASTY, "b.py", 1, 2)),
    ImportGraph(3, 4, (("a", 2),), (Cycle(("a", "b"), ("a", "b", "a")), Cycle(("c", "d"), ("c", "d", "c")))),
    (Finding(NASTY, 3, "[bold]bad[/bold]"), Finding("c.py", 0, "cannot be read")),
)


def render(report: Report, *, top: int = 10, width: int = 100, encoding: str = "utf-8") -> str:
    output = io.TextIOWrapper(io.BytesIO(), encoding)
    show_report(Console(file=output, width=width, highlight=False), report, top=top)
    output.seek(0)
    return output.read()


def table_row(text: str, cell: str) -> list[str]:
    """Return the words of the one line in which a cell stands."""
    (line,) = [line for line in text.splitlines() if cell in line]
    return line.split()


def test_every_number_of_the_report_is_on_the_screen() -> None:
    """Totals, functions with their place, imports, cycles and findings are shown as they are."""
    text = render(REPORT)
    assert "1,234  lines: 1,000 code, 200 comment, 34 blank" in text
    assert "7  functions: mean complexity 3.1; 1 above 10" in text
    assert table_row(text, "C.method") == ["11", "C.method", "pkg/a.py:12"]
    assert "Most imported of 3 modules (4 imports of one another)" in text
    assert table_row(text, "a > b") == ["2", "a", ">", "b", ">", "a"]
    assert table_row(text, "c.py") == ["c.py", "cannot", "be", "read"]


def test_text_from_files_is_shown_literally() -> None:
    """Brackets are not taken as markup, and an escape sequence or a line end in a name does nothing."""
    text = render(REPORT)
    assert text.count(r"[red]a[/red]\x1b[2J\x0ab") == 2
    assert "[bold]bad[/bold]" in text
    assert "\x1b" not in text


def test_rows_beyond_the_limit_are_counted_and_the_option_is_named() -> None:
    """A cut table says how much is left, and with which option it is seen."""
    text = render(REPORT, top=1)
    assert text.count("... and 1 more: --top 2 shows all") == 2


def test_an_empty_section_says_so() -> None:
    """A program without functions, imports, cycles and findings has a report without gaps."""
    totals = Totals(1, Lines(), functions=0, classes=0, mean_complexity=0.0, complex_functions=0)
    assert render(Report(totals, (), ImportGraph(1, 0, (), ()), ())).count("none") == 4


def test_a_long_way_round_is_cut_in_the_middle() -> None:
    """A cycle of many modules shows its first ones and its way back."""
    names = tuple("abcdefgh")
    cycle = Cycle(names, (*names, "a"))
    text = render(Report(REPORT.totals, (), ImportGraph(8, 8, (), (cycle,)), ()))
    assert "a > b > c > d > e > ... 3 more ... > a" in text


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_screen_loses_no_character(width: int) -> None:
    """Long names are folded, not cut, and no line is wider than the screen."""
    name = "x" * 30 + "y" * 30
    report = Report(REPORT.totals, (Function(name, "a.py", 1, 5),), REPORT.imports, ())
    text = render(report, width=width)
    assert (text.count("x"), text.count("y")) >= (30, 30)
    assert max(map(len, text.splitlines())) <= width


def test_a_terminal_that_knows_only_ascii_can_show_it() -> None:
    """Lines and dots are drawn with what there is."""
    assert render(REPORT, encoding="ascii").isascii()


WHOLE = Received(10)


@pytest.mark.parametrize(
    ("sent", "dropped", "seen", "verdict"),
    [
        (10, {}, WHOLE, "Every event arrived, and none twice."),
        (10, {}, Received(11, duplicates=1), "those that came twice"),
        (
            10,
            {},
            Received(8, holes=2),
            "2 events did not reach the second process. May it subscribe at mqtt://h:1?",
        ),
        (10, {}, None, "The second process ended without its counts"),
        (
            0,
            {"no link": 10},
            Received(),
            "10 events were dropped (no link: 10); the audit is complete all the same.",
        ),
    ],
)
def test_the_counts_end_in_a_sentence_that_says_what_to_do(
    sent: int, dropped: Mapping[str, int], seen: Received | None, verdict: str
) -> None:
    """All well, doubled, lost on the way, lost before it, or unknown: each has its own words."""
    assert verdict in EventCounts(10, sent, dropped, seen).verdict("mqtt://h:1")


def test_the_counts_stand_side_by_side() -> None:
    """One row holds what was produced, sent, dropped, received, doubled and missed."""
    output = io.StringIO()
    counts = EventCounts(3590, 3580, {"overflow": 10}, Received(3581, duplicates=2, holes=1))
    show_counts(Console(file=output, width=100), counts, url="mqtt://h:1")
    assert table_row(output.getvalue(), "3,590") == ["3,590", "3,580", "10", "3,581", "2", "1"]
