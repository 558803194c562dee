"""The messages that wait to be sent or are in flight, bounded in messages and bytes. No I/O.

At every moment ``accepted == sent + pending + sum(dropped.values())``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from cascade.interfaces.abilities import Delivery
from cascade.interfaces.topics import check_topic, is_control

FULL = "outbox full"
TOO_LARGE = "too large"
SUPERSEDED = "superseded"
POISON = "broke the link twice"
REFUSED = "refused by the client"
NOT_ALLOWED = "refused by the broker"
NOT_CONNECTED = "not connected"
UNSENT = "unsent at disconnect"
FORKED = "forked process"

_LANE_TOPICS = 4096
_STRIKES = 2


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message that is sent, encoded; ``seq`` is its place in the order of acceptance."""

    seq: int
    topic: str
    payload: str
    qos: int
    retain: bool
    suspects: int = 0
    """The group of messages of which one may have broken a link: no other message is sent beside them. 0: none."""
    strikes: int = 0
    """How often the broker closed a link while nothing else was in flight."""

    @property
    def size(self) -> int:
        return len(self.payload) + len(self.topic)


class _Queue:
    """The messages that were not taken yet, in order; none of them is an object of its own.

    Thousands of messages wait in a burst, and Python's garbage collector walks through every object that may refer
    to others. Text and integers do not count, so a message is one entry in each of four columns.
    """

    __slots__ = ("_flags", "_payloads", "_topics", "seqs", "size")

    def __init__(self) -> None:
        self.size = 0
        """Characters of all topics and payloads."""
        self.seqs: deque[int] = deque()
        """One for each message: the outbox asks for their number all the time, and a call costs more."""
        self._topics: deque[str] = deque()
        self._payloads: deque[str] = deque()
        self._flags: deque[int] = deque()  # twice the QoS, and 1 for a retained message

    def __len__(self) -> int:
        return len(self.seqs)

    @property
    def first_seq(self) -> int:
        return self.seqs[0]

    def append(self, seq: int, topic: str, payload: str, qos: int, retain: bool) -> None:
        self.seqs.append(seq)
        self._topics.append(topic)
        self._payloads.append(payload)
        self._flags.append(2 * qos + (1 if retain else 0))
        self.size += len(payload) + len(topic)

    def popleft(self) -> Outgoing:
        flags = self._flags.popleft()
        topic, payload = self._topics.popleft(), self._payloads.popleft()
        self.size -= len(payload) + len(topic)
        return Outgoing(self.seqs.popleft(), topic, payload, flags >> 1, bool(flags & 1))

    def clear(self) -> None:
        for column in (self.seqs, self._topics, self._payloads, self._flags):
            column.clear()
        self.size = 0


