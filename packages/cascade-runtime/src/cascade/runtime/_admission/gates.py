"""Gates: one for each constraint in force, and when it may have opened. No I/O.

What a user calls a gate (``cs.gate``: work that waits for a measured value) is one kind of them here, the ``PlantGate``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from cascade.interfaces.gates import GateReading
from cascade.interfaces.wire import timestamp
from cascade.runtime._admission.request_queues import BlockReason, WaitQueue
from cascade.runtime._admission.rules import (
    Cancel,
    Concurrency,
    Effective,
    GateRule,
    Key,
    LiveReading,
    Pause,
    RateLimit,
    Rule,
    TokenBucket,
)
from cascade.runtime._support.text import printable

R = TypeVar("R", bound=Rule)


class Gate(WaitQueue, Generic[R]):
    """One constraint in force: a scope, a type and its parameters."""

    __slots__ = ("by", "rule", "scope", "topic")
    rank: ClassVar[int]
    """Gates of a lower rank are checked first."""

    def __init__(self, scope: str, rule: R, topic: str) -> None:
        super().__init__()
        self.scope = scope
        self.rule = rule
        self.topic = topic
        self.by = ""
        """Who has written the register, as its message claims."""

    def covers(self, run_id: str) -> bool:
        """Return whether the gate applies to a run that its scope covers."""
        return True

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

    def reason(self) -> str:
        """Return why the gate is closed, as a text that is safe to print."""
        # the scope comes from the broker: use printable(self.scope)
        raise NotImplementedError

    def block_reason(self) -> BlockReason:
        return BlockReason(self.reason(), self.topic, self.rule.type, self.by)


AnyGate = Gate[Any]


class CancelGate(Gate[Cancel]):
    """Rejects every request in its scope, in the runs that the cancel covers."""

    __slots__ = ()
    rank = 0

    def covers(self, run_id: str) -> bool:
        return self.rule.covers(run_id)

    def reason(self) -> str:
        until = self.rule.until
        return f"{printable(self.scope)} is cancelled{f' until {timestamp(until)[:19]}Z' if until else ''}"


class HoldingGate(Gate[R]):
    """Holds running tasks, too: they wait at their next checkpoint."""

    __slots__ = ()
    rank = 1

    @property
    def holds(self) -> bool:
        """Whether it holds tasks now; from any thread."""
        return True


class PauseGate(HoldingGate[Pause]):
    """Always closed."""

    __slots__ = ()

    def reason(self) -> str:
        return f"{printable(self.scope)} is paused"


class PlantGate(HoldingGate[GateRule]):
    """Closed while a value of the plant, or the time, says so."""

    __slots__ = ("live",)

    def __init__(self, scope: str, rule: GateRule, topic: str) -> None:
        super().__init__(scope, rule, topic)
        self.live = LiveReading(
            GateReading(rule.gate.on_stale == "hold", "unknown", None, f"{rule.gate} and was not read yet")
        )

    @property
    def holds(self) -> bool:
        return self.live.reading.holds

    def is_open(self, now: float) -> bool:
        return not self.live.reading.holds

    def reason(self) -> str:
        return self.live.reading.text


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


_GATES: dict[str, Callable[[str, Any, str], AnyGate]] = {
    Pause.type: PauseGate,
    Concurrency.type: ConcurrencyGate,
    RateLimit.type: RateLimitGate,
    Cancel.type: CancelGate,
}


def make_gate(key: Key, effective: Effective) -> AnyGate:
    """Return the gate of a constraint that comes into force."""
    make = _GATES.get(key[1], PlantGate)
    gate = make(key[0], effective.rule, effective.topic)
    update_gate(gate, effective)
    return gate


def update_gate(gate: AnyGate, effective: Effective) -> None:
    """Note who has written a gate's register, and what it says."""
    gate.by = effective.by
    if isinstance(gate, PlantGate) and effective.live is not None:
        gate.live = effective.live
