"""The rows that a command or a page shows of a view, ready for JSON."""

from __future__ import annotations

from typing import Any

from cascade.interfaces.wire import timestamp
from cascade.wire.engine_view import ONLINE, UNKNOWN, EngineView
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
    """Return a row for each register, by topic, with the live engines that obey or refuse it."""
    return [_constraint_row(view, topic, now) for topic in sorted(view.registers)]


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


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)
