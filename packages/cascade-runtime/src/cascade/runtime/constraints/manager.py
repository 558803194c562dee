"""Follows the broker's constraints, puts them in force, and reports what is in force."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import ClassVar

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Connector,
    EventBus,
    Linked,
    Lost,
    Message,
    SupportsSource,
    SupportsWatch,
    TaskStateEvent,
    Timer,
    WatchItem,
    WatchStream,
    supports,
)
from cascade.interfaces.topics import CONSTRAINTS_FILTER, sync_filter
from cascade.interfaces.wire import default_source
from cascade.runtime._clock import call_later_on
from cascade.runtime._pace import TURN
from cascade.runtime._tasks import cancel
from cascade.runtime.constraints._followers import Followers
from cascade.runtime.constraints._publisher import Publisher
from cascade.runtime.constraints._reporter import Reporter
from cascade.runtime.constraints.registers import Registers
from cascade.runtime.constraints.sync import Sync, SyncState
from cascade.runtime.constraints.turnstile import Turnstile

STOP_LIMIT = 1.0
"""Seconds that stopping may take for what still has to be said."""

_SETTLED_A_TURN = 1_024
_CHANGES_A_TURN = 256

_log = logging.getLogger("cascade.constraints")


class ConstraintManager:
    """Keeps an engine's constraints those of the broker, as ``PROTOCOL.md`` says in section 4.

    An engine makes one when its first run begins and stops it with the last. No bytes on any
    topic, and no fault of the connector, make any of its methods raise or a run wait.

    :param connector: it needs the ability ``watch``; :meth:`can_follow` tells.
    :param turnstile: where constraints are put in force.
    :param bus: whose tasks are counted in the report of runs.
    :param project_id: whose ``project:`` scope concerns this engine.
    :raises ConfigurationError: if the connector cannot be watched.
    """

    _followers: ClassVar[Followers] = Followers()

    def __init__(
        self,
        connector: Connector,
        turnstile: Turnstile,
        *,
        clock: Clock,
        bus: EventBus,
        project_id: str = "default",
    ) -> None:
        self._publisher = Publisher(connector)
        if not supports(connector, SupportsWatch):
            raise ConfigurationError("connector", "has no watch(), without which it cannot carry control")
        self.source = connector.source_id if supports(connector, SupportsSource) else default_source()
        self._watcher: SupportsWatch = connector
        self._turnstile = turnstile
        self._clock = clock
        self._call_later = call_later_on(clock)
        self._bus = bus
        self._own_scopes = {"global", f"project:{project_id}", f"source:{self.source}"}
        self.registers = Registers(clock, relevant=self._concerns_us)
        self.sync = Sync(self.registers, source=self.source, token=os.urandom(8).hex(), clock=clock)
        self._reporter = Reporter(
            self._publisher,
            registers=self.registers,
            sync=self.sync,
            clock=clock,
            source=self.source,
            session=os.urandom(8).hex(),
            retain=self.source != default_source(),
            running=lambda: turnstile.admission.gates.running,
        )
        self._in_sync = asyncio.Event()
        self._failing = False
        self._reader: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._alarm: Timer | None = None
        self._alarm_at = 0.0
        self._stop_counting: Callable[[], None] | None = None

    @staticmethod
    def can_follow(connector: Connector) -> bool:
        """Return whether a connector has what is needed to be steered through it."""
        return supports(connector, SupportsWatch)

    def start(self) -> None:
        """Begin to follow the broker, on the running loop; the connector may connect later."""
        self._followers.join(self, self._watcher)
        self._stop_counting = self._bus.subscribe(TaskStateEvent, self._count)
        self._turnstile.on_turn = self._look
        self._open()

    async def stop(self) -> None:
        """Follow the broker no longer, say so, and leave nothing behind. Twice is harmless."""
        if self._stop_counting is None:
            return
        self._stop_counting()
        self._stop_counting = None
        self._turnstile.on_turn = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        readers = [*self._leaving, *([self._reader] if self._reader is not None else [])]
        self._reader = None
        for reader in readers:
            reader.cancel()
        self._forget()  # before anything is awaited: whoever follows the broker next uses the same turnstile
        await cancel(readers, timeout=STOP_LIMIT)
        await self._publisher.close(STOP_LIMIT)

    async def synced(self) -> None:
        """Wait until the retained set has arrived and is in force."""
        await self._in_sync.wait()

    def begin_run(self, run_id: str, target: str) -> None:
        """Report a run from now on."""
        self._reporter.book.begin(run_id, target, self._clock.now())
        self._look()

    def end_run(self, run_id: str) -> None:
        """Report it no more."""
        self._reporter.book.end(run_id)
        self._look()

    def report_again(self) -> None:
        """Report soon, although nothing has changed."""
        self._reporter.touch()
        self._set_alarm()

    def __repr__(self) -> str:
        return f"<ConstraintManager {self.source} {self.sync.state.value}, {len(self.registers)} registers>"

    def _concerns_us(self, scope: str) -> bool:
        return scope in self._own_scopes or scope.startswith(("task:", "run:"))

    def _open(self) -> None:
        """Open a stream, and only then let go of the one before: no message falls between them."""
        try:
            stream = self._watcher.watch(sync_filter(self.source), CONSTRAINTS_FILTER)
        except Exception as exc:
            self._lose(exc)
            return
        self.sync.opened()
        before = self._reader
        self._reader = asyncio.create_task(self._read(stream), name=f"cascade constraints {self.source}")
        if before is not None:
            self._leaving.add(before)
            before.add_done_callback(self._leaving.discard)
            before.cancel()
        self._set_alarm()

    async def _read(self, stream: WatchStream) -> None:
        began = self._clock.monotonic()
        try:
            async for item in stream:
                await self._take(item)
                if self._clock.monotonic() - began > TURN:
                    await asyncio.sleep(0)  # a storm of messages must not keep the loop to itself
                    began = self._clock.monotonic()
            ended: Exception | None = None
        except Exception as exc:
            ended = exc
        finally:
            with contextlib.suppress(Exception):  # it is given up either way
                await stream.aclose()
        if asyncio.current_task() is self._reader:
            self._lose(ended)

    def _lose(self, error: Exception | None) -> None:
        """Go on after a stream that failed, or ended although nobody closed it: a new one will be opened."""
        if not self._failing:
            self._failing = True
            _log.warning(
                "the stream of constraints has ended (%s); those that are known stay in force, trying again",
                f"{type(error).__name__}: {error}" if error is not None else "nobody had closed it",
            )
        self.sync.lost()
        self._in_sync.clear()
        self._set_alarm()

    async def _take(self, item: WatchItem) -> None:
        completed = False
        if isinstance(item, Message):
            completed = self.sync.hear(item)
        elif isinstance(item, Linked):
            self._publisher.send(self.sync.linked(), {})
        elif isinstance(item, Lost):
            self.sync.lost()
            self._in_sync.clear()
        while self._put_in_force():  # noqa: ASYNC110 - it is this loop that does the work
            await asyncio.sleep(0)
        if completed:
            self._failing = False
            self._in_sync.set()
            if self.sync.began_anew:
                _log.warning("the broker's store is a new one: its constraints replace all known before")
        self._look()

    def _put_in_force(self) -> bool:
        """Take in and hand over a slice of a great set; return whether there is more to do."""
        if self.registers.settle(_SETTLED_A_TURN) and self.registers.has_changes:
            changes = self.registers.take_changes(_CHANGES_A_TURN)
            self._turnstile.apply(changes)
        return self.registers.has_changes

    def _count(self, event: TaskStateEvent) -> None:
        self._reporter.book.note(event)
        if self._reporter.note_runs():  # the first of many: the alarm is set for all
            self._set_alarm()

    def _look(self) -> None:
        """Look for what has to be reported, and when something has to be done next."""
        self._reporter.note()
        self._reporter.note_runs()
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Keep the one timer for expiries, deadlines and reports at the earliest of them."""
        times = [self.registers.next_expiry(), self.sync.due(), self._reporter.due()]
        if self.registers.has_changes:
            times.append(0.0)
        at = min((time for time in times if time is not None), default=None)
        if self._stop_counting is None or at is None or (self._alarm is not None and self._alarm_at <= at):
            return  # an alarm that rings too early sets the next one
        if self._alarm is not None:
            self._alarm.cancel()
        delay = min(max(0.0, at - self._clock.monotonic()), 86_400.0)
        self._alarm = self._call_later(delay, self._ring)
        self._alarm_at = at

    def _ring(self) -> None:
        self._alarm = None
        if self.sync.tick():
            self._open()
        self.registers.expire()
        self._put_in_force()
        self._reporter.note()
        self._reporter.send_due()
        self._set_alarm()

    def _forget(self) -> None:
        """Take everything out of force, and say so as the last word, unless others go on under this name."""
        self.sync.state = SyncState.STOPPED
        self._in_sync.clear()
        self.registers.clear()
        self._turnstile.clear()
        others = self._followers.leave(self, self._watcher)
        for other in others:
            other.report_again()
        if not others:
            self._reporter.send_last()
