"""Access rules by role: who may read and write which topics. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.gates import GateMistake, check_gate_topic
from cascade.interfaces.topics import encode_level, matches

Verb = Literal["read", "write"]

MAX_NAME = 64
"""Characters of the longest name; named connectors accept no longer one."""
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME}}}", re.ASCII)


_ANSWERS = ("cascade/status/+", "cascade/state/+/workflows", "cascade/responses/#")
"""What a requester reads: who offers what, and what becomes of its requests."""


class Rule(NamedTuple):
    """One permission. What no rule permits is denied."""

    user: str
    """The name with which a client logs in."""
    verb: Verb
    topic_filter: str


@dataclass(frozen=True, slots=True)
class Roles:
    """The users of a broker by role; a user may have several.

    :raises ConfigurationError: for a name or a topic that some broker's access list cannot hold.
    """

    engines: Mapping[str, str] = field(default_factory=dict)
    """The projects of engines, by user name, which is also the engine's ``source_id``."""
    operators: tuple[str, ...] = ()
    """Users who see everything and steer everything."""
    leads: Mapping[str, str] = field(default_factory=dict)
    """The project that a user may steer, by user name."""
    observers: tuple[str, ...] = ()
    """Users who see everything."""
    collectors: tuple[str, ...] = ()
    """Users who see everything and acknowledge what they have stored."""
    requesters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The workflows that a user may start on any engine that offers them, by user name."""
    gates: tuple[str, ...] = ()
    """Topics of the plant that every engine may read for its gates."""
    org_id: str = "local"

    def __post_init__(self) -> None:
        for topic in self.gates:
            _check_gate(topic)
        for workflow in (each for names in self.requesters.values() for each in names):
            if not (workflow.isascii() and workflow.isidentifier()):
                raise ConfigurationError("access rules", f"{workflow!r} is not the name of a workflow")
        for name in self.users:
            if not _NAME.fullmatch(name):
                allowed = f"write 1 to {MAX_NAME} of the characters A-Z a-z 0-9 _ -"
                raise ConfigurationError("access rules", f"{name!r} is not a user name; {allowed}")

    @property
    def users(self) -> list[str]:
        """Every user once, in the order of the roles."""
        viewers = (*self.leads, *self.observers, *self.collectors)
        named = (*self.engines, *self.operators, *viewers, *self.requesters)
        return list(dict.fromkeys(named))


def rules(roles: Roles) -> list[Rule]:
    """Return all rules, those of one user together.

    >>> for rule in rules(Roles(observers=("wall",))):
    ...     print(*rule)
    wall read cascade/sync/wall/+
    wall write cascade/sync/wall/+
    wall read cascade/telemetry/#
    wall read cascade/status/+
    wall read cascade/state/+/+
    wall read cascade/ack/+
    wall read cascade/constraints/#
    """
    return [Rule(user, verb, each) for user in roles.users for verb, each in _of_user(user, roles)]


def permits(given: Iterable[Rule], user: str, verb: Verb, topic: str) -> bool:
    """Return whether rules let a user read, or write, a topic."""
    return any(
        rule.user == user and rule.verb == verb and matches(rule.topic_filter, topic) for rule in given
    )


def _of_user(user: str, roles: Roles) -> dict[tuple[Verb, str], None]:
    """Return what one user may do; what several of its roles permit stands there once."""
    found = list(_both(f"cascade/sync/{user}/+"))
    org = encode_level(roles.org_id)
    if user in roles.engines:
        found += _engine(user, f"{org}/{encode_level(roles.engines[user])}")
        found += [("read", topic) for topic in roles.gates]
    if user in roles.operators:
        found += [("read", "cascade/#"), ("write", "cascade/constraints/#")]
    if user in roles.leads:
        project = encode_level(roles.leads[user])
        found += _reads(f"cascade/telemetry/{org}/{project}/#")
        found.append(("write", f"cascade/constraints/project/{project}/+"))
    if user in roles.observers or user in roles.collectors:
        found += _reads("cascade/telemetry/#")
    if user in roles.collectors:
        found.append(("write", "cascade/ack/+"))
    if user in roles.requesters:
        found += [("read", each) for each in _ANSWERS]
        found += [("write", f"cascade/requests/+/{workflow}") for workflow in roles.requesters[user]]
    return dict.fromkeys(found)


def _check_gate(topic: str) -> None:
    try:
        check_gate_topic(topic)
    except GateMistake as mistake:
        raise ConfigurationError("access rules", f"the topic of a gate {mistake.problem}") from None
    if topic != topic.strip():
        problem = "begins or ends with a space, which mosquitto's access list cannot hold"
        raise ConfigurationError("access rules", f"the topic of a gate {topic!r:.80} {problem}")


def _both(topic_filter: str) -> Iterator[tuple[Verb, str]]:
    yield "read", topic_filter
    yield "write", topic_filter


def _engine(user: str, project: str) -> Iterator[tuple[Verb, str]]:
    """Yield what an engine needs; it reads its own presence and reports to find another process of its name."""
    yield from _both(f"cascade/status/{user}")
    yield from _both(f"cascade/state/{user}/+")
    yield "write", f"cascade/telemetry/{project}/+/+"
    yield "read", "cascade/constraints/#"
    yield "read", f"cascade/ack/{user}"
    # what it starts, if it is a service
    for each in (user, "@all"):
        yield "read", f"cascade/requests/{each}/+"
        yield "write", f"cascade/responses/{each}/#"
    # which of several machines starts ticks
    yield from _both("cascade/leases/+")


def _reads(telemetry: str) -> Iterator[tuple[Verb, str]]:
    """Yield what a user needs to see engines, their runs and the constraints."""
    for each in (
        telemetry,
        "cascade/status/+",
        "cascade/state/+/+",
        "cascade/ack/+",
        "cascade/constraints/#",
    ):
        yield "read", each
