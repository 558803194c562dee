"""However a run on a Dask cluster ends: ENGINE_STOPPED is the last event, and calls are abandoned."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascade.executors.dask import DaskExecutor
from cascade.interfaces import Lifecycle, LifecycleEvent, RunStatus, TaskState, TaskStateEvent
from cascade.runtime import Engine
from cascade.spec import task
from cascade.testkit import eventually
from cascade.testkit._executor import calls

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # Dask is slow on a busy machine

wait = task(name="waiting")(calls.hold)


@task
async def fail_when(path: Path) -> None:
    await eventually(path.exists, 60)
    raise ValueError("boom")


@pytest.fixture
async def executor() -> AsyncIterator[DaskExecutor]:
    cluster = DaskExecutor(workers=2)
    yield cluster
    await cluster.close()


def watch(engine: Engine) -> list[Any]:
    events: list[Any] = []
    engine.bus.subscribe(object, events.append)
    return events


def assert_ended(events: list[Any], status: RunStatus) -> None:
    assert isinstance(events[-1], LifecycleEvent)
    assert (events[-1].event, events[-1].status) == (Lifecycle.ENGINE_STOPPED, status)
    states = [e.state for e in events if isinstance(e, TaskStateEvent) and e.task_name == "waiting"]
    assert states == [TaskState.RUNNING, TaskState.CANCELLED]


@pytest.mark.full
async def test_row_26_a_failure_ends_the_run_beside_a_call_on_the_cluster(
    executor: DaskExecutor, tmp_path: Path
) -> None:
    """The other call on the cluster is abandoned, the failure is raised, ENGINE_STOPPED is the last event."""
    engine = Engine(executor=executor, stop_timeout=0.1)
    events = watch(engine)
    with pytest.raises(ValueError, match="boom"):
        await engine.run([wait(str(tmp_path)), fail_when(tmp_path / "started")])
    assert_ended(events, RunStatus.FAILED)
    (tmp_path / "release").touch()


@pytest.mark.full
async def test_row_27_a_cancelled_run_abandons_its_call_on_the_cluster(
    executor: DaskExecutor, tmp_path: Path
) -> None:
    """run() raises CancelledError, and the next run can use the executor."""
    engine = Engine(executor=executor, stop_timeout=0.1)
    events = watch(engine)
    run = asyncio.create_task(engine.run(wait(str(tmp_path))))
    await eventually((tmp_path / "started").exists, 60)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert_ended(events, RunStatus.CANCELLED)
    (tmp_path / "release").touch()
    assert await engine.run(task(calls.echo)(7)) == 7
