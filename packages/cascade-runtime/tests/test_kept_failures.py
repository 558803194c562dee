"""Failures that leave the rest of a run going: kept in a map's list, replaced by a value, or returned with the values."""

import asyncio
import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from observers import watch, watch_tasks

from cascade.interfaces import (
    Failure,
    Lifecycle,
    LifecycleEvent,
    RunCancelledError,
    RunResult,
    RunStatus,
    StepState,
    TaskCancelledError,
    TaskState,
    UsageError,
)
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub, MemoryCache, SqliteState
from cascade.spec import LazyResult, Task, task
from cascade.testkit import eventually

calls: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def read(sensor: int) -> int:
    calls[f"read {sensor}"] += 1
    if sensor == 2:
        raise OSError(f"sensor {sensor} does not answer")
    return sensor * 10


async def read_async(sensor: int) -> int:
    return read(sensor)


def read_by_calls(sensor: int) -> LazyResult[int]:
    return total([task(read)(sensor), task(read)(0)])


@task
async def total(values: list[Any]) -> int:
    calls["total"] += 1
    return sum(value or 0 for value in values)


FORMS: dict[str, tuple[Task[..., Any], str]] = {
    "thread": (task(read), "read:0[1]"),
    "process": (task(mode="process")(read), "read:0[1]"),
    "inline": (task(mode="inline")(read), "read:0[1]"),
    "async": (task(read_async), "read_async:0[1]"),
    "returned calls": (task(read_by_calls), "read_by_calls:0[1]~1/read:0"),
}


@pytest.mark.parametrize(
    ("form", "task_id"),
    [
        pytest.param(*form, id=name, marks=[pytest.mark.process] * (name == "process"))
        for name, form in FORMS.items()
    ],
)
async def test_a_failed_item_leaves_the_others_their_values(form: Task[..., Any], task_id: str) -> None:
    """Its place holds the failure; observers see it, and that the run succeeded; what takes the list runs."""
    engine = Engine()
    events = watch(engine)
    values, summed = await engine.run(
        (kept := form.map(sensor=[1, 2, 3]).keep_failures(), total(kept)),
    )
    failure = Failure("OSError: sensor 2 does not answer", "OSError", task_id, 1)
    assert (values, summed) == ([10, failure, 30], 40)
    assert (bool(failure), str(failure)) == (False, f"{task_id}: OSError: sensor 2 does not answer")
    assert [e.task_id for e in events if getattr(e, "state", None) is TaskState.FAILED] == [task_id]
    (end,) = (e for e in events if isinstance(e, LifecycleEvent) and e.event is Lifecycle.ENGINE_STOPPED)
    assert (end.status, end.error) == (RunStatus.SUCCEEDED, "")


async def test_a_value_takes_the_place_of_a_failure() -> None:
    """Of a task's calls and items, of one call, of one map, and of a call that takes the failed call's place."""

    @task
    async def again(sensor: int) -> LazyResult[int]:
        return task(read)(sensor).or_else(5)

    @task
    async def forwards(sensor: int) -> Any:
        return again(sensor)

    declared = task(read).or_else(-1)
    given = await Engine().run(
        [
            declared(2),
            declared.map(sensor=[1, 2]),
            task(read)(2).or_else(None),
            task(read).map(sensor=[2, 3]).or_else(0),
            again(2),
            forwards(2),
        ]
    )
    assert given == [-1, [10, -1], None, [0, 30], 5, 5]


async def test_attempts_and_the_time_limit_come_before_a_kept_failure() -> None:
    """What is kept is the last attempt's end."""

    @task
    async def hang() -> None:
        await asyncio.sleep(100)

    retried = task(read).with_retry(3).map(sensor=[2]).keep_failures()
    (failure,), late = await Engine().run([retried, hang().with_timeout(0.01).or_else("late")])
    assert (calls["read 2"], failure.type, late) == (3, "OSError", "late")


async def test_a_cancel_of_the_tasks_own_code_is_kept() -> None:
    """The run did not cancel the task; something that the task awaited had been cancelled."""

    @task
    async def ask(x: int) -> int:
        answer = asyncio.get_running_loop().create_future()
        answer.cancel() if x == 2 else answer.set_result(x)
        found: int = await answer
        return found

    one, failure, three = await Engine().run(ask.map(x=[1, 2, 3]).keep_failures())
    assert (one, three) == (1, 3)
    assert isinstance(failure, Failure)
    assert (failure.type, failure.item) == ("TaskCancelledError", 1)