class Outbox:
    """An ordered queue, the control lane that overtakes it, and the messages in flight.

    Presence, sync and reports use the control lane: it keeps the latest message of each topic and is
    never dropped in favour of telemetry. When the queue is full its oldest message is dropped.
    """

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._queue = _Queue()
        self._returned: deque[Outgoing] = deque()  # in flight when a link ended: they go before the queue
        self._bytes = 0  # of those
        self._lane: dict[str, Outgoing] = {}
        self._in_flight: dict[int, Outgoing] = {}
        self._settlements: dict[int, Callable[[Delivery], None]] = {}  # by the seq of the message
        self._testing = 0
        self._groups = 0
        self._overflowing = False
        self.accepted = 0
        self.sent = 0
        self.sanitized = 0
        self.dropped: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """Messages waiting or in flight."""
        return self._queued + len(self._lane) + len(self._in_flight)

    @property
    def waiting(self) -> bool:
        """Whether a message has not been taken yet."""
        return bool(self._queue or self._returned or self._lane)

    @property
    def half_full(self) -> bool:
        """Whether so much waits that messages will be dropped unless more of them are sent."""
        size = self._queue.size + self._bytes
        return 2 * self._queued > self._max_messages or 2 * size > self._max_bytes

    @property
    def testing(self) -> bool:
        """Whether the messages in flight are sent apart from others, because one of them may break the link."""
        return bool(self._testing)

    @property
    def settled(self) -> int:
        """Messages sent or dropped: it increases while there is progress."""
        return self.accepted - self.pending

    def oldest(self) -> int | None:
        """Return the ``seq`` of the oldest pending message, or None."""
        waiting = [item.seq for item in self._lane.values()]
        waiting += self._in_flight
        if self._returned:
            waiting.append(self._returned[0].seq)
        if self._queue:
            waiting.append(self._queue.first_seq)
        return min(waiting, default=None)

    def longest_in_flight(self) -> int | None:
        """Return the ``seq`` of the message that was taken first and is not settled, or None."""
        return next(iter(self._in_flight), None)

    def refuse(self, reason: str, settled: Callable[[Delivery], None] | None = None) -> None:
        """Count a message as accepted and dropped at once, because the connector is not connected."""
        self.accepted += 1
        self.dropped[reason] += 1
        if settled is not None:
            settled(Delivery.RETURNED)

    def check(self, topic: str) -> bool:
        """Return whether messages of a topic use the control lane.

        :raises InvalidTopicError: if nothing can be published to the topic.
        """
        try:
            return _overtakes(topic)
        except TypeError:  # an unhashable topic is not text: raise the proper error
            return is_control(check_topic(topic))

    def accept(
        self,
        topic: str,
        payload: str,
        qos: int,
        retain: bool,
        settled: Callable[[Delivery], None] | None = None,
    ) -> str:
        """Queue a message; return why a message was dropped for it, or ``""``.

        ``FULL`` is returned once for each link only, however often a burst fills the outbox.

        :param settled: called once, when the message is sent or dropped; it must not raise.

        :raises InvalidTopicError: if nothing can be published to the topic.
        """
        overtakes = self.check(topic)
        self.accepted = seq = self.accepted + 1
        if settled is not None:
            self._settlements[seq] = settled
        if overtakes:
            return self._accept_control(Outgoing(seq, topic, payload, qos, retain))
        if len(payload) + len(topic) > self._max_bytes:
            return self._drop(seq, TOO_LARGE, Delivery.REFUSED)
        self._queue.append(seq, topic, payload, qos, retain)
        waiting = len(self._queue.seqs) + len(self._returned)  # as _overfull, for every message
        if waiting <= self._max_messages and self._queue.size + self._bytes <= self._max_bytes:
            return ""
        return self._make_room()

    def take(self, *, steady: bool = True) -> Outgoing | None:
        """Move the next message into flight; return None if no message may be sent now.

        Suspects are sent apart: after all others have landed, and before any other starts.

        :param steady: whether the link has been up for a while. A message that broke a link while sent
            alone waits for that; otherwise a network that cuts every link would look like the
            broker's answer to the message.
        """
        if not self._lane and not self._returned:
            return self._take_queued()
        following = next(iter(self._lane.values())) if self._lane else self._returned[0]
        if self._in_flight and following.suspects != self._testing:
            return None
        if following.strikes and not steady:
            return None
        self._remove(following)
        self._in_flight[following.seq] = following
        self._testing = following.suspects
        return following

    def land(self, item: Outgoing) -> None:
        """Count a message in flight as sent."""
        if self._in_flight.pop(item.seq, None) is not None:
            self.sent += 1
            if self._settlements:
                self._settle((item.seq,), Delivery.TAKEN)

    def give_up(self, item: Outgoing, reason: str) -> None:
        """Count a message in flight as dropped."""
        if self._in_flight.pop(item.seq, None) is not None:
            self._drop(item.seq, reason, Delivery.REFUSED)

    def restore(self, *, blame: bool) -> list[Outgoing]:
        """Put the messages in flight back to the front, in order; drop and return those that broke two links.

        :param blame: whether the broker may have closed the link because of one of these messages. Then the
            next link gets them in two halves, one after the other, until the one that breaks it is alone.
        """
        in_flight = sorted(self._in_flight.values(), key=lambda item: item.seq, reverse=True)
        self._in_flight.clear()
        self._testing, self._overflowing = 0, False
        if blame:
            self._suspect(in_flight)
        poison = [item for item in in_flight if item.strikes >= _STRIKES]
        self.dropped[POISON] += len(poison)
        for item in in_flight:
            if item.strikes < _STRIKES:
                self._return(item)
        self._settle([item.seq for item in poison], Delivery.POISON)
        return poison

    def clear(self, reason: str) -> int:
        """Drop everything pending; return the number of messages."""
        count = self.pending
        self._queue.clear()
        self._returned.clear()
        self._lane.clear()
        self._in_flight.clear()
        self._bytes = 0
        self._testing, self._overflowing = 0, False
        self.dropped[reason] += count
        self._settle([*self._settlements], Delivery.RETURNED)
        return count

    @property
    def _queued(self) -> int:
        return len(self._queue) + len(self._returned)

    @property
    def _overfull(self) -> bool:
        return self._queued > self._max_messages or self._queue.size + self._bytes > self._max_bytes

    def _take_queued(self) -> Outgoing | None:
        """Move the first message of the queue into flight: it was never sent, so it is not a suspect."""
        if not self._queue.seqs or (self._in_flight and self._testing):
            return None
        item = self._queue.popleft()
        self._in_flight[item.seq] = item
        self._testing = 0
        return item

    def _suspect(self, in_flight: list[Outgoing]) -> None:
        half = len(in_flight) // 2
        for group in (in_flight[:half], in_flight[half:]):
            self._groups += 1
            for item in group:
                item.suspects = self._groups
        if len(in_flight) == 1:
            in_flight[0].strikes += 1

    def _return(self, item: Outgoing) -> None:
        if not is_control(item.topic):
            self._returned.appendleft(item)
            self._bytes += item.size
        elif item.topic in self._lane:
            self._drop(item.seq, SUPERSEDED, Delivery.REFUSED)
        else:
            self._lane = {item.topic: item, **self._lane}

    def _remove(self, item: Outgoing) -> None:
        if self._lane:
            del self._lane[item.topic]
        else:
            self._returned.popleft()
            self._bytes -= item.size

    def _accept_control(self, item: Outgoing) -> str:
        if (superseded := self._lane.get(item.topic)) is not None:
            self._drop(superseded.seq, SUPERSEDED, Delivery.REFUSED)
        elif len(self._lane) >= _LANE_TOPICS:
            oldest = self._lane.pop(next(iter(self._lane)))
            self._lane[item.topic] = item
            self._drop(oldest.seq, FULL, Delivery.RETURNED)
            return self._begin_to_overflow()
        self._lane[item.topic] = item
        return ""

    def _make_room(self) -> str:
        while self._overfull:
            if self._returned:
                oldest = self._returned.popleft()
                self._bytes -= oldest.size
            else:
                oldest = self._queue.popleft()
            self._drop(oldest.seq, FULL, Delivery.RETURNED)
        return self._begin_to_overflow()

    def _begin_to_overflow(self) -> str:
        overflowing, self._overflowing = self._overflowing, True
        return "" if overflowing else FULL

    def _drop(self, seq: int, reason: str, delivery: Delivery) -> str:
        self.dropped[reason] += 1
        if self._settlements:
            self._settle((seq,), delivery)
        return reason

    def _settle(self, seqs: Iterable[int], delivery: Delivery) -> None:
        """Report what became of messages, to those who want to know; the outbox is consistent by now."""
        for seq in seqs:
            if (settled := self._settlements.pop(seq, None)) is not None:
                settled(delivery)


@lru_cache(maxsize=1024)
def _overtakes(topic: str) -> bool:
    """Check a topic and return whether it uses the control lane. Cached: every message asks."""
    return is_control(check_topic(topic))
