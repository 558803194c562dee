"""The runtime's executors pass the suite that every executor must pass."""

import pytest

from cascade.interfaces import Executor
from cascade.runtime import ProcessExecutor, ThreadExecutor
from cascade.testkit.executor import Ability, ExecutorContract


class TestThreadExecutor(ExecutorContract):
    abilities = frozenset({Ability.COUNTS, Ability.TRACKS})

    async def make(self) -> Executor:
        return ThreadExecutor(2)


@pytest.mark.process
class TestProcessExecutor(ExecutorContract):
    abilities = frozenset(
        {Ability.PICKLES, Ability.STOPS, Ability.TRACKS, Ability.STEPS, Ability.CONTEXTS, Ability.SURVIVES}
    )

    async def make(self) -> Executor:
        return ProcessExecutor(2)
