"""From ``connect`` to ``disconnect``: one link after another, with back-off between them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from cascade.connectors.mqtt import _aiomqtt, _complaints, _errors
from cascade.connectors.mqtt._dispatch import Dispatcher
from cascade.connectors.mqtt._errors import SLOW_RETRY, Fault, Kind
from cascade.connectors.mqtt._link import Link
from cascade.connectors.mqtt._outbox import UNSENT, Outbox
from cascade.connectors.mqtt._presence import Presence
from cascade.connectors.mqtt._progress import Progress
from cascade.connectors.mqtt._retry import SLOW_PAUSE, STEADY, Retry
from cascade.connectors.mqtt._turns import TurnBudget
from cascade.connectors.mqtt.config import Settings
from cascade.interfaces.stream import Lost

log = logging.getLogger("cascade.connectors.mqtt")

ENCODING = 0.001
"""Seconds that callers of publish may spend on JSON in one turn; the rest is made when it leaves."""

_abandoned: set[asyncio.Task[Any]] = set()  # entering tasks that nobody waits for; each ends by itself


class Session:
    """Keeps a link up. Made on the event loop on which it stays.

    :param make_client: returns a new client for each attempt.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        outbox: Outbox,
        dispatcher: Dispatcher,
        presence: Presence,
        make_client: Callable[[], Any],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.budget = TurnBudget(ENCODING)
        self.link: Link | None = None
        self.connections = 0
        self.settled_first: asyncio.Future[Fault | None] = self.loop.create_future()
        self._released = asyncio.Event()
        self._settings = settings
        self._outbox = outbox
        self._dropped_before = Counter(outbox.dropped)
        self._dispatcher = dispatcher
        self._presence = presence
        self._make_client = make_client
        self._first_client = make_client()
        self.progress = Progress(outbox)
        self._told: Kind | None = None
        self._was_linked = False
        self._retry = Retry(settings.connect_timeout)
        self._where = f"{settings.hostname}:{settings.port}"
        self._quiet = _aiomqtt.QuietLogger(_aiomqtt.LOGGER)
        self._closing = False
        self._inert = False
        self._context: Any = None
        self.task = self.loop.create_task(self._run(), name=f"cascade-mqtt-session {self._where}")

    @property
    def linked(self) -> bool:
        """Whether messages can go out now."""
        return self.link is not None and self.link.up

    async def first_attempt(self, timeout: float) -> Fault | None:
        """Wait for the outcome of the first attempt; return why there is no link yet, or None."""
        await asyncio.wait({self.settled_first}, timeout=timeout)
        if self.settled_first.done():
            return self.settled_first.result()
        return _errors.silent("the connection", tls=self._settings.tls)

    def release(self) -> None:
        """Let messages be read: whoever called ``connect`` has had a chance to subscribe."""
        self._released.set()

    def wake(self) -> None:
        """Let a sender look for work."""
        if (link := self.link) is not None:
            link.senders.wake()
        if (progress := self.progress).waiters:
            progress.pulse()

    def tell(self, fault: Fault) -> None:
        """Say why there is no link: once, and again if it turns out that somebody has to act."""
        if self._told is not None and (self._told is fault.kind or fault.kind not in SLOW_RETRY):
            return
        self._told = fault.kind
        what = "lost the connection" if self._was_linked else "no connection"
        how = f"once every {SLOW_PAUSE:g} s" if fault.kind in SLOW_RETRY else "in the background"
        log.warning("%s to %s: %s; trying again %s", what, self._where, fault.text, how)

    async def close(self, drain_timeout: float, *, caller: asyncio.Task[Any] | None = None) -> None:
        """Drain, leave cleanly, and leave nothing behind.

        :param caller: the task of the callback that asks for this, if one does: it is not cancelled.
        """
        self._closing = True
        if not self.settled_first.done():
            self.settled_first.set_result(None)  # whoever waits in connect() waits for nothing more
        try:
            if drain_timeout:
                await self.progress.drain(drain_timeout, linked=lambda: self.linked)
        finally:
            self.task.cancel()
            try:
                await asyncio.wait({self.task})
            finally:  # also when this is cancelled once more
                self._give_up_rest()
                await self._dispatcher.stop(spare=caller)

    def die(self) -> None:
        """In a forked child, or after the loop: close the socket and do nothing more, not even a good-bye."""
        self._inert = True
        _aiomqtt.close_in_child(self._context)
        self._outbox.restore(blame=False)
        if not self.loop.is_closed():
            self.task.cancel()

    async def hear_presence(self, _topic: str, message: dict[str, Any]) -> None:
        """Answer a foreign good-bye on the own status topic."""
        link = self.link
        if self._presence.hears(message, self.loop.time()) and link is not None and not self._closing:
            await link.say_presence(self._presence.birth())

    async def _run(self) -> None:
        while True:
            self._was_linked, sent, began = False, self._outbox.sent, self.loop.time()
            try:
                fault = await self._attempt()
            except Exception as exc:
                log.exception(
                    "an attempt to connect to %s failed in a way that nobody thought of", self._where
                )
                fault = _errors.explain(exc)
            steady = self.loop.time() - began >= STEADY
            useful = self._was_linked and (steady or self._outbox.sent > sent)
            await asyncio.sleep(self._pause(fault, useful=useful))

    async def _attempt(self) -> Fault:
        context, self._first_client = self._first_client or self._make_client(), None
        self._context = context
        _aiomqtt.prepare(
            context,
            given=self._settings.client,
            connect_timeout=self._settings.connect_timeout,
            answer_timeout=self._retry.patience,
            logger=self._quiet,
            refused=self._note_refusal,
        )
        entering = self.loop.create_task(context.__aenter__(), name="cascade-mqtt-enter")
        try:
            await asyncio.wait({entering})
        except asyncio.CancelledError:
            if not self._inert:
                _abandon(context, entering)
            raise
        if (exc := entering.exception()) is not None:
            _aiomqtt.discard(context, exc)
            return self._failed(_errors.explain(exc, tls=self._settings.tls))
        return await self._serve(context, entering.result())

    async def _serve(self, context: Any, client: Any) -> Fault:
        link = self.link = Link(
            context,
            client,
            settings=self._settings,
            outbox=self._outbox,
            dispatcher=self._dispatcher,
            presence=self._presence,
            released=self._released,
            on_settled=self.progress.pulse,
        )
        try:
            link.read()
            await link.establish()
            if link.up:
                self._established()
            await asyncio.wait({link.lost})
            return self._failed(link.lost.result())
        finally:
            await self._end(link)

    async def _end(self, link: Link) -> None:
        if self._inert:
            return
        try:
            said = self._closing and await self._say_goodbye(link)
            _complaints.put_aside(await link.stop())
            await link.leave(clean=said or not self._presence.named)
        finally:
            link.drop()
            self.link = None
            for watch in self._dispatcher.watches():
                watch.tell(Lost("the link is down"))
            self.progress.pulse()

    async def _say_goodbye(self, link: Link) -> bool:
        """Say that this session ends; return whether that, and all before it, has left."""
        if not self._presence.named or not link.up or self._outbox.pending:
            return False
        return await link.say_goodbye()

    def _note_refusal(self, reason: int) -> None:
        if self.link is not None:
            self.link.senders.note_refusal(reason)

    def _established(self) -> None:
        self.connections += 1
        self._told = None
        self._was_linked = True
        self._quiet.renew()
        log.info("connected to %s", self._where)
        if not self.settled_first.done():
            self.settled_first.set_result(None)
        self.progress.pulse()

    def _failed(self, fault: Fault) -> Fault:
        if fault.kind is Kind.TAKEN_OVER:
            self._presence.taken_over(self.loop.time())
        if first := not self.settled_first.done():
            self.settled_first.set_result(fault)  # and connect() tells it
        if self._told is not None or not first:
            self.tell(fault)
        return fault

    def _pause(self, fault: Fault, *, useful: bool) -> float:
        contested = self._presence.contested(self.loop.time())
        if contested:
            log.error(
                "another process uses the name %s at %s: each puts the other out; give every process a "
                "source_id of its own; trying again in %g s",
                self._settings.source_id or self._settings.client_id, self._where, SLOW_PAUSE,
            )  # fmt: skip
        return self._retry.pause(fault, useful=useful, contested=contested)

    def _give_up_rest(self) -> None:
        self._outbox.clear(UNSENT)
        self.progress.pulse()
        _complaints.undelivered(self._where, self._outbox.dropped - self._dropped_before)


def _abandon(context: Any, entering: asyncio.Task[Any]) -> None:
    _aiomqtt.abandon(context)
    _abandoned.add(entering)

    def over(task: asyncio.Task[Any]) -> None:
        _abandoned.discard(task)
        exc = None if task.cancelled() else task.exception()
        _aiomqtt.discard(context, exc or asyncio.CancelledError())

    entering.add_done_callback(over)
