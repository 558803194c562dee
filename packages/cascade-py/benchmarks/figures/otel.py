"""What an observer for OpenTelemetry costs a run: a step of a run that is not sampled, a span, and tasks of 10 ms with spans."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from cascade.observers.otel import OtelObserver
from cascade.runtime import Engine, ThreadExecutor
from figures.jobs import AT_A_TIME, nap, noop
from figures.measure import Settings, alternate, run
from figures.table import Row, Target, at_most, no_more_above

TITLE = "an observer for OpenTelemetry"

STEPS = 4_000
CALLS = 800


def rows(settings: Settings) -> Iterator[Row]:
    """Measure runs with an observer beside the same runs without one."""
    rounds, steps = settings.rounds_or(12), settings.size(STEPS)
    yield run(_steps("a step that is not sampled", ALWAYS_OFF, steps, rounds, no_more_above(6)))
    yield run(_steps("a step with its span", ALWAYS_ON, steps, rounds, None))
    calls = settings.size(CALLS)
    yield run(_calls(f"tasks of 10 ms in {AT_A_TIME} threads, with spans", calls, settings.rounds_or(7)))


class _Nowhere(SpanExporter):
    """Takes spans and sends nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _observer(sampler: Sampler) -> OtelObserver:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Nowhere(), max_queue_size=100_000))
    return OtelObserver(provider)


async def _steps(name: str, sampler: Sampler, n: int, rounds: int, target: Target | None) -> Row:
    """CPU time of the thread of the run, so that the exporter's thread does not count."""
    observer = _observer(sampler)

    async def taken(*observers: OtelObserver) -> float:
        began = time.thread_time()
        await Engine(observers=observers).run(noop.map(x=range(n)))
        return (time.thread_time() - began) / n * 1e6

    ours, theirs = await alternate(rounds, partial(taken, observer), taken)
    return Row(name, "us", ours, "no observer", theirs, target)


async def _calls(name: str, n: int, rounds: int) -> Row:
    observer = _observer(ALWAYS_ON)

    async def taken(*observers: OtelObserver) -> float:
        began = time.perf_counter()
        engine = Engine(executor=ThreadExecutor(AT_A_TIME), observers=observers)
        await engine.run([nap(number) for number in range(n)])
        return (time.perf_counter() - began) * 1e3

    ours, theirs = await alternate(rounds, partial(taken, observer), taken)
    return Row(name, "ms", ours, "no observer", theirs, at_most(1.03))
