"""Calls that could not be stopped: what their tasks were given is in use until they have really ended."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from desk import Desk, limits_of, pass_now
from observers import watch_tasks

from cascade.interfaces import TaskCancelledError, TaskState
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import LazyResult, task
from cascade.testkit import eventually, time_limit

LIMIT = 50.0
"""Seconds after which what has not happened is a failure."""
HOUR = 3600.0
"""A time limit that ends when the test says so."""


class Stuck:
    """A task that nothing stops but its release: in a thread, or one that suppresses each cancel."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = 0
        self.release = threading.Event()
        self.task = task(name="stuck", mode="thread")(self._run)
        self.async_task = task(name="stuck")(self._suppress)

    def _run(self) -> int:
        self.begun += 1
        self.running += 1
        self.release.wait(LIMIT)
        self.running -= 1
        return self.begun

    async def _suppress(self) -> int:
        self.begun += 1
        self.running += 1
        while not self.release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)
        self.running -= 1
        return self.begun


class DeskAndEngine(Desk):
    """Who steers an engine that has one GPU."""

    def __init__(self) -> None:
        hub = LocalHub()
        super().__init__(hub)
        self.engine = Engine(
            connector=LocalConnector(hub, source_id="line-3"), system_resources={"gpu": 1}, stop_timeout=0.01
        )
        self.events = watch_tasks(self.engine)

    @property
    def in_scope(self) -> list[int]:
        """How many tasks in scope ran, according to each report with constraints."""
        return [report["in_scope_running"] for report in self.reports if report["applied"]]

    def told(self, name: str) -> list[str]:
        return [e.state.value for e in self.events if e.task_name == name]


@pytest.fixture
async def desk() -> AsyncIterator[DeskAndEngine]:
    async with DeskAndEngine() as made:
        yield made


@pytest.fixture
def stuck() -> Any:
    made = Stuck()
    yield made
    made.release.set()


def next_one(stuck: Stuck) -> LazyResult[int]:
    """A task that returns how many calls still run while it has the GPU."""

    @task
    async def after() -> int:
        return stuck.running

    return after().named("after").with_constraints(gpu=1)


async def test_no_other_task_gets_what_a_cancelled_one_had_while_its_call_runs(
    desk: DeskAndEngine, stuck: Stuck
) -> None:
    """CANCELLED is reported at once; the next task that needs the GPU is reported as blocked, and starts when it is free."""
    both = [stuck.task().with_constraints(gpu=1), next_one(stuck)]
    run = asyncio.create_task(desk.engine.run(both, on_failure="continue"))
    await eventually(lambda: stuck.running and desk.told("after") == ["BLOCKED"])
    await desk.put("task:stuck", "cancel", expires_at=4e9)
    await eventually(lambda: desk.told("stuck") == ["RUNNING", "CANCELLED"])
    await eventually(lambda: desk.in_scope[-1:] == [1])
    await desk.lift("task:stuck", "cancel")
    assert desk.told("after") == ["BLOCKED"]
    stuck.release.set()
    with pytest.raises(ExceptionGroup) as caught:
        await run
    assert [type(e) for e in caught.value.exceptions] == [TaskCancelledError]
    after = [e for e in desk.events if e.task_name == "after"]
    assert [e.state for e in after] == [TaskState.BLOCKED, TaskState.RUNNING, TaskState.COMPLETED]
    assert not stuck.running


