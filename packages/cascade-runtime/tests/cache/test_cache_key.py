# ruff: noqa: DTZ001 - naive times are among the values that must have different keys
"""Keys: the same for the same call in every process, different for every difference that may matter."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import inspect
import json
import math
import operator
import re
import textwrap
import types
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cascade.interfaces import UncacheableArgumentError
from cascade.runtime.cache import cache_key
from cascade.spec import Task, task
from cascade.spec.caching import CachePolicy

ANY = CachePolicy()


def key_of(declared: Task[..., Any], *args: object, policy: CachePolicy = ANY, **kwargs: object) -> str:
    return cache_key(policy, declared._definition, args, kwargs)


@task
def echo(value: object) -> object:
    return value


def declared(source: str, *, module: str = "shop", **names: object) -> Task[..., Any]:
    """Return the task ``f`` of a module with this source."""
    space: dict[str, Any] = {"__name__": module, "task": task, **names}
    exec(textwrap.dedent(source), space)
    found: Task[..., Any] = space["f"]
    return found


# Values


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Vector:
    x: float
    y: float


class Pair(NamedTuple):
    x: float
    y: float


class Name(str):
    __slots__ = ("note",)


class Bag(dict[str, int]):
    pass


class Scaler:
    def __init__(self, factor: object) -> None:
        self.factor = factor

    def __call__(self, x: int) -> object:
        return self.factor, x

    def scaled(self, x: int) -> object:
        return self.factor, x


DISTINCT: list[object] = [
    *(None, True, False, 0, 1, 2, -1, 255, -256, 2**70, 0.0, -0.0, 1.0, math.inf, math.nan, 1j, ...),
    *("", "1", "None", "a", "ab", "\ud800", b"", b"1", b"a", bytearray(b"a"), memoryview(b"a")),
    *([], [1], [1, 2], [2, 1], [[1], 2], [[1, 2]], [None], (), (1,), (1, 2), ((1,), 2), ["12"], ["1", "2"]),
    *({}, {1: 2}, {"1": 2}, {1: 2.0}, {1: 2, 3: 4}, {1: (2, 3), 4: None}, {(1, 2): None}),
    *(set(), {1}, {1, 2}, frozenset(), frozenset({1}), {"a"}, {"a", "b"}),
    *(Colour.RED, Colour.BLUE, Level.RED, Point(1, 2), Point(2, 1), Vector(1, 2), Pair(1, 2)),
    *(Name("a"), Bag(a=1), {"a": 1}, collections.OrderedDict(a=1), collections.Counter(a=1)),
    *(collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
    *(collections.defaultdict(int), collections.defaultdict(list), collections.deque([1])),
    *(types.MappingProxyType({}), range(3), range(0, 6, 2), slice(1, 2, None)),
    *(dt.date(2026, 1, 1), dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    *(dt.datetime(2026, 1, 1, fold=1), dt.time(1), dt.timedelta(1), dt.timedelta(0, 1), dt.UTC),
    *(dt.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")), zoneinfo.ZoneInfo("Europe/Berlin")),
    *(decimal.Decimal(1), decimal.Decimal("1.0"), fractions.Fraction(1, 2), uuid.UUID(int=1)),
    *(PurePosixPath("a"), PureWindowsPath("a"), PurePosixPath("a/b"), re.compile("a"), re.compile("a", re.IGNORECASE)),
    *(int, str, len, abs, json.dumps, json, operator.itemgetter, "a".join, "b".join, str.upper),
    *(functools.partial(int, base=2), functools.partial(int, base=3), Point(1, 2).__eq__, echo),
    *(lambda: 1, lambda: 2, lambda x: x),
]  # fmt: skip


def test_different_values_have_different_keys() -> None:
    """Type, value, order, nesting and boundaries between values all count."""
    seen: dict[str, object] = {}
    for value in DISTINCT:
        key = key_of(echo, value)
        assert key not in seen, f"{value!r} and {seen[key]!r} have one key"
        seen[key] = value


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates()
    | st.datetimes() | st.timedeltas() | st.uuids() | st.sampled_from(Colour)
)  # fmt: skip
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)


def canonical_text(value: Any) -> str:
    """Return a text that is equal exactly for equal values of equal types: an oracle without hashing."""
    if isinstance(value, dict):
        return f"dict{[(canonical_text(k), canonical_text(v)) for k, v in value.items()]}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}{sorted(map(canonical_text, value))}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}{list(map(canonical_text, value))}"
    if isinstance(value, Point):
        return f"Point{[canonical_text(value.x), canonical_text(value.y)]}"
    return f"{type(value).__name__}:{value!r}"


def shuffled(value: Any) -> Any:
    """Return an equal value whose sets were filled in reverse order."""
    if isinstance(value, dict):
        return {shuffled(k): shuffled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(shuffled, value))
    return type(value)(reversed(list(value))) if isinstance(value, set | frozenset) else value


@pytest.mark.parametrize("examples", [50, pytest.param(3_000, marks=pytest.mark.nightly)])
def test_keys_are_equal_exactly_when_values_are(examples: int) -> None:
    """Keys agree with an oracle that compares values as text, types included; the order of a set does not count."""

    @given(VALUES, VALUES)
    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def agree(one: object, other: object) -> None:
        assert (key_of(echo, one) == key_of(echo, other)) == (canonical_text(one) == canonical_text(other))
        assert key_of(echo, shuffled(one)) == key_of(echo, one)

    agree()


# Arguments


@task
def scale(a: int, b: int = 2, *rest: int, c: int = 3, **more: int) -> int:
    return a + b + c + sum(rest) + sum(more.values())


def test_a_builtin_without_a_signature_is_keyed_by_its_arguments_as_passed() -> None:
    """Without known parameters, positions and keywords count as passed."""
    untold = dataclasses.replace(scale._definition, signature=None)

    def key(*args: object, **kwargs: object) -> str:
        return cache_key(ANY, untold, args, kwargs)

    assert key(1, 2) == key(1, 2) != key(2, 1)
    assert len({key([1], x=2, y=None), key([1], y=None, x=2), key([1], x=2)}) == 3


def test_an_argument_without_a_digest_is_an_error_with_a_remedy() -> None:
    """The message names the task, the argument and the type, and says what to do."""
    with pytest.raises(
        UncacheableArgumentError, match=r"'scale' .* argument 'b': .*builtins.object; .*key="
    ) as raised:
        key_of(scale, 1, [object()])
    assert (raised.value.task_name, raised.value.where) == ("scale", "argument 'b'")


def test_a_value_that_contains_itself_is_rejected() -> None:
    """It gives a clear error, not an endless recursion."""
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(UncacheableArgumentError, match="contains itself"):
        key_of(echo, endless)


def test_a_key_function_replaces_the_arguments() -> None:
    """Calls for which it returns equal values are equal, and arguments need no digest."""
    policy = CachePolicy(key=lambda value: value["id"])
    one = key_of(echo, {"id": 1, "session": object()}, policy=policy)
    assert one == key_of(echo, {"id": 1}, policy=policy)
    assert one != key_of(echo, {"id": 2}, policy=policy)
    assert one != key_of(echo, 1)


def test_the_value_of_a_key_function_must_have_a_digest() -> None:
    """The error names the key as the problem."""
    with pytest.raises(UncacheableArgumentError, match="by its key"):
        key_of(echo, 1, policy=CachePolicy(key=lambda _: object()))


# The version of the code

BODIES = {
    "literal": "return x + 1",
    "another literal": "return x + 2",
    "a literal of another type": "return x + 1.0",
    "operator": "return x - 1",
    "name": "return y + 1",
    "global": "return len(x)",
    "another global": "return abs(x)",
    "attribute": "return x.a",
    "inner function": "return (lambda: x + 1)()",
    "literal in an inner function": "return (lambda: x + 2)()",
    "comprehension": "return [i for i in range(x) if i != 1]",
    "literal in a comprehension": "return [i for i in range(x) if i != 2]",
    "set": "return x in {1, 2}",
    "another set": "return x in {1, 3}",
    "handler": "try:\n        return x\n    except ValueError:\n        return 0",
    "another handler": "try:\n        return x\n    except KeyError:\n        return 0",
}


def test_every_change_of_the_code_changes_the_key() -> None:
    """Literals, names, operators, inner functions: two tasks with the same name never collide."""
    tasks = {name: declared(f"@task\ndef f(x, y=0):\n    {body}") for name, body in BODIES.items()}
    assert len({key_of(each, 1) for each in tasks.values()}) == len(BODIES)


def test_module_name_and_defaults_count() -> None:
    """Equal code in another module, with another name or another default is another task."""
    source = "@task\ndef f(x, y=0):\n    return x"
    keys = {
        key_of(declared(source), 1, 0),
        key_of(declared(source, module="other"), 1, 0),
        key_of(declared("def g(x, y=0):\n    return x\nf = task(g)"), 1, 0),
        key_of(declared("class A:\n    @task\n    def f(x, y=0):\n        return x\nf = A.f"), 1, 0),
        key_of(declared("@task\ndef f(x, y=1):\n    return x"), 1, 0),
    }
    assert len(keys) == 5


def test_the_task_name_does_not_count() -> None:
    """One function under two task names computes the same."""

    def double(x: int) -> int:
        return 2 * x

    assert key_of(task(name="a")(double), 1) == key_of(task(name="b")(double), 1)


def test_the_version_counts() -> None:
    """Another version, also of another type, is another key."""
    keys = {key_of(echo, 1, policy=CachePolicy(version=version)) for version in (None, "", 1, 2, "1")}
    assert len(keys) == 5


MODULE = """
LIMIT = {limit}
UNUSED = {unused}
count = {count}

