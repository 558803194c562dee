"""The registers of an engine: one for each retained topic, and what they come to. Pure."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from cascade.interfaces import Clock
from cascade.runtime.constraints._ledger import Ledger, Register, Status
from cascade.runtime.constraints.parse import CLEARED, Cleared, Constraint, Outcome, Rejected, Unsupported
from cascade.runtime.constraints.rules import Rule

MAX_REGISTERS = 10_000
MAX_REJECTIONS = 1_000
"""How many topics with a rejected message are remembered by name; the others are counted."""
MAX_ALIKE = 64
"""Registers of one scope and type: topics that differ in their percent-encoding only."""

_TRUNCATED = 1.0  # brokers tell what is left of a message's expiry in whole seconds

Key = tuple[str, str]
"""Scope and type: what gates are made for."""


@dataclass(frozen=True, slots=True)
class Effective:
    """What all registers of one scope and type come to."""

    rule: Rule
    topic: str
    """The register to name to whoever asks why: the strictest one, or the first of them."""


class Registers:
    """A replica of the broker's retained set, and the effective constraints computed from it.

    A whole set is taken in bit by bit, with :meth:`settle`; what changed in the effective set
    comes out of :meth:`take_changes`. ``relevant`` says which scopes can concern this engine;
    registers of others are kept, and are in force nowhere.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        relevant: Callable[[str], bool] = lambda scope: True,
        limit: int = MAX_REGISTERS,
    ) -> None:
        self.revision = 0
        """Goes up with every change that a report would show."""
        self.over_limit = 0
        """Messages that were refused because there are too many registers."""
        self.rejections_forgotten = 0
        self._clock = clock
        self._relevant = relevant
        self._limit = limit
        self._ledger = Ledger()
        self._rejections: dict[str, str] = {}
        self._unsettled: dict[str, Outcome] = {}  # in the order from the last to the first
        self._in_force: dict[Key, dict[str, Rule]] = {}
        self._changed: dict[Key, None] = {}
        self._expiries: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._ledger)

    @property
    def rejections(self) -> dict[str, str]:
        """Reasons by topic, oldest first."""
        return self._rejections

    @property
    def values(self) -> dict[str, Constraint | Unsupported]:
        """What each topic holds."""
        return {topic: register.content for topic, register in self._ledger.items()}

    @property
    def to_report(self) -> int:
        """How many topics there are to report."""
        twice = sum(self._ledger.is_reported(topic) for topic in self._rejections)
        return self._ledger.to_report - twice + len(self._rejections) + self.rejections_forgotten

    def get(self, topic: str) -> Register | None:
        """Return the register of a topic."""
        return self._ledger.get(topic)

    def reported(self) -> Iterator[tuple[str, Register]]:
        """Yield the registers to report that have no rejection: what is not in force comes first."""
        return (
            (topic, register) for topic, register in self._ledger.reported() if topic not in self._rejections
        )

    def apply(self, topic: str, outcome: Outcome) -> None:
        """Take one message in: it changes the register of its topic and no other."""
        self._unsettled.pop(topic, None)  # this one is newer
        if isinstance(outcome, Rejected):
            self._reject(topic, outcome.reason)
        elif isinstance(outcome, Cleared):
            self._accept(topic)
            self._drop(topic)
        elif problem := self._crowded(topic, outcome):
            self.over_limit += 1
            self._reject(topic, problem)
        else:
            self._accept(topic)
            self._set(topic, outcome)

    def add(self, outcomes: dict[str, Outcome]) -> None:
        """Begin to take in messages that came together."""
        self._unsettled.update(reversed(outcomes.items()))

    def replace(self, outcomes: dict[str, Outcome]) -> None:
        """Begin to make the registers those of a retained set; an invalid message keeps the value it met."""
        self.over_limit = self.rejections_forgotten = 0
        self._unsettled = dict(reversed(outcomes.items()))
        gone = {topic: CLEARED for topic in (*self._ledger, *self._rejections) if topic not in outcomes}
        self._unsettled.update(gone)  # to be done first: they make room

    def settle(self, most: int = sys.maxsize) -> bool:
        """Go on with up to ``most`` of the messages that came together; return whether all are taken in."""
        for _ in range(min(most, len(self._unsettled))):
            self.apply(*self._unsettled.popitem())
        return not self._unsettled

    def clear(self) -> None:
        """Hold nothing any more; whoever has put changes in force takes all of them back at once."""
        self._ledger = Ledger()
        for each in (self._rejections, self._unsettled, self._in_force, self._changed, self._expiries):
            each.clear()
        self.over_limit = self.rejections_forgotten = 0
        self.revision += 1

    def next_expiry(self) -> float | None:
        """Return when :meth:`expire` has something to do, on the monotonic clock."""
        while self._expiries and not self._is_due(*self._expiries[0]):
            heapq.heappop(self._expiries)
        return self._expiries[0][0] if self._expiries else None

    def expire(self) -> None:
        """Take what has expired out of force."""
        now = self._clock.monotonic()
        while (deadline := self.next_expiry()) is not None and deadline <= now:
            topic = heapq.heappop(self._expiries)[1]
            self._unforce(topic, self._ledger.expire(topic))
            self.revision += 1

    def effective(self, most: int = MAX_REGISTERS) -> dict[Key, Effective]:
        """Return what is in force, up to so many."""
        return {key: _strictest(rules) for key, rules in islice(self._in_force.items(), most)}

    @property
    def has_changes(self) -> bool:
        """Whether something is still to be settled, or taken by :meth:`take_changes`."""
        return bool(self._changed or self._unsettled)

    def take_changes(self, most: int = MAX_REGISTERS) -> dict[Key, Effective | None]:
        """Return what is in force now for each scope and type that changed; None: nothing any more.

        Up to ``most`` are returned, what is in force first: so whoever applies a great set bit by
        bit never permits more than the set before or the set after.
        """
        keys = [key for key in self._changed if key in self._in_force] or list(self._changed)
        for key in keys[:most]:
            del self._changed[key]
        return {key: _strictest(rules) if (rules := self._in_force.get(key)) else None for key in keys[:most]}

    def _crowded(self, topic: str, content: Constraint | Unsupported) -> str:
        if self._ledger.get(topic) is None and len(self._ledger) >= self._limit:
            return f"there are {self._limit} registers already"
        alike = self._in_force.get(key_of(content), {}) if isinstance(content, Constraint) else {}
        if topic not in alike and len(alike) >= MAX_ALIKE:
            return f"there are {MAX_ALIKE} registers of this scope and type already"
        return ""

    def _set(self, topic: str, content: Constraint | Unsupported) -> None:
        old = self._ledger.get(topic)
        if old is not None and old.content == content and self._repeat(topic, old, content):
            return
        self._drop(topic)
        new = self._register(content)
        self._ledger.put(topic, new)
        self.revision += 1
        if isinstance(content, Constraint) and new.status is Status.APPLIED:
            self._force(topic, content)
            self._schedule(topic, new)

    def _register(self, content: Constraint | Unsupported) -> Register:
        """Convert its expiry to the monotonic clock, which nobody sets back."""
        if isinstance(content, Unsupported):
            return Register(content, None, Status.UNSUPPORTED)
        if not self._relevant(content.scope):
            return Register(content, None, Status.ELSEWHERE)
        now, deadline = self._clock.monotonic(), content.deadline
        if deadline is None and content.expires_at is not None:
            deadline = now + content.expires_at - self._clock.now()
        expired = deadline is not None and deadline <= now
        return Register(content, deadline, Status.EXPIRED if expired else Status.APPLIED)

    def _repeat(self, topic: str, old: Register, content: Constraint | Unsupported) -> bool:
        """Take a message that says the same as the one before; return whether nothing else is to be done."""
        if old.content.deadline is content.deadline is None:
            return True
        new = self._register(content)
        if new.status is not old.status:
            return False
        if old.deadline is None or new.deadline is None or abs(new.deadline - old.deadline) > _TRUNCATED:
            old.content, old.deadline = new.content, new.deadline
            self._schedule(topic, old)
        return True

    def _drop(self, topic: str) -> None:
        register = self._ledger.take(topic)
        if register is not None:
            self._unforce(topic, register)
            self.revision += 1

    def _force(self, topic: str, constraint: Constraint) -> None:
        key = key_of(constraint)
        self._in_force.setdefault(key, {})[topic] = constraint.rule
        self._changed[key] = None

    def _unforce(self, topic: str, register: Register) -> None:
        if isinstance(register.content, Unsupported):
            return
        key = key_of(register.content)
        rules = self._in_force.get(key, {})
        if rules.pop(topic, None) is not None:
            self._changed[key] = None
            if not rules:
                del self._in_force[key]

    def _reject(self, topic: str, reason: str) -> None:
        if self._rejections.get(topic) == reason:
            return
        self.revision += 1
        if topic not in self._rejections and len(self._rejections) >= MAX_REJECTIONS:
            del self._rejections[next(iter(self._rejections))]
            self.rejections_forgotten += 1
        self._rejections[topic] = reason

    def _accept(self, topic: str) -> None:
        if self._rejections.pop(topic, None) is not None:
            self.revision += 1

    def _schedule(self, topic: str, register: Register) -> None:
        if register.deadline is None:
            return
        heapq.heappush(self._expiries, (register.deadline, topic))
        if len(self._expiries) > 2 * len(self._ledger) + 64:
            self._expiries = [entry for entry in set(self._expiries) if self._is_due(*entry)]
            heapq.heapify(self._expiries)

    def _is_due(self, deadline: float, topic: str) -> bool:
        register = self._ledger.get(topic)
        return register is not None and register.deadline == deadline and register.status is Status.APPLIED


def key_of(constraint: Constraint) -> Key:
    """Return the scope and type of a constraint."""
    return constraint.scope, constraint.rule.type


def _strictest(rules: Mapping[str, Rule]) -> Effective:
    """Return the minimum of all, with the register that is nearest to it."""
    (topic, rule), *others = rules.items()
    for other_topic, other in others:
        combined = rule.stricter(other)
        if combined != rule:
            topic = other_topic
        rule = combined
    return Effective(rule, topic)
