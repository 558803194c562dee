"""Runs as traces: each attempt of a step is a span with a computed id below the run's, and nothing here changes a run."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import cascade as cs
from cascade.interfaces.call_context import traceparent
from cascade.interfaces.events import LifecycleEvent, TaskState, TaskStateEvent
from cascade.observers.otel import OtelObserver
from cascade.runtime import Engine, ThreadExecutor
from testing_tools.workflows.check import check_workflows

ASKED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@cs.task
def worked(n: int) -> str:
    """Return the trace context of the step, and the span below which its code would make others."""
    current = trace.get_current_span().get_span_context()
    return f"{cs.step().traceparent} {current.trace_id:032x} {current.span_id:016x}"


@cs.task
async def fails(secret: str) -> None:
    raise ValueError(f"password={secret}")


def kept(**settings: Any) -> tuple[TracerProvider, InMemorySpanExporter]:
    """Return a provider and what keeps its spans."""
    provider, exporter = TracerProvider(**settings), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@pytest.mark.parametrize(
    "examples", [pytest.param(15, marks=pytest.mark.process), pytest.param(1_000, marks=pytest.mark.nightly)]
)
def test_the_spans_of_any_workflow_are_its_attempts(examples: int, tmp_path: Path) -> None:
    """One for each attempt that ran, below the one of its run; all ids are computed and none comes twice."""
    provider, exporter = kept()
    ran: dict[str, set[tuple[str, int]]] = defaultdict(set)

    def note(event: TaskStateEvent) -> None:
        if event.state is TaskState.RUNNING:
            ran[event.run_id].add((event.task_id, event.attempt))

    def make(**settings: Any) -> Engine:
        engine = Engine(observers=[OtelObserver(provider)], **settings)
        engine.bus.subscribe(TaskStateEvent, note)
        return engine

    check_workflows(lambda: ThreadExecutor(4), make, tmp_path, examples=examples)
    found: dict[str, list[ReadableSpan]] = defaultdict(list)
    for span in exporter.get_finished_spans():
        assert span.attributes is not None
        found[str(span.attributes["cascade.run.id"])].append(span)
    assert found.keys() >= ran.keys()
    for run_id, spans in found.items():
        (root,) = [span for span in spans if span.parent is None]
        steps = [span for span in spans if span.parent is not None]
        attempts = {_attempt(span) for span in steps}
        assert attempts >= ran[run_id]
        assert {root.context.span_id} == {span.parent.span_id for span in steps if span.parent} | {
            root.context.span_id
        }
        assert {span.context.trace_id for span in spans} == {int(run_id, 16)}
        assert len({span.context.span_id for span in spans}) == len(spans) == len(attempts) + 1


def _attempt(span: ReadableSpan) -> tuple[str, int]:
    attributes = span.attributes or {}
    return str(attributes["cascade.step.key"]), int(str(attributes["cascade.step.attempt"]))


@pytest.mark.process
@pytest.mark.parametrize("mode", ["thread", "process", pytest.param("dask", marks=pytest.mark.full)])
async def test_what_a_step_does_hangs_below_it(mode: str) -> None:
    """In a thread, in a worker process and on Dask, with its traceparent at hand."""
    provider, exporter = kept()
    executor = cs.executor(mode, workers=1)
    told = (await Engine(executor=executor, observers=[OtelObserver(provider)]).run(worked(1))).split()
    await executor.close()
    step, _ = exporter.get_finished_spans()
    ids = f"{step.context.trace_id:032x}", f"{step.context.span_id:016x}"
    assert told == [f"00-{ids[0]}-{ids[1]}-01", *ids]


async def test_a_run_that_was_asked_for_belongs_to_the_trace_of_who_asked() -> None:
    provider, exporter = kept()
    await Engine(observers=[OtelObserver(provider)]).run(worked(1), traceparent=ASKED)
    step, root = exporter.get_finished_spans()
    assert root.parent is not None
    assert f"{root.context.trace_id:032x}-{root.parent.span_id:016x}" in ASKED
    assert (root.kind, step.context.trace_id) == (trace.SpanKind.SERVER, root.context.trace_id)


async def test_a_run_that_goes_on_is_another_root_in_its_trace(tmp_path: Path) -> None:
    """With a link to the root before."""
    provider, exporter = kept()
    for _ in range(2):
        engine = Engine(observers=[OtelObserver(provider)], state_backend=cs.SqliteState(tmp_path))
        with pytest.raises(ValueError, match="password"):
            await engine.run(fails("x"), run_id="ab" * 16)
    first, second = (span for span in exporter.get_finished_spans() if span.parent is None)
    assert first.context.trace_id == second.context.trace_id == int("ab" * 16, 16)
    assert [link.context.span_id for link in second.links] == [first.context.span_id]


async def test_no_secret_is_in_a_span() -> None:
    provider, exporter = kept()
    with pytest.raises(ValueError, match="hunter2"):
        await Engine(observers=[OtelObserver(provider)]).run(
            fails("hunter2-secret"), tags={"token": "hunter2-tag"}
        )
    spans = exporter.get_finished_spans()
    assert [span.status.status_code for span in spans] == [trace.StatusCode.ERROR] * 2
    assert "password=***" in str(spans[0].status.description)
    assert "hunter2" not in "".join(span.to_json() for span in spans)


class Dead(SpanExporter):
    """Answers never, or with an error."""

    def __init__(self, *, raises: bool) -> None:
        self.raises, self.asked, self.ended = raises, threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        if self.raises:
            raise OSError("no route")
        self.ended.wait(60)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.ended.set()


@pytest.mark.parametrize("raises", [True, False])
async def test_a_dead_collector_changes_no_run(raises: bool) -> None:
    """The SDK exports in a thread of its own, and drops what has no room."""
    exporter = Dead(raises=raises)
    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=4, max_export_batch_size=2, schedule_delay_millis=10)
    )
    try:
        found = await Engine(observers=[OtelObserver(provider)]).run(worked.map(n=range(50)))
        assert len(found) == 50
        assert await asyncio.to_thread(exporter.asked.wait, 30)
    finally:
        exporter.ended.set()
        await asyncio.to_thread(provider.shutdown)


class Broken:
    """An observer whose every part fails."""

    def __init__(self, where: str) -> None:
        self.where = where

    def follow(self, run: Any) -> Any:
        self._fail("follow")
        return self

    def __call__(self, event: object) -> None:
        self._fail("event")

    def throughout(self) -> Any:
        self._fail("throughout")
        return self if self.where.startswith("whole") else None

    def within(self, step: object) -> Any:
        self._fail("within")
        return self

    def __enter__(self) -> str:
        self._fail("enter")
        return ""

    def __exit__(self, *_: object) -> None:
        self._fail("exit")

    def _fail(self, where: str) -> None:
        if where == self.where.removeprefix("whole "):
            raise RuntimeError(where)


@pytest.mark.parametrize(
    "where", ["follow", "event", "throughout", "within", "enter", "exit", "whole enter", "whole exit"]
)
async def test_an_observer_that_fails_is_logged_and_changes_no_run(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    results = await Engine(observers=[Broken(where), OtelObserver()]).run(worked.map(n=range(3)))
    assert len(results) == 3
    assert len([record for record in caplog.records if "observer" in record.message]) == 1


@cs.task
async def after(found: str) -> list[str]:
    """Return the trace contexts of the step before and of this one."""
    return [found, await cs.arun(worked(1), executor=ThreadExecutor(1)), cs.step().traceparent]


@pytest.mark.process
async def test_what_is_not_sampled_costs_nothing_and_says_so() -> None:
    """Neither events nor a wrapper of each step; all code has one trace context, also in workers, and the caller has his again."""
    provider, exporter = kept(sampler=ALWAYS_OFF)
    engine = Engine(executor=cs.executor("process", 1), observers=[OtelObserver(provider)])
    wanted: list[bool] = []
    engine.bus.subscribe(LifecycleEvent, lambda _: wanted.append(engine.bus.wants(TaskStateEvent)))
    told = await engine.run(after(worked(1)))
    assert {text.split()[0] for text in told} == {told[2]}
    assert told[2].endswith("-00")
    assert wanted[-1] is False
    assert exporter.get_finished_spans() == ()
    assert not trace.get_current_span().get_span_context().is_valid
    assert traceparent.get() == ""


async def test_without_an_sdk_there_is_no_trace() -> None:
    assert (await Engine(observers=[OtelObserver()]).run(worked(1))).startswith(" ")


@pytest.mark.process
@pytest.mark.parametrize(
    ("variables", "begins"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://box:4318"}, ["OTEL_EXPORTER_OTLP_ENDPOINT is set, but"]),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
    ],
)
def test_variables_without_an_sdk_are_reported_once(
    variables: dict[str, str], begins: list[str], tmp_path: Path
) -> None:
    """The API alone does not read them, and a user who has set an endpoint expects traces there."""
    (tmp_path / "job.py").write_text(
        "import cascade as cs\n\n@cs.task\nasync def one() -> int:\n    return 1\n\n"
        "for _ in range(2):\n    cs.run(one(), observers=['otel'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "job.py"],
        cwd=tmp_path,
        env=environment | variables,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [line.partition(" this program")[0] for line in done.stderr.splitlines()] == begins


@pytest.mark.parametrize(("flags", "spans"), [("01", 2), ("00", 0)])
async def test_a_trace_that_its_program_does_not_record_has_no_spans_of_the_run(
    flags: str, spans: int
) -> None:
    """The SDK's default sampler does as the parent."""
    provider, exporter = kept()
    await Engine(observers=[OtelObserver(provider)]).run(worked(1), traceparent=f"{ASKED[:-2]}{flags}")
    assert len(exporter.get_finished_spans()) == spans


