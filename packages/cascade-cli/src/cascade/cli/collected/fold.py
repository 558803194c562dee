"""A run, from its events. No I/O."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from cascade.interfaces.events import ENDED_STATES


class _Body(msgspec.Struct):
    type: str = ""
    task_id: str = ""
    task_name: str = ""
    state: str = ""
    error: str = ""
    reason: str = ""


class _StateEvent(msgspec.Struct):
    ts: str | None = None
    body: _Body | None = None


_DECODER = msgspec.json.Decoder(_StateEvent)


@dataclass(slots=True)
class CollectedRun:
    """One run on one machine, from its events."""

    name: str = ""
    status: str = "Running"
    """Of the last attempt; ``Running`` where its end was not received."""
    created: str | None = None
    ended: str | None = None
    error: str = ""
    token: str = ""
    """Of the latest attempt."""
    tokens: set[str] = field(default_factory=set)
    _steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps as ``cascade history`` lists them."""
        return [{**step, "took": between(step["began"], step["ended"])} for step in self._steps.values()]

    def add(self, token: str, payload: str) -> None:
        """Follow one event, as JSON; another program may have published it, so that any field may hold anything."""
        self.tokens.add(token)
        self.token = token
        try:
            # of 20,000 tasks in a tenth of the time
            event = _DECODER.decode(payload)
        except msgspec.ValidationError:
            self._add_odd(json.loads(payload))
            return
        if event.body is None:
            return
        if event.body.type == "TaskStateEvent":
            self._follow_step(event.body, event.ts)
        elif event.body.type == "LifecycleEvent":
            self._follow_run(json.loads(payload)["body"], event.ts)

    def _add_odd(self, message: Mapping[str, Any]) -> None:
        """Follow an event in which a value has a wrong type."""
        body, ts = message.get("body"), message.get("ts")
        ts = ts if isinstance(ts, str) else None
        if not isinstance(body, Mapping):
            return
        if body.get("type") == "LifecycleEvent":
            self._follow_run(body, ts)
        elif body.get("type") == "TaskStateEvent":
            names = ("task_id", "task_name", "state")
            texts = {name: str(body.get(name)) for name in names}
            self._follow_step(
                _Body(error=str(body.get("error") or ""), reason=str(body.get("reason") or ""), **texts), ts
            )

    @property
    def counts(self) -> Counter[str]:
        """Steps by state, as in a report."""
        return Counter(step["state"].upper() for step in self._steps.values())

    def _follow_run(self, body: Mapping[str, Any], ts: str | None) -> None:
        if body.get("event") == "ENGINE_STARTED":
            self.created = self.created or ts
            self.name = str(body.get("name") or self.name)
            self.status, self.ended, self.error = "Running", None, ""
        else:
            self.status, self.ended = str(body.get("status") or ""), ts
            self.error = str(body.get("error") or "")

    def _follow_step(self, body: _Body, ts: str | None) -> None:
        state = body.state
        step = self._steps.get(body.task_id)
        if step is None:
            step = self._steps[body.task_id] = {
                "key": body.task_id,
                "name": body.task_name,
                "state": "",
                "starts": 0,
                "tries": 0,
                "began": None,
                "ended": None,
                "took": None,
                "error": "",
                "reason": "",
                "size": 0,
            }
        step["state"], step["error"] = state.lower(), body.error
        # a step that has run since keeps why it waited
        step["reason"] = body.reason or step["reason"]
        if state == "RUNNING":
            step["starts"] += 1
            step["began"], step["ended"] = step["began"] or ts, None
            return
        step["tries"] += state in ("RETRYING", "FAILED")
        if state in ENDED_STATES:
            step["ended"] = ts


def between(began: str | None, ended: str | None) -> float | None:
    """Return the seconds between two times in ISO 8601; None if one is not known."""
    try:
        return max(
            0.0, (datetime.fromisoformat(ended or "") - datetime.fromisoformat(began or "")).total_seconds()
        )
    except (ValueError, TypeError):
        # not a time, or one of the two without an offset from UTC
        return None
