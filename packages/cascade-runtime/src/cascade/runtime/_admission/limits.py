"""The types of constraints: one small class for each, with the schema of its ``params``.

A class here is the typed schema (the parser lets msgspec check it strictly: neither a boolean nor a
text is accepted as a number; the class itself checks ranges), states which scopes it accepts, and combines several registers of one
scope. The gate of the same type in :mod:`cascade.runtime._admission.gates` applies it to
start requests.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Self

_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
_SECONDS |= {"h": 3600.0, "hr": 3600.0, "hour": 3600.0}
_RATE = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)/([a-z]{1,7}?)s?"
_LARGEST_LIMIT = 2**53  # the largest whole number up to which a float has them all
_LONGEST_RATE = 64  # characters; a longer text cannot match


@dataclass(frozen=True)
class Rule:
    """``params`` of one type of constraint; a type without parameters needs no decorator of its own."""

    type: ClassVar[str]

    @classmethod
    def scope_problem(cls, scope: str, *, expires: bool) -> str:
        """Return why a register of this scope may not hold such a constraint, or an empty text."""
        return ""

    def stricter(self, other: Self) -> Self:
        """Combine two registers of one scope: the result permits no more than either of them."""
        return self

    def params(self) -> dict[str, Any]:
        """Return the parameters in force, for a report."""
        return {}


class Pause(Rule):
    """No task of the scope starts."""

    type: ClassVar[str] = "pause"


@dataclass(frozen=True)
class Concurrency(Rule):
    """At most ``limit`` tasks of the scope run at the same time in each engine."""

    type: ClassVar[str] = "concurrency"
    limit: float
    """A whole number that may be written as ``3.0``: some writers have only one type of number."""

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError("limit: Expected number >= 0")
        if self.limit > _LARGEST_LIMIT:
            raise ValueError(f"limit: Expected number <= {_LARGEST_LIMIT}")
        if self.limit != int(self.limit):
            raise ValueError(f"limit must be a whole number, not {self.limit:g}")
        object.__setattr__(self, "limit", int(self.limit))

    def stricter(self, other: Self) -> Self:
        return self if self.limit <= other.limit else other

    def params(self) -> dict[str, Any]:
        return {"limit": self.limit}


@dataclass(frozen=True)
class RateLimit(Rule):
    """A token bucket: each start takes one token, ``per_second`` are added, up to ``burst``."""

    type: ClassVar[str] = "rate_limit"
    rate: float | str
    """As it was written, without spaces, because reports repeat it: ``"6/m"`` says more than 0.1."""
    capacity: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rate, str):
            object.__setattr__(self, "rate", "".join(self.rate.split())[:_LONGEST_RATE])
        per_second = self.per_second  # checks the rate, also where a capacity is given
        if self.capacity is not None and self.capacity < 1:
            raise ValueError("capacity: Expected number >= 1")
        object.__setattr__(self, "capacity", self.capacity or max(1.0, per_second))

    @property
    def per_second(self) -> float:
        """Tokens added each second."""
        return _per_second(self.rate)

    @property
    def burst(self) -> float:
        """Capacity of the bucket in tokens; at least one, or no task could ever start."""
        assert self.capacity is not None
        return self.capacity

    def stricter(self, other: Self) -> Self:
        slower = self if self.per_second <= other.per_second else other
        return type(self)(slower.rate, min(self.burst, other.burst))

    def params(self) -> dict[str, Any]:
        return {"rate": self.rate, "capacity": self.burst}

    def __str__(self) -> str:
        return self.rate if isinstance(self.rate, str) else f"{self.rate:g} a second"


class Cancel(Rule):
    """Running tasks of the scope are cancelled, and waiting ones are rejected."""

    type: ClassVar[str] = "cancel"

    @classmethod
    def scope_problem(cls, scope: str, *, expires: bool) -> str:
        if scope.startswith("run:"):
            return ""
        kind = scope.partition(":")[0]
        if kind not in ("task", "source"):
            return (
                "cancel needs the scope run:<id>, or task:<pattern> or source:<id> with expires_at, "
                f"not {scope[:60]!r}"
            )
        return "" if expires else f"cancel of {kind}: needs expires_at, or it would never end"


RULES: dict[str, type[Rule]] = {rule.type: rule for rule in (Pause, Concurrency, RateLimit, Cancel)}


@lru_cache(maxsize=1024)
def _per_second(rate: float | str) -> float:
    """Return tokens per second; each check of a token bucket asks for it."""
    value = _parsed(rate) if isinstance(rate, str) else rate
    if value <= 0:
        raise ValueError("rate must be above 0; to stop everything use a pause")
    if not math.isfinite(1.0 / value):
        raise ValueError("rate is too small; to stop everything use a pause")
    return value


def _parsed(text: str) -> float:
    found = re.fullmatch(_RATE, text, re.ASCII)
    if found is None or found[2] not in _SECONDS:
        raise ValueError('rate must be a number per second, or a text as "10/s", "10/m" or "10/h"')
    return float(found[1]) / _SECONDS[found[2]]


Key = tuple[str, str]
"""Scope and type; each pair has one gate."""


@dataclass(frozen=True, slots=True)
class Effective:
    """The combined rule of all registers of one scope and type: the strictest."""

    rule: Rule
    topic: str
    """The register to name as the cause: the first one with the strictest rule."""
    by: str = field(default="", compare=False)
    """Who has written it, as its message claims."""
