"""Declarations at their edges: settings given twice, values that cannot be shown, compared or copied, and bounds."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from cascade.interfaces import (
    ConfigurationError,
    InputsError,
    InvalidTargetError,
    RouteError,
    TaskCallError,
    TaskDefinitionError,
    UsageError,
)
from cascade.spec import (
    CachePolicy,
    Env,
    LazyResult,
    Param,
    Policies,
    RetryPolicy,
    Router,
    Search,
    call_of,
    inject,
    may_hold_lazies,
    pipeline,
    read_inputs,
    resource,
    sequence,
    short,
    substitute,
    targets_of,
    task,
)


@task
def one(number: int = 1) -> int:
    return number


LAZY = one()
most: Any = task(max)


@resource
def db() -> Iterator[int]:
    yield 1


@resource(name="log", scope="task")
async def log_file(db: Any = inject(db), size: int = 3) -> AsyncIterator[int]:  # noqa: B008 - the usual form
    yield size


# Settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (((CachePolicy(),), {"ttl": 3, "key": len}), r"policy=\): is given already; put ttl, key into it"),
        (
            ((), {"zone": 3, "tttl": 3}),
            r"with_cache\(tttl=\): is unknown; there are ttl, key, ignore, version, .*",
        ),
        (((CachePolicy(file="a.csv"),), {}), ""),
        (((None,), {"ttl": 3}), ""),
    ],
)
def test_a_cache_is_described_by_a_policy_or_by_its_settings(
    settings: tuple[tuple[Any, ...], dict[str, Any]], words: str
) -> None:
    """Not by both: one of them would be ignored. A wrong setting is named, the first of several by name."""
    args, kwargs = settings
    if words:
        with pytest.raises(ConfigurationError, match=words):
            one.with_cache(*args, **kwargs)
    else:
        policy = call_of(one.with_cache(*args, **kwargs)(1)).policies.cache
        assert policy == (args[0] or CachePolicy(**kwargs))


@pytest.mark.parametrize(
    "wrong", [5, ValueError, {ValueError}, "ValueError", (ValueError, 3), [BaseException]]
)
def test_a_policy_of_retries_takes_classes_of_errors_in_a_list(wrong: Any) -> None:
    """A list is kept as a tuple, so that equal policies are equal; a single class is for ``with_retry`` alone."""
    with pytest.raises(ConfigurationError, match=r"with_retry\(on=\): needs exception classes, not"):
        RetryPolicy(on=wrong)
    made = RetryPolicy(on=cast("Any", [ValueError, OSError]))
    assert made == RetryPolicy(on=(ValueError, OSError))
    assert hash(made) == hash(RetryPolicy(on=(ValueError, OSError)))
    for on in (ValueError, (ValueError,), [ValueError]):
        assert call_of(one().with_retry(on=cast("Any", on))).policies.retry == RetryPolicy(on=(ValueError,))


def test_every_setting_of_retries_arrives() -> None:
    """By its name, of a task and of one call; what is not set has the default of the policy."""
    given: dict[str, Any] = {"delay": 1.0, "backoff": 2.0, "max_delay": 9.0, "jitter": 0.5, "on": (OSError,)}
    expected = RetryPolicy(4, **given)
    assert call_of(one().with_retry(4, **given)).policies.retry == expected
    assert call_of(one.with_retry(4, **given)()).policies.retry == expected
    assert call_of(one().with_retry()).policies.retry == RetryPolicy()
    assert [getattr(expected, name) for name in given] == [*given.values()]


@pytest.mark.parametrize("wrong", [0, 0.0, -1, float("nan"), float("inf"), True, "1"])
def test_a_time_limit_is_above_0(wrong: Any) -> None:
    """However it is given."""
    for declare in (
        lambda: one.with_timeout(wrong),
        lambda: one().with_timeout(wrong),
        lambda: Policies(timeout=wrong),
    ):
        with pytest.raises(ConfigurationError, match=r"with_timeout\(seconds\): needs a number above 0, not"):
            declare()
    assert Policies(timeout=0.001).timeout == 0.001


def test_the_bounds_of_retries_are_allowed() -> None:
    """Zero seconds, a factor of 1 and a jitter of 0 or 1 mean something; jitter does not exceed the bound either."""
    RetryPolicy(1, delay=0, backoff=1, max_delay=0, jitter=0)
    policy = RetryPolicy(9, delay=2.0, max_delay=3.0, jitter=1)
    assert [policy.delay_after(1, chance) for chance in (0.0, 0.5, 1.0)] == [0.0, 2.0, 3.0]
    assert RetryPolicy(9, delay=80_000.0, jitter=1).delay_after(1, 1.0) == 86_400.0
    assert RetryPolicy(9, delay=1.0, backoff=10.0, max_delay=1e9).delay_after(9) == 86_400.0
    for wrong in ({"max_delay": -1}, {"jitter": -0.1}, {"jitter": 1.1}, {"backoff": 0.99}, {"delay": -0.1}):
        with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))}="):
            RetryPolicy(**cast("Any", wrong))


class Words:
    """An iterator that is not a generator."""

    def __iter__(self) -> Words:
        return self

    def __next__(self) -> str:
        raise StopIteration


async def later() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("value", [Words(), (n for n in range(3)), iter([1]), later()])
def test_an_iterator_is_no_argument_of_a_call_that_may_be_tried_again(value: Any) -> None:
    """Whichever comes first, the argument or the setting; one attempt may read it, and a file can be read again."""
    refused: list[Callable[[], object]] = [
        lambda: one.with_retry(2)(value),
        lambda: one.with_retry(2)(number=value),
        lambda: one(value).with_retry(2),
        lambda: one(number=value).with_retry(2),
    ]
    fine: list[Callable[[], object]] = [
        lambda: one.with_retry(1)(value),
        lambda: one(value),
        lambda: one(value).with_timeout(1),
        lambda: one(cast("Any", io.StringIO("a"))).with_retry(2),
    ]
    for declare in refused:
        with pytest.raises(ConfigurationError, match="which only the first attempt could read; pass a list"):
            declare()
    for declare in fine:
        assert isinstance(declare(), LazyResult)
    with pytest.raises(UsageError, match="which only the first item could read; pass a list"):
        task(lambda a, b: a).partial(b=value).map(a=[1])


# What is shown


def test_resources_say_what_they_are() -> None:
    """In a traceback, or where a person prints one."""
    assert repr(db) == "<Resource db, one for each run>"
    assert repr(log_file) == "<Resource log, one for each task>"
    assert repr(inject("db")) == "inject('db')"
    assert repr(inject(log_file)) == "inject(log)"


def test_a_resource_knows_its_own_parameters() -> None:
    """Those into which another one is injected; a name of its own, a scope, and whether it is asynchronous."""
    assert (log_file.name, log_file.scope, log_file.is_async) == ("log", "task", True)
    assert log_file.injections == {"db": inject(db)}
    assert inject(db).resource is db
    assert (db.name, db.scope, db.is_async, db.injections) == ("db", "run", False, {})
    for wrong in ("", None, one):
        with pytest.raises(ConfigurationError, match="takes a resource or its name"):
            inject(cast("Any", wrong))


@dataclass
class Wide:
    a: int = 1
    hidden: int = field(default=2, repr=False)
    b: int = 3
    c: str = "x"
    d: int = 5


@dataclass
class Three:
    a: int = 1
    b: int = 2
    c: object = None


@dataclass(slots=True)
class Unset:
    a: int = field(init=False)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Wide(), "Wide(a=1, b=3, c='x', ...)"),
        (Three(), "Three(a=1, b=2, c=None)"),
        (Three(c=Three(c=Three())), "Three(a=1, b=2, c=Three(a=1, b=2, c=…"),
        (Unset(), "<Unset>"),
        ("two\n lines", r"'two\n lines'"),
        ([1, [2, [3, [4]]]], "[1, [2, [...]]]"),
        ("x" * 54, repr("x" * 54)),
        (10**60, f"1{'0' * 25}...{'0' * 27}"),
    ],
)
def test_a_value_is_shown_on_one_short_line(value: object, text: str) -> None:
    """Of a dataclass the first three fields that it shows; of what cannot show itself, its class."""
    shown = short(value)
    if "…" in text:
        assert len(shown) == 60
        assert shown.endswith("…")
        assert shown.startswith("Three(a=1, b=2, c=Three(a=1, b=2, c=")
    else:
        assert shown == text
    assert short(Hostile()).startswith("<Hostile instance at 0x")


def test_a_class_is_shown_as_a_class() -> None:
    """Also one of a dataclass, whose fields are those of its instances."""
    for kind in (Wide, Unset, Hostile):
        assert short(kind).startswith("<class '")
    assert repr(one(cast("Any", Wide))).startswith("<LazyResult one(<class '")


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        (one(7), "one(7)"),
        (most(1, 2, 3, 4, 5, 6), "max(1, 2, 3, 4, 5, 6)"),
        (most(1, 2, 3, 4, 5, 6, 7), "max(1, 2, 3, 4, 5, 6, ...)"),
        (most([LAZY, one(2)], key=None), "max([one(), one(...)], key=None)"),
        (one(2).after(*[one()] * 7), f"one(2).after({', '.join(['one()'] * 6)}, ...)"),
        (one(2).with_constraints(gpu=LAZY, ram=0.5), "one(2).with_constraints(gpu=one(), ram=0.5)"),
        (one(2)[LAZY], "one(...)[one()]"),
        (sequence(one(), one(2)), "sequence([one(), one(...)])"),
    ],
)
def test_a_call_is_shown_as_it_is_written(declared: LazyResult[Any], shown: str) -> None:
    """Up to six arguments or predecessors, and without those of its lazy results."""
    assert repr(declared) == f"<LazyResult {shown}>"


# Names and labels


@pytest.mark.parametrize(
    ("name", "label"),
    [("{number} of all", True), ("plain", False), ("half {", False), ("{{number}}", False), ("}{", False)],
)
def test_a_name_with_a_parameter_in_braces_is_a_label(name: str, label: bool) -> None:
    """Observers see the task's own name then; braces that name nothing are a part of the name."""
    settings = call_of(one(1).named(name)).settings
    expected = ("one", name) if label else (name, "")
    assert (settings.definition.name, settings.label) == expected


