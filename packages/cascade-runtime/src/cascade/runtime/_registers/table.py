"""Registers by topic and in the order of a report, and the rules that they put in force. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from typing import NamedTuple

from cascade.interfaces.gates import MAX_TOPICS
from cascade.runtime._admission.rules import Effective, GateRule, Key, Pause, Rule
from cascade.runtime._registers.parsing import Constraint
from cascade.wire.message import encoded_size
from cascade.wire.reports import AppliedEntry, EffectiveEntry


class Status(StrEnum):
    """What a report says of a topic."""

    APPLIED = "applied"
    NO_MATCH = "no_match"
    """Understood, but its scope covers nothing here: the run or the workflow that it names is not in this process."""
    EXPIRED = "expired"
    UNSUPPORTED = "unsupported"
    """Its latest message has a type or scope that this version does not know."""
    REJECTED = "rejected"
    """Its latest message is invalid."""
    REFUSED = "refused"
    """Its topic is another spelling of a register's."""


class Problem(NamedTuple):
    """Why the latest message of a topic is not obeyed; the last valid value stays in force."""

    status: Status
    reason: str
    id: str = ""
    """The id in the message, if it could be read."""


class Register:
    """One topic: its last valid value, and the problem of a later message."""

    __slots__ = ("_entry", "_size", "content", "deadline", "note", "own", "problem", "rank", "state", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.content: Constraint | None = None
        """None: no valid message has arrived yet."""
        self.deadline: float | None = None
        """When the content expires, on the monotonic clock, or None."""
        self.state = Status.APPLIED
        """Of the content."""
        self.note = ""
        """Why the content has no effect here, where the report says so."""
        self.problem: Problem | None = None
        self.own = False
        """Whether it is kept in the room for this engine's own scopes."""
        self.rank = 0
        self._entry: AppliedEntry | None = None
        self._size = 0

    @property
    def status(self) -> Status:
        """The status that a report shows."""
        return self.problem.status if self.problem is not None else self.state

    @property
    def in_force(self) -> bool:
        """Whether the content is in force."""
        return self.content is not None and self.state is Status.APPLIED

    @property
    def pauses(self) -> bool:
        """Whether the content is a pause in force."""
        return self.in_force and self.content is not None and isinstance(self.content.rule, Pause)

    def changed(self) -> None:
        """Forget the entry that was made for the report."""
        self._entry = None

    def entry(self) -> AppliedEntry:
        """Return the entry of the report."""
        if self._entry is None:
            self._entry = self._make_entry()
            self._size = encoded_size(self.topic) + encoded_size(self._entry)
        return self._entry

    def size(self) -> int:
        """Return how many bytes of a report the entry takes."""
        self.entry()
        return self._size

    def _make_entry(self) -> AppliedEntry:
        content, problem = self.content, self.problem
        return AppliedEntry(
            id=(content.id if content is not None else "") or (problem.id if problem is not None else ""),
            status=self.status.value,
            by=content.by if content is not None else "",
            reason=problem.reason if problem is not None else self.note,
        )


class RegisterTable:
    """Every register, by topic and by the rank that it has in a report.

    A change moves a register behind all others of its rank, so that the newest come first when the
    order is reversed, and no report needs to sort or to read all of them.
    """

    RANKS = 6

    def __init__(self) -> None:
        self._by_topic: dict[str, Register] = {}
        self._by_rank: list[dict[str, Register]] = [{} for _ in range(self.RANKS)]

    def __len__(self) -> int:
        return len(self._by_topic)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_topic)

    def get(self, topic: str) -> Register | None:
        """Return the register of a topic."""
        return self._by_topic.get(topic)

    def put(self, register: Register) -> None:
        """Add a register, or move one that has changed to its place in a report."""
        self._by_rank[register.rank].pop(register.topic, None)
        register.changed()
        register.rank = _rank(register)
        self._by_topic[register.topic] = self._by_rank[register.rank][register.topic] = register

    def remove(self, register: Register) -> None:
        """Remove a register."""
        del self._by_topic[register.topic]
        del self._by_rank[register.rank][register.topic]

    def newest_first(self) -> Iterator[Register]:
        """Yield all registers in the order of a report."""
        for registers in self._by_rank:
            yield from reversed(registers.values())

    def oldest_without_effect(self, *, own: bool) -> Register | None:
        """Return the oldest register of a room that is not in force here and has no problem to report."""
        registers = self._by_rank[1 if own else self.RANKS - 1].values()
        return next((each for each in registers if not each.in_force and each.problem is None), None)


