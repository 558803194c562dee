"""A graph that is declared otherwise when its run goes on: which recorded steps count as changed, and what runs again."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from cascade.interfaces import (
    RecordedStatus,
    RunChangedError,
    UnreadableResultError,
)
from cascade.runtime import Engine
from cascade.spec import Env, LazyResult, Param, Router, task
from cascade.testkit.state import MemoryState, StoredRun

ran: Counter[str] = Counter()
given: dict[str, Any] = {}
broken: set[str] = set()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()
    given.clear()
    broken.clear()


def note(what: str) -> None:
    ran[what] += 1
    if what in broken:
        raise ValueError(what)


@task(mode="inline")
def double(x: int, more: int = 0) -> int:
    note(f"double {x}")
    return 2 * x + more


@task(mode="inline")
def numbers() -> list[int]:
    """Return what the test has given: a task that depends on what it does not take."""
    note("numbers")
    return [*given["numbers"]]


@task(mode="inline")
def count_down(number: int, so_far: int = 0) -> Any:
    note(f"turn {number}")
    return count_down(number - 1, double(number, so_far)) if number else so_far


@task(mode="inline")
def spread(number: int) -> Any:
    """Return a map, as an item of a map may."""
    note(f"spread {number}")
    return double.map(x=range(number))


@task(mode="inline")
def last(*values: Any) -> Any:
    note("last")
    return [*values]


class Night:
    """One recorded run, in memory: each attempt has an engine of its own."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredRun] = {}

    async def run(self, target: LazyResult[Any], **settings: Any) -> Any:
        ran.clear()
        return await Engine(state_backend=MemoryState(self.stored)).run(target, run_id="night", **settings)

    async def fails(self, target: LazyResult[Any], **settings: Any) -> None:
        """Run all but the last step."""
        broken.add("last")
        with pytest.raises(ValueError, match="last"):
            await self.run(target, **settings)
        broken.clear()

    async def refuses(self, target: LazyResult[Any], **settings: Any) -> list[str]:
        """Return what has changed."""
        with pytest.raises(RunChangedError) as refused:
            await self.run(target, **settings)
        return [f"{change.key} {change.kind.value}" for change in refused.value.changes]


@pytest.fixture
def night() -> Night:
    return Night()


@dataclasses.dataclass
class Edit:
    """What is declared first, what later, what changes by that, and what runs again."""

    before: Callable[[], LazyResult[Any]]
    after: Callable[[], LazyResult[Any]]
    changes: list[str]
    ran: list[str]
    value: Any


def turns_of(*counts: int) -> LazyResult[Any]:
    return last(*(count_down(number) for number in counts))


