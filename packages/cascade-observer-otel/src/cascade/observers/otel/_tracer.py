"""Hands spans to OpenTelemetry, with the ids that were computed for them."""

from __future__ import annotations

from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from cascade.observers.otel._spans import Span


class SpanMaker:
    """Makes traces with one tracer; does nothing cheaply where no SDK is configured.

    :param provider: the tracer provider; by default that of the program.
    """

    def __init__(self, provider: Any = None) -> None:
        self._tracer: Any = trace.get_tracer("cascade", tracer_provider=provider)
        self._ids = _Ids()
        # of the SDK's tracer; the tracer of the API makes no ids
        if hasattr(self._tracer, "id_generator"):
            self._tracer.id_generator = self._ids

    def begin(self, root: Span) -> RunTrace:
        """Start the span of a run, so that the sampler decides about its trace."""
        sampled = TraceFlags(TraceFlags.SAMPLED)
        links = [Link(SpanContext(root.trace_id, root.before, True, sampled))] if root.before else []
        self._ids.trace_id, self._ids.span_id = root.trace_id, root.span_id
        flags = sampled if root.parent_sampled else TraceFlags(TraceFlags.DEFAULT)
        asked = SpanContext(root.trace_id, root.parent_id, True, flags) if root.parent_id else None
        begun = self._tracer.start_span(
            root.name,
            trace.set_span_in_context(NonRecordingSpan(asked) if asked else trace.INVALID_SPAN),
            SpanKind.SERVER if asked else SpanKind.INTERNAL,
            dict(root.attributes),
            links,
            root.start,
        )
        return RunTrace(self._tracer, self._ids, begun)


class RunTrace:
    """The trace of a run whose span has begun."""

    def __init__(self, tracer: Any, ids: _Ids, begun: Any) -> None:
        self._tracer = tracer
        self._ids = ids
        self._begun = begun
        self._below = trace.set_span_in_context(begun)
        run = begun.get_span_context()
        self._run = run if run.is_valid else None
        self._head, self._tail = f"00-{run.trace_id:032x}-", f"-{run.trace_flags & 1:02x}"
        self.is_recorded: bool = begun.is_recording()
        """Whether the sampler has chosen it."""

    def add(self, span: Span) -> None:
        """Make the span of an attempt that has ended, or end the one of the run."""
        if span.is_root:
            self._begun.set_attributes(dict(span.attributes))
            made = self._begun
        else:
            self._ids.span_id = span.span_id
            made = self._tracer.start_span(
                span.name, self._below, SpanKind.INTERNAL, dict(span.attributes), start_time=span.start
            )
            for event in span.events:
                made.add_event(event.name, dict(event.attributes), event.time)
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(span.end)

    def context_of(self, span_id: int) -> tuple[contexts.Context, str]:
        """Return the context of an attempt, of the run for 0, and its ``traceparent``, or "" where there is no trace.

        Spans that code makes in it hang below that of the attempt.
        """
        run = self._run
        if run is None:
            return contexts.get_current(), ""
        span_id = span_id or run.span_id
        own = NonRecordingSpan(SpanContext(run.trace_id, span_id, False, run.trace_flags, run.trace_state))
        return trace.set_span_in_context(own), f"{self._head}{span_id:016x}{self._tail}"


class _Ids:
    """Gives the SDK's tracer the ids of the next span."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        """Return the id of the trace."""
        return self.trace_id

    def generate_span_id(self) -> int:
        """Return the id of the span."""
        return self.span_id

    def is_trace_id_random(self) -> bool:
        """Return False: samplers must not take these ids for random numbers."""
        return False
