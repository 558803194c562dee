"""The gates in force by their scopes, and the groups of tasks to which they apply. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cascade.runtime._admission.gates import AnyGate, CancelGate, HoldingGate, PauseGate
from cascade.runtime._admission.request_queues import BlockReason, Demands, RequestQueue, WorkerSlots
from cascade.runtime._admission.rules import Key, is_plain, task_matcher
from cascade.spec.policies import Rate


class GateGroup:
    """All tasks of one name in one run; the same gates apply to each of them."""

    __slots__ = ("gates", "name", "queues", "run_id", "running")

    def __init__(self, run_id: str, name: str, gates: Iterable[AnyGate]) -> None:
        self.run_id = run_id
        self.name = name
        self.gates = tuple(sorted(gates, key=_rank))
        """In the order of checking. The tuple is replaced, never changed, so any thread may read it."""
        self.running = 0
        self.queues: dict[tuple[Demands, WorkerSlots | None, Rate | None], RequestQueue] = {}

    def add(self, gate: AnyGate) -> None:
        """Apply a new gate to these tasks."""
        self.gates = tuple(sorted((*self.gates, gate), key=_rank))

    def remove(self, gate: AnyGate) -> None:
        """Stop applying a gate to these tasks."""
        if gate in self.gates:
            self.gates = tuple(each for each in self.gates if each is not gate)


class GateIndex:
    """Every gate in force, indexed by what its scope names, and every group of tasks."""

    def __init__(self) -> None:
        self.by_key: dict[Key, AnyGate] = {}
        self._groups: dict[str, dict[str, GateGroup]] = {}
        self._everywhere: dict[Key, AnyGate] = {}
        self._by_run: dict[str, dict[Key, AnyGate]] = {}
        self._by_workflow: dict[str, dict[Key, AnyGate]] = {}
        self._by_name: dict[str, dict[Key, AnyGate]] = {}
        self._by_pattern: dict[Key, tuple[Callable[[str], object], AnyGate]] = {}
        self.workflows: dict[str, str] = {}
        """The workflow of each run, by run id; empty for a run that has none."""
        # of runs that have ended: the cancel of a run goes with it, and its calls in threads do not
        self._outlived: set[GateGroup] = set()

    @property
    def running(self) -> int:
        """How many running tasks are in the scope of a constraint, or are calls of cancelled tasks that cannot be stopped."""
        if not (self.by_key or self._outlived):
            return 0
        return sum(group.running for group in self.groups() if group.gates or group in self._outlived)

    def end_run(self, run_id: str) -> None:
        """Forget a run that has ended, unless its calls run on: :meth:`drop` does it then."""
        if run_id not in self._groups:
            self.workflows.pop(run_id, None)

    def outlive(self, group: GateGroup) -> None:
        """Count the running tasks of a group of which the run has ended, if a cancel has ended them."""
        if any(isinstance(gate, CancelGate) for gate in group.gates):
            self._outlived.add(group)

    def is_in_force(self, gate: AnyGate) -> bool:
        """Return whether a gate is still the one in force for its scope and type."""
        return self.by_key.get((gate.scope, gate.rule.type)) is gate

    def cancel_of(self, run_id: str) -> AnyGate | None:
        """Return the gate that cancels a whole run, or None."""
        found = (each for each in self._of_run(run_id) if isinstance(each, CancelGate))
        return next(found, None)

    def hold_of(self, run_id: str, name: str = "") -> BlockReason | None:
        """Return what holds tasks of a name in a run; without a name the pause of the run as a whole; or None."""
        if name:
            return self.hold_reason(run_id, name)
        # it covers every task, whatever the name
        everywhere = self.by_key.get(("task:*", "pause"))
        found = (*self._of_run(run_id), *([everywhere] if everywhere is not None else []))
        return next((each.block_reason() for each in found if isinstance(each, PauseGate)), None)

    def hold_reason(self, run_id: str, name: str) -> BlockReason | None:
        """Return what holds tasks of this name in this run: a pause or a closed gate; or None."""
        if not self.by_key:
            return None
        group = self._find(run_id, name)
        gates = group.gates if group is not None else self._applying_to(run_id, name)
        return next(
            (gate.block_reason() for gate in gates if isinstance(gate, HoldingGate) and gate.holds), None
        )

    def is_not_held(self, run_id: str, name: str) -> bool:
        """Return whether a running task of this name is known not to be paused; from any thread.

        False means that only the event loop can decide, with :meth:`hold_reason`.
        """
        if not self.by_key:
            return True
        group = self._find(run_id, name)
        return group is not None and not any(
            isinstance(gate, HoldingGate) and gate.holds for gate in group.gates
        )

    def group(self, run_id: str, name: str) -> GateGroup:
        """Return the group of a run's tasks of one name; create it if needed."""
        groups = self._groups.setdefault(run_id, {})
        group = groups.get(name)
        if group is None:
            group = groups[name] = GateGroup(run_id, name, self._applying_to(run_id, name))
        return group

    def groups(self) -> Iterator[GateGroup]:
        """Return every group."""
        for groups in self._groups.values():
            yield from groups.values()

    def groups_of(self, run_id: str) -> list[GateGroup]:
        """Return the groups of one run."""
        return list(self._groups.get(run_id, {}).values())

    def drop(self, group: GateGroup) -> None:
        """Remove a group that has no running and no waiting task."""
        self._outlived.discard(group)
        groups = self._groups.get(group.run_id, {})
        groups.pop(group.name, None)
        if not groups:
            self._groups.pop(group.run_id, None)
            self.end_run(group.run_id)

    def add(self, key: Key, gate: AnyGate) -> list[GateGroup]:
        """Add a gate; return the groups to which it applies."""
        self.by_key[key] = gate
        kind, _, value = key[0].partition(":")
        if kind == "run":
            self._by_run.setdefault(value, {})[key] = gate
            found = self.groups_of(value)
        elif kind == "workflow":
            self._by_workflow.setdefault(value, {})[key] = gate
            found = [group for group in self.groups() if self.workflows.get(group.run_id) == value]
        elif kind == "task":
            found = self._add_pattern(key, value, gate)
        else:
            self._everywhere[key] = gate
            found = list(self.groups())
        found = [group for group in found if gate.covers(group.run_id)]
        for group in found:
            group.add(gate)
        return found

    def remove(self, key: Key) -> AnyGate:
        """Remove and return a gate."""
        gate = self.by_key.pop(key)
        value = key[0].partition(":")[2]
        self._everywhere.pop(key, None)
        self._by_pattern.pop(key, None)
        for index in (self._by_run, self._by_workflow, self._by_name):
            if key in index.get(value, ()):
                del index[value][key]
                if not index[value]:
                    del index[value]
        for group in self.groups():
            group.remove(gate)
        return gate

    def clear(self) -> list[AnyGate]:
        """Remove and return all gates."""
        gates = list(self.by_key.values())
        indexes = (self._everywhere, self._by_run, self._by_workflow, self._by_name, self._by_pattern)
        for index in (self.by_key, *indexes):
            index.clear()
        for group in self.groups():
            group.gates = ()
        return gates

    def _add_pattern(self, key: Key, pattern: str, gate: AnyGate) -> list[GateGroup]:
        if is_plain(pattern):
            self._by_name.setdefault(pattern, {})[key] = gate
            return [group for group in self.groups() if group.name == pattern]
        matches = task_matcher(pattern)
        self._by_pattern[key] = (matches, gate)
        return [group for group in self.groups() if matches(group.name)]

    def _find(self, run_id: str, name: str) -> GateGroup | None:
        return self._groups.get(run_id, {}).get(name)

    def _applying_to(self, run_id: str, name: str) -> Iterator[AnyGate]:
        yield from self._of_run(run_id)
        of_name = (
            *self._by_name.get(name, {}).values(),
            *(gate for matches, gate in self._by_pattern.values() if matches(name)),
        )
        yield from (gate for gate in of_name if gate.covers(run_id))

    def _of_run(self, run_id: str) -> Iterator[AnyGate]:
        """Yield the gates that apply to all tasks of a run."""
        workflow = self.workflows.get(run_id, "")
        found = (
            *self._everywhere.values(),
            *self._by_workflow.get(workflow, {}).values(),
            *self._by_run.get(run_id, {}).values(),
        )
        return (gate for gate in found if gate.covers(run_id))


def _rank(gate: AnyGate) -> int:
    return gate.rank
