"""A cluster object of the program is used, also while it grows or has no worker, and left as it was."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import LocalCluster, Status

from cascade.executors.dask import DaskExecutor
from cascade.interfaces import ExecutorUnavailable
from cascade.runtime import Engine
from cascade.spec import task
from cascade.testkit import eventually

pytestmark = [pytest.mark.process, pytest.mark.full, pytest.mark.timeout(180)]


@task
def rest(number: int, seconds: float = 0.01) -> int:
    time.sleep(seconds)
    return number


@pytest.fixture
def cluster() -> Iterator[Any]:
    made: Any = LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )
    with made:
        yield made


async def test_a_cluster_that_scales_is_used_and_left(cluster: Any) -> None:
    """2,000 calls of 10 ms while it grows from one worker to three and back to one: no call is lost, and it stays as it was scaled."""
    executor = DaskExecutor(cluster=cluster)
    running = asyncio.create_task(Engine(executor=executor).run(rest.map(number=range(2_000))))
    await eventually(lambda: executor.workers == 2, timeout=60)
    cluster.scale(3)
    await eventually(lambda: executor.workers == 6, timeout=60)
    cluster.scale(1)
    await eventually(lambda: executor.workers == 2, timeout=60)
    assert not running.done()
    assert await running == list(range(2_000))
    await executor.close()
    assert cluster.status is Status.running
    assert len(cluster.scheduler_info["workers"]) == 1


async def test_a_run_disconnects_from_the_cluster_of_its_user(cluster: Any) -> None:
    """The user may close the cluster before the next run."""
    executor = DaskExecutor(cluster=cluster)
    others = {*cluster.scheduler.clients}
    assert await Engine(executor=executor).run(rest.map(number=range(3))) == [0, 1, 2]
    await eventually(lambda: {*cluster.scheduler.clients} == others)


@pytest.mark.parametrize(
    ("count", "seconds", "target", "workers"),
    [
        pytest.param(40, 0.3, "50ms", None, id="long calls"),
        pytest.param(1_500, 0.01, "1s", 400, id="short calls"),
    ],
)
async def test_a_cluster_that_adapts_grows_from_nothing(
    cluster: Any, count: int, seconds: float, target: str, workers: int | None
) -> None:
    """Dask counts only what was sent: so a call asks for the first worker, and twice as many as there are threads for more.

    Short calls are little work for it: ``workers=`` has it see more of them. At their end it takes workers away; the calls
    that these have not begun go to others.
    """
    cluster.scale(0)
    await eventually(lambda: not cluster.scheduler_info["workers"], timeout=60)
    cluster.adapt(minimum=0, maximum=3, interval="100ms", target_duration=target)
    executor = DaskExecutor(cluster=cluster, workers=workers)
    running = asyncio.create_task(
        Engine(executor=executor).run(rest.partial(seconds=seconds).map(number=range(count)))
    )
    await eventually(lambda: len(cluster.scheduler_info["workers"]) == 3, timeout=60)
    assert await running == list(range(count))
    await executor.close()


async def test_a_cluster_that_was_closed_is_named(cluster: Any) -> None:
    cluster.close()
    with pytest.raises(
        ExecutorUnavailable, match=r"the LocalCluster of cluster= .* it is closed; give the run"
    ):
        await Engine(executor=DaskExecutor(cluster=cluster)).run(rest(1))
