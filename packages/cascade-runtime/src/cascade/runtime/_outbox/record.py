"""Write to a sender's file which messages wait, and what became of those that it has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cascade.runtime._outbox.disk import Disk, Done
from cascade.runtime._outbox.entry import Entry
from cascade.runtime._outbox.file import MAX_ASIDE, OutboxFile, Row
from cascade.runtime._outbox.order import CAPACITY
from cascade.runtime._outbox.schema import State

PAGE = 400
"""Messages that are read from the file at once."""


class Record:
    """The messages in a sender's file, as the event loop writes them. No call waits.

    :param written: called with messages that are stored, and with how many others the file's bounds dropped.
    """

    def __init__(self, disk: Disk, *, written: Callable[[Sequence[Entry], int], None]) -> None:
        self._disk = disk
        self._written = written
        self._done: list[int] = []  # to be deleted
        self._sent: deque[Entry] = deque(
            maxlen=CAPACITY
        )  # to be kept until a collector has acknowledged them
        self._aside: deque[Entry] = deque(maxlen=MAX_ASIDE)

    def taken(self, entry: Entry) -> None:
        """Note that a stored message was sent: it is deleted."""
        self._done.append(entry.number)

    def sent(self, entry: Entry) -> None:
        """Note that a message was sent, and must be kept until a collector has acknowledged it."""
        self._sent.append(entry)

    def aside(self, entry: Entry) -> None:
        """Note that no further try would send a message."""
        self._aside.append(entry)

    def settle(self) -> None:
        """Write what became of messages."""
        if self._done:
            numbers, self._done = self._done, []
            self._disk.post(lambda file: file.delete(numbers))
        for entries, state in ((self._sent, State.SENT), (self._aside, State.ASIDE)):
            if entries:
                rows, unsafe = [entry.row for entry in entries], [entry for entry in entries if entry.on_safe]
                entries.clear()
                self._disk.post(partial(_write_rows, rows, state), partial(_note_safe, unsafe))

    def write(self, entries: Sequence[Entry]) -> None:
        """Store messages that wait."""
        if entries:
            for entry in entries:
                entry.posted = True
            rows = [entry.row for entry in entries]
            self._disk.post(lambda file: file.write(rows, State.WAITS), partial(self._stored, entries))

    def read(self, first: int, last: int, done: Done) -> None:
        """Read the first messages of a range; ``done`` gets the rows."""
        self.settle()
        self._disk.post(lambda file: file.page(first, last, PAGE), done)

    def _stored(self, entries: Sequence[Entry], dropped: int) -> None:
        for entry in entries:
            entry.stored = True
            entry.safe()
        self._written(entries, dropped)


def _note_safe(entries: list[Entry], written: Any) -> None:
    for entry in entries:
        entry.safe()


def _write_rows(rows: list[Row], state: State, file: OutboxFile) -> None:
    file.write(rows, state)
