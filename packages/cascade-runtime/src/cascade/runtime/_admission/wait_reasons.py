"""Reasons for which tasks wait: counted for a report, and named when nothing has started for long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from cascade.interfaces.control_messages import lift_command
from cascade.interfaces.gates import is_gate
from cascade.runtime._admission.gates import AnyGate, HoldingGate, PlantGate
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.request_queues import BlockReason, RequestQueue
from cascade.runtime._admission.rules import ENGINE, Rule
from cascade.runtime._support.text import printable

_MAX_CHECKS = 20_000  # of gates, for one report


class Wait(NamedTuple):
    """One reason to wait."""

    why: str
    """``constraint``, ``gate``, ``resource``, ``rate`` or ``slot``."""
    name: str = ""
    """The topic of the register, the gate that the program declares, the resource, or the task and its rate."""
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
            for wait in {*map(_of_gate, closed), *_of_capacity(policy, queue, now)}:
                found[wait] += len(queue.requests)
    for group in groups if paused else ():
        for gate in group.gates:
            if group.name in paused and isinstance(gate, HoldingGate) and gate.holds:
                found[_of_gate(gate)] += paused[group.name]
    return found


def texts_of(policy: AdmissionPolicy, waits: Iterable[Wait]) -> dict[Wait, str]:
    """Return the reasons of those waits that are closed gates, in words."""
    if not any(wait.why == "gate" or is_gate(wait.type) for wait in waits):
        return {}
    gates = (gate for gate in policy.gates.by_key.values() if isinstance(gate, PlantGate))
    return {_of_gate(gate): gate.reason() for gate in gates}


def _of_gate(gate: AnyGate) -> Wait:
    if gate.scope == ENGINE:
        return Wait("gate", gate.rule.gate.name)
    return Wait("constraint", gate.topic, gate.rule.type)


def _of_capacity(policy: AdmissionPolicy, queue: RequestQueue, now: float) -> Iterator[Wait]:
    """Yield the worker, the rate and the resources that are not free; where an older request comes first, all demanded."""
    if queue.rate is not None and not queue.rate.is_open(now):
        yield Wait("rate", queue.rate.name)
    if queue.slots is not None and queue.slots.free <= 0:
        yield Wait("slot")
    if not queue.demands or policy.resources.has_room(queue, queue.requests[0].order):
        return
    names = [name for name, amount in queue.demands if policy.resources.free[name] < amount]
    for name in names or [name for name, _ in queue.demands]:
        yield Wait("resource", name)


STALL_LIMIT = 5.0
"""Seconds without a start after which the constraint that prevents it is reported."""


class StallDetector:
    """Reports each register that prevents every start once, and once that it no longer does.

    A register that was changed, and a gate that has opened, count as another one. A start in between does not make the same
    register count again: a slow rate limit would be reported after each start.
    """

    def __init__(self, policy: AdmissionPolicy) -> None:
        self._policy = policy
        self._since: float | None = None
        self._reported: dict[AnyGate, tuple[Rule, str]] = {}

    def due(self) -> float | None:
        """Return when to check again even if nothing happens, or None."""
        if self._since is None:
            return None
        return max(self._since, self._policy.last_start) + STALL_LIMIT

    def detect(self, now: float) -> BlockReason | None:
        """Return the constraint that has prevented every start for ``STALL_LIMIT``, if it was not yet reported."""
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
        self._reported[gate] = (gate.rule, gate.topic)
        return gate.block_reason()

    def take_ended(self) -> list[str]:
        """Return the topics of the reported constraints that were lifted or changed, each once."""
        ended = [gate for gate, reported in self._reported.items() if not self._is_unchanged(gate, reported)]
        return [self._reported.pop(gate)[1] for gate in ended]

    def _is_unchanged(self, gate: AnyGate, reported: tuple[Rule, str]) -> bool:
        is_open = isinstance(gate, PlantGate) and not gate.holds
        return self._policy.gates.is_in_force(gate) and not is_open and (gate.rule, gate.topic) == reported


def how_to_lift(topic: str, kind: str, broker: tuple[str, int] | None) -> str:
    """Return what to do to lift a constraint, with the command ``cascade`` where that is installed.

    :param topic: of its register.
    :param kind: its type.
    :param broker: host and port, if they are known.
    """
    if not topic:
        return "wait, or leave it out of gates= in the program"
    command = lift_command(topic, kind) if _has_command() else ""
    if not command:
        return f"clear the retained message: {_clear_command(topic, broker)}"
    place = f" of the broker {broker[0]}:{broker[1]}" if broker is not None else ""
    return printable(f"clear {topic}{place}: {command}")


def on_one_line(reason: BlockReason) -> str:
    """Return a reason for one line of a terminal: of a pause with the command that lifts it, where that is installed."""
    command = lift_command(reason.topic, "pause") if reason.type == "pause" and _has_command() else ""
    return f"{reason.reason} -> {printable(command)}" if command else str(reason)


@cache
def _has_command() -> bool:
    from importlib.util import find_spec  # only a stall needs it

    return find_spec("cascade.cli") is not None


def _clear_command(topic: str, broker: tuple[str, int] | None) -> str:
    """Return the command line that clears a register without the command ``cascade``.

    >>> print(_clear_command("cascade/constraints/task/it's", ("plant-7", 1884)))
    mosquitto_pub -h plant-7 -p 1884 -r -n -t 'cascade/constraints/task/it'"'"'s'
    """
    import shlex  # only a line for a person needs it

    where = f" -h {shlex.quote(broker[0])} -p {broker[1]}" if broker is not None else ""
    return f"mosquitto_pub{printable(where)} -r -n -t {printable(shlex.quote(topic))}"
