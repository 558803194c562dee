"""The rows that a command or a page shows of a view, ready for JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from msgspec.structs import replace

from cascade.interfaces.gates import is_gate
from cascade.interfaces.topics import parse_constraint_topic
from cascade.interfaces.wire import LOST, timestamp
from cascade.wire.ended import InterruptedTask
from cascade.wire.engine_view import ONLINE, EngineView, covers_everything
from cascade.wire.gates import gate_rows
from cascade.wire.progress import ACTIVE, PAUSED, RUNNING, UNKNOWN, Progress, progress_of
from cascade.wire.reports import EffectiveEntry, Waiting
from cascade.wire.run_view import RunView
from cascade.wire.view import View


def engine_rows(view: View, now: float) -> list[dict[str, Any]]:
    """Return a row for each engine, by source; ``now`` is on the reader's clock.

    ``runs`` counts the active runs: an engine that is not live has none, and is not ``paused``.
    """
    return [_engine_row(engine, now) for _, engine in sorted(view.engines.items())]


def active_runs(engine: EngineView, now: float) -> int:
    """Return how many runs an engine has now: one that is not live has none, and those of an earlier process are lost."""
    if engine.runs is None or not engine.is_live(now) or engine.runs_of_another(now):
        return 0
    return len(engine.runs.runs) + engine.runs.more


def run_rows(view: View, now: float) -> list[dict[str, Any]]:
    """Return a row for each run, the one with the latest message first; ``now`` is on the reader's clock.

    The numbers are those of :func:`run_progress`; ``counts`` has the tasks by state, as events and reports name them.
    """
    return [_run_row(view, run, now) for run in reversed(view.runs.values())]


def run_progress(view: View, run: RunView, now: float) -> Progress:
    """Return how far a run of a view is; ``now`` is on the reader's clock.

    A running run of an engine that is lost or has ended is ``Lost``, and as its last report has it. Of an engine whose
    status is unknown because only its events come, a run is running until an event shows its end. While it is unknown
    because only what the broker kept has come, the run is ``unknown``; so is one that a process calls lost while another
    one uses its name: it may go on there.
    """
    lost = _is_lost(view, run, now)
    active = run.reported if run.status == RUNNING else None
    found = progress_of(
        _counts(run, lost=lost),
        status=LOST if lost else run.status,
        recorded=active.recorded if lost and active is not None else run.recorded,
        known=run.known,
        open=active.open if active is not None else run.status == RUNNING,
        # a report that leaves out reasons may have left out those tasks that wait for their next attempt
        waits=None if active is None or active.waiting_more else ((row.why, row.n) for row in active.waiting),
        paused=bool(_pauses(view, run)),
        left_s=active.eta_s if active is not None else None,
    )
    is_unheard = found.status in ACTIVE and _is_unheard(view.engines.get(run.source), now)
    if is_unheard or _is_disputed(view, run, now):
        return dataclasses.replace(found, status=UNKNOWN, left_s=None)
    return found


def _is_unheard(engine: EngineView | None, now: float) -> bool:
    """Return whether only retained messages have come of an engine, which do not show whether it lives."""
    return engine is not None and engine.status(now) == UNKNOWN and not engine.only_events


def _is_disputed(view: View, run: RunView, now: float) -> bool:
    """Return whether a process says that a run is lost while another one uses its name."""
    engine = view.engines.get(run.source)
    return run.status == LOST and engine is not None and engine.is_live(now) and engine.contested


def _is_lost(view: View, run: RunView, now: float) -> bool:
    engine = view.engines.get(run.source)
    if run.status != RUNNING:
        return False
    return engine is None or engine.status(now) not in (ONLINE, UNKNOWN) or engine.runs_of_another(now)


def _counts(run: RunView, *, lost: bool) -> dict[str, int]:
    """Return tasks by state; of a lost run those of the last report, which is all that its engine's next process knows."""
    return dict(run.reported.counts) if lost and run.reported is not None else run.counts


def waiting_rows(view: View, run: RunView, now: float) -> list[Waiting]:
    """Return the reasons for which tasks of a run wait, none with more tasks than wait in all."""
    found = run_progress(view, run, now)
    rows = run.reported.waiting if run.reported is not None and run.status == RUNNING else []
    return [replace(row, n=min(row.n, found.waiting)) for row in rows if row.n and found.waiting]


def author_of(view: View, run: RunView, progress: Progress) -> str:
    """Return who ended a run, or who pauses it now, as the messages claim; empty if that is nobody or not known."""
    return next(filter(None, _pauses(view, run)), "") if progress.status == PAUSED else run.by


def interrupted_rows(view: View, run: RunView, now: float) -> list[InterruptedTask]:
    """Return the tasks that ran when the process of a ``Lost`` run died, or when its link broke."""
    if run_progress(view, run, now).status != LOST:
        return []
    if run.end is not None:
        return run.end.interrupted
    rows = run.reported.running if run.reported is not None else []
    return [InterruptedTask(task_id=row.task_id, task_name=row.task_name, since=row.since) for row in rows]


