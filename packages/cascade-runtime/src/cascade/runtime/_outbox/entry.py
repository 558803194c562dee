"""One message of a sender while it is in memory, and the numbers of those that are only on disk. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from cascade.interfaces import Delivery
from cascade.runtime._outbox.file import Row, Stored


class Entry:
    """A message; the connector calls it with what became of the message."""

    __slots__ = ("at", "number", "old", "on_safe", "posted", "qos", "settled", "stored", "text", "topic")

    def __init__(
        self,
        settled: Callable[[Entry, Delivery], None],
        number: int,
        topic: str,
        text: str,
        qos: int,
        at: float,
        *,
        old: bool = False,
    ) -> None:
        self.settled = settled
        self.number = number
        self.topic = topic
        self.text = text
        self.qos = qos
        self.at = at
        """When it was published, by the loop's clock."""
        self.on_safe: Callable[[], None] | None = None
        """Called once when it can no longer be lost with the process."""
        self.old = self.posted = self.stored = old
        """Whether it was read from the file; whether it was given to the thread; whether that has stored it."""

    def __call__(self, delivery: Delivery) -> None:
        """Pass on what became of the message."""
        self.settled(self, delivery)

    def safe(self) -> None:
        """Note that the message is on disk or has been taken, or that it is counted as lost."""
        if self.on_safe is not None:
            on_safe, self.on_safe = self.on_safe, None
            on_safe()

    @property
    def row(self) -> Row:
        """The message as it is stored."""
        return Row(self.number, self.topic, self.text, self.qos)


class Ranges:
    """The numbers of the messages that wait on disk and not in memory, the oldest first."""

    def __init__(self) -> None:
        self._ranges: deque[list[int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((first, last) for first, last in self._ranges)

    @property
    def first(self) -> tuple[int, int]:
        """The range to read next."""
        first, last = self._ranges[0]
        return first, last

    def add(self, number: int) -> None:
        """Add a number above all others."""
        if self._ranges and self._ranges[-1][1] == number - 1:
            self._ranges[-1][1] = number
        else:
            self._ranges.append([number, number])

    def insert(self, found: Stored) -> None:
        """Add the numbers of older messages at their place; some of them may be there already."""
        if not found.size:
            return
        ranges, self._ranges = sorted([*self._ranges, [found.first, found.last]]), deque()
        for each in ranges:
            if self._ranges and each[0] <= self._ranges[-1][1]:
                self._ranges[-1][1] = max(each[1], self._ranges[-1][1])
            else:
                self._ranges.append(each)

    def has_read(self, first: int, upto: int) -> None:
        """Remove what was read of the range that began with ``first``; older ranges may have come meanwhile."""
        for place, each in enumerate(self._ranges):
            if each[0] == first:
                each[0] = upto + 1
                if each[0] > each[1]:
                    del self._ranges[place]
                return
