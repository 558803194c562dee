"""Rules: the types of constraints, one small class for each, the patterns of their tasks, and token buckets. No I/O.

A class here checks the ranges of its ``params``, states which scopes it accepts, and combines several
registers of one scope. The parser checks the types of ``params`` first: neither a boolean nor a text is
accepted as a number. The gate of the same type in :mod:`cascade.runtime._admission.gates` applies a
rule to start requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Self

from cascade.interfaces.gates import Gate, GateReading
from cascade.spec.policies import per_second

# the largest whole number up to which a float has them all
_LARGEST_LIMIT = 2**53
_LONGEST_RATE = 64  # characters; a longer text cannot match


class Rule:
    """``params`` of one type of constraint. Rules of one type with the same parameters are equal."""

    __slots__ = ()
    type: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self.type == other.type and self.params() == other.params()

    def __hash__(self) -> int:
        return hash((self.type, *self.params().values()))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.params().items())})"
        )

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

    __slots__ = ()
    type = "pause"


class Concurrency(Rule):
    """At most ``limit`` tasks of the scope run at the same time in each engine.

    :param limit: a whole number that may be written as ``3.0``: some writers have only one type of number.
    """

    __slots__ = ("limit",)
    type = "concurrency"

    def __init__(self, limit: float) -> None:
        if limit < 0:
            raise ValueError("limit: Expected number >= 0")
        if limit > _LARGEST_LIMIT:
            raise ValueError(f"limit: Expected number <= {_LARGEST_LIMIT}")
        if limit != int(limit):
            raise ValueError(f"limit must be a whole number, not {limit:g}")
        self.limit = int(limit)

    def stricter(self, other: Self) -> Self:
        return self if self.limit <= other.limit else other

    def params(self) -> dict[str, Any]:
        return {"limit": self.limit}


class RateLimit(Rule):
    """A token bucket: each start takes one token, ``per_second`` are added, up to ``burst``."""

    __slots__ = ("burst", "per_second", "rate")
    type = "rate_limit"

    def __init__(self, rate: float | str, capacity: float | None = None) -> None:
        self.rate = "".join(rate.split())[:_LONGEST_RATE] if isinstance(rate, str) else rate
        """As it was written, without spaces, because reports repeat it: ``"6/m"`` says more than 0.1."""
        self.per_second = per_second(self.rate)
        """Tokens added each second."""
        if capacity is not None and capacity < 1:
            raise ValueError("capacity: Expected number >= 1")
        self.burst = capacity or max(1.0, self.per_second)
        """Capacity of the bucket in tokens; at least one, or no task could ever start."""

    def stricter(self, other: Self) -> Self:
        slower = self if self.per_second <= other.per_second else other
        return type(self)(slower.rate, min(self.burst, other.burst))

    def params(self) -> dict[str, Any]:
        return {"rate": self.rate, "capacity": self.burst}

    def __str__(self) -> str:
        return self.rate if isinstance(self.rate, str) else f"{self.rate:g} a second"


class Cancel(Rule):
    """Running tasks of the scope are cancelled, and waiting ones are rejected.

    :param runs: only in these runs; None for every run of the scope.
    :param until: when it expires, in seconds since the epoch, or None.
    """

    __slots__ = ("runs", "until")
    type = "cancel"

    def __init__(self, runs: frozenset[str] | None = None, until: float | None = None) -> None:
        self.runs = runs
        self.until = until

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cancel) and (self.runs, self.until) == (other.runs, other.until)

    def __hash__(self) -> int:
        return hash((self.type, self.runs, self.until))

    def covers(self, run_id: str) -> bool:
        """Return whether a run is one of those that the cancel concerns."""
        return self.runs is None or run_id in self.runs

    def stricter(self, other: Self) -> Self:
        later = None if None in (self.until, other.until) else max(self.until or 0.0, other.until or 0.0)
        everywhere = self.runs is None or other.runs is None
        return type(self)(
            None if everywhere else (self.runs or frozenset()) | (other.runs or frozenset()), later
        )

    @classmethod
    def scope_problem(cls, scope: str, *, expires: bool) -> str:
        if scope.startswith("run:"):
            return ""
        kind = scope.partition(":")[0]
        if kind not in ("task", "source", "workflow"):
            return (
                "cancel needs the scope run:<id>, or task:<pattern>, source:<id> or workflow:<name> with "
                f"expires_at, not {scope[:60]!r}"
            )
        return "" if expires else f"cancel of {kind}: needs expires_at, or it would never end"


class GateRule(Rule):
    """No task of the scope starts while a value of the plant, or the time, closes a gate. Its type has the gate's name."""

    __slots__ = ("gate", "type")

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.type = gate.type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GateRule) and self.gate == other.gate

    def __hash__(self) -> int:
        return hash(self.gate)

    def params(self) -> dict[str, Any]:
        return self.gate.params()


RULES: dict[str, type[Rule]] = {rule.type: rule for rule in (Pause, Concurrency, RateLimit, Cancel)}
"""The types that have one name each; that of a :class:`GateRule` begins with ``gate.``."""


Key = tuple[str, str]
"""Scope and type; each pair has one gate."""


class LiveReading:
    """What a gate says, kept up to date by the one who evaluates it; from any thread."""

    __slots__ = ("reading",)

    def __init__(self, reading: GateReading) -> None:
        self.reading = reading


class Effective(NamedTuple):
    """The combined rule of all registers of one scope and type: the strictest."""

    rule: Rule
    topic: str
    """The register to name as the cause: the first one with the strictest rule."""
    by: str = ""
    """Who has written it, as its message claims."""
    live: LiveReading | None = None
    """What a gate says."""


ENGINE = "engine"
"""The scope of gates that the program itself declares; no register has it."""

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


# so that a timer that fires a microsecond early finds its token
_TOKEN = 1.0 - 1e-6


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
