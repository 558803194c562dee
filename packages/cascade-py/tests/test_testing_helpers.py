"""What ``cascade.testing`` gives to tests of workflows: a clock, an executor and a recorder, each on its own."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

import cascade as cs
from cascade.interfaces import Lifecycle, ProgressEvent, TaskState
from cascade.testing import FakeExecutor, ManualClock, Recorder
from cascade.testkit.waiting import time_limit


async def test_another_thread_may_move_the_clock() -> None:
    """What waits goes on in its own loop."""
    clock, rung = ManualClock(), asyncio.Event()
    clock.call_later(5.0, rung.set)
    async with time_limit():
        await asyncio.to_thread(clock.advance, 5.0)
        await rung.wait()


def test_a_jump_moves_the_wall_clock_alone() -> None:
    """In both directions; only time itself never goes back."""
    clock = ManualClock(1_000.0)
    assert (clock.now(), clock.monotonic()) == (1_000.0, 1.0)
    clock.jump(-100.0)
    assert (clock.now(), clock.monotonic()) == (900.0, 1.0)
    clock.advance(0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (902.5, 3.5)
    with pytest.raises(ValueError, match=r"a clock goes forward; jump\(\) moves the wall clock alone"):
        clock.advance(-0.1)
    assert (clock.now(), clock.monotonic()) == (902.5, 3.5)


async def test_a_fake_executor_answers_by_name_and_remembers_each_call() -> None:
    """Whatever the answer is; a function without one is called, and an object without a name has its text."""

    def add(a: int, *, b: int = 0) -> int:
        return a + b

    def load() -> str:
        raise AssertionError("it has an answer")

    def fail() -> None: ...

    error = ValueError("odd")
    bound: Any = functools.partial(add, 1)
    answers: dict[str, Any] = {"load": None, "fail": error}
    made = FakeExecutor(answers)
    answers["add"] = "changed later"
    assert made.workers == 4
    assert await made.run(add, (1,), {"b": 2}) == 3
    assert await made.run(load, (), {}) is None
    with pytest.raises(ValueError, match="odd") as caught:
        await made.run(fail, (), {})
    assert caught.value is error
    assert await made.run(bound, (), {"b": 4}) == 5
    assert made.calls == [
        ("add", (1,), {"b": 2}),
        ("load", (), {}),
        ("fail", (), {}),
        (repr(bound), (), {"b": 4}),
    ]
    assert await made.settle(0.0) == 0
    await made.close()
    assert FakeExecutor(workers=1).workers == 1


def test_a_recorder_tells_tasks_and_states_apart() -> None:
    """Until it is closed; what it has stays."""

    @cs.task(mode="inline")
    def first(x: int) -> int:
        return x

    @cs.task(mode="inline")
    def second(x: int) -> int:
        return x

    bus = cs.EventBus()
    recorder = Recorder(bus)
    target: Any = second(first(first(1)))
    cs.run(target, bus=bus)
    assert recorder.states("second")[-2:] == [TaskState.RUNNING, TaskState.COMPLETED]
    assert recorder.states("third") == []
    completed = TaskState.COMPLETED
    counts = [recorder.count(completed, name) for name in (None, "first", "second", "third")]
    assert counts == [3, 2, 1, 0]
    assert recorder.count(TaskState.FAILED) == 0
    assert recorder.lifecycle[0].event is Lifecycle.ENGINE_STARTED
    assert len(recorder.lifecycle) == 2
    before = len(recorder.tasks)
    progress = ProgressEvent("r", "second:0", "second", 1.0, done=1.0)
    bus.publish(progress)
    recorder.close()
    bus.publish(progress)
    cs.run(second(2), bus=bus)
    assert (len(recorder.tasks), len(recorder.lifecycle)) == (before, 2)
    assert recorder.progress == [progress]