def test_a_label_names_only_parameters_of_its_task() -> None:
    """The message lists those that there are; a builtin without a signature takes any name as it is."""
    with pytest.raises(
        ConfigurationError, match=r"\{x\} is not a parameter of the task, which has number; write"
    ):
        one(1).named("{number} {x}")
    with pytest.raises(ConfigurationError, match=r"\{x\} is not a parameter of the task, which has none"):
        task(lambda: 1)().named("{x}")
    assert call_of(most(1, 2).named("{x}")).definition.name == "{x}"
    for wrong in ("", " ", 3):
        with pytest.raises(ConfigurationError, match="needs a text"):
            one(1).named(cast("Any", wrong))


# Inputs


def source(lazy: Any) -> Any:
    return cast("Any", call_of(lazy)).source


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("TRUE", True),
        (" yes\n", True),
        ("On", True),
        ("0", False),
        ("false", False),
        ("NO", False),
        ("off", False),
        (1, True),
        (0, False),
        (True, True),
        (False, False),
        ("", None),
        ("2", None),
        ("y", None),
    ],
)
def test_a_boolean_is_said_in_four_ways(text: object, value: bool | None) -> None:
    """In any case; anything else is refused, because every other text would be true."""
    flag = source(Param("flag", type=bool))
    if value is not None:
        assert read_inputs([flag], {"flag": text}, {}) == {flag: value}
    else:
        with pytest.raises(
            InputsError, match="cannot be converted: ValueError: it is not a boolean; write true or false"
        ):
            read_inputs([flag], {"flag": text}, {})


