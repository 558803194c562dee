"""Keys: the same for the same call in every process, different for every difference that may matter."""

import dataclasses
import enum
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

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


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float


class Scaler:
    def __init__(self, factor: object) -> None:
        self.factor = factor

    def __call__(self, x: int) -> object:
        return self.factor, x

    def scaled(self, x: int) -> object:
        return self.factor, x


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
