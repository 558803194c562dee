"""A publish queue whose messages survive the process: in memory while the link is healthy, else in a file."""

from __future__ import annotations

import asyncio
import itertools
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any

from cascade.interfaces import Clock, Delivery, SupportsDelivery, SupportsStatistics, supports
from cascade.interfaces.logs import get_logger
from cascade.interfaces.wire.write import encode_payload
from cascade.runtime._outbox.disk import CLOSE_TIMEOUT, Apply, Disk, Done
from cascade.runtime._outbox.entry import Entry, Ranges
from cascade.runtime._outbox.file import MAX_ASIDE, OutboxFile, Row, Stored
from cascade.runtime._outbox.schema import State
from cascade.runtime._outbox.settings import OutboxSettings
from cascade.transport.state_log import StateLog

_log = get_logger("cascade.outbox")

CAPACITY = 65_536
"""Messages in memory while the disk fails; when more come, the oldest is dropped and counted."""
MEMORY = 32 << 20
"""Characters of those messages."""
RETRY_LINK = 1.0
"""Seconds after which a message is delivered again that the connector has returned."""
IN_MEMORY = 10_000
"""Stored messages that wait in memory, too, so that a burst on a healthy link is not read again."""
PAGE = 400
"""Messages that are read from the file at once."""
HOLD = 1.0
"""Seconds for which new messages wait for a disk that has not answered yet; then they overtake what it has."""
NO_PROGRESS, NO_LINK = 2.0, 0.3
"""Seconds without progress after which a drain ends, with and without a link: what is left is on disk."""
WINDOW = 400
_NONE = -(1 << 62)
"""A number below all others."""

_by_number = attrgetter("number")


