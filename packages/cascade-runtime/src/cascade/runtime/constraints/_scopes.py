"""Which gates stand before which tasks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cascade.runtime.constraints.gates import Gate, PauseGate
from cascade.runtime.constraints.glob import Glob
from cascade.runtime.constraints.registers import Key
from cascade.runtime.constraints.tickets import Demands, Lane, Obstacle, TicketQueue

AnyGate = Gate[Any]


class Group:
    """All tasks of one name in one run: the same gates stand before each of them."""

    __slots__ = ("gates", "name", "queues", "run_id", "running")

    def __init__(self, run_id: str, name: str, gates: Iterable[AnyGate]) -> None:
        self.run_id = run_id
        self.name = name
        self.gates = tuple(sorted(gates, key=_rank))
        """In the order in which they are asked; replaced as a whole, so that any thread may read it."""
        self.running = 0
        self.queues: dict[tuple[Demands, Lane | None], TicketQueue] = {}

    def add(self, gate: AnyGate) -> None:
        """Put a new gate before these tasks."""
        self.gates = tuple(sorted((*self.gates, gate), key=_rank))

    def remove(self, gate: AnyGate) -> None:
        """Let nothing more be asked of a gate."""
        if gate in self.gates:
            self.gates = tuple(each for each in self.gates if each is not gate)


class Gates:
    """Every gate, found by what it stands before, and every group."""

    def __init__(self) -> None:
        self.by_key: dict[Key, AnyGate] = {}
        self._groups: dict[str, dict[str, Group]] = {}
        self._everywhere: dict[Key, AnyGate] = {}
        self._by_run: dict[str, dict[Key, AnyGate]] = {}
        self._by_name: dict[str, dict[Key, AnyGate]] = {}
        self._by_pattern: dict[Key, tuple[Glob, AnyGate]] = {}

    @property
    def running(self) -> int:
        """How many of the tasks that run are in the scope of a constraint."""
        if not self.by_key:
            return 0
        return sum(group.running for group in self.groups() if group.gates)

    def stands(self, gate: AnyGate) -> bool:
        """Return whether a gate is still in its place."""
        return self.by_key.get((gate.scope, gate.rule.type)) is gate

    def paused(self, run_id: str, name: str) -> Obstacle | None:
        """Return what pauses tasks of this name in this run, or None."""
        if not self.by_key:
            return None
        group = self._known(run_id, name)
        gates = group.gates if group is not None else self._before(run_id, name)
        return next((gate.obstacle() for gate in gates if isinstance(gate, PauseGate)), None)

    def passes(self, run_id: str, name: str) -> bool:
        """Return whether nothing pauses a running task of this name in this run; from any thread."""
        if not self.by_key:
            return True
        group = self._known(run_id, name)
        return group is not None and not any(isinstance(gate, PauseGate) for gate in group.gates)

    def group(self, run_id: str, name: str) -> Group:
        """Return the group of a run's tasks of one name."""
        groups = self._groups.setdefault(run_id, {})
        group = groups.get(name)
        if group is None:
            group = groups[name] = Group(run_id, name, self._before(run_id, name))
        return group

    def groups(self) -> Iterator[Group]:
        """Return every group."""
        for groups in self._groups.values():
            yield from groups.values()

    def groups_of(self, run_id: str) -> list[Group]:
        """Return the groups of one run."""
        return list(self._groups.get(run_id, {}).values())

    def drop(self, group: Group) -> None:
        """Forget a group of which nothing runs and nothing waits."""
        groups = self._groups.get(group.run_id, {})
        groups.pop(group.name, None)
        if not groups:
            self._groups.pop(group.run_id, None)

    def add(self, key: Key, gate: AnyGate) -> list[Group]:
        """Put a gate in its place; return the groups before which it stands."""
        self.by_key[key] = gate
        kind, _, value = key[0].partition(":")
        if kind == "run":
            self._by_run.setdefault(value, {})[key] = gate
            found = self.groups_of(value)
        elif kind == "task":
            found = self._add_pattern(key, Glob(value), gate)
        else:
            self._everywhere[key] = gate
            found = list(self.groups())
        for group in found:
            group.add(gate)
        return found

    def remove(self, key: Key) -> AnyGate:
        """Take a gate away."""
        gate = self.by_key.pop(key)
        value = key[0].partition(":")[2]
        self._everywhere.pop(key, None)
        self._by_pattern.pop(key, None)
        for index in (self._by_run, self._by_name):
            if key in index.get(value, ()):
                del index[value][key]
                if not index[value]:
                    del index[value]
        for group in self.groups():
            group.remove(gate)
        return gate

    def clear(self) -> list[AnyGate]:
        """Take all gates away."""
        gates = list(self.by_key.values())
        for index in (self.by_key, self._everywhere, self._by_run, self._by_name, self._by_pattern):
            index.clear()
        for group in self.groups():
            group.gates = ()
        return gates

    def _add_pattern(self, key: Key, pattern: Glob, gate: AnyGate) -> list[Group]:
        if pattern.plain:
            self._by_name.setdefault(pattern.pattern, {})[key] = gate
        else:
            self._by_pattern[key] = (pattern, gate)
        return [group for group in self.groups() if pattern.matches(group.name)]

    def _known(self, run_id: str, name: str) -> Group | None:
        return self._groups.get(run_id, {}).get(name)

    def _before(self, run_id: str, name: str) -> Iterator[AnyGate]:
        yield from self._everywhere.values()
        yield from self._by_run.get(run_id, {}).values()
        yield from self._by_name.get(name, {}).values()
        yield from (gate for pattern, gate in self._by_pattern.values() if pattern.matches(name))


def _rank(gate: AnyGate) -> int:
    return gate.rank
