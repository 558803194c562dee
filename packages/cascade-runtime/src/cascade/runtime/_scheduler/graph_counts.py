"""Counters of a run's graph, for reports; each part of the graph is counted once, when it is built."""

from __future__ import annotations

from collections.abc import Sequence

from cascade.runtime._graph.items import MapItems
from cascade.runtime._graph.node import TASKS, Kind, Node
from cascade.runtime._support.run_facts import MAX_NODES, GraphFacts, RunFacts

_EXPANDING = {Kind.MAP, Kind.ROUTE}
_SAMPLED = 50
"""Calls of a name whose inputs are looked at: the others need the same names, as a rule."""
_KINDS = {Kind.MAP: "map", Kind.GATHER: "map", Kind.ROUTE: "route", Kind.INPUT: "input"}


class GraphCounts:
    """Counts the tasks of a run by name, and notes the first of them with what they need."""

    def __init__(self, facts: RunFacts) -> None:
        self._facts = facts
        self._seen: dict[str, int] = {}  # by name: steps that are not tasks

    def add(self, nodes: Sequence[Node], expanded: Node | None) -> None:
        """Note new nodes, and a map or a route that expands no further."""
        facts, known, graph = self._facts, self._facts.known, self._facts.graph
        for node in nodes:
            definition, name = node.definition, node.definition.name
            if node.kind in TASKS and not definition.structural:
                count = known[name] = known.get(name, 0) + 1
            else:
                count = self._seen[name] = self._seen.get(name, 0) + 1
                facts.unexpanded += node.kind in _EXPANDING
            if node.origin is None or not node.origin.is_map:
                if graph.total > MAX_NODES and name in graph.names:
                    graph.total += 1  # most calls of a large graph
                else:
                    _add_call(graph, node)
            if count <= _SAMPLED:
                _add_inputs(graph, node)
        for node in nodes if expanded is None else (expanded,):
            if isinstance(node.items, MapItems):
                # they will be no new nodes
                known[node.name] = known.get(node.name, 0) + node.items.unstarted
                facts.graph.items[node.key] = node.items.size
        if expanded is not None:
            facts.unexpanded -= 1
            facts.graph.rev += 1

    def built(self) -> None:
        """Note that the first build is done."""
        self._facts.unexpanded -= 1


def _add_call(graph: GraphFacts, node: Node) -> None:
    if graph.total <= MAX_NODES:
        graph.add_call(node.key, node.name, _kind(node))
    else:
        graph.total += 1
        if node.name not in graph.names:
            graph.add_name(node.name, _kind(node))


def _kind(node: Node) -> str:
    kind = _KINDS.get(node.kind, "task")
    return "structure" if kind == "task" and node.definition.structural else kind


def _add_inputs(graph: GraphFacts, node: Node) -> None:
    end = _shown(node)
    for index, needed in enumerate(node.inputs):
        start = _shown(needed)
        if start != end:
            graph.add_edge(start, end, "argument" if index < node.width else "")


def _shown(node: Node) -> tuple[str, str]:
    """Return key and name of the node that stands for this one: an item's map, else itself."""
    origin = node.origin
    if origin is not None and origin.is_map:
        node = origin.node
    return node.key, node.name
