"""Parse a message on a constraint topic into a constraint, or into the reason for its rejection. No I/O."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import msgspec.structs

from cascade.interfaces.control_messages import constraint_id
from cascade.interfaces.gates import PREFIX, Gate, GateMistake, is_gate, register_key
from cascade.interfaces.topics import constraint_topic, is_canonical, parse_constraint_topic
from cascade.runtime._admission.rules import RULES, Cancel, GateRule, Rule, pattern_problem

MAX_BYTES = 64 * 1024
"""A longer payload is rejected before it is decoded."""
MAX_TOPIC = 1024
"""Characters of the longest topic that is accepted."""
MAX_ID = 256
"""Characters of the longest id or type that is accepted."""

MAX_AUTHOR = 100
"""Characters of an author that are kept."""

MAX_EXPIRY = 1e11
"""Seconds since the epoch; a larger ``expires_at`` can only be in milliseconds (this is the year 5138)."""

_AT_KEY = re.compile(r"(.*) - at `\$\.(.*)`", re.DOTALL)

_POINT_ZERO = re.compile(r"\b(\d+)\.0\b")

SCOPES = ("project", "task", "run", "source", "workflow")
"""Kinds of scope that need a value; ``global`` has no value."""


class Constraint(msgspec.Struct, frozen=True, eq=False):
    """A valid constraint: the content of one register."""

    id: str
    scope: str
    """``global``, or ``kind:value`` with a kind of :data:`SCOPES`."""
    rule: Rule
    expires_at: float | None = None
    """Seconds since the epoch, or None."""
    deadline: float | None = None
    """When the message expires, on the engine's monotonic clock, if the broker sent an expiry; not compared.

    It takes precedence over ``expires_at``, because it does not depend on the clocks of two machines.
    """
    by: str = ""
    """Who has written it, as the message claims: nothing proves that."""
    ts: float | None = None
    """When a cancel was written, in seconds since the epoch, as the message claims."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constraint) and self._compared() == other._compared()

    def __ne__(self, other: object) -> bool:
        # the Struct's own compares identities
        return not self == other

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[object, ...]:
        return self.id, self.scope, self.rule, self.expires_at, self.by, self.ts


class Cleared(msgspec.Struct, frozen=True):
    """The register is empty."""


class Rejected(msgspec.Struct, frozen=True):
    """An invalid message; the register's last valid value stays in force."""

    reason: str


class Unsupported(msgspec.Struct, frozen=True):
    """A message with an unknown scope or type; the register's last valid value stays in force.

    It may come from a later version, or the type may be misspelt.
    """

    id: str
    reason: str


class Misspelled(msgspec.Struct, frozen=True):
    """A message on another spelling of a register's topic, which is no register."""

    canonical: str
    """The register's topic."""


MessageOutcome = Constraint | Cleared | Rejected | Unsupported | Misspelled

CLEARED = Cleared()


class _Message(msgspec.Struct, frozen=True):
    """The keys that have a meaning; other keys are ignored."""

    type: str
    id: str | None = None
    scope: str | None = None
    params: dict[str, Any] = {}
    expires_at: float | None = None


class _Limit(msgspec.Struct, frozen=True):
    """``params`` of a concurrency limit."""

    limit: float


class _Rate(msgspec.Struct, frozen=True):
    """``params`` of a rate limit."""

    rate: float | str
    capacity: float | None = None


_PARAMS: dict[str, type[msgspec.Struct]] = {"concurrency": _Limit, "rate_limit": _Rate}
"""The types of the parameters; msgspec accepts neither a boolean nor a text as a number."""


class _RejectedError(Exception):
    """Carries the outcome of a message that is rejected or unsupported out of the checks."""

    def __init__(self, outcome: Rejected | Unsupported) -> None:
        self.outcome = outcome


def parse(topic: str, payload: bytes, *, deadline: float | None = None) -> MessageOutcome:
    """Return the outcome of a message on a topic below ``cascade/constraints/``; never raises.

    :param deadline: when the message expires, on the engine's monotonic clock, if the broker sent an expiry.
    """
    if not payload:
        return CLEARED
    try:
        scope, kind = _scope_and_kind(topic)
        data = decode(payload)
        if not data:
            return CLEARED
        if not is_canonical(topic, scope, kind):
            return Misspelled(constraint_topic(scope, kind))
        return _constraint(scope, kind, data, deadline)
    except _RejectedError as exc:
        return exc.outcome
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        return Rejected(_in_plain_words(str(exc))[:200])


def bounded(topic: str) -> str:
    """Return a topic, or the beginning of one that is too long and will be rejected.

    The shortened topic is longer than any accepted one, so its rejection never stands for another's.
    """
    return topic if len(topic) <= MAX_TOPIC else f"{topic[:MAX_TOPIC]}…"


