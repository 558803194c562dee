"""Every field of the spans that the observer makes of a run's events: names, ids, times, attributes and errors."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import cicd_attributes
from opentelemetry.semconv._incubating.attributes.cicd_attributes import (
    CicdPipelineResultValues,
    CicdPipelineTaskRunResultValues,
)

from cascade.interfaces.events import Event, Lifecycle, LifecycleEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.observer import ObservedRun
from cascade.observers.otel import OtelObserver

RUN = "night-7"
TOKEN = "c41e07d2"
START = {
    "cascade.run.id": RUN,
    "cascade.run.token": TOKEN,
    "cascade.run.target": "audit",
    "cascade.run.attempt": 2,
    "cascade.run.name": "nightly",
    "cascade.run.tag.hall": 2,
}


def run_began(**more: Any) -> LifecycleEvent:
    return LifecycleEvent(
        RUN, Lifecycle.ENGINE_STARTED, 10.0, token=TOKEN, **{"target": "audit", "run_attempt": 2, **more}
    )


def run_ended(status: RunStatus, **more: Any) -> LifecycleEvent:
    return LifecycleEvent(RUN, Lifecycle.ENGINE_STOPPED, 20.0, status, token=TOKEN, run_attempt=2, **more)


def step(key: str, state: TaskState, seconds: float, **more: Any) -> TaskStateEvent:
    return TaskStateEvent(RUN, key, key.partition(":")[0], state, seconds, token=TOKEN, **more)


def id_of(*parts: object) -> int:
    """The first 8 bytes of the digest of what identifies a span."""
    return int.from_bytes(sha256("/".join(map(str, parts)).encode()).digest()[:8])


def spans_of(*events: Event) -> tuple[ReadableSpan, ...]:
    """Return the spans of a run in the order of their ends."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    take = OtelObserver(provider).follow(ObservedRun(RUN, lambda text: text.replace("hunter2", "***")))
    for event in events:
        take(event)
    return exporter.get_finished_spans()


def shown(span: ReadableSpan) -> tuple[Any, ...]:
    """Name, id, start and end in seconds, attributes of its own, moments, and error."""
    own = {
        name.removeprefix("cascade.step."): value
        for name, value in (span.attributes or {}).items()
        if name != "cascade.run.id"
    }
    moments = [(each.name, each.timestamp / 1e9, dict(each.attributes or {})) for each in span.events]
    assert span.start_time is not None
    assert span.end_time is not None
    times = span.start_time / 1e9, span.end_time / 1e9
    return span.name, span.context.span_id, times, own, moments, span.status.description or ""


