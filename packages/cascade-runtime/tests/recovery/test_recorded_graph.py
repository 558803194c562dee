"""Which graph gives a call its key when graphs of returned calls lie in each other."""

import gc
import weakref
from typing import Any

from cascade.runtime._graph.recorded import RecordedGraph
from cascade.spec import LazyResult, call_of, task


@task
async def step(x: Any = None) -> Any:
    return x


@task
async def nest(x: Any = None) -> Any:
    return x


def built(graph: RecordedGraph, *lazies: LazyResult[Any]) -> None:
    graph.declare_now(lazies)
    for _ in graph.build(lazies):
        ...


def inside(graph: RecordedGraph, returned_by: LazyResult[Any]) -> RecordedGraph:
    """Return where the calls are built that a call of this graph has returned."""
    return graph.continue_at(graph.node(returned_by), 1)


def test_a_call_has_the_key_of_the_outermost_graph_that_declares_it_until_that_is_cleared() -> None:
    """However many graphs declare it, and whatever graphs beside it forget."""
    first, second, last = nest(1), nest(2), nest(3)
    shared, own = step(), step()
    run = RecordedGraph()
    built(run, first)
    middle = inside(run, first)
    built(middle, shared, second)
    inner = inside(middle, second)
    built(inner, own, step(shared), last)
    innermost = inside(inner, last)
    built(innermost, step([shared, own]))
    key, own_key = "nest:0~1/step:0", "nest:0~1/nest:0~1/step:0"
    for graph in (middle, inner, innermost):
        assert graph.key_of(call_of(shared)) == key
        assert graph.declared_as(key) is call_of(shared)
    assert [graph.is_outer(call_of(shared)) for graph in (middle, inner, innermost)] == [False, True, True]
    assert (innermost.key_of(call_of(own)), innermost.is_outer(call_of(own))) == (own_key, True)
    assert innermost.declared_as("nest:0") is call_of(first)
    assert innermost.declared_as("step:0") is None

    innermost.clear()
    assert (inner.key_of(call_of(shared)), inner.is_outer(call_of(shared))) == (key, True)
    assert inner.is_outer(call_of(first))


def test_a_call_that_no_graph_around_declares_any_more_belongs_to_the_one_that_still_does() -> None:
    """A loop replaces the graph of its last turn: what a turn declares does not outlive it."""
    first, second, shared = nest(1), nest(2), step()
    run = RecordedGraph()
    built(run, first)
    turn = inside(run, first)
    built(turn, shared, second)
    built(inside(turn, second), step(shared))
    turn.clear()
    following = run.continue_at(run.node(first), 2)
    built(following, step(), shared)
    assert not following.is_outer(call_of(shared))
    assert following.key_of(call_of(shared)) == "nest:0~2/step:1"


class Large:
    """An argument that a loop must not collect turn by turn."""


def test_a_graph_that_is_cleared_keeps_no_argument_of_its_calls() -> None:
    """A loop needs no more memory in each turn; graphs further in may have declared the call, too."""
    first, second = nest(1), nest(2)
    run = RecordedGraph()
    built(run, first)
    turn = inside(run, first)
    large = Large()
    kept = weakref.ref(large)
    shared = step(large)
    built(turn, second, shared)
    inner = inside(turn, second)
    built(inner, nest(shared))
    inner.clear()
    turn.take_new()
    turn.clear()
    del large, shared
    gc.collect()
    assert kept() is None
