"""Middleware: wraps every try of a task, and without it nothing changes."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from observers import watch_tasks
from simple_tasks import double, give
from worker_calls import calls

from cascade.interfaces import StepInfo, TaskState, TaskTimeoutError
from cascade.runtime import Engine, ProcessExecutor
from cascade.spec import task

Next = Callable[[], Awaitable[Any]]


@task
def add(x: int) -> int:
    return x + 1


pid = task(mode="process", name="pid")(calls.process_id)  # a process cannot import this module


class Log:
    """A middleware that records what it wraps."""

    def __init__(self, name: str = "", log: list[str] | None = None) -> None:
        self.name, self.log = name, [] if log is None else log
        self.steps: list[StepInfo] = []

    async def __call__(self, step: StepInfo, call_next: Next) -> Any:
        self.steps.append(step)
        self.log.append(f"{self.name} before {step.key}")
        value = await call_next()
        self.log.append(f"{self.name} after {step.key}")
        return value


@pytest.mark.process
async def test_every_mode_is_wrapped() -> None:
    """Async, inline, thread and process tasks go through the same chain; steps of the graph do not."""
    log = Log()
    executor = ProcessExecutor(1)
    try:
        engine = Engine(middleware=[log], executors={"process": executor})
        values = await engine.run([double(1), give(2), add(2), pid(), give({"a": 1})["a"]])
    finally:
        await executor.close()
    assert values[:3] == [2, 2, 3]
    assert values[3] != os.getpid()
    assert sorted(each.key for each in log.steps) == ["add:0", "double:0", "give:0", "give:1", "pid:0"]


async def test_a_middleware_can_replace_the_value_and_skip_the_call() -> None:
    """What it returns is the value, whether it called the next one or not."""
    called: list[int] = []

    @task(mode="inline")
    def note(x: int) -> int:
        called.append(x)
        return x

    async def around(step: StepInfo, call_next: Next) -> Any:
        return 10 if step.name == "skipped" else await call_next() + 100

    engine = Engine(middleware=[around])
    assert await engine.run([note(1), note(2).named("skipped")]) == [101, 10]
    assert called == [1]


async def test_a_middleware_that_raises_fails_only_its_task() -> None:
    """Its error is the task's: others run on, and what needs the task is skipped."""

    async def around(step: StepInfo, call_next: Next) -> Any:
        if step.name == "bad":
            raise ValueError("refused")
        return await call_next()

    engine = Engine(middleware=[around])
    events = watch_tasks(engine)
    with pytest.raises(ExceptionGroup) as caught:
        await engine.run([double(give(1).named("bad")), double(2).named("fine")], on_failure="continue")
    assert [str(error) for error in caught.value.exceptions] == ["refused"]
    ended = {e.task_name: e.state for e in events}
    assert ended == {"bad": TaskState.FAILED, "double": TaskState.SKIPPED, "fine": TaskState.COMPLETED}


async def test_each_try_is_wrapped_and_counted() -> None:
    """A retry calls the middleware again; the key of the step and its idempotency key stay the same."""
    log = Log()

    async def fails_twice(step: StepInfo, call_next: Next) -> Any:
        if step.start < 3:
            raise OSError("not yet")
        return await call_next()

    engine = Engine(middleware=[log, fails_twice])
    events = watch_tasks(engine)
    assert await engine.run(double(1).with_retry(3)) == 2
    assert [each.start for each in log.steps] == [1, 2, 3]
    assert len({(each.key, each.idempotency_key, each.attempt) for each in log.steps}) == 1
    assert [(e.state, e.attempt) for e in events] == [
        (TaskState.RUNNING, 1),
        (TaskState.RETRYING, 1),
        (TaskState.RETRYING, 2),
        (TaskState.COMPLETED, 3),
    ]


async def test_the_time_limit_counts_for_the_middleware_too() -> None:
    """A middleware that hangs is cancelled like the call inside it."""

    async def hangs(step: StepInfo, call_next: Next) -> Any:
        await asyncio.Event().wait()

    with pytest.raises(TaskTimeoutError):
        await Engine(middleware=[hangs]).run(double(1).with_timeout(0.01))


async def test_a_cache_hit_is_not_wrapped() -> None:
    """Only a call that has to run goes through the middleware."""
    log = Log()
    engine = Engine(middleware=[log])
    for _ in range(2):
        assert await engine.run(double(3).with_cache()) == 6
    assert len(log.steps) == 1
