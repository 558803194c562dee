"""Threads that outlive an attempt or a task: their next checkpoint stops them, and nothing more is reported about them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from desk import Desk, limits_of

from cascade.interfaces import ProgressEvent, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub, checkpoint
from cascade.spec import task
from cascade.testkit import eventually

"""Seconds after which what has not happened is a failure."""


class Long:
    """A task in a thread that goes from checkpoint to checkpoint until one of them stops it."""

    def __init__(self) -> None:
        self.begun = 0
        self.passed = 0
        self.ended = 0
        self.task = task(name="long", mode="thread")(self._run)

    def has_ended(self, times: int) -> bool:
        return self.ended == times

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
    async with DeskAndEngine() as made:
        yield made


async def finish(desk: DeskAndEngine, run: asyncio.Task[Any]) -> None:
    desk.release.set()
    with pytest.raises(ExceptionGroup):
        await run


@pytest.mark.parametrize("held", [False, True])
async def test_a_thread_of_a_cancelled_task_stops_while_the_run_goes_on(
    desk: DeskAndEngine, held: bool
) -> None:
    """It stops at its next checkpoint, also when a pause holds it there; CANCELLED stays its last event."""
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


async def test_the_time_limit_of_a_paused_thread_stands_still(
    desk: DeskAndEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts the time that the task is allowed to work: the rest of it when the pause is lifted."""
    long, limits = Long(), limits_of(3600, monkeypatch)
    run = desk.run(long.task().with_timeout(3600))
    await eventually(lambda: long.passed)
    (limit,) = limits
    for _ in range(2):
        until = limit.when()
        await desk.held()
        assert limit.when() is None
        await desk.lift("task:long", "pause")
        await eventually(lambda: desk.states()[-1:] == ["RUNNING"])
        assert until is not None
        assert (limit.when() or 0) > until
    await desk.put("task:long", "cancel", expires_at=4e9)
    await eventually(lambda: long.ended)
    await finish(desk, run)