def decode(payload: bytes) -> dict[str, Any]:
    """Decode a JSON object.

    The whole payload is decoded, also unknown keys, so that NaN, 1e999 and the like are rejected
    wherever they appear.

    :raises ValueError: if the payload is too long or not a JSON object.
    :raises msgspec.MsgspecError: if it is not valid JSON.
    :raises RecursionError: if it is nested too deeply.
    """
    if len(payload) > MAX_BYTES:
        raise ValueError(f"the payload has {len(payload)} bytes, more than {MAX_BYTES}")
    data = msgspec.json.decode(payload)
    if not isinstance(data, dict):
        raise ValueError(f"the payload is a JSON {type(data).__name__}, not an object")
    return data


def _scope_and_kind(topic: str) -> tuple[str, str]:
    if len(topic) > MAX_TOPIC:
        raise _rejected(f"the topic is longer than {MAX_TOPIC} characters")
    found = parse_constraint_topic(topic)
    if found is None:
        raise _rejected("the topic does not name a register")
    return found


def _constraint(scope: str, kind: str, data: dict[str, Any], deadline: float | None) -> Constraint:
    message = msgspec.convert(data, _Message)
    _check_names(scope, kind, message)
    label = message.id or constraint_id(scope, message.type)
    _check_scope(scope, label)
    if message.expires_at is not None and message.expires_at > MAX_EXPIRY:
        raise _rejected(
            f"expires_at {message.expires_at:.0f} is too large: this looks like milliseconds; "
            "write seconds since the epoch"
        )
    rule = _gate_rule(kind, message) if is_gate(message.type) else _rule(scope, label, message)
    ts = _time(data) if isinstance(rule, Cancel) else None
    return Constraint(label, scope, rule, message.expires_at, deadline, _author(data), ts)


def _rule(scope: str, label: str, message: _Message) -> Rule:
    rule_type = RULES.get(message.type)
    if rule_type is None:
        known = ", ".join([*RULES, f"{PREFIX}NAME"])
        raise _RejectedError(Unsupported(label, f"unknown type {message.type[:60]!r}; known are {known}"))
    problem = rule_type.scope_problem(scope, expires=message.expires_at is not None)
    if problem:
        raise _rejected(problem)
    params = _PARAMS.get(message.type)
    checked = msgspec.structs.asdict(msgspec.convert(message.params, params)) if params is not None else {}
    return rule_type(**checked)


def _gate_rule(kind: str, message: _Message) -> GateRule:
    """Return the rule of a gate; gates of one scope do not combine, so each needs a topic with its name."""
    if not kind:
        raise _rejected(f"a gate needs a topic that ends with /@{PREFIX}NAME")
    try:
        return GateRule(Gate.from_params(message.type.removeprefix(PREFIX), message.params))
    except GateMistake as mistake:
        raise _rejected(f"{register_key(mistake.setting)}: {mistake.problem}") from None


def _time(data: dict[str, Any]) -> float | None:
    """Return when a message says that it was written; None if it does not say so as an ISO 8601 time."""
    ts = data.get("ts")
    if not isinstance(ts, str):
        return None
    # only a cancel has a time, and a run without one needs no reader of the wire
    from cascade.wire.reading import seconds

    return seconds(ts)


def _author(data: dict[str, Any]) -> str:
    """Return the author that a message names, on one line; empty if it names none, or not as text."""
    by = data.get("by")
    return " ".join(by.split())[:MAX_AUTHOR] if isinstance(by, str) else ""


def _check_names(scope: str, kind: str, message: _Message) -> None:
    """Reject a payload that contradicts its topic: a broker's ACL checks topics only."""
    if message.scope is not None and message.scope != scope:
        raise _rejected(f"the payload names the scope {message.scope[:60]!r}, the topic {scope[:60]!r}")
    if kind and message.type != kind:
        raise _rejected(f"the payload names the type {message.type[:60]!r}, the topic {kind[:60]!r}")
    if len(message.id or message.type) > MAX_ID:
        raise _rejected(f"the id or type is longer than {MAX_ID} characters")


def _check_scope(scope: str, label: str) -> None:
    name, _, value = scope.partition(":")
    if (name in SCOPES) != bool(value) or name not in ("global", *SCOPES):
        raise _RejectedError(Unsupported(label, f"unknown scope {scope[:60]!r}"))
    if name == "task" and (problem := pattern_problem(value)):
        raise _rejected(problem)


def _in_plain_words(problem: str) -> str:
    """Return what msgspec says of a value, with the key first and without its quotes."""
    found = _AT_KEY.fullmatch(problem)
    text = f"{found[2]}: {found[1]}" if found is not None else problem
    return _POINT_ZERO.sub(r"\1", text.replace("`float", "`number").replace("`", ""))


def _rejected(reason: str) -> _RejectedError:
    return _RejectedError(Rejected(reason))
