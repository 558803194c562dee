"""The import graph: who imports whom, who is imported most, and which imports form cycles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import networkx as nx

from .model import Cycle, Import, ImportGraph, Module


def import_graph(modules: Iterable[Module], *, top: int) -> ImportGraph:
    """Return the graph of the imports among ``modules``; imports of anything else are left out."""
    graph = _graph(list(modules))
    ranked = sorted(graph.in_degree, key=lambda item: (-item[1], item[0]))
    return ImportGraph(
        modules=graph.number_of_nodes(),
        edges=graph.number_of_edges(),
        most_imported=tuple((name, count) for name, count in ranked[:top] if count),
        cycles=tuple(_cycles(graph)),
    )


def imported_modules(statement: Import, module: str, is_package: bool, known: Mapping[str, bool]) -> set[str]:
    """Return which of the ``known`` modules (name: is it a package?) an import in ``module`` names.

    ``from a import b`` names ``a.b`` where that is a module, else ``a``. A plain module stands
    for what it puts in ``sys.modules`` below itself: ``os`` for ``os.path``. That a package is
    imported before its modules goes without saying.
    """
    base = _absolute(statement, module, is_package)
    if base is None:
        return set()
    candidates = [f"{base}.{name}".removeprefix(".") for name in statement.names] or [base]
    found = {candidate if candidate in known else _around(base, known) for candidate in candidates}
    return found - {module, ""}


def _absolute(statement: Import, module: str, is_package: bool) -> str | None:
    """Resolve leading dots (PEP 328); None when they lead out of the top package."""
    if not statement.level:
        return statement.module
    package = module.split(".") if is_package else module.split(".")[:-1]
    if statement.level - 1 > len(package):
        return None
    kept = package[: len(package) - (statement.level - 1)]
    return ".".join([*kept, statement.module] if statement.module else kept)


def _around(name: str, known: Mapping[str, bool]) -> str:
    """Return ``name`` if it is known, else the plain module that it lies in, else nothing."""
    found = name
    while found and found not in known:
        found = found.rpartition(".")[0]
    return "" if found != name and known.get(found) else found


def _graph(modules: list[Module]) -> nx.DiGraph[str]:
    known = {module.source.module: module.source.is_package for module in modules}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(known)
    for module in modules:
        source = module.source
        for statement in module.imports:
            for target in imported_modules(statement, source.module, source.is_package, known):
                _add(graph, source.module, target, statement.deferred)
    return graph


def _add(graph: nx.DiGraph[str], importer: str, imported: str, deferred: bool) -> None:
    """Add an edge; several imports of one module make one, deferred only if all are."""
    known: dict[str, bool] = graph.get_edge_data(importer, imported, {"deferred": True})
    graph.add_edge(importer, imported, deferred=deferred and known["deferred"])


def _cycles(graph: nx.DiGraph[str]) -> Iterator[Cycle]:
    eager = graph.edge_subgraph([edge for edge, data in graph.edges.items() if not data["deferred"]])
    components = [sorted(found) for found in nx.strongly_connected_components(eager) if len(found) > 1]
    for component in sorted(components, key=lambda names: (-len(names), names)):
        yield Cycle(tuple(component), _way_round(eager.subgraph(component)))


def _way_round(component: nx.DiGraph[str]) -> tuple[str, ...]:
    start = max(sorted(component), key=component.in_degree)
    ways = nx.single_source_shortest_path(component, start)
    back = min((ways[last] for last in component.predecessors(start)), key=lambda way: (len(way), way))
    return (*back, start)
