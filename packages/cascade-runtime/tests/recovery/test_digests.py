"""Digests of a step's arguments: those of a map's items are the same as of single calls."""

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cascade.runtime._recovery.step_digests import ItemDigests, inputs_digest
from cascade.runtime.cache._digest import Reference
from cascade.spec import Call, LazyResult, call_of, task


@task
def noted() -> int:
    return 1


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4)
VALUES = st.recursive(PLAIN | st.builds(noted), lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@task
def three(a: Any, b: Any, c: Any = 5) -> None: ...


@task
def named(*, a: Any, b: Any, **more: Any) -> None: ...


def key_of(call: Call) -> Reference:
    return Reference(call.definition.name)


def definition(lazy: LazyResult[Any]) -> Any:
    return call_of(lazy).definition


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=3), st.none() | VALUES)
def test_an_item_has_the_digest_of_a_call_with_its_arguments(rows: list[tuple[Any, Any]], fixed: Any) -> None:
    """Whether its parameters can be given in order or only by name, and whatever the columns' order is."""
    columns = {"b": [b for _, b in rows], "a": [a for a, _ in rows]}
    more = {} if fixed is None else {"c": fixed}
    for kind in (definition(three(1, 2)), definition(named(a=1, b=2))):
        items = ItemDigests(kind, more, columns, key_of)
        for number, (a, b) in enumerate(rows):
            assert items.of(number) == inputs_digest(kind, (), {"a": a, "b": b, **more}, key_of)


def test_arguments_of_a_builtin_count_by_their_numbers_and_names() -> None:
    """It may have no signature; the order of its keywords does not count."""
    untold = dataclasses.replace(definition(three(1, 2)), signature=None, arity=range(0))

    def of(*args: Any, **kwargs: Any) -> bytes:
        return inputs_digest(untold, args, kwargs, key_of)

    assert of(1, 2, x=3, y=4) == of(1, 2, y=4, x=3)
    assert len({of(1, 2), of(2, 1), of(1, 2, x=3), of(1, 2, y=3), of(1)}) == 5


def test_a_value_is_not_taken_for_the_key_of_a_call() -> None:
    """Alone and in a list."""
    kind = definition(three(1, 2))
    for taken, text in ((noted(), "noted"), ([noted()], ["noted"])):
        assert inputs_digest(kind, (taken, 1), {}, key_of) != inputs_digest(kind, (text, 1), {}, key_of)
