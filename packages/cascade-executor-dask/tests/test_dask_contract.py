"""DaskExecutor passes the suite that every executor must pass."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade.executors.dask import DaskExecutor
from cascade.interfaces import Executor
from cascade.testkit import eventually
from cascade.testkit.executor import Ability, ExecutorContract

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # Dask takes long where others work too


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster, for all tests of the module."""
    script = str(Path(__file__).with_name("cluster.py"))
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        yield program.stdout.readline().strip()
        program.communicate(timeout=30)


class TestDaskExecutor(ExecutorContract):
    abilities = frozenset({Ability.PICKLES, Ability.COUNTS, Ability.SURVIVES})
    patience = 60.0

    @pytest.fixture(autouse=True)
    def _address(self, cluster: str) -> None:
        self.address = cluster

    async def make(self) -> Executor:
        await eventually(self._is_whole, self.patience)
        return DaskExecutor(self.address)

    async def _is_whole(self) -> bool:
        """Tell whether the cluster has put new workers in the place of those that a test has killed."""
        executor = DaskExecutor(self.address)
        await executor.start()
        await executor.close()
        return executor.workers == 2
