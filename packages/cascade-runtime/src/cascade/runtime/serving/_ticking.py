"""Ticks of a service: they start runs of workflows that have a schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from cascade.interfaces import Clock, ConfigurationError, StateUnavailable
from cascade.interfaces.logs import get_logger
from cascade.runtime._support.clock import EARLIEST, after, call_later_on, elapsed_of
from cascade.runtime.serving._intake import Code, Intake, Offer, Refused, RequestedRun, State
from cascade.runtime.serving._leases import Leases
from cascade.runtime.serving._schedules import CronSchedule, tick_id
from cascade.runtime.serving._store import Mark, RequestStore
from cascade.runtime.serving._timetable import Due, Entry, Timetable
from cascade.spec.schedules import every_seconds
from cascade.wire.requests import OfferedSchedule, SkippedTick

_log = get_logger("cascade.serve")
_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)


class _Clock(NamedTuple):
    """How far the system's clock can be believed."""

    unset: bool
    synchronised: bool


class _Tick(NamedTuple):
    """A tick of the clock, and its run."""

    at: float
    run: RequestedRun
    waits: bool
    """Whether another run of the workflow went on when it was accepted."""

    @property
    def was_started(self) -> bool:
        """Whether its turn has come since."""
        return self.waits and self.run.state is not State.WAITING


class Ticking:
    """Decides about the ticks of a service's workflows and records them.

    :param start: starts a run that is recorded; one that waits for another starts by itself.
    :param report: called when a report is due.
    :raises ConfigurationError: if a workflow with a schedule needs parameters, or its expression never fires.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        clock: Clock,
        pause_of: Callable[[str], str],
        store: RequestStore | None,
        leases: Leases,
        start: Callable[[RequestedRun], None],
        report: Callable[[], None],
    ) -> None:
        self._intake, self._clock, self._elapsed = intake, clock, elapsed_of(clock)
        self._pause_of, self._store, self._start, self._report = pause_of, store, start, report
        self._leases = leases
        self._timetable = Timetable(_entries(intake.offers.values()), elsewhere=self._is_elsewhere)
        self._wake_up: asyncio.Future[None] | None = None
        self._clock_is = _Clock(unset=False, synchronised=True)
        self._problem = ""
        self._held: dict[str, str] = {}

    @property
    def has_schedule(self) -> bool:
        """Whether a workflow starts by itself."""
        return bool(self._timetable.entries)

    async def begin(self) -> None:
        """Read which ticks an earlier process has decided; from now on they count.

        :raises StateUnavailable: if they cannot be read.
        """
        if not self.has_schedule:
            return
        found = () if self._store is None else await self._store.marks()
        marks = {each.workflow: each.at for each in found if each.schedule == self._schedule(each.workflow)}
        self._timetable.begin(self._clock.now(), self._elapsed(), marks)
        self._note_clock(self._clock.now())
        for name in self._timetable.entries:
            await self._record(name, ())

    async def run(self) -> None:
        """Start what is due, until the asyncio task is cancelled."""
        call_later = call_later_on(self._clock)
        while True:
            now = self._clock.now()
            if self._note_clock(now):
                self._report()
            self._note_elsewhere(now)
            for due in self._timetable.due(now, self._elapsed(), self._pause_of):
                await self._begin(due)
            self._note_held()
            self._wake_up = after(call_later, self._timetable.wake_up(self._clock.now(), self._elapsed()))
            await self._wake_up

    def look(self) -> None:
        """Look now whether something is due: a lease has moved."""
        if self._wake_up is not None and not self._wake_up.done():
            self._wake_up.set_result(None)

    def schedule_of(self, workflow: str) -> OfferedSchedule | None:
        """Return what a report says of a workflow's schedule."""
        entry = self._timetable.entries.get(workflow)
        if entry is None:
            return None
        offer, cron = self._intake.offers[workflow], entry.cron
        at = self._timetable.next(workflow, self._clock.now(), self._elapsed())
        return OfferedSchedule(
            cron=offer.cron,
            every=offer.every,
            tz=None if cron is None else cron.tz,
            text=f"Every {offer.every}" if cron is None else cron.text,
            next=None if at is None else _shown(entry, at),
            skipped=_skipped(entry, offer),
            problem=self._problem,
        )

    async def _begin(self, due: Due) -> None:
        """Record the runs of ticks, and start those that need not wait."""
        entry = self._timetable.entries[due.workflow]
        if due.dropped:
            code = "paused" if "pause" in due.reason else "missed"
            self._skip(entry, due.dropped, code, due.reason)
        now, runs = self._clock.now(), list[_Tick]()
        for at in due.starts:
            decided = self._intake.tick(due.workflow, self._free_id(entry, at), now=now, missed=due.missed)
            if isinstance(decided, Refused):
                self._skip(entry, (at,), decided.code.value, decided.reason)
            elif decided.is_new:
                runs.append(_Tick(at, decided.run, decided.run.state is State.WAITING))
        if await self._record(due.workflow, [tick.run for tick in runs]):
            for tick in runs:
                _log.info("%s: the clock %s it", tick.run.run_id, "starts, late," if due.missed else "starts")
                if not tick.waits:
                    self._start(tick.run)
        else:
            self._withdraw(entry, [tick for tick in runs if not tick.was_started])
        self._report()

    def _withdraw(self, entry: Entry, ticks: Sequence[_Tick]) -> None:
        """Forget runs that could not be recorded; those that wait first, so that none of them follows another."""
        if ticks:
            self._skip(entry, [tick.at for tick in ticks], Code.FULL.value, "the tick cannot be recorded")
        for tick in reversed(ticks):
            if (following := self._intake.withdrawn(tick.run)) is not None:
                self._start(following)

    def _is_elsewhere(self, workflow: str) -> bool:
        """Return whether the ticks of a workflow need a lease that this machine does not have."""
        lease = self._leases.of(workflow)
        return lease is not None and lease.term is None

    def _note_elsewhere(self, now: float) -> None:
        """Take over which ticks have begun on other machines."""
        for workflow in self._leases:
            lease = self._leases.of(workflow)
            if lease is not None and (time := lease.ticks.get(workflow)) is not None:
                at = datetime.fromisoformat(time).timestamp()
                self._timetable.began_elsewhere(workflow, at, now, self._elapsed())

    def _free_id(self, entry: Entry, at: float) -> str:
        """Return the id of a tick; one of ``every`` starts also if the clock was set back to a time that has a run."""
        while entry.cron is None and self._intake.get(f"{entry.workflow}~{tick_id(at)}") is not None:
            at += 1
        return tick_id(at)

    async def _record(self, workflow: str, runs: Sequence[RequestedRun]) -> bool:
        """Write runs and the latest tick that is decided; return whether that is done."""
        if self._store is None:
            return True
        at = self._timetable.entries[workflow].mark
        mark = None if at is None else Mark(workflow, self._schedule(workflow), at)
        try:
            await self._store.put_ticks(runs, mark)
        except StateUnavailable as error:
            _log.warning("%s: the ticks cannot be recorded: %s", workflow, error)
            return False
        return True

    def _schedule(self, workflow: str) -> str:
        entry = self._timetable.entries.get(workflow)
        cron = None if entry is None else entry.cron
        return "" if cron is None else f"{self._intake.offers[workflow].cron} {cron.tz}"

    def _skip(self, entry: Entry, ticks: Sequence[float], code: str, reason: str) -> None:
        self._intake.offers[entry.workflow].skipped = (ticks[-1], code, reason)
        more = f", and {len(ticks) - 1} before it," if len(ticks) > 1 else ""
        _log.warning(
            "%s: the tick of %s%s does not start: %s",
            *(entry.workflow, _shown(entry, ticks[-1]), more, reason),
        )

    def _note_held(self) -> None:
        """Report ticks that a pause has begun to hold."""
        if self._held != (held := self._timetable.held):
            self._held = held
            self._report()

    def _note_clock(self, now: float) -> bool:
        """Look whether the clock is set and synchronised; return whether that has changed."""
        unset = now < EARLIEST and any(each.cron is not None for each in self._timetable.entries.values())
        found, before = _Clock(unset, _is_synchronised()), self._clock_is
        if found == before:
            return False
        self._clock_is, self._problem = found, ""
        if unset:
            shown = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
            self._problem = f"the clock is not set: it says {shown}; cron waits"
            if not before.unset:
                _log.warning("%s", self._problem)
        elif not found.synchronised:
            self._problem = "the system says that its clock is not synchronised"
        return True


