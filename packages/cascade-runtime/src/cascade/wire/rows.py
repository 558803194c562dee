"""The rows that a command or a page shows of a view, ready for JSON."""

from __future__ import annotations

from typing import Any

from cascade.interfaces.wire import timestamp
from cascade.wire.engine_view import ONLINE, UNKNOWN, EngineView
from cascade.wire.reports import EffectiveEntry
from cascade.wire.run_view import LOST, RUNNING, RunView
from cascade.wire.view import View


def engine_rows(view: View, now: float) -> list[dict[str, Any]]:
    """Return a row for each engine, by source; ``now`` is on the reader's clock.

    ``runs`` counts the active runs: an engine that is not live has none, and is not ``paused``.
    """
    return [_engine_row(engine, now) for _, engine in sorted(view.engines.items())]


def run_rows(view: View, now: float) -> list[dict[str, Any]]:
    """Return a row for each run, the one with the latest message first; ``now`` is on the reader's clock.

    A running run of an engine that is lost or has ended is ``Lost``. Of an engine whose status is unknown, a run is
    running until an event shows its end.
    """
    return [_run_row(view, run, now) for run in reversed(view.runs.values())]


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
        "runs": len(engine.runs.runs) + engine.runs.more if engine.runs and engine.is_live(now) else 0,
    }


def _run_row(view: View, run: RunView, now: float) -> dict[str, Any]:
    engine = view.engines.get(run.source)
    lost = run.status == RUNNING and (engine is None or engine.status(now) not in (ONLINE, UNKNOWN))
    counts = run.counts
    active = run.reported if run.status == RUNNING else None
    return {
        "source": run.source,
        "run_id": run.run_id,
        "target": run.target,
        "status": LOST if lost else run.status,
        "started": _time(run.started),
        "ended": _time(run.ended),
        "counts": counts,
        "known": active.known if active else sum(counts.values()),
        "open": active.open if active else run.status == RUNNING,
        "error": run.error,
    }


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
            found = kept.setdefault(row.topic, _kept_row(row))
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
