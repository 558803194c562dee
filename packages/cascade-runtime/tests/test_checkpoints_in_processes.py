"""Tasks in worker processes report progress and values, and obey pause and cancel at their checkpoints."""

import asyncio
import contextvars
import os
import random
import signal
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, limits_of

from cascade.interfaces import (
    DataEvent,
    ExecutorUnavailable,
    ProgressEvent,
    StepInfo,
    TaskState,
    TaskStateEvent,
    UsageError,
    WorkerLostError,
)
from cascade.runtime import Engine, LocalConnector, LocalHub, ProcessExecutor, checkpoint, publish, step
from cascade.spec import task
from cascade.testkit import eventually

pytestmark = pytest.mark.process

LIMIT = 20.0


@task
def long(folder: str) -> int:
    """Go from checkpoint to checkpoint until a file ``end`` exists; return how many there were."""
    place, passed = Path(folder), 0
    (place / "worker").write_text(str(os.getpid()))
    while not (place / "end").exists():
        passed += 1
        checkpoint(done=passed, total=10**9, message="going on", unit="steps")  # type: ignore[unused-awaitable]
        (place / "passed").write_text(str(passed))
        time.sleep(0.001)
    return passed


@task
def measured() -> StepInfo:
    publish("temperature", {"celsius": 21.5})
    return step()


@task
def odd(done: Any) -> str:
    try:
        checkpoint(done=done)  # type: ignore[unused-awaitable]
    except UsageError as exc:
        return str(exc)
    return "reported"