def test_a_value_of_the_type_is_not_converted() -> None:
    """One of a subclass is; a function is called with every value."""

    class Text(str):
        __slots__ = ()

    same, given = source(Param("a", type=list)), [1]
    assert read_inputs([same], {"a": given}, {})[same] is given
    plain = source(Param("b"))
    assert type(read_inputs([plain], {"b": Text("x")}, {})[plain]) is str
    called = source(Param("c", type=lambda value: [value]))
    assert read_inputs([called], {"c": given}, {}) == {called: [[1]]}


def test_a_parameter_and_a_variable_of_one_name_are_two_inputs() -> None:
    """Each takes its value from its own place, and a default only where there is none."""
    param, env = source(Param("HOME", default="p")), source(Env("HOME", default="e"))
    assert read_inputs([param, env], {}, {}) == {param: "p", env: "e"}
    assert read_inputs([param, env], {"HOME": "a"}, {"HOME": "b"}) == {param: "a", env: "b"}
    assert read_inputs([env], {}, {"HOME": ""}) == {env: ""}
    with pytest.raises(InputsError, match=r"parameter 'HOME' is unknown \(the target takes none\)"):
        read_inputs([env], {"HOME": "a"}, {})


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (Param("n"), Param("n"), ""),
        (Param("n", type=int), Param("n", type=int, description="of what"), ""),
        (Param("n", default=[1]), Param("n", default=[1]), ""),
        (Param("n", type=int), Param("n", type=float), "types"),
        (Param("n", default=1), Param("n"), "defaults"),
        (Param("n", default=1), Param("n", default=True), "defaults"),
        (Param("n", default=1), Param("n", default=2), "defaults"),
        (Param("n", default=np.ones(2)), Param("n", default=np.ones(2)), "defaults"),
        (Param("n", type=int, default=1), Param("n", default=2), "types and defaults"),
        (Env("n", default=1), Env("n", default=2), "defaults"),
    ],
)
def test_an_input_that_is_declared_twice_is_declared_alike(one: Any, other: Any, differ: str) -> None:
    """Two that differ would give one name two meanings; a default that cannot be compared differs."""
    sources = [source(one), source(other)]
    if differ:
        with pytest.raises(
            InputsError, match=f"declared twice with different {differ}: declare it once, and use that"
        ):
            read_inputs(sources, {"n": "1"}, {"n": "1"})
    else:
        assert len(read_inputs(sources, {"n": "1"}, {})) == 2


