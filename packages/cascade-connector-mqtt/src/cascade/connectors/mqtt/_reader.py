"""The reader of one link's messages, and the filter that drops duplicates.

MQTT leaves it to the broker whether it sends a duplicate of a message for each of a client's subscriptions that match
it (3.1.1, section 3.3.5; 5.0, section 3.3.4): mosquitto sends one message to MQTT 3.1.1 clients and duplicates to
MQTT 5 clients; nats-server and EMQX send duplicates. A probe finds out which kind of broker it is. A message that
matches k filters then passes once, and its next k - 1 duplicates are dropped.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cascade.interfaces.filters import has_wildcard, overlap
from cascade.interfaces.topics import TopicMatcher, sync_filter, sync_topic
from cascade.transport.incoming.dispatcher import Dispatcher
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.outbox import Outgoing

if TYPE_CHECKING:
    from cascade.connectors.mqtt._client_port import ClientPort
    from cascade.interfaces.watch import ReplyTo


PROBE_TIMEOUT = 2.0

# duplicates of these are ignored by those who read them
_SYNC = "cascade/sync/"
_LIFETIME = 2.0
"""Seconds after which a duplicate that did not arrive is no longer expected."""


class DuplicateFilter:
    """Recognizes duplicates. No I/O.

    :param clock: returns seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wild: TopicMatcher[None] = TopicMatcher()
        self._known: set[str] = set()
        self._refused: set[str] = set()
        # not needed for a broker that sends no duplicates
        self._granted: TopicMatcher[str] | None = None
        self._expected: dict[int, tuple[int, float]] = {}
        self.overlapping = False
        """Whether there were ever two filters that can match the same topic."""
        self.sent: bool | None = None
        """Whether this broker sends duplicates; None while that is unknown."""

    def add(self, topic_filter: str) -> None:
        """Note a filter that the client did not have."""
        if topic_filter.startswith(_SYNC):
            return
        self.overlapping = self.overlapping or self._meets_another(topic_filter)
        self._known.add(topic_filter)
        if self._granted is not None:
            self._granted.add(topic_filter, topic_filter)
        if has_wildcard(topic_filter):
            self._wild.add(topic_filter, None)

    def remove(self, topic_filter: str) -> None:
        """Note that the client no longer has a filter."""
        if topic_filter not in self._known:
            return
        self.grant(topic_filter)
        self._known.remove(topic_filter)
        if self._granted is not None:
            self._granted.remove(topic_filter, topic_filter)
        if has_wildcard(topic_filter):
            self._wild.remove(topic_filter, None)

    def overlap(self, filters: Iterable[str]) -> bool:
        """Return whether one of these filters and another known one can match the same topic."""
        known = (each for each in filters if each in self._known)
        return any(self._meets_another(each) for each in known)

    def refuse(self, topic_filter: str) -> None:
        """Expect no duplicates for a filter that the broker has refused."""
        if topic_filter in self._known - self._refused:
            self._refused.add(topic_filter)
            if self._granted is not None:
                self._granted.remove(topic_filter, topic_filter)

    def grant(self, topic_filter: str) -> None:
        """Expect duplicates again for a filter that was refused before."""
        if topic_filter in self._refused:
            self._refused.remove(topic_filter)
            if self._granted is not None:
                self._granted.add(topic_filter, topic_filter)

    def forget(self) -> None:
        """Forget what is expected and what was refused: there is a new link."""
        self._expected.clear()
        for topic_filter in list(self._refused):
            self.grant(topic_filter)

    def is_duplicate(self, topic: str, payload: bytes, reply_to: ReplyTo | None = None) -> bool:
        """Return whether a live message is a duplicate of one that passed before."""
        if not self.sent or len(self._known) < 2:
            return False
        if self._granted is None:
            self._granted = TopicMatcher()
            for topic_filter in self._known - self._refused:
                self._granted.add(topic_filter, topic_filter)
        matching = sum(1 for _ in self._granted.match(topic))
        if matching < 2:
            return False
        return self._account(hash((topic, payload, reply_to)), matching - 1)

    def _meets_another(self, topic_filter: str) -> bool:
        if has_wildcard(topic_filter):
            return any(overlap(topic_filter, other) for other in self._known if other != topic_filter)
        return self._wild.has_filters and any(True for _ in self._wild.match(topic_filter))

    def _account(self, key: int, duplicates: int) -> bool:
        now = self._clock()
        left, until = self._expected.pop(key, (0, 0.0))
        if left and now <= until:
            if left > 1:
                self._expected[key] = (left - 1, until)
            return True
        self._expire(now)
        self._expected[key] = (duplicates, now + _LIFETIME)
        return False

    def _expire(self, now: float) -> None:
        while self._expected:
            oldest = next(iter(self._expected))
            if self._expected[oldest][1] >= now:
                return
            del self._expected[oldest]


