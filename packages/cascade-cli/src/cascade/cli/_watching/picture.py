"""The picture that a person sees of a view, as plain data. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cascade.cli._offers import offer_rows
from cascade.cli._watching.changes import CONTESTED
from cascade.cli._watching.rates import Rates
from cascade.cli._watching.steps import steps
from cascade.cli.durations import show_duration
from cascade.interfaces.control_messages import lift_command
from cascade.interfaces.gates import PREFIX, Gate, GateMistake, is_gate
from cascade.interfaces.topics import parse_constraint_topic
from cascade.interfaces.wire import LOST
from cascade.wire import (
    EngineView,
    Register,
    RunView,
    View,
    Waiting,
    author_of,
    constraint_rows,
    interrupted_rows,
    run_progress,
    seconds,
    waiting_rows,
)
from cascade.wire.progress import ACTIVE, RUNNING, UNKNOWN, Progress
from cascade.wire.rows import active_runs

_LIMITS = ("pause", "concurrency", "rate_limit")


@dataclass(frozen=True, slots=True)
class EngineLine:
    """One engine."""

    source: str
    status: str
    age: str
    """Since when it is connected, or how long ago it reported."""
    runs: int
    notes: str


@dataclass(frozen=True, slots=True)
class RunningLine:
    """One task that runs."""

    name: str
    age: str
    done: float | None
    total: float | None
    note: str


@dataclass(frozen=True, slots=True)
class WaitingLine:
    """Why tasks wait, and what lifts that."""

    n: int
    why: str
    command: str
    """Empty if only time or other tasks lift it."""


@dataclass(frozen=True, slots=True)
class RunPanel:
    """One run that is not over, or whose engine is lost."""

    run_id: str
    title: str
    source: str
    progress: Progress
    rate: float | None
    """Tasks ended per second in the last seconds."""
    steps: tuple[tuple[str, int, int], ...]
    """Name, ended and known of each task name, in the order of the graph."""
    running: tuple[RunningLine, ...]
    waiting: tuple[WaitingLine, ...]
    failures: tuple[tuple[str, str], ...]
    """Task and error of the latest failures."""
    missing: int | None = None
    """How many events did not arrive and are not counted; None if the counts are those of the engine."""
    doubt: str = ""
    """Why it is not known whether it still runs."""
    by: str = ""
    """Who pauses it."""
    interrupted: tuple[str, ...] = ()
    """Tasks that ran when the link of a lost engine broke."""
    running_more: int = 0
    """Tasks that run, and that the report leaves out; ``names_more``: names of tasks."""
    names_more: int = 0
    dropped: int = 0
    """Events that the engine has dropped for good."""


@dataclass(frozen=True, slots=True)
class EndedLine:
    """One run that is over."""

    run_id: str
    title: str
    source: str
    progress: Progress
    took: str
    ago: str
    """How long ago it ended."""
    error: str
    by: str = ""
    """Who ended it."""
    interrupted: tuple[str, ...] = ()
    """Tasks that ran when the process of a lost run died."""


@dataclass(frozen=True, slots=True)
class ConstraintLine:
    """One register."""

    scope: str
    what: str
    by: str
    expires: str
    obeyed: tuple[str, ...]
    refused: tuple[str, ...]
    on_broker: bool = True
    """Whether the broker holds it; engines may still obey what it has lost."""
    gates: tuple[str, ...] = ()
    """What engines say of a gate that is not open."""


@dataclass(frozen=True, slots=True)
class OfferLine:
    """One workflow that an engine starts."""

    name: str
    source: str
    accepting: bool
    next: str
    """In how long it starts by the clock."""
    last: str
    """How its last run ended."""
    ago: str
    """How long ago that was."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that a person sees."""

    engines: tuple[EngineLine, ...]
    runs: tuple[RunPanel, ...]
    ended: tuple[EndedLine, ...]
    constraints: tuple[ConstraintLine, ...]
    workflows: tuple[OfferLine, ...] = ()


_LARGEST, _LONGEST = 1e15, 40
SILENT_SECONDS = 60.0
"""Age of a report from which on it is named: an engine repeats it every 10 s while a run is active."""


