"""The observer: spans of the runs of this process, and the context of the code inside a step."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cascade.interfaces import StepInfo
from cascade.interfaces.events import Event
from cascade.interfaces.logs import get_logger
from cascade.interfaces.observer import ENOUGH, ObservedRun
from cascade.observers.otel._metrics import Instruments, RunMetrics, instruments
from cascade.observers.otel._spans import RunSpans
from cascade.observers.otel._tracer import RunTrace, SpanMaker

logger = get_logger(__name__)

_PROPAGATOR = TraceContextTextMapPropagator()
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class OtelObserver:
    """Makes a trace of each run: a span of the run, and below it one of each attempt of a step; and counts tasks and runs.

    It uses the providers that the program has configured when a run begins; without them it does nothing.

    :param provider: another tracer provider.
    :param meters: another meter provider.
    """

    def __init__(self, provider: Any = None, meters: Any = None) -> None:
        self._provider = provider
        self._meters = meters
        self._instruments: Instruments | None = None

    def follow(self, run: ObservedRun) -> TracedRun:
        """Return what takes the events of a run."""
        if self._provider is None and (variable := _endpoint_without_sdk()):
            _warn_once(variable)
        if self._instruments is None:
            self._instruments = instruments(self._meters)
        counted = RunMetrics(self._instruments) if self._instruments is not None else None
        return TracedRun(SpanMaker(self._provider), RunSpans(run.run_id, clean=run.clean), counted)

    @staticmethod
    def in_worker(traceparent: str) -> Attached:
        """Return what is entered around the code of a step in a worker process."""
        return Attached(_PROPAGATOR.extract({"traceparent": traceparent}))


def _endpoint_without_sdk() -> str:
    """Return the variable that the user has set in vain, because the API alone does not read it; else ""."""
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return ""
    return next((name for name in _ENDPOINTS if os.environ.get(name)), "")


@cache
def _warn_once(variable: str) -> None:
    logger.warning(
        "%s is set, but this program has not configured the SDK of OpenTelemetry: no trace is made; "
        "start the program with opentelemetry-instrument, or configure a tracer provider",
        variable,
    )


class TracedRun:
    """Makes the spans of one run, of one that is not sampled none; and counts."""

    def __init__(self, maker: SpanMaker, spans: RunSpans, counted: RunMetrics | None) -> None:
        self._maker = maker
        self._spans = spans
        self._counted = counted
        self._begun: RunTrace | None = None
        self._same: Attached | None = None
        """Of every step of a run that is not sampled."""

    def __call__(self, event: Event) -> object:
        """Take an event; it needs no further one if nothing of the run is recorded."""
        if self._counted is not None:
            self._counted.handle(event)
        if self._same is None:
            self._trace(event)
        return ENOUGH if self._same is not None and self._counted is None else None

    def _trace(self, event: Event) -> None:
        for span in self._spans.handle(event):
            if self._begun is not None:
                self._begun.add(span)
        if self._begun is None and self._spans.root is not None:
            self._begun = self._maker.begin(self._spans.root)
            if not self._begun.is_recorded:
                self._same = Attached(*self._begun.context_of(0))

    def throughout(self) -> Attached | None:
        """Return what enters the context of all code of a run that is not sampled; of another one None."""
        return self._same

    def within(self, step: StepInfo) -> Attached:
        """Return what enters the context of an attempt of a step, and yields its ``traceparent``."""
        assert self._begun is not None
        return Attached(*self._begun.context_of(self._spans.running(step.key)))


class Attached:
    """A context of OpenTelemetry, entered around code."""

    __slots__ = ("_context", "_text", "_token")

    def __init__(self, context: Any, text: str = "") -> None:
        self._context = context
        self._text = text

    def __enter__(self) -> str:
        self._token = contexts.attach(self._context)
        return self._text

    def __exit__(self, *_: object) -> None:
        contexts.detach(self._token)
