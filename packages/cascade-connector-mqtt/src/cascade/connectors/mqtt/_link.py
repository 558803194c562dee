"""One link to the broker, from the CONNACK to its end: its tasks, and the calls in progress."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from cascade.connectors.mqtt import _aiomqtt, _errors
from cascade.connectors.mqtt._dispatch import Dispatcher
from cascade.connectors.mqtt._errors import Fault, Kind
from cascade.connectors.mqtt._listeners import WatchListener
from cascade.connectors.mqtt._outbox import Outbox, Outgoing
from cascade.connectors.mqtt._presence import Presence
from cascade.connectors.mqtt._reader import Reader
from cascade.connectors.mqtt._senders import Senders
from cascade.connectors.mqtt._trial import sends_copies
from cascade.connectors.mqtt.config import Settings
from cascade.interfaces.stream import Linked, Lost

log = logging.getLogger("cascade.connectors.mqtt")

ANSWER_TIMEOUT = 10.0
LEAVE_TIMEOUT = 0.5
STUCK_TIMEOUT = 30.0
"""A message that is not acknowledged for so long, or up to twice as long, means a link that is none."""

_FAILED = object()


class Link:
    """A client that was entered. ``lost`` is set when the link is down, for whatever reason."""

    def __init__(
        self,
        context: Any,
        client: Any,
        *,
        settings: Settings,
        outbox: Outbox,
        dispatcher: Dispatcher,
        presence: Presence,
        released: asyncio.Event,
        on_settled: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context
        self.client = client
        self._settings = settings
        self._outbox = outbox
        self._dispatcher = dispatcher
        self._presence = presence
        self._released = released
        self.lost: asyncio.Future[Fault] = self._loop.create_future()
        self._reader = Reader(context, client, dispatcher, fail=self.fail)
        self.senders = Senders(client, outbox, fail=self.fail, on_settled=on_settled)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._learning: asyncio.Task[None] | None = None
        _aiomqtt.entered(context, given=settings.client, lost=self._went_down)

    @property
    def up(self) -> bool:
        """Whether messages can go out."""
        return self.senders.open

    async def establish(self) -> None:
        """Subscribe to everything in one packet, tell who is there, then let messages go."""
        self._dispatcher.copies.forget()
        await self._resubscribe()
        if self._presence.named and not self.lost.done():
            await self.say_presence(self._presence.birth())
        if self.lost.done():
            return
        self.senders.start()
        self._own(self._watch_progress(), "cascade-mqtt-watchdog")
        for number in range(self._settings.window):
            self._own(self.senders.send(), f"cascade-mqtt-sender {number}")

    def read(self) -> None:
        """Begin to read messages once that is released."""
        self._own(self._read(), "cascade-mqtt-reader")

    def fail(self, exc: BaseException) -> None:
        """Take note that the link is down."""
        why = _aiomqtt.why_lost(self._context) or exc
        self._lose(_errors.explain_loss(why, tls=self._settings.tls))

    async def subscribe(self, topic_filter: str, qos: int) -> None:
        """Subscribe to one filter."""
        await self._learn_about_copies()
        options = {"qos": qos} if qos else {}
        self._check([topic_filter], await self._call("subscribe", topic_filter, **options))

    async def subscribe_all(self, filters: Mapping[str, int]) -> bool:
        """Subscribe to several filters in one packet; return whether all were granted."""
        await self._learn_about_copies()
        return self._check(list(filters), await self._call("subscribe", list(filters.items())))

    async def unsubscribe(self, filters: list[str]) -> None:
        """Unsubscribe from filters that nobody listens to any more."""
        await self._call("unsubscribe", filters if len(filters) > 1 else filters[0])

    def watch_soon(self, listener: WatchListener) -> None:
        """Subscribe to the filters of a stream and tell it so; before what is published from now on."""
        self._own(self._watch(listener), "cascade-mqtt-watch")

    def unsubscribe_soon(self, filters: list[str]) -> None:
        """Do what ``unsubscribe`` does, without being awaited."""
        self._own(self.unsubscribe(filters), "cascade-mqtt-unsubscribe")

    async def say_presence(self, payload: str) -> None:
        """Publish a retained message on the own status topic."""
        await self._call("publish", self._presence.topic, payload=payload, qos=1, retain=True)
        self.senders.take_refusal()

    async def say_goodbye(self) -> bool:
        """Say that this session is gone; return whether the broker has heard it within half a second."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self.say_presence(self._presence.offline())
                return not self.lost.done()
        return False

    async def stop(self) -> list[Outgoing]:
        """End all tasks, put back what was in flight; return the messages that are given up as poison."""
        self.senders.stop()
        if not self.lost.done():
            self.lost.cancel()
        _aiomqtt.ignore_answers(self._context)
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._reader.take_rest()
        return self._outbox.restore(blame=not self.lost.cancelled() and self.lost.result().blames)

    async def leave(self, *, clean: bool) -> None:
        """Leave the client within half a second; then close its socket whatever it does.

        :param clean: False: close the socket first, so that the broker tells the will.
        """
        if not clean:
            _aiomqtt.close(self._context)
        leaving = self._loop.create_task(self._context.__aexit__(None, None, None), name="cascade-mqtt-leave")
        try:
            await asyncio.wait({leaving}, timeout=LEAVE_TIMEOUT)
        finally:
            _aiomqtt.close(self._context)
            if not leaving.done():
                leaving.cancel()
        await asyncio.wait({leaving})
        if not leaving.cancelled():
            leaving.exception()

    def drop(self) -> None:
        """Leave nothing behind, now; harmless after ``stop`` and ``leave``, which may have been cancelled."""
        for task in self._tasks:
            task.cancel()
        _aiomqtt.close(self._context)

    async def _learn_about_copies(self) -> None:
        """Find out, before the first overlapping subscription, whether the broker sends copies."""
        if self._dispatcher.copies.sent is not None or not _aiomqtt.is_real(self._context):
            return
        if self._learning is None and self._dispatcher.copies.overlapping:
            self._released.set()
            self._learning = self._begin(self._try_copies(), "cascade-mqtt-copies")
        if self._learning is not None:
            either: set[asyncio.Future[Any]] = {self._learning, self.lost}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)

    async def _try_copies(self) -> None:
        try:
            self._dispatcher.copies.sent = await sends_copies(
                self.client, self._dispatcher, self._presence.source_id
            )
        except Exception as exc:
            self.fail(exc)

    async def _resubscribe(self) -> None:
        wanted = self._dispatcher.subscriptions()
        watches = self._dispatcher.watches()
        if not wanted:
            return
        if len(wanted) == 1 and not watches:
            await self.subscribe(*next(iter(wanted.items())))
            return
        granted = await self.subscribe_all(wanted)
        for watch in watches:
            self._tell(watch, granted=granted)

    async def _watch(self, listener: WatchListener) -> None:
        await self._learn_about_copies()
        # In this task, so that the packet leaves before what is published after watch() returned.
        granted = await self._answer("subscribe", list(listener.filters.items()))
        self._tell(listener, granted=self._check(list(listener.filters), granted))

    async def _call(self, method: str, *args: Any, **keywords: Any) -> Any:
        """Await a method of the client; return ``_FAILED`` if it raises or the link is lost before it answers.

        The call itself is ended with the link, not with the caller.
        """
        task = self._begin(self._answer(method, *args, **keywords), f"cascade-mqtt-{method}")
        await asyncio.wait({task, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() and not task.cancelled() else _FAILED

    async def _answer(self, method: str, *args: Any, **keywords: Any) -> Any:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await getattr(self.client, method)(*args, **keywords)
        except TimeoutError:
            self._lose(_errors.unanswered(method.upper()))
        except Exception as exc:
            if _aiomqtt.link_error(exc):
                self.fail(exc)
            else:
                log.warning("%s failed: %r", method, exc)
        return _FAILED

    def _tell(self, listener: WatchListener, *, granted: bool) -> None:
        if not self.lost.done():
            listener.tell(Linked() if granted else Lost("the broker refused a subscription"))

    def _check(self, filters: list[str], granted: Any) -> bool:
        if granted is _FAILED:
            return False
        codes = dict(zip(filters, _errors.refusals(granted), strict=False))
        for topic_filter, code in codes.items():
            if code is None:
                self._dispatcher.copies.grant(topic_filter)
                continue
            self._dispatcher.copies.refuse(topic_filter)
            log.warning(
                "%s:%s refuses the subscription to %s (code %d); check the broker's access list",
                self._settings.hostname, self._settings.port, topic_filter, code,
            )  # fmt: skip
        return not any(codes.values())

    async def _watch_progress(self) -> None:
        stuck: int | None = None
        while True:
            await asyncio.sleep(STUCK_TIMEOUT)
            oldest = self._outbox.longest_in_flight()
            if oldest is not None and oldest == stuck:
                self._lose(_errors.unanswered("a message", blames=True))
            stuck = oldest

    async def _read(self) -> None:
        await self._released.wait()
        await self._reader.read()

    def _went_down(self, exc: BaseException | None) -> None:
        if exc is not None:
            self.fail(exc)
        else:
            self._lose(Fault(Kind.CLOSED, "the connection was closed", blames=True))

    def _lose(self, fault: Fault) -> None:
        if not self.lost.done():
            self.senders.stop()
            self.lost.set_result(fault)

    def _own(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        _ = self._begin(coroutine, name)

    def _begin(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = self._loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
