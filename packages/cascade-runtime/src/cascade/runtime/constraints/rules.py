"""What a register can ask for: one small class for each type, with the schema of its ``params``.

A class here is the typed schema (checked by msgspec: a boolean is no number, a text is no
number), says which scopes it takes, and what several of its kind come to. What it does to
waiting tasks is the gate of the same type in :mod:`cascade.runtime.constraints.gates`.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Self

import msgspec
from msgspec.structs import force_setattr

_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
_SECONDS |= {"h": 3600.0, "hr": 3600.0, "hour": 3600.0}
_RATE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*/\s*([a-z]{1,7}?)s?\s*", re.ASCII)

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Rule(msgspec.Struct, frozen=True):
    """``params`` of one type of constraint."""

    type: ClassVar[str]

    @classmethod
    def scope_problem(cls, scope: str, *, expires: bool) -> str:
        """Return in words why a register of this scope may not hold such a constraint, or nothing."""
        return ""

    def stricter(self, other: Self) -> Self:
        """Return what this and ``other`` in one scope come to: never more than either permits."""
        return self

    def params(self) -> dict[str, Any]:
        """Return the parameters in force, for a report."""
        return {}


class Pause(Rule, frozen=True):
    """Nothing starts."""

    type: ClassVar[str] = "pause"


class Concurrency(Rule, frozen=True):
    """At most ``limit`` tasks of the scope run at the same time in each engine."""

    type: ClassVar[str] = "concurrency"
    limit: Count

    def stricter(self, other: Self) -> Self:
        return self if self.limit <= other.limit else other

    def params(self) -> dict[str, Any]:
        return {"limit": self.limit}


class RateLimit(Rule, frozen=True):
    """A token bucket: each start takes one token, ``per_second`` come back, up to ``burst``.

    Only these two numbers are kept: a text that means a rate may be long.
    """

    type: ClassVar[str] = "rate_limit"
    rate: float | str
    capacity: Annotated[float, msgspec.Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        rate = _per_second(self.rate)
        force_setattr(self, "rate", rate)
        force_setattr(self, "capacity", self.capacity or max(1.0, rate))

    @property
    def per_second(self) -> float:
        """Tokens that come back each second."""
        assert not isinstance(self.rate, str)
        return self.rate

    @property
    def burst(self) -> float:
        """Tokens that the bucket holds: at least one, so that it never hangs."""
        assert self.capacity is not None
        return self.capacity

    def stricter(self, other: Self) -> Self:
        return type(self)(min(self.per_second, other.per_second), min(self.burst, other.burst))

    def params(self) -> dict[str, Any]:
        return {"rate": self.per_second, "capacity": self.burst}


class Cancel(Rule, frozen=True):
    """What the scope covers is cancelled, and nothing of it starts."""

    type: ClassVar[str] = "cancel"

    @classmethod
    def scope_problem(cls, scope: str, *, expires: bool) -> str:
        if scope.startswith("run:"):
            return ""
        if not scope.startswith("task:"):
            return f"cancel needs the scope run:<id>, or task:<pattern> with expires_at, not {scope[:60]!r}"
        return "" if expires else "cancel of task:<pattern> needs expires_at, or it would never end"


RULES: dict[str, type[Rule]] = {rule.type: rule for rule in (Pause, Concurrency, RateLimit, Cancel)}


def _per_second(rate: float | str) -> float:
    value = _parsed(rate) if isinstance(rate, str) else rate
    if value <= 0:
        raise ValueError("rate must be above 0; to stop everything use a pause")
    if not math.isfinite(1.0 / value):
        raise ValueError("rate is too small to mean anything; to stop everything use a pause")
    return value


def _parsed(text: str) -> float:
    found = _RATE.fullmatch(text)
    if found is None or found[2] not in _SECONDS:
        raise ValueError('rate must be a number per second, or a text as "10/s", "10/m" or "10/h"')
    return float(found[1]) / _SECONDS[found[2]]
