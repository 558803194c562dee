"""The registers of an engine: one for each retained topic, and what they come to. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cascade.interfaces import Clock
from cascade.runtime.constraints.parse import Cleared, Constraint, Outcome, Rejected, Unsupported
from cascade.runtime.constraints.rules import Rule

MAX_REGISTERS = 10_000
MAX_REJECTIONS = 1_000
"""How many topics with a rejected message are remembered by name; the others are counted."""
MAX_ALIKE = 64
"""Registers of one scope and type: topics that differ in their percent-encoding only."""

_NAME = 200

Key = tuple[str, str]
"""Scope and type: what gates are made for."""


@dataclass(frozen=True, slots=True)
class Effective:
    """What all registers of one scope and type come to."""

    rule: Rule
    topic: str
    """The register to name to whoever asks why: the strictest one, or the first of them."""


class Register:
    """What one topic holds."""

    __slots__ = ("content", "deadline", "expired")

    def __init__(self, content: Constraint | Unsupported, deadline: float | None, *, expired: bool) -> None:
        self.content = content
        self.deadline = deadline
        """On the monotonic clock, or None."""
        self.expired = expired

    @property
    def status(self) -> str:
        """``applied``, ``expired`` or ``unsupported``."""
        if isinstance(self.content, Unsupported):
            return "unsupported"
        return "expired" if self.expired else "applied"


class Registers:
    """A replica of the broker's retained set, and the effective constraints computed from it.

    What changed in the effective set comes out of :meth:`take_changes`.
    ``relevant`` says which scopes can concern this engine; registers of others are kept and
    reported, and are in force nowhere.
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
        self._clock = clock
        self._relevant = relevant
        self._limit = limit
        self._registers: dict[str, Register] = {}
        self._rejections: dict[str, str] = {}
        self.rejections_forgotten = 0
        self._in_force: dict[Key, dict[str, Rule]] = {}
        self._changed: dict[Key, None] = {}
        self._expiries: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._registers)

    def __iter__(self) -> Iterator[tuple[str, Register]]:
        return iter(self._registers.items())

    @property
    def rejections(self) -> Mapping[str, str]:
        """Reasons by topic, oldest first."""
        return self._rejections

    @property
    def values(self) -> dict[str, Constraint | Unsupported]:
        """What each topic holds."""
        return {topic: register.content for topic, register in self._registers.items()}

    def get(self, topic: str) -> Register | None:
        """Return the register of a topic."""
        return self._registers.get(topic)

    def apply(self, topic: str, outcome: Outcome) -> None:
        """Take one message in: it changes the register of its topic and no other."""
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

    def replace(self, outcomes: Mapping[str, Outcome]) -> None:
        """Make the registers those of a retained set; an invalid message keeps the value it met."""
        for topic in [topic for topic in self._registers if topic not in outcomes]:
            self._drop(topic)
        for topic in [topic for topic in self._rejections if topic not in outcomes]:
            self._accept(topic)
        self.over_limit = self.rejections_forgotten = 0
        for topic, outcome in outcomes.items():
            self.apply(topic, outcome)

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
            register = self._registers[topic]
            register.expired = True
            self._unforce(topic, register)
            self.revision += 1

    def effective(self) -> dict[Key, Effective]:
        """Return everything that is in force."""
        return {key: _strictest(rules) for key, rules in self._in_force.items()}

    @property
    def has_changes(self) -> bool:
        """Whether :meth:`take_changes` has something to return."""
        return bool(self._changed)

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
        if topic in self._registers:
            return ""
        if len(self._registers) >= self._limit:
            return f"there are {self._limit} registers already"
        if isinstance(content, Constraint) and len(self._in_force.get(key_of(content), ())) >= MAX_ALIKE:
            return f"there are {MAX_ALIKE} registers of this scope and type already"
        return ""

    def _set(self, topic: str, content: Constraint | Unsupported) -> None:
        old = self._registers.get(topic)
        if old is not None and old.content == content:
            return
        if old is not None:
            self._unforce(topic, old)
        register = self._registers[topic] = self._register(content)
        self.revision += 1
        if isinstance(content, Constraint) and not register.expired:
            self._force(topic, content)
            if register.deadline is not None:
                self._schedule(register.deadline, topic)

    def _register(self, content: Constraint | Unsupported) -> Register:
        """Convert its expiry to the monotonic clock, which nobody sets back."""
        if isinstance(content, Unsupported) or content.expires_at is None:
            return Register(content, None, expired=False)
        left = content.expires_at - self._clock.now()
        return Register(content, self._clock.monotonic() + left, expired=left <= 0)

    def _drop(self, topic: str) -> None:
        register = self._registers.pop(topic, None)
        if register is not None:
            self._unforce(topic, register)
            self.revision += 1

    def _force(self, topic: str, constraint: Constraint) -> None:
        if self._relevant(constraint.scope):
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
        name = topic[:_NAME]
        if self._rejections.get(name) == reason:
            return
        self.revision += 1
        if name not in self._rejections and len(self._rejections) >= MAX_REJECTIONS:
            del self._rejections[next(iter(self._rejections))]
            self.rejections_forgotten += 1
        self._rejections[name] = reason

    def _accept(self, topic: str) -> None:
        if self._rejections.pop(topic[:_NAME], None) is not None:
            self.revision += 1

    def _schedule(self, deadline: float, topic: str) -> None:
        heapq.heappush(self._expiries, (deadline, topic))
        if len(self._expiries) > 2 * len(self._registers) + 64:
            self._expiries = [entry for entry in set(self._expiries) if self._is_due(*entry)]
            heapq.heapify(self._expiries)

    def _is_due(self, deadline: float, topic: str) -> bool:
        register = self._registers.get(topic)
        return register is not None and register.deadline == deadline and not register.expired


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
