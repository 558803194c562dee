"""Detect that a forgotten constraint prevents every start. No I/O."""

from __future__ import annotations

from cascade.runtime._admission.gates import AnyGate
from cascade.runtime._admission.limits import Effective
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.requests import BlockReason

LIMIT = 5.0
"""Seconds without a start after which the constraint that prevents it is reported."""


class StallDetector:
    """Reports each register that prevents every start once, and once that it no longer does.

    A register that was changed counts as another one. A start in between does not make the same
    register count again: a slow rate limit would be reported after each start.
    """

    def __init__(self, policy: AdmissionPolicy) -> None:
        self._policy = policy
        self._since: float | None = None
        self._reported: dict[AnyGate, Effective] = {}

    def due(self) -> float | None:
        """Return when to check again even if nothing happens, or None."""
        if self._since is None:
            return None
        return max(self._since, self._policy.last_start) + LIMIT

    def detect(self, now: float) -> BlockReason | None:
        """Return the constraint that has prevented every start for ``LIMIT``, if it was not yet reported."""
        if not self._policy.waiting:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        due = self.due()
        if due is None or now < due:
            return None
        self._since = now
        gate = next((gate for gate in self._policy.blocking_gates() if gate not in self._reported), None)
        if gate is None:
            return None
        self._reported[gate] = Effective(gate.rule, gate.topic)
        return gate.block_reason()

    def take_ended(self) -> list[str]:
        """Return the topics of the reported constraints that were lifted or changed, each once."""
        ended = [gate for gate, reported in self._reported.items() if not self._is_unchanged(gate, reported)]
        return [self._reported.pop(gate).topic for gate in ended]

    def _is_unchanged(self, gate: AnyGate, reported: Effective) -> bool:
        return self._policy.gates.is_in_force(gate) and Effective(gate.rule, gate.topic) == reported