def helper(x):
    return inner(x) {helper}

def inner(x):
    return x if x == 0 else helper({inner})

def unused():
    return {unused}

@task
def f(x):
    global count
    count += 1
    return helper(x) + LIMIT
"""
USUAL = {"limit": "3", "unused": "1", "helper": "+ 1", "inner": "x - 1", "count": "0"}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"limit": "4"}, True),
        ({"limit": "('a', 1)"}, True),
        ({"helper": "+ 2"}, True),
        ({"inner": "x - 2"}, True),
        ({"unused": "2"}, False),
        ({"count": "7"}, False),
        ({"limit": "[3]"}, True),
    ],
)
def test_functions_and_constants_of_the_module_count_if_they_are_used(
    change: dict[str, str], counts: bool
) -> None:
    """Helpers that call each other and plain constants count; unused or assigned names do not."""
    usual, changed = declared(MODULE.format(**USUAL)), declared(MODULE.format(**{**USUAL, **change}))
    assert (key_of(usual, 1) != key_of(changed, 1)) is counts


@pytest.mark.parametrize(
    ("empty", "filled", "write"),
    [
        ("[]", "[1]", "append(x)"),
        ("[]", "[1]", "extend([x])"),
        ("set()", "{1}", "add(x)"),
        ("{}", "{1: 1}", "update(x=x)"),
        ("deque()", "deque([1])", "append(x)"),
        ("deque()", "deque([1])", "appendleft(x)"),
    ],
)
def test_a_global_that_the_task_only_writes_to_does_not_count(empty: str, filled: str, write: str) -> None:
    """A log of the module cannot change the result; one that the task reads can."""
    source = f"from collections import deque\nnotes = {{}}\n@task\ndef f(x):\n    notes.{write}"
    keys = [key_of(declared(source.format(notes)), 1) for notes in (empty, filled)]
    assert keys[0] == keys[1]
    source += "\n    return len(notes)"
    keys = [key_of(declared(source.format(notes)), 1) for notes in (empty, filled)]
    assert keys[0] != keys[1]


STEPS = """
def one(x):
    return x, STEPS

