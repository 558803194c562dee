"""The observer: spans of the runs of this process, and the context of the code inside a step."""

from __future__ import annotations

from typing import Any

from opentelemetry import context as contexts
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cascade.interfaces import StepInfo
from cascade.interfaces.events import Event, TaskStateEvent
from cascade.interfaces.observer import ObservedRun
from cascade.observers.otel._spans import RunSpans
from cascade.observers.otel._tracer import SpanMaker, context_of

_PROPAGATOR = TraceContextTextMapPropagator()


class OtelObserver:
    """Makes a trace of each run: a span of the run, and below it one of each attempt of a step.

    It uses the tracer provider that the program has configured when a run begins; without one it does nothing.

    :param provider: another tracer provider.
    """

    def __init__(self, provider: Any = None) -> None:
        self._provider = provider

    def follow(self, run: ObservedRun) -> TracedRun:
        """Return what takes the events of a run."""
        return TracedRun(SpanMaker(self._provider), RunSpans(run.run_id, run.target, clean=run.clean))

    @staticmethod
    def in_worker(traceparent: str) -> Attached:
        """Return what is entered around the code of a step in a worker process."""
        return Attached(_PROPAGATOR.extract({"traceparent": traceparent}))


class TracedRun:
    """Makes the spans of one run; of one that is not sampled none."""

    def __init__(self, maker: SpanMaker, spans: RunSpans) -> None:
        self._maker = maker
        self._spans = spans
        self._root: Any = None
        # of every step of a run that is not sampled
        self._same: tuple[Any, str] | None = None

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if self._same is not None and isinstance(event, TaskStateEvent):
            return
        for span in self._spans.handle(event):
            if span.is_root:
                self._maker.end(self._root, span)
            else:
                self._maker.make(self._root, span)
        if self._root is None and self._spans.root is not None:
            self._root = self._maker.begin(self._spans.root)
            if not self._root.is_recording():
                self._same = context_of(self._root, 0)

    def within(self, step: StepInfo) -> Attached:
        """Return what enters the context of an attempt of a step, and yields its ``traceparent``."""
        return Attached(*(self._same or context_of(self._root, self._spans.running(step.key))))


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
