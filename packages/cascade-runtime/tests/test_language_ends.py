"""However a run ends, on whatever its tasks run: observers hear the end last, and nothing is left."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from observers import watch
from simple_tasks import give
from worker_calls import calls, children

from cascade.interfaces import LifecycleEvent, RunStatus, TaskState, TaskStateEvent, TaskTimeoutError
from cascade.runtime import Engine, LocalConnector, LocalHub, ProcessExecutor, TelemetrySubscriber
from cascade.spec import LazyResult, inject, resource, task
from cascade.testkit import eventually, no_leaks

pytestmark = pytest.mark.process  # left out of the session unit

MODES = ["async", "thread", "process"]
ENDS = ["success", "failure", "timeout", "cancellation"]


@task
async def hold_on_loop(folder: str) -> None:
    (Path(folder) / "started").touch()
    await asyncio.Event().wait()


@task
async def fail_when(path: Path) -> None:
    await eventually(path.exists)
    raise ValueError("boom")


def holding(mode: str, folder: Path) -> LazyResult[Any]:
    """A task that runs until it is stopped, or a file releases it."""
    if mode == "async":
        return hold_on_loop(str(folder)).named("held")
    return task(name="held", mode=mode)(calls.hold)(str(folder))


def working(mode: str) -> LazyResult[Any]:
    return give(1) if mode == "async" else task(mode=mode)(calls.echo)(1)


async def end(engine: Engine, how: str, mode: str, folder: Path) -> None:
    """Bring a run to one kind of end."""
    held = holding(mode, folder)
    if how == "success":
        assert await engine.run(working(mode)) == 1
    elif how == "failure":
        with pytest.raises(ValueError, match="boom"):
            await engine.run([held, fail_when(folder / "started")])
    elif how == "timeout":
        with pytest.raises(TaskTimeoutError, match="'held' took longer"):
            await engine.run(held.with_timeout(0.05))
    else:
        run = asyncio.create_task(engine.run(held))
        await eventually((folder / "started").exists)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("mode", MODES)
async def test_nothing_is_left_after_a_run(mode: str, how: str, tmp_path: Path) -> None:
    """No task, thread, process, socket or open file: the engine closes the executors that it has made."""
    await Engine().run(working(mode))  # what Python opens once and keeps is there from here on
    before = children()
    async with no_leaks():
        await end(Engine(stop_timeout=0.2), how, mode, tmp_path)
        (tmp_path / "release").touch()  # a thread cannot be stopped: let it go
        await eventually(lambda: not children().keys() - before.keys())


@pytest.mark.parametrize("how", ["failure", "cancellation"])
@pytest.mark.parametrize("mode", MODES)
async def test_other_tasks_are_cancelled_and_the_end_is_reported_last(
    mode: str, how: str, tmp_path: Path
) -> None:
    """Rows 26 and 27: siblings are reported as cancelled, ENGINE_STOPPED follows with the status, then nothing."""
    engine = Engine(stop_timeout=0.2)
    told = watch(engine)
    await end(engine, how, mode, tmp_path)
    (tmp_path / "release").touch()
    await eventually(lambda: mode != "thread" or (tmp_path / "ended").exists())
    states = {e.task_name: e.state for e in told if isinstance(e, TaskStateEvent)}
    assert states["held"] is TaskState.CANCELLED
    assert isinstance(told[-1], LifecycleEvent)
    assert told[-1].status is (RunStatus.FAILED if how == "failure" else RunStatus.CANCELLED)


def refusing(mode: str, folder: Path) -> LazyResult[Any]:
    """A task that does not end when it is cancelled, until a file releases it or it is killed."""

    @task
    async def refuse_on_loop() -> None:
        (folder / "started").touch()
        while not (folder / "release").exists():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)
        (folder / "ended").touch()

    if mode == "async":
        return refuse_on_loop().named("held")
    return task(name="held", mode=mode)(calls.hold if mode == "thread" else calls.refuse)(str(folder))


@pytest.mark.parametrize("mode", MODES)
async def test_no_event_follows_the_last_one(mode: str, tmp_path: Path) -> None:
    """Row 26: a sibling that outlives its run has nothing more to say, and no event_id comes twice."""
    before, hub, heard = children(), LocalHub(), []

    async def hear(topic: str, data: dict[str, Any]) -> None:
        heard.append(data)

    async with LocalConnector(hub) as reader, LocalConnector(hub) as connector:
        await reader.subscribe("cascade/telemetry/#", hear)
        engine = Engine(connector=connector, stop_timeout=0.01)
        TelemetrySubscriber(engine.bus, connector)  # which stays on the bus when the run is over
        with pytest.raises(ValueError, match="boom"):
            await engine.run([refusing(mode, tmp_path), fail_when(tmp_path / "started")])
        (tmp_path / "release").touch()
        await eventually(
            lambda: (
                (tmp_path / "ended").exists() or (mode == "process" and not children().keys() - before.keys())
            )
        )
        await asyncio.sleep(0)  # what had to be said would have been said by now
        await connector.flush(1)
        await eventually(lambda: heard and heard[-1]["body"].get("event") == "ENGINE_STOPPED")
    assert len({message["event_id"] for message in heard}) == len(heard)
    assert [message["seq"] for message in heard] == list(range(len(heard)))


@pytest.mark.parametrize("how", ["failure", "cancellation"])
@pytest.mark.parametrize("mode", MODES)
async def test_resources_close_in_reverse_order_wherever_tasks_run(
    mode: str, how: str, tmp_path: Path
) -> None:
    """Row 27: what a run has opened is closed after its tasks were stopped, the last first."""
    log: list[str] = []

    @resource
    def outer() -> Iterator[int]:
        yield 1
        log.append("outer")

    @resource
    def inner(below: int = inject(outer)) -> Iterator[int]:
        yield below + 1
        log.append("inner")

    @task
    async def use(value: int = inject(inner)) -> int:
        return value

    held = holding(mode, tmp_path).after(use())
    targets = [held, fail_when(tmp_path / "started")] if how == "failure" else [held]
    run = asyncio.create_task(Engine(stop_timeout=0.2).run(targets))
    await eventually((tmp_path / "started").exists)
    if how == "cancellation":
        run.cancel()
    await asyncio.wait({run})
    assert log == ["inner", "outer"]
    assert run.cancelled() or isinstance(run.exception(), ValueError)
    (tmp_path / "release").touch()


@pytest.mark.full
async def test_a_worker_killed_in_mid_task_does_not_change_the_result(tmp_path: Path) -> None:
    """With reruns, a task that kills its process, and one whose process is killed from outside, run again."""
    before = children()
    executor = ProcessExecutor(1, reruns=1)
    dies = task(calls.die_at_first)(str(tmp_path))
    held = task(calls.hold)(str(tmp_path)).after(dies)
    run = asyncio.create_task(Engine(executor=executor).run([dies, held, give(3)]))
    await eventually((tmp_path / "started").exists)
    (worker,) = children().keys() - before.keys()
    (tmp_path / "started").unlink()
    os.kill(worker, signal.SIGKILL)
    await eventually((tmp_path / "started").exists)
    (tmp_path / "release").touch()
    assert await run == ["survived", "released", 3]
    await executor.close()
    assert not children().keys() - before.keys()
