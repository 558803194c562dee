"""A link to a NATS server: its subscriptions, and the key that shows others that this process is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any

from cascade.connectors.nats import _errors
from cascade.connectors.nats._client import NOT_ALLOWED, NatsClient
from cascade.connectors.nats._kept import Keeping, KeptTelemetry
from cascade.connectors.nats._retained import Known, RetainedMessages
from cascade.connectors.nats._store import TELEMETRY, Store
from cascade.connectors.nats._subjects import WILL, first_match, is_internal
from cascade.connectors.nats.config import Settings
from cascade.interfaces.limitation import Limitation
from cascade.interfaces.subjects import subject_of, subjects_of, topic_of
from cascade.interfaces.watch import Lost
from cascade.transport.delivery.callbacks import CallbackQueue
from cascade.transport.delivery.dispatcher import Queue
from cascade.transport.delivery.message import UNDECODABLE, IncomingMessage
from cascade.transport.delivery.watches import WatchQueue
from cascade.transport.errors import LinkLost, MessageRejected
from cascade.transport.link import LEAVE_TIMEOUT, Link, LinkParts
from cascade.transport.looks import REFUSED
from cascade.transport.retained_set import RETRY

OPEN_TIMEOUT = 1.5
"""Seconds that a link waits for JetStream before it goes on without."""
_CONTROL, _STREAM, _PRESENCE, _KEPT = "control", "stream", "presence", "kept"


class NatsLink(Link):
    """A connected client of NATS.

    :param known: what each queue knows of its retained set, from one link to the next.
    :param keeping: how the server keeps telemetry for callbacks at QoS 1; None: it does not.
    """

    def __init__(
        self,
        client: NatsClient,
        parts: LinkParts,
        *,
        settings: Settings,
        known: MutableMapping[Queue, Known],
        keeping: Keeping | None,
    ) -> None:
        self.client = client
        self._store = store = Store(client, bucket=settings.bucket)
        self._settings = settings
        self._known = known
        self._keeping = keeping
        self._kept: dict[Queue, asyncio.Task[None]] = {}
        self._key = subject_of(parts.presence.topic) + ("" if parts.presence.named else WILL)
        self._numbers: dict[str, list[int]] = {}  # of the subscriptions of each filter
        self._retained: dict[Queue, tuple[RetainedMessages, asyncio.Task[None]]] = {}
        self._prepared = False  # the link is there, with or without JetStream
        self._renewing: asyncio.Task[None] | None = None
        client.denied = self.denied
        super().__init__(client, parts, send=store.publish, explain=_errors.explain_loss)

    def read(self) -> None:
        """Do nothing: messages come only after the first subscription."""

    async def subscribe(self, queue: CallbackQueue) -> None:
        """Subscribe to the filter of a callback."""
        await self._call("subscribe", self._subscribe, queue)

    def watch_soon(self, queue: WatchQueue) -> None:
        """Start to subscribe to the filters of a watch."""
        self._start(self._subscribe(queue), "cascade-nats-watch")

    async def unsubscribe(self, queue: Queue, unused: Sequence[str]) -> None:
        """Unsubscribe from the filters that only ``queue`` had."""
        self._known.pop(queue, None)
        followed = self._retained.pop(queue, None)
        if (reading := self._kept.pop(queue, None)) is not None:
            reading.cancel()
        await self._call("unsubscribe", self._unsubscribe, followed, unused)

    async def limitations(self) -> Sequence[Limitation]:
        """Return what the server cannot do for this user."""
        try:
            return await self._store.limitations()
        except LinkLost:
            return ()

    def denied(self, subject: str) -> None:
        """Note that the server refuses a subscription; that of the level above ``#`` alone is not a loss."""
        for topic_filter in self._numbers:
            if subject == subjects_of(topic_filter)[-1].lower():
                self._note_refused(topic_filter, NOT_ALLOWED)
                for queue in self._dispatcher.queues(topic_filter):
                    if isinstance(queue, WatchQueue):
                        queue.note(Lost(REFUSED))

    async def leave(self, *, clean: bool) -> None:
        """Remove the key of an unnamed process, then leave."""
        if clean and self._renewing is not None and not self._presence.named:
            removing = self._loop.create_task(self._store.forget(self._key), name="cascade-nats-forget")
            await asyncio.wait({removing}, timeout=LEAVE_TIMEOUT)
            removing.cancel()
            await asyncio.wait({removing})
            _ = removing.cancelled() or removing.exception()
        await super().leave(clean=clean)

    async def publish_offline(self) -> bool:
        """Publish the offline message, behind which the birth is not renewed."""
        if self._renewing is None:
            return True
        self._renewing.cancel()
        self._renewing = None
        return await super().publish_offline()

    async def _prepare(self) -> None:
        """Open the bucket and the stream; go on without them if JetStream takes long."""
        self._start(self._open(), "cascade-nats-open")
        answered = self._create_task(self._store.answered.wait(), "cascade-nats-answered")
        either: set[asyncio.Future[Any]] = {answered, self.lost}
        await asyncio.wait(either, timeout=OPEN_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        self._prepared = True

    async def _open(self) -> None:
        with contextlib.suppress(LinkLost):
            while True:
                await self._store.open()
                self._report_problems()
                if self._store.usable:
                    break
                await asyncio.sleep(RETRY)
            self._renew_presence_soon()
            if self._prepared and self._presence.named:
                await self._announce()

    def _report_problems(self) -> None:
        """Log once why constraints, presence or the stream are not there."""
        store = self._store
        found = {
            _CONTROL: (
                "no constraints, presence and retained messages: %s; telemetry is sent",
                store.problem,
            ),
            _PRESENCE: ("no presence: %s", store.no_presence),
            _STREAM: ("telemetry is not kept by the server: %s", store.usable and store.no_stream),
        }
        for key, (text, problem) in found.items():
            if problem:
                self._state.failed(key, f"%s: {text}", self._where, problem.text)
            else:
                self._state.works(key)

    def _renew_presence_soon(self) -> None:
        if self._settings.presence and self._store.usable and not self._store.no_presence:
            self._renewing = self._create_task(self._renew_presence(), "cascade-nats-presence")

    async def _renew_presence(self) -> None:
        """Keep the own key alive: the birth, or of an unnamed process a key that is not a topic."""
        while True:
            if not self._presence.named:
                await self._call("publish", partial(self._keep_key, "1"))
            await asyncio.sleep(self._settings.presence_ttl / 3)
            if self._presence.named:
                await self.publish_birth()

    async def _publish_presence(self, payload: str) -> None:
        if self._store.usable and not self._store.no_presence:
            await self._call("publish", partial(self._keep_key, payload))

    async def _keep_key(self, payload: str) -> None:
        ttl = None if self._presence.named and self._renewing is None else self._settings.presence_ttl
        await self._store.keep(self._key, payload.encode(), ttl=ttl)

    async def _resubscribe(self) -> None:
        queues: list[Queue] = [*self._dispatcher.callbacks(), *self._dispatcher.watches()]
        await asyncio.gather(*(self._call("subscribe", self._subscribe, queue) for queue in queues))

    async def _subscribe(self, queue: Queue) -> None:
        """Subscribe to the filters of a queue and follow its retained messages; return when the server has answered."""
        if self._keeping is not None and isinstance(queue, CallbackQueue) and _is_telemetry(queue):
            if await self._reads_kept(queue, self._keeping):
                return
            self._start(self._read_kept_later(queue, self._keeping), "cascade-nats-keep")
        if queue not in self._retained:
            following = RetainedMessages(
                queue,
                self._known.setdefault(queue, Known()),
                store=self._store,
                delivery=self._dispatcher.delivery,
                changed=self._change,
            )
            self._retained[queue] = following, self._create_task(following.run(), "cascade-nats-retained")
        retained, _ = self._retained[queue]
        self._listen(queue.filters)
        await self.client.settle()
        await asyncio.wait({retained.subscribed})

    async def _read_kept_later(self, queue: CallbackQueue, keeping: Keeping) -> None:
        """Try again until the stream can be read: then it brings what the plain subscription brought meanwhile."""
        topic_filter = queue.filter
        while self._dispatcher.has(topic_filter):
            await asyncio.sleep(RETRY)
            await self._store.open()
            if await self._reads_kept(queue, keeping):
                if len(self._dispatcher.queues(topic_filter)) == 1:
                    for number in self._numbers.pop(topic_filter, ()):
                        self.client.unsubscribe(number)
                return

    async def _reads_kept(self, queue: CallbackQueue, keeping: Keeping) -> bool:
        """Read the stream for a callback; return False if it has to listen."""
        if self._store.no_stream is not None:
            return False
        kept = KeptTelemetry(queue, keeping, store=self._store, delivery=self._dispatcher.delivery)
        try:
            await kept.open()
        except MessageRejected as exc:
            self._state.failed(
                (_KEPT, queue.filter), "%s keeps no telemetry while this process is away: %s; allow it to publish to "
                "$JS.API.CONSUMER.*.%s.>", self._where, exc, self._settings.bucket,
            )  # fmt: skip
            return False
        self._kept[queue] = self._create_task(kept.run(), "cascade-nats-kept")
        return True

    def _listen(self, filters: Sequence[str] | Mapping[str, int]) -> None:
        for topic_filter in [each for each in filters if each not in self._numbers]:
            handler = partial(self._receive, topic_filter)
            subjects = subjects_of(topic_filter)
            self._numbers[topic_filter] = [self.client.subscribe(each, handler) for each in subjects]

    async def _unsubscribe(
        self, followed: tuple[RetainedMessages, asyncio.Task[None]] | None, unused: Sequence[str]
    ) -> None:
        for topic_filter in unused:
            if self._dispatcher.has(topic_filter):  # it was subscribed to again since
                continue
            self.refused.pop(topic_filter, None)
            for number in self._numbers.pop(topic_filter, ()):
                self.client.unsubscribe(number)
        if followed is not None:
            followed[1].cancel()
            await followed[0].drop()

    def _change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        unused = [each for each in removed if not self._dispatcher.has(each)]
        self._listen(added)
        self._start(self._unsubscribe(None, unused), "cascade-nats-unsubscribe")

    def _receive(
        self, topic_filter: str, subject: str, reply: str, data: bytes, headers: bytes | None
    ) -> None:
        """Offer a message that is not retained to the queues of a filter."""
        delivery, is_wild = self._dispatcher.delivery, topic_filter.startswith(("+", "#"))
        if is_wild and is_internal(subject):
            return
        try:
            topic = topic_of(subject)
        except ValueError:
            delivery.discarded[UNDECODABLE] += 1
            return
        if is_wild and topic.startswith("$"):
            return
        delivery.received += 1
        message = IncomingMessage(topic, data)
        for queue in self._dispatcher.queues(topic_filter):
            if len(queue.filters) > 1 and first_match(queue.filters, topic) != topic_filter:
                continue  # it comes once more, for that filter
            if (followed := self._retained.get(queue)) is not None:
                followed[0].offer_live(message)
            else:
                queue.offer(message)


def _is_telemetry(queue: CallbackQueue) -> bool:
    """Return whether a callback gets telemetry at QoS 1, which the stream keeps."""
    return queue.filters[queue.filter] > 0 and queue.filter.startswith(TELEMETRY)