class DurableQueue:
    """Delivers messages in order, and keeps each until the other side has it.

    A message that is settled within ``delay`` is never written. All methods must be called on the event
    loop; the file belongs to a thread.

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
        awaits_ack: Callable[[Entry], bool] | None = None,
    ) -> None:
        self.dropped = 0
        """Messages that will not be sent, because the bounds were reached or they cannot be published."""
        self.sent = 0
        """Messages that the other side has taken."""
        self.adopting = False
        """Whether messages of dead processes are still being looked for."""
        self.overtaken = _NONE
        """The highest number that was given to the connector before a lower one: they arrive in this order, too."""
        self.on_idle: Callable[[], None] | None = None
        """Called when nothing waits any more."""
        self._connector = connector
        self._deliver = connector.deliver_nowait
        self._limit = 2 * _window(connector)
        self._settings = settings
        self._delay = settings.delay
        self._live_first = settings.order == "live-first"
        self._awaits_ack = awaits_ack
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._state = StateLog(_log)
        self._next = self._lost = self._old_in_hand = self._size = 0
        self._given = _NONE  # the highest number that was given to the connector
        self._in_hand: dict[int, Entry] = {}  # given to the connector
        self._returned: list[Entry] = []  # by the connector: they go first
        self._waiting: deque[Entry] = deque()  # not given, in memory
        self._stored = Ranges()  # not given, only in the file
        self._page: deque[Entry] = deque()  # read from the file
        # Which messages are older is known when the file is open.
        self._behind = self._held = not self._live_first  # whether new messages have to wait; all of them
        self._reading = self._pumping = self._closed = False
        self._opening = True
        self._done: list[int] = []  # to be deleted from the file
        self._sent: deque[Entry] = deque(maxlen=CAPACITY)  # to be kept until they are acknowledged
        self._aside: deque[Entry] = deque(maxlen=MAX_ASIDE)  # to be put aside
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._progress: set[asyncio.Future[None]] = set()
        self._after("hold", HOLD, self._release)
        self._disk = Disk(settings, source, clock, on_works=self._write_late, on_fails=self._release)
        self._disk.post(lambda file: (file.waiting(), file.damaged, str(file.paths.database)), self._opened)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop on which it was made."""
        return self._loop

    @property
    def idle(self) -> bool:
        """Whether everything is settled."""
        return not (self._in_hand or self._returned or self._waiting or self._stored or self._page)

    @property
    def complete(self) -> bool:
        """Whether everything is settled, and nothing of earlier processes is left to be read."""
        return self.idle and not self._opening and not self.adopting

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
        entry = Entry(self._settled, number, topic, text, qos, self._time())
        entry.on_safe = on_safe
        if self._behind or len(self._in_hand) >= self._limit:
            self._wait(entry)
        else:
            self._give(entry)
        if "write" not in self._timers:
            self._after("write", self._delay, self._write_late)

    async def drain(self, timeout: float) -> None:
        """Store everything, then wait until it is sent: up to ``timeout`` seconds, and not where nothing moves."""
        await self._drain(timeout, lambda: self.idle)

    async def finish(self, timeout: float) -> bool:
        """Do what ``drain`` does for all messages in the folder; return whether they are sent."""
        await self._drain(timeout, lambda: self.complete)
        return self.complete

    async def _drain(self, timeout: float, done: Callable[[], bool]) -> None:
        until = self._time() + timeout
        while self._held and (left := until - self._time()) > 0:
            await self._next_progress(left)
        self._store_all()
        while not done() and (left := until - self._time()) > 0:
            if not await self._next_progress(min(left, NO_PROGRESS if self._linked else NO_LINK)):
                break
        self._store_all()
        await asyncio.wait({self._disk.barrier()}, timeout=max(0.0, until - self._time()))

    async def close(self) -> None:
        """Store what is not settled, and close the file; wait a few seconds for the disk at most. Idempotent."""
        if (stopped := self.stop()) is None:
            return
        done, _ = await asyncio.wait({stopped}, timeout=CLOSE_TIMEOUT)
        if not done:
            _log.warning("outbox %s: the disk does not answer", self._settings.folder)

    def stop(self) -> asyncio.Future[None] | None:
        """Begin to close; return the future that completes with it, None if that was begun before."""
        if self._closed:
            return None
        if not self._loop.is_closed():
            self._store_all()
        if left := sum(not entry.posted for entry in self._in_memory()):
            _log.warning(
                "outbox %s: %d messages are lost; they could not be stored", self._settings.folder, left
            )
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        return self._disk.stop()

    def call(self, apply: Apply, done: Done) -> None:
        """Use the file in its thread; ``done`` gets the result on the loop. While the disk fails, both wait.

        The file then has what became of messages until now.
        """
        self._post_settled()
        self._disk.post(apply, done)

    def add_stored(self, found: Stored) -> None:
        """Send messages, too, that wait in the file."""
        self._stored.insert(found)
        self._note_progress()
        self._pump()

    @property
    def stored_ranges(self) -> list[tuple[int, int]]:
        """Numbers of messages that wait in the file only; some may be between them that do not."""
        return [*self._stored]

    @property
    def in_hand(self) -> frozenset[int]:
        """Numbers of messages that the connector has: they may have arrived."""
        return frozenset(self._in_hand)

    @property
    def linked(self) -> bool:
        """Whether the connector has a link, as far as it can tell."""
        return self._linked

    # The way of a message

    def _wait(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._size += len(entry.text)
        self._behind = True
        while len(self._waiting) > CAPACITY or self._size > MEMORY:
            lost = self._waiting.popleft()
            self._size -= len(lost.text)
            self._note_lost(1)
            lost.safe()

    def _give(self, entry: Entry) -> None:
        self._in_hand[entry.number] = entry
        self._old_in_hand += entry.old
        if entry.number > self._given:
            self._given = entry.number
        else:
            self.overtaken = self._given
        try:
            self._deliver(entry.topic, entry.text, entry.qos, settled=entry)
        except Exception as exc:
            if self._in_hand.pop(entry.number, None) is not None:
                self._old_in_hand -= entry.old
                self._refused(entry, f"{type(exc).__name__}: {exc}")

    def _settled(self, entry: Entry, delivery: Delivery) -> None:
        if self._in_hand.pop(entry.number, None) is None:
            return
        self._old_in_hand -= entry.old
        if delivery is Delivery.TAKEN:
            self._taken(entry)
        elif delivery is Delivery.RETURNED:
            insort(self._returned, entry, key=_by_number)
            self._behind = True
            if "link" not in self._timers and not self._closed:
                self._after("link", RETRY_LINK, self._pump)
        else:
            self._refused(entry, delivery.value)
        if self._behind or self._has_stored:
            self._pump_soon()
        self._note_progress()
        if self.on_idle is not None and self.idle:
            self.on_idle()

    def _note_progress(self) -> None:
        for waiter in self._progress:
            if not waiter.done():
                waiter.set_result(None)

    def _taken(self, entry: Entry) -> None:
        self.sent += 1
        if self._awaits_ack is not None and self._awaits_ack(entry):
            self._sent.append(entry)
        else:
            entry.safe()
            if not entry.posted:
                return
            self._done.append(entry.number)
        if "write" not in self._timers:
            self._after("write", self._delay, self._write_late)

    def _refused(self, entry: Entry, cause: str) -> None:
        """Put a message aside that no further try would send."""
        self.dropped += 1
        entry.safe()
        self._aside.append(entry)
        self._state.failed(
            "deliver",
            "outbox %s: a message for %s is put aside (%s); cascade outbox list shows such messages",
            self._settings.folder, entry.topic, cause,
        )  # fmt: skip
        if "write" not in self._timers:
            self._after("write", self._delay, self._write_late)

    def _pump_soon(self) -> None:
        """Pump in the next iteration of the loop: the connector must not be called while it settles."""
        if not self._pumping and not self._closed:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Give the connector what waits, as much as it has room for."""
        self._pumping = False
        if self._held:
            return
        while not self._closed and "link" not in self._timers and len(self._in_hand) < self._limit:
            entry = self._following()
            if entry is None:
                break
            self._give(entry)
        first_in_line = self._waiting or self._returned
        self._behind = bool(
            first_in_line if self._live_first else first_in_line or self._stored or self._page
        )

    def _following(self) -> Entry | None:
        if self._returned:
            return self._returned.pop(0)
        if self._live_first and self._waiting:
            return self._pop_waiting()
        if self._has_stored:
            if self._live_first and 2 * self._old_in_hand >= self._limit:
                return None
            if not self._page:
                self._read()
                return None
            return self._page.popleft()
        return self._pop_waiting() if self._waiting else None

    @property
    def _has_stored(self) -> bool:
        """Whether messages wait that are in the file."""
        return bool(self._stored or self._page)

    def _pop_waiting(self) -> Entry:
        entry = self._waiting.popleft()
        self._size -= len(entry.text)
        return entry

    def _read(self) -> None:
        """Begin to read the next messages from the file."""
        if not self._reading:
            self._reading = True
            first, last = self._stored.first
            self._post_settled()
            self._disk.post(lambda file: file.page(first, last, PAGE), partial(self._has_read, first, last))

    def _has_read(self, first: int, last: int, rows: list[Row]) -> None:
        self._reading = False
        in_memory = self._in_hand.keys() | {entry.number for entry in self._returned}
        self._page.extend(
            Entry(self._settled, *row, 0.0, old=True) for row in rows if row.number not in in_memory
        )
        self._stored.has_read(first, rows[-1].number if len(rows) == PAGE else last)
        self._pump()
        if self.on_idle is not None and self.idle:
            self.on_idle()

    # Writing

    def _write_late(self) -> None:
        """Store what has waited for long enough, and what became of stored messages."""
        if self._disk.failing or self._held:
            return  # this is called again when the disk works, or has opened the file
        unposted = [entry for entry in self._in_memory() if not entry.posted]
        due_before = self._time() - self._delay / 2
        self._post_settled()  # first: an event on disk means that all before it are there or have arrived
        self._write([entry for entry in unposted if entry.at <= due_before])
        left = [entry.at for entry in unposted if not entry.posted]
        if left and not self._closed and "write" not in self._timers:
            self._after("write", min(left) + self._delay - self._time(), self._write_late)

    def _store_all(self) -> None:
        """Write everything that is not settled, and what became of the rest."""
        if not self._disk.failing:
            self._post_settled()
            self._write([entry for entry in self._in_memory() if not entry.posted])

    def _in_memory(self) -> Iterable[Entry]:
        return itertools.chain(self._in_hand.values(), self._returned, self._waiting)

    def _write(self, entries: list[Entry]) -> None:
        if entries:
            for entry in entries:
                entry.posted = True
            rows = [entry.row for entry in entries]
            self._disk.post(lambda file: file.write(rows, State.WAITS), partial(self._written, entries))

    def _written(self, entries: list[Entry], dropped: int) -> None:
        """Forget those that wait in memory, if they are many: they are read from the file when their turn comes."""
        for entry in entries:
            entry.stored = True
            entry.safe()
        crowded = len(self._waiting) > IN_MEMORY
        while crowded and self._waiting and self._waiting[0].stored:
            self._stored.add(self._pop_waiting().number)
        if dropped:
            self._note_lost(dropped)
        if self._behind:
            self._pump()

    def _post_settled(self) -> None:
        if self._done:
            numbers, self._done = self._done, []
            self._disk.post(lambda file: file.delete(numbers))
        for entries, state in ((self._sent, State.SENT), (self._aside, State.ASIDE)):
            if entries:
                rows, unsafe = [entry.row for entry in entries], [entry for entry in entries if entry.on_safe]
                entries.clear()
                self._disk.post(partial(_write_rows, rows, state), partial(_note_safe, unsafe))

    def _note_lost(self, count: int) -> None:
        self.dropped += count
        self._lost += count
        self._state.failed(
            "full",
            "outbox %s: the oldest messages are dropped and counted: its bounds are reached; raise max_bytes= or max_age=",
            self._settings.folder,
        )

    def _opened(self, found: tuple[Stored, str, str]) -> None:
        stored, damaged, path = found
        self._opening = self._held = False
        if damaged:
            _log.warning("outbox %s: %s", path, damaged)
        self.add_stored(stored)
        self._write_late()

    def _release(self) -> None:
        """Send new messages though the file is not open: no fault of the disk may hold them."""
        if self._held:
            self._held = False
            self._note_progress()
            self._pump()
            self._write_late()

    def _after(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        self._timers[name] = self._loop.call_later(max(0.0, seconds), self._fire, name, call)

    def _fire(self, name: str, call: Callable[[], None]) -> None:
        self._timers.pop(name, None)
        call()

    async def _next_progress(self, timeout: float) -> bool:
        """Wait until a message is settled or found; return whether that was within ``timeout`` seconds."""
        waiter = self._loop.create_future()
        self._progress.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout)
        finally:
            self._progress.discard(waiter)
        return waiter.done()

    @property
    def _linked(self) -> bool:
        connector = self._connector
        return not supports(connector, SupportsStatistics) or connector.statistics().linked


def _note_safe(entries: list[Entry], written: object) -> None:
    for entry in entries:
        entry.safe()


def _write_rows(rows: list[Row], state: State, file: OutboxFile) -> None:
    file.write(rows, state)


def _window(connector: object) -> int:
    window = connector.statistics().window_limit if supports(connector, SupportsStatistics) else 0
    return window or WINDOW
