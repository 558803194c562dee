"""The messages that wait to be sent or are in flight, bounded in messages and bytes. No I/O.

At every moment ``accepted == sent + pending + sum(dropped.values())``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

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
GIVEN_BACK = "given back at disconnect"
FORKED = "forked process"

_LANE_TOPICS = 4096
_STRIKES = 2


class Outgoing:
    """One message that is sent, encoded; ``seq`` is its place in the order of acceptance.

    :param settled: called once, when the message is sent or dropped.
    :param correlation: of an answer: bytes by which its receiver recognizes it.
    """

    __slots__ = ("correlation", "payload", "qos", "retain", "seq", "settled", "strikes", "suspects", "topic")

    def __init__(
        self,
        seq: int,
        topic: str,
        payload: str,
        qos: int,
        retain: bool,
        settled: Callable[[Delivery], None] | None = None,
        correlation: bytes | None = None,
    ) -> None:
        self.correlation = correlation
        self.seq = seq
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.settled = settled
        self.suspects = 0
        """The group of messages of which one may have broken a link: no other message is sent beside them. 0: none."""
        self.strikes = 0
        """How often the broker closed a link while nothing else was in flight."""

    @property
    def size(self) -> int:
        return len(self.payload) + len(self.topic) + len(self.correlation or b"")


class Outbox:
    """An ordered queue, the control lane that overtakes it, and the messages in flight.

    Presence, sync and reports use the control lane: it keeps the latest message of each topic and is
    never dropped in favour of telemetry. When the queue is full its oldest message is dropped.
    """

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._queue: deque[Outgoing] = deque()
        self._bytes = 0  # of the queue
        self._lane: dict[str, Outgoing] = {}
        self._in_flight: dict[int, Outgoing] = {}
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
        return len(self._queue) + len(self._lane) + len(self._in_flight)

    @property
    def waiting(self) -> bool:
        """Whether a message has not been taken yet."""
        return bool(self._queue or self._lane)

    @property
    def half_full(self) -> bool:
        """Whether so much waits that messages will be dropped unless more of them are sent."""
        return 2 * len(self._queue) > self._max_messages or 2 * self._bytes > self._max_bytes

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
        if self._queue:
            waiting.append(self._queue[0].seq)
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

    def accept(
        self,
        topic: str,
        payload: str,
        qos: int,
        retain: bool,
        settled: Callable[[Delivery], None] | None = None,
        correlation: bytes | None = None,
    ) -> str:
        """Queue a message; return why a message was dropped for it, or ``""``.

        ``FULL`` is returned once for each link only, however often a burst fills the outbox.

        :param settled: called once, when the message is sent or dropped; it must not raise.
        :param correlation: of an answer: bytes by which its receiver recognizes it.

        :raises InvalidTopicError: if nothing can be published to the topic.
        """
        overtakes = is_control(check_topic(topic))
        self.accepted += 1
        item = Outgoing(self.accepted, topic, payload, qos, retain, settled, correlation)
        if overtakes:
            return self._accept_control(item)
        if item.size > self._max_bytes:
            return self._drop(item, TOO_LARGE, Delivery.REFUSED)
        self._queue.append(item)
        self._bytes += item.size
        return self._make_room() if self._overfull else ""

    def take(self, *, steady: bool = True) -> Outgoing | None:
        """Move the next message into flight; return None if no message may be sent now.

        Suspects are sent apart: after all others have landed, and before any other starts.

        :param steady: whether the link has been up for a while. A message that broke a link while sent
            alone waits for that; otherwise a network that cuts every link would look like the
            broker's answer to the message.
        """
        if not self.waiting:
            return None
        following = next(iter(self._lane.values())) if self._lane else self._queue[0]
        if self._in_flight and following.suspects != self._testing:
            return None
        if following.strikes and not steady:
            return None
        if self._lane:
            del self._lane[following.topic]
        else:
            self._pop_queue()
        self._in_flight[following.seq] = following
        self._testing = following.suspects
        return following

    def land(self, item: Outgoing) -> None:
        """Count a message in flight as sent."""
        if self._in_flight.pop(item.seq, None) is not None:
            self.sent += 1
            _settle(item, Delivery.TAKEN)

    def give_up(self, item: Outgoing, reason: str) -> None:
        """Count a message in flight as dropped."""
        if self._in_flight.pop(item.seq, None) is not None:
            self._drop(item, reason, Delivery.REFUSED)

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
        for item in poison:
            _settle(item, Delivery.POISON)
        return poison

    def clear(self, reason: str) -> int:
        """Drop everything pending; return the number of messages. Who keeps one until it is settled gets it back."""
        pending = [*self._in_flight.values(), *self._lane.values(), *self._queue]
        for messages in (self._in_flight, self._lane, self._queue):
            messages.clear()
        self._bytes = 0
        self._testing, self._overflowing = 0, False
        for item in pending:
            self.dropped[reason if item.settled is None else GIVEN_BACK] += 1
        for item in pending:
            _settle(item, Delivery.RETURNED)
        return len(pending)

    @property
    def _overfull(self) -> bool:
        return len(self._queue) > self._max_messages or self._bytes > self._max_bytes

    def _pop_queue(self) -> Outgoing:
        item = self._queue.popleft()
        self._bytes -= item.size
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
            self._queue.appendleft(item)
            self._bytes += item.size
        elif item.topic in self._lane:
            self._drop(item, SUPERSEDED, Delivery.REFUSED)
        else:
            self._lane = {item.topic: item, **self._lane}

    def _accept_control(self, item: Outgoing) -> str:
        if (superseded := self._lane.get(item.topic)) is not None:
            self._drop(superseded, SUPERSEDED, Delivery.REFUSED)
        elif len(self._lane) >= _LANE_TOPICS:
            oldest = self._lane.pop(next(iter(self._lane)))
            self._lane[item.topic] = item
            self._drop(oldest, FULL, Delivery.RETURNED)
            return self._begin_to_overflow()
        self._lane[item.topic] = item
        return ""

    def _make_room(self) -> str:
        while self._overfull:
            self._drop(self._pop_queue(), FULL, Delivery.RETURNED)
        return self._begin_to_overflow()

    def _begin_to_overflow(self) -> str:
        overflowing, self._overflowing = self._overflowing, True
        return "" if overflowing else FULL

    def _drop(self, item: Outgoing, reason: str, delivery: Delivery) -> str:
        self.dropped[reason] += 1
        _settle(item, delivery)
        return reason


def _settle(item: Outgoing, delivery: Delivery) -> None:
    """Report what became of a message, if somebody wants to know; the outbox is consistent by now."""
    if item.settled is not None:
        item.settled(delivery)
