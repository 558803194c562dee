"""The gates that a start request must pass: one small class for each type of constraint. No I/O.

The policy has one gate for each scope and type in force. A gate is open or closed, counts the
starts and ends in its scope, and is the wait queue of the requests that it blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from cascade.runtime._admission.buckets import TokenBucket
from cascade.runtime._admission.limits import Cancel, Concurrency, Pause, RateLimit, Rule
from cascade.runtime._admission.requests import BlockReason, WaitQueue
from cascade.runtime._support.escaping import printable

R = TypeVar("R", bound=Rule)


class Gate(WaitQueue, Generic[R]):
    """One constraint in force: a scope, a type and its parameters."""

    __slots__ = ("by", "rule", "scope", "topic")
    rank: ClassVar[int]
    """Gates of a lower rank are checked first."""
    opens_by_itself: ClassVar[bool] = False
    """Whether the gate opens with time, without any task ending."""

    def __init__(self, scope: str, rule: R, topic: str) -> None:
        super().__init__()
        self.scope = scope
        self.rule = rule
        self.topic = topic
        self.by = ""
        """Who has written the register, as its message claims."""

    def change(self, rule: R, topic: str, now: float) -> None:
        """Put other parameters in force; running tasks and spent tokens stay counted."""
        self.rule = rule
        self.topic = topic

    def is_open(self, now: float) -> bool:
        return False

    def add_running(self, count: int) -> None:
        """Count tasks of the scope that had started before the gate existed."""

    def task_started(self, now: float) -> None:
        """Count the start of a task in the scope."""

    def task_ended(self) -> None:
        """Count the end of a task in the scope, however it ended."""

    def opens_at(self, now: float) -> float:
        """Return when the gate opens, if it opens with time."""
        return math.inf

    def reason(self) -> str:
        """Return why the gate is closed, as a text that is safe to print."""
        raise NotImplementedError  # the scope comes from the broker: use printable(self.scope)

    def block_reason(self) -> BlockReason:
        return BlockReason(self.reason(), self.topic, self.rule.type, self.by)


AnyGate = Gate[Any]


class CancelGate(Gate[Cancel]):
    """Rejects every request in its scope."""

    __slots__ = ()
    rank = 0

    def reason(self) -> str:
        return f"{printable(self.scope)} is cancelled"


class PauseGate(Gate[Pause]):
    """Always closed."""

    __slots__ = ()
    rank = 1

    def reason(self) -> str:
        return f"{printable(self.scope)} is paused"


class ConcurrencyGate(Gate[Concurrency]):
    """Counts the running tasks of its scope, including those that had started before it existed."""

    __slots__ = ("running",)
    rank = 2

    def __init__(self, scope: str, rule: Concurrency, topic: str) -> None:
        super().__init__(scope, rule, topic)
        self.running = 0

    def is_open(self, now: float) -> bool:
        return self.running < self.rule.limit

    def add_running(self, count: int) -> None:
        self.running += count

    def task_started(self, now: float) -> None:
        self.running += 1

    def task_ended(self) -> None:
        self.running -= 1

    def reason(self) -> str:
        return f"{self.running} of at most {self.rule.limit} of {printable(self.scope)} are running"


class RateLimitGate(Gate[RateLimit]):
    """Takes a token of its bucket for each start."""

    __slots__ = ("bucket",)
    rank = 3
    opens_by_itself = True

    def __init__(self, scope: str, rule: RateLimit, topic: str) -> None:
        super().__init__(scope, rule, topic)
        self.bucket = TokenBucket(rule)

    def change(self, rule: RateLimit, topic: str, now: float) -> None:
        self.bucket.refill(self.rule, now)
        super().change(rule, topic, now)
        self.bucket.refill(rule, now)

    def is_open(self, now: float) -> bool:
        return self.bucket.has_token(self.rule, now)

    def task_started(self, now: float) -> None:
        self.bucket.take(self.rule, now)

    def opens_at(self, now: float) -> float:
        return self.bucket.next_token(self.rule, now)

    def reason(self) -> str:
        return f"{printable(self.scope)} may start at most {self.rule}"


GATES: dict[str, Callable[[str, Any, str], AnyGate]] = {
    Pause.type: PauseGate,
    Concurrency.type: ConcurrencyGate,
    RateLimit.type: RateLimitGate,
    Cancel.type: CancelGate,
}