async def probe_duplicates(
    client: ClientPort, dispatcher: Dispatcher, duplicates: DuplicateFilter, source_id: str
) -> list[str]:
    """Subscribe twice to a topic of our own, publish to it once, and count what arrives.

    ``duplicates`` knows the result when the next message is dispatched. If the broker refuses this or
    does not answer, the next link can probe again. Return the filters to unsubscribe from.
    """
    nonce = os.urandom(8).hex()
    probe = _Probe(source_id, nonce, duplicates, dispatcher.delivery)
    dispatcher.add(probe)
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            # At one QoS, so that they come back in this order; all packets leave at once.
            once, last = (client.publish(Outgoing(0, topic, "{}", 0, False)) for topic in probe.topics)
            refused, *_ = await asyncio.gather(client.subscribe(list(probe.filters.items())), once, last)
            if not any(refused):
                await probe.decided
    except TimeoutError:
        pass
    finally:
        unused = dispatcher.remove(probe)
    return [*unused] if probe.decided.done() else []


class _Probe(WatchQueue):
    """Counts the messages of a probe until its last one comes."""

    def __init__(
        self, source_id: str, nonce: str, duplicates: DuplicateFilter, delivery: DeliveryCounts
    ) -> None:
        self.topics = (sync_topic(source_id, nonce), sync_topic(source_id, f"{nonce}-last"))
        self.decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A delivery of its own: what the probe reads is not counted as delivered.
        super().__init__([self.topics[0], sync_filter(source_id)], DeliveryCounts(delivery.log))
        self._duplicates = duplicates
        self._count = 0

    def offer(self, message: IncomingMessage) -> None:
        once, last = self.topics
        self._count += message.topic == once
        if message.topic == last and not self.decided.done():
            self._duplicates.sent = self._count > 1
            self.decided.set_result(None)


_AT_ONCE = 64


class Reader:
    """Passes what a client receives to the dispatcher, without the broker's duplicates.

    :param fail: called with the error that ends the reading.
    """

    def __init__(
        self,
        client: ClientPort,
        dispatcher: Dispatcher,
        duplicates: DuplicateFilter,
        *,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._dispatcher = dispatcher
        self._duplicates = duplicates
        self._fail = fail

    async def read(self) -> None:
        """Read messages for as long as the link is up."""
        in_a_row = 0
        try:
            async for message in self._client.messages():
                self._take(message)
                await self._read_arrived()
                in_a_row += 1
                # an iterator that never suspends must not starve the callbacks
                if in_a_row >= _AT_ONCE:
                    in_a_row = 0
                    await asyncio.sleep(0)
        except Exception as exc:
            self._fail(exc)

    def read_rest(self) -> None:
        """Read what has arrived after the link was lost: it is acknowledged, so the broker will not resend it."""
        for message in self._client.arrived():
            self._take(message)

    async def _read_arrived(self) -> None:
        """Read all messages that are there already: aiomqtt starts a task for each message it waits for."""
        more = True
        while more:
            more = False
            for message in itertools.islice(self._client.arrived(), _AT_ONCE):
                self._take(message)
                more = True
            if more:
                await asyncio.sleep(0)

    def _take(self, message: IncomingMessage) -> None:
        self._dispatcher.delivery.received += 1
        if message.retain or not self._duplicates.is_duplicate(
            message.topic, message.payload, message.reply_to
        ):
            self._dispatcher.dispatch(message)