async def test_tasks_and_runs_are_counted_as_the_collector_counts_them() -> None:
    """By the instruments whose names ``cascade collect --prometheus`` has, also if no span is recorded."""
    reader = InMemoryMetricReader()
    engine = Engine(observers=[OtelObserver(kept(sampler=ALWAYS_OFF)[0], MeterProvider([reader]))])
    with pytest.raises(ExceptionGroup):
        await engine.run([worked.map(n=range(3)), fails("x")], on_failure="continue")
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        (metric.name, *sorted((point.attributes or {}).items())): getattr(point, "value", None)
        or getattr(point, "count", 0)
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    target = ("target", "worked, fails")
    assert found == {
        ("cascade_tasks", ("state", "COMPLETED"), ("task", "worked")): 3,
        ("cascade_tasks", ("state", "FAILED"), ("task", "fails")): 1,
        ("cascade_runs", ("status", "Failed"), target): 1,
        ("cascade_tasks_now", ("state", "RUNNING")): 0,
        ("cascade_task_seconds", ("task", "worked")): 3,
    }


@cs.task
def logs() -> None:
    logging.getLogger("audit").warning("sensor 4 is slow")


async def test_a_line_of_a_log_has_the_ids_of_its_step() -> None:
    """OpenTelemetry's own handler asks for the span of the code that logs, also in a thread."""
    provider, exporter = kept()
    # before 1.39 it had another name
    of_version = getattr(log_export, "InMemoryLogRecordExporter", None)
    lines: Any = (of_version or log_export.InMemoryLogExporter)()
    logger = logging.getLogger("audit")
    logging_provider = LoggerProvider()
    logging_provider.add_log_record_processor(log_export.SimpleLogRecordProcessor(lines))
    with warnings.catch_warnings():
        # it has moved to a distribution of its own
        warnings.simplefilter("ignore", DeprecationWarning)
        handler = LoggingHandler(logger_provider=logging_provider)
    logger.addHandler(handler)
    try:
        await Engine(observers=[OtelObserver(provider)]).run(logs())
    finally:
        logger.removeHandler(handler)
    (line,) = lines.get_finished_logs()
    step = exporter.get_finished_spans()[0].context
    assert (line.log_record.trace_id, line.log_record.span_id) == (step.trace_id, step.span_id)