def two(x):
    return {two}, STEPS

STEPS = (one, two)

@task
def g(x):
    return two(x)

@task
def f(x):
    return one(x)
"""


def test_a_key_does_not_depend_on_the_keys_computed_before() -> None:
    """Also for functions in a tuple that these functions name themselves."""
    alone, after = declared(STEPS.format(two="x")), declared(STEPS.format(two="x"))
    key_of(after._definition.function.__globals__["g"], 1)
    assert key_of(alone, 1) == key_of(after, 1) != key_of(declared(STEPS.format(two="-x")), 1)


def test_callable_objects_differ_by_their_state() -> None:
    """Instances, partial functions and cached functions can be tasks."""
    pairs: list[tuple[Any, Any]] = [
        (Scaler(1), Scaler(2)),
        (functools.partial(pow, 2), functools.partial(pow, 3)),
        (functools.lru_cache(lambda x: 1), functools.lru_cache(lambda x: 2)),
        (int, float),
    ]
    for one, other in pairs:
        assert key_of(task(one), 1) == key_of(task(one), 1) != key_of(task(other), 1)


@pytest.mark.parametrize("function", [Scaler(object()), Scaler(1).scaled, functools.partial(pow, object())])
def test_a_callable_whose_state_has_no_digest_is_rejected(function: Any) -> None:
    """Two of them could not be distinguished."""
    with pytest.raises(
        UncacheableArgumentError, match=r"by its function: .*; make a plain function the task"
    ):
        key_of(task(function), 1)


def test_many_helpers_are_visited_once_each() -> None:
    """Functions that each name two others cost one visit each, not exponentially many."""
    lines = [f"def h{i}(x):\n    return h{i + 1}(x) + h{i + 2}(x)" for i in range(60)]
    source = "\n".join(
        [*lines, "def h60(x):\n    return 1\ndef h61(x):\n    return 2", "@task\ndef f(x):\n    return h0(x)"]
    )
    assert key_of(declared(source), 1) != key_of(declared(source.replace("return 2", "return 3")), 1)


def _of_every_kind(a: int, /, b: int, *rest: int, c: int = 3, **others: int) -> None: ...
def _by_position(a: int, /, b: int = 2) -> None: ...
def _by_name(a: int, *, b: int) -> None: ...
def _rest(*rest: int) -> None: ...
def _others(**others: int) -> None: ...


CALLS = [
    (args, kwargs)
    for args in ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))
    for kwargs in ({}, {"b": 2}, {"c": 3}, {"b": 5}, {"args": 7}, {"x": 1, "y": 2}, {"y": 2, "x": 1})
]


@pytest.mark.parametrize(
    "function",
    [_of_every_kind, _by_position, _by_name, _rest, _others, lambda: None, lambda self, args: None],
)
def test_calls_have_one_key_exactly_when_python_binds_them_alike(function: Callable[..., None]) -> None:
    """By position, by name or by default; the order of further keywords counts, as the function sees it."""
    keys: dict[str, str] = {}
    for args, kwargs in CALLS:
        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
        except TypeError:
            with pytest.raises(TypeError):
                cache_key(ANY, task(function)._definition, args, kwargs)
            continue
        bound.apply_defaults()
        key = cache_key(ANY, task(function)._definition, args, kwargs)
        assert keys.setdefault(repr([*bound.arguments.items()]), key) == key
    assert len({*keys.values()}) == len(keys)
