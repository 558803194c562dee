"""Threads that outlive an attempt or a task: their next checkpoint stops them, and nothing more is told of them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from desk import Desk

from cascade.interfaces import ProgressEvent, TaskState, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub, checkpoint
from cascade.spec import task
from cascade.testkit import eventually

LIMIT = 10.0


class Long:
    """A task in a thread that goes from checkpoint to checkpoint until one of them stops it."""

    def __init__(self) -> None:
        self.begun = 0
        self.passed = 0
        self.ended = 0
        self.task = task(name="long", mode="thread")(self._run)

    def _run(self) -> None:
        self.begun += 1
        try:
            while True:
                checkpoint(done=self.passed)  # type: ignore[unused-awaitable] # in a thread it has waited already
                self.passed += 1
        finally:
            self.ended += 1


class DeskAndEngine(Desk):
    """Who steers an engine, and a task beside that keeps its run going."""

    def __init__(self) -> None:
        hub = LocalHub()
        super().__init__(hub)
        self.engine = Engine(connector=LocalConnector(hub, source_id="line-3"))
        self.release = asyncio.Event()
        self.events: list[Any] = []
        for kind in (TaskStateEvent, ProgressEvent):
            self.engine.bus.subscribe(kind, self.events.append)

    async def beside(self) -> str:
        await self.release.wait()
        return "beside"

    def run(self, lazy: Any) -> asyncio.Task[Any]:
        beside = task(self.beside)
        return asyncio.create_task(self.engine.run([beside(), lazy], on_failure="continue"))

    def states(self) -> list[str]:
        return [
            e.state.value
            for e in self.events
            if getattr(e, "task_name", "") == "long" and hasattr(e, "state")
        ]

    async def held(self) -> None:
        await self.put("task:long", "pause")
        await eventually(lambda: self.states()[-1:] == ["BLOCKED"])


@pytest.fixture
async def desk() -> AsyncIterator[DeskAndEngine]:
    async with DeskAndEngine() as made, asyncio.timeout(LIMIT):
        yield made


async def finish(desk: DeskAndEngine, run: asyncio.Task[Any]) -> None:
    desk.release.set()
    with pytest.raises(ExceptionGroup):
        await run


@pytest.mark.parametrize("held", [False, True])
async def test_a_thread_of_a_cancelled_task_stops_while_the_run_goes_on(
    desk: DeskAndEngine, held: bool
) -> None:
    """It stops at its next checkpoint, also when a pause holds it there; CANCELLED stays its last word."""
    long = Long()
    run = desk.run(long.task())
    await eventually(lambda: long.passed)
    if held:
        await desk.held()
    await desk.put("task:long", "cancel", expires_at=4e9)
    await eventually(lambda: long.ended)
    await desk.lift("task:long", "cancel")
    await desk.put("task:long", "pause")
    await desk.lift("task:long", "pause")
    await finish(desk, run)
    assert desk.states() == ["RUNNING", *(["BLOCKED"] if held else []), "CANCELLED"]


async def test_a_thread_whose_time_is_up_stops_at_the_checkpoint_that_holds_it(desk: DeskAndEngine) -> None:
    """The pause goes on, the thread ends all the same, and nothing follows FAILED when the pause is lifted."""
    long = Long()
    await desk.put("task:long", "pause")
    run = desk.run(long.task().with_timeout(0.3))
    await eventually(lambda: desk.states() == ["BLOCKED"])  # before its start
    await desk.lift("task:long", "pause")
    await eventually(lambda: long.passed)
    await desk.held()
    await eventually(lambda: long.ended)
    await desk.lift("task:long", "pause")
    await finish(desk, run)
    assert desk.states() == ["BLOCKED", "RUNNING", "BLOCKED", "FAILED"]


async def test_a_thread_of_an_earlier_attempt_stops_while_the_next_one_runs(desk: DeskAndEngine) -> None:
    """Each attempt has its own checkpoints: the one whose time is up is over, its successor is not."""
    long = Long()
    run = desk.run(long.task().with_timeout(0.1).with_retry(3))
    await eventually(lambda: long.ended == 3)
    await finish(desk, run)
    assert long.begun == 3
    assert desk.states() == ["RUNNING", "RETRYING", "RETRYING", "FAILED"]


async def test_no_progress_is_told_of_a_task_that_has_ended(desk: DeskAndEngine) -> None:
    """What a thread still says after its time is up reaches nobody."""
    reached, go, said = threading.Event(), threading.Event(), threading.Event()

    @task(name="long", mode="thread")
    def late() -> None:
        reached.set()
        go.wait(LIMIT)
        try:
            checkpoint(done=1)  # type: ignore[unused-awaitable] # in a thread it has waited already
        finally:
            said.set()

    run = desk.run(late().with_timeout(0.05))
    await eventually(lambda: desk.states()[-1:] == ["FAILED"])
    go.set()
    await eventually(said.is_set)
    await finish(desk, run)
    assert [type(e) for e in desk.events if getattr(e, "task_name", "") == "long"] == [TaskStateEvent] * 2
    assert desk.events[-1].state is TaskState.COMPLETED
