"""SqliteState passes the contract suite of state backends."""

from pathlib import Path

import pytest

from cascade.interfaces import StateBackend, StateUnavailable
from cascade.runtime import SqliteState
from cascade.testkit.state import StateContract

pytestmark = pytest.mark.process  # left out of the session unit


class TestSqliteState(StateContract):
    """With a commit that survives the process only: a real disk is slow."""

    power_safe = False

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "runs"

    async def make(self) -> StateBackend:
        return SqliteState(self.folder, power_safe=self.power_safe)

    async def lose(self, backend: StateBackend) -> None:
        """Drop what is queued, and the lock; the tests of crashes kill real processes."""
        assert isinstance(backend, SqliteState)
        for journal in [*backend._journals]:
            journal._writer.failure = StateUnavailable("test", "killed")
            await journal.close()


class TestPowerSafe(TestSqliteState):
    """With a commit that survives a power cut."""

    power_safe = True
