"""One message on a constraint topic: what it says, or why it is not obeyed. Pure; never raises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from cascade.interfaces.steering import constraint_id
from cascade.interfaces.topics import parse_constraint_topic
from cascade.runtime.constraints.glob import MAX_PATTERN
from cascade.runtime.constraints.rules import RULES, Rule

MAX_BYTES = 64 * 1024
"""A longer payload is refused before it is decoded."""
MAX_TOPIC = 1024
"""Characters of the longest topic of a register that is taken."""
MAX_ID = 256

SCOPES = ("project", "task", "run", "source")
"""Kinds of scope that take a value; ``global`` takes none."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A valid constraint, as one register holds it."""

    id: str
    scope: str
    """``global``, or ``kind:value`` with kind project, task, run or source."""
    rule: Rule
    expires_at: float | None = None
    """Seconds since the epoch, or None."""
    deadline: float | None = field(default=None, compare=False)
    """When it ends on the engine's monotonic clock, if the broker has told how much is left; that counts."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """The register is empty."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An invalid message; the register's last valid value stays in force."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A message whose scope or type is not known here; nothing of it is in force."""

    id: str
    reason: str
    deadline: ClassVar[None] = None


Outcome = Constraint | Cleared | Rejected | Unsupported

CLEARED = Cleared()


class _Message(msgspec.Struct, frozen=True):
    """The keys that mean something; further ones are allowed and ignored."""

    type: str
    id: str | None = None
    scope: str | None = None
    params: dict[str, Any] = {}
    expires_at: float | None = None


class _Refusal(Exception):
    """Carries the outcome of a message that is not obeyed out of the checks."""

    def __init__(self, outcome: Rejected | Unsupported) -> None:
        self.outcome = outcome


def parse(topic: str, payload: bytes, *, deadline: float | None = None) -> Outcome:
    """Return what a message on a topic below ``cascade/constraints/`` says.

    :param deadline: when it ends on the engine's monotonic clock, if the broker has told.
    """
    if not payload:
        return CLEARED
    try:
        scope, kind = _scope_and_kind(topic)
        data = decode(payload)
        return _constraint(scope, kind, data, deadline) if data else CLEARED
    except _Refusal as refusal:
        return refusal.outcome
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        return Rejected(str(exc)[:200])


def bounded(topic: str) -> str:
    """Return a topic, or of one that is too long its beginning: under that name it is refused.

    No legal topic has such a name, so what is remembered of the refusal is nobody else's.
    """
    return topic if len(topic) <= MAX_TOPIC else f"{topic[:MAX_TOPIC]}…"


def decode(payload: bytes) -> dict[str, Any]:
    """Decode all of it, so that NaN, 1e999 and their like are refused wherever they stand.

    :raises ValueError: if it is too long, or no JSON object.
    :raises msgspec.MsgspecError: if it is no JSON.
    :raises RecursionError: if it is nested too deep.
    """
    if len(payload) > MAX_BYTES:
        raise ValueError(f"{len(payload)} bytes, more than {MAX_BYTES}")
    data = msgspec.json.decode(payload)
    if not isinstance(data, dict):
        raise ValueError(f"a JSON {type(data).__name__}, not an object")
    return data


def _scope_and_kind(topic: str) -> tuple[str, str]:
    if len(topic) > MAX_TOPIC:
        raise _rejected(f"the topic is longer than {MAX_TOPIC} characters")
    found = parse_constraint_topic(topic)
    if found is None:
        raise _rejected("the topic is none of a register")
    return found


def _constraint(scope: str, kind: str, data: dict[str, Any], deadline: float | None) -> Constraint:
    message = msgspec.convert(data, _Message)
    _check_names(scope, kind, message)
    label = message.id or constraint_id(scope, message.type)
    _check_scope(scope, label)
    rule_type = RULES.get(message.type)
    if rule_type is None:
        raise _Refusal(Unsupported(label, f"unknown type {message.type[:60]!r}"))
    problem = rule_type.scope_problem(scope, expires=message.expires_at is not None)
    if problem:
        raise _rejected(problem)
    rule = msgspec.convert(message.params, rule_type)
    return Constraint(label, scope, rule, message.expires_at, deadline)


def _check_names(scope: str, kind: str, message: _Message) -> None:
    """Refuse a message that claims to be what its topic does not say: brokers guard topics only."""
    if message.scope is not None and message.scope != scope:
        raise _rejected(f"it names the scope {message.scope[:60]!r}, its topic {scope[:60]!r}")
    if kind and message.type != kind:
        raise _rejected(f"it names the type {message.type[:60]!r}, its topic {kind[:60]!r}")
    if len(message.id or message.type) > MAX_ID:
        raise _rejected(f"its id or type is longer than {MAX_ID} characters")


def _check_scope(scope: str, label: str) -> None:
    name, _, value = scope.partition(":")
    if (name in SCOPES) != bool(value) or name not in ("global", *SCOPES):
        raise _Refusal(Unsupported(label, f"unknown scope {scope[:60]!r}"))
    if name == "task" and len(value) > MAX_PATTERN:
        raise _rejected(f"the pattern is longer than {MAX_PATTERN} characters")


def _rejected(reason: str) -> _Refusal:
    return _Refusal(Rejected(reason))
