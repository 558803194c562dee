"""What one engine shows of itself over MQTT: its topics, the starts of its tasks, lines for its reports. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from watcher import EVENTS

from cascade.interfaces.text import printable
from cascade.interfaces.topics import STORE_TOPIC, canary_topic, constraint_topic, state_topic, status_topic
from cascade.interfaces.wire.read import ConstraintsReport, EventMessage, RunsReport, View


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
        reports = (
            state_topic(self.source, kind) for kind in ("constraints", "runs", "graph", "summary", "host")
        )
        return (status_topic(self.source), *reports, canary_topic(self.source))

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


class Engine:
    """One engine in a view of all; times are the engine's, in seconds since the epoch."""

    def __init__(self, topics: Topics, view: View) -> None:
        self.started: list[float] = []
        """When its tasks were started."""
        self.over = False
        """Whether its run has ended."""
        self._source = topics.source
        self._view = view

    def event(self, event: EventMessage) -> None:
        """Take an event; those of other engines are ignored."""
        if event.source != self._source:
            return
        if event.body.get("state") == "RUNNING":
            self.started.append(event.seconds or 0.0)
        self.over = self.over or event.body.get("event") == "ENGINE_STOPPED"

    def applied_since(self, topic: str) -> float | None:
        """Return when the engine first reported that it obeys this register, or None if it does not."""
        engine = self._view.engines.get(self._source)
        return engine.applied_since.get(topic) if engine else None

    def starts_between(self, begin: float, end: float) -> int:
        """Count the tasks that were started in between."""
        return sum(begin < at < end for at in self.started)


class ReportLines:
    """Decides which reports deserve a line: what is new at once, mere counts once a second."""

    def __init__(self, *, every: float = 1.0) -> None:
        self._every = every
        self._last: dict[type, str] = {}
        self._printed_at: dict[type, float] = {}

    def line(self, report: ConstraintsReport | RunsReport, now: float) -> str | None:
        """Return the line for a report, or None to stay silent."""
        kind = type(report)
        what, counts = (
            _constraints(report) if isinstance(report, ConstraintsReport) else ("runs", _runs(report))
        )
        new = self._last.get(kind) != what
        if not new and now - self._printed_at[kind] < self._every:
            return None
        self._last[kind], self._printed_at[kind] = what, now
        return printable(f"{what}{counts}"[:400])


def _constraints(report: ConstraintsReport) -> tuple[str, str]:
    registers = _list(
        f"@{topic.rpartition('@')[2]} {each.status} {each.reason}".rstrip()
        for topic, each in report.applied.items()
    )
    in_force = _list(_effective(row) for row in report.effective)
    what = f"constraints: sync {report.sync}; {registers or 'none applied'}; effective: {in_force or 'none'}"
    return what, f"; in_scope_running {report.in_scope_running}"


def _effective(row: Mapping[str, Any]) -> str:
    params = row.get("params")
    rate = params.get("rate") if isinstance(params, dict) else None
    return f"{row.get('type')} {rate}" if rate is not None else str(row.get("type"))


def _runs(report: RunsReport) -> str:
    rows = [_list(f"{state} {n}" for state, n in run.counts.items()) for run in report.runs]
    return ": " + ("; ".join(rows) or "none")


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)
