"""The tasks of a run in the order of its graph, with how many of each have ended. No I/O."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable

from cascade.interfaces.events import ENDED_STATES
from cascade.wire import EngineView, RunGraph, RunView


def steps(run: RunView, engine: EngineView | None) -> tuple[tuple[str, int, int], ...]:
    """Return name, ended and known of each task name, the first ones first.

    Without a graph they are in the order of the report.
    """
    if run.reported is None:
        return ()
    totals = run.reported.tasks
    graphs = engine.graph.runs if engine is not None and engine.graph is not None else ()
    graph = next((each for each in graphs if each.run_id == run.run_id), None)
    names = dict.fromkeys((*(_in_order(graph) if graph is not None else ()), *totals))
    return tuple(
        (name, sum(total.counts.get(state, 0) for state in ENDED_STATES), total.known)
        for name in names
        if (total := totals.get(name)) is not None
    )


def _in_order(graph: RunGraph) -> Iterable[str]:
    """Return the names of the nodes, each behind those that it needs."""
    order: graphlib.TopologicalSorter[int | str] = graphlib.TopologicalSorter()
    for index in range(len(graph.nodes)):
        order.add(index)
    for start, end, *_ in graph.edges:
        order.add(end, start)
    try:
        indices = [int(index) for index in order.static_order()]
    except graphlib.CycleError:  # anyone may write to the topic
        indices = list(range(len(graph.nodes)))
    return [graph.nodes[index].name for index in indices]
