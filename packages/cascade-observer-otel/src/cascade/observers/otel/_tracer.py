"""Hands spans to OpenTelemetry, with the ids that were computed for them."""

from __future__ import annotations

from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from cascade.observers.otel._spans import Span


class SpanMaker:
    """Makes spans with one tracer; does nothing cheaply where no SDK is configured.

    :param provider: the tracer provider; by default that of the program.
    """

    def __init__(self, provider: Any = None) -> None:
        self._tracer: Any = trace.get_tracer("cascade", tracer_provider=provider)
        self._ids = _Ids()
        # of the SDK's tracer; the tracer of the API makes no ids
        if hasattr(self._tracer, "id_generator"):
            self._tracer.id_generator = self._ids

    def begin(self, root: Span) -> Any:
        """Start the span of a run, so that the sampler decides about its trace; end it with :meth:`end`."""
        flags = TraceFlags(TraceFlags.SAMPLED)
        links = [Link(SpanContext(root.trace_id, root.before, True, flags))] if root.before else []
        self._ids.trace_id, self._ids.span_id = root.trace_id, root.span_id
        asked = SpanContext(root.trace_id, root.parent_id, True, flags) if root.parent_id else None
        return self._tracer.start_span(
            root.name,
            trace.set_span_in_context(NonRecordingSpan(asked) if asked else trace.INVALID_SPAN),
            SpanKind.SERVER if asked else SpanKind.INTERNAL,
            dict(root.attributes),
            links,
            root.start,
        )

    def end(self, begun: Any, root: Span) -> None:
        """End the span of a run."""
        begun.set_attributes(dict(root.attributes))
        if root.error:
            begun.set_status(Status(StatusCode.ERROR, root.error))
        begun.end(root.end)

    def make(self, begun: Any, span: Span) -> None:
        """Make the span of an attempt that has ended, below the span of its run."""
        self._ids.span_id = span.span_id
        made = self._tracer.start_span(
            span.name,
            trace.set_span_in_context(begun),
            SpanKind.INTERNAL,
            dict(span.attributes),
            start_time=span.start,
        )
        for event in span.events:
            made.add_event(event.name, dict(event.attributes), event.time)
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(span.end)


def context_of(begun: Any, span_id: int) -> tuple[Any, str]:
    """Return the context in which the code of an attempt runs, and its ``traceparent``, or "" where there is no trace.

    Spans that the code makes hang below that of the attempt; with 0 below that of the run.
    """
    run = begun.get_span_context()
    if not run.is_valid:
        return contexts.get_current(), ""
    own = SpanContext(run.trace_id, span_id or run.span_id, False, run.trace_flags, run.trace_state)
    text = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags & 1:02x}"
    return trace.set_span_in_context(NonRecordingSpan(own)), text


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
