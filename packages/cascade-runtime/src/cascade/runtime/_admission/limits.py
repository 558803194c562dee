"""The types of constraints: one small class for each, with the schema of its ``params``.

A class here is the typed schema (the parser lets msgspec check it strictly: neither a boolean nor a
text is accepted as a number; the class itself checks ranges), states which scopes it accepts, and combines several registers of one
scope. The gate of the same type in :mod:`cascade.runtime._admission.gates` applies it to
start requests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
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


MAX_PATTERN = 256
"""Characters of the longest pattern that is accepted."""
MAX_WILDCARDS = 8
"""The most ``*``, and the most ``[``, of a pattern that is accepted."""


def pattern_problem(pattern: str) -> str:
    """Return why a pattern is not accepted, or an empty text.

    The limits keep the work for a hostile pattern to milliseconds: ``re`` backtracks over each ``*``
    on its own, and it expands a range of characters beyond U+00FF when it compiles a set.
    """
    if len(pattern) > MAX_PATTERN:
        return f"the task pattern is longer than {MAX_PATTERN} characters"
    for wildcard in "*[":
        if pattern.count(wildcard) > MAX_WILDCARDS:
            return f"the task pattern has more than {MAX_WILDCARDS} {wildcard!r}"
    if "[" in pattern and "-" in pattern and max(pattern) > "\xff":
        return "the task pattern has '[', '-' and characters beyond U+00FF: list the characters without '-'"
    return ""


def is_plain(pattern: str) -> bool:
    """Return whether a pattern matches only its own text."""
    return not set(pattern) & set("*?[")


@lru_cache(maxsize=1024)
def task_matcher(pattern: str) -> Callable[[str], object]:
    """Return a function with the answer of ``fnmatch.fnmatchcase`` for a name."""
    from fnmatch import translate  # only a constraint on tasks needs it

    return re.compile(translate(pattern)).match


_TOKEN = 1.0 - 1e-6  # so that a timer that fires a microsecond early finds its token


class TokenBucket:
    """The tokens of one rate limit; several engines and, one after the other, many runs may share it.

    It is full at first. Times are seconds on the monotonic clock, which all loops of a process share.
    """

    __slots__ = ("_level", "_refilled_at")

    def __init__(self, rule: RateLimit) -> None:
        self._level = rule.burst
        self._refilled_at: float | None = None

    def has_token(self, rule: RateLimit, now: float) -> bool:
        """Return whether a task may start now."""
        self.refill(rule, now)
        return self._level >= _TOKEN

    def take(self, rule: RateLimit, now: float) -> None:
        """Take the token of a start."""
        self.refill(rule, now)
        self._level = max(0.0, self._level - 1.0)

    def next_token(self, rule: RateLimit, now: float) -> float:
        """Return when there is a token."""
        self.refill(rule, now)
        return now + max(0.0, 1.0 - self._level) / rule.per_second

    def refill(self, rule: RateLimit, now: float) -> None:
        """Add the tokens of the time that has passed, at the rate of ``rule``."""
        since, self._refilled_at = self._refilled_at, now
        if since is not None and now > since:
            self._level += (now - since) * rule.per_second
        self._level = min(rule.burst, self._level)


TokenBuckets = dict[str, TokenBucket]
"""The buckets of one engine by scope. They outlive its runs: a new run does not begin with a full bucket."""
