"""The metrics of ``cascade collect``, fed with messages."""

from __future__ import annotations

import json
from typing import Any

from ops_modules import Metrics
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from cascade.interfaces.topics import state_topic, status_topic


class Exported:
    """Metrics that are fed with messages, and read as Prometheus reads them."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.now = 100.0

    def report(
        self, kind: str, content: dict[str, Any], source: str = "press", *, retained: bool = False
    ) -> None:
        """Take a report of an engine."""
        head = {"v": "1.0", "source": source, "session": "s", "project_id": "p"}
        self.fold(state_topic(source, kind), head | content, retained=retained)

    def fold(self, topic: str, content: dict[str, Any], *, retained: bool = False) -> None:
        """Take a message."""
        self.metrics.fold(topic, json.dumps(content).encode(), now=self.now, retained=retained)

    def birth(self, source: str = "press", status: str = "online") -> None:
        """The presence of an engine."""
        self.fold(status_topic(source), {"status": status, "session": "b"}, retained=True)

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Samples by their labels in alphabetical order, without source and project."""
        metrics, now = self.metrics, self.now

        class Scrape(Collector):
            def collect(self) -> list[Metric]:
                return list(metrics.families(now))

        registry = CollectorRegistry()
        registry.register(Scrape())
        families = text_string_to_metric_families(generate_latest(registry).decode())
        return {
            tuple(
                value for label, value in sorted(sample.labels.items()) if label not in ("source", "project")
            ): sample.value
            for family in families
            for sample in family.samples
            if sample.name == name
        }


def row(
    counts: dict[str, int],
    tasks: dict[str, dict[str, int]] | None = None,
    *,
    run_id: str = "r1",
    lost: int = 0,
) -> dict[str, Any]:
    """An active run in a report; ``tasks`` are counts by name."""
    named = {name: {"known": 9, "counts": found} for name, found in (tasks or {}).items()}
    return {"run_id": run_id, "target": "t", "counts": counts, "known": 9, "tasks": named, "lost": lost}


def end(counts: dict[str, int], run_id: str = "r1", status: str = "Succeeded") -> dict[str, Any]:
    """A run that has ended in a report."""
    return {
        "run_id": run_id,
        "target": "t",
        "status": status,
        "ended": "2026-01-01T00:00:00+00:00",
        "counts": counts,
    }
