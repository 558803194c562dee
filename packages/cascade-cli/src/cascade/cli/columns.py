"""The columns of a table, and how a person reads a value of JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cascade.interfaces.text import printable

MOST = 5
"""Names in a sentence."""


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: not more than a few."""
    more = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {more} more" if more > 0 else "")


def shown(value: Any) -> str:
    """Return a value of JSON as a person reads it."""
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return " ".join(f"{key}={shown(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return str(value)


class Column(NamedTuple):
    """One column of a table: the key of its values, and how a person reads them."""

    key: str
    title: str = ""
    """The key, if empty."""
    show: Callable[[Any], str] = shown
    right: bool = False
    """Align to the right, as numbers are."""
    in_pipe: Callable[[Any], str] = shown
    """The same for a program, which gets values as they are: of a JSON Schema, that would be a line of its parts."""

    def cell(self, row: Mapping[str, Any], *, plain: bool = False) -> str:
        """Return this column's text in a row, with control characters escaped.

        :param plain: for a program: with ``in_pipe`` in place of ``show``.
        """
        value = row.get(self.key)
        return printable(self.in_pipe(value) if plain else self.show(value))