def _pauses(view: View, run: RunView) -> list[str]:
    """Return the authors of the pauses that cover everything in a run; an empty text for one that names none."""
    engine, own = view.engines.get(run.source), f"run:{run.run_id}"
    if engine is None:
        return []
    if engine.constraints is not None:
        rows = (row for row in engine.constraints.effective if row.type == "pause")
        return [row.by for row in rows if row.scope == own or covers_everything(row.scope)]
    waiting = run.reported.waiting if run.reported is not None else []
    topics = [row.topic for row in waiting if row.type == "pause"]
    scopes = [found[0] if (found := parse_constraint_topic(topic)) is not None else "" for topic in topics]
    covering = [topic for topic, scope in zip(topics, scopes, strict=True) if engine.paused or scope == own]
    registers = (view.registers.get(topic) for topic in covering)
    return [register.by if register is not None else "" for register in registers] or [""] * engine.paused


def constraint_rows(view: View, now: float) -> list[dict[str, Any]]:
    """Return a row for each register, by topic, with the live engines that obey or refuse it.

    Behind them, with ``on_broker`` False, a row for each constraint that live engines obey and the broker does not
    hold: it has lost its store, and they keep what they knew.
    """
    return [
        *(_constraint_row(view, topic, now) for topic in sorted(view.registers)),
        *(row for _, row in sorted(_kept_rows(view, now).items())),
    ]


def _engine_row(engine: EngineView, now: float) -> dict[str, Any]:
    presence = engine.presence
    return {
        "source": engine.source,
        "status": engine.status(now),
        "presence": presence.session if presence else "",
        "host": presence.host if presence else "",
        "pid": presence.pid if presence else None,
        "since": _time(presence.seconds if presence else None),
        "project_id": engine.project_id,
        "sync": engine.sync,
        "paused": engine.is_live(now) and engine.paused,
        "contested": engine.is_live(now) and engine.contested,
        "runs": active_runs(engine, now),
        "held": _closed_gates(engine) if engine.is_live(now) else [],
    }


def _closed_gates(engine: EngineView) -> list[str]:
    """Return what an engine says of each gate that holds: first of registers, then of those that programs declare."""
    effective = engine.constraints.effective if engine.constraints is not None else []
    active = engine.runs.runs if engine.runs is not None else []
    registers = [row.gate.text for row in effective if row.gate and row.gate.holds]
    declared = [row.text for run in active for row in run.waiting if row.why == "gate"]
    return list(dict.fromkeys(filter(None, [*registers, *declared])))


def _run_row(view: View, run: RunView, now: float) -> dict[str, Any]:
    found, is_disputed = run_progress(view, run, now), _is_disputed(view, run, now)
    return {
        "source": run.source,
        "run_id": run.run_id,
        "target": run.target,
        "status": found.status,
        "started": _time(run.started),
        "ended": None if is_disputed else _time(run.ended),
        "counts": _counts(run, lost=_is_lost(view, run, now)),
        "tasks": dict(found.tasks),
        "finished": found.finished,
        "known": found.known,
        "open": found.open,
        "percent": found.percent,
        "left_s": found.left_s,
        "error": "" if is_disputed else run.error,
        "by": author_of(view, run, found),
        "token": run.token,
        "attempt": run.attempt,
        "failed": [each.task_id for each in run.failed],
        "interrupted": [each.task_id for each in interrupted_rows(view, run, now)],
        "held": _held_by(view, run, now),
    }


def _held_by(view: View, run: RunView, now: float) -> list[str]:
    """Return why gates hold tasks of a run, in words."""
    return list(dict.fromkeys(row.text for row in waiting_rows(view, run, now) if row.text))


def _constraint_row(view: View, topic: str, now: float) -> dict[str, Any]:
    register = view.registers[topic]
    engines = view.compliance(topic, now).items()
    return {
        "topic": topic,
        "scope": register.scope,
        "type": register.type,
        "params": dict(register.params or {}),
        "id": register.id,
        "by": register.by,
        "expires_at": register.expires_at,
        # Another id is that of the constraint which stood there before.
        "applied": sorted(
            source for source, each in engines if each.status == "applied" and each.id in ("", register.id)
        ),
        "refused": [
            {"source": source, "reason": each.reason}
            for source, each in sorted(engines)
            if each.status in ("rejected", "refused", "unsupported")
        ],
        **_gates(view, topic, register.type, now),
    }


def _gates(view: View, topic: str, kind: str, now: float) -> dict[str, Any]:
    """Return what live engines say of a gate; nothing for a register of another type."""
    if not is_gate(kind):
        return {}
    live = {engine.source for engine in view.live(now)}
    found = [(source, row.gate) for source, row in gate_rows(view) if source in live and row.topic == topic]
    return {
        "gates": [
            {"source": source, "state": gate.state, "text": gate.text} for source, gate in found if gate
        ]
    }


def _kept_rows(view: View, now: float) -> dict[str, dict[str, Any]]:
    """Return the rows of what engines obey and the broker does not hold, by topic; none unless it shows what it holds."""
    kept: dict[str, dict[str, Any]] = {}
    if not view.has_retained or view.left_out:
        return kept
    for engine in view.live(now):
        if engine.constraints is None or engine.reports_of_another or engine.sync in ("idle", "stopped"):
            continue
        for row in engine.constraints.effective:
            if row.topic in view.registers:
                continue
            found = kept.setdefault(row.topic, _kept_row(row) | _gates(view, row.topic, row.type, now))
            found["applied"].append(engine.source)
    return kept


def _kept_row(row: EffectiveEntry) -> dict[str, Any]:
    return {
        "topic": row.topic,
        "scope": row.scope,
        "type": row.type,
        "params": dict(row.params),
        "id": row.id,
        "by": row.by,
        "expires_at": row.expires_at,
        "applied": [],
        "refused": [],
        "on_broker": False,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)
