"""Steering whole runs with nothing but retained messages, over a connector inside the process."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from desk import Desk
from observers import watch, watch_tasks

from cascade.interfaces import (
    ConfigurationError,
    Lifecycle,
    RunCancelledError,
    TaskCancelledError,
    TaskState,
    TaskStateEvent,
)
from cascade.runtime import Engine, LocalConnector, LocalHub, checkpoint
from cascade.runtime.constraints import ResourceCapacityError, UnknownResourceError
from cascade.spec import task
from cascade.testkit import eventually


@task
async def step(x: int = 0) -> int:
    await asyncio.sleep(0)
    return x


@pytest.fixture
def hub() -> LocalHub:
    return LocalHub()


@pytest.fixture
async def desk(hub: LocalHub) -> AsyncIterator[Desk]:
    async with Desk(hub) as outside:
        yield outside


@pytest.fixture
def engine(hub: LocalHub) -> Engine:
    return Engine(
        connector=LocalConnector(hub, source_id="line-3"), system_resources={"gpu": 2, "memory_gb": 32}
    )


def told(events: list[TaskStateEvent], state: TaskState, name: str = "") -> int:
    return sum(e.state is state and (not name or e.task_name == name) for e in events)


class Counting:
    """A task that counts how many of it run at the same time, and can be held."""

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


async def test_a_pause_that_was_there_before_holds_the_first_task(desk: Desk, engine: Engine) -> None:
    """The first task waits for the retained set: nothing starts under a pause, and lifting it frees all at once (I9)."""
    await desk.put("global", "pause")
    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(step.map(x=list(range(1000)))))
    await eventually(lambda: told(events, TaskState.BLOCKED) == 1000)
    assert told(events, TaskState.RUNNING) == 0
    assert "pause" in events[-1].reason or "paused" in events[-1].reason
    await desk.lift("global", "pause")
    assert await run == list(range(1000))


async def test_i3_after_a_reported_pause_nothing_starts(desk: Desk, engine: Engine) -> None:
    """Running tasks go on; once the engine has reported the pause as applied, none in its scope starts."""
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
    await eventually(lambda: desk.reports[-1]["in_scope_running"] == 0)
    assert counting.started == 2
    await desk.lift("task:count*", "pause")
    assert await run == [1, 2, "free"]


async def test_concurrency_holds_and_lets_go(desk: Desk, engine: Engine) -> None:
    """A limit holds in maps too (I10); raising it frees the waiting at once, lowering it drains, 0 is a pause."""
    counting = Counting()
    counting.gate.clear()
    await desk.put("task:counted", "concurrency", limit=1)
    run = asyncio.create_task(engine.run(counting.task.map(x=list(range(12)))))
    await eventually(lambda: counting.running == 1)
    await desk.put("task:counted", "concurrency", limit=4)
    await eventually(lambda: counting.running == 4)
    await desk.put("task:counted", "concurrency", limit=0)
    await eventually(
        lambda: desk.applied("task:counted", "concurrency") and desk.reports[-1]["in_scope_running"] == 4
    )
    counting.gate.set()
    await eventually(lambda: counting.running == 0)
    assert counting.started == 4
    await desk.put("task:counted", "concurrency", limit=2)
    counting.most = 0
    assert await run == list(range(12))
    assert counting.most == 2


async def test_tasks_that_ran_before_a_limit_count(desk: Desk, engine: Engine) -> None:
    """A limit that comes later is not blind to what already runs: until that has ended, nothing else starts."""
    counting, early = Counting(), Counting()
    counting.gate.clear()
    early.gate.clear()
    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run([counting.task(1), counting.task(2), step().after(early.task(3))]))
    await eventually(lambda: counting.running + early.running == 3)
    await desk.put("global", "concurrency", limit=1)
    await eventually(lambda: desk.applied("global", "concurrency"))
    assert desk.reports[-1]["in_scope_running"] == 3
    early.gate.set()
    await eventually(lambda: told(events, TaskState.BLOCKED, "step") == 1)
    assert events[-1].reason.startswith("2 of at most 1 of global are running")
    assert told(events, TaskState.RUNNING, "step") == 0
    counting.gate.set()
    assert await run == [1, 2, 0]


async def test_a_rate_limit_lets_all_wait_for_their_tokens(desk: Desk, engine: Engine) -> None:
    """With a bucket of two tokens, two start at once and all others wait for theirs; none is lost."""
    events = watch_tasks(engine)
    await desk.put("task:step", "rate_limit", rate="200/s", capacity=2)
    assert await engine.run(step.map(x=list(range(20)))) == list(range(20))
    assert told(events, TaskState.BLOCKED) == 18
    assert told(events, TaskState.RUNNING) == 20


async def test_a_pause_during_a_retrys_delay_holds_the_retry(desk: Desk, engine: Engine) -> None:
    """A retry asks for permission like a first start, and gives its slot back while it waits."""
    attempts: list[int] = []
    events = watch_tasks(engine)

    @task
    async def flaky() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("once")
        return len(attempts)

    run = asyncio.create_task(engine.run(flaky().with_retry(2, delay=0.05)))
    await eventually(lambda: told(events, TaskState.RETRYING) == 1)
    await desk.put("global", "pause")
    await eventually(lambda: told(events, TaskState.BLOCKED) == 1)
    assert len(attempts) == 1
    await desk.lift("global", "pause")
    assert await run == 2


async def test_cancelling_a_run_from_outside(desk: Desk, engine: Engine) -> None:
    """Row 27: its tasks are cancelled, ENGINE_STOPPED says Cancelled, and run() raises who did it; other runs go on."""
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
    """Tasks of a name are cancelled, running or waiting, and fail as cancelled; with carry_on the rest runs."""
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
    assert told(events, TaskState.CANCELLED, "counted") == 2
    assert told(events, TaskState.COMPLETED, "step") == 2


async def test_a_task_between_two_attempts_is_cancelled_as_well(desk: Desk, engine: Engine) -> None:
    """Row 27: whoever waits out a retry's delay is cancelled now, and not tried again when the cancel has expired."""
    events = watch_tasks(engine)

    @task
    async def flaky() -> None:
        raise OSError("not yet")

    run = asyncio.create_task(engine.run(flaky().with_retry(2, delay=3_600)))
    await eventually(lambda: told(events, TaskState.RETRYING) == 1)
    await desk.connector.publish(
        "cascade/constraints/task/fl*/@cancel",
        {"type": "cancel", "expires_at": time.time() + 60},
        1,
        retain=True,
    )
    with pytest.raises(TaskCancelledError, match="task:fl\\* is cancelled"):
        await asyncio.wait_for(run, 20)
    assert [event.state.value for event in events] == ["RUNNING", "RETRYING", "CANCELLED"]


