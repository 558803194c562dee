"""What one engine has told of itself over MQTT: its starts, its reports. Does no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from watcher import EVENTS, printable

from cascade.interfaces.topics import STORE_TOPIC, constraint_topic, state_topic, status_topic


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one engine, by the name of its process."""

    source: str

    @property
    def constraints(self) -> str:
        """Its report of what is in force."""
        return state_topic(self.source, "constraints")

    @property
    def runs(self) -> str:
        """Its report of what runs."""
        return state_topic(self.source, "runs")

    @property
    def left_behind(self) -> tuple[str, ...]:
        """What the broker retains of an engine with a name."""
        return (status_topic(self.source), self.constraints, self.runs)

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return (EVENTS, self.constraints, self.runs, STORE_TOPIC)

    @property
    def scope(self) -> str:
        """Everything that this engine runs."""
        return f"source:{self.source}"

    def register(self, kind: str) -> str:
        """Return the topic of a constraint on everything that this engine runs."""
        return constraint_topic(self.scope, kind)


@dataclass(slots=True)
class View:
    """The engine as its messages show it; times are the engine's, in seconds since the epoch."""

    topics: Topics
    started: list[float] = field(default_factory=list)
    """When its tasks were started."""
    over: bool = False
    """Whether its run has ended."""
    _applied: dict[str, float] = field(default_factory=dict)

    def event(self, payload: bytes | bytearray) -> None:
        """Take an event; those of other engines are passed over."""
        match _json(payload):
            case {"source": self.topics.source, "ts": str(ts), "body": {"state": "RUNNING"}}:
                self.started.append(_seconds(ts))
            case {"source": self.topics.source, "body": {"event": "ENGINE_STOPPED"}}:
                self.over = True

    def report(self, payload: bytes | bytearray) -> None:
        """Take a report of constraints."""
        match _json(payload):
            case {"applied": dict(applied), "ts": str(ts)}:
                now = _seconds(ts)
                in_force = [topic for topic, entry in applied.items() if _is_applied(entry)]
                self._applied = {topic: self._applied.get(topic, now) for topic in in_force}

    def applied_since(self, topic: str) -> float | None:
        """Return when the engine first said that this register is in force, or None if it is not."""
        return self._applied.get(topic)

    def starts_between(self, begin: float, end: float) -> int:
        """Count the tasks that were started in between."""
        return sum(begin < at < end for at in self.started)


class Teller:
    """Decides which reports deserve a line: what is new at once, mere counts once a second."""

    def __init__(self, topics: Topics, *, every: float = 1.0) -> None:
        self._topics = topics
        self._every = every
        self._told: dict[str, str] = {}
        self._told_at: dict[str, float] = {}

    def line(self, topic: str, payload: bytes | bytearray, now: float) -> str | None:
        """Return the line for a report, or None to stay silent."""
        report = _json(payload)
        if not isinstance(report, dict):
            return None
        what, counts = _constraints(report) if topic == self._topics.constraints else ("runs", _runs(report))
        new = self._told.get(topic) != what
        if not new and now - self._told_at[topic] < self._every:
            return None
        self._told[topic], self._told_at[topic] = what, now
        return printable(f"{what}{counts}"[:400])


def _constraints(report: Mapping[str, Any]) -> tuple[str, str]:
    applied = report.get("applied")
    effective = report.get("effective")
    entries = applied.items() if isinstance(applied, dict) else ()
    rows = effective if isinstance(effective, list) else ()
    told = _list(f"@{topic.rpartition('@')[2]} {_status(entry)}" for topic, entry in entries)
    in_force = _list(_effective(row) for row in rows if isinstance(row, dict))
    what = (
        f"constraints: sync {report.get('sync')}; {told or 'none applied'}; effective: {in_force or 'none'}"
    )
    return what, f"; in_scope_running {report.get('in_scope_running')}"


def _status(entry: object) -> str:
    return (
        " ".join(str(entry[key]) for key in ("status", "reason") if key in entry)
        if isinstance(entry, dict)
        else "?"
    )


def _effective(row: Mapping[str, Any]) -> str:
    params = row.get("params")
    rate = params.get("rate") if isinstance(params, dict) else None
    return f"{row.get('type')} {rate:g}/s" if isinstance(rate, int | float) else str(row.get("type"))


def _runs(report: Mapping[str, Any]) -> str:
    runs = report.get("runs")
    rows = [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []
    counts = (run["counts"] for run in rows if isinstance(run.get("counts"), dict))
    return ": " + ("; ".join(_list(f"{state} {n}" for state, n in each.items()) for each in counts) or "none")


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


def _is_applied(entry: object) -> bool:
    return isinstance(entry, dict) and entry.get("status") == "applied"


def _seconds(ts: str) -> float:
    try:
        return datetime.fromisoformat(ts).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _json(payload: bytes | bytearray) -> object:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None
