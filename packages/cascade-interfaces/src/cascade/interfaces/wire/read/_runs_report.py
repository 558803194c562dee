"""The report of an engine's runs: ``cascade/state/{source}/runs``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cascade.interfaces.wire.read import _fields as fields

MAX_ROWS = 500
"""Runs that are read of one report."""
MAX_TASKS = 200
"""Task names, running tasks or reasons to wait that are read of one run: engines send at most half of that."""
MAX_RECENT = 50
_MAX_STATES = 20  # there are 7 states; 1.x may add some


@dataclass(frozen=True, slots=True)
class TaskTotals:
    """All calls of one task of a run."""

    name: str
    known: int
    """Calls that the engine knows so far."""
    counts: Mapping[str, int]
    """Calls by state."""
    ended: int = 0
    """Calls whose duration is known."""
    sum_ms: float = 0.0
    """Their durations together, in milliseconds."""
    max_ms: float = 0.0
    """The longest of them, in milliseconds."""


@dataclass(frozen=True, slots=True)
class RunningRow:
    """A call that runs, or that waits at a checkpoint."""

    task_id: str
    task_name: str
    since: float | None
    """Seconds since the epoch."""
    done: float | None = None
    """Progress, where the task reports it."""
    total: float | None = None
    message: str = ""
    unit: str = ""
    paused: bool = False
    """Whether a constraint holds it at a checkpoint."""


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """One reason for which calls wait now."""

    why: str
    """``constraint``, ``resource``, ``slot``, ``retry`` or ``sync``; 1.x may add some."""
    n: int
    """Calls that wait for it; a call counts under each of its reasons."""
    since: float | None = None
    """Seconds since the epoch, as is ``until``."""
    until: float | None = None
    """When the next attempt begins, of ``retry``."""
    topic: str = ""
    """Register, of ``constraint``."""
    type: str = ""
    id: str = ""
    name: str = ""
    """Resource, of ``resource``."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One active run in a report."""

    run_id: str
    target: str
    started: float | None
    """Seconds since the epoch."""
    counts: Mapping[str, int]
    """Tasks by state."""
    attempt: int = 1
    known: int | None = None
    """Tasks that the engine knows so far, where it reports that."""
    open: bool | None = None
    """Whether more tasks may come, where it reports that."""
    eta_s: float | None = None
    """Seconds until the run will probably end, where the engine can tell."""
    name: str = ""
    """Name that the user gave the run."""
    tags: Mapping[str, str | float | bool] = field(default_factory=dict)
    tasks: tuple[TaskTotals, ...] = ()
    tasks_more: int = 0
    """Names that the report leaves out; likewise for the further lists."""
    running: tuple[RunningRow, ...] = ()
    """The longest first."""
    running_more: int = 0
    waiting: tuple[WaitingRow, ...] = ()
    waiting_more: int = 0
    graph_rev: int | None = None
    """Revision of the run's graph."""
    graph_nodes: int = 0
    lost: int = 0
    """Events that were dropped for good."""


