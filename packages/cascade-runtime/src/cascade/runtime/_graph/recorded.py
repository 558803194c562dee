"""The graph of a run that is recorded: steps that an earlier attempt completed are leaves. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from itertools import islice
from typing import Any

from cascade.runtime._graph.alternatives import Declared
from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.items import MapItems, Recorded, RecordedValues
from cascade.runtime._graph.keys import declared_key, scope_of, shortened
from cascade.runtime._graph.node import Columns, Kind, Node
from cascade.spec import Call, LazyResult, Search, call_of


class RecordedGraph(Graph):
    """A graph whose calls have their keys before they are built.

    A call with a recorded value gets a node without inputs, so the calls behind it are not built, except those that it
    is to wait for nevertheless.
    A call that a graph further out declares has its key from there, whether it has a node or not.
    """

    def __init__(self, parent: Graph | None = None, *, target: Node | None = None, turn: int = 0) -> None:
        super().__init__(parent, target=target, turn=turn)
        self._own: dict[Call, Declared] = self._numbers.begin_ahead()
        self._outer: RecordedGraph | None = parent if isinstance(parent, RecordedGraph) else None
        self._outermost: RecordedGraph = self._outer._outermost if self._outer is not None else self
        self._between: Counter[Call] = self._outer._between if self._outer is not None else Counter()
        """How many graphs, without the outermost, declare each call."""
        self._prefix = "" if target is None else f"{scope_of(target.key)}~{turn}/"
        self._taken_before = 0
        self.doubtful: set[Call] = set()
        """Declared calls that failed steps may stand behind; those that were looked at are taken out."""
        self.references: dict[Call, str] = {}
        """What stands for calls in the digests of steps that take their values, as far as it was needed."""
        self._restored: dict[Call, Recorded] = {}
        self._restored_items: dict[Call, RecordedValues] = {}

    def declare(self, lazies: Iterable[LazyResult[Any]]) -> Generator[None, None, None]:
        """Give keys to calls and all that they reach, routes that may not be taken too; yield between steps."""
        before = len(self._own)
        yield from self._numbers.declare([call_of(lazy) for lazy in lazies], self._is_numbered)
        if self._outer is not None:
            self._between.update(islice(self._own, before, None))

    def declare_now(self, lazies: Iterable[LazyResult[Any]]) -> None:
        """Do what ``declare`` does, at once."""
        for _ in self.declare(lazies):
            pass

    def take_new(self) -> list[Call]:
        """Return the calls that were declared since this was called last, dependencies first."""
        new = [*islice(self._own, self._taken_before, None)]
        self._taken_before = len(self._own)
        return new

    def calls(self) -> Iterable[Call]:
        """Return the calls that this graph declares, dependencies first."""
        return self._own

    def key_of(self, call: Call) -> str:
        """Return the key of a call that this graph or one around it declares.

        :raises KeyError: if none does.
        """
        owner = self._owner(call)
        number = owner._own[call][0]
        return shortened(f"{owner._prefix}{declared_key(call.definition.name, number)}")

    def declared_as(self, key: str) -> Call | None:
        """Return the call with this key that this graph or one around it declares."""
        graph: RecordedGraph | None = self
        while graph is not None:
            for call in graph._own:
                if graph.key_of(call) == key:
                    return call
            graph = graph._outer
        return None

    def is_outer(self, call: Call) -> bool:
        """Return whether a graph around this one declares a call."""
        return self._owner(call) is not self

    def restore(self, calls: Mapping[Call, Recorded], items: Mapping[Call, RecordedValues]) -> None:
        """Have the nodes of calls, and the items of maps, take recorded values, once they are built."""
        self._restored |= calls
        self._restored_items |= items

    def continue_at(self, node: Node, turn: int) -> RecordedGraph:
        """Return an empty graph for the calls that ``node``'s call, and those that replaced it, returned last."""
        return RecordedGraph(self, target=node, turn=turn)

    def clear(self) -> None:
        """Forget every node, and what is declared."""
        super().clear()
        self.doubtful.clear()
        self.references.clear()
        if self._outer is not None:
            for call in self._own:
                self._between[call] -= 1
                if not self._between[call]:
                    del self._between[call]
            self._own.clear()

    def _owner(self, call: Call) -> RecordedGraph:
        """Return the outermost graph that declares a call; this one if there is none further out."""
        if call in self._outermost._own:
            return self._outermost
        owner = self
        if self._between.get(call, 0) > (call in self._own):
            graph = self._outer
            while graph is not None:
                owner = graph if call in graph._own else owner
                graph = graph._outer
        return owner

    def _is_numbered(self, call: Call) -> bool:
        return call in self._own or self.is_outer(call)

    def _open(self, call: Call, search: Search) -> tuple[Node, list[Call]]:
        recorded = self._restored.pop(call, None)
        if recorded is None:
            node, missing = super()._open(call, search)
        else:
            node, missing = Node(call, self), [each for each in recorded.after if self.find(each) is None]
            node.kind, node.value = Kind.RECORDED, recorded
            # until _close() knows their nodes
            node.inputs = tuple(map(LazyResult, recorded.after))
            self._enter(call, node)
        if self._outer is not None and self.is_outer(call):
            node.known_key = self.key_of(call)
        return node, missing

    def _take_number(self, node: Node, declared: dict[Call, Declared]) -> None:
        owner = self._owner(node.call)
        if owner is self:
            super()._take_number(node, declared)
        else:
            node.number = owner._own[node.call][0]

    def _new_items(self, node: Node, columns: Columns) -> MapItems:
        items = super()._new_items(node, columns)
        items.recorded = self._restored_items.pop(node.call, None)
        return items
