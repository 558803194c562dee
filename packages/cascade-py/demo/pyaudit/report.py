"""Show a report, and the counts of events, on a screen of any width."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from .counts import EventCounts
from .model import Cycle, Finding, Function, Report, Totals
from .summary import COMPLEX
from .text import shown

LONGEST_PATH = 5
"""Modules named on the way round a cycle."""


def show_report(console: Console, report: Report, *, top: int) -> None:
    """Print the whole report; each table has at most ``top`` rows."""
    imports = report.imports
    console.print(_totals(report.totals), "")
    _section(console, "Most complex functions", _functions(report.most_complex))
    _section(
        console,
        f"Most imported of {imports.modules:,} modules ({imports.edges:,} imports of one another)",
        _table(["Imported by", "Module"], ((f"{n:,}", shown(name)) for name, n in imports.most_imported)),
    )
    _section(
        console,
        "Import cycles (modules that need each other to be imported)",
        _cycles(imports.cycles[:top]),
        rows=len(imports.cycles),
        top=top,
    )
    _section(
        console,
        "Could not be read or parsed (in no number above)",
        _findings(report.findings[:top]),
        rows=len(report.findings),
        top=top,
    )


def show_totals(console: Console, report: Report) -> None:
    """Print the first lines of the report, and how to get the rest."""
    console.print(_totals(report.totals), "")
    console.print("--report shows functions, imports, cycles, and files that do not parse.\n", style="dim")


def show_counts(console: Console, counts: EventCounts, *, url: str) -> None:
    """Print the four counts side by side, and what they mean."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Produced", "Sent", "Dropped", "Received", "Duplicates", "Holes in seq"):
        table.add_column(heading, justify="right", overflow="fold")
    seen = counts.seen
    received = ["-"] * 3 if seen is None else [f"{n:,}" for n in (seen.received, seen.duplicates, seen.holes)]
    table.add_row(f"{counts.produced:,}", f"{counts.sent:,}", f"{counts.lost:,}", *received)
    console.print(Text("Events of this run, from the engine to the second process", style="bold"))
    console.print(table)
    console.print(shown(counts.verdict(url)))


def _section(
    console: Console, title: str, body: RenderableType | None, *, rows: int = 0, top: int = 0
) -> None:
    console.print(Text(title, style="bold"))
    console.print("none\n" if body is None else body)
    if rows > top:
        console.print(f"... and {rows - top:,} more: --top {rows} shows all\n", style="dim")


def _totals(totals: Totals) -> RenderableType:
    lines = totals.lines
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column()
    grid.add_row(f"{totals.files:,}", "files")
    grid.add_row(
        f"{lines.total:,}", f"lines: {lines.code:,} code, {lines.comment:,} comment, {lines.blank:,} blank"
    )
    grid.add_row(f"{totals.classes:,}", "classes")
    grid.add_row(
        f"{totals.functions:,}",
        f"functions: mean complexity {totals.mean_complexity:.1f}; "
        f"{totals.complex_functions:,} above {COMPLEX}, where McCabe would split them",
    )
    return grid


def _functions(functions: Iterable[Function]) -> Table | None:
    rows = ((f"{f.complexity:,}", shown(f.name), shown(f"{f.shown}:{f.line}")) for f in functions)
    return _table(["Complexity", "Function", "Where"], rows)


def _cycles(cycles: Iterable[Cycle]) -> Table | None:
    rows = ((f"{len(c.modules):,}", shown(_way_round(c.path))) for c in cycles)
    return _table(["Modules", "A shortest way round"], rows)


def _way_round(path: tuple[str, ...]) -> str:
    if len(path) > LONGEST_PATH + 1:
        path = (*path[:LONGEST_PATH], f"... {len(path) - LONGEST_PATH - 1} more ...", path[-1])
    return " > ".join(path)


def _findings(findings: Iterable[Finding]) -> Table | None:
    rows = ((shown(f"{f.shown}:{f.line}" if f.line else f.shown), shown(f.problem)) for f in findings)
    return _table(["Where", "Problem"], rows)


def _table(headings: list[str], rows: Iterable[tuple[str | Text, ...]]) -> Table | None:
    """Return a table whose first column, if it counts, is narrow; None if it would be empty."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        counts = heading in {"Complexity", "Imported by", "Modules"}
        table.add_column(heading, justify="right" if counts else "left", no_wrap=counts, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table if table.row_count else None