async def test_a_cancelled_item_and_a_skipped_one_are_not_kept(hub: LocalHub) -> None:
    """Somebody stopped the one; the other never ran, because a task outside of the map failed."""

    @task
    async def wait(x: int) -> None:
        calls["wait"] += 1
        await asyncio.sleep(100)

    engine = Engine(connector=LocalConnector(hub, source_id="line-3"))
    running = asyncio.create_task(engine.run(wait.map(x=[1]).keep_failures()))
    await eventually(lambda: calls["wait"] == 1)
    async with LocalConnector(hub) as operator:
        message = {"type": "cancel", "expires_at": 9e10}
        await operator.publish(constraint_topic("task:wait", "cancel"), message, retain=True)
        with pytest.raises(TaskCancelledError):
            await running
    events = watch_tasks(engine := Engine())
    item = wait.partial(x=task(read)(2)).or_else(1)
    with pytest.raises(ExceptionGroup):
        await engine.run(item(), on_failure="continue")
    assert [(e.task_name, e.state) for e in events if e.task_name == "wait"] == [("wait", TaskState.SKIPPED)]


async def test_a_kept_failure_is_the_steps_result_for_good(tmp_path: Path) -> None:
    """A resumed run takes it from the record, calls nothing again, and lists count the step as failed."""
    broken = {"broken": True}

    @task
    async def finish(values: list[Any]) -> list[Any]:
        if broken["broken"]:
            raise ValueError("not yet")
        return values

    def target() -> LazyResult[Any]:
        items = FORMS["returned calls"][0].map(sensor=[1, 2]).keep_failures()
        plain = task(read).map(sensor=[2, 3]).keep_failures()
        return finish([items, plain, task(read)(2).or_else("none")])

    engine = Engine(state_backend=SqliteState(tmp_path))
    with pytest.raises(ValueError, match="not yet"):
        await engine.run(target(), run_id="night")
    before = Counter(calls)
    broken.clear()
    broken["broken"] = False
    events = watch_tasks(engine)
    items, plain, replaced = await engine.run(target(), run_id="night")
    assert calls == before
    assert (items[0], items[1].task_id, plain, replaced) == (
        10,
        "read_by_calls:0[1]~1/read:0",
        [Failure("OSError: sensor 2 does not answer", "OSError", "read:0[0]", 0), 30],
        "none",
    )
    kept = [e.reason for e in events if e.task_id == "read:0[0]"]
    assert kept == ["its failure was kept in attempt 1"]
    (run,) = SqliteState(tmp_path).runs()
    assert run.counts[StepState.FAILED] == 3
    failed = {step.key: step.error for step in SqliteState(tmp_path).steps("night", state=StepState.FAILED)}
    assert failed["read:0[0]"] == "OSError: sensor 2 does not answer"


async def test_a_kept_failure_that_nothing_keeps_any_more_ends_the_resumed_run(tmp_path: Path) -> None:
    """It is final for this run; the message says what to do."""

    @task
    async def finish(values: list[Any]) -> None:
        raise ValueError("not yet")

    engine = Engine(state_backend=SqliteState(tmp_path))
    with pytest.raises(ValueError, match="not yet"):
        await engine.run(finish(task(read).map(sensor=[2]).keep_failures()), run_id="night")
    with pytest.raises(UsageError, match=r"read:0\[0\]: OSError.*restore keep_failures\(\) or or_else\(\)"):
        await engine.run(finish(task(read).map(sensor=[2])), run_id="night")
    assert calls["read 2"] == 1


async def test_no_cache_has_a_kept_failure_or_what_was_computed_from_one(tmp_path: Path) -> None:
    """By key and by file: the next run computes again, and what no failure touched is found."""

    @task
    async def report(values: list[Any]) -> Path:
        calls["report"] += 1
        path = tmp_path / "report.txt"
        path.write_text(str(len(values)))
        return path

    cached = task(read).with_cache(ignore="calls").map(sensor=[1, 2]).keep_failures()
    by_key = total.with_cache(ignore="calls")(cached)
    by_file = report.with_cache(file=tmp_path / "report.txt")(cached)
    cache = MemoryCache()
    for _ in range(2):
        await Engine(cache_backend=cache).run([by_key, by_file])
    assert calls == {"read 1": 1, "read 2": 2, "total": 2, "report": 2}


