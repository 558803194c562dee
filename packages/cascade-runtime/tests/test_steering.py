"""Steering whole runs with nothing but retained messages, over a connector inside the process."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from desk import Desk
from observers import watch, watch_tasks

from cascade.interfaces import (
    Complete,
    ConfigurationError,
    Lifecycle,
    ResourceCapacityError,
    RunCancelledError,
    TaskCancelledError,
    TaskState,
    TaskStateEvent,
    UnknownResourceError,
    WatchItem,
)
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub, checkpoint
from cascade.spec import task
from cascade.testing import ManualClock
from cascade.testkit import eventually

LIMIT = 50.0
"""Seconds after which what has not happened is a failure."""


@task
async def step(x: int = 0) -> int:
    await asyncio.sleep(0)
    return x


@pytest.fixture
def engine(hub: LocalHub) -> Engine:
    return Engine(
        connector=LocalConnector(hub, source_id="line-3"), system_resources={"gpu": 2, "memory_gb": 32}
    )


def count(events: list[TaskStateEvent], state: TaskState, name: str = "") -> int:
    return sum(e.state is state and (not name or e.task_name == name) for e in events)


class Counting:
    """A task that counts how many calls of it run at the same time, and that a test can block."""

    def __init__(self) -> None:
        self.running = self.most = self.started = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.task = task(name="counted")(self._run)

    async def _run(self, x: int = 0) -> int:
        self.running += 1
        self.started += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        return x


async def test_a_pause_set_before_the_run_blocks_the_first_task(desk: Desk, engine: Engine) -> None:
    """The first task waits for the retained set: none starts under a pause; lifting it starts all at once (I9)."""
    await desk.put("global", "pause")
    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(step.map(x=list(range(1000)))))
    await eventually(lambda: count(events, TaskState.BLOCKED) == 1000)
    assert count(events, TaskState.RUNNING) == 0
    assert "pause" in events[-1].reason or "paused" in events[-1].reason
    await desk.lift("global", "pause")
    assert await run == list(range(1000))


async def test_i3_after_a_reported_pause_nothing_starts(desk: Desk, engine: Engine) -> None:
    """Running tasks continue; once the engine has reported the pause as applied, none in its scope starts."""
    counting = Counting()
    counting.gate.clear()
    others = asyncio.Event()

    @task
    async def free() -> str:
        others.set()
        return "free"

    run = asyncio.create_task(
        engine.run([counting.task(1), counting.task(2).after(counting.task(3)), free()])
    )
    await eventually(lambda: counting.started == 2)
    await desk.put("task:count*", "pause")
    await eventually(lambda: desk.applied("task:count*", "pause"))
    counting.gate.set()
    await others.wait()
    await eventually(lambda: counting.running == 0)
    await eventually(lambda: desk.last["in_scope_running"] == 0)
    assert counting.started == 2
    await desk.lift("task:count*", "pause")
    assert await run == [1, 2, "free"]


async def test_a_pause_of_a_workflow_holds_its_runs_and_no_others(desk: Desk, engine: Engine) -> None:
    """Before a run begins and while it goes on; an engine without such a run answers that it has no match."""
    await desk.put("workflow:audit", "pause")
    events = watch_tasks(engine)
    topic = constraint_topic("workflow:audit", "pause")
    async with engine.attached():
        assert await engine.run(step(1), workflow="clean") == 1
        await eventually(lambda: desk.status(topic) == "no_match")
        run = asyncio.create_task(engine.run(step(2), workflow="audit"))
        await eventually(lambda: count(events, TaskState.BLOCKED) == 1)
        assert events[-1].reason == f"workflow:audit is paused ({topic})"
        await eventually(lambda: desk.applied("workflow:audit", "pause"))
        assert await engine.run(step(3)) == 3
        await desk.lift("workflow:audit", "pause")
        assert await run == 2


async def test_a_cancel_of_a_workflow_ends_its_active_runs(desk: Desk, engine: Engine) -> None:
    """Not those of another one, and none that begins later."""
    counting = Counting()
    counting.gate.clear()
    audits = [asyncio.create_task(engine.run(counting.task(x), workflow="audit")) for x in (1, 2)]
    other = asyncio.create_task(engine.run(counting.task(3), workflow="clean"))
    await eventually(lambda: counting.started == 3)
    await desk.put("workflow:audit", "cancel", expires_at=time.time() + 60)
    for each in audits:
        with pytest.raises(RunCancelledError, match="workflow:audit"):
            await each
    counting.gate.set()
    assert await other == 3
    assert await engine.run(counting.task(4), workflow="audit") == 4


async def test_an_author_is_shown_as_a_claim(desk: Desk, engine: Engine) -> None:
    """In the report, in its effective constraints and in the reason of a blocked task; another author changes them."""
    events = watch_tasks(engine)
    topic = constraint_topic("global", "pause")

    def shown() -> list[str | None]:
        report = desk.last
        return [row.get("by") for row in (*report["applied"].values(), *report["effective"])]

    for by in ("olaf\x1b", "eva"):
        await desk.connector.publish(topic, {"type": "pause", "by": by}, 1, retain=True)
        run = asyncio.create_task(engine.run(Counting().task(1)))
        await eventually(partial(lambda by: shown() == [by, by], by))
        await eventually(lambda: count(events, TaskState.BLOCKED) == 1)
        claim = by.replace("\x1b", "\\x1b")
        assert [e.reason for e in events] == [f"global is paused ({topic}, claimed by {claim})"]
        run.cancel()
        await asyncio.wait({run})
        events.clear()
    await desk.put("global", "pause")
    run = asyncio.create_task(engine.run(Counting().task(1)))
    await eventually(lambda: shown() == [None, None])
    await desk.lift("global", "pause")
    assert await run == 1


async def test_a_concurrency_limit_blocks_and_admits(desk: Desk, engine: Engine) -> None:
    """A limit applies in maps too (I10); raising it starts waiting tasks at once, lowering it drains, 0 is a pause."""
    counting = Counting()
    counting.gate.clear()
    await desk.put("task:counted", "concurrency", limit=1)
    run = asyncio.create_task(engine.run(counting.task.map(x=list(range(12)))))
    await eventually(lambda: counting.running == 1)
    await desk.put("task:counted", "concurrency", limit=4)
    await eventually(lambda: counting.running == 4)
    await desk.put("task:counted", "concurrency", limit=0)
    await eventually(
        lambda: desk.applied("task:counted", "concurrency") and desk.last["in_scope_running"] == 4
    )
    counting.gate.set()
    await eventually(lambda: counting.running == 0)
    assert counting.started == 4
    await desk.put("task:counted", "concurrency", limit=2)
    counting.most = 0
    assert await run == list(range(12))
    assert counting.most == 2


async def test_under_a_rate_limit_each_task_waits_for_its_token(desk: Desk, hub: LocalHub) -> None:
    """With a bucket of two tokens, two tasks start at once and all others wait for theirs; none is lost."""
    clock = ManualClock()
    engine = Engine(connector=LocalConnector(hub, source_id="line-3"), clock=clock)
    events = watch_tasks(engine)
    await desk.put("task:step", "rate_limit", rate="1/s", capacity=2)
    run = asyncio.create_task(engine.run(step.map(x=list(range(20)))))
    for started in range(2, 21):
        await eventually(partial(lambda n: count(events, TaskState.RUNNING) == n, started))
        await eventually(lambda: count(events, TaskState.BLOCKED) == 18)
        clock.advance(1)
    assert await run == list(range(20))
    assert count(events, TaskState.BLOCKED) == 18
    assert count(events, TaskState.RUNNING) == 20


async def test_cancelling_a_run_from_outside(desk: Desk, engine: Engine) -> None:
    """Row 27: its tasks are cancelled, ENGINE_STOPPED says Cancelled, run() names the register; other runs continue."""
    lifecycle = watch(engine)
    counting, other = Counting(), Counting()
    counting.gate.clear()
    other.gate.clear()
    run = asyncio.create_task(engine.run(counting.task(1)))
    await eventually(lambda: counting.running == 1)
    run_id = lifecycle[0].run_id
    second = asyncio.create_task(engine.run(other.task(2)))
    await eventually(lambda: other.running == 1)
    await desk.put(f"run:{run_id}", "cancel")
    with pytest.raises(RunCancelledError, match=f"cascade/constraints/run/{run_id}/@cancel"):
        await run
    assert counting.running == 0
    stopped = [e for e in lifecycle if getattr(e, "event", None) is Lifecycle.ENGINE_STOPPED]
    assert [(e.run_id, e.status.value) for e in stopped] == [(run_id, "Cancelled")]
    other.gate.set()
    assert await second == 2


async def test_cancelling_tasks_from_outside(desk: Desk, engine: Engine) -> None:
    """Running and waiting tasks of a name fail as cancelled; with on_failure="continue" the rest runs."""
    counting = Counting()
    counting.gate.clear()
    events = watch_tasks(engine)
    target = [counting.task(1), step(5), counting.task(2).after(step(6))]
    run = asyncio.create_task(engine.run(target, on_failure="continue"))
    await eventually(lambda: counting.running == 2)
    topic = "cascade/constraints/task/counted/@cancel"
    await desk.connector.publish(topic, {"type": "cancel", "expires_at": time.time() + 60}, 1, retain=True)
    with pytest.raises(ExceptionGroup) as caught:
        await run
    assert [type(e) for e in caught.value.exceptions] == [TaskCancelledError] * 2
    assert count(events, TaskState.CANCELLED, "counted") == 2
    assert count(events, TaskState.COMPLETED, "step") == 2


async def test_resources_are_taken_all_at_once(desk: Desk, engine: Engine, unhurried: None) -> None:
    """Tasks never hold more GPUs than the engine has; amounts may be lazy; a failed task gives all back."""
    counting = Counting()
    gpu = counting.task.with_constraints(gpu=1, memory_gb=8)
    assert await engine.run(gpu.map(x=list(range(9)))) == list(range(9))
    assert counting.most == 2

    @task(mode="inline")
    def amount() -> float:
        return 2

    counting.most = 0
    assert await engine.run([counting.task(n).with_constraints(gpu=amount()) for n in range(3)]) == [0, 1, 2]
    assert counting.most == 1

    @task
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await engine.run(fails().with_constraints(gpu=2))
    assert await engine.run(counting.task(7).with_constraints(gpu=2)) == 7


async def test_demands_that_can_never_be_met_are_rejected_at_once(engine: Engine) -> None:
    """Too large and unknown demands raise before any task runs; wrong amounts raise when declared."""
    events = watch_tasks(engine)
    with pytest.raises(ResourceCapacityError, match=r"needs gpu=3, but this engine has gpu=2 in total"):
        await engine.run([step(1), step(2).with_constraints(gpu=3)])
    with pytest.raises(UnknownResourceError, match="it has gpu, memory_gb"):
        await engine.run([step(1), step(2).with_constraints(tpu=1)])
    assert not events

    @task(mode="inline")
    def much() -> float:
        return 5

    with pytest.raises(ResourceCapacityError, match="gpu=5"):
        await engine.run(step(1).with_constraints(gpu=much()))
    for wrong in (-1, "1", None, float("nan"), True):
        with pytest.raises(ConfigurationError, match=r"with_constraints\(gpu=\)"):
            step(1).with_constraints(gpu=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["async", "thread"])
async def test_a_checkpoint_obeys_a_pause_and_reports_progress(
    desk: Desk, engine: Engine, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long task waits at its checkpoint while paused, on the loop and in a thread, and reports its progress."""
    monkeypatch.setattr(
        "cascade.runtime._scheduler.checkpoints.PROGRESS_INTERVAL", 3600.0
    )  # so that only the first report is sent
    progress: list[dict[str, Any]] = []

    async def hear(topic: str, data: dict[str, Any]) -> None:
        progress.append(data["body"])

    await desk.connector.subscribe("cascade/telemetry/+/+/+/progress", hear)
    reached, go = threading.Event(), threading.Event()
    passed: list[int] = []

    @task(name="long")
    async def on_loop() -> str:
        await checkpoint(done=1, total=3)
        reached.set()
        while not go.is_set():
            await asyncio.sleep(0.001)
        await checkpoint(done=2, total=3)
        passed.append(1)
        return "done"

    @task(name="long")
    def in_thread() -> str:
        checkpoint(done=1, total=3)  # type: ignore[unused-awaitable] # in a thread it has waited already
        reached.set()
        go.wait(LIMIT)
        checkpoint(done=2, total=3)  # type: ignore[unused-awaitable] # in a thread it has waited already
        passed.append(1)
        return "done"

    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(on_loop() if mode == "async" else in_thread()))
    await eventually(reached.is_set)
    await desk.put("global", "pause")
    await eventually(lambda: desk.applied("global", "pause"))
    go.set()
    await eventually(lambda: count(events, TaskState.BLOCKED) == 1)
    assert not passed
    await desk.lift("global", "pause")
    assert await run == "done"
    assert [e.state.value for e in events] == ["RUNNING", "BLOCKED", "RUNNING", "COMPLETED"]
    await eventually(lambda: progress)
    assert progress == [
        {"type": "ProgressEvent", "task_id": "long:0", "task_name": "long", "done": 1, "total": 3}
    ]