@task
def flood() -> str:
    """Report more than a pipe holds while nothing may block."""
    call = contextvars.copy_context()
    threads = [threading.Thread(target=call.copy().run, args=(checkpoint,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    thread = threading.Thread(target=checkpoint)  # knows nothing of the task
    thread.start()
    thread.join()
    for n in range(100):
        publish("row", ["x" * 10_000, n])
    return "ended"


def stand_firm(folder: str, swallow: bool) -> None:
    """Go from checkpoint to checkpoint, with what ends that in ``errors``; swallow a cancel and reach no further one."""
    place = Path(folder)
    (place / "worker").write_text(str(os.getpid()))
    try:
        try:
            while True:
                checkpoint()  # type: ignore[unused-awaitable]
                (place / "passed").touch()
                time.sleep(0.001)
        except asyncio.CancelledError as exc:
            note(place, exc)
            if not swallow:
                raise
        while True:
            time.sleep(0.001)
    except SystemExit as exc:
        note(place, exc)
        raise


def note(place: Path, error: BaseException) -> None:
    with (place / "errors").open("a") as file:
        file.write(f"{type(error).__name__}\n")


class DeskAndEngine(Desk):
    """Who steers an engine whose tasks run in processes."""

    def __init__(self) -> None:
        self.hub = hub = LocalHub()
        super().__init__(hub)
        self.executor = ProcessExecutor(2)
        self.engine = Engine(connector=LocalConnector(hub, source_id="line-3"), executor=self.executor)
        self.events: list[Any] = []
        for kind in (TaskStateEvent, ProgressEvent, DataEvent):
            self.engine.bus.subscribe(kind, self.events.append)

    def states(self) -> list[str]:
        return [e.state.value for e in self.events if isinstance(e, TaskStateEvent) and e.task_name == "long"]

    async def paused(self) -> None:
        await self.put("task:long", "pause")
        await eventually(lambda: self.states()[-1:] == ["BLOCKED"], LIMIT)


@pytest.fixture
async def desk() -> AsyncIterator[DeskAndEngine]:
    async with DeskAndEngine() as made:
        yield made
        await made.executor.close()


def number_in(file: Path) -> int:
    return int(file.read_text() or 0) if file.exists() else 0


@pytest.mark.full
async def test_a_task_in_a_process_waits_while_it_is_paused(desk: DeskAndEngine, tmp_path: Path) -> None:
    """It is reported as blocked only when it waits; from then on it does nothing until the pause is lifted."""
    run = asyncio.create_task(desk.engine.run(long(str(tmp_path))))
    await eventually(lambda: number_in(tmp_path / "passed"), LIMIT)
    await desk.paused()
    passed = (tmp_path / "passed").read_text()
    (tmp_path / "passed").write_text("")
    await desk.put("task:long", "concurrency", limit=1)  # another round of directives
    await desk.engine.run(measured())  # in the meantime
    assert (tmp_path / "passed").read_text() == ""
    (tmp_path / "end").touch()
    await desk.lift("task:long", "pause")
    assert await run == int(passed) + 1
    assert desk.states() == ["RUNNING", "BLOCKED", "RUNNING", "COMPLETED"]


@pytest.mark.full
async def test_progress_is_reported_at_most_every_half_second(desk: DeskAndEngine, tmp_path: Path) -> None:
    """Hundreds of checkpoints, few reports, each with its message and unit."""
    run = asyncio.create_task(desk.engine.run(long(str(tmp_path))))

    def reported() -> list[ProgressEvent]:
        return [event for event in desk.events if isinstance(event, ProgressEvent)]

    await eventually(lambda: number_in(tmp_path / "passed") > 20 + 5 * len(reported()), LIMIT)
    (tmp_path / "end").touch()
    passed, reports = await run, reported()
    assert 1 <= len(reports) < passed / 2
    assert {(event.total, event.message, event.unit) for event in reports} == {(10**9, "going on", "steps")}


async def test_a_limit_counts_the_time_allowed_to_work(
    desk: DeskAndEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still while the task waits at a checkpoint; the rest counts when the task goes on."""
    limits = limits_of(3600, monkeypatch)
    run = asyncio.create_task(desk.engine.run(long(str(tmp_path)).with_timeout(3600)))
    await eventually(lambda: number_in(tmp_path / "passed"), LIMIT)
    (limit,) = limits
    until = limit.when()
    await desk.paused()
    assert limit.when() is None
    await desk.lift("task:long", "pause")
    await eventually(lambda: desk.states()[-1:] == ["RUNNING"], LIMIT)
    assert until is not None
    assert (limit.when() or 0) > until
    (tmp_path / "end").touch()
    await run


@pytest.mark.full
@pytest.mark.parametrize("how", ["killed", "cancelled"])
async def test_a_paused_worker_can_be_lost_or_stopped(how: str, desk: DeskAndEngine, tmp_path: Path) -> None:
    """Its task fails or is cancelled at once, and its process has ended."""
    run = asyncio.create_task(desk.engine.run(long(str(tmp_path))))
    await eventually(lambda: number_in(tmp_path / "passed"), LIMIT)
    await desk.paused()
    worker = number_in(tmp_path / "worker")
    if how == "killed":
        os.kill(worker, signal.SIGKILL)
    else:
        run.cancel()
    with pytest.raises(WorkerLostError if how == "killed" else asyncio.CancelledError):
        await run
    await eventually(lambda: not Path(f"/proc/{worker}").exists(), LIMIT)
    assert desk.states()[-1] == ("FAILED" if how == "killed" else "CANCELLED")


@pytest.fixture
def long_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill no worker that stands still for seconds."""
    for module in ("_worker_process", "_worker_pool"):
        monkeypatch.setattr(f"cascade.runtime.executors.{module}.STOP_TIMEOUT", LIMIT)


@pytest.mark.usefixtures("long_stop")
@pytest.mark.parametrize("how", ["cancelled", "closed", "cancelled and closed"])
@pytest.mark.parametrize(
    ("swallow", "errors"), [(False, ["CancelledError"]), (True, ["CancelledError", "SystemExit"])]
)
async def test_a_call_is_cancelled_at_its_checkpoint_before_it_is_stopped(
    how: str, swallow: bool, errors: list[str], tmp_path: Path
) -> None:
    """Also when the executor is closed. One that swallows that, and reaches no further checkpoint, is stopped."""
    executor = ProcessExecutor(1)
    call = asyncio.create_task(executor.run(stand_firm, (str(tmp_path), swallow), {}))
    await eventually((tmp_path / "passed").exists, LIMIT)
    if "cancelled" in how:
        call.cancel()
    if how == "cancelled and closed":
        await asyncio.wait([call])
    if "closed" in how:
        await executor.close()
    if how == "closed":
        with pytest.raises(ExecutorUnavailable, match="closed while the task ran"):
            await call
    else:
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await executor.settle(LIMIT) == 0
    assert (tmp_path / "errors").read_text().split() == errors
    await executor.close()


@pytest.mark.parametrize(
    ("done", "answer"),
    [(3, "reported"), (True, "reported"), ("x", "cs.checkpoint(done=): needs a number, not 'x'")],
)
async def test_what_is_no_number_is_refused(done: Any, answer: str, desk: DeskAndEngine) -> None:
    """In one line, in the task."""
    assert await desk.engine.run(odd(done)) == answer


async def test_a_flood_of_values_blocks_nothing(desk: DeskAndEngine) -> None:
    """A megabyte of values arrives in order; threads of the task may have checkpoints."""
    assert await desk.engine.run(flood()) == "ended"
    rows = [event.data[1] for event in desk.events if isinstance(event, DataEvent)]
    assert rows == list(range(100))


@pytest.mark.parametrize("rounds", [25, pytest.param(1_000, marks=pytest.mark.nightly)])
async def test_no_directive_is_lost(rounds: int, tmp_path: Path, seeded_random: random.Random) -> None:
    """Pauses and their ends follow each other at random times while eight workers loop; each ends in its state."""
    workers = 8 if rounds > 100 else 3
    async with DeskAndEngine() as desk:
        desk.executor = ProcessExecutor(workers)
        desk.engine = Engine(connector=LocalConnector(desk.hub, source_id="line-4"), executor=desk.executor)
        states: dict[str, TaskState] = {}
        desk.engine.bus.subscribe(TaskStateEvent, lambda event: states.update({event.task_id: event.state}))
        folders = [tmp_path / str(n) for n in range(workers)]
        for folder in folders:
            folder.mkdir()
        run = asyncio.create_task(desk.engine.run([long(str(folder)) for folder in folders]))
        await eventually(lambda: all(number_in(folder / "passed") for folder in folders), LIMIT)
        for _ in range(rounds):
            await desk.put("task:long", "pause")
            if seeded_random.random() < 0.5:
                await eventually(lambda: set(states.values()) == {TaskState.BLOCKED}, LIMIT)
            await desk.lift("task:long", "pause")
            if seeded_random.random() < 0.5:
                await eventually(lambda: set(states.values()) == {TaskState.RUNNING}, LIMIT)
        await desk.put("task:long", "pause")
        await eventually(lambda: set(states.values()) == {TaskState.BLOCKED}, LIMIT)
        for folder in folders:
            (folder / "end").touch()
        await desk.lift("task:long", "pause")
        assert len(await run) == workers
        await desk.executor.close()
