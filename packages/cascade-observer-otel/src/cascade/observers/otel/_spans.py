"""From the events of a run to spans. Pure, and alike for the process of the run and for a reader of its messages.

OpenTelemetry has no convention for jobs, so the attributes are named ``cascade.run.*`` and ``cascade.step.*``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import NamedTuple

from cascade.interfaces.events import Event, Lifecycle, LifecycleEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.tags import clean_tags
from cascade.observers.otel import _pipelines

_HEX = re.compile(r"(?!0{32})[0-9a-f]{32}")
_LONGEST = 1_000  # characters of an attribute

Value = str | bool | int | float


class SpanEvent(NamedTuple):
    """A moment within a span."""

    name: str
    time: int
    """Nanoseconds since the epoch."""
    attributes: Mapping[str, Value]


class Span(NamedTuple):
    """A span that has ended, or the beginning of the root span, whose ``end`` is 0."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    """0 for the span of a run, unless its request came with a trace."""
    start: int
    """Nanoseconds since the epoch, as ``end``."""
    end: int
    attributes: Mapping[str, Value]
    events: tuple[SpanEvent, ...] = ()
    error: str = ""
    """What failed it; a span without an error is neither good nor bad for OpenTelemetry."""
    before: int = 0
    """Id of the root span of the run's attempt before, in the same trace; 0 if there is none."""
    is_root: bool = False
    """Whether it is the span of a run; one with a parent was asked for by that span's program."""
    parent_sampled: bool = True
    """Whether the program that asked for it records its own part of the trace."""


def trace_id_of(run_id: str, token: str) -> int:
    """Return the id of a run's trace: its ``run_id`` where that is 32 hex digits, else a digest of it and of its token."""
    if _HEX.fullmatch(run_id):
        return int(run_id, 16)
    return int.from_bytes(sha256(f"{run_id}/{token}".encode("utf-8", "surrogatepass")).digest()[:16]) or 1


def span_id_of(run_id: str, token: str, task_id: str, attempt: int) -> int:
    """Return the id of the span of one attempt of a step."""
    text = f"{run_id}/{token}/{task_id}/{attempt}"
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8]) or 1


def root_id_of(run_id: str, run_attempt: int) -> int:
    """Return the id of the root span of one attempt of a run."""
    return span_id_of(run_id, "", "", run_attempt)


class _Open:
    """An attempt of a step that runs."""

    __slots__ = ("attempt", "began", "events", "span_id")

    def __init__(self, span_id: int, attempt: int, began: int, events: list[SpanEvent]) -> None:
        self.span_id = span_id
        self.attempt = attempt
        self.began = began
        self.events = events