@pytest.mark.parametrize("known_before", [True, False])
async def test_a_call_that_runs_on_counts_as_running(
    desk: DeskAndEngine, stuck: Stuck, known_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause is applied and in_scope_running is 0, nothing of its scope runs; also not in a thread."""
    release, limits = asyncio.Event(), limits_of(HOUR, monkeypatch)

    @task
    async def beside() -> None:
        await release.wait()

    if known_before:
        await desk.put("task:stuck", "concurrency", limit=1)
    lazies: list[LazyResult[Any]] = [stuck.task().with_timeout(HOUR), beside()]
    run = asyncio.create_task(desk.engine.run(lazies, on_failure="continue"))
    await eventually(lambda: stuck.running)
    pass_now(limits[0])
    await eventually(lambda: desk.told("stuck") == ["RUNNING", "FAILED"])
    await desk.put("task:stuck", "pause")
    await eventually(lambda: desk.engine._parts.admission.policy.gates.hold_reason(run_id(desk), "stuck"))
    await eventually(lambda: desk.in_scope[-1:] == [1])
    stuck.release.set()
    await eventually(lambda: desk.in_scope[-1:] == [0])
    assert not stuck.running
    release.set()
    with pytest.raises(ExceptionGroup):
        await run


async def test_a_call_that_no_cancel_has_stopped_counts_until_it_ends_though_its_run_has_ended(
    desk: DeskAndEngine, stuck: Stuck
) -> None:
    """The cancel of a run goes with the run: in_scope_running would be 0 while the thread works on."""
    connector = desk.engine._parts.connector
    assert connector is not None
    await connector.connect()
    run = asyncio.create_task(desk.engine.run(stuck.task()))
    await eventually(lambda: stuck.running)
    topic = constraint_topic(f"run:{run_id(desk)}", "cancel")
    await desk.put(f"run:{run_id(desk)}", "cancel", expires_at=4e9)
    await asyncio.wait({run})
    await eventually(lambda: desk.status(topic) == "no_match")
    assert (desk.last["effective"], desk.last["in_scope_running"]) == ([], 1)
    stuck.release.set()
    await eventually(lambda: desk.last["in_scope_running"] == 0)
    assert not stuck.running
    await connector.disconnect()


def run_id(desk: DeskAndEngine) -> str:
    return desk.events[0].run_id


@pytest.mark.parametrize("kind", ["task", "async_task"])
async def test_another_attempt_waits_for_what_the_one_before_still_uses(
    desk: DeskAndEngine, stuck: Stuck, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of an attempt is up, but its call has the GPU: the next one says what it waits for."""
    limits = limits_of(HOUR, monkeypatch)
    run = asyncio.create_task(
        desk.engine.run(getattr(stuck, kind)().with_timeout(HOUR).with_retry(2).with_constraints(gpu=1))
    )
    await eventually(lambda: stuck.running)
    pass_now(limits[0])
    await eventually(lambda: desk.told("stuck") == ["RUNNING", "RETRYING", "BLOCKED"])
    assert stuck.begun == 1
    stuck.release.set()
    assert await run == 2
    assert desk.told("stuck")[3:] == ["RUNNING", "COMPLETED"]


@pytest.mark.parametrize("known_before", [True, False])
async def test_a_limit_counts_a_call_that_runs_on(
    desk: DeskAndEngine, stuck: Stuck, known_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that comes while a task runs that has started without being counted."""
    limits = limits_of(HOUR, monkeypatch)
    if known_before:
        await desk.put("task:stuck", "concurrency", limit=1)
    run = asyncio.create_task(desk.engine.run(stuck.task().with_timeout(HOUR).with_retry(2)))
    await eventually(lambda: stuck.running)
    if not known_before:
        await desk.put("task:stuck", "concurrency", limit=1)
    await eventually(lambda: desk.in_scope[-1:] == [1])
    pass_now(limits[0])
    await eventually(lambda: desk.told("stuck") == ["RUNNING", "RETRYING", "BLOCKED"])
    stuck.release.set()
    assert await run == 2


async def test_the_next_run_waits_for_what_the_last_one_still_uses(desk: DeskAndEngine, stuck: Stuck) -> None:
    """A run does not wait for ever for a call that cannot be stopped; the GPU is in use all the same."""
    run = asyncio.create_task(desk.engine.run(stuck.task().with_constraints(gpu=1)))
    await eventually(lambda: stuck.running)
    run.cancel()
    await asyncio.wait({run})
    second = asyncio.create_task(desk.engine.run(next_one(stuck)))
    await eventually(lambda: desk.told("after") == ["BLOCKED"])
    stuck.release.set()
    assert await second == 0


def in_scope(desk: Desk) -> list[int]:
    """Return how many tasks in scope ran, according to each report with a pause."""
    return [
        report["in_scope_running"] for report in desk.reports if any("pause" in t for t in report["applied"])
    ]


def test_what_was_in_use_is_free_on_another_loop(stuck: Stuck) -> None:
    """When the loop is closed, the end of a call is no longer reported, and nothing waits for it."""
    engine = Engine(system_resources={"gpu": 1}, stop_timeout=0.01)

    async def give_up() -> None:
        run = asyncio.create_task(engine.run(stuck.task().with_constraints(gpu=1)))
        await eventually(lambda: stuck.running)
        run.cancel()
        await asyncio.wait({run})

    async def again() -> int:
        async with time_limit(LIMIT):
            return await engine.run(next_one(stuck))

    asyncio.run(give_up())
    assert asyncio.run(again()) == 1
