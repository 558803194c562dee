"""A link to an MQTT broker: its subscriptions, the checks of its watches, and the probe for duplicates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cascade.connectors.mqtt._reader import DuplicateFilter, Reader, probe_duplicates
from cascade.connectors.mqtt.config import Settings
from cascade.interfaces.logs import get_logger
from cascade.interfaces.watch import Complete
from cascade.transport.faults import Fault
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.dispatcher import Queue
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.link import Link, LinkParts
from cascade.transport.outbox import Outgoing
from cascade.transport.retained_proof.checks import RetainedChecks
from cascade.transport.retained_proof.retained_set import Unproved

if TYPE_CHECKING:
    from cascade.connectors.mqtt._client_port import ClientPort

log = get_logger("cascade.connectors.mqtt")

UNSUBSCRIBE_AFTER = 1.0
"""Seconds from the probe for duplicates until its filters are unsubscribed: most runs disconnect before."""

_UNPROVED = "retained set"


class MqttLink(Link):
    """A connected client of MQTT.

    :param stored: waits until all that the callbacks got is stored; messages are acknowledged behind it. None: the client
        acknowledges each when it arrives.
    """

    def __init__(
        self,
        client: ClientPort,
        parts: LinkParts,
        *,
        settings: Settings,
        duplicates: DuplicateFilter,
        stored: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.client = client
        self._stored = stored
        self._duplicates = duplicates
        self._released = parts.released
        self._most_in_flight = settings.in_flight_limit
        self._reader = Reader(client, parts.dispatcher, duplicates, fail=self.fail)
        self._check_lock = asyncio.Lock()
        self._probing: asyncio.Task[None] | None = None
        # by filter: an UNSUBSCRIBE that the broker has not answered
        self._leaving: dict[str, asyncio.Future[None]] = {}
        # from the filters of the probe
        self._unsubscribing: asyncio.TimerHandle | None = None
        super().__init__(
            client,
            parts,
            send=client.publish,
            explain=partial(_explain_loss, tls=settings.tls),
            limit=settings.in_flight_limit,
        )

    def facts(self) -> dict[str, Any]:
        """Return what ``ConnectorStatistics`` states about the current link."""
        limits = {"receive_maximum": self.client.receive_maximum, "packet_limit": self.client.packet_limit}
        return {**super().facts(), **limits}

    async def establish(self) -> None:
        """Do what every link does, within the limits of the broker's CONNACK."""
        self.senders.limit = min(self._most_in_flight, self.client.receive_maximum or self._most_in_flight)
        await super().establish()

    def read(self) -> None:
        """Start to read messages once the session is released."""
        self._start(self._read(), "cascade-mqtt-reader")
        if self._stored is not None:
            # a session may bring more than may wait unsettled before the broker answers the first packet
            self._released.set()
            self._start(self._settle(self._stored), "cascade-mqtt-settle")

    async def subscribe(self, queue: CallbackQueue) -> None:
        """Subscribe to the filter of a callback."""
        await self._subscribe(queue.filter, self._dispatcher.qos(queue.filter))

    async def unsubscribe(self, queue: Queue, unused: Sequence[str]) -> None:
        """Unsubscribe from the filters that only ``queue`` had."""
        if unneeded := self._unneeded(queue, unused):
            await self._unsubscribe(unneeded)
        if isinstance(queue, WatchQueue):
            await self._raise_qos(queue)

    def unsubscribe_soon(self, queue: Queue, unused: Sequence[str]) -> None:
        """Start to unsubscribe."""
        if unneeded := self._unneeded(queue, unused):
            self._start(self._unsubscribe(unneeded), "cascade-mqtt-unsubscribe")

    async def stop(self) -> list[Outgoing]:
        """End all tasks, restore the messages in flight, and read what has arrived."""
        if self._unsubscribing is not None:
            self._unsubscribing.cancel()
        dropped = await super().stop()
        # what is not acknowledged comes again
        if self._stored is None:
            self._reader.read_rest()
        return dropped

    async def prepare(self) -> None:
        self._duplicates.forget()

    def watch_soon(self, queue: WatchQueue) -> RetainedChecks | None:
        """Subscribe to the filters of a watch, before any message is sent that is published from now on."""
        if (retained := queue.retained) is None:
            return None
        # only a name has a canary
        lock = self._check_lock if self._presence.named else asyncio.Lock()
        checks = RetainedChecks(queue, retained, _Packets(self, queue), lock=lock, report=self._report_set)
        self._start(checks.run(), "cascade-mqtt-watch")
        return checks

    async def release(self, filters: Sequence[str]) -> None:
        """Unsubscribe from filters that no queue has; give the others the QoS back that their callbacks need."""
        if unused := [each for each in filters if not self._dispatcher.has(each)]:
            await self._unsubscribe(unused)
        needed = {each: self._dispatcher.qos(each) for each in filters if self._dispatcher.has(each)}
        if raised := {each: qos for each, qos in needed.items() if qos}:
            await self._subscribe_all(raised)

    async def publish_sync(self, topic: str, payload: dict[str, str], *, retain: bool) -> None:
        """Publish a message of a check on this link: it must not wait in the outbox for another one."""
        message = Outgoing(0, topic, json.dumps(payload), qos=0, retain=retain)
        await self._answer("publish", self.client.publish, message)
        self._start_probe()  # behind the check, which does not wait for it

    async def _subscribe(self, topic_filter: str, qos: int) -> None:
        """Subscribe to one filter."""
        await self.left([topic_filter])
        await self._probe_duplicates([topic_filter])
        refused = await self._call("subscribe", self.client.subscribe, topic_filter, qos)
        self._check([topic_filter], refused)

    async def _subscribe_all(self, filters: Mapping[str, int]) -> None:
        """Subscribe to several filters in one packet."""
        await self.left(filters)
        await self._probe_duplicates(filters)
        refused = await self._call("subscribe", self.client.subscribe, list(filters.items()))
        self._check(list(filters), refused)

    async def _unsubscribe(self, filters: list[str]) -> None:
        """Unsubscribe from filters that no queue has."""
        await self._call("unsubscribe", self._unsubscribe_unused, filters)

    async def _unsubscribe_unused(self, filters: list[str]) -> None:
        """Leave out what was subscribed to again since: that packet may have left already."""
        if not (unused := self._still_unused(filters)):
            return
        answered = self._loop.create_future()
        self._leaving.update(dict.fromkeys(unused, answered))
        try:
            await self.client.unsubscribe(unused)
        finally:
            answered.set_result(None)
            for each in unused:
                if self._leaving.get(each) is answered:
                    del self._leaving[each]

    async def left(self, filters: Iterable[str]) -> None:
        """Wait until no UNSUBSCRIBE of these filters is unanswered.

        Some brokers (aedes, mosca) take both packets up at the same time, and a SUBSCRIBE that follows at once is lost.
        """
        while leaving := {self._leaving[each] for each in filters if each in self._leaving}:
            await asyncio.wait(leaving)

    async def _probe_duplicates(self, filters: Iterable[str]) -> None:
        """Find out, before the first of these filters that overlaps another one, whether the broker sends duplicates."""
        self._start_probe()
        unknown = self._duplicates.sent is None
        if self._probing is not None and unknown and self._duplicates.overlap(filters):
            await self._done_or_lost(self._probing)

    def _start_probe(self) -> None:
        unknown = self._duplicates.sent is None and self._duplicates.overlapping
        if unknown and self._probing is None and self.client.can_probe:
            self._released.set()
            self._probing = self._create_task(self._probe(), "cascade-mqtt-probe")

    async def _probe(self) -> None:
        try:
            unused = await probe_duplicates(
                self.client, self._dispatcher, self._duplicates, self._presence.source_id
            )
            if unused:
                self._unsubscribing = self._loop.call_later(
                    UNSUBSCRIBE_AFTER, self._unsubscribe_probe, unused
                )
        except Exception as exc:
            self.fail(exc)

    def _unsubscribe_probe(self, filters: list[str]) -> None:
        if not self.lost.done():
            self._start(self._unsubscribe(filters), "cascade-mqtt-unsubscribe")

    async def resubscribe(self) -> None:
        filters = {
            topic_filter: self._dispatcher.qos(topic_filter)
            for queue in self._dispatcher.callbacks()
            for topic_filter in queue.filters
        }
        checks = [self.watch_soon(queue) for queue in self._dispatcher.watches()]
        if len(filters) == 1:
            await self._subscribe(*next(iter(filters.items())))
        elif filters:
            await self._subscribe_all(filters)
        for each in checks:
            if each is not None:
                await self._done_or_lost(each.subscribed)

    async def subscribe_watch(self, queue: WatchQueue, filters: Sequence[str]) -> list[str] | None:
        """Subscribe to filters of a watch at QoS 0; return those that the broker refused, None without an answer."""
        if queue.ended:
            return None
        # In this task, so that the packet leaves before what is published after watch() returned.
        answer = await self._answer("subscribe", self.client.subscribe, [(each, 0) for each in filters])
        if self.lost.done():
            return None
        if answer is None:  # the client itself has refused to send the packet
            return [*filters]
        self._check([*filters], answer)
        return [each for each, code in zip(filters, answer, strict=False) if code is not None]

    def _report_set(self, result: Unproved | Complete) -> None:
        """Log once that the broker does not show that the retained set is complete."""
        if isinstance(result, Complete):
            if result.proved:
                self._state.works(_UNPROVED)
            return
        self._state.failed(
            _UNPROVED,
            "%s: %s; what was cleared or set while this process was away may be missed: %s",
            self._where, result.cause, result.remedy,
        )  # fmt: skip

    def _check(self, filters: list[str], refused: list[int | None] | None) -> None:
        """Note which filters the broker has granted and refused; None: it has not answered."""
        for topic_filter, code in zip(filters, refused or (), strict=False):
            if code is None:
                self._duplicates.grant(topic_filter)
                self._note_granted(topic_filter)
            else:
                self._duplicates.refuse(topic_filter)
                self._note_refused(topic_filter, code)

    async def _settle(self, stored: Callable[[], Awaitable[None]]) -> None:
        """Acknowledge each message when all callbacks have returned and what they got is stored."""
        try:
            while True:
                packets = await self.client.unsettled()
                for queue in self._dispatcher.callbacks():
                    await queue.idle()
                await stored()
                self.client.settle(packets)
        except Exception as exc:
            self.fail(exc)

    async def _read(self) -> None:
        await self._released.wait()
        await self._reader.read()

    def _unneeded(self, queue: Queue, unused: Sequence[str]) -> list[str]:
        """End the checks of a watch; return the filters that are no longer needed."""
        if not isinstance(queue, WatchQueue) or queue.watch_link is None:
            return [*unused]
        asked = (topic for topic in queue.watch_link.end() if not self._dispatcher.has(topic))
        return [*dict.fromkeys((*unused, *asked))]

    async def _raise_qos(self, watched: WatchQueue) -> None:
        """Subscribe at the QoS that callbacks asked for, where a watch of the same filter required QoS 0."""
        subscribed = self._dispatcher.filters()
        raised = {each: subscribed[each] for each in watched.filters if subscribed.get(each)}
        if raised:
            await self._subscribe_all(raised)


def _explain_loss(exc: BaseException, *, tls: bool) -> Fault:
    # Most links of a program are not lost.
    from cascade.connectors.mqtt._errors import explain_loss

    return explain_loss(exc, tls=tls)


class _Packets:
    """The packets of the checks of one watch on a link."""

    def __init__(self, link: MqttLink, queue: WatchQueue) -> None:
        self._link = link
        self._queue = queue

    async def left(self, filters: Sequence[str]) -> None:
        await self._link.left(filters)

    async def subscribe(self, filters: Sequence[str]) -> Sequence[str] | None:
        return await self._link.subscribe_watch(self._queue, filters)

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        await self._link.release(filters)

    async def publish(self, topic: str, payload: dict[str, str], *, retain: bool) -> None:
        await self._link.publish_sync(topic, payload, retain=retain)
