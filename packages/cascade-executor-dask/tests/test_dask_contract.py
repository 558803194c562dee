"""DaskExecutor passes the suite that every executor must pass."""

from collections.abc import Iterator

import dask
import pytest
from distributed import LocalCluster

from cascade.executors.dask import DaskExecutor
from cascade.interfaces import Executor
from cascade.testkit.executor import Ability, ExecutorContract


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster with two workers, for all tests of the module."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as shared,
    ):
        yield shared.scheduler_address


class TestDaskExecutor(ExecutorContract):
    abilities = frozenset({Ability.PICKLES, Ability.COUNTS, Ability.SURVIVES})
    patience = 20.0

    @pytest.fixture(autouse=True)
    def _address(self, cluster: str) -> None:
        self.address = cluster

    async def make(self) -> Executor:
        return DaskExecutor(self.address)