def _entries(offers: Iterable[Offer]) -> list[Entry]:
    entries = []
    for offer in offers:
        if offer.cron is None and offer.every is None:
            continue
        missing = [each.name for each in offer.startable.parameters if each.required]
        if missing:
            setting = f"workflow({'cron' if offer.every is None else 'every'}=)"
            raise ConfigurationError(
                setting, f"{offer.name} needs {' and '.join(missing)}, and a clock gives none; give a default"
            )
        cron = None if offer.cron is None else CronSchedule(offer.cron, offer.tz)
        every = 0 if offer.every is None else every_seconds(offer.every)
        entries.append(Entry(offer.name, cron, every, offer.missed))
    return entries


def _shown(entry: Entry, at: float) -> str:
    """Return a time in ISO format: in the zone of ``cron``, else in that of the machine."""
    if entry.cron is not None:
        return entry.cron.shown(at)
    return datetime.fromtimestamp(at, UTC).astimezone().isoformat(timespec="seconds")


def _skipped(entry: Entry, offer: Offer) -> SkippedTick | None:
    if entry.paused and entry.due != float("inf"):
        return SkippedTick(
            at=_shown(entry, entry.due) if entry.cron is not None else "",
            code="paused",
            reason=f"a pause of {entry.paused} is in force",
        )
    if offer.skipped is None:
        return None
    at, code, reason = offer.skipped
    return SkippedTick(at=_shown(entry, at), code=code, reason=reason)


def _is_synchronised() -> bool:
    """Return False if Linux says that nothing sets its clock; True where that is not known."""
    # only a service with a schedule needs it
    import ctypes

    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))
    except (AttributeError, OSError, TypeError):
        return True
    return state != _UNSYNCHRONISED
