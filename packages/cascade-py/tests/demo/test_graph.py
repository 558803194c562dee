"""The import graph of small programs whose answers are known."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyaudit.graph import import_graph, imported_modules
from pyaudit.metrics import measure_text
from pyaudit.model import Import, ImportGraph, Module, Source

KNOWN = {"a": False, "p": True, "p.b": False, "p.q": True, "p.q.c": False}


def module(name: str, text: str, *, is_package: bool = False) -> Module:
    return measure_text(Source(Path(f"{name}.py"), f"{name}.py", name, is_package), text)


def graph_of(texts: dict[str, str], *, packages: frozenset[str] = frozenset(), top: int = 10) -> ImportGraph:
    modules = [module(name, text, is_package=name in packages) for name, text in texts.items()]
    return import_graph(modules, top=top)


@pytest.mark.parametrize(
    ("statement", "importer", "is_package", "found"),
    [
        (Import("a", (), 0, False), "x", False, {"a"}),
        (Import("p.b", (), 0, False), "x", False, {"p.b"}),
        (Import("p.b.unknown", (), 0, False), "x", False, {"p.b"}),
        (Import("p.b", ("name",), 0, False), "x", False, {"p.b"}),
        (Import("p.elsewhere", (), 0, False), "x", False, set()),
        (Import("p.elsewhere", ("name",), 0, False), "p.x", False, set()),
        (Import("elsewhere", (), 0, False), "x", False, set()),
        (Import("p", ("b", "q", "name"), 0, False), "x", False, {"p.b", "p.q", "p"}),
        (Import("p.q", ("*",), 0, False), "x", False, {"p.q"}),
        (Import("", ("b",), 1, False), "p.x", False, {"p.b"}),
        (Import("", ("b",), 1, False), "p", True, {"p.b"}),
        (Import("", ("name",), 1, False), "p", True, set()),
        (Import("b", ("name",), 2, False), "p.q.c", False, {"p.b"}),
        (Import("", ("a",), 1, False), "x", False, {"a"}),
        (Import("", ("a",), 3, False), "p.x", False, set()),
        (Import("a", (), 0, False), "a", False, set()),
    ],
)
def test_which_modules_a_statement_names(
    statement: Import, importer: str, is_package: bool, found: set[str]
) -> None:
    """Submodules go before names in a package, dots are resolved, strangers and oneself are left out."""
    assert imported_modules(statement, importer, is_package, KNOWN) == found


def test_modules_are_ranked_by_how_many_import_them() -> None:
    """Each importer counts once however often it imports, then names decide; no module is left out."""
    found = graph_of({"a": "import b, c\nimport b", "b": "import c", "c": "", "d": "import c, b", "e": ""})
    assert (found.modules, found.edges) == (5, 5)
    assert found.most_imported == (("c", 3), ("b", 2))
    assert graph_of({"a": "import b, c", "b": "", "c": ""}, top=1).most_imported == (("b", 1),)


def test_a_cycle_is_found_with_a_shortest_way_round() -> None:
    """Of a ring with a short cut the way round through the most imported module is the short one."""
    found = graph_of({"a": "import b", "b": "import c", "c": "import a, b", "d": "import a"})
    assert [(cycle.modules, cycle.path) for cycle in found.cycles] == [(("a", "b", "c"), ("b", "c", "b"))]


def test_cycles_are_distinguished_and_ordered_by_size() -> None:
    """Two rings that only one import joins are two cycles."""
    found = graph_of({"a": "import b", "b": "import a, x", "x": "import y", "y": "import z", "z": "import x"})
    assert [cycle.modules for cycle in found.cycles] == [("x", "y", "z"), ("a", "b")]


def test_an_import_that_is_put_off_breaks_a_cycle() -> None:
    """It stays an edge of the graph because the module is needed, but it is not part of an import cycle."""
    found = graph_of({"a": "import b", "b": "def f():\n import a"})
    assert found.edges == 2
    assert found.cycles == ()
    assert graph_of({"a": "import b", "b": "def f():\n import a\nimport a"}).cycles != ()


NAMES = "abcdef"


@given(st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES))))
def test_cycles_are_the_ones_that_a_walk_can_come_back_from(edges: set[tuple[str, str]]) -> None:
    """For any graph two modules share a cycle exactly if each can be reached from the other; a path is one."""
    texts = {name: "\n".join(f"import {b}" for a, b in sorted(edges) if a == name) for name in NAMES}
    found = graph_of(texts)
    plain: nx.DiGraph[str] = nx.DiGraph()
    plain.add_edges_from((a, b) for a, b in edges if a != b)
    together = {frozenset((a, b)) for a in plain for b in plain if a < b and _both_ways(plain, a, b)}
    assert {
        frozenset((a, b)) for c in found.cycles for a in c.modules for b in c.modules if a < b
    } == together
    for cycle in found.cycles:
        assert cycle.path[0] == cycle.path[-1]
        assert nx.is_path(plain, list(cycle.path))


def _both_ways(graph: nx.DiGraph[str], a: str, b: str) -> bool:
    return nx.has_path(graph, a, b) and nx.has_path(graph, b, a)
