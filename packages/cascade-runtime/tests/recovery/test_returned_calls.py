"""Calls that a task returned, as plain values and back."""

from collections.abc import Callable
from typing import Any

import pytest

from cascade.interfaces import UnstorableValueError
from cascade.runtime import plan as steps_of
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery import returned_calls
from cascade.spec import LazyResult, Param, Router, call_of, collected, pipeline, sequence, task


@task
async def add(a: Any, b: Any = 0) -> Any:
    return a + b


@task(mode="inline")
def half(a: int) -> int:
    return a // 2


OUTER = add(1)
GRAPHS: dict[str, Callable[[], LazyResult[Any]]] = {
    "call": lambda: add(1, b=[2, (3, {"x": 4})]),
    "chain": lambda: pipeline(1, half, half),
    "shared": lambda: add(shared := half(1), shared),
    "containers": lambda: add([half(1), (half(2), {"x": half(3)})], b={"y": [half(4)]}),
    "map": lambda: add.partial(b=half(1)).map(a=[1, half(2), 3]).with_concurrency(2),
    "lazy map": lambda: add.map(a=half(1)),
    "route": lambda: Router(half(1), {0: add(1), (1, "x"): add(half(7))}),
    "condition": lambda: add(1).run_if(half(3)),
    "otherwise": lambda: add(1).run_if(half(3), otherwise=half(5)),
    "order": lambda: add(1).after(half(1), half(2)),
    "sequence": lambda: sequence(half(1), half(2)),
    "item": lambda: add(1)[0].real,
    "collected": lambda: collected([half(1), 2]),
    "name": lambda: add(1).named("plus"),
    "label": lambda: add(1).named("add {a}"),
    "policies": lambda: add(1).with_retry(3, delay=2.0).with_timeout(5),
    "outer": lambda: add(OUTER, half(1)),
}


def graph_of(*lazies: LazyResult[Any]) -> RecordedGraph:
    graph = RecordedGraph()
    graph.declare_now([OUTER, *lazies])
    return graph


def shown(lazy: LazyResult[Any]) -> list[Any]:
    """Return what a target would run, with arguments and settings."""
    call = call_of(lazy)
    return [
        [(step.id, step.kind, step.edges, step.max_attempts, step.timeout) for step in steps_of(lazy)],
        call.shown(),
    ]


@pytest.mark.parametrize("name", GRAPHS)
def test_a_plan_gives_the_same_calls(name: str) -> None:
    """The same keys, arguments and policies, in another process, too: only plain values are kept."""
    outer = graph_of()
    node_graph = RecordedGraph(outer)
    lazy = GRAPHS[name]()
    content = returned_calls.encode(node_graph, lazy, home=__name__)
    again = returned_calls.decode(outer, content, home=__name__)
    assert call_of(again) is not call_of(lazy)
    assert shown(again) == shown(lazy)
    assert returned_calls.encode(RecordedGraph(outer), again, home=__name__) == content


def half_of(number: int) -> dict[str, Any]:
    return {"args": [["value", number]], "kwargs": {}, "task": ["", "half", "half", "", None]}


def add_of(*args: Any, **more: Any) -> dict[str, Any]:
    return {"args": [*args], "kwargs": {}, "task": ["", "add", "add", "", None], **more}


RECORDED: dict[str, list[dict[str, Any]]] = {
    "call": [add_of(["value", 1], kwargs={"b": ["value", [2, (3, {"x": 4})]]})],
    "containers": [
        *(half_of(number) for number in (1, 2, 3, 4)),
        add_of(
            ["list", [["call", 0], ["tuple", [["call", 1], ["dict", [["x", ["call", 2]]]]]]]],
            kwargs={"b": ["dict", [["y", ["list", [["call", 3]]]]]]},
        ),
    ],
    "map": [half_of(2), half_of(1), add_of(fixed={"b": ["call", 1]}, kwargs={"a": ["tuple", [["value", 1], ["call", 0], ["value", 3]]]}, limit=2)],
    "route": [
        half_of(1),
        add_of(["value", 1]),
        half_of(7),
        add_of(["call", 2]),
        {"args": [["call", 0]], "kwargs": {}, "routes": [[0, ["call", 1]], [(1, "x"), ["call", 3]]]},
    ],
    "condition": [half_of(3), add_of(["value", 1], condition=[["call", 0], ["value", None], True])],
    "otherwise": [half_of(3), half_of(5), add_of(["value", 1], condition=[["call", 0], ["call", 1], False])],
    "order": [half_of(1), half_of(2), add_of(["value", 1], after=[["call", 0], ["call", 1]])],
    "sequence": [
        half_of(1),
        {**half_of(2), "after": [["call", 0]]},
        {"args": [["list", [["call", 0], ["call", 1]]]], "kwargs": {}, "structure": "sequence"},
    ],
    "item": [
        add_of(["value", 1]),
        {"args": [["call", 0], ["value", 0]], "kwargs": {}, "structure": "item"},
        {"args": [["call", 1], ["value", "real"]], "kwargs": {}, "structure": "attribute"},
    ],
    "collected": [half_of(1), {"args": [["list", [["call", 0], ["value", 2]]]], "kwargs": {}, "structure": "collected"}],
    "name": [add_of(["value", 1], task=["", "add", "plus", "", None])],
    "label": [add_of(["value", 1], task=["", "add", "add", "add {a}", None])],
    "outer": [half_of(1), add_of(["outer", "add:0"], ["call", 0])],
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_a_plan_in_the_file_of_a_recorded_run_lasts(name: str) -> None:
    """Another release of Cascade reads what this one writes, and this one what others have written."""
    outer, calls = graph_of(), RECORDED[name]
    content = {"turn": 0, "calls": calls, "result": ["call", len(calls) - 1]}
    again = returned_calls.decode(outer, content, home=__name__)
    assert shown(again) == shown(GRAPHS[name]())
    assert returned_calls.encode(RecordedGraph(outer), again, home=__name__) == content


def local() -> LazyResult[Any]:
    @task
    async def inside() -> None:
        return None

    return inside()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (local, "is a call of 'inside', which has no name to find it by"),
        (lambda: add(Param("x")), "is a call of 'x', which has no name to find it by"),
        (
            lambda: task(mode="process")(half.function)(1),
            "is a call of 'half', which has no name to find it by",
        ),
        (lambda: add({half(1)}), "holds a call in something other than a list, tuple or dict"),
        (lambda: add(1).with_constraints(gpu=half(2)), "is a call of 'add', which has no name to find it by"),
    ],
)
def test_what_has_no_name_has_no_plan(make: Callable[[], LazyResult[Any]], problem: str) -> None:
    """The task that returned it decides again."""
    with pytest.raises(UnstorableValueError, match=problem):
        returned_calls.encode(RecordedGraph(graph_of()), make(), home=__name__)