def take(view: View, rates: Rates, *, now: float, wall: float) -> Picture:
    """Return the picture of a view.

    :param now: seconds on the clock of the view.
    :param wall: seconds since the epoch, for the times in messages.
    """
    found = {key: run_progress(view, run, now) for key, run in reversed(view.runs.items())}
    # also of an engine that is lost now
    active = [key for key in found if view.runs[key].status == RUNNING or found[key].status == UNKNOWN]
    active.sort(key=lambda key: (found[key].status == LOST, key))
    panels = [_panel(view, view.runs[key], found[key], rates=rates, now=now, wall=wall) for key in active]
    over = sorted((key for key in found if key not in active), key=lambda key: -(view.runs[key].ended or 0.0))
    return Picture(
        tuple(_engine(engine, now, wall) for engine in sorted(view.engines.values(), key=_rank(now))),
        tuple(panels),
        tuple(_ended(view, view.runs[key], found[key], now=now, wall=wall) for key in over),
        tuple(_constraint(row, wall) for row in constraint_rows(view, now)),
        tuple(_offer(row, wall) for row in offer_rows(view, now)),
    )


def describe(kind: str, params: Mapping[str, Any]) -> str:
    """Return a constraint in a few words."""
    limit, rate = params.get("limit"), params.get("rate")
    if kind == "concurrency" and limit is not None:
        return f"at most {str(limit)[:_LONGEST]} at a time"
    if kind == "rate_limit" and rate is not None:
        return f"at most {rate:g}/s" if _is_plain(rate) else f"at most {str(rate)[:_LONGEST]}"
    if is_gate(kind):
        with suppress(GateMistake):
            return f"{kind}: {Gate.from_params(kind.removeprefix(PREFIX), params)}"
    return kind


