"""Graphs and arguments: pure, without recursion, right for any shape."""

from collections import namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces import UsageError
from cascade.runtime._graph.cycles import waits_for
from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.node import Kind, Node, Status
from cascade.runtime._scheduler.state import RunState
from cascade.runtime._scheduler.structural import _collected
from cascade.spec import LazyResult, MapCall, call_of, find_lazies, substitute, task

Pair = namedtuple("Pair", "left right")


@task(mode="inline")
def leaf(x: Any = None) -> Any:
    return x


@task(mode="inline")
def fold(*args: Any, **kwargs: Any) -> Any:
    return [args, kwargs]


LEAVES = [leaf(n) for n in range(4)]
nested = st.recursive(
    st.integers() | st.sampled_from(LEAVES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)


def expected(value: Any, lookup: Any) -> Any:
    """Substitute by plain recursion."""
    if isinstance(value, LazyResult):
        return lookup(value)
    if isinstance(value, Pair):
        return Pair(*(expected(v, lookup) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(expected(v, lookup) for v in value)
    if isinstance(value, dict):
        return {k: expected(v, lookup) for k, v in value.items()}
    return value


def simulate(target: LazyResult[Any]) -> Any:
    """Run a graph without asyncio: the pure parts alone decide what comes next."""
    graph, state = Graph(), RunState()
    for nodes in graph.build([target]):
        state.admit(nodes)
    state.aim([graph.node(target)])
    while state.on_loop:
        node = state.on_loop.popleft()
        if node.items is not None and node.items.unstarted:
            state.begin_items(node)
        else:
            state.complete(node, outcome(graph, state, node))
    assert state.finished
    return graph.node(target).value


def outcome(graph: Graph, state: RunState, node: Node) -> Any:
    if node.kind is Kind.GATHER:
        return _collected(node.items)
    args, kwargs = graph.arguments(node)
    return node.definition.function(*args, **kwargs)


@given(nested)
def test_values_take_the_place_of_lazy_results(value: Any) -> None:
    """Substitution gives what plain recursion gives, types included, and finds exactly what it replaces."""
    lookup = {lazy: f"value {n}" for n, lazy in enumerate(LEAVES)}.__getitem__
    assert substitute(value, lookup) == expected(value, lookup)
    assert repr(substitute(value, lookup)) == repr(expected(value, lookup))
    replaced: list[Any] = []
    substitute(value, replaced.append)
    assert find_lazies(value) == replaced


def test_a_container_without_lazy_results_is_passed_on_itself() -> None:
    """Nothing is copied that need not be, and the caller's containers are never written to."""
    plain = [1, {"a": (2,)}]
    mixed = [plain, LEAVES[0]]
    copy = substitute(mixed, lambda lazy: "x")
    assert copy[0] is plain
    assert mixed == [plain, LEAVES[0]]


def test_depth_and_cycles_of_containers_harm_nothing() -> None:
    """A list nested 50,000 deep and one that holds itself are both walked."""
    deep: Any = LEAVES[0]
    for _ in range(50_000):
        deep = [deep]
    assert find_lazies(deep) == [LEAVES[0]]
    result = substitute(deep, lambda lazy: 7)
    for _ in range(50_000):
        (result,) = result
    assert result == 7
    loop: list[Any] = [LEAVES[0]]
    loop.append(loop)
    assert find_lazies(loop) == [LEAVES[0]]
    assert substitute(loop, lambda lazy: 7)[0] == 7


@pytest.mark.full
@given(st.data())
def test_any_graph_gives_what_a_recursive_evaluator_gives(data: st.DataObject) -> None:
    """Random graphs, nested and shared, give the value that plain recursion gives."""
    made: list[LazyResult[Any]] = [leaf(n) for n in range(3)]
    pick = st.sampled_from
    for _ in range(data.draw(st.integers(1, 8))):
        inputs = data.draw(st.lists(pick(made), max_size=3))
        shape = data.draw(st.sampled_from(["plain", "list", "keyword", "map", "after"]))
        if shape == "plain":
            made.append(fold(*inputs))
        elif shape == "list":
            made.append(fold([inputs, {"k": tuple(inputs)}]))
        elif shape == "keyword":
            made.append(fold(1, **{f"k{n}": lazy for n, lazy in enumerate(inputs)}))
        elif shape == "map":
            made.append(leaf.map(x=[5, *inputs]))
        else:
            made.append(fold(2).after(*inputs))
    assert simulate(made[-1]) == evaluate(made[-1])


def evaluate(value: Any) -> Any:
    """Evaluate by recursion alone."""
    if isinstance(value, LazyResult):
        call = call_of(value)
        if isinstance(call, MapCall):
            return [evaluate(item) for item in call.kwargs["x"]]
        args, kwargs = evaluate(call.args), evaluate(dict(call.kwargs))
        return call.definition.function(*args, **kwargs)
    if isinstance(value, list | tuple):
        return type(value)(evaluate(v) for v in value)
    if isinstance(value, dict):
        return {k: evaluate(v) for k, v in value.items()}
    return value


def test_a_node_used_in_many_places_is_built_once() -> None:
    """Sharing is kept: one lazy result is one node, wherever it stands."""
    shared = leaf(1)
    graph = Graph()
    list(graph.build([fold(shared, [shared, {"a": shared}], k=shared).after(shared)]))
    assert len(graph) == 2
    assert graph.node(shared).readers == 5


def test_dependencies_are_numbered_before_their_dependents() -> None:
    """The order of building is the order in which a person would declare: inputs first, left to right."""
    graph = Graph()
    target = fold(leaf(1), fold(leaf(2)), leaf(3))
    names = [node.key for nodes in graph.build([target]) for node in nodes]
    assert names == ["leaf:0", "leaf:1", "fold:0", "leaf:2", "fold:1"]


def test_a_task_made_to_wait_for_itself_is_refused() -> None:
    """A list that was changed after the call can close a cycle; the run reports it instead of waiting."""
    items: list[Any] = []
    lazy = fold(items)
    items.append(fold(lazy))
    with pytest.raises(UsageError, match="depends on itself"):
        list(Graph().build([lazy]))


def test_values_are_released_when_no_dependent_will_read_them() -> None:
    """In a chain only the last value is alive; the target's is kept."""
    graph, state = Graph(), RunState()
    links = [leaf(object())]
    for _ in range(3):
        links.append(leaf(links[-1]))
    for nodes in graph.build([links[-1]]):
        state.admit(nodes)
    state.aim([graph.node(links[-1])])
    for number, lazy in enumerate(links):
        node = state.on_loop.popleft()
        assert node is graph.node(lazy)
        state.complete(node, f"value {number}")
        assert [n for n, other in enumerate(links) if graph.node(other).value is not None] == [number]


@pytest.mark.full
@pytest.mark.process
def test_a_graph_of_a_hundred_thousand_links_is_built_in_steps() -> None:
    """Depth costs no recursion, and the builder can be paused every 128 nodes."""
    lazy = leaf(0)
    for _ in range(100_000):
        lazy = leaf(lazy)
    sizes = [len(nodes) for nodes in Graph().build([lazy])]
    assert sum(sizes) == 100_001
    assert max(sizes) == 128


def test_whether_nodes_wait_for_each_other_is_found_by_asking_each_node_once() -> None:
    """Two ladders, in which each of two nodes of a step needs both of the step before: 2 to the power of 40 paths."""
    asked: dict[Any, int] = {}

    class Rung:
        items, status = None, Status.WAITING

        def __init__(self, before: list[Any]) -> None:
            self.before, self.after = before, list[Any]()

        @property
        def inputs(self) -> Any:
            asked[self] = asked.get(self, 0) + 1
            return self.before

        @property
        def all_dependents(self) -> Any:
            asked[self] = asked.get(self, 0) + 1
            return self.after

    def ladder() -> list[Any]:
        rungs: list[Any] = []
        for _ in range(40):
            step = [Rung(rungs[-2:]), Rung(rungs[-2:])]
            for each in rungs[-2:]:
                each.after.extend(step)
            rungs.extend(step)
        return rungs

    early, late = ladder(), ladder()
    assert not waits_for(late[-1], early[0])
    assert max(asked.values()) == 1
    assert waits_for(late[-1], late[0])
