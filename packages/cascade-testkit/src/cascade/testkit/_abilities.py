"""Abilities that the tested object declares; the suite skips the tests of other abilities."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import ClassVar, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])

_ATTRIBUTE = "cascade_abilities"


def needs(*abilities: Enum) -> Callable[[Test], Test]:
    """Mark a test as one that is passed only by what has all these abilities.

    The value of each describes what its tests show, and is the reason where they are skipped.
    """

    def mark(test: Test) -> Test:
        setattr(test, _ATTRIBUTE, abilities)
        return test

    return mark


class Declaring:
    """The part of a harness in which the author declares what the tested object can do."""

    abilities: ClassVar[frozenset[Enum]] = frozenset()

    @pytest.fixture(autouse=True)
    def _only_what_is_declared(self, request: pytest.FixtureRequest) -> None:
        needed: tuple[Enum, ...] = getattr(request.function, _ATTRIBUTE, ())
        for ability in needed:
            if ability not in self.abilities:
                pytest.skip(f"Ability.{ability.name} is not declared: {ability.value}")
