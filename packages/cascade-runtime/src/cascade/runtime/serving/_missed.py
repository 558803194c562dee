"""Ticks that came due and that no service has decided, by what a state folder has recorded."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cascade.runtime.serving._schedules import LOCAL, CronSchedule
from cascade.runtime.serving._store import read_marks
from cascade.runtime.serving._timetable import MAX_MISSED, ON_TIME
from cascade.spec.schedules import check_zone


class MissedTick(NamedTuple):
    """A tick that was due and did not run."""

    source: str
    """The service."""
    workflow: str
    at: str
    """ISO time with the zone's offset."""
    later: int
    """How many came due after it; at most 99 are counted."""


def missed_ticks(folder: Path, now: float) -> list[MissedTick]:
    """Return for each workflow with ``cron`` the first tick that was due for over a minute and was not decided.

    :param now: seconds since the epoch.
    :raises StateUnavailable: if the file of the folder cannot be read; it is never changed.
    :raises ConfigurationError: if cronsim is not installed, or this system does not know a time zone.
    """
    found = []
    for source, mark in read_marks(folder):
        text, _, zone = mark.schedule.rpartition(" ")
        if zone != LOCAL:
            check_zone(zone)
        cron = CronSchedule(text, None if zone == LOCAL else zone)
        ticks = cron.between(mark.at, now - ON_TIME, most=MAX_MISSED)
        if ticks:
            found.append(MissedTick(source, mark.workflow, cron.shown(cron.after(mark.at)), len(ticks) - 1))
    return found
