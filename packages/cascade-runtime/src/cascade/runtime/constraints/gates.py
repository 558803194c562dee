"""What stands between a waiting task and its start: one small class for each type of constraint.

A gate exists for each scope and type that is in force. It is open or not, is told of each
start and end in its scope, and keeps the queues of tickets that wait for it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from cascade.runtime.constraints._words import shown
from cascade.runtime.constraints.rules import Cancel, Concurrency, Pause, RateLimit, Rule
from cascade.runtime.constraints.tickets import Line, Obstacle

R = TypeVar("R", bound=Rule)

_TOKEN = 1.0 - 1e-6  # so that a timer that rings a microsecond early finds its token


class Gate(Line, Generic[R]):
    """One type of constraint at work on one scope."""

    __slots__ = ("rule", "scope", "topic")
    rank: ClassVar[int]
    """Gates of a lower rank are asked first."""
    opens_by_itself: ClassVar[bool] = False
    """Whether time alone opens it."""

    def __init__(self, scope: str, rule: R, topic: str) -> None:
        super().__init__()
        self.scope = scope
        self.rule = rule
        self.topic = topic

    def change(self, rule: R, topic: str, now: float) -> None:
        """Put other parameters in force; what is running or given out stays counted."""
        self.rule = rule
        self.topic = topic

    def is_open(self, now: float) -> bool:
        return False

    def count(self, running: int) -> None:
        """Take note of how many more tasks of the scope run that did not come through here."""

    def entered(self, now: float) -> None:
        """Take note that a task of the scope starts."""

    def left(self, count: int = 1) -> None:
        """Take note that tasks of the scope have ended, however they did."""

    def opens_at(self, now: float) -> float:
        """Return when it opens, if it opens by itself."""
        return math.inf

    def reason(self) -> str:
        """Return in words why it is closed; the scope is text from outside."""
        raise NotImplementedError

    def obstacle(self) -> Obstacle:
        return Obstacle(self.reason(), self.topic)


class CancelGate(Gate[Cancel]):
    """Turns away whatever comes."""

    __slots__ = ()
    rank = 0

    def reason(self) -> str:
        return f"{shown(self.scope)} is cancelled"


class PauseGate(Gate[Pause]):
    """Always closed."""

    __slots__ = ()
    rank = 1

    def reason(self) -> str:
        return f"{shown(self.scope)} is paused"


class ConcurrencyGate(Gate[Concurrency]):
    """Counts what runs in its scope, also what had started before it was there."""

    __slots__ = ("running",)
    rank = 2

    def __init__(self, scope: str, rule: Concurrency, topic: str) -> None:
        super().__init__(scope, rule, topic)
        self.running = 0

    def is_open(self, now: float) -> bool:
        return self.running < self.rule.limit

    def count(self, running: int) -> None:
        self.running += running

    def entered(self, now: float) -> None:
        self.running += 1

    def left(self, count: int = 1) -> None:
        self.running -= count

    def reason(self) -> str:
        return f"{self.running} of at most {self.rule.limit} of {shown(self.scope)} are running"


class RateLimitGate(Gate[RateLimit]):
    """A token bucket, full at first, that holds at least one token."""

    __slots__ = ("_level", "_since")
    rank = 3
    opens_by_itself = True

    def __init__(self, scope: str, rule: RateLimit, topic: str) -> None:
        super().__init__(scope, rule, topic)
        self._level = rule.burst
        self._since: float | None = None

    def change(self, rule: RateLimit, topic: str, now: float) -> None:
        self._settle(now)
        super().change(rule, topic, now)
        self._level = min(self._level, self.rule.burst)

    def is_open(self, now: float) -> bool:
        self._settle(now)
        return self._level >= _TOKEN

    def entered(self, now: float) -> None:
        self._settle(now)
        self._level = max(0.0, self._level - 1.0)

    def opens_at(self, now: float) -> float:
        self._settle(now)
        return now + max(0.0, 1.0 - self._level) / self.rule.per_second

    def reason(self) -> str:
        return f"{shown(self.scope)} may start {self.rule.per_second:g} a second"

    def _settle(self, now: float) -> None:
        since, self._since = self._since, now
        if since is not None and now > since:
            self._level = min(self.rule.burst, self._level + (now - since) * self.rule.per_second)


GATES: dict[str, Callable[[str, Any, str], Gate[Any]]] = {
    Pause.type: PauseGate,
    Concurrency.type: ConcurrencyGate,
    RateLimit.type: RateLimitGate,
    Cancel.type: CancelGate,
}