EDITS: dict[str, Edit] = {
    "items of a map": Edit(
        lambda: last(double.map(x=[1, 2, 3])),
        lambda: last(double.map(x=[1, 5])),
        ["double:0[1] arguments", "double:0[2] gone"],
        ["double 5", "last"],
        [[2, 10]],
    ),
    "no items": Edit(
        lambda: last(double.map(x=[1])), lambda: last(double.map(x=[])), ["double:0[0] gone"], ["last"], [[]]
    ),
    "a map that is a call now": Edit(
        lambda: last(double.map(x=[1, 2])),
        lambda: last(double(1)),
        ["double:0[0] gone", "double:0[1] gone"],
        ["double 1", "last"],
        [2],
    ),
    "a call that is a map now": Edit(
        lambda: last(double(1)),
        lambda: last(double.map(x=[1, 2])),
        ["double:0 gone"],
        ["double 1", "double 2", "last"],
        [[2, 4]],
    ),
    "a call that is a map of late items now": Edit(
        lambda: last(double(1)),
        lambda: last(double.map(x=last.unrecorded()(1, 2))),
        ["double:0 gone"],
        ["double 1", "double 2", "last", "last"],
        [[2, 4]],
    ),
    "what all items of a map take": Edit(
        lambda: last(double.partial(more=1).map(x=[1, 2])),
        lambda: last(double.partial(more=2).map(x=[1, 2])),
        ["double:0[0] arguments", "double:0[1] arguments"],
        ["double 1", "double 2", "last"],
        [[4, 6]],
    ),
    "what a map waits for": Edit(
        lambda: last(double.map(x=last.unrecorded()(double(1), double(2)))),
        lambda: last(double.map(x=last.unrecorded()(double(1), double(3)))),
        ["double:1 arguments"],
        ["double 2", "double 3", "double 6", "last", "last"],
        [[4, 12]],
    ),
    "one loop of many": Edit(
        lambda: turns_of(*11 * [1]),
        lambda: turns_of(1, 2, *9 * [1]),
        ["count_down:1 arguments"],
        ["double 1", "double 2", "last", "turn 0", "turn 1", "turn 2"],
        [2, 6, *9 * [2]],
    ),
    "a loop less": Edit(
        lambda: turns_of(1, 1),
        lambda: turns_of(1),
        ["count_down:1 gone", "count_down:1~1/count_down:0 gone", "count_down:1~1/double:0 gone"],
        ["last"],
        [2],
    ),
    "items that returned maps": Edit(
        lambda: last(spread.map(number=[3, 2, 4])),
        lambda: last(spread.map(number=[3, 4])),
        ["spread:0[1] arguments", "spread:0[2] gone"],
        ["double 0", "double 1", "double 2", "double 3", "last", "spread 4"],
        [[[0, 2, 4], [0, 2, 4, 6]]],
    ),
    "a step that returned a map and is a map now": Edit(
        lambda: last(spread(3)),
        lambda: last(spread.map(number=[1])),
        ["spread:0 gone"],
        ["double 0", "last", "spread 1"],
        [[[0]]],
    ),
    "a map whose items returned maps and is a call now": Edit(
        lambda: last(spread.map(number=[2, 2])),
        lambda: last(spread(1)),
        ["spread:0[0] gone", "spread:0[1] gone"],
        ["double 0", "last", "spread 1"],
        [[0]],
    ),
    "what a loop takes": Edit(
        lambda: last(count_down(1, double(3))),
        lambda: last(count_down(1, double(4))),
        ["double:0 arguments"],
        ["double 1", "double 4", "last", "turn 0", "turn 1"],
        [10],
    ),
    "what a condition takes": Edit(
        lambda: last(double(1).run_if(double(2))),
        lambda: last(double(1).run_if(double(3))),
        ["double:0 arguments"],
        ["double 1", "double 3", "last"],
        [2],
    ),
    "what a later step only waits for": Edit(
        lambda: last(double(1).after(double(2))),
        lambda: last(double(1).after(double(3))),
        ["double:0 arguments"],
        ["last"],
        [2],
    ),
}


@pytest.mark.parametrize("name", EDITS)
async def test_what_is_declared_otherwise_is_named_and_runs_again_on_request(name: str, night: Night) -> None:
    """With all that take its value, and nothing else; a refused run stays as it was."""
    edit = EDITS[name]
    await night.fails(edit.before())
    failed = night.stored["night"].status, night.stored["night"].error
    assert sorted(await night.refuses(edit.after())) == edit.changes
    assert not ran
    assert (night.stored["night"].status, night.stored["night"].error) == failed
    assert await night.run(edit.after(), on_change="rerun") == edit.value
    assert sorted(ran.elements()) == edit.ran
    assert await night.run(edit.after()) == edit.value
    assert not ran


@task(mode="inline")
def same(value: Any) -> Any:
    return value


@task(mode="inline")
def refuse(x: int) -> int:
    raise OSError(x)


flags, late = same({"yes": True, "no": False}), same([1, 2])
yes, no = flags["yes"], flags["no"]

TAKEN: dict[str, tuple[LazyResult[Any], LazyResult[Any], Any]] = {
    "one item more": (double.map(x=[1, 2]), double.map(x=[1, 2, 3]), [2, 4, 6]),
    "one item more of maps in a row": (
        double.map(x=double.map(x=[1, 2])),
        double.map(x=double.map(x=[1, 2, 3])),
        [4, 8, 12],
    ),
    "what all late items take": (
        double.partial(more=1).map(x=late),
        double.partial(more=2).map(x=late),
        [4, 6],
    ),
    "an item of a value": (late[0], late[1], 2),
    "an item of an item": (same([[1, 2]])[0][0], same([[1, 2]])[0][1], 2),
    "an attribute": (same(1).real, same(1).imag, 0),
    "a part of a map": (double.map(x=range(3))[:2], double.map(x=range(3))[1:], [2, 4]),
    "a new condition": (double(1), double(1).run_if(no, otherwise=7), 7),
    "another condition": (double(1).run_if(yes, otherwise=7), double(1).run_if(no, otherwise=7), 7),
    "a condition of a condition": (
        double(1).run_if(double(1).run_if(no, otherwise=1), otherwise=7),
        double(1).run_if(double(1).run_if(no, otherwise=0), otherwise=7),
        7,
    ),
    "the other value of a condition": (
        double(1).run_if(no, otherwise=7),
        double(1).run_if(no, otherwise=8),
        8,
    ),
    "the value for a failure": (refuse(1).or_else(1), refuse(1).or_else(2), 2),
    "the value for failed items": (refuse.map(x=[1]).or_else(1), refuse.map(x=[1]).or_else(2), [2]),
    "the routes": (
        Router(yes, {True: double(1), False: double(2)}),
        Router(yes, {False: double(1), True: double(2)}),
        4,
    ),
    "the default of an input": (Param("n", default=1), Param("n", default=2), 2),
    "the variable of an input": (Env("CASCADE_A", default=1), Env("CASCADE_B", default=1), 1),
}


