"""DaskExecutor passes the suite that every executor must pass."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from cascade.executors.dask import DaskExecutor
from cascade.interfaces import Executor
from cascade.testkit import eventually
from cascade.testkit.executor import Ability, ExecutorContract

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # Dask is slow on a busy machine


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of one cluster for all tests of the module."""
    script = str(Path(__file__).with_name("cluster.py"))
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        yield program.stdout.readline().strip()
        program.communicate()  # it ends because its stdin is closed


class TestDaskExecutor(ExecutorContract):
    abilities = frozenset({Ability.PICKLES, Ability.COUNTS, Ability.SURVIVES})
    timeout = 60.0

    @pytest.fixture(autouse=True)
    def _address(self, cluster: str) -> None:
        self.address = cluster

    async def make(self) -> Executor:
        await eventually(self._has_all_workers, self.timeout)
        return DaskExecutor(self.address, connect_timeout=self.timeout)

    async def _has_all_workers(self) -> bool:
        """Return whether the cluster has replaced the workers that a test killed.

        The scheduler knows a worker before the nanny does. A worker that is killed in between is not replaced.
        """
        async with Client(
            self.address, asynchronous=True, set_as_default=False, timeout=self.timeout
        ) as client:
            known = await client.nthreads()
            started = await client.run(lambda dask_worker: dask_worker.worker_address, nanny=True)
        return len(known) == 2 and known.keys() == {*started.values()}
