"""DaskExecutor passes the suite that every executor must pass."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade.executors.dask import DaskExecutor
from cascade.interfaces import Executor
from cascade.testkit.executor import Ability, ExecutorContract

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # Dask is slow on a busy machine


class ClusterProgram:
    """A cluster in a program of its own; tests that kill a worker discard it."""

    def __init__(self) -> None:
        self._program: subprocess.Popen[str] | None = None
        self.address = ""

    def ensure(self) -> str:
        """Return the address of a cluster, none of whose workers was killed."""
        if self._program is None:
            script = str(Path(__file__).with_name("cluster.py"))
            self._program = subprocess.Popen(
                [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert self._program.stdout
            self.address = self._program.stdout.readline().strip()
        return self.address

    def discard(self) -> None:
        """End the cluster: it ends when its stdin is closed, or is killed."""
        program, self._program = self._program, None
        if program is None:
            return
        with program:
            try:
                program.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                program.kill()


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterProgram]:
    """One cluster for all tests of the module that kill no worker."""
    program = ClusterProgram()
    yield program
    program.discard()


class TestDaskExecutor(ExecutorContract):
    abilities = frozenset(
        {Ability.PICKLES, Ability.COUNTS, Ability.TRACKS, Ability.STEPS, Ability.CONTEXTS, Ability.SURVIVES}
    )
    timeout = 60.0

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: ClusterProgram, request: pytest.FixtureRequest) -> Iterator[None]:
        self.address = cluster.ensure()
        yield
        if Ability.SURVIVES in getattr(request.function, "cascade_abilities", ()):
            # Dask replaces a worker that dies, but not one that dies in its start, as the next one may.
            cluster.discard()

    async def make(self) -> Executor:
        return DaskExecutor(self.address, connect_timeout=self.timeout)
