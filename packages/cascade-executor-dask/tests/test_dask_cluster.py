"""How a local cluster is used and closed; the cluster is a stand-in."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.executors.dask._cluster import _WORKER_CLOSE_TIMEOUT, CLOSE_TIMEOUT, Cluster
from cascade.testkit import time_limit


class Worker:
    """Has as little time to close as it is given; all of them close at the same time."""

    def __init__(
        self, name: str, log: list[tuple[str, float]], closing: asyncio.Barrier, fails: bool
    ) -> None:
        self._name = name
        self._log = log
        self._closing = closing
        self._fails = fails

    async def close(self, timeout: float) -> None:
        await self._closing.wait()
        self._log.append((self._name, timeout))
        if self._fails:
            raise OSError("gone")


def local(**made: Any) -> Cluster:
    """Return a local cluster that has started, as what Dask would have made."""
    cluster = Cluster(None, workers=2, timeout=1.0, cluster={})
    cluster._starting = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
    cluster._starting.set_result(SimpleNamespace(**made))  # type: ignore[union-attr]
    return cluster


@pytest.mark.parametrize("fails", [False, True])
async def test_workers_that_may_be_busy_are_closed_before_their_cluster(fails: bool) -> None:
    """Each one has a second, at the same time; that one is gone already harms nothing."""
    log: list[tuple[str, float]] = []
    closing = asyncio.Barrier(2)

    async def close(timeout: float) -> None:
        log.append(("cluster", timeout))

    workers = {name: Worker(name, log, closing, fails) for name in ("a", "b")}
    async with time_limit():
        await local(workers=workers, close=close).close()
    assert sorted(log[:2]) == [("a", _WORKER_CLOSE_TIMEOUT), ("b", _WORKER_CLOSE_TIMEOUT)]
    assert log[2:] == [("cluster", CLOSE_TIMEOUT)]


async def test_a_local_worker_is_used_when_its_start_has_ended() -> None:
    """Dask does not replace one that dies between its registration and the end of its start."""
    workers = {n: SimpleNamespace(worker_address=address) for n, address in enumerate(["tcp://a", None])}
    cluster = local(workers=workers)
    assert cluster.without_starting({"tcp://a": 1, "tcp://b": 1}) == {"tcp://a": 1}
    workers[1].worker_address = "tcp://b"
    assert cluster.without_starting({"tcp://a": 1, "tcp://b": 1}) == {"tcp://a": 1, "tcp://b": 1}


async def test_a_local_worker_that_dask_has_given_up_is_started_again() -> None:
    """Its successor needed longer than Dask waits, so nothing else would ever replace it."""
    scaled: list[int] = []
    workers = {0: SimpleNamespace(), 1: SimpleNamespace()}
    cluster = local(workers=workers, worker_spec={0: {}, 1: {}}, scale=scaled.append)
    cluster.replace_lost()
    assert scaled == []
    del workers[1]
    cluster.replace_lost()
    assert scaled == [2]


def test_every_worker_of_a_remote_cluster_is_used() -> None:
    """What starts its workers is not known."""
    cluster = Cluster("tcp://host:8786", workers=None, timeout=1.0, cluster={})
    assert cluster.without_starting({"tcp://a": 2}) == {"tcp://a": 2}
