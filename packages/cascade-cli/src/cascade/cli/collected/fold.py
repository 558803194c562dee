"""A run, from its events. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cascade.interfaces.events import ENDED_STATES


@dataclass(slots=True)
class CollectedRun:
    """One run on one machine, from its events.

    Events on the topic of another project are another run's: a broker's rules decide who may write them.
    """

    run_id: str
    source: str
    project_id: str = ""
    name: str = ""
    status: str = "Running"
    """Of the last attempt; ``Running`` where its end was not received."""
    created: str | None = None
    ended: str | None = None
    error: str = ""
    tokens: set[str] = field(default_factory=set)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, token: str, message: Mapping[str, Any]) -> None:
        """Follow one event; another program may have published it, so that any field may hold anything."""
        self.tokens.add(token)
        body, ts = message.get("body"), message.get("ts")
        ts = ts if isinstance(ts, str) else None
        if not isinstance(body, Mapping):
            return
        if body.get("type") == "LifecycleEvent":
            self._follow_run(body, ts)
        elif body.get("type") == "TaskStateEvent":
            self._follow_step(body, ts)

    def row(self) -> dict[str, Any]:
        """Return the run as ``cascade history`` lists it."""
        counts = Counter(step["state"] for step in self.steps.values())
        return {
            "run_id": self.run_id,
            "source": self.source,
            "project_id": self.project_id,
            "target": self.name,
            "status": self.status,
            "attempts": len(self.tokens),
            "created": self.created,
            "ended": self.ended,
            "took": _between(self.created, self.ended),
            "counts": dict(sorted(counts.items())),
            "error": self.error,
        }

    def _follow_run(self, body: Mapping[str, Any], ts: str | None) -> None:
        if body.get("event") == "ENGINE_STARTED":
            self.created = self.created or ts
            self.name = str(body.get("name") or self.name)
            self.status, self.ended, self.error = "Running", None, ""
        else:
            self.status, self.ended = str(body.get("status") or ""), ts
            self.error = str(body.get("error") or "")

    def _follow_step(self, body: Mapping[str, Any], ts: str | None) -> None:
        key, state = str(body.get("task_id")), str(body.get("state"))
        step = self.steps.setdefault(
            key,
            {"key": key, "name": str(body.get("task_name")), "state": "", "starts": 0, "tries": 0}
            | {"began": None, "ended": None, "took": None, "error": "", "size": 0},
        )
        step["state"], step["error"] = state.lower(), str(body.get("error") or "")
        step["starts"] += state == "RUNNING"
        step["tries"] += state in ("RETRYING", "FAILED")
        if state == "RUNNING":
            step["began"], step["ended"] = step["began"] or ts, None
        elif state in ENDED_STATES:
            step["ended"] = ts
        step["took"] = _between(step["began"], step["ended"])


def _between(began: str | None, ended: str | None) -> float | None:
    try:
        return max(
            0.0, (datetime.fromisoformat(ended or "") - datetime.fromisoformat(began or "")).total_seconds()
        )
    except (ValueError, TypeError):
        # not a time, or one of the two without an offset from UTC
        return None
