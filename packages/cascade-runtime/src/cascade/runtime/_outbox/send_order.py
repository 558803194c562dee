"""The unsettled messages of a sender, and the order in which they go to the connector. No I/O."""

from __future__ import annotations

import itertools
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from cascade.interfaces import Delivery
from cascade.runtime._outbox.file import Row, Stored

CAPACITY = 65_536
"""Messages in memory that the disk has not got; when more come, the oldest is dropped and counted."""
MEMORY = 32 << 20
"""Characters of those messages."""
IN_MEMORY = 10_000
"""Stored messages that wait in memory, too, so that a burst on a healthy link is not read again."""
_NONE = -(1 << 62)
"""A number below all others."""

_by_number = attrgetter("number")


class QueuedMessage:
    """A message; the connector calls it with what became of the message."""

    __slots__ = ("at", "number", "old", "on_safe", "posted", "qos", "settled", "stored", "text", "topic")

    def __init__(
        self,
        settled: Callable[[QueuedMessage, Delivery], None],
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


class SendOrder:
    """The messages that are not settled: those in the connector's hands, in memory, and only in the file.

    Messages that the connector has returned go first. Then come those in the file, and those in memory; with
    ``live_first`` those in memory come first, and those in the file get half of the window beside them.

    :param limit: how many messages the connector gets at the same time.
    """

    __slots__ = (
        "_given", "_live_first", "_old_in_hand", "_size", "behind", "in_hand", "limit", "overtaken", "page",
        "returned", "stored", "waiting",
    )  # fmt: skip

    def __init__(self, *, live_first: bool, limit: int) -> None:
        self.limit = limit
        self.overtaken = _NONE
        """The highest number that was given to the connector before a lower one: they arrive in this order, too."""
        # Which messages are older is known when the file is open.
        self.behind = not live_first
        """Whether a new message has to wait for others."""
        self.in_hand: dict[int, QueuedMessage] = {}
        """Given to the connector, by number."""
        self.returned: list[QueuedMessage] = []
        """Given back by the connector, by number."""
        self.waiting: deque[QueuedMessage] = deque()
        """Not given yet, in memory."""
        self.stored = Ranges()
        """Not given yet, only in the file."""
        self.page: deque[QueuedMessage] = deque()
        """Not given yet, read from the file."""
        self._live_first = live_first
        # the highest number that was given to the connector
        self._given = _NONE
        self._old_in_hand = self._size = 0

    @property
    def idle(self) -> bool:
        """Whether everything is settled."""
        return not (self.in_hand or self.returned or self.waiting or self.stored or self.page)

    @property
    def unread(self) -> tuple[int, int] | None:
        """The numbers to read from the file now; None if messages of the file are read already, or have no room."""
        return self.stored.first if self.stored and not self.page and self._has_room_for_old() else None

    def in_memory(self) -> Iterable[QueuedMessage]:
        """Return the messages of this process that are not settled."""
        return itertools.chain(self.in_hand.values(), self.returned, self.waiting)

    def wait(self, message: QueuedMessage, *, disk_fails: bool) -> Iterator[QueuedMessage]:
        """Put a message behind those in memory; yield the oldest ones, which the bounds drop."""
        self.waiting.append(message)
        self._size += len(message.text)
        self.behind = True
        # What the thread of the file has got will be on disk in a moment: dropping it would free no memory.
        while (len(self.waiting) > CAPACITY or self._size > MEMORY) and (
            disk_fails or not self.waiting[0].posted
        ):
            yield self._pop_waiting()

    def give(self, message: QueuedMessage) -> None:
        """Note that the connector gets a message."""
        number = message.number
        self.in_hand[number] = message
        self._old_in_hand += message.old
        if number > self._given:
            self._given = number
        else:
            self.overtaken = self._given

    def settled(self, message: QueuedMessage) -> bool:
        """Note that the connector no longer has a message; return whether it had it."""
        if self.in_hand.pop(message.number, None) is None:
            return False
        self._old_in_hand -= message.old
        return True

    def give_back(self, message: QueuedMessage) -> None:
        """Put a message that was not sent in front of all that were not given yet."""
        insort(self.returned, message, key=_by_number)
        self.behind = True

    def following(self) -> QueuedMessage | None:
        """Take the message that goes next; None if there is none, or if ``unread`` must be read first."""
        if self.returned:
            return self.returned.pop(0)
        if self._live_first and self.waiting:
            return self._pop_waiting()
        if self.stored or self.page:
            return self.page.popleft() if self.page and self._has_room_for_old() else None
        return self._pop_waiting() if self.waiting else None

    def renew(self) -> None:
        """Find out whether a new message has to wait for others."""
        first_in_line = self.waiting or self.returned
        self.behind = bool(first_in_line if self._live_first else first_in_line or self.stored or self.page)

    def has_read(self, first: int, upto: int, messages: Iterable[QueuedMessage]) -> None:
        """Take the messages that were read of the range that began with ``first``, unless they are in memory."""
        known = self.in_hand.keys() | {message.number for message in self.returned}
        self.page.extend(message for message in messages if message.number not in known)
        self.stored.has_read(first, upto)

    def forget_stored(self) -> None:
        """Forget the text of the first stored messages if many wait: they are read when their turn comes."""
        crowded = len(self.waiting) > IN_MEMORY
        while crowded and self.waiting and self.waiting[0].stored:
            self.stored.add(self._pop_waiting().number)

    def _has_room_for_old(self) -> bool:
        return not self._live_first or 2 * self._old_in_hand < self.limit

    def _pop_waiting(self) -> QueuedMessage:
        message = self.waiting.popleft()
        self._size -= len(message.text)
        return message