@pytest.mark.parametrize("name", TAKEN)
async def test_a_completed_step_notices_a_change_of_what_has_no_record(name: str, night: Night) -> None:
    """The step before it is as it was, and the run has succeeded: it returned its old value."""
    before, after, value = TAKEN[name]
    await night.run(last(before))
    assert "last:0 arguments" in await night.refuses(last(after))
    assert await night.run(last(after), on_change="rerun") == [value]
    assert await night.run(last(after)) == [value]
    assert not ran


async def test_a_declaration_deeper_than_python_can_call_is_compared(night: Night) -> None:
    """Items of items, and conditions of conditions."""
    deep: list[Any] = []
    for _ in range(3_000):
        deep = [deep]
    lazy, chosen = same.unrecorded()(deep), double(1)
    for _ in range(3_000):
        lazy, chosen = lazy[0], double(1).run_if(chosen, otherwise=0)
    await night.run(last(lazy, chosen))
    assert await night.refuses(last(lazy[:], chosen)) == ["last:0 arguments"]


async def test_items_that_are_known_late_are_compared_when_they_are_known(night: Night) -> None:
    """A step that is not recorded returns others: the run, in which steps have begun, has failed by then."""
    target = last(double.map(x=numbers.unrecorded()()))
    given["numbers"] = 1, 2, 3
    await night.fails(target)
    given["numbers"] = 1, 7
    assert await night.refuses(target) == ["double:0[1] arguments", "double:0[2] gone"]
    assert ran == {"numbers": 1}
    assert night.stored["night"].status is RecordedStatus.FAILED
    assert "double:0[1] (arguments)" in night.stored["night"].error
    assert await night.run(target, on_change="keep") == [[2, 4]]
    assert ran == {"numbers": 1, "last": 1}
    night.stored.clear()
    given["numbers"] = 1, 2, 3
    await night.fails(target)
    given["numbers"] = 1, 7
    assert await night.run(target, on_change="rerun") == [[2, 14]]
    assert ran == {"numbers": 1, "double 7": 1, "last": 1}


LOST: dict[str, tuple[Callable[[], LazyResult[Any]], list[str]]] = {
    "double:0": (lambda: last(double(1), double(2)), ["double 1"]),
    "double:0[1]": (lambda: last(double.map(x=[1, 2, 3])), ["double 2"]),
    "double:0[2]": (lambda: last(double.map(x=numbers())), ["double 3"]),
    "count_down:0": (
        lambda: last(count_down(2), double(5)),
        ["double 1", "double 2", *map("turn {}".format, range(3))],
    ),
}


@pytest.mark.parametrize("key", LOST)
@pytest.mark.parametrize("rule", ["refuse", "keep", "rerun"])
async def test_a_value_that_is_lost_is_named_or_made_again(key: str, rule: str, night: Night) -> None:
    """That of a call, of an item, or the plan of a step that returned calls; no other step runs again."""
    make, again = LOST[key]
    given["numbers"] = 1, 2, 3
    await night.fails(make())
    value = await night.run(make())
    night.stored.clear()
    await night.fails(make())
    del night.stored["night"].values[key]
    if rule == "rerun":
        assert await night.run(make(), on_change="rerun") == value
        assert sorted(ran.elements()) == sorted([*again, "last"])
        return
    error = RunChangedError if rule == "refuse" else UnreadableResultError
    with pytest.raises(error) as refused:
        await night.run(make(), on_change=rule)
    assert key in str(refused.value)
    assert not ran
    if isinstance(refused.value, RunChangedError):
        assert [(change.key, change.kind.value) for change in refused.value.changes] == [
            (key, "unreadable result")
        ]
        assert isinstance(refused.value.__cause__, UnreadableResultError)
