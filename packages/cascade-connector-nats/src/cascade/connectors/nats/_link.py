"""A link to a NATS server: its subscriptions, and the key that shows others that this process is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from functools import partial

from cascade.connectors.nats import _errors
from cascade.connectors.nats._client import NOT_ALLOWED, NatsClient
from cascade.connectors.nats._kept import Keeping, KeptTelemetry
from cascade.connectors.nats._retained import RetainedMessages
from cascade.connectors.nats._store import TELEMETRY, Store
from cascade.connectors.nats._subjects import WILL, arrived_topic, is_hidden, reply_of, trace_of
from cascade.interfaces.subjects import subject_of, subjects_of
from cascade.transport.faults import LinkLost, MessageRejected
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.dispatcher import Queue
from cascade.transport.incoming.message import IncomingMessage
from cascade.transport.link import LinkParts
from cascade.transport.queue_link import QueueLink
from cascade.transport.retained_proof.retained_set import RETRY

OPEN_TIMEOUT = 1.5
"""Seconds that a link waits for JetStream before it goes on without."""


class NatsLink(QueueLink):
    """A connected client of NATS.

    :param keeping: how the server keeps telemetry for callbacks at QoS 1; None: it does not.
    """

    def __init__(self, client: NatsClient, parts: LinkParts, *, bucket: str, keeping: Keeping | None) -> None:
        self.client = client
        self.store = store = Store(client, bucket=bucket)
        self._bucket = bucket
        self._keeping = keeping
        self._key = subject_of(parts.presence.topic) + ("" if parts.presence.named else WILL)
        # of the subscriptions of each filter
        self._numbers: dict[str, list[int]] = {}
        client.denied = self.denied
        super().__init__(client, parts, send=store.publish, explain=_errors.explain_loss)

    def denied(self, subject: str) -> None:
        """Note that the server refuses a subscription; that of the level above ``#`` alone is not a loss."""
        for topic_filter in self._numbers:
            if subject == subjects_of(topic_filter)[-1].lower():
                self._refuse(topic_filter, NOT_ALLOWED)

    async def prepare(self) -> None:
        """Open the bucket and the stream; go on without them if JetStream takes long."""
        self._start(self._open(), "cascade-nats-open")
        await self._done_or_lost(self.store.answered, timeout=OPEN_TIMEOUT)

    async def _open(self) -> None:
        with contextlib.suppress(LinkLost):
            await self._open_store()
            while not self.store.usable:
                await asyncio.sleep(RETRY)
                await self._open_store()
            if not self._presence.named:
                self.publish_birth_soon()
            elif self._presence.announced == self._presence.session:
                # in vain: nothing kept it
                await self._announce()

    async def _open_store(self) -> None:
        """Open the bucket and the stream, and log once what they cannot do."""
        await self.store.open()
        self._report_limitations(self.store.missing)

    async def publish_presence(self, payload: str, *, ends: bool = False) -> None:
        """Put the birth, which is renewed, or the offline message; of an unnamed process a key that is not a topic."""
        lifetime = self._presence.lifetime
        if lifetime is None or not self.store.usable or self.store.no_presence:
            return
        if ends and not self._presence.named:
            await self._call("publish", self.store.forget, self._key)
        else:
            keep = partial(self.store.keep, self._key, payload.encode(), ttl=None if ends else lifetime)
            await self._call("publish", keep)

    async def open_queue(self, queue: Queue) -> None:
        """Subscribe to the filters of a queue and follow its retained messages; return when the server has answered."""
        if isinstance(queue, CallbackQueue) and _is_telemetry(queue) and await self._reads_kept(queue):
            return
        delivery = self._dispatcher.delivery
        retained = RetainedMessages(queue, store=self.store, delivery=delivery, changed=self._change)
        self._feeds[queue] = retained.feed
        self._start_for(queue, retained.run(), "cascade-nats-retained")
        self._listen(queue.filters)
        await self.client.settle()
        await asyncio.wait({retained.feed.granted})

    async def close_queue(self, queue: Queue, unused: Sequence[str]) -> None:
        self._ignore(self._still_unused(unused))

    async def _reads_kept(self, queue: CallbackQueue) -> bool:
        """Read the stream for a callback if telemetry is kept; return False if it has to listen, at least for now."""
        if self._keeping is None:
            return False
        kept = KeptTelemetry(queue, self._keeping, store=self.store, delivery=self._dispatcher.delivery)
        opened = await self._opens(kept)
        self._start_for(queue, self._read_kept(kept, queue.filter, opened=opened), "cascade-nats-kept")
        return opened

    async def _read_kept(self, kept: KeptTelemetry, topic_filter: str, *, opened: bool) -> None:
        """Read the stream as soon as that is possible; it also brings what the plain subscription brought meanwhile."""
        while not opened:
            await asyncio.sleep(RETRY)
            await self.store.open()
            opened = await self._opens(kept)
        if len(self._dispatcher.queues(topic_filter)) == 1:
            self._ignore([topic_filter])
        await kept.run()

    async def _opens(self, kept: KeptTelemetry) -> bool:
        try:
            return await kept.open()
        except MessageRejected as exc:
            self._state.failed(
                kept.name, "%s keeps no telemetry while this process is away: %s; allow it to publish to "
                "$JS.API.CONSUMER.*.%s.>", self._where, exc, self._bucket,
            )  # fmt: skip
            return False

    def _listen(self, filters: Iterable[str]) -> None:
        for topic_filter in [each for each in filters if each not in self._numbers]:
            handler = partial(self._receive, topic_filter)
            subjects = subjects_of(topic_filter)
            self._numbers[topic_filter] = [self.client.subscribe(each, handler) for each in subjects]

    def _ignore(self, filters: Iterable[str]) -> None:
        for topic_filter in filters:
            for number in self._numbers.pop(topic_filter, ()):
                self.client.unsubscribe(number)

    def _change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        self._listen(added)
        self._ignore(self._still_unused(removed))

    def _receive(
        self, topic_filter: str, subject: str, reply: str, data: bytes, headers: bytes | None
    ) -> None:
        """Offer a message that is not retained to the queues of a filter."""
        if topic_filter.startswith(("+", "#")) and is_hidden(subject):
            return
        if (topic := arrived_topic(subject, self._dispatcher.delivery)) is None:
            return
        # of telemetry it is where the sender awaits the stream's acknowledgement
        reply_to = reply_of(reply) if reply and not topic.startswith(TELEMETRY) else None
        message = IncomingMessage(topic, data, reply_to=reply_to, traceparent=trace_of(headers))
        self._offer_live(topic_filter, message)


def _is_telemetry(queue: CallbackQueue) -> bool:
    """Return whether a callback gets telemetry at QoS 1, which the stream keeps."""
    return queue.filters[queue.filter] > 0 and queue.filter.startswith(TELEMETRY)
