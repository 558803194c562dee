"""Which ticks are due, which of them start, and when to look again, decided from two clocks. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cascade.runtime._support.clock import EARLIEST
from cascade.runtime.serving._schedules import CronSchedule
from cascade.spec.schedules import Missed

ON_TIME = 60.0
"""Seconds by which a tick may be late and is not missed."""
MAX_WAKE_UP = 30.0
"""Seconds until the clocks are read again: one may have been set, and the machine may have slept."""
PAUSED_WAKE_UP = 5.0
"""Seconds until a pause is read again that keeps ticks from starting."""
MAX_MISSED = 100
"""Ticks that start late, of those that were missed."""


class Due(NamedTuple):
    """Ticks of a workflow that have come due."""

    workflow: str
    starts: tuple[float, ...]
    """Their times in seconds since the epoch, oldest first."""
    missed: bool
    """They came due earlier: they start one after another, whatever goes on now."""
    dropped: tuple[float, ...] = ()
    """The newest of those that do not start."""
    reason: str = ""
    """Why they do not."""


@dataclass(slots=True, eq=False)
class Entry:
    """A workflow with a schedule, and what is known of its ticks."""

    workflow: str
    cron: CronSchedule | None
    every: float = 0.0
    """Seconds, without ``cron``."""
    missed: Missed = "one"
    mark: float | None = None
    """Of ``cron``: no tick up to this time is decided again."""
    due: float = math.inf
    """The next tick: on the wall clock for ``cron``, in elapsed seconds for ``every``."""
    paused: str = ""
    """The scope of the pause that keeps a tick from starting."""
    elsewhere: bool = False
    """Whether a tick is due that another machine may start."""
    began: float = 0.0
    """When the service began, on the wall clock."""


class Timetable:
    """The schedules of a service.

    ``now`` is always the wall clock, in seconds since the epoch; ``elapsed`` a clock that never goes back, and counts sleep
    where the system can.

    :param elsewhere: whether another machine may start the ticks of a workflow; they wait until :meth:`began_elsewhere` says that
        it did, or this machine may.
    """

    def __init__(
        self, entries: Iterable[Entry], *, elsewhere: Callable[[str], bool] = lambda workflow: False
    ) -> None:
        self._elsewhere = elsewhere
        self._looked = 0.0  # elapsed, when the clocks were read last
        self.entries = {each.workflow: each for each in entries}

    def begin(self, now: float, elapsed: float, marks: Mapping[str, float]) -> None:
        """Begin, with the latest tick that an earlier process has decided for each workflow."""
        self._looked = elapsed
        for each in self.entries.values():
            each.began = now
            if each.cron is None:
                each.due = elapsed + each.every
            else:
                each.mark = marks.get(each.workflow)
                self._set(each, now, now)

    def due(self, now: float, elapsed: float, pause_of: Callable[[str], str]) -> list[Due]:
        """Return what has come due, once."""
        # A clock that was set back has shown no earlier time since it was read last.
        since, self._looked = now - min(elapsed - self._looked, MAX_WAKE_UP), elapsed
        found = [
            self._cron_due(each, each.cron, now, since, pause_of)
            if each.cron is not None
            else self._every_due(each, now, elapsed, pause_of)
            for each in self.entries.values()
        ]
        return [each for each in found if each is not None]

    def wake_up(self, now: float, elapsed: float) -> float:
        """Return the seconds until :meth:`due` has to be asked again."""
        seconds = MAX_WAKE_UP
        for each in self.entries.values():
            if each.elsewhere:
                continue
            if each.paused:
                seconds = min(seconds, PAUSED_WAKE_UP)
            else:
                seconds = min(seconds, each.due - (elapsed if each.cron is None else now))
        return max(0.0, seconds)

    def next(self, workflow: str, now: float, elapsed: float) -> float | None:
        """Return the time of the next tick in seconds since the epoch; None while the clock is not set."""
        each = self.entries[workflow]
        if each.cron is None:
            return now + max(0.0, each.due - elapsed)
        return None if math.isinf(each.due) else each.due

    @property
    def held(self) -> dict[str, str]:
        """The scope of the pause that keeps a due tick from starting, by workflow."""
        return {each.workflow: each.paused for each in self.entries.values() if each.paused}

    def began_elsewhere(self, workflow: str, at: float, now: float, elapsed: float) -> None:
        """Note a tick that has begun on some machine: no earlier one starts here, and ``every`` counts from it."""
        entry = self.entries.get(workflow)
        if entry is None or at > now + ON_TIME:
            return
        if entry.cron is None:
            entry.due = max(entry.due, elapsed - (now - at) + entry.every)
        elif entry.mark is not None and entry.mark < at:
            entry.mark, entry.due = at, entry.cron.after(at)

    def _waits(self, entry: Entry, scope: str) -> bool:
        """Return whether a tick that is due is decided later: a pause covers it, or another machine may start it."""
        entry.elsewhere = self._elsewhere(entry.workflow)
        if entry.missed == "none" or not (scope or entry.elsewhere):
            return False
        entry.paused = "" if entry.elsewhere else scope
        return True

    def _cron_due(
        self, entry: Entry, cron: CronSchedule, now: float, since: float, pause_of: Callable[[str], str]
    ) -> Due | None:
        self._set(entry, now, since)
        if entry.due > now or entry.mark is None:
            entry.paused, entry.elsewhere = "", False
            return None
        if self._waits(entry, scope := pause_of(entry.workflow)):
            return None
        ticks = cron.between(entry.mark, now, most=MAX_MISSED)
        decided = self._decide(entry, ticks, now, scope)
        entry.mark = ticks[-1]
        entry.due = cron.after(entry.mark)
        return decided

    def _set(self, entry: Entry, now: float, since: float) -> None:
        """Follow the wall clock: one that is not set is not believed, and one that was set back begins again.

        :param since: the earliest time that a clock that was set back may have shown.
        """
        if now < EARLIEST or entry.cron is None:
            entry.due = math.inf
            return
        if entry.mark is None or entry.mark > now + ON_TIME:
            entry.mark, entry.due = now if entry.mark is None else since, math.inf
        if math.isinf(entry.due):
            entry.due = entry.cron.after(entry.mark)

    def _every_due(
        self, entry: Entry, now: float, elapsed: float, pause_of: Callable[[str], str]
    ) -> Due | None:
        if entry.due > elapsed:
            entry.paused, entry.elsewhere = "", False
            return None
        if self._waits(entry, scope := pause_of(entry.workflow)):
            return None
        number = int((elapsed - entry.due) // entry.every) + 1
        last = entry.due + (number - 1) * entry.every
        ticks = [now - elapsed + last - back * entry.every for back in range(min(number, MAX_MISSED))]
        decided = self._decide(entry, ticks[::-1], now, scope)
        entry.due = last + entry.every
        return decided

    def _decide(self, entry: Entry, ticks: list[float], now: float, scope: str) -> Due:
        """Return what becomes of ticks that are due."""
        name = entry.workflow
        if entry.elsewhere:
            entry.elsewhere = False
            return Due(name, (), True)
        if scope:
            return Due(name, (), True, tuple(ticks), f"a pause of {scope} was in force")
        was_paused, entry.paused = entry.paused, ""
        on_time = (
            not was_paused and now - ticks[-1] <= ON_TIME and (not entry.cron or ticks[-1] > entry.began)
        )
        most = {"none": int(on_time), "one": 1, "all": MAX_MISSED}[entry.missed]
        starts = tuple(ticks[len(ticks) - most :]) if most < len(ticks) else tuple(ticks)
        reason = f'{"a pause was in force" if was_paused else "it was missed"} (missed="{entry.missed}")'
        dropped = tuple(ticks[: len(ticks) - len(starts)])
        return Due(name, starts, not (on_time and len(starts) == 1), dropped, reason if dropped else "")