def test_each_attempt_of_a_step_is_a_span_with_all_that_is_known_of_it() -> None:
    """Tried again, blocked and paused, of a map, found in a cache; one that was skipped while blocked leaves no trace."""
    found = spans_of(
        run_began(name="nightly", tags={"hall": 2}),
        step("read:0", TaskState.BLOCKED, 11.0, reason="paused"),
        step("read:0", TaskState.RUNNING, 12.0),
        step("read:0", TaskState.BLOCKED, 13.0),
        step("read:0", TaskState.RUNNING, 14.0),
        step("read:0", TaskState.RETRYING, 15.0, error="OSError: hunter2", reason="attempt 2 of 3"),
        step("read:0", TaskState.RUNNING, 16.0, attempt=2),
        step("read:0", TaskState.COMPLETED, 17.0, attempt=2),
        step("kept:0[3]", TaskState.COMPLETED, 18.0, duration_ms=500.0, attempt=0, item=3, reason="cached"),
        step("odd:0", TaskState.BLOCKED, 18.0),
        step("odd:0", TaskState.SKIPPED, 18.0),
        step("odd:0", TaskState.COMPLETED, 18.0, attempt=0),
        step("last:0", TaskState.RUNNING, 19.0),
        step("last:0", TaskState.CANCELLED, 19.5),
        run_ended(RunStatus.CANCELLED, by="ann"),
    )
    first, second, cached, odd, last, root = map(shown, found)
    names = {"key": "read:0", "name": "read"}
    assert first == (
        "read",
        id_of(RUN, TOKEN, "read:0", 1),
        (12.0, 15.0),
        {**names, "attempt": 1, "state": "RETRYING", "reason": "attempt 2 of 3"},
        [("blocked", 11.0, {"cascade.reason": "paused"}), ("blocked", 13.0, {}), ("continued", 14.0, {})],
        "OSError: ***",
    )
    done = {**names, "attempt": 2, "state": "COMPLETED"}
    assert second == ("read", id_of(RUN, TOKEN, "read:0", 2), (16.0, 17.0), done, [], "")
    assert cached[2:4] == (
        (17.5, 18.0),
        {
            "key": "kept:0[3]",
            "name": "kept",
            "attempt": 1,
            "state": "COMPLETED",
            "item": 3,
            "reason": "cached",
        },
    )
    assert odd[4] == []
    assert last[5] == "CANCELLED"
    status = {"cascade.run.status": "Cancelled", "cascade.run.by": "ann"}
    more = {name: value for name, value in START.items() if name != "cascade.run.id"}
    assert root == ("run nightly", id_of(RUN, "", "", 2), (10.0, 20.0), {**more, **status}, [], "Cancelled")
    assert {(span.attributes or {})["cascade.run.id"] for span in found} == {RUN}
    assert {span.instrumentation_scope and span.instrumentation_scope.name for span in found} == {"cascade"}
    assert [link.context.span_id for link in found[-1].links] == [id_of(RUN, "", "", 1)]
    assert {span.parent and span.parent.span_id for span in found[:-1]} == {root[1]}


def test_a_run_without_a_name_is_called_as_its_target() -> None:
    """Its span has the error of the run, and no more than a thousand characters of it; nothing comes before it."""
    (root,) = spans_of(
        step("early:0", TaskState.COMPLETED, 9.0),
        run_began(run_attempt=1),
        run_ended(RunStatus.FAILED, error="ValueError: " + "x" * 2_000),
        step("late:0", TaskState.COMPLETED, 21.0),
    )
    assert (root.name, root.parent, root.links) == ("run audit", None, ())
    assert root.status.description == ("ValueError: " + "x" * 2_000)[:1_000]
    assert root.context.trace_id == int.from_bytes(sha256(f"{RUN}/{TOKEN}".encode()).digest()[:16])
    (unknown,) = spans_of(run_began(target=""), run_ended(RunStatus.SUCCEEDED))
    assert unknown.name == "run"


def test_a_variable_adds_the_attributes_of_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and values are those of OpenTelemetry's own package; an earlier attempt and a run each have their result."""
    known = {value for name, value in vars(cicd_attributes).items() if name.startswith("CICD_PIPELINE")}
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http, cicd")
    failed, skipped, done, run = spans_of(
        run_began(),
        step("read:0", TaskState.RUNNING, 12.0),
        step("read:0", TaskState.RETRYING, 13.0, error="OSError"),
        step("seen:0", TaskState.RUNNING, 13.0),
        step("seen:0", TaskState.SKIPPED, 13.0),
        step("read:0", TaskState.RUNNING, 14.0, attempt=2),
        step("read:0", TaskState.COMPLETED, 15.0, attempt=2),
        run_ended(RunStatus.CANCELLED),
    )
    found = [
        {name: value for name, value in (span.attributes or {}).items() if name.startswith("cicd.")}
        for span in (failed, skipped, done, run)
    ]
    assert set().union(*found) <= known
    results = CicdPipelineTaskRunResultValues
    for shown, name, result in zip(
        found[:3],
        ("read:0", "seen:0", "read:0"),
        (results.FAILURE, results.SKIP, results.SUCCESS),
        strict=True,
    ):
        assert shown == {
            "cicd.pipeline.task.name": name.partition(":")[0],
            "cicd.pipeline.task.run.id": name,
            "cicd.pipeline.task.run.result": result.value,
        }
    assert found[3] == {
        "cicd.pipeline.name": "audit",
        "cicd.pipeline.run.id": RUN,
        "cicd.pipeline.result": CicdPipelineResultValues.CANCELLATION.value,
    }
