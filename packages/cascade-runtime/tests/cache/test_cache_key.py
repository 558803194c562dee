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
import os
import re
import subprocess
import sys
import textwrap
import types
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cascade.interfaces import UncacheableArgumentError
from cascade.runtime.cache import cache_key
from cascade.runtime.cache._key import bound_arguments
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
    *(
        PurePosixPath("a"),
        PureWindowsPath("a"),
        PurePosixPath("a/b"),
        re.compile("a"),
        re.compile("a", re.IGNORECASE),
    ),
    *(int, str, len, abs, json.dumps, json, operator.itemgetter, "a".join, "b".join, str.upper),
    *(functools.partial(int, base=2), functools.partial(int, base=3), Point(1, 2).__eq__, echo),
    *(lambda: 1, lambda: 2, lambda x: x),
]


def test_different_values_have_different_keys() -> None:
    """Type, value, order, nesting and boundaries between values all count."""
    seen: dict[str, object] = {}
    for value in DISTINCT:
        key = key_of(echo, value)
        assert key not in seen, f"{value!r} and {seen[key]!r} have one key"
        seen[key] = value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a", "b", "c"}, {"c", "b", "a"}),
        ([1, (2, {"x": None})], [1, (2, {"x": None})]),
        (math.nan, float("nan")),
        (Point(1, 2), Point(1, 2)),
        (Name("a"), Name("a")),
        (memoryview(b"abc")[:2], memoryview(b"ab")),
    ],
)
def test_equal_values_have_one_key(one: object, other: object) -> None:
    """Identity does not count, nor the order in which a set was filled."""
    assert key_of(echo, one) == key_of(echo, other)


def test_a_list_that_is_used_twice_equals_two_equal_lists() -> None:
    """Whether two parts of a value are the same object does not count."""
    shared = [1]
    assert key_of(echo, [shared, shared]) == key_of(echo, [[1], [1]])


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


@pytest.mark.parametrize("examples", [50, pytest.param(3_000, marks=pytest.mark.nightly)])
def test_keys_are_equal_exactly_when_values_are(examples: int) -> None:
    """Keys agree with an oracle that compares values as text, types included."""

    @given(VALUES, VALUES)
    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def agree(one: object, other: object) -> None:
        assert (key_of(echo, one) == key_of(echo, other)) == (canonical_text(one) == canonical_text(other))

    agree()


def shuffled(value: Any) -> Any:
    """Return an equal value whose sets were filled in reverse order."""
    if isinstance(value, dict):
        return {shuffled(k): shuffled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(shuffled, value))
    return type(value)(reversed(list(value))) if isinstance(value, set | frozenset) else value


@pytest.mark.parametrize("examples", [50, pytest.param(1_000, marks=pytest.mark.nightly)])
def test_the_order_of_a_set_does_not_count(examples: int) -> None:
    """A set filled in another order has the same key."""

    @given(VALUES)
    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def agree(value: object) -> None:
        assert key_of(echo, shuffled(value)) == key_of(echo, value)

    agree()


PROGRAM = """
import dataclasses, datetime, enum, pathlib, sys, uuid
from cascade.runtime.cache import cache_key
from cascade.spec import task
from cascade.spec.caching import CachePolicy

class Colour(enum.Enum):
    RED = "r"

@dataclasses.dataclass
class Point:
    x: object
    names: set

LIMITS = frozenset({"low", "high", "middle", "none"})

def helper(x):
    return x in {"some", "words", "in", "a", "set"} and x in LIMITS

@task
def f(a, b=(1, 2), *rest, **more):
    def inner(y):
        return [helper(z) for z in y]
    return inner(a)

words = eval(sys.argv[1])
for each in (words, words | {"another"}):
    values = [
        {"some", "words", "in", "a", "set"}, {n: str(n) for n in "hello world"}, 1.5, None, Colour.RED,
        Point(3, {"x", "y", "z"}), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), pathlib.PurePath("a"),
        uuid.UUID(int=5), f, helper, len, frozenset({(1, "a"), (2, "b")}), each,
    ]
    print(cache_key(CachePolicy(version="v"), f._definition, (values,), {"z": 1, "y": {"p", "q", "r"}}))
"""


