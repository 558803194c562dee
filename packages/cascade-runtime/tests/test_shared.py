"""Shared values: made for the first user, handed back after the last."""

import gc
import weakref

import pytest

from cascade.runtime._support.shared import Shared


def test_a_value_lives_from_its_first_user_to_its_last() -> None:
    """It is made once, is handed back to the last user only, and is made anew after that."""
    shared: Shared[list[int]] = Shared()
    key = object()
    made = [shared.join(key, make=list) for _ in range(3)]
    assert made[0] is made[1] is made[2] is shared.get(key)
    assert [shared.leave(key) for _ in range(2)] == [None, None]
    assert shared.leave(key) is made[0]
    assert shared.get(key) is None
    assert shared.join(key, make=list) is not made[0]


def test_keys_are_compared_by_identity() -> None:
    """Equal objects, and objects that cannot be hashed, are keys of their own."""
    shared: Shared[str] = Shared()
    first, second = [1], [1]
    assert shared.join(first, make=lambda: "first") == "first"
    assert shared.join(second, make=lambda: "second") == "second"
    assert shared.join(first, second, make=lambda: "both") == "both"
    assert shared.values() == ["first", "second", "both"]


def test_a_value_that_cannot_be_made_has_no_user() -> None:
    """After an error in ``make``, the next user makes the value."""
    shared: Shared[int] = Shared()
    key = object()
    with pytest.raises(ZeroDivisionError):
        shared.join(key, make=lambda: 1 // 0)
    assert shared.get(key) is None
    assert shared.join(key, make=lambda: 1) == 1


class Key:
    """A key that no one else refers to."""


def test_the_objects_of_a_key_live_as_long_as_its_users() -> None:
    """Otherwise a new object could have the same identity, and share a value that is not its own."""
    shared: Shared[str] = Shared()
    key = Key()
    seen = weakref.ref(key)
    shared.join(key, make=str)
    del key
    gc.collect()
    kept = seen()
    assert kept is not None
    shared.leave(kept)
    del kept
    gc.collect()
    assert seen() is None
