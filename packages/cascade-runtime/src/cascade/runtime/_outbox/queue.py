"""A publish queue whose messages survive the process: in memory while the link is healthy, else in a file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cascade.interfaces import Clock, Delivery, SupportsDelivery, SupportsStatistics, supports
from cascade.interfaces.logs import get_logger
from cascade.interfaces.wire import encode_payload
from cascade.runtime._outbox.file import OutboxFile, Row, Stored
from cascade.runtime._outbox.file_thread import PAGE, Apply, Done, FileThread
from cascade.runtime._outbox.send_order import QueuedMessage, SendOrder
from cascade.runtime._outbox.settings import OutboxSettings, window_of
from cascade.runtime._support.publish_queue import LastReports
from cascade.transport.state_log import StateLog
from cascade.transport.waiting import NO_LINK, NO_PROGRESS, Progress

_log = get_logger("cascade.outbox")

RETRY_LINK = 1.0
"""Seconds after which a message is delivered again that the connector has returned."""
HOLD = 1.0
"""Seconds for which new messages wait for a disk that has not answered yet; then they overtake what it has."""


class DurableQueue:
    """Delivers messages in order, and keeps each until the other side has it.

    A message that is settled within ``delay`` is never written. All methods must be called on the event
    loop; the file belongs to a thread. :class:`SendOrder` decides what goes next, :class:`FileThread` writes the file.

    :param source: the sender's name.
    :param awaits_ack: whether a message that was taken must be acknowledged by a collector, too.
    """

    takes_text = True

    def __init__(
        self,
        connector: SupportsDelivery,
        settings: OutboxSettings,
        source: str,
        *,
        clock: Clock,
        awaits_ack: Callable[[QueuedMessage], bool] | None = None,
    ) -> None:
        self.dropped = 0
        """Messages that will not be sent, because the bounds were reached or they cannot be published."""
        self.sent = 0
        """Messages that the other side has taken."""
        self.keep_refused = False
        """Whether what the other side refuses keeps waiting in the file, for another user to send."""
        self.refused = ""
        """Why the last message was refused; empty if none was."""
        self.adopting = False
        """Whether messages of dead processes are still being looked for."""
        self.on_change: Callable[[], None] = nothing
        """Called when messages were settled, read or acknowledged. It must not call the connector."""
        self._connector = connector
        self._deliver = connector.deliver_nowait
        self._folder = settings.folder
        self._delay = settings.delay
        self._awaits_ack = awaits_ack
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._state = StateLog(_log)
        self._progress = Progress()
        live_first = settings.order == "live-first"
        self._order = SendOrder(live_first=live_first, limit=2 * window_of(connector))
        self._next = self._lost = 0
        # whether all new messages have to wait until the file is open
        self._blocked = not live_first
        self._reading = self._pumping = self._resting = self._closed = False
        self._stopped: asyncio.Future[None] | None = None
        self._opening = True
        self._earlier_reports: dict[str, str] = {}
        self._learn: Callable[[Mapping[str, str]], None] = _ignore
        self._last_reports: LastReports | None = None
        self._keeps_reports = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._after("hold", HOLD, self._release)
        self._file = FileThread(
            settings, source, clock, written=self._written, on_works=self._write_late, on_fails=self._release
        )
        self._file.post(
            lambda file: (file.waiting(), file.reports(), file.damaged, str(file.paths.database)),
            self._opened,
        )

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop on which it was made."""
        return self._loop

    @property
    def idle(self) -> bool:
        """Whether everything is settled."""
        return self._order.idle

    @property
    def complete(self) -> bool:
        """Whether everything is settled, and nothing of earlier processes is left to be read."""
        return self._order.idle and not self._opening and not self.adopting

    def publish(self, topic: str, payload: Mapping[str, Any], qos: int = 0) -> None:
        """Publish a message, now or when its turn comes."""
        self.publish_text(topic, encode_payload(payload)[0], qos)

    def publish_text(
        self, topic: str, text: str, qos: int = 0, *, on_safe: Callable[[], None] | None = None
    ) -> None:
        """Publish a message that is JSON already.

        :param on_safe: called once when the message can no longer be lost with the process: it is on disk or has
            arrived, or it was dropped and counted. Not called if the disk fails until the end.
        """
        if self._lost:
            text, self._lost = f'{text[:-1]}, "lost": {self._lost}}}', 0
        self._next = number = self._next + 1
        message = QueuedMessage(self._settled, number, topic, text, qos, self._time())
        message.on_safe = on_safe
        order = self._order
        if order.behind or len(order.in_hand) >= order.limit:
            for dropped in order.wait(message, disk_fails=self._file.failing):
                self._note_lost(1)
                dropped.safe()
        else:
            self._give(message)
        self._after("write", self._delay, self._write_late)

    def keep_reports(self, latest: LastReports, *, learn: Callable[[Mapping[str, str]], None]) -> None:
        """Keep the last reports of the process with the messages that wait, for as long as some do.

        :param learn: called with those that an earlier process of this name has kept, by topic, once they are read.
        """
        self._last_reports, self._learn = latest, learn
        self._pass_reports()

    async def drain(self, timeout: float) -> None:
        """Store everything, then wait until it is sent: up to ``timeout`` seconds, and not where nothing moves."""
        await self._drain(timeout, lambda: self.idle)

    async def finish(self, timeout: float) -> bool:
        """Do what ``drain`` does for all messages in the folder; return whether they are sent."""
        await self._drain(timeout, lambda: self.complete)
        return self.complete

    async def _drain(self, timeout: float, done: Callable[[], bool]) -> None:
        until = self._time() + timeout
        while self._blocked and (left := until - self._time()) > 0:
            await self._progress.following(left)
        self._store_all()
        while not done() and (left := until - self._time()) > 0:
            if not await self._progress.following(min(left, NO_PROGRESS if self.linked else NO_LINK)):
                break
        self._store_all()
        if not self.idle:
            self._store_reports()
        await self._file.reached(max(0.0, until - self._time()))

    async def reached(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the disk has tried everything that was begun before."""
        await self._file.reached(timeout)

    async def closed(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the file is closed, after :meth:`stop`; log it if that is too short."""
        stopped = self._stopped
        if stopped is None or stopped.get_loop() is not asyncio.get_running_loop():
            return
        done, _ = await asyncio.wait({stopped}, timeout=timeout)
        if not done:
            _log.warning("outbox %s: the disk does not answer", self._folder)

    def stop(self) -> asyncio.Future[None] | None:
        """Begin to close; return the future that completes with it, None if that was begun before."""
        if self._closed:
            return None
        is_alive = not self._loop.is_closed()
        if is_alive:
            self._file.try_again()  # it may work again by now
            self._store_all()
            self._store_reports()
            if not self.idle:
                self._file.post(OutboxFile.unsent, self._show_kept)
        else:
            self._warn_of_lost(sum(not message.posted for message in self._order.in_memory()))
        self._closed = True
        self._cancel_timers()
        self._stopped = self._file.stop()
        if is_alive and self._stopped is not None:
            self._stopped.add_done_callback(self._has_stopped)
        return self._stopped

    def rest(self) -> None:
        """Give the connector nothing more of what waits, since it disconnects, until :meth:`go_on`."""
        self._resting = True

    def go_on(self) -> None:
        """Give the connector again what waits."""
        if self._resting:
            self._resting = False
            self._pump_soon()

    def call(self, apply: Apply, done: Done) -> None:
        """Use the file in its thread; ``done`` gets the result on the loop. While the disk fails, both wait.

        The file then has what became of messages until now.
        """
        self._file.settle()
        self._file.post(apply, done)

    async def ask(self, apply: Apply, timeout: float) -> Any:
        """Use the file in its thread once, as :meth:`call` does; return the result.

        :raises OutboxUnavailable: if the disk fails, or takes longer than ``timeout`` seconds.
        """
        self._file.settle()
        return await self._file.ask(apply, timeout)

    def add_stored(self, found: Stored) -> None:
        """Send messages, too, that wait in the file."""
        self._order.stored.insert(found)
        self._progress.notify()
        self._pump()

    @property
    def stored_ranges(self) -> list[tuple[int, int]]:
        """Numbers of messages that wait in the file only; some may be between them that do not."""
        return [*self._order.stored]

    @property
    def in_hand(self) -> frozenset[int]:
        """Numbers of messages that the connector has: they may have arrived."""
        return frozenset(self._order.in_hand)

    @property
    def overtaken(self) -> int:
        """The highest number that was given to the connector before a lower one: they arrive in this order, too."""
        return self._order.overtaken

    @property
    def linked(self) -> bool:
        """Whether the connector has a link, as far as it can tell."""
        connector = self._connector
        return not supports(connector, SupportsStatistics) or connector.statistics().linked

    def become_inert(self) -> None:
        """Send and store nothing from now on, in a forked child: its parent sends the messages."""
        self._closed = True
        self._stopped = None
        self._deliver = _nowhere
        self._cancel_timers()

    # The way of a message

    def _give(self, message: QueuedMessage) -> None:
        self._order.give(message)
        try:
            self._deliver(message.topic, message.text, message.qos, settled=message)
        except Exception as exc:
            if self._order.settled(message):
                self._refused(message, f"{type(exc).__name__}: {exc}")

    def _settled(self, message: QueuedMessage, delivery: Delivery) -> None:
        order = self._order
        if not order.settled(message):
            return
        if delivery is Delivery.TAKEN:
            self._taken(message)
        elif delivery is Delivery.RETURNED:
            order.give_back(message)
            if not self._closed:
                self._after("link", RETRY_LINK, self._pump)
        else:
            self._refused(message, delivery.value)
        if order.behind or order.stored or order.page:
            self._pump_soon()
        self._progress.notify()
        self.on_change()

    def _taken(self, message: QueuedMessage) -> None:
        self.sent += 1
        if self._awaits_ack is not None and self._awaits_ack(message):
            self._file.sent(message)
        else:
            message.safe()
            if not message.posted:
                return
            self._file.taken(message)
        self._after("write", self._delay, self._write_late)

    def _refused(self, message: QueuedMessage, cause: str) -> None:
        """Put a message aside that no further try would send, or keep it where another user may send it."""
        self.refused = cause
        if self.keep_refused:
            if not message.posted:
                self._file.write([message])
            return
        self.dropped += 1
        message.safe()
        self._file.aside(message)
        self._state.failed(
            "deliver",
            "outbox %s: a message for %s is put aside (%s); cascade outbox list shows such messages",
            self._folder, message.topic, cause,
        )  # fmt: skip
        self._after("write", self._delay, self._write_late)

    def _pump_soon(self) -> None:
        """Pump in the next iteration of the loop: the connector must not be called while it settles."""
        if not self._pumping and not self._closed:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Give the connector what waits, as much as it has room for."""
        self._pumping = False
        if self._blocked or self._resting:
            return
        order = self._order
        while not self._closed and "link" not in self._timers and len(order.in_hand) < order.limit:
            message = order.following()
            if message is None:
                self._read()
                break
            self._give(message)
        order.renew()

    def _read(self) -> None:
        """Begin to read the next messages from the file, if they go next."""
        unread = self._order.unread
        if unread is not None and not self._reading:
            self._reading = True
            self._file.read(*unread, partial(self._has_read, *unread))

    def _has_read(self, first: int, last: int, rows: list[Row]) -> None:
        self._reading = False
        messages = [QueuedMessage(self._settled, *row, 0.0, old=True) for row in rows]
        self._order.has_read(first, rows[-1].number if len(rows) == PAGE else last, messages)
        self._pump()
        self.on_change()

    # Writing

    def _write_late(self) -> None:
        """Store what has waited for long enough, and what became of stored messages."""
        if self._file.failing or self._blocked:
            # this is called again when the disk works, or has opened the file
            return
        unposted = [message for message in self._order.in_memory() if not message.posted]
        due_before = self._time() - self._delay / 2
        # first: an event on disk means that all before it are there or have arrived
        self._file.settle()
        self._file.write([message for message in unposted if message.at <= due_before])
        left = [message.at for message in unposted if not message.posted]
        if left and not self._closed:
            self._after("write", min(left) + self._delay - self._time(), self._write_late)

    def _store_all(self) -> None:
        """Write everything that is not settled, and what became of the rest."""
        if not self._file.failing:
            self._file.settle()
            self._file.write([message for message in self._order.in_memory() if not message.posted])

    def _pass_reports(self) -> None:
        if self._earlier_reports and self._learn is not _ignore:
            found, self._earlier_reports = self._earlier_reports, {}
            self._learn(found)

    def _store_reports(self) -> None:
        """Write the last reports if messages wait; otherwise the broker has them."""
        if self._last_reports is None or self._opening:  # what an earlier process has kept is not known yet
            return
        reports = {} if self.idle else self._last_reports()
        rows = [
            Row(self._next + place, topic, text, 1) for place, (topic, text) in enumerate(reports.items(), 1)
        ]
        self._next += len(rows)
        if rows or self._keeps_reports:
            self._keeps_reports = bool(rows)
            self._file.post(lambda file: file.keep_reports(rows))

    def _has_stopped(self, stopped: object) -> None:
        self._warn_of_lost(sum(not message.stored for message in self._order.in_memory()))

    def _show_kept(self, count: int) -> None:
        if count:
            _log.warning(
                "outbox %s: %d messages are kept in it; the next run with it sends them, or: cascade outbox send %s",
                self._folder, count, self._folder,
            )  # fmt: skip

    def _warn_of_lost(self, count: int) -> None:
        if count:
            _log.warning("outbox %s: %d messages are lost; they could not be stored", self._folder, count)

    def _written(self, dropped: int) -> None:
        self._order.forget_stored()
        if dropped:
            self._note_lost(dropped)
        if self._order.behind:
            self._pump()

    def _note_lost(self, count: int) -> None:
        self.dropped += count
        self._lost += count
        self._state.failed(
            "full",
            "outbox %s: the oldest messages are dropped and counted: its bounds are reached; raise max_bytes= or max_age=",
            self._folder,
        )

    def _opened(self, found: tuple[Stored, dict[str, str], str, str]) -> None:
        stored, self._earlier_reports, damaged, path = found
        self._opening = self._blocked = False
        self._keeps_reports = self._keeps_reports or bool(self._earlier_reports)
        self._pass_reports()
        if damaged:
            _log.warning("outbox %s: %s", path, damaged)
        self.add_stored(stored)
        self._write_late()

    def _release(self) -> None:
        """Send new messages though the file is not open: no fault of the disk may hold them."""
        if self._blocked:
            self._blocked = False
            self._progress.notify()
            self._pump()
            self._write_late()

    def _after(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        if name not in self._timers:
            self._timers[name] = self._loop.call_later(max(0.0, seconds), self._fire, name, call)

    def _cancel_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def _fire(self, name: str, call: Callable[[], None]) -> None:
        self._timers.pop(name, None)
        call()


def _ignore(reports: Mapping[str, str]) -> None:
    """Do nothing: no engine reports what runs of this name have become."""


def nothing() -> None:
    """Do nothing: no sender waits for a change."""


def _nowhere(topic: str, payload: str, qos: int = 1, *, settled: Callable[[Delivery], None]) -> None:
    """Drop a message: a forked child does not send what its parent sends."""
