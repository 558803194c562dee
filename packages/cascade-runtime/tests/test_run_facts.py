"""What a run knows of its graph: each call up to a number, then each name up to a number, and what needs what."""

import pytest

from cascade.runtime._support import run_facts
from cascade.runtime._support.run_facts import GraphFacts, RunFacts


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> GraphFacts:
    """A graph of which three calls, two names and two edges are kept."""
    for name, most in (("MAX_NODES", 3), ("MAX_NAMES", 2), ("_MAX_EDGES", 2)):
        monkeypatch.setattr(run_facts, name, most)
    return GraphFacts()


def test_a_graph_shows_each_call_up_to_three_hundred() -> None:
    """As watchers are promised; above that it shows each name."""
    graph = GraphFacts()
    folded = []
    for number in range(302):
        graph.add_call(f"step:{number}", "step", "task")
        folded.append(graph.folded)
    assert folded.index(True) == 300
    assert graph.total == graph.rev == 302
    assert len(graph.calls) == 301
    assert graph.names == {"step": "task"}


def test_names_beyond_the_limit_are_counted_and_those_known_are_not(graph: GraphFacts) -> None:
    """A name has the kind of its first call."""
    for name, kind in (
        ("a", "task"),
        ("b", "map"),
        ("a", "route"),
        ("c", "task"),
        ("b", "task"),
        ("d", "task"),
    ):
        graph.add_name(name, kind)
    assert graph.names == {"a": "task", "b": "map"}
    assert graph.names_more == 2
    assert graph.rev == graph.total == 0


def test_an_edge_has_the_role_in_which_it_was_seen_first(graph: GraphFacts) -> None:
    """A new edge between names changes the picture; another one between calls of these names does not."""
    first, second, other = ("a:0", "a"), ("b:0", "b"), ("b:1", "b")
    graph.add_edge(first, second, "argument")
    assert graph.rev == 1
    graph.add_edge(first, second, "")
    graph.add_edge(first, other, "")
    assert graph.rev == 1
    assert graph.edges == {("a:0", "b:0"): "argument", ("a:0", "b:1"): ""}
    assert graph.name_edges == {("a", "b"): "argument"}


def test_a_call_needs_itself_in_no_picture_and_another_of_its_name_in_both(graph: GraphFacts) -> None:
    """A loop is an edge of a name to itself."""
    graph.add_edge(("a:0", "a"), ("a:0", "a"), "argument")
    assert (graph.edges, graph.name_edges, graph.rev) == ({}, {}, 0)
    graph.add_edge(("a:0", "a"), ("a:1", "a"), "argument")
    assert graph.edges == {("a:0", "a:1"): "argument"}
    assert graph.name_edges == {("a", "a"): "argument"}


def test_edges_beyond_the_limit_are_left_out(graph: GraphFacts) -> None:
    """Those of names have a limit of their own: there are few names, and many calls."""
    for number in range(4):
        graph.add_edge((f"a:{number}", "a"), (f"b:{number}", "b"), "argument")
    assert [*graph.edges] == [("a:0", "b:0"), ("a:1", "b:1")]
    for name in "cde":
        graph.add_edge(("a:0", "a"), (f"{name}:0", name), "")
    assert [*graph.name_edges] == [("a", "b"), ("a", "c")]
    assert graph.rev == 2


def test_a_folded_graph_still_learns_which_names_need_each_other(graph: GraphFacts) -> None:
    """Its calls are no longer shown, so no further edges between calls are kept."""
    for number in range(4):
        graph.add_call(f"a:{number}", "a", "task")
    graph.add_edge(("a:0", "a"), ("a:1", "a"), "argument")
    assert graph.folded
    assert graph.edges == {}
    assert graph.name_edges == {("a", "a"): "argument"}


def test_a_run_may_get_further_tasks_until_its_first_build_is_done() -> None:
    """And it counts nothing before anything has been noted."""
    facts = RunFacts()
    seen = [facts.open]
    facts.unexpanded -= 1
    seen.append(facts.open)
    assert seen == [True, False]
    assert (facts.known, facts.retries, facts.waits_for_slot(), facts.over_map_limits()) == ({}, {}, 0, {})
    facts.attempt_begins("step:0")
    assert (facts.graph.total, facts.graph.names_more, facts.graph.rev, facts.graph.folded) == (
        0,
        0,
        0,
        False,
    )
