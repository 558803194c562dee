"""Arguments that hold lazy results: found and replaced without recursion, in any shape."""

from collections import namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces import UsageError
from cascade.runtime import Engine
from cascade.spec import LazyResult, find_lazies, substitute, task

Pair = namedtuple("Pair", "left right")


@task(mode="inline")
def leaf(x: Any = None) -> Any:
    return x


@task(mode="inline")
def fold(*args: Any, **kwargs: Any) -> Any:
    return [args, kwargs]


LEAVES = [leaf(n) for n in range(4)]
nested = st.recursive(
    st.integers() | st.sampled_from(LEAVES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)


def expected(value: Any, lookup: Any) -> Any:
    """Substitute by plain recursion."""
    if isinstance(value, LazyResult):
        return lookup(value)
    if isinstance(value, Pair):
        return Pair(*(expected(v, lookup) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(expected(v, lookup) for v in value)
    if isinstance(value, dict):
        return {k: expected(v, lookup) for k, v in value.items()}
    return value


@given(nested)
def test_values_take_the_place_of_lazy_results(value: Any) -> None:
    """Substitution gives what plain recursion gives, types included, and finds exactly what it replaces."""
    lookup = {lazy: f"value {n}" for n, lazy in enumerate(LEAVES)}.__getitem__
    assert substitute(value, lookup) == expected(value, lookup)
    assert repr(substitute(value, lookup)) == repr(expected(value, lookup))
    replaced: list[Any] = []
    substitute(value, replaced.append)
    assert find_lazies(value) == replaced


def test_depth_and_cycles_of_containers_harm_nothing() -> None:
    """A list nested 50,000 deep and one that holds itself are both walked."""
    deep: Any = LEAVES[0]
    for _ in range(50_000):
        deep = [deep]
    assert find_lazies(deep) == [LEAVES[0]]
    result = substitute(deep, lambda lazy: 7)
    for _ in range(50_000):
        (result,) = result
    assert result == 7
    loop: list[Any] = [LEAVES[0]]
    loop.append(loop)
    assert find_lazies(loop) == [LEAVES[0]]
    assert substitute(loop, lambda lazy: 7)[0] == 7


async def test_a_task_made_to_wait_for_itself_is_refused() -> None:
    """A list that was changed after the call can close a cycle; the run reports it instead of waiting."""
    items: list[Any] = []
    lazy = fold(items)
    items.append(fold(lazy))
    with pytest.raises(UsageError, match="depends on itself"):
        await Engine().run(lazy)
