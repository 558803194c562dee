"""What a run reports of its tasks where something is odd: each change once, with its place, and nothing afterwards."""

import asyncio
from typing import Any

import pytest
from observers import watch_tasks
from simple_tasks import collect, double, give, step

from cascade.interfaces import (
    TaskState,
    TaskStateEvent,
)
from cascade.runtime import Engine
from cascade.spec import LazyResult, Router, task


def told(events: list[TaskStateEvent], name: str) -> list[str]:
    return [event.state.value for event in events if event.task_name == name]


class Undecided:
    """A value that raises when it is asked whether it is true."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __bool__(self) -> bool:
        raise self.error("undecided")


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("kind", ["task", "map", "route"])
async def test_a_condition_that_is_neither_true_nor_false_fails_its_task_once(
    error: type[BaseException], kind: str
) -> None:
    """The task does not run, what needs it is skipped, and the rest of the run goes on."""
    engine = Engine()
    events = watch_tasks(engine)
    condition = give(Undecided(error))

    @task
    async def beside() -> None:
        for _ in range(50):  # so that a task which must not run could
            await asyncio.sleep(0)
        raise ValueError("boom")

    conditional: dict[str, LazyResult[Any]] = {
        "task": step(1),
        "map": step.map(x=[1, 2]),
        "route": Router(give(1), {1: step(1)}),
    }
    target = conditional[kind].run_if(condition)
    with pytest.raises(ExceptionGroup) as caught:
        await engine.run([double(target), beside(), double(2).after(give(0))], on_failure="continue")
    assert len(caught.value.exceptions) == 2
    assert "RUNNING" not in told(events, "step")
    assert told(events, "double").count("SKIPPED") == told(events, "double").count("COMPLETED") == 1
    failures = [event.task_name for event in events if event.state is TaskState.FAILED]
    assert len(failures) == 2


async def test_an_event_says_where_its_task_stands_in_the_graph() -> None:
    """``parent``, ``item`` and, where several calls share a name, ``node``."""

    @task(mode="inline")
    def returning() -> Any:
        return collect(step.map(x=[7, 8]), double(1), double(2))

    engine = Engine()
    events = watch_tasks(engine)
    await engine.run([step(1), step(2), double(3), fail_again(), returning(), double.map(x=[4, 5])])
    found = {event.task_id: (event.parent, event.item, event.node) for event in events}
    assert {key: place for key, place in found.items() if "fail" not in key} == {
        "step:0": ("", None, "step:0"),
        "step:1": ("", None, "step:1"),
        "double:0": ("", None, "double:0"),
        "double:1[0]": ("double:1", 0, "double:1"),
        "double:1[1]": ("double:1", 1, "double:1"),
        "returning:0": ("", None, ""),
        "returning:0~1/collect:0": ("returning:0", None, ""),
        "returning:0~1/double:0": ("returning:0", None, "returning:0/double:0"),
        "returning:0~1/double:1": ("returning:0", None, "returning:0/double:1"),
        "returning:0~1/step:0[0]": ("returning:0~1/step:0", 0, ""),
        "returning:0~1/step:0[1]": ("returning:0~1/step:0", 1, ""),
    }
    tries = [(event.state.value, event.parent, event.attempt) for event in events if "fail" in event.task_id]
    assert tries == [("RUNNING", "", 1), ("RETRYING", "", 1), ("COMPLETED", "", 2)]


def fail_again() -> LazyResult[Any]:
    """Return a call that fails the first time."""
    tried: list[int] = []

    @task(name="fail_again")
    async def once() -> None:
        tried.append(1)
        if len(tried) == 1:
            raise OSError("reset")

    return once().with_retry(2)
