"""Tables for a terminal, with rich."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cascade.cli.columns import Column

NARROW = 64
"""Columns of a terminal below which each row is a block of lines."""
FOLDED = 20
"""Columns that the last cell of a row has at least; it is folded, every other one has its full width."""
_GAP = 3  # between two columns


def console(stream: TextIO) -> Console:
    """Return a console that shows text literally: no markup, no emoji codes, no highlighting."""
    return Console(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=False)


def table(stream: TextIO, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of rows as a table, or as blocks where a table has no space; empty columns are left out."""
    screen = console(stream)
    used = [column for column in columns if any(column.cell(row) for row in rows)]
    fits = max(NARROW, _width(rows, used)) <= screen.width
    with screen.capture() as captured:
        for part in [_table(rows, used)] if fits else _blocks(rows, used):
            screen.print(part)
    yield from (line.rstrip() for line in captured.get().splitlines())


def _width(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> int:
    """Return the columns of a terminal that a table needs if only its last cells are folded."""
    widths = [
        max(cell_len(text) for text in (column.title or column.key, *(column.cell(row) for row in rows)))
        for column in columns
    ]
    return sum(widths[:-1]) + min(widths[-1], FOLDED) + _GAP * (len(widths) - 1)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        shown.add_column(
            column.title or column.key,
            justify="right" if column.right else "left",
            overflow="fold",
            # a word is not broken, and a name can be copied as a whole
            no_wrap=index < len(columns) - 1,
        )
    for row in rows:
        shown.add_row(*(Text(column.cell(row)) for column in columns))
    return shown


def _blocks(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Iterator[RenderableType]:
    for row in rows:
        first, *others = [(column.title or column.key, column.cell(row)) for column in columns]
        yield Text(first[1], "bold", overflow="fold")
        for title, value in others:
            if value:
                yield Text.assemble((f"  {title} ", "dim"), value, overflow="fold")
