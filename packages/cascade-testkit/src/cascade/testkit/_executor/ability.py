"""What an executor may be able to do beyond its four methods, as its author declares it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])

_ATTRIBUTE = "cascade_executor_abilities"


class Ability(Enum):
    """One ability; its value says what the tests of it show, and is the reason where they are skipped."""

    PICKLES = "runs calls in other processes, and says in words what cannot be pickled"
    STOPS = "stops a running call when it is given up"
    COUNTS = "knows in settle() how many calls that were given up still run"
    TRACKS = "tells when a call that was given up while it ran has ended"
    SURVIVES = "runs a call again when its worker was killed"


def needs(*abilities: Ability) -> Callable[[Test], Test]:
    """Mark a test as one that only executors with all these abilities must pass."""

    def mark(test: Test) -> Test:
        setattr(test, _ATTRIBUTE, abilities)
        return test

    return mark


def needed_by(test: object) -> tuple[Ability, ...]:
    """Return the abilities that a test was marked with."""
    found: tuple[Ability, ...] = getattr(test, _ATTRIBUTE, ())
    return found