def run_with_seed(program: str, seed: int, *arguments: str) -> str:
    """Run a program in a new process with this seed of ``hash()``."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.full
@pytest.mark.process
@given(st.sets(st.text(st.characters(codec="ascii"), min_size=1), min_size=3))
@settings(max_examples=3, deadline=None)
def test_a_key_is_the_same_in_every_process(words: set[str]) -> None:
    """Different seeds of hash(), so different orders of sets, give one key; other content gives another."""
    (keys,) = {run_with_seed(PROGRAM, seed, repr(words - {"another"})) for seed in (0, 1, 424242)}
    assert len(set(keys.split())) == 2


# Arguments


@task
def scale(a: int, b: int = 2, *rest: int, c: int = 3, **more: int) -> int:
    return a + b + c + sum(rest) + sum(more.values())


def test_how_an_argument_is_passed_does_not_count() -> None:
    """Positional, by keyword, by default, named parameters in any order: one key."""
    key = key_of(scale, 1)
    assert key == key_of(scale, 1, 2) == key_of(scale, a=1) == key_of(scale, 1, b=2) == key_of(scale, 1, c=3)
    assert key_of(scale, b=5, a=1) == key_of(scale, 1, c=3, b=5)


def test_the_order_of_further_keywords_counts() -> None:
    """They are a dict in the function, which sees their order."""
    assert key_of(scale, 1, x=1, y=2) != key_of(scale, 1, y=2, x=1)


def test_which_parameter_gets_a_value_counts() -> None:
    """The same values for other parameters are another call."""
    calls = [(1, 3), (3, 1), (1, 2, 3), (1, 2, 3, 3), (1, 2, (3, 3))]
    keys = {key_of(scale, *call) for call in calls}
    keys |= {key_of(scale, 1, c=2), key_of(scale, 1, x=2), key_of(scale, 1, y=2), key_of(scale, 1, rest=2)}
    assert len(keys) == 9


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


@pytest.mark.parametrize("value", [object(), iter([1]), Exception("x"), [{"a": {1: iter(())}}], Scaler(1)])
def test_values_that_cannot_be_distinguished_are_rejected(value: object) -> None:
    """No value is keyed by its address or by its type alone."""
    with pytest.raises(UncacheableArgumentError):
        key_of(echo, value)


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


def test_comments_and_line_numbers_do_not_count() -> None:
    """The same function further down in the file, with a comment, has the same key."""
    plain = declared("@task\ndef f(x):\n    return x + 1")
    moved = declared("import os\n\n\n@task\ndef f(x):\n    # why\n\n    return x + 1")
    assert key_of(plain, 1) == key_of(moved, 1)


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


@pytest.mark.parametrize(
    ("one", "other"), [(1, 2), ([1], [2]), ({"k": 1}, {"k": 2}), (len, abs), ("a", None)]
)
def test_two_tasks_of_one_factory_differ_by_their_captured_variables(one: object, other: object) -> None:
    """Values in the closure count."""

    def make(config: object) -> Task[..., Any]:
        @task
        def f(x: object) -> object:
            return config, x

        return f

    assert key_of(make(one), 1) == key_of(make(one), 1) != key_of(make(other), 1)


def test_a_captured_object_without_a_digest_is_an_error_with_a_remedy() -> None:
    """The error names the variable and its function; with ignore= the variable does not count."""

    def make(client: object) -> Task[..., Any]:
        @task
        def f(x: object) -> object:
            return client, x

        return f

    with pytest.raises(
        UncacheableArgumentError, match=r"captured variable 'client' of .*; .*ignore=\('client',\)"
    ):
        key_of(make(object()), 1)
    policy = CachePolicy(ignore=("client",))
    assert key_of(make(object()), 1, policy=policy) == key_of(make(iter(())), 1, policy=policy)


def test_objects_that_a_task_writes_to_do_not_change_its_key() -> None:
    """A list that it appends to and a variable that it assigns are not part of its version."""
    noted: list[int] = []
    count = 0

    @task
    def f(x: int) -> int:
        nonlocal count
        count += 1
        noted.append(x)
        return x

    before = key_of(f, 1)
    f.function(1)
    assert (noted, count) == ([1], 1)
    assert key_of(f, 1) == before


def test_a_captured_variable_counts_with_its_present_value() -> None:
    """A new value from outside changes the key; the old value restores it."""
    rate = 1

    @task
    def f(x: int) -> int:
        return x * rate

    first = key_of(f, 1)
    rate = 2
    assert key_of(f, 1) != first
    rate = 1
    assert key_of(f, 1) == first


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


def test_code_of_other_modules_does_not_count() -> None:
    """An imported function is not part of the key: use version= for its changes."""
    source = "@task\ndef f(x):\n    return helper(x)"
    one = declared(source, helper=declared("def f(x):\n    return 1", module="a"))
    other = declared(source, helper=declared("def f(x):\n    return 2", module="a"))
    assert key_of(one, 1) == key_of(other, 1)


def test_a_task_that_names_another_task_depends_on_its_code() -> None:
    """A task that returns a call of another task gets a new key when that task changes."""
    source = "@task\ndef g(x):\n    return {}\n@task\ndef f(x):\n    return g(x)"
    assert key_of(declared(source.format(1)), 1) != key_of(declared(source.format(2)), 1)


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


def test_a_decorated_function_counts_with_the_function_that_it_wraps() -> None:
    """The wrapper is the same, the wrapped function differs."""
    source = """
    import functools
    def twice(function):
        @functools.wraps(function)
        def wrapper(x):
            return function(function(x))
        return wrapper
    @task
    @twice
    def f(x):
        return x + {}
    """
    assert key_of(declared(source.format(1)), 1) == key_of(declared(source.format(1)), 1)
    assert key_of(declared(source.format(1)), 1) != key_of(declared(source.format(2)), 1)


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


def test_paths_count_by_their_text() -> None:
    """A file's content is not read."""
    assert key_of(echo, Path("a")) == key_of(echo, Path("a")) != key_of(echo, Path("b"))


def _of_every_kind(a: int, /, b: int, *rest: int, c: int = 3, **others: int) -> None: ...
def _by_position(a: int, /, b: int = 2) -> None: ...
def _by_name(a: int, *, b: int) -> None: ...
def _rest(*rest: int) -> None: ...
def _others(**others: int) -> None: ...


@pytest.mark.parametrize(
    "function",
    [_of_every_kind, _by_position, _by_name, _rest, _others, lambda: None, lambda self, args: None],
)
@pytest.mark.parametrize("args", [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("kwargs", [{}, {"b": 5}, {"c": 6}, {"args": 7}])
def test_arguments_are_bound_as_python_binds_them(
    function: Callable[..., None], args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    """In the same order, too: it counts in the key."""
    definition = task(function)._definition
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            bound_arguments(definition, args, kwargs)
        return
    bound.apply_defaults()
    assert [*bound_arguments(definition, args, kwargs).items()] == [*bound.arguments.items()]
