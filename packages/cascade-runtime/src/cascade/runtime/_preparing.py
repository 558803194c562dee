"""Sees to it, before it is their turn, that nodes can start."""

from __future__ import annotations

from collections.abc import Sequence

from cascade.runtime._calling import Caller
from cascade.runtime._entrance import Entrance
from cascade.runtime.node import Node


class Preparation:
    """Refuses what one run can never start, and has executors made ready when a task first needs them."""

    def __init__(self, entrance: Entrance, caller: Caller) -> None:
        self._entrance = entrance
        self._caller = caller

    async def prepare(self, nodes: Sequence[Node]) -> None:
        """Prepare nodes that are new.

        :raises UsageError: if one of them can never start, because the run lacks what it needs.
        :raises ExecutorUnavailable: if what one of them should run on is not there.
        """
        for mode in self._checked(nodes):
            if not self._entrance.leads_to(mode):
                self._entrance.lead_to(mode, await self._caller.ready(mode))

    def _checked(self, nodes: Sequence[Node]) -> set[str]:
        """Refuse what can never start; return the modes of what needs a worker."""
        modes = set()
        for node in nodes:
            definition = node.definition
            if node.call.policies.demands:
                self._entrance.check(node)
            if not definition.on_loop:
                modes.add(definition.mode)
                self._caller.check(node)
            elif definition.injections:
                self._caller.check(node)
        return modes
