"""Tasks on a cluster report progress and values, and obey pause and cancel at their checkpoints."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from cascade.executors.dask import DaskExecutor, _worker_side
from cascade.executors.dask._calls import ClusterCalls
from cascade.executors.dask._worker_side import WINDOW
from cascade.interfaces import (
    DataEvent,
    ProgressEvent,
    StepInfo,
    TaskCancelledError,
    TaskState,
    TaskStateEvent,
    TaskTimeoutError,
)
from cascade.runtime import Engine, LocalConnector, LocalHub, checkpoint, publish, step
from cascade.spec import task
from cascade.testkit import eventually
from cascade.testkit._executor import calls

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # Dask is slow on a busy machine

LIMIT = 60.0


@task
def long(folder: str) -> int:
    """Go from checkpoint to checkpoint until a file ``end`` exists; write ``cancelled`` if one raises."""
    place, passed = Path(folder), 0
    try:
        while not (place / "end").exists():
            passed += 1
            checkpoint(done=passed, total=10**9, message="going on", unit="steps")  # type: ignore[unused-awaitable]
            (place / "passed").write_text(str(passed))
            time.sleep(0.001)
    except asyncio.CancelledError:
        (place / "cancelled").touch()
        raise
    return passed


@task
def measured() -> StepInfo:
    publish("temperature", {"celsius": 21.5})
    return step()


@task
def flood(count: int) -> str:
    """Publish values of 10,000 characters as fast as it can."""
    for n in range(count):
        publish("row", [n, "x" * 10_000])
    return "ended"


class Desk:
    """Steers an engine whose tasks run on a cluster; its workers are threads of this process unless told otherwise."""

    def __init__(self, *, workers: int = 2, processes: bool = False) -> None:
        self.hub = LocalHub()
        self.writer = LocalConnector(self.hub)
        self.executor = DaskExecutor(workers=workers, processes=processes)
        self.engine = Engine(
            connector=LocalConnector(self.hub, source_id="line-3"), executor=self.executor, stop_timeout=0.01
        )
        self.events: list[Any] = []
        self.reports: list[dict[str, Any]] = []
        for kind in (TaskStateEvent, ProgressEvent, DataEvent):
            self.engine.bus.subscribe(kind, self.events.append)

    async def __aenter__(self) -> "Desk":
        await self.writer.connect()
        await self.writer.subscribe("cascade/state/line-3/constraints", self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.executor.close()
        await self.writer.disconnect()

    async def _hear(self, topic: str, payload: dict[str, Any]) -> None:
        self.reports.append(payload)

    async def put(self, kind: str) -> None:
        await self.writer.publish(f"cascade/constraints/task/long/@{kind}", {"type": kind}, 1, retain=True)

    async def lift(self, kind: str) -> None:
        await self.writer.publish(f"cascade/constraints/task/long/@{kind}", None, 1, retain=True)

    def states(self) -> list[TaskState]:
        return [e.state for e in self.events if isinstance(e, TaskStateEvent) and e.task_name == "long"]

    async def until_state(self, state: TaskState) -> None:
        await eventually(lambda: self.states()[-1:] == [state], LIMIT)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk() as made:
        yield made


async def test_progress_values_and_the_step_reach_the_engine(desk: Desk, tmp_path: Path) -> None:
    """As from a thread: progress with its message and unit, ``cs.publish``, and the key of ``cs.step``."""
    told = await desk.engine.run(measured())
    (data,) = [event for event in desk.events if isinstance(event, DataEvent)]
    assert (data.name, data.data) == ("temperature", {"celsius": 21.5})
    assert (told.run_id, told.key, told.name) == (data.run_id, data.task_id, "measured")
    assert len(told.idempotency_key) == 32
    run = asyncio.create_task(desk.engine.run(long(str(tmp_path))))
    await eventually(lambda: any(isinstance(event, ProgressEvent) for event in desk.events), LIMIT)
    (tmp_path / "end").touch()
    await run
    first = next(event for event in desk.events if isinstance(event, ProgressEvent))
    assert (first.done, first.total, first.message, first.unit) == (1, 10**9, "going on", "steps")


async def test_a_task_that_publishes_faster_than_its_engine_takes_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bounded amount is on the way; in the end every value has come, in order."""
    confirm, confirmed = ClusterCalls.confirm, list[tuple[Any, ...]]()
    monkeypatch.setattr(ClusterCalls, "confirm", lambda *told: confirmed.append(told))
    run = asyncio.create_task(desk.engine.run(flood(200)))

    def waits() -> bool:
        sessions = [*_worker_side._sessions.values()]
        return any(call.window.waiting for session in sessions for call in [*session._running.values()])

    await eventually(waits, LIMIT)
    enough = WINDOW // 10_000 - 1
    await eventually(lambda: len(values(desk)) >= enough, LIMIT)
    assert len(values(desk)) <= WINDOW // 10_000
    await eventually(lambda: bool(confirmed), LIMIT)  # a value is an event before its room is confirmed
    monkeypatch.setattr(ClusterCalls, "confirm", confirm)
    calls, call, total = confirmed[-1]
    desk.executor._opened().post(lambda _: confirm(calls, call, total))
    assert await run == "ended"
    await eventually(lambda: len(values(desk)) == 200, LIMIT)
    assert [n for n, _ in values(desk)] == [*range(200)]