def test_a_name_stands_for_the_observer(monkeypatch: pytest.MonkeyPatch) -> None:
    """``cs.run(observers=["otel"])``; another name is refused with the nearest."""
    assert cs.run(worked(1), observers=["otel"])
    with pytest.raises(
        cs.CascadeError, match=r"no observer named 'otl' \(installed: otel\); did you mean 'otel'\?"
    ):
        cs.run(worked(1), observers=["otl"])
    for wrong in ("otel", [7]):
        with pytest.raises(cs.CascadeError, match=r"run\(observers=\)"):
            cs.run(worked(1), observers=wrong)  # type: ignore[arg-type]


@pytest.mark.process
def test_the_readme_is_true(tmp_path: Path) -> None:
    """Its program prints what the page shows."""
    readme = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
    (code,), (shown,) = (
        re.findall(rf"```{kind}\n(.*?)```", readme, re.DOTALL) for kind in ("python", "text")
    )
    (tmp_path / "job.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "job.py"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (shown, "")


def test_time_is_that_of_the_events() -> None:
    """A span begins and ends when the task did."""
    provider, exporter = kept()
    before = time.time_ns()
    asyncio.run(Engine(observers=[OtelObserver(provider)]).run(worked(1)))
    step, root = exporter.get_finished_spans()
    assert step.start_time is not None
    assert step.end_time is not None
    assert root.start_time is not None
    assert root.end_time is not None
    assert before - 1_000_000 <= root.start_time <= step.start_time <= step.end_time <= root.end_time