class RunSpans:
    """The spans of one attempt of a run; give it the events in their order.

    Times are rounded to microseconds, as in messages: so their readers make the same spans.

    :param clean: masks the secrets in a text.
    """

    def __init__(self, run_id: str, *, clean: Callable[[str], str] = str) -> None:
        self._run_id = run_id
        self._shown_id = clean(run_id)[:_LONGEST]
        self._clean = clean
        self._as_pipeline = _pipelines.is_wanted()
        self._token = ""
        self._root: Span | None = None
        self._open: dict[str, _Open] = {}
        # what happened to steps that do not run now
        self._early: dict[str, list[SpanEvent]] = {}

    @property
    def root(self) -> Span | None:
        """The beginning of the root span; None before the run's first event."""
        return self._root

    def running(self, task_id: str) -> int:
        """Return the id of the span of a step's attempt that runs; 0 if none does."""
        found = self._open.get(task_id)
        return found.span_id if found is not None else 0

    def handle(self, event: Event) -> Iterator[Span]:
        """Take an event; yield the spans that have ended with it, the one of the run as the last."""
        if isinstance(event, TaskStateEvent):
            if self._root is not None:
                yield from self._of_task(event)
        elif isinstance(event, LifecycleEvent):
            if event.event is Lifecycle.ENGINE_STARTED:
                self._begin(event)
            elif self._root is not None:
                yield from self._end(event)

    def _begin(self, event: LifecycleEvent) -> None:
        self._token = event.token
        trace, parent, flags = trace_id_of(self._run_id, event.token), 0, 1
        if event.traceparent:
            trace, parent, flags = (int(part, 16) for part in event.traceparent.split("-")[1:4])
        target = self._text(event.target)
        attributes: dict[str, Value] = {
            "cascade.run.id": self._shown_id,
            "cascade.run.token": event.token,
            "cascade.run.target": target,
            "cascade.run.attempt": event.run_attempt,
        }
        if event.name:
            attributes["cascade.run.name"] = self._text(event.name)
        if self._as_pipeline:
            attributes |= _pipelines.run_attributes(self._text(event.name) or target, self._shown_id)
        for name, value in clean_tags(event.tags, self._text).items():
            attributes[f"cascade.run.tag.{name}"] = value
        earlier = root_id_of(self._run_id, event.run_attempt - 1) if event.run_attempt > 1 else 0
        self._root = Span(
            # without its start, of which the messages are lost, it has no name
            f"run {self._text(event.name) or target}".rstrip(),
            trace,
            root_id_of(self._run_id, event.run_attempt),
            parent,
            _ns(event.timestamp),
            0,
            attributes,
            before=earlier,
            is_root=True,
            parent_sampled=bool(flags & 1),
        )

    def _of_task(self, event: TaskStateEvent) -> Iterator[Span]:
        state, task_id = event.state, event.task_id
        opened = self._open.get(task_id)
        if state is TaskState.RUNNING:
            if opened is None or opened.attempt != event.attempt:
                self._open[task_id] = self._opened(event, _ns(event.timestamp))
            else:
                # it goes on after a pause at a checkpoint
                self._note(event, "continued")
        elif state is TaskState.BLOCKED:
            self._note(event, "blocked")
        elif opened is not None:
            del self._open[task_id]
            yield self._ended(event, opened)
        elif state in (TaskState.SKIPPED, TaskState.CANCELLED):
            # it has never begun
            self._early.pop(task_id, None)
        else:
            # it has its value without an attempt: from a cache or the run's record
            took = round(event.duration_ms * 1_000) * 1_000
            yield self._ended(event, self._opened(event, _ns(event.timestamp) - took))

    def _opened(self, event: TaskStateEvent, began: int) -> _Open:
        attempt = max(event.attempt, 1)
        span_id = span_id_of(self._run_id, self._token, event.task_id, attempt)
        return _Open(span_id, attempt, began, self._early.pop(event.task_id, []))

    def _note(self, event: TaskStateEvent, name: str) -> None:
        opened = self._open.get(event.task_id)
        events = opened.events if opened is not None else self._early.setdefault(event.task_id, [])
        reason = {"cascade.reason": self._text(event.reason)} if event.reason else {}
        events.append(SpanEvent(name, _ns(event.timestamp), reason))

    def _ended(self, event: TaskStateEvent, opened: _Open) -> Span:
        assert self._root is not None
        attributes: dict[str, Value] = {
            "cascade.run.id": self._shown_id,
            "cascade.step.key": self._text(event.task_id),
            "cascade.step.name": self._text(event.task_name),
            "cascade.step.attempt": opened.attempt,
            "cascade.step.state": event.state.value,
        }
        if event.item is not None:
            attributes["cascade.step.item"] = event.item
        if event.reason:
            attributes["cascade.step.reason"] = self._text(event.reason)
        if self._as_pipeline:
            attributes |= _pipelines.step_attributes(
                self._text(event.task_name), self._text(event.task_id), event.state
            )
        failed = event.state in (TaskState.FAILED, TaskState.RETRYING, TaskState.CANCELLED)
        return Span(
            self._text(event.task_name),
            self._root.trace_id,
            opened.span_id,
            self._root.span_id,
            opened.began,
            max(_ns(event.timestamp), opened.began),
            attributes,
            tuple(opened.events),
            error=self._text(event.error or event.state.value) if failed else "",
        )

    def _end(self, event: LifecycleEvent) -> Iterator[Span]:
        assert self._root is not None
        root, self._root = self._root, None
        self._open.clear()
        self._early.clear()
        status = event.status.value if event.status is not None else ""
        attributes = {**root.attributes, "cascade.run.status": status}
        if event.by:
            attributes["cascade.run.by"] = self._text(event.by)
        if self._as_pipeline:
            attributes |= _pipelines.run_result(event.status)
        failed = event.status is not RunStatus.SUCCEEDED
        yield root._replace(
            end=max(_ns(event.timestamp), root.start),
            attributes=attributes,
            error=self._text(event.error or status) if failed else "",
        )

    def _text(self, text: str) -> str:
        return self._clean(text)[:_LONGEST]


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000) * 1_000
