"""Which gates stand before which tasks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cascade.runtime.constraints.gates import Gate
from cascade.runtime.constraints.glob import Glob
from cascade.runtime.constraints.registers import Key
from cascade.runtime.constraints.tickets import Demands, Lane, TicketQueue

AnyGate = Gate[Any]


class Group:
    """All tasks of one name in one run: the same gates stand before each of them."""

    __slots__ = ("gates", "name", "queues", "run_id", "running")

    def __init__(self, run_id: str, name: str, gates: Iterable[AnyGate]) -> None:
        self.run_id = run_id
        self.name = name
        self.gates = sorted(gates, key=_rank)
        self.running = 0
        self.queues: dict[tuple[Demands, Lane | None], TicketQueue] = {}

    def add(self, gate: AnyGate) -> None:
        """Put a new gate before these tasks."""
        self.gates.append(gate)
        self.gates.sort(key=_rank)


class Gates:
    """Every gate, found by what it stands before, and every group."""

    def __init__(self) -> None:
        self.by_key: dict[Key, AnyGate] = {}
        self._groups: dict[str, dict[str, Group]] = {}
        self._everywhere: dict[Key, AnyGate] = {}
        self._by_run: dict[str, dict[Key, AnyGate]] = {}
        self._by_name: dict[str, dict[Key, AnyGate]] = {}
        self._by_pattern: dict[Key, tuple[Glob, AnyGate]] = {}

    def group(self, run_id: str, name: str) -> Group:
        """Return the group of a run's tasks of one name."""
        groups = self._groups.setdefault(run_id, {})
        group = groups.get(name)
        if group is None:
            group = groups[name] = Group(run_id, name, self._before(run_id, name))
        return group

    def before(self, run_id: str, name: str) -> list[AnyGate]:
        """Return the gates before a run's tasks of one name, without keeping anything."""
        group = self._groups.get(run_id, {}).get(name)
        return group.gates if group is not None else sorted(self._before(run_id, name), key=_rank)

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
            if gate in group.gates:
                group.gates.remove(gate)
        return gate

    def _add_pattern(self, key: Key, pattern: Glob, gate: AnyGate) -> list[Group]:
        if pattern.plain:
            self._by_name.setdefault(pattern.pattern, {})[key] = gate
        else:
            self._by_pattern[key] = (pattern, gate)
        return [group for group in self.groups() if pattern.matches(group.name)]

    def _before(self, run_id: str, name: str) -> Iterator[AnyGate]:
        yield from self._everywhere.values()
        yield from self._by_run.get(run_id, {}).values()
        yield from self._by_name.get(name, {}).values()
        yield from (gate for pattern, gate in self._by_pattern.values() if pattern.matches(name))


def _rank(gate: AnyGate) -> int:
    return gate.rank
