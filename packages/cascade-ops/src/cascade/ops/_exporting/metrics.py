"""Samples for Prometheus, made from a view of the broker. No I/O."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from cascade.ops._exporting.totals import Names, SourceTotals
from cascade.wire import EngineView, EventMessage, RunsReport, TaskStateBody, View, seconds

BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds in seconds; longer calls are in the last one, which has none."""
Labels = TypeVar("Labels", bound=tuple[str, ...])

MOST_SOURCES = 1_000
"""Engines of which totals and durations are kept; a view keeps as many."""
_COPIES = 100_000
"""Events among which a second copy is recognized."""
_WHO = ["source", "project"]


@dataclass(slots=True)
class _Durations:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return upper bounds with the number of calls up to each."""
        found, total = [], 0
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Metrics:
    """Follows the messages of a broker; a scrape, in whatever thread, reads what is true at that moment.

    Series belong to engines that are connected: those of an engine that has ended or is lost vanish.
    """

    def __init__(self) -> None:
        self.linked = False
        """Whether there is a link to the broker."""
        self._lock = threading.Lock()
        self._view = View()
        self._names = Names()
        self._totals: dict[str, SourceTotals] = {}
        self._durations: dict[str, dict[str, _Durations]] = {}
        self._observed: dict[str, None] = {}  # ids of events

    def fold(self, topic: str, payload: bytes | bytearray, *, now: float, retained: bool) -> None:
        """Take one message of presence or state.

        :param now: seconds on a clock that does not go back; the scrape uses the same.
        """
        with self._lock:
            message = self._view.fold(topic, payload, now=now, retained=retained)
            if isinstance(message, RunsReport):
                self._totals.setdefault(message.source, SourceTotals(self._names)).take(message)
                _shorten(self._totals, MOST_SOURCES)

    def observe(self, event: EventMessage) -> tuple[float, str] | None:
        """Take one event; return seconds and task of a call that has completed, None for another one and a second copy."""
        body = event.content
        if (
            not isinstance(body, TaskStateBody)
            or body.state != "COMPLETED"
            or event.event_id in self._observed
        ):
            return None
        with self._lock:
            if event.event_id:
                self._observed[event.event_id] = None
                _shorten(self._observed, _COPIES)
            name = self._names.label(body.task_name)
            durations = self._durations.setdefault(event.source, {}).setdefault(name, _Durations())
            durations.add(body.duration_ms / 1000)
            _shorten(self._durations, MOST_SOURCES)
        return body.duration_ms / 1000, _label(name)

    def families(self, now: float) -> Iterator[Metric]:
        """Yield every metric with its samples at ``now``."""
        with self._lock:
            live = self._view.live(now)
            self._forget({engine.source for engine in live})
            found = [*self._gauges(live), *self._counters(live), self._histogram(live)]
        yield GaugeMetricFamily(
            "cascade_broker_up", "1 while there is a link to the broker", float(self.linked)
        )
        yield from found

    def _forget(self, live: set[str]) -> None:
        """Drop what was counted of engines that are known and no longer connected."""
        for source in self._view.engines.keys() - live:
            self._totals.pop(source, None)
            self._durations.pop(source, None)

    def _gauges(self, live: list[EngineView]) -> list[Metric]:
        up = GaugeMetricFamily("cascade_engine_up", "1 while the engine is connected", labels=_WHO)
        now = GaugeMetricFamily("cascade_tasks_now", "Tasks of active runs by state", labels=[*_WHO, "state"])
        force = GaugeMetricFamily(
            "cascade_constraint_in_force",
            "Constraints that the engine obeys",
            labels=[*_WHO, "scope", "type"],
        )
        waiting = GaugeMetricFamily(
            "cascade_waiting", "Tasks that wait, under each reason for which they wait", labels=[*_WHO, "why"]
        )
        success = GaugeMetricFamily(
            "cascade_workflow_last_success_timestamp",
            "When the last run of a workflow that succeeded has ended, in seconds since the epoch",
            labels=[*_WHO, "workflow"],
        )
        for engine in live:
            who = _who(engine)
            up.add_metric(who, 1.0)
            for name, at in self._successes(engine).items():
                success.add_metric([*who, _label(name)], at)
            _add(now, who, {(state,): count for state, count in _states(engine).items()})
            _add(force, who, _in_force(engine))
            _add(waiting, who, _waiting(engine))
        return [up, now, force, waiting, success]

    def _successes(self, engine: EngineView) -> dict[str, float]:
        """Return when the last run of each workflow that succeeded has ended; beyond the names, the latest of the others."""
        found: dict[str, float] = {}
        for row in engine.workflows.workflows if engine.workflows is not None else ():
            if (at := seconds(row.last_success)) is not None:
                name = self._names.label(row.name)
                found[name] = max(at, found.get(name, at))
        return found

    def _counters(self, live: list[EngineView]) -> list[Metric]:
        tasks = CounterMetricFamily("cascade_tasks", "Tasks that have ended", labels=[*_WHO, "task", "state"])
        runs = CounterMetricFamily("cascade_runs", "Runs that have ended", labels=[*_WHO, "target", "status"])
        lost = CounterMetricFamily("cascade_events_lost", "Events that were dropped for good", labels=_WHO)
        for engine in live:
            totals = self._totals.get(engine.source)
            if totals is not None:
                who = _who(engine)
                _add(tasks, who, totals.tasks)
                _add(runs, who, totals.runs)
                lost.add_metric(who, totals.lost)
        return [tasks, runs, lost]

    def _histogram(self, live: list[EngineView]) -> Metric:
        family = HistogramMetricFamily(
            "cascade_task_seconds",
            "Durations of calls that have completed, in seconds",
            labels=[*_WHO, "task"],
        )
        for engine in live:
            for name, durations in sorted(self._durations.get(engine.source, {}).items()):
                family.add_metric([*_who(engine), _label(name)], durations.buckets(), durations.seconds)
        return family


def _who(engine: EngineView) -> list[str]:
    return [_label(engine.source), _label(engine.project_id)]


def _label(text: str) -> str:
    """Return a text that UTF-8 can hold: a client can name a source or a scope that it cannot."""
    return text.encode("utf-8", "replace").decode()


def _shorten(counted: dict[str, Any], most: int) -> None:
    """Drop the entry that was made first if there are too many."""
    if len(counted) > most:
        del counted[next(iter(counted))]


def _add(
    family: GaugeMetricFamily | CounterMetricFamily, who: list[str], values: Mapping[Labels, int]
) -> None:
    for labels, value in sorted(values.items()):
        family.add_metric([*who, *map(_label, labels)], value)


def _states(engine: EngineView) -> Counter[str]:
    found = Counter[str]()
    for row in engine.runs.runs if engine.runs is not None else ():
        found.update(row.counts)
    return found


def _waiting(engine: EngineView) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = defaultdict(int)
    for row in engine.runs.runs if engine.runs is not None else ():
        for each in row.waiting:
            found[each.why,] += each.n
    return found


def _in_force(engine: EngineView) -> dict[tuple[str, ...], int]:
    """Return the constraints by scope and type. The id of a run is not a label: the number of runs has no bound."""
    found: dict[tuple[str, ...], int] = defaultdict(int)
    for row in engine.constraints.effective if engine.constraints is not None else ():
        found["run" if row.scope.startswith("run:") else row.scope, row.type] += 1
    return found