async def test_a_run_returns_its_failures_with_the_values_that_there_are() -> None:
    """Of one target, a list and a tuple; a target that could not run says why; ``value`` raises."""
    fine, bad = task(read)(1), task(read)(2)
    failure = Failure("OSError: sensor 2 does not answer", "OSError", "read:0")
    one = await Engine().run(bad, on_failure="return")
    assert (one.status, one.values, one.failures) == (RunStatus.FAILED, failure, (failure,))
    with pytest.raises(ExceptionGroup):
        _ = one.value
    listed: RunResult[Any] = await Engine().run(
        [bad, fine, total([bad]), task(read).map(sensor=[1, 2]), task(read_by_calls)(2)], on_failure="return"
    )
    first, value, skipped, mapped, returned = listed.values
    assert (first, value, mapped.item) == (failure, 10, 1)
    assert returned.error == failure.error
    assert skipped == Failure("it has no value: a task that it needs failed", "", "total:0")
    assert [each.task_id for each in listed.failures] == ["read:0", "read:2[1]", returned.task_id]
    whole = await Engine().run((fine, total([])), on_failure="return")
    assert (whole.status, whole.value, whole.failures) == (RunStatus.SUCCEEDED, (10, 0), ())


async def test_a_run_that_is_cancelled_returns_what_it_had(hub: LocalHub) -> None:
    """And an error that is no task's is raised as ever."""

    @task
    async def wait() -> None:
        calls["wait"] += 1
        await asyncio.sleep(100)

    engine = Engine(connector=LocalConnector(hub, source_id="line-3"))
    running = asyncio.create_task(
        engine.run([task(read)(1), wait()], run_id="r1", on_failure="return"),
    )
    await eventually(lambda: calls == {"wait": 1, "read 1": 1})
    async with LocalConnector(hub) as operator:
        await operator.publish(constraint_topic("run:r1", "cancel"), {"type": "cancel"}, retain=True)
        result = await running
    unfinished = Failure("it has no value: the run ended before", "", "wait:0")
    assert (result.status, result.values) == (RunStatus.CANCELLED, [10, unfinished])
    with pytest.raises(RunCancelledError):
        _ = result.value
    with pytest.raises(UsageError):
        await Engine().run(task(mode="nowhere")(read)(1), on_failure="return")


CAUSES: list[tuple[Any, Any, str]] = [
    ("stop", task(read).map(sensor=[1, 2]), "read:0[1]: OSError: sensor 2 does not answer"),
    (
        "continue",
        task(read).map(sensor=[1, 2]),
        "read:0[1]: OSError: sensor 2 does not answer (1 of 2 failed)",
    ),
    ("return", task(read)(2), "read:0: OSError: sensor 2 does not answer"),
    (
        "continue",
        [task(read).map(sensor=[1, 2]), task(read)(2)],
        "read:0[1]: OSError: sensor 2 does not answer (2 tasks failed)",
    ),
    (
        "continue",
        [task(read)(2), task(read)(2)],
        "read:0: OSError: sensor 2 does not answer (2 tasks failed)",
    ),
]


@pytest.mark.parametrize(("on_failure", "target", "cause"), CAUSES)
async def test_watchers_read_the_first_cause_with_its_task_and_item(
    on_failure: Any, target: Any, cause: str, tmp_path: Path, hub: LocalHub
) -> None:
    """In the run's last event, its report at the broker, and its record."""
    seen: dict[str, Any] = {}
    state = SqliteState(tmp_path)
    async with LocalConnector(hub) as watcher:

        async def note(topic: str, message: Any) -> None:
            seen[topic] = message

        await watcher.subscribe("cascade/#", note)
        engine = Engine(connector=LocalConnector(hub, source_id="line-3"), state_backend=state)
        with contextlib.suppress(OSError, ExceptionGroup):
            await engine.run(target, run_id="r1", on_failure=on_failure)
        report = "cascade/state/line-3/runs"
        await eventually(lambda: report in seen and bool(seen[report].get("recent")))
    assert seen[report]["recent"][0]["error"] == cause
    assert seen["cascade/telemetry/local/default/r1/events"]["body"]["error"] == cause
    assert [run.error for run in state.runs()] == [cause]
    assert json.dumps(seen).count("sub-exception") == 0