@pytest.mark.parametrize("kind", [Param, Env])
def test_an_input_needs_a_name_and_something_that_converts(kind: Callable[..., Any]) -> None:
    """The message names the class that the user wrote."""
    for wrong in ("", None, 3):
        with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\(name\): needs a text, not"):
            kind(wrong)
    with pytest.raises(
        ConfigurationError, match=rf"{kind.__name__}\(type=\): needs a type or a function, not 'int'"
    ):
        kind("n", type="int")
    made = source(kind("n", default=None, description="of files"))
    assert (made.required, made.default, made.description, made.from_environment) == (
        False,
        None,
        "of files",
        kind is Env,
    )


# Order, routes and targets


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
    ("target", "named"),
    [(3, "3"), ([LAZY, "x"], "'x'"), ((LAZY, None), "None"), ({LAZY}, "{"), (one, "<Task one")],
)
def test_what_is_not_a_target_is_named(target: object, named: str) -> None:
    """The first one of a list; a set has no order in which results could be returned."""
    with pytest.raises(
        InvalidTargetError, match=f"^{named}.* is not a lazy result; call a function decorated with"
    ):
        targets_of(target)


def test_targets_are_one_lazy_result_or_a_list() -> None:
    """Derived classes are lazy results, too."""
    param = Param("n")
    assert targets_of(LAZY) == [LAZY]
    assert targets_of((LAZY, param)) == [LAZY, param]
    assert targets_of([]) == []


# Values in containers


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


# Settings of one call


def test_each_setting_of_a_call_arrives_and_leaves_the_others_as_they_are() -> None:
    """Of a call and of a task; the call that it was made of stays as it was."""
    policies: list[tuple[Callable[[Any], Any], dict[str, Any]]] = [
        (lambda x: x.with_timeout(2), {"timeout": 2}),
        (lambda x: x.with_constraints(gpu=1, ram=LAZY), {"demands": {"gpu": 1, "ram": LAZY}}),
        (lambda x: x.at_most_once(), {"at_most_once": True}),
        (lambda x: x.unrecorded(), {"recorded": False}),
        (lambda x: x.with_retry(2), {"retry": RetryPolicy(2)}),
        (lambda x: x.with_cache(ttl=3), {"cache": CachePolicy(ttl=3)}),
    ]
    call, whole, given = one(3).after(LAZY), one, dict[str, Any]()
    for change, added in policies:
        before = call_of(call).policies
        changed, whole = change(call), change(whole)
        assert call_of(call).policies is before
        given |= added
        call = changed
        for made in (call, whole(3)):
            assert call_of(made).policies == Policies(**given)
        assert (call_of(call).args, call_of(call).predecessors) == ((3,), (LAZY,))
    assert call_of(one(3)).policies == Policies()
    assert whole.name == "one"


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.with_retry(2),
        lambda x: x.with_timeout(2),
        lambda x: x.with_constraints(gpu=1),
        lambda x: x.at_most_once(),
        lambda x: x.unrecorded(),
    ],
)
def test_a_step_of_the_graph_takes_no_setting_of_a_task(change: Callable[[Any], Any]) -> None:
    """It calls none: an item, an attribute, a route, a sequence, an input."""
    for step in (LAZY[0], LAZY.real, Router(LAZY, {1: LAZY}), sequence(LAZY), Param("n")):
        with pytest.raises(
            ConfigurationError, match="is a step of the graph and calls no task; set it on the tasks"
        ):
            change(step)