@dataclass(frozen=True, slots=True)
class RecentRow:
    """A run that has ended."""

    run_id: str
    target: str
    status: str
    """``Succeeded``, ``Failed`` or ``Cancelled``."""
    error: str = ""
    started: float | None = None
    """Seconds since the epoch, as is ``ended``."""
    ended: float | None = None
    duration_ms: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    attempt: int = 1
    name: str = ""
    tags: Mapping[str, str | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunsReport:
    """What an engine runs, and how its latest runs ended."""

    source: str
    session: str
    runs: tuple[RunRow, ...]
    more: int = 0
    """Runs that the report leaves out."""
    seconds: float | None = None
    presence: str = ""
    """Session of the engine's birth; empty without presence."""
    org_id: str = ""
    project_id: str = ""
    paused: bool | None = None
    """Whether a pause covers everything that this engine runs, where it reports that."""
    recent: tuple[RecentRow, ...] = ()
    """The latest first."""
    recent_more: int = 0


def read_runs_report(source: str, data: Mapping[str, Any]) -> RunsReport:
    """Return the report in a message of ``source``."""
    runs = [_run_row(row) for row in fields.objects(data, "runs", MAX_ROWS)]
    recent = [_recent_row(row) for row in fields.objects(data, "recent", MAX_RECENT)]
    return RunsReport(
        source,
        session=fields.text(data, "session"),
        runs=tuple(row for row in runs if row.run_id),
        more=fields.whole(data, "more") or 0,
        seconds=fields.seconds(data),
        presence=fields.text(data, "presence"),
        org_id=fields.text(data, "org_id"),
        project_id=fields.text(data, "project_id"),
        paused=fields.flag(data, "paused"),
        recent=tuple(row for row in recent if row.run_id),
        recent_more=fields.whole(data, "recent_more") or 0,
    )


def _run_row(row: Mapping[str, Any]) -> RunRow:
    graph = fields.mapping(row, "graph")
    tasks = islice(fields.mapping(row, "tasks").items(), MAX_TASKS)
    return RunRow(
        fields.text(row, "run_id"),
        target=fields.text(row, "target"),
        started=fields.seconds(row, "started"),
        counts=_counts(row),
        attempt=fields.whole(row, "attempt") or 1,
        known=fields.whole(row, "known"),
        open=fields.flag(row, "open"),
        eta_s=fields.number(row, "eta_s"),
        name=fields.text(row, "name"),
        tags=fields.tags(row),
        tasks=tuple(_totals(name, each) for name, each in tasks if isinstance(each, dict)),
        tasks_more=fields.whole(row, "tasks_more") or 0,
        running=tuple(map(_running, fields.objects(row, "running", MAX_TASKS))),
        running_more=fields.whole(row, "running_more") or 0,
        waiting=tuple(map(_waiting, fields.objects(row, "waiting", MAX_TASKS))),
        waiting_more=fields.whole(row, "waiting_more") or 0,
        graph_rev=fields.whole(graph, "rev"),
        graph_nodes=fields.whole(graph, "nodes") or 0,
        lost=fields.whole(row, "lost") or 0,
    )


def _recent_row(row: Mapping[str, Any]) -> RecentRow:
    return RecentRow(
        fields.text(row, "run_id"),
        target=fields.text(row, "target"),
        status=fields.text(row, "status"),
        error=fields.text(row, "error"),
        started=fields.seconds(row, "started"),
        ended=fields.seconds(row, "ended"),
        duration_ms=fields.number(row, "duration_ms"),
        counts=_counts(row),
        attempt=fields.whole(row, "attempt") or 1,
        name=fields.text(row, "name"),
        tags=fields.tags(row),
    )


def _totals(name: str, row: Mapping[str, Any]) -> TaskTotals:
    counts, ms = _counts(row), fields.mapping(row, "ms")
    known = fields.whole(row, "known")
    return TaskTotals(
        name[: fields.MAX_TEXT],
        known=sum(counts.values()) if known is None else known,
        counts=counts,
        ended=fields.whole(ms, "n") or 0,
        sum_ms=fields.number(ms, "sum") or 0.0,
        max_ms=fields.number(ms, "max") or 0.0,
    )


def _running(row: Mapping[str, Any]) -> RunningRow:
    return RunningRow(
        fields.text(row, "task_id"),
        task_name=fields.text(row, "task_name"),
        since=fields.seconds(row, "since"),
        done=fields.number(row, "done"),
        total=fields.number(row, "total"),
        message=fields.text(row, "message"),
        unit=fields.text(row, "unit"),
        paused=fields.flag(row, "paused") or False,
    )


def _waiting(row: Mapping[str, Any]) -> WaitingRow:
    return WaitingRow(
        fields.text(row, "why"),
        n=fields.whole(row, "n") or 0,
        since=fields.seconds(row, "since"),
        until=fields.seconds(row, "until"),
        topic=fields.text(row, "topic"),
        type=fields.text(row, "type"),
        id=fields.text(row, "id"),
        name=fields.text(row, "name"),
    )


def _counts(row: Mapping[str, Any]) -> dict[str, int]:
    counts = fields.mapping(row, "counts")
    return {
        state[: fields.MAX_TEXT]: count
        for state in islice(counts, _MAX_STATES)
        if (count := fields.whole(counts, state)) is not None
    }