async def test_a_silent_broker_delays_the_first_task_by_two_seconds_at_most(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a complete set the run starts with a warning; with require_control it waits until the broker answers."""
    monkeypatch.setattr("cascade.runtime._support.shared_connection.START_LIMIT", 0.05)
    monkeypatch.setattr("cascade.runtime._registers.sync.COMPLETE_LIMIT", 0.05)
    answers = asyncio.Event()

    class Silent(LocalConnector):
        """Does not say that a set is complete until the test permits it."""

        def watch(self, *filters: str) -> Any:
            return incomplete(super().watch(*filters))

    async def incomplete(stream: Any) -> AsyncIterator[WatchItem]:
        try:
            async for item in stream:
                if isinstance(item, Complete):
                    await answers.wait()
                yield item
        finally:
            await stream.aclose()

    connector = Silent(hub, source_id="line-3")
    assert await Engine(connector=connector).run(step(1)) == 1
    assert "constraints are not known yet" in caplog.text
    engine = Engine(connector=connector, require_control=True)
    events = watch_tasks(engine)
    waiting = asyncio.create_task(engine.run(step(2)))
    await eventually(lambda: "does not answer the constraint sync" in caplog.text)
    assert not events
    answers.set()
    assert await waiting == 2


async def test_cancelling_everything_of_a_source(
    desk: Desk, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 50: a cancel of the source ends the runs that are active when it arrives; one that begins later goes on."""
    counting = Counting()
    counting.gate.clear()
    run = asyncio.create_task(engine.run([counting.task(1), step(2).after(counting.task(3))]))
    await eventually(lambda: counting.started == 2)
    await desk.put("source:line-3", "cancel", expires_at=time.time() + 60)
    with pytest.raises(
        RunCancelledError, match=r"source:line-3 is cancelled until .*not concern runs that begin"
    ):
        await run
    caplog.clear()
    assert await engine.run(step(4), run_id="later") == 4
    (said,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert said == "line-3: cascade/constraints/source/line-3/@cancel is older than run later, which goes on"