def test_a_map_keeps_its_columns_whatever_is_set() -> None:
    """Its limit, its policies, what it waits for and its name are its own."""
    mapped = task(lambda a, b: a).partial(b=2).map(a=[1, 2])
    changed = mapped.with_concurrency(4).with_retry(2).after(LAZY).named("sum")
    call: Any = call_of(changed)
    assert (call.kwargs, call.fixed, call.limit) == ({"a": (1, 2)}, {"b": 2}, 4)
    assert (call.policies.retry, call.predecessors, call.definition.name) == (RetryPolicy(2), (LAZY,), "sum")
    assert cast("Any", call_of(mapped)).limit is None
    assert cast("Any", call_of(changed.with_concurrency(1))).limit == 1


def test_a_call_waits_for_all_that_it_was_told_to_wait_for() -> None:
    """In the order of the calls of ``after``; without a condition unless there is one."""
    first, second, third = one(1), one(2), one(3)
    call = call_of(LAZY.after(first).after(second, third).after())
    assert (call.predecessors, call.condition) == ((first, second, third), None)


@pytest.mark.parametrize(
    ("given", "skips", "otherwise"),
    [
        ({}, True, None),
        ({"otherwise": None}, False, None),
        ({"otherwise": 3}, False, 3),
        ({"otherwise": LAZY}, False, LAZY),
    ],
)
def test_a_condition_skips_a_call_or_gives_another_value(
    given: dict[str, Any], skips: bool, otherwise: object
) -> None:
    """A value of None is a value; a container with lazy results becomes one that gives it."""
    condition = call_of(one(1).run_if(LAZY, **given)).condition
    assert condition is not None
    assert (condition.lazy, condition.skips) == (LAZY, skips)
    assert condition.otherwise is otherwise
    held = call_of(one(1).run_if(LAZY, otherwise=[LAZY])).condition
    assert held is not None
    assert isinstance(held.otherwise, LazyResult)
    assert call_of(held.otherwise).args == ([LAZY],)


async def later_one() -> int:
    return 1


class Model:
    async def __call__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("function", "mode", "on_loop", "is_async", "inline"),
    [
        (one.function, "auto", False, False, False),
        (one.function, "inline", True, False, True),
        (one.function, "thread", False, False, False),
        (later_one, "auto", True, True, False),
        (later_one, "inline", True, True, False),
        (Model(), "auto", True, True, False),
        (Model, "auto", False, False, False),
        (lambda db=inject("db"): db, "inline", True, False, False),  # noqa: B008 - the usual form
    ],
)
def test_where_and_how_a_function_is_called(
    function: Any, mode: str, on_loop: bool, is_async: bool, inline: bool
) -> None:
    """A class whose instances are called asynchronously is called like any other class."""
    made = task(mode=mode)(function)._definition
    assert (made.mode, made.on_loop, made.is_async, made.inline) == (mode, on_loop, is_async, inline)
    assert not made.structural
    if on_loop and not is_async:
        with pytest.raises(
            ConfigurationError, match="has mode='inline' and blocks the event loop, so no time limit"
        ):
            task(mode=mode)(function).with_timeout(1)
    else:
        assert isinstance(task(mode=mode)(function).with_timeout(1)(), LazyResult)


@pytest.mark.parametrize(
    ("function", "fine", "wrong"),
    [
        (
            lambda a, b=2: a,
            [((1,), {}), ((1, 2), {}), ((), {"a": 1}), ((1,), {"b": 2})],
            [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1})],
        ),
        (lambda *a: a, [((), {}), ((1, 2, 3), {})], [((1,), {"a": 1})]),
        (lambda a, *, b: a, [((1,), {"b": 2})], [((1,), {}), ((1, 2), {})]),
        (lambda a, /: a, [((1,), {})], [((), {"a": 1}), ((1, 2), {})]),
        (lambda **a: a, [((), {}), ((), {"b": 1})], [((1,), {})]),
        (lambda: 1, [((), {})], [((1,), {})]),
    ],
)
def test_a_call_takes_what_its_function_takes(
    function: Any, fine: list[tuple[Any, dict[str, Any]]], wrong: list[tuple[Any, dict[str, Any]]]
) -> None:
    """Whatever kinds its parameters are of."""
    made: Any = task(function)
    for args, kwargs in fine:
        call = call_of(made(*args, **kwargs))
        assert (call.args, dict(call.kwargs)) == (args, kwargs)
    for args, kwargs in wrong:
        with pytest.raises(TaskCallError, match="task '<lambda>': "):
            made(*args, **kwargs)
