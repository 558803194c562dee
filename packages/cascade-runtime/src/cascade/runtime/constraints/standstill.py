"""Notices that a forgotten constraint holds everything up. Pure."""

from __future__ import annotations

from cascade.runtime.constraints._scopes import AnyGate
from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.tickets import Obstacle

LIMIT = 5.0
"""Seconds without a start after which somebody is told which constraint is the reason."""


class Standstill:
    """Watches an admission: says once of each register that it holds everything up, and once that it has ended.

    A register that is changed is another one. That something has started meanwhile is no reason
    to tell of the same one again: a slow rate would be told of with each start.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._since: float | None = None
        self._told: dict[AnyGate, Effective] = {}

    def due(self) -> float | None:
        """Return when to look again although nothing happens, or None."""
        if self._since is None:
            return None
        return max(self._since, self._admission.last_start) + LIMIT

    def holds(self, now: float) -> Obstacle | None:
        """Return the constraint because of which nothing has started for long, the first time."""
        if not self._admission.waiting:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        due = self.due()
        if due is None or now < due:
            return None
        self._since = now
        gate = next((gate for gate in self._admission.holding() if gate not in self._told), None)
        if gate is None:
            return None
        self._told[gate] = Effective(gate.rule, gate.topic)
        return gate.obstacle()

    def ended(self) -> list[str]:
        """Return the topics of the constraints that were told of and have been lifted or changed."""
        ended = [gate for gate, told in self._told.items() if not self._stands(gate, told)]
        return [self._told.pop(gate).topic for gate in ended]

    def _stands(self, gate: AnyGate, told: Effective) -> bool:
        return self._admission.gates.stands(gate) and Effective(gate.rule, gate.topic) == told
