"""Order in which the messages of a sender go to the connector. No I/O."""

from __future__ import annotations

import itertools
from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator
from operator import attrgetter

from cascade.runtime._outbox.entry import Entry, Ranges

CAPACITY = 65_536
"""Messages in memory while the disk fails; when more come, the oldest is dropped and counted."""
MEMORY = 32 << 20
"""Characters of those messages."""
IN_MEMORY = 10_000
"""Stored messages that wait in memory, too, so that a burst on a healthy link is not read again."""
_NONE = -(1 << 62)
"""A number below all others."""

_by_number = attrgetter("number")


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
        self.in_hand: dict[int, Entry] = {}
        """Given to the connector, by number."""
        self.returned: list[Entry] = []
        """Given back by the connector, by number."""
        self.waiting: deque[Entry] = deque()
        """Not given yet, in memory."""
        self.stored = Ranges()
        """Not given yet, only in the file."""
        self.page: deque[Entry] = deque()
        """Not given yet, read from the file."""
        self._live_first = live_first
        self._given = _NONE  # the highest number that was given to the connector
        self._old_in_hand = self._size = 0

    @property
    def idle(self) -> bool:
        """Whether everything is settled."""
        return not (self.in_hand or self.returned or self.waiting or self.stored or self.page)

    @property
    def unread(self) -> tuple[int, int] | None:
        """The numbers to read from the file now; None if messages of the file are read already, or have no room."""
        return self.stored.first if self.stored and not self.page and self._has_room_for_old() else None

    def in_memory(self) -> Iterable[Entry]:
        """Return the messages of this process that are not settled."""
        return itertools.chain(self.in_hand.values(), self.returned, self.waiting)

    def wait(self, entry: Entry) -> Iterator[Entry]:
        """Put a message behind those in memory; yield the oldest ones, which the bounds drop."""
        self.waiting.append(entry)
        self._size += len(entry.text)
        self.behind = True
        while len(self.waiting) > CAPACITY or self._size > MEMORY:
            yield self._pop_waiting()

    def give(self, entry: Entry) -> None:
        """Note that the connector gets a message."""
        number = entry.number
        self.in_hand[number] = entry
        self._old_in_hand += entry.old
        if number > self._given:
            self._given = number
        else:
            self.overtaken = self._given

    def settled(self, entry: Entry) -> bool:
        """Note that the connector no longer has a message; return whether it had it."""
        if self.in_hand.pop(entry.number, None) is None:
            return False
        self._old_in_hand -= entry.old
        return True

    def give_back(self, entry: Entry) -> None:
        """Put a message that was not sent in front of all that were not given yet."""
        insort(self.returned, entry, key=_by_number)
        self.behind = True

    def following(self) -> Entry | None:
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

    def has_read(self, first: int, upto: int, entries: Iterable[Entry]) -> None:
        """Take the messages that were read of the range that began with ``first``, unless they are in memory."""
        known = self.in_hand.keys() | {entry.number for entry in self.returned}
        self.page.extend(entry for entry in entries if entry.number not in known)
        self.stored.has_read(first, upto)

    def forget_stored(self) -> None:
        """Forget the text of the first stored messages if many wait: they are read when their turn comes."""
        crowded = len(self.waiting) > IN_MEMORY
        while crowded and self.waiting and self.waiting[0].stored:
            self.stored.add(self._pop_waiting().number)

    def _has_room_for_old(self) -> bool:
        return not self._live_first or 2 * self._old_in_hand < self.limit

    def _pop_waiting(self) -> Entry:
        entry = self.waiting.popleft()
        self._size -= len(entry.text)
        return entry
