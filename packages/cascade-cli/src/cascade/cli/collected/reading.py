"""Long reads of a collector's file in short steps, so that others can read meanwhile and a reader that has gone costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from cascade.cli.collected.file import CollectedFile, Interrupted

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Yields after each step; each step asks SQLite for at most ``STEP_SECONDS``."""
STEP_SECONDS = 0.2
_FIRST, _LEAST, _MOST = 5_000, 50, 40_000


def finish(steps: Steps[T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found


DAMAGED = (ValueError, TypeError, LookupError, AttributeError)
"""What reading a value raises that the disk has changed."""


def whole(file: CollectedFile, read: Callable[[CollectedFile], T]) -> T:
    """Return what is read of a file; if a value in it is damaged, what is whole.

    :raises CommandError: if nothing of it can be read.
    """
    try:
        return read(file)
    except DAMAGED as exc:
        file.salvage(exc)
        return read(file)


class Chunks:
    """How many rows a step reads: fewer on a slow disk.

    :raises Interrupted: if SQLite cannot read even a few rows in the time of a step.
    """

    def __init__(self, file: CollectedFile) -> None:
        self._file = file
        self.size = _FIRST

    def read(self, query: str, values: Callable[[int], Sequence[Any]]) -> list[tuple[Any, ...]] | None:
        """Return the rows of a query; None: it took too long, and the next one is for fewer.

        :param values: those of the query, for a number of rows.
        """
        try:
            rows = self._file.rows(query, values(self.size), within=STEP_SECONDS)
        except Interrupted:
            if self.size <= _LEAST or self._file.is_cancelled:
                raise
            self.size = max(self.size // 4, _LEAST)
            return None
        return rows

    def grow(self) -> None:
        """Read more with the next step: the last one was in time."""
        self.size = min(self.size * 2, _MOST)
