"""Declarations: immutable, checked when they are made, harmless at any depth."""

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any, cast

import pytest

from cascade.interfaces import (
    ConfigurationError,
    InputsError,
    TaskCallError,
    TaskDefinitionError,
    UsageError,
)
from cascade.spec import (
    Env,
    LazyResult,
    Param,
    RetryPolicy,
    Router,
    Task,
    call_of,
    pipeline,
    read_inputs,
    sequence,
    task,
)


@task
def add(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


@task
def listing() -> list[int]:
    return [1, 2]


def test_a_task_keeps_the_face_of_its_function() -> None:
    """Name, docstring and the function itself stay within reach."""
    assert (add.name, add.__name__, add.__doc__) == ("add", "add", "Add.")
    assert add.function(1, 1) == 2
    assert repr(add) == "<Task add(a: int, b: int = 2) -> int>"


def test_a_call_declares_and_runs_nothing() -> None:
    """Calling a task gives a lazy result that shows the call as it is written."""
    lazy = add(add(1), b=3)
    assert isinstance(lazy, LazyResult)
    assert repr(lazy) == "<LazyResult add(add(...), b=3)>"
    assert lazy != add(add(1), b=3)


def test_a_declaration_is_never_changed() -> None:
    """Every method gives a new node or task; the old one stays as it was, and refuses to be written."""
    first = add(1)
    changed = first.with_retry(5, delay=1.0, backoff=2.0).with_timeout(3).after(add(2))
    before, after = call_of(first), call_of(changed)
    assert (before.policies.retry, before.policies.timeout, before.predecessors) == (None, None, ())
    assert after.policies.retry == RetryPolicy(5, 1.0, 2.0)
    assert (after.policies.timeout, len(after.predecessors)) == (3, 1)
    with pytest.raises(AttributeError, match="immutable"):
        first.anything = 1
    patient = add.with_retry(2).with_timeout(1)
    assert call_of(patient(1)).policies.retry == RetryPolicy(2)
    assert call_of(add(1)).policies.retry is None


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: add(1).with_retry(True), "whole number"),
        (lambda: add(1).with_retry(cast("Any", 2.5)), "whole number"),
        (lambda: add(1).with_retry(2, delay=float("nan")), "from 0"),
        (lambda: add(1).with_retry(2, backoff=0.5), "from 1"),
        (lambda: add(1).with_retry(2, on=(cast("Any", KeyboardInterrupt),)), "exception classes"),
        (lambda: add(1).named(" "), "needs a text"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(declare: Callable[[], object], words: str) -> None:
    """The error names the setting and what it needs."""
    with pytest.raises(ConfigurationError, match=words):
        declare()


def test_delays_grow_by_the_factor_and_stay_finite() -> None:
    """Attempt n waits delay x backoff^(n-1), at most a day, however large n is."""
    policy = RetryPolicy(10_000, delay=0.5, backoff=2.0)
    assert [policy.delay_after(n) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert policy.delay_after(9_999) == 86_400


def test_jitter_and_a_bound_shape_the_delays() -> None:
    """Chance shortens or lengthens a delay by up to its share, and nothing exceeds the bound."""
    policy = RetryPolicy(9, delay=1.0, backoff=10.0, max_delay=50.0, jitter=0.5)
    assert [policy.delay_after(1, chance) for chance in (0.0, 0.5, 1.0)] == [0.5, 1.0, 1.5]
    assert [policy.delay_after(n) for n in (2, 3)] == [10.0, 50.0]


def test_items_and_attributes_of_a_lazy_result_are_lazy() -> None:
    """Only names that Python itself asks for are not taken for attributes of the value."""
    assert isinstance(listing()[0], LazyResult)
    assert isinstance(listing().anything.at[1:2], LazyResult)
    for name in ("__array_interface__", "_repr_html_"):
        assert not hasattr(listing(), name)
    lazy = listing()
    assert copy.copy(lazy) is copy.deepcopy([lazy])[0] is lazy


def test_fixed_arguments_are_checked_when_given() -> None:
    """partial() takes names of parameters; a call and a map add the rest, and may give one anew."""
    ten = add.partial(b=10)
    assert call_of(ten(1)).kwargs == {"b": 10}
    assert call_of(ten(1, b=11)).kwargs == {"b": 11}
    with pytest.raises(TaskCallError, match="'c'"):
        add.partial(c=1)


@pytest.mark.parametrize("wrong", [{}, {"a": 1}, [1], None])
def test_a_bad_route_is_refused_when_declared(wrong: Any) -> None:
    """Routes are a dict of lazy results, and there is at least one."""
    with pytest.raises(UsageError, match="lazy result"):
        Router(add(1), wrong)


def test_inputs_are_converted_and_all_problems_reported_at_once() -> None:
    """One error names every missing, unknown and unconvertible input; values and defaults come through."""
    sources = [
        cast("Any", call_of(lazy)).source
        for lazy in cast(
            "Any",
            (
                Param("n", type=int),
                Param("flag", type=bool),
                Param("d", default=None),
                Env("HOME_X", description="where"),
            ),
        )
    ]
    values = read_inputs(sources, {"n": "3", "flag": "yes"}, {"HOME_X": "/x"})
    assert [values[s] for s in sources] == [3, True, None, "/x"]
    with pytest.raises(InputsError) as caught:
        read_inputs(sources, {"n": "three", "m": 1}, {})
    assert caught.value.problems == {
        "parameter 'm' is unknown (the target takes d, flag, n)": "",
        "parameter 'n' cannot be converted": "ValueError: invalid literal for int() with base 10: 'three'",
        "parameter 'flag' is missing": "pass params={'flag': ...}",
        "environment variable 'HOME_X' (where) is missing": "set it or give it a default",
    }
    assert "cannot be converted: ValueError: invalid literal for int() with base 10: 'three'; " in str(
        caught.value
    )
    with pytest.raises(InputsError, match="parameter 'flog' is unknown; did you mean 'flag'\\?"):
        read_inputs(sources, {"n": 3, "flag": True, "flog": 1}, {})


def test_every_shape_of_lazy_result_is_pickled() -> None:
    """A task in another process may return any of them: items, attributes, routes, sequences, maps."""
    magnitude: Task[..., int] = task(abs)
    one = magnitude(-1)
    made = [one[0], one.real, Router(one, {1: one}), sequence(one, one), pipeline(one, magnitude)]
    made += [task(cast).partial(typ=int).map(val=[one]), one.run_if(one).after(one), Param("n"), Env("N")]
    for lazy in made:
        assert repr(pickle.loads(pickle.dumps(lazy))).split()[1:] == repr(lazy).split()[1:]


def test_a_map_checks_its_iterables_when_declared() -> None:
    """Texts and dicts are refused; a lazy iterable is checked when it has run."""
    for wrong in ("abc", b"abc", {"a": 1}):
        with pytest.raises(TaskCallError, match="needs a list of values for 'a'"):
            add.map(a=wrong)
    assert call_of(add.map(a=listing())).kwargs


def test_a_generator_given_to_map_is_read_once() -> None:
    """The items are taken when declared, so that the node can run twice."""
    lazy = add.map(a=(n for n in range(3)))
    assert call_of(lazy).kwargs == {"a": (0, 1, 2)}


def test_a_generator_is_no_task() -> None:
    """A generator function, sync or async, is refused with the remedy."""

    def numbers() -> Any:
        yield 1

    async def more() -> Any:
        yield 1

    for function in (numbers, more):
        with pytest.raises(TaskDefinitionError, match="return a list instead"):
            task(function)


def test_where_a_function_runs_is_decided_when_declared() -> None:
    """Async functions, also behind partial and __call__, run on the loop; others do not, unless inline."""

    async def asynchronous(x: int) -> int:
        return x

    class Model:
        async def __call__(self, x: int) -> int:
            return x

    for function in (asynchronous, functools.partial(asynchronous, 1), Model()):
        assert task(function)._definition.on_loop
    assert call_of(task(mode="inline")(len)(())).definition.on_loop
    assert not call_of(add(1)).definition.on_loop
    with pytest.raises(ConfigurationError, match="event loop"):
        task(mode="thread")(asynchronous)


def test_a_builtin_without_a_signature_is_a_task() -> None:
    """What cannot be inspected is called without a check."""
    assert isinstance(task(max), Task)
    assert call_of(task(max)(1, 2)).definition.name == "max"


def test_names_can_be_chosen() -> None:
    """The name that observers see is the function's, or the one that is given."""
    assert task(name="sum two")(add.function).name == "sum two"


def test_depth_harms_nothing() -> None:
    """A chain of 50,000 nodes is declared, shown and freed without recursion."""
    lazy = add(0)
    for _ in range(50_000):
        lazy = add(lazy)
    assert repr(lazy) == "<LazyResult add(add(...))>"
    del lazy


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        (add(2), "<LazyResult add(2)>"),
        (add.map(a=[1, 2]), "<LazyResult add.map(a=(1, 2))>"),
        (add.partial(b=3).map(a=[1]), "<LazyResult add.map(b=3, a=(1,))>"),
        (add(1)[0].real, "<LazyResult add(...)[0].real>"),
        (add(1)[0][1][2][3][4], "<LazyResult ...[1][2][3][4]>"),
        (cast(Any, add)("x" * 200), f"<LazyResult add('{'x' * 25}...{'x' * 26}')>"),
        (cast(Any, add)("password=S3cr3t"), "<LazyResult add('password=***)>"),
        (
            add(1).with_retry(5).with_timeout(2).named("sum"),
            "<LazyResult sum(1).with_retry(5).with_timeout(2)>",
        ),
        (
            add(1).with_cache().with_constraints(gpu=1),
            "<LazyResult add(1).with_cache().with_constraints(gpu=1)>",
        ),
        (add(1).run_if(add(2)).after(add(3)), "<LazyResult add(1).run_if(add(...)).after(add(...))>"),
        (Router(add(1), {1: add(2), 2: add(3)}), "<Router add(...) to [1, 2]>"),
        (Param("n"), "<Param n>"),
        (Param("n", default=3), "<Param n default=3>"),
        (Env("HOME"), "<Env HOME>"),
        (add.partial(b=1).with_retry(2), "<Task add(a: int, b: int = 2) -> int, partial(b), with_retry(2)>"),
    ],
)
def test_declarations_that_differ_look_different(declared: object, shown: str) -> None:
    """A call looks as it was written, in short; a secret is masked."""
    assert repr(declared) == shown


def test_an_error_shows_no_argument() -> None:
    """Its text may be published, unlike a repr."""
    with pytest.raises(UsageError) as raised:
        bool(cast(Any, add)("S3cr3t"))
    assert "S3cr3t" not in str(raised.value)