async def test_resources_are_held_all_at_once(desk: Desk, engine: Engine) -> None:
    """Tasks that need a GPU never hold more than there are; amounts may be lazy; all is given back on failure."""
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


async def test_what_can_never_be_had_is_refused_at_once(engine: Engine) -> None:
    """More than there is, and what nobody has, are told before anything runs; wrong amounts when declared."""
    events = watch_tasks(engine)
    with pytest.raises(ResourceCapacityError, match=r"needs gpu=3, but this engine has gpu=2 in all"):
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
async def test_a_checkpoint_obeys_pause_and_reports_progress(desk: Desk, engine: Engine, mode: str) -> None:
    """A long task stands still at its checkpoint while paused, on the loop and in a thread, and tells how far it is."""
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
        go.wait(10)
        checkpoint(done=2, total=3)  # type: ignore[unused-awaitable] # in a thread it has waited already
        passed.append(1)
        return "done"

    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(on_loop() if mode == "async" else in_thread()))
    await eventually(reached.is_set)
    await desk.put("global", "pause")
    await eventually(lambda: desk.applied("global", "pause"))
    go.set()
    await eventually(lambda: told(events, TaskState.BLOCKED) == 1)
    assert not passed
    await desk.lift("global", "pause")
    assert await run == "done"
    assert [e.state.value for e in events] == ["RUNNING", "BLOCKED", "RUNNING", "COMPLETED"]
    await eventually(lambda: progress)
    assert progress == [
        {"type": "ProgressEvent", "task_id": "long-0", "task_name": "long", "done": 1, "total": 3}
    ]


