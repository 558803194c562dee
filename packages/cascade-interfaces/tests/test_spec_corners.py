"""Declarations at their edges: order and targets, and values that stand beside lazy results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cascade.interfaces import (
    ConfigurationError,
    InvalidTargetError,
    RouteError,
    TaskDefinitionError,
    UsageError,
)
from cascade.spec import (
    Param,
    Search,
    call_of,
    may_hold_lazies,
    pipeline,
    sequence,
    substitute,
    targets_of,
    task,
)


@task
def one(number: int = 1) -> int:
    return number


LAZY = one()
most: Any = task(max)


@dataclass
class Wide:
    a: int = 1
    hidden: int = field(default=2, repr=False)
    b: int = 3
    c: str = "x"
    d: int = 5


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_a_sequence_waits_step_by_step_and_a_pipeline_passes_values() -> None:
    """Each step of a sequence waits for the one before, and for what it waited for anyway."""
    first, second, third = one(1), one(2).after(LAZY), one(3)
    (steps,) = call_of(sequence(first, second, third)).args
    assert steps[0] is first
    assert call_of(steps[1]).predecessors == (LAZY, first)
    assert call_of(steps[2]).predecessors == (steps[1],)
    assert call_of(sequence()).args == ([],)
    with pytest.raises(
        InvalidTargetError, match=r"3 of type int is not a lazy result; sequence\(\.\.\.\) takes the results"
    ):
        sequence(first, cast("Any", 3))
    last = pipeline(4, one, one)
    (before,) = call_of(last).args
    assert call_of(before).args == (4,)


@pytest.mark.parametrize(
    ("target", "named", "remedy"),
    [
        (3, "3", "call a function decorated with"),
        ([LAZY, "x"], "'x'", "call a function decorated with"),
        ((LAZY, None), "None", "call a function decorated with"),
        ({LAZY}, "{", "pass several targets as one list"),
        (one, "<Task one", "it is the task itself; call it: one"),
    ],
)
def test_what_is_not_a_target_is_named(target: object, named: str, remedy: str) -> None:
    """The first one of a list; a set has no order in which results could be returned."""
    with pytest.raises(InvalidTargetError, match=f"^{named}.* is not a lazy result; {remedy}"):
        targets_of(target)


def test_targets_are_one_lazy_result_or_a_list() -> None:
    """Derived classes are lazy results, too."""
    param = Param("n")
    assert targets_of(LAZY) == [LAZY]
    assert targets_of((LAZY, param)) == [LAZY, param]
    assert targets_of([]) == []


def test_what_holds_nothing_stays_the_object_that_it_is() -> None:
    """Functions, modules and plain objects beside a lazy result are passed on."""
    others = [1j, len, pytest, object(), Wide, one]
    given = [LAZY, *others, others]
    made = substitute(given, lambda lazy: 7)
    assert made[0] == 7
    assert all(new is old for new, old in zip(made[1:], given[1:], strict=True))
    whole: dict[str, Any] = {"a": others}
    assert substitute(whole, lambda lazy: 7) is whole
    assert substitute(3, lambda lazy: 7) == 3
    assert substitute(LAZY, lambda lazy: 7) == 7


def test_a_value_that_cannot_stand_in_a_set_is_an_error_of_python() -> None:
    """Its message says what is wrong; only the copying of a user's own class is an error of the call."""
    for given in ({LAZY}, frozenset({LAZY}), {LAZY: 1}):
        with pytest.raises(TypeError, match="unhashable type: 'list'") as raised:
            substitute(given, lambda lazy: [])
        assert not isinstance(raised.value, UsageError)


@pytest.mark.parametrize(
    ("value", "may"),
    [
        (3, False),
        ("x", False),
        ([], False),
        ([1, "a"], False),
        ({"a": 1}, False),
        ([1] * 600, True),
        ([[]], True),
        ([LAZY], True),
        (Wide(), True),
        (len, False),
    ],
)
def test_a_quick_look_tells_what_holds_nothing(value: object, may: bool) -> None:
    """A short container of plain values, or what is no container at all; anything else may hold something."""
    assert may_hold_lazies(value) is may


def test_a_search_looks_into_a_large_container_once() -> None:
    """The calls that share it cost little; one that is looked into ahead, in steps, is found at once."""
    search, large = Search(), [*range(100), [LAZY]]
    plain = [*range(100)]
    for _ in range(3):
        assert search.inside(plain) == []
    assert search.visits == 100
    for _ in search.look_ahead(large):
        raise AssertionError("a step is not over after so few items")
    assert search.inside(large) == [LAZY]
    assert search.visits == 100
    many = [*range(50_000), LAZY]
    assert len([*search.look_ahead(many)]) > 2
    assert search.inside(many) == [LAZY]


def test_a_default_that_cannot_be_looked_into_is_named_with_its_parameter() -> None:
    """The task does not wait for it; the message shows how to pass it."""

    def total(number: Any = (1, LAZY)) -> None: ...

    with pytest.raises(
        TaskDefinitionError, match=r"default of 'number' of task 'sum' .*: sum\(number=\.\.\.\)"
    ):
        task(name="sum")(total)


def test_a_value_without_a_route_is_named_with_the_routes() -> None:
    """Observers see only how many there are."""
    error = RouteError([1], ("a", 2))
    assert str(error) == "no route for [1]; the routes are 'a', 2"
    assert error.public == "the selector's value is not one of the 2 routes"


def test_a_builtin_without_a_signature_takes_fixed_arguments() -> None:
    """What cannot be known is not refused; it is shown like any other task."""
    fixed = task(max).partial(key=len)
    assert repr(fixed) == "<Task max(...), partial(key)>"
    assert call_of(fixed("a", "bb")).kwargs == {"key": len}


def test_an_error_shows_a_value_that_cannot_show_itself() -> None:
    """The mistake is named all the same; a long value is cut."""
    assert "Hostile object at 0x" in str(InvalidTargetError(Hostile()))
    assert "…" in str(InvalidTargetError("x" * 10_000))
    error = ConfigurationError("n", "needs a number", value=Hostile())
    assert error.public == "n: needs a number"
    assert str(error).startswith("n: needs a number, not <")
    assert ConfigurationError("n", "needs a number", value=None).value is None
    assert str(ConfigurationError("n", "needs a number", value=None)) == "n: needs a number, not None"