def values(desk: Desk) -> list[Any]:
    """Return what tasks have published."""
    return [event.data for event in desk.events if isinstance(event, DataEvent)]


async def test_a_limit_stands_still_while_the_task_is_paused(desk: Desk, tmp_path: Path) -> None:
    """It has no end in a pause; what was left of it counts afterwards, and ends the attempt."""
    limits: list[asyncio.Timeout] = []
    make = asyncio.timeout

    def recorded(delay: float | None) -> asyncio.Timeout:
        made = make(delay)
        if delay == 3600:
            limits.append(made)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "timeout", recorded)
        run = asyncio.create_task(desk.engine.run(long(str(tmp_path)).with_timeout(3600)))
        await eventually((tmp_path / "passed").exists, LIMIT)
    (limit,) = limits
    await desk.put("pause")
    await desk.until_state(TaskState.BLOCKED)
    assert limit.when() is None
    await desk.lift("pause")
    await desk.until_state(TaskState.RUNNING)
    assert limit.when() is not None
    limit.reschedule(asyncio.get_running_loop().time())
    with pytest.raises(TaskTimeoutError):
        await run
    await eventually((tmp_path / "cancelled").exists, LIMIT)


@pytest.mark.parametrize(
    "rounds", [25, pytest.param(1_000, marks=[pytest.mark.nightly, pytest.mark.timeout(1_800)])]
)
async def test_no_directive_is_lost(rounds: int, tmp_path: Path, seeded_random: random.Random) -> None:
    """Pauses and their ends follow each other at random times while all workers loop; each call ends in its state."""
    workers = 8 if rounds > 100 else 3
    states: dict[str, TaskState] = {}

    @task(name="long")  # nested: so it reaches other processes, which cannot import this module
    def go_on(folder: str) -> None:
        while not (Path(folder) / "end").exists():
            checkpoint()  # type: ignore[unused-awaitable]
            (Path(folder) / "passed").touch()
            time.sleep(0.001)

    def are_all(state: TaskState) -> bool:
        return set(states.values()) == {state}

    async with Desk(workers=workers, processes=rounds > 100) as desk:
        desk.engine.bus.subscribe(TaskStateEvent, lambda event: states.update({event.task_id: event.state}))
        folders = [tmp_path / str(n) for n in range(workers)]
        for folder in folders:
            folder.mkdir()
        run = asyncio.create_task(desk.engine.run([go_on(str(folder)) for folder in folders]))
        await eventually(lambda: all((folder / "passed").exists() for folder in folders), LIMIT)
        for _ in range(rounds):
            await desk.put("pause")
            if seeded_random.random() < 0.5:
                await eventually(lambda: are_all(TaskState.BLOCKED), LIMIT)
            await desk.lift("pause")
            if seeded_random.random() < 0.5:
                await eventually(lambda: are_all(TaskState.RUNNING), LIMIT)
        await desk.put("pause")
        await eventually(lambda: are_all(TaskState.BLOCKED), LIMIT)
        for folder in folders:
            (folder / "end").touch()
        await desk.lift("pause")
        assert len(await run) == workers


async def test_a_call_that_is_not_stopped_is_counted_until_it_has_ended(desk: Desk, tmp_path: Path) -> None:
    """Its task is over, and the report says that something in scope runs; then that nothing does."""
    hold = task(name="long")(calls.hold)

    @task
    async def other() -> None:
        await eventually(ended.is_set, LIMIT)

    ended = asyncio.Event()
    run = asyncio.create_task(desk.engine.run([hold(str(tmp_path)), other()], on_failure="continue"))
    await eventually((tmp_path / "started").exists, LIMIT)
    await desk.writer.publish(
        "cascade/constraints/task/long/@cancel",
        {"type": "cancel", "expires_at": time.time() + 600},
        1,
        retain=True,
    )
    await desk.until_state(TaskState.CANCELLED)
    await desk.put("pause")
    await eventually(lambda: desk.reports and len(desk.reports[-1]["applied"]) == 2, LIMIT)
    assert desk.reports[-1]["in_scope_running"] == 1
    (tmp_path / "release").touch()
    await eventually(lambda: desk.reports[-1]["in_scope_running"] == 0, LIMIT)
    assert (tmp_path / "ended").exists()
    ended.set()
    with pytest.raises(ExceptionGroup) as raised:
        await run
    assert [type(error) for error in raised.value.exceptions] == [TaskCancelledError]


PROGRAM = """
import asyncio, sys
from cascade.executors.dask import DaskExecutor
from cascade.testkit._executor import calls
from cascade.testkit._executor.contexts import Recorded
from cascade.interfaces import Directive

class Told(Recorded):
    def arrived(self, *, paused):
        print("paused", flush=True)

async def main():
    context = Told(Directive.PAUSE)
    await DaskExecutor(sys.argv[1]).run_with(context, calls.tidy_at_checkpoint, (sys.argv[2],), {})

asyncio.run(main())
"""


@pytest.mark.full
async def test_a_paused_call_ends_when_its_engine_has_died(tmp_path: Path) -> None:
    """It would wait for ever, and its worker with it."""
    async with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        asynchronous=True,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        command = [sys.executable, "-c", PROGRAM, cluster.scheduler_address, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout
            assert await asyncio.to_thread(program.stdout.readline) == "paused\n"
            program.send_signal(signal.SIGKILL)
        await eventually((tmp_path / "tidied").exists, LIMIT)
        assert not (tmp_path / "passed").exists()
