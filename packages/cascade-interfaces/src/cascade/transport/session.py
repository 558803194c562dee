"""From ``connect`` to ``disconnect``: one link after another, with back-off between them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from cascade.interfaces.logs import LOSS
from cascade.interfaces.watch import Lost
from cascade.transport.backoff import SLOW_PAUSE, STEADY, Backoff
from cascade.transport.event_loop import LoopBudget
from cascade.transport.faults import Fault, Kind
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.dispatcher import Dispatcher, Queue
from cascade.transport.incoming.message import IncomingMessage
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.link import Link, LinkClient
from cascade.transport.outbox import GIVEN_BACK, POISON, SUPERSEDED, UNSENT, Outbox
from cascade.transport.presence import Presence
from cascade.transport.settings import ConnectorSettings
from cascade.transport.state_log import StateLog
from cascade.transport.waiting import AwakeTimeout, Drain

PUBLISHING = 0.001
"""Seconds of publishing in one iteration of the loop after which a caller yields, so that the senders send meanwhile."""

DRAIN_PAUSE = 0.5
"""The longest pause between two attempts to connect while ``disconnect`` has messages to send, in seconds."""

# abandoned attempts to connect; each ends by itself
_abandoned: set[asyncio.Task[None]] = set()

ClientT = TypeVar("ClientT", bound=LinkClient)


class SessionParts(NamedTuple, Generic[ClientT]):
    """What a connector gives each of its sessions."""

    settings: ConnectorSettings
    outbox: Outbox
    dispatcher: Dispatcher
    presence: Presence
    make_client: Callable[[], ClientT]
    """Returns a new client for each attempt."""
    make_link: Callable[[ClientT, Session[ClientT]], Link]
    """Returns the link of a client that has connected."""
    explain: Callable[[BaseException | None], Fault]
    """Returns why a client could not connect, from what it raised; None: it did not answer."""
    on_linked: Callable[[], None]
    """Called when a link is up."""
    log: logging.Logger


class Session(Generic[ClientT]):
    """Keeps a link up. Created on the event loop on which it stays."""

    def __init__(self, parts: SessionParts[ClientT]) -> None:
        self.loop = asyncio.get_running_loop()
        self.budget = LoopBudget(PUBLISHING)
        self.link: Link | None = None
        self.first_outcome: asyncio.Future[Fault | None] = self.loop.create_future()
        self.released = asyncio.Event()
        """Set when messages may be read: the caller of ``connect`` has had a chance to subscribe."""
        self.drain = Drain(parts.outbox)
        self.state = StateLog(parts.log)
        self._parts = parts
        self._dropped_before = Counter(parts.outbox.dropped)
        self._birth_timer: asyncio.TimerHandle | None = None
        self._first_client: ClientT | None = parts.make_client()
        self._client: ClientT | None = None
        self._logged: Kind | None = None
        self._was_linked = False
        self._link_ended = -math.inf
        self._backoff = Backoff(parts.settings.connect_timeout)
        self._closing = False
        self._draining: asyncio.Future[None] = self.loop.create_future()
        self._inert = False
        self.task = self.loop.create_task(self._run(), name=f"cascade-session {parts.settings.address}")

    @property
    def linked(self) -> bool:
        """Whether messages can be sent now."""
        return self.link is not None and self.link.up

    def _unlinked_for(self) -> float:
        """Return the seconds since messages could be sent: 0 if they can, infinity if they never could."""
        return 0.0 if self.linked else self.loop.time() - self._link_ended

    async def first_attempt(self, timeout: float) -> Fault | None:
        """Wait for the outcome of the first attempt; return why it failed so far, or None.

        :param timeout: seconds; those in which this process stands still do not count.
        """
        await AwakeTimeout(timeout).wait(self.first_outcome)
        if self.first_outcome.done():
            return self.first_outcome.result()
        return self._parts.explain(None)

    async def flush(self, timeout: float | None) -> bool:
        """Wait up to ``timeout`` seconds; return whether everything published before is sent or dropped.

        None: within the limits of :meth:`close`.
        """
        self._hurry()
        if timeout is not None:
            return await self.drain.flush(timeout)
        limit, target = self._parts.settings.drain_timeout, self._parts.outbox.accepted
        return await self.drain.drain(limit, unlinked_for=self._unlinked_for, target=target)

    def release(self) -> None:
        """Allow messages to be read: the caller of ``connect`` has had a chance to subscribe."""
        self.released.set()

    def wake(self) -> None:
        """Wake a sender."""
        if (link := self.link) is not None:
            link.senders.wake()
        if (drain := self.drain).waiters:
            drain.notify()

    def log_fault(self, fault: Fault) -> None:
        """Log why a link failed: once, and again if it turns out that a person has to act."""
        if self._logged is not None and (self._logged is fault.kind or not fault.slow):
            return
        self._logged = fault.kind
        what = "lost the connection" if self._was_linked else "no connection"
        how = f"once every {SLOW_PAUSE:g} s" if fault.slow else "in the background"
        self._parts.log.warning(
            "%s to %s: %s; trying again %s", what, self._parts.settings.address, fault.text, how
        )

    async def subscribe(self, queue: CallbackQueue) -> None:
        """Subscribe to the filter of a new callback, if there is a link."""
        if self.link is not None:
            await self.link.subscribe(queue)

    def watch_soon(self, queue: WatchQueue) -> None:
        """Start to subscribe to the filters of a new watch, if there is a link."""
        if self.link is not None:
            self.link.watch_soon(queue)

    async def unsubscribe(self, queue: Queue, unused: Sequence[str]) -> None:
        """Unsubscribe from the filters that only ``queue`` had, if there is a link."""
        if self.link is not None:
            await self.link.unsubscribe(queue, unused)

    def unsubscribe_soon(self, queue: Queue, unused: Sequence[str]) -> None:
        """Start to unsubscribe, if there is a link."""
        if self.link is not None:
            self.link.unsubscribe_soon(queue, unused)

    async def close(self, drain_timeout: float, *, caller: asyncio.Task[Any] | None = None) -> None:
        """Drain, disconnect, and leave nothing behind.

        :param caller: the task of the callback that asks for this, if one does: it is not cancelled.
        """
        self._closing = True
        if not self._draining.done():
            self._draining.set_result(None)
        self._plan_birth()
        if not self.first_outcome.done():
            self.first_outcome.set_result(None)  # connect() stops waiting
        try:
            if drain_timeout:
                self._hurry()
                await self.drain.drain(drain_timeout, unlinked_for=self._unlinked_for)
        finally:
            if not self.loop.is_closed():
                await self._stop(caller)

    async def _stop(self, caller: asyncio.Task[Any] | None) -> None:
        """End the session's task, then every call of a callback but that in ``caller``."""
        self.task.cancel()
        try:
            await asyncio.wait({self.task})
        finally:  # also when this is cancelled once more
            self._drop_rest()
            await self._parts.dispatcher.stop(skip=caller)

    def _hurry(self) -> None:
        """Send what waits as fast as the link can: the program waits for that."""
        if self.link is not None:
            self.link.senders.hurry()

    def die(self) -> None:
        """In a forked child, or after the loop: close the socket and send nothing, no offline message either."""
        self._inert = True
        if self._client is not None:
            self._client.close_in_child()
        self._parts.outbox.restore(blame=False)
        if not self.loop.is_closed():
            self.task.cancel()

    def receive_status(self, message: IncomingMessage) -> None:
        """Publish the birth again, at most once a second, if the own status topic holds anything else."""
        if self._parts.presence.receive(message.payload, self.loop.time()):
            self.state.failed(
                "name",
                "%s: another process announces itself as %s: give every process a name (source_id) of its own",
                self._parts.settings.address, self._parts.presence.source_id,
            )  # fmt: skip
        self._plan_birth()

    def _plan_birth(self) -> None:
        """Publish the birth again when it is due, for as long as there is a link."""
        if self._birth_timer is not None:
            self._birth_timer.cancel()
            self._birth_timer = None
        if (due := self._parts.presence.due(closing=self._closing)) is not None and self.linked:
            self._birth_timer = self.loop.call_at(due, self._publish_birth_again)

    def _publish_birth_again(self) -> None:
        due = self._parts.presence.due(closing=self._closing)
        if due is not None and due <= self.loop.time() and self.linked and self.link is not None:
            self.link.publish_birth_soon()
        self._plan_birth()

    async def _run(self) -> None:
        while True:
            self._was_linked, sent, began = False, self._parts.outbox.sent, self.loop.time()
            try:
                fault = await self._attempt()
            except Exception as exc:
                self._parts.log.exception(
                    "unexpected error while connecting to %s; please report it", self._parts.settings.address
                )
                fault = self._parts.explain(exc)
            steady = self.loop.time() - began >= STEADY
            useful = self._was_linked and (steady or self._parts.outbox.sent > sent)
            await self._sleep(self._pause(fault, useful=useful))

    async def _sleep(self, pause: float) -> None:
        """Wait for the next attempt; a drain makes one at once, and the following ones soon."""
        if pause >= SLOW_PAUSE:
            if pause > self._parts.settings.drain_timeout:
                # a drain would end before the next attempt
                self._link_ended = -math.inf
            await asyncio.sleep(pause)
        elif self._closing:
            await asyncio.sleep(min(pause, DRAIN_PAUSE))
        else:
            await asyncio.wait({self._draining}, timeout=pause)

    async def _attempt(self) -> Fault:
        """Connect and serve the link until it is lost; return why it failed."""
        client, self._first_client = self._first_client or self._parts.make_client(), None
        self._client = client
        connecting = self.loop.create_task(client.connect(self._backoff.answer_timeout), name="cascade-enter")
        try:
            await asyncio.wait({connecting})
        except asyncio.CancelledError:
            if not self._inert:
                _abandon(client, connecting)
            raise
        if (exc := connecting.exception()) is None:
            return await self._serve(client)
        client.close()
        return self._failed(self._parts.explain(exc))

    async def _serve(self, client: ClientT) -> Fault:
        link = self.link = self._parts.make_link(client, self)
        try:
            link.read()
            await link.establish()
            if link.up:
                self._established()
            await asyncio.wait({link.lost})
            if self._was_linked:
                self._link_ended = self.loop.time()
            return self._failed(link.lost.result())
        finally:
            await self._end(link)

    async def _end(self, link: Link) -> None:
        if self._inert or self.loop.is_closed():
            return
        try:
            published = self._closing and await self._publish_offline(link)
            for item in await link.stop():
                self._parts.log.warning(
                    "a message for %s %s and is put aside (%d bytes)", item.topic, POISON, item.size
                )
            await link.leave(clean=published or not self._parts.presence.named)
        finally:
            link.drop()
            self.link = None
            for queue in self._parts.dispatcher.watches():
                queue.note(Lost("the link is down"))
            self.drain.notify()

    async def _publish_offline(self, link: Link) -> bool:
        """Publish the offline message; return whether it, and everything before it, was sent."""
        named = self._parts.presence.named
        if not (named or self._parts.presence.lifetime) or (
            named and (not link.up or self._parts.outbox.pending)
        ):
            return False
        return await link.publish_offline()

    def _established(self) -> None:
        self._logged = None
        self._was_linked = True
        self._parts.on_linked()
        self._parts.log.info("connected to %s", self._parts.settings.address)
        self._plan_birth()
        if not self.first_outcome.done():
            self.first_outcome.set_result(None)
        self.drain.notify()

    def _failed(self, fault: Fault) -> Fault:
        if fault.kind is Kind.TAKEN_OVER or (self._was_linked and self._may_be_take_over(fault)):
            self._parts.presence.taken_over(self.loop.time())
        if first := not self.first_outcome.done():
            self.first_outcome.set_result(fault)  # connect() logs or raises it
        if self._logged is not None or not first:
            self.log_fault(fault)
        return fault

    def _may_be_take_over(self, fault: Fault) -> bool:
        """Return whether a link may have ended because another client has the same client id.

        MQTT 3.1.1 does not report that: the broker only closes the connection. A connector with presence has better
        evidence, and a message that is tested because it may break the link is the likelier cause.
        """
        return (
            self._parts.settings.fixed_client_id is not None
            and fault.kind is Kind.CLOSED
            and not self._parts.outbox.testing
        )

    def _contest(self) -> str:
        client_id = self._parts.settings.fixed_client_id
        if client_id is not None:
            return f"another process seems to use the client id {client_id}"
        return f"another process uses the name {self._parts.settings.source_id}"

    def _pause(self, fault: Fault, *, useful: bool) -> float:
        contested = self._parts.presence.contested(self.loop.time())
        if contested:
            self._parts.log.error(
                "%s at %s: each disconnects the other; give every process a %s of its own; trying again in %g s",
                self._contest(), self._parts.settings.address, "client_id" if self._parts.settings.fixed_client_id else "name (source_id)",
                SLOW_PAUSE,
            )  # fmt: skip
        return self._backoff.pause(
            silent=fault.kind is Kind.SILENT, slow=contested or fault.slow, useful=useful
        )

    def _drop_rest(self) -> None:
        self._parts.outbox.clear(UNSENT)
        self.drain.notify()
        lost = self._parts.outbox.dropped - self._dropped_before
        # what was given back is not lost: who has it says what becomes of it
        found = (f"{count} {why}" for why, count in lost.items() if why not in (SUPERSEDED, GIVEN_BACK))
        if parts := ", ".join(found):
            self._parts.log.warning(
                "messages for %s that were not delivered: %s",
                self._parts.settings.address,
                parts,
                extra={LOSS: True},
            )


def _abandon(client: LinkClient, connecting: asyncio.Task[None]) -> None:
    """End an attempt to connect that is no longer wanted, without waiting for it."""
    client.close()
    _abandoned.add(connecting)

    def finished(task: asyncio.Task[None]) -> None:
        _abandoned.discard(task)
        _ = task.cancelled() or task.exception()
        client.close()

    connecting.add_done_callback(finished)
