"""What waits to be sent and what is in flight: pure bookkeeping, bounded in messages and bytes.

At every moment ``accepted == sent + pending + sum(dropped.values())``.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from functools import lru_cache

from cascade.connectors.mqtt._content import Content, text_of
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
    """One message, encoded; ``seq`` tells its place among all that were accepted."""

    seq: int
    topic: str
    payload: Content
    qos: int
    retain: bool
    suspect: bool = False
    """It was in flight when the broker closed a link, so it goes out alone next time."""
    strikes: int = 0
    """How often the broker closed a link in which nothing else was in flight."""

    @property
    def size(self) -> int:
        return len(self.payload) + len(self.topic)


class Outbox:
    """An ordered queue, a lane that overtakes it, and the messages in flight.

    Presence, sync and reports travel in the lane: the latest value of each topic, never
    dropped for telemetry. When the queue is full its oldest message is dropped.
    """

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._queue: deque[Outgoing] = deque()
        self._bytes = 0
        self._lane: dict[str, Outgoing] = {}
        self._in_flight: dict[int, Outgoing] = {}
        self._alone = False
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
    def settled(self) -> int:
        """Messages sent or dropped: it grows while there is progress."""
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

    def refuse(self, reason: str) -> None:
        """Count a message that is accepted in name only."""
        self.accepted += 1
        self.dropped[reason] += 1

    def accept(self, topic: str, payload: Content, qos: int, retain: bool) -> str:
        """Take a message over; return why one is dropped for want of room, or ``""``.

        ``FULL`` is returned once for each link: bursts may fill the outbox again and again.

        :raises InvalidTopicError: if nothing can be published to the topic.
        """
        try:
            overtakes = _overtakes(topic)
        except TypeError:  # what cannot be hashed is no text
            overtakes = is_control(check_topic(topic))
        self.accepted = seq = self.accepted + 1
        item = Outgoing(seq, topic, payload, qos, retain)
        if overtakes:
            return self._accept_control(item)
        size = len(payload) + len(topic)
        if size > self._max_bytes and (size := self._encode(item)) > self._max_bytes:
            return self._drop(TOO_LARGE)
        self._queue.append(item)
        self._bytes += size
        if len(self._queue) > self._max_messages or self._bytes > self._max_bytes:
            return self._make_room()
        return ""

    def take(self, *, steady: bool = True) -> Outgoing | None:
        """Move the next message into flight, or return None if there is none that may go now.

        A suspect goes alone: after all others have landed, and before any other starts.

        :param steady: whether the link has held for a while; what broke one all alone waits for that, or
            a network that cuts every link would pass for the broker's answer to the message.
        """
        if self._alone:
            return None
        following = next(iter(self._lane.values())) if self._lane else self._queue[0] if self._queue else None
        if following is None:
            return None
        if following.suspect and (self._in_flight or (following.strikes and not steady)):
            return None
        self._remove(following)
        self._in_flight[following.seq] = following
        self._alone = following.suspect
        if type(following.payload) is bytes:
            self._encode(following)
        return following

    def land(self, item: Outgoing) -> None:
        """Count a message in flight as sent."""
        if self._in_flight.pop(item.seq, None) is not None:
            self.sent += 1
            self._alone = False

    def give_up(self, item: Outgoing, reason: str) -> None:
        """Count a message in flight as dropped."""
        if self._in_flight.pop(item.seq, None) is not None:
            self.dropped[reason] += 1
            self._alone = False

    def restore(self, *, blame: bool) -> list[Outgoing]:
        """Put what is in flight back to the front, in order; return what is given up as poison.

        :param blame: the broker closed the link, perhaps for one of these messages.
        """
        flying = sorted(self._in_flight.values(), key=lambda item: item.seq, reverse=True)
        self._in_flight.clear()
        self._alone = self._overflowing = False
        if blame:
            self._suspect(flying)
        poison = [item for item in flying if item.strikes >= _STRIKES]
        self.dropped[POISON] += len(poison)
        for item in flying:
            if item.strikes < _STRIKES:
                self._return(item)
        return poison

    def clear(self, reason: str) -> int:
        """Drop everything pending; return how many messages that were."""
        count = self.pending
        self._queue.clear()
        self._lane.clear()
        self._in_flight.clear()
        self._bytes = 0
        self._alone = self._overflowing = False
        self.dropped[reason] += count
        return count

    def _encode(self, item: Outgoing) -> int:
        """Make the JSON of what was only copied; return the size that the message has then."""
        if isinstance(item.payload, bytes):
            item.payload, replaced = text_of(item.payload)
            self.sanitized += replaced > 0
        return item.size

    def _suspect(self, flying: list[Outgoing]) -> None:
        for item in flying:
            item.suspect = True
        if len(flying) == 1:
            flying[0].strikes += 1

    def _return(self, item: Outgoing) -> None:
        if not is_control(item.topic):
            self._queue.appendleft(item)
            self._bytes += item.size
        elif item.topic in self._lane:
            self._drop(SUPERSEDED)
        else:
            self._lane = {item.topic: item, **self._lane}

    def _remove(self, item: Outgoing) -> None:
        if self._lane:
            del self._lane[item.topic]
        else:
            self._queue.popleft()
            self._bytes -= item.size

    def _accept_control(self, item: Outgoing) -> str:
        if item.topic in self._lane:
            self._drop(SUPERSEDED)
        elif len(self._lane) >= _LANE_TOPICS:
            del self._lane[next(iter(self._lane))]
            self._lane[item.topic] = item
            self._drop(FULL)
            return self._begin_to_overflow()
        self._lane[item.topic] = item
        return ""

    def _make_room(self) -> str:
        while len(self._queue) > self._max_messages or self._bytes > self._max_bytes:
            self._bytes -= self._queue.popleft().size
            self._drop(FULL)
        return self._begin_to_overflow()

    def _begin_to_overflow(self) -> str:
        overflowing, self._overflowing = self._overflowing, True
        return "" if overflowing else FULL

    def _drop(self, reason: str) -> str:
        self.dropped[reason] += 1
        return reason


@lru_cache(maxsize=1024)
def _overtakes(topic: str) -> bool:
    """Check a topic and tell whether it has the lane, both at once: every message asks."""
    return is_control(check_topic(topic))
