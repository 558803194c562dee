"""Tables for a terminal, with rich."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cascade.cli.columns import Column

NARROW = 64
"""Columns of a terminal below which each row is a block of lines."""
FOLDED = 20
"""Columns that the last cell of a row has at least; it is folded, every other one has its full width."""
LEAST = 3
"""Columns of a table: where fewer have space, each row is a block."""
SHORT = 4
"""Part of a terminal that a column takes at most where not all of them have space."""
_GAP = 3  # between two columns
_INDENT = 4  # of what stands below a row


def console(stream: TextIO) -> Console:
    """Return a console that shows text literally: no markup, no emoji codes, no highlighting."""
    return Console(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=False)


def table(stream: TextIO, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of rows as a table; empty columns are left out.

    A column for which the terminal has no space stands below its row, with its title. In a narrow terminal each row is a block.
    """
    screen = console(stream)
    used = [column for column in columns if any(column.cell(row) for row in rows)]
    if _width(rows, used) <= screen.width and screen.width >= NARROW:
        yield from _lines(screen, [_table(rows, used)])
        return
    beside, below = _split(rows, used, screen.width) if screen.width >= NARROW else ([], used)
    if len(beside) < LEAST:
        yield from _lines(screen, _blocks(rows, used))
        return
    title, rule, *lines = _lines(screen, [_table(rows, beside, folded=False)])
    yield from (title, rule)
    for row, line in zip(rows, lines, strict=True):
        yield line
        yield from _lines(screen, _below(row, below, screen.width))


def _lines(screen: Console, parts: Iterable[RenderableType]) -> Iterator[str]:
    with screen.capture() as captured:
        for part in parts:
            screen.print(part)
    yield from (line.rstrip() for line in captured.get().splitlines())


def _split(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], space: int
) -> tuple[list[Column], list[Column]]:
    """Return the columns that have space side by side in their full width, in their order, and all others.

    One long text takes the place of several short ones; only the first column, which names the row, always stays.
    """
    beside = list(columns[:1])
    for column in columns[1:]:
        is_short = _width(rows, [column], fold=False) <= space // SHORT
        if is_short and _width(rows, [*beside, column], fold=False) <= space:
            beside.append(column)
    return beside, [column for column in columns if column not in beside]


def _width(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, fold: bool = True) -> int:
    """Return the columns of a terminal that a table needs.

    :param fold: whether its last cells may be folded.
    """
    widths = [
        max(cell_len(text) for text in (column.title or column.key, *(column.cell(row) for row in rows)))
        for column in columns
    ]
    last = min(widths[-1], FOLDED) if fold else widths[-1]
    return sum(widths[:-1]) + last + _GAP * (len(widths) - 1)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, folded: bool = True) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        shown.add_column(
            column.title or column.key,
            justify="right" if column.right else "left",
            overflow="fold",
            # a word is not broken, and a name can be copied as a whole
            no_wrap=index < len(columns) - 1 or not folded,
        )
    for row in rows:
        shown.add_row(*(Text(column.cell(row)) for column in columns))
    return shown


def _below(row: Mapping[str, Any], columns: Sequence[Column], space: int) -> Iterator[RenderableType]:
    """Yield the lines below a row: several values on one, and what is too long for a line folded on its own."""
    line = Text(overflow="fold")
    for column in columns:
        if value := column.cell(row):
            part = Text.assemble((f"{column.title or column.key} ", "dim"), value)
            if line and line.cell_len + _GAP + part.cell_len > space - _INDENT:
                yield Padding(line, (0, 0, 0, _INDENT))
                line = Text(overflow="fold")
            line.append(" " * _GAP if line else "").append(part)
    if line:
        yield Padding(line, (0, 0, 0, _INDENT))


def _blocks(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Iterator[RenderableType]:
    for row in rows:
        first, *others = [(column.title or column.key, column.cell(row)) for column in columns]
        yield Text(first[1], "bold", overflow="fold")
        for title, value in others:
            if value:
                yield Text.assemble((f"  {title} ", "dim"), value, overflow="fold")
