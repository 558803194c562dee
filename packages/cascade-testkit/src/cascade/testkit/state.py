"""The contract suite of state backends: subclass it, state how to make yours, and run pytest.

    class TestMine(StateContract):
        async def make(self):
            return MyState(self.folder)

        async def lose(self, backend):
            await backend.drop_connections()

:class:`MemoryState` is a backend for tests.
"""

from __future__ import annotations

from cascade.testkit._state.lists import Lists
from cascade.testkit._state.memory import MemoryJournal, MemoryState, StoredRun
from cascade.testkit._state.recording import Recording
from cascade.testkit._state.resuming import Resuming

__all__ = ["MemoryJournal", "MemoryState", "StateContract", "StoredRun"]


class StateContract(Recording, Resuming, Lists):
    """Every section of the contract. Give ``make`` and ``lose``; ``timeout`` may be changed."""
