"""Sends what a collector receives to an OTLP endpoint: the spans of all runs, and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from cascade.cli.command import settings
from cascade.interfaces.observer import ObservedRun
from cascade.interfaces.redaction import Redactor
from cascade.observers.otel.otlp import Metric, OtlpExport, Sample, Source
from cascade.ops._collecting.message import EventFile, Received, Series
from cascade.ops._exporting.metrics import Metrics
from cascade.ops._exporting.traces import Handler, Traces
from cascade.wire import EventMessage

_HISTOGRAM = "cascade_task_seconds"
_OVERDUE = 1.0  # seconds between two looks for what does not come


class Exporting:
    """Where the collector passes on what it has stored.

    :param metrics: followed by its caller.
    """

    def __init__(self, export: OtlpExport, file: EventFile, metrics: Metrics) -> None:
        self._export = export
        self._metrics = metrics
        self._traces = Traces(self._run, file.before, export.muted)
        families = {family.name: family for family in metrics.families(0.0)}
        self._record = export.durations(_HISTOGRAM, families.pop(_HISTOGRAM).documentation)
        export.publish(
            [
                Metric(family.name, family.documentation, family.type == "counter")
                for family in families.values()
            ],
            self._samples,
        )

    def follow(self, messages: Sequence[Received]) -> None:
        """Take messages that were stored; in any thread."""
        self._traces.take(messages, time.monotonic())

    def observe(self, event: EventMessage) -> None:
        """Count an event."""
        counted = self._metrics.observe(event)
        if counted is not None:
            seconds, task = counted
            self._record(
                seconds, {"source": _text(event.source), "project": _text(event.project_id), "task": task}
            )

    async def look_after(self) -> None:
        """Go on, again and again, where an event is missing."""
        while True:
            await asyncio.sleep(_OVERDUE)
            await asyncio.to_thread(self._traces.overdue, time.monotonic())

    def close(self) -> None:
        """Pass on what waits."""
        self._traces.close()

    def _run(self, series: Series) -> Handler:
        source = Source(*map(_text, (series.source, series.org_id, series.project_id)))
        return self._export.observer(source).follow(ObservedRun(series.run_id, Redactor.DEFAULT.one_line))

    def _samples(self, name: str) -> Iterator[Sample]:
        for family in self._metrics.families(time.monotonic()):
            if family.name == name:
                for sample in family.samples:
                    yield sample.value, sample.labels


def exporting(url: str, file: EventFile, metrics: Metrics) -> AbstractAsyncContextManager[Exporting]:
    """Send to an endpoint for as long as the context lasts, and then what waits, for 3 s.

    :raises ValueError: if a variable of OpenTelemetry has a value that the SDK refuses.
    """
    output = settings().output
    export = OtlpExport(url, note=lambda text: output.note(f"cascade: {text}"))
    return _until_the_end(export, Exporting(export, file, metrics))


@asynccontextmanager
async def _until_the_end(export: OtlpExport, passing: Exporting) -> AsyncIterator[Exporting]:
    looking = asyncio.ensure_future(passing.look_after())
    try:
        yield passing
    finally:
        looking.cancel()
        try:
            await asyncio.gather(looking, return_exceptions=True)
            passing.close()
        finally:
            await asyncio.to_thread(export.close)


def _text(name: str) -> str:
    """Return a name that UTF-8 can hold: a client can choose one that it cannot."""
    return name.encode("utf-8", "replace").decode()
