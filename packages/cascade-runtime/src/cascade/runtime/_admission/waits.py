"""Reasons for which requests wait now. Read when a report is made; nothing is kept for it. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cascade.runtime._admission.gates import AnyGate, PauseGate
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.requests import RequestQueue

_MAX_CHECKS = 20_000  # of gates, for one report


class Wait(NamedTuple):
    """One reason to wait."""

    why: str
    """``constraint``, ``resource`` or ``slot``."""
    name: str = ""
    """The topic of the register, or the resource."""
    type: str = ""
    """Of the constraint."""


def waits_of(policy: AdmissionPolicy, run_id: str, now: float, *, paused: Mapping[str, int]) -> Counter[Wait]:
    """Count the waiting tasks of a run under each reason that blocks them now.

    :param paused: tasks that wait at a checkpoint, by name.
    """
    found: Counter[Wait] = Counter()
    left = _MAX_CHECKS
    groups = policy.gates.groups_of(run_id)
    for group in groups:
        if left <= 0:
            break
        left -= len(group.gates) + 1
        closed: list[AnyGate] | None = None
        for queue in group.queues.values():
            if not queue.requests:
                continue
            if closed is None:
                closed = [gate for gate in group.gates if not gate.is_open(now)]
            for wait in {*map(_of_gate, closed), *_of_capacity(policy, queue)}:
                found[wait] += len(queue.requests)
    for group in groups if paused else ():
        for gate in group.gates:
            if group.name in paused and isinstance(gate, PauseGate):
                found[_of_gate(gate)] += paused[group.name]
    return found


def _of_gate(gate: AnyGate) -> Wait:
    return Wait("constraint", gate.topic, gate.rule.type)


def _of_capacity(policy: AdmissionPolicy, queue: RequestQueue) -> Iterator[Wait]:
    """Yield the worker and the resources that are not free; where an older request comes first, all demanded."""
    if queue.slots is not None and queue.slots.free <= 0:
        yield Wait("slot")
    if not queue.demands or policy.resources.has_room(queue, queue.requests[0].order):
        return
    names = [name for name, amount in queue.demands if policy.resources.free[name] < amount]
    for name in names or [name for name, _ in queue.demands]:
        yield Wait("resource", name)
