"""The contract suite of executors: subclass it, state how to make yours, and run pytest.

    class TestMine(ExecutorContract):
        abilities = frozenset({Ability.PICKLES, Ability.SURVIVES})

        async def make(self):
            return MyExecutor(workers=2)

A test of an ability that is not declared is skipped, with the ability as its reason.
"""

from __future__ import annotations

from cascade.testkit._executor.ability import Ability
from cascade.testkit._executor.contexts import Contexts
from cascade.testkit._executor.giving_up import GivingUp
from cascade.testkit._executor.life import Life
from cascade.testkit._executor.processes import Processes
from cascade.testkit._executor.values import Values

__all__ = ["Ability", "ExecutorContract"]


class ExecutorContract(Values, GivingUp, Life, Processes, Contexts):
    """Every section of the contract. Give ``make`` and ``abilities``; ``timeout`` may be changed."""