class RulesInForce:
    """The rules in force by scope and type, each with its registers, and which of them have changed."""

    def __init__(self) -> None:
        self.changed: dict[Key, None] = {}
        """Pairs of scope and type that have changed, the earliest first."""
        # each by the topic of its register
        self._rules: dict[Key, dict[str, Rule]] = {}
        self._gate_topics: Counter[str] = Counter()
        # of a report, each until it changes
        self._rows: dict[Key, tuple[int, EffectiveEntry]] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._rules)

    def __contains__(self, key: Key) -> bool:
        return key in self._rules

    def topics(self, key: Key) -> Collection[str]:
        """Return the topics of the registers in force for one scope and type."""
        return self._rules.get(key, {}).keys()

    def add(self, key: Key, topic: str, rule: Rule) -> None:
        """Put the rule of a register in force."""
        self._rules.setdefault(key, {})[topic] = rule
        if isinstance(rule, GateRule):
            self._gate_topics[rule.gate.topic] += 1
        self._note_change(key)

    def reads_too_much(self, rule: Rule) -> bool:
        """Return whether a gate would be the first on one more topic of the plant than an engine reads."""
        if not isinstance(rule, GateRule) or not rule.gate.topic or rule.gate.topic in self._gate_topics:
            return False
        return len(self._gate_topics) - ("" in self._gate_topics) >= MAX_TOPICS

    def remove(self, key: Key, topic: str) -> None:
        """Lift the rule of a register, if it is in force."""
        rules = self._rules.get(key, {})
        rule = rules.pop(topic, None)
        if isinstance(rule, GateRule):
            self._gate_topics -= Counter([rule.gate.topic])
        if rule is not None:
            self._note_change(key)
            if not rules:
                del self._rules[key]

    def take_changed(self, most: int) -> list[Key]:
        """Remove and return up to ``most`` changed pairs; those in force come before lifted ones."""
        keys = [key for key in self.changed if key in self._rules] or list(self.changed)
        for key in keys[:most]:
            del self.changed[key]
        return keys[:most]

    def strictest(self, key: Key) -> Effective:
        """Return the strictest combination of all rules of a pair, with the register that comes closest to it."""
        (topic, rule), *others = self._rules[key].items()
        for other_topic, other in others:
            combined = rule.stricter(other)
            if combined != rule:
                topic = other_topic
            rule = combined
        return Effective(rule, topic)

    def row(self, key: Key, content_of: Callable[[str], Constraint]) -> tuple[int, EffectiveEntry]:
        """Return the row of a report with its size in bytes; ``content_of`` returns the content of a register."""
        found = self._rows.get(key)
        if found is None:
            effective = self.strictest(key)
            named = content_of(effective.topic)
            row = EffectiveEntry(
                scope=key[0],
                type=key[1],
                params=effective.rule.params(),
                topic=effective.topic,
                id=named.id,
                expires_at=named.expires_at,
                by=named.by,
            )
            found = self._rows[key] = encoded_size(row), row
        return found

    def _note_change(self, key: Key) -> None:
        self.changed[key] = None
        self._rows.pop(key, None)


def key_of(constraint: Constraint) -> Key:
    """Return the scope and type of a constraint."""
    return constraint.scope, constraint.rule.type


def _rank(register: Register) -> int:
    """Rank pauses and the engine's own scopes first, and what has no effect last."""
    if register.own:
        return 0 if register.pauses else 1
    if register.pauses:
        return 2
    if register.problem is not None:
        return 3
    return 4 if register.in_force else 5