@pytest.mark.parametrize("held", [False, True])
async def test_a_checkpoint_obeys_cancel_in_a_thread(desk: Desk, engine: Engine, held: bool) -> None:
    """A thread cannot be stopped, but at its checkpoint it stops itself, also while it is held there by a pause."""
    ended = threading.Event()
    rounds: list[int] = []

    @task
    def long() -> None:
        try:
            while True:
                checkpoint()  # type: ignore[unused-awaitable] # in a thread it has waited already
                rounds.append(1)
        finally:
            ended.set()

    lifecycle = watch(engine)
    run = asyncio.create_task(engine.run(long()))
    await eventually(lambda: rounds)
    if held:
        await desk.put("global", "pause")
        await eventually(lambda: any(getattr(e, "state", "") == "BLOCKED" for e in lifecycle))
        assert "long-0 at a checkpoint" in {each.get_name() for each in asyncio.all_tasks()}
    await desk.put(f"run:{lifecycle[0].run_id}", "cancel")
    with pytest.raises(RunCancelledError):
        await run
    assert ended.wait(5)
    (cancelled,) = [e for e in lifecycle if getattr(e, "state", "") == "CANCELLED"]
    assert "cannot be stopped" in cancelled.reason


async def test_a_thread_asks_the_loop_only_if_its_task_is_paused(desk: Desk, engine: Engine) -> None:
    """A constraint on other tasks, or one that pauses nobody, costs a task no way to the loop at its checkpoints."""
    began, go, passed = threading.Event(), threading.Event(), threading.Event()

    @task
    def long() -> None:
        began.set()
        go.wait(10)
        checkpoint()  # type: ignore[unused-awaitable] # in a thread it has waited already
        passed.set()

    run = asyncio.create_task(engine.run(long()))
    await eventually(began.is_set)
    await desk.put("task:other", "pause")
    await desk.put("global", "concurrency", limit=1)
    await eventually(lambda: desk.applied("global", "concurrency"))
    go.set()
    assert passed.wait(10)  # which holds the loop meanwhile
    await run


async def test_outside_of_a_task_a_checkpoint_does_nothing() -> None:
    """Code with checkpoints can be called as plain code."""
    await checkpoint(done=1)
    checkpoint(done=2)  # type: ignore[unused-awaitable] # it is not awaited on purpose


async def test_an_engine_without_control_runs_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """A connector that cannot be watched costs nothing but control."""

    class Plain:
        async def connect(self) -> None: ...
        async def disconnect(self) -> None: ...
        async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None: ...
        async def subscribe(self, topic: str, callback: Any, qos: int = 0) -> Any: ...

    with caplog.at_level(logging.WARNING):
        assert await Engine(connector=Plain()).run(step(1)) == 1
    assert not caplog.records


async def test_a_silent_broker_holds_the_first_task_for_two_seconds_at_most(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an echo the run goes on with a warning; with require_control it waits until the broker answers."""
    monkeypatch.setattr("cascade.runtime.engine.START_LIMIT", 0.05)
    for limit in ("ECHO_LIMIT", "_SHORTEST_PAUSE"):  # how soon it is tried again
        monkeypatch.setattr(f"cascade.runtime.constraints.sync.{limit}", 0.05)
    connector = LocalConnector(hub, source_id="line-3")
    publish_nowait = LocalConnector.publish_nowait
    deaf, swallowed = True, 0

    def swallow(self: LocalConnector, topic: str, *args: Any, **kwargs: Any) -> None:
        nonlocal swallowed
        if deaf and topic.startswith("cascade/sync/"):
            swallowed += 1
        else:
            publish_nowait(self, topic, *args, **kwargs)

    monkeypatch.setattr(LocalConnector, "publish_nowait", swallow)
    assert await Engine(connector=connector).run(step(1)) == 1
    assert "constraints are not known yet" in caplog.text
    engine = Engine(connector=connector, require_control=True)
    events = watch_tasks(engine)
    swallowed = 0
    waiting = asyncio.create_task(engine.run(step(2)))
    await eventually(lambda: swallowed > 1)
    assert not events
    deaf = False
    assert await waiting == 2


async def test_typed_by_hand_and_older_forms_are_understood(desk: Desk, engine: Engine) -> None:
    """Only `type` is needed, and a topic without /@type is a register of its own."""
    counting = Counting()
    await desk.connector.publish("cascade/constraints/global", {"type": "pause"}, 0, retain=True)
    run = asyncio.create_task(engine.run(counting.task(3)))
    await eventually(lambda: desk.reports and "cascade/constraints/global" in desk.reports[-1]["applied"])
    assert counting.started == 0
    await desk.connector.publish("cascade/constraints/global", None, 0, retain=True)
    assert await run == 3
    assert json.dumps(desk.reports[-1])
