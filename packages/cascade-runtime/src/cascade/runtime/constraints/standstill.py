"""Notices that a forgotten constraint holds everything up. Pure."""

from __future__ import annotations

from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.tickets import Obstacle

LIMIT = 5.0
"""Seconds without a start after which somebody is told which constraint is the reason."""


class Standstill:
    """Watches an admission: says once which register holds it, and once that it has lifted."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._since: float | None = None
        self._told: Obstacle | None = None

    def due(self) -> float | None:
        """Return when to look again although nothing happens, or None."""
        if self._since is None or self._told is not None:
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
        self._told = self._admission.obstacle()
        if self._told is None:  # it waits for workers or resources, which is nobody's command
            self._since = now
        return self._told

    def lifted(self) -> Obstacle | None:
        """Return the constraint that was told of, once it is no longer in force."""
        told = self._told
        if told is None or self._admission.in_force(told.topic):
            return None
        self._told = None
        return told
