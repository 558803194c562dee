"""Checks of workflows that start by the clock: ticks that did not run, and clocks that are not believed. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cascade.ops._doctor.facts import Facts
from cascade.ops._doctor.finding import Finding, some
from cascade.wire import EngineView, OfferedSchedule, OfferedWorkflow, View, seconds
from cascade.wire.progress import UNKNOWN

LATE_SECONDS = 65.0
"""A tick that is due for so long is not merely late: it may be by a minute, and two clocks differ."""
_REMEDIES = {
    "paused": "cascade constraints lists the pause, and cascade resume lifts it",
    "busy": 'give the runs less to do or the schedule more time, or declare overlap="queue"',
    "full": "give the runs less to do, or the schedule more time",
    "missed": 'look why it could not start in time; missed="all" starts each of them late',
    "stopping": "look why the service was stopped then",
}


class _Planned(NamedTuple):
    """A workflow with a schedule, as its service reports it."""

    engine: EngineView
    row: OfferedWorkflow
    schedule: OfferedSchedule

    @property
    def name(self) -> str:
        return f"{self.row.name} of {self.engine.source}"


def schedule_findings(facts: Facts, *, now: float, monotonic: float) -> Iterator[Finding]:
    """Yield what is wrong with the schedules of services.

    :param now: seconds since the epoch.
    :param monotonic: seconds on the clock of the view.
    """
    planned = [] if facts.view is None else list(_planned(facts.view))
    if due := [*_due(planned, now, monotonic), *_due_by_folder(facts)]:
        yield Finding(
            "tick_not_run",
            some(due, "; "),
            "nothing has started it",
            "start the service, or look at its log and its clock; if it is gone for good, clear its report",
            ("cascade serve FILE.py --name ENGINE --state FOLDER", "cascade prune"),
        )
    yield from _skipped(planned)
    live = [each for each in planned if each.schedule.problem and each.engine.is_live(monotonic)]
    if live:
        yield Finding(
            "clock_not_set",
            some({f"{each.engine.source}: {each.schedule.problem}" for each in live}, "; "),
            "ticks may come early or late, or wait until the clock is set",
            "set the clock of that machine by NTP",
            ("timedatectl set-ntp true",),
            warning=True,
        )


def _planned(view: View) -> Iterator[_Planned]:
    for _, engine in sorted(view.engines.items()):
        for row in engine.workflows.workflows if engine.workflows is not None else ():
            if row.schedule is not None:
                yield _Planned(engine, row, row.schedule)


def _due(planned: list[_Planned], now: float, monotonic: float) -> Iterator[str]:
    """Yield ticks that are due by a report, and whose service has not said why they do not start.

    A machine that needs a lease starts none while another one holds it.
    """
    holders = {
        each.row.lease.name: each.engine.source
        for each in planned
        if each.row.lease is not None and each.row.lease.held and each.engine.is_live(monotonic)
    }
    for each in planned:
        if (
            each.row.lease is not None
            and holders.get(each.row.lease.name, each.engine.source) != each.engine.source
        ):
            continue
        at, skipped = seconds(each.schedule.next or ""), each.schedule.skipped
        is_held = skipped is not None and skipped.code == "paused" and skipped.at in ("", each.schedule.next)
        if at is None or at > now - LATE_SECONDS or (is_held and each.engine.is_live(monotonic)):
            continue
        status = each.engine.status(monotonic)
        state = "not known to be online" if status == UNKNOWN else status
        yield f"{each.name} was due at {each.schedule.next} and did not run: the engine is {state}"


def _due_by_folder(facts: Facts) -> Iterator[str]:
    """Yield ticks that are due by a state folder, of services of which the broker has no report."""
    known = set() if facts.view is None else {e.source for e in facts.view.engines.values() if e.workflows}
    for each in facts.missed:
        if each.source not in known:
            later = f", nor did {each.later} after it" if each.later else ""
            yield (
                f"{each.workflow} of {each.source} was due at {each.at} and did not run{later}: "
                "no service with this state folder has started it"
            )


def _skipped(planned: list[_Planned]) -> Iterator[Finding]:
    found = [
        (each, skipped)
        for each in planned
        if (skipped := each.schedule.skipped) is not None and not _has_run_since(each.row, skipped.at)
    ]
    if found:
        yield Finding(
            "tick_skipped",
            some(
                (
                    f"{each.name} did not start at {tick.at or 'its time'}: {tick.reason}"
                    for each, tick in found
                ),
                "; ",
            ),
            "that run is left out, or waits",
            "; ".join(dict.fromkeys(_REMEDIES.get(tick.code, "read its log") for _, tick in found)),
            warning=True,
        )


def _has_run_since(row: OfferedWorkflow, at: str) -> bool:
    """Return whether a later tick has run: then the schedule works again."""
    tick = seconds(row.last.run_id.partition("~")[2]) if row.last is not None else None
    skipped = seconds(at)
    return tick is not None and skipped is not None and tick > skipped