def _is_plain(value: Any) -> bool:
    """Return whether a value of a message is a number that can be shown as one: an integer may have any size."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST)


def _rank(now: float) -> Any:
    order = {"online": 0, "unknown": 1, "lost": 2, "ended": 3}
    return lambda engine: (order[engine.status(now)], engine.source)


def _engine(engine: EngineView, now: float, wall: float) -> EngineLine:
    presence = engine.presence
    online = engine.status(now) == "online"
    if presence is not None and presence.online and presence.seconds is not None:
        age = show_duration(wall - presence.seconds)
    elif engine.heard is not None and not online:
        age = f"{show_duration(now - engine.heard)} ago"
    elif engine.reported is not None and not online and wall >= engine.reported:
        age = f"{show_duration(wall - engine.reported)} ago"
    else:
        age = ""
    notes = [
        *(
            ["only events"]
            if engine.only_events
            else ["no report yet"]
            if engine.status(now) == UNKNOWN
            else []
        ),
        *(["paused"] if online and engine.paused else []),
        *([CONTESTED] if online and engine.contested else []),
        *([engine.sync] if online and engine.sync not in ("", "synced") else []),
    ]
    return EngineLine(engine.source, engine.status(now), age, active_runs(engine, now), ", ".join(notes))


def _panel(
    view: View, run: RunView, progress: Progress, *, rates: Rates, now: float, wall: float
) -> RunPanel:
    return RunPanel(
        run.run_id,
        title=run.name or run.target or "(unnamed)",
        source=run.source,
        progress=progress,
        rate=rates.note((run.source, run.run_id), progress.finished, now),
        steps=steps(run, view.engines.get(run.source)),
        running=tuple(_running(run, wall)),
        waiting=tuple(_waiting(view, run, progress, now=now, wall=wall)),
        failures=tuple((task.task_id, task.error) for task in reversed(run.failures)),
        missing=run.missing if run.partial else None,
        doubt=_doubt(view.engines.get(run.source), now, wall) if progress.status in ACTIVE else "",
        running_more=run.reported.running_more if run.reported is not None else 0,
        names_more=run.reported.tasks_more if run.reported is not None else 0,
        dropped=run.reported.lost if run.reported is not None else 0,
        by=author_of(view, run, progress),
        interrupted=_interrupted(view, run, now),
    )


def _interrupted(view: View, run: RunView, now: float) -> tuple[str, ...]:
    return tuple(task.task_id or task.task_name for task in interrupted_rows(view, run, now))


def _doubt(engine: EngineView | None, now: float, wall: float) -> str:
    """Return why it is not known whether a run still runs: its engine has said nothing for longer than it does while one runs."""
    if engine is None or not engine.is_silent(now):
        return ""
    if engine.only_events and engine.heard is not None:
        return f"its last event came {show_duration(now - engine.heard)} ago: not known whether it still runs"
    if engine.status(now) == UNKNOWN:
        return "no report has come yet: not known whether it still runs"
    reported = seconds(engine.runs.ts) if engine.runs is not None else None
    if reported is None or wall - reported < SILENT_SECONDS:
        return ""
    return f"its last report is {show_duration(wall - reported)} old: not known whether it still runs"


def _running(run: RunView, wall: float) -> Iterable[RunningLine]:
    """Yield the running tasks, the longest first: those of the report, else those of the events."""
    if run.reported is not None and run.reported.running:
        for row in run.reported.running:
            note = " ".join(text for text in ("paused" if row.paused else "", row.unit, row.message) if text)
            age = _age(seconds(row.since), wall)
            yield RunningLine(row.task_id or row.task_name, age, row.done, row.total or None, note)
        return
    for task in sorted(run.tasks.values(), key=lambda task: task.since or 0.0):
        if task.state == "RUNNING":
            yield RunningLine(task.task_id, _age(task.since, wall), task.done, task.total, task.message)


def _waiting(
    view: View, run: RunView, progress: Progress, *, now: float, wall: float
) -> Iterable[WaitingLine]:
    """Yield why tasks wait: as the report says, else every constraint that its engine has in force."""
    if run.reported is not None and run.reported.waiting:
        yield from (_reason(view, row, wall) for row in waiting_rows(view, run, now))
        return
    engine = view.engines.get(run.source)
    if not progress.waiting or engine is None or engine.constraints is None:
        return
    for row in engine.constraints.effective:
        if row.type in _LIMITS:
            text = describe(row.type, row.params)
            yield WaitingLine(progress.waiting, f"{text} ({row.scope})", lift_command(row.topic, row.type))
        elif row.gate and row.gate.holds:
            yield WaitingLine(progress.waiting, row.gate.text, lift_command(row.topic, row.type))


def _reason(view: View, row: Waiting, wall: float) -> WaitingLine:
    if row.why == "constraint" and not row.text:
        found = parse_constraint_topic(row.topic)
        register: Register | None = view.registers.get(row.topic)
        what = describe(row.type, (register.params or {}) if register is not None else {})
        scope = f" ({found[0]})" if found else ""
        return WaitingLine(row.n, f"{what}{scope}", lift_command(row.topic, row.type))
    lift = lift_command(row.topic, row.type) if row.topic else ""
    return WaitingLine(row.n, _reason_text(row, wall), lift)


def _reason_text(row: Waiting, wall: float) -> str:
    """Return the reason of a row that names no register, or one of a gate."""
    if row.text:
        since = seconds(row.since)
        return row.text + ("" if since is None else f" (for {show_duration(wall - since)})")
    if row.why == "retry":
        until = seconds(row.until)
        return "next attempt" + ("" if until is None else f" in {show_duration(until - wall)}")
    if row.why == "slot" and row.name:
        return f"the limit of the map {row.name}"
    texts = {
        "resource": f"resource {row.name} is taken",
        "rate": f"the rate of {row.name}",
        "gate": f"the gate {row.name} is closed",
        "slot": "all worker slots are taken",
        "sync": "the engine waits for its constraints",
    }
    return texts.get(row.why, row.why)


def _ended(view: View, run: RunView, progress: Progress, *, now: float, wall: float) -> EndedLine:
    return EndedLine(
        run.run_id,
        title=run.name or run.target or "(unnamed)",
        source=run.source,
        progress=progress,
        took="" if run.started is None or run.ended is None else _age(run.started, run.ended),
        ago=_age(run.ended, wall),
        error=run.error,
        by=author_of(view, run, progress),
        interrupted=_interrupted(view, run, now),
    )


def _constraint(row: Mapping[str, Any], wall: float) -> ConstraintLine:
    expires = row["expires_at"]
    left = "" if expires is None else f"{show_duration(expires - wall)} left" if expires > wall else "expired"
    return ConstraintLine(
        row["scope"],
        describe(row["type"], row["params"]),
        by=row["by"],
        expires=left,
        obeyed=tuple(row["applied"]),
        refused=tuple(f"{each['source']} ({each['reason']})" for each in row["refused"]),
        on_broker="on_broker" not in row,
        gates=tuple(
            f"{each['source']}: {each['text']}" for each in row.get("gates", ()) if each["state"] != "open"
        ),
    )


def _offer(row: Mapping[str, Any], wall: float) -> OfferLine:
    due, last = seconds(row["next"] or ""), row["last"] or {}
    return OfferLine(
        row["name"],
        row["source"],
        accepting=row["accepting"],
        next="" if due is None or not row["accepting"] else show_duration(due - wall),
        last=last.get("status", ""),
        ago=_age(seconds(last.get("ended", "")), wall),
    )


def _age(since: float | None, wall: float) -> str:
    return "" if since is None else show_duration(wall - since)
