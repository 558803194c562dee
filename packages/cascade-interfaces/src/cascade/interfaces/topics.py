"""MQTT topics: build them from data, check them, match them against filters.

The rules are those of MQTT 5.0, section 4.7 (the same as 3.1.1, section 4.7), and hold for
every connector, whatever carries its messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Generic, TypeVar

from cascade.interfaces.errors import InvalidTopicError
from cascade.interfaces.text import UNSENDABLE, text_problem

T = TypeVar("T")

EVENTS = "events"
PROGRESS = "progress"
LOGS = "logs"
DATA = "data"

MAX_LEVELS = 201
"""The most levels of a topic: mosquitto cuts the link for more (MQTT has no limit)."""

CONSTRAINTS_FILTER = "cascade/constraints/#"
STORE_TOPIC = "cascade/constraints/@store"
"""Holds the identity of the broker's store; it is not a register."""

_CONSTRAINTS = "cascade/constraints/"
_REQUESTS = "cascade/requests/"
_RESPONSES = "cascade/responses/"
_EVERY = "@all"
"""In place of a source: every one. No encoded name is equal to it."""
_CONTROL_LANE = ("cascade/status/", "cascade/sync/", "cascade/state/")


def encode_level(text: str) -> str:
    """Return ``text`` as one topic level that any broker accepts.

    ``/ + # %``, space, a leading ``$`` or ``@``, control characters, noncharacters (such as
    U+FFFF) and lone surrogates are percent-encoded as UTF-8.

    >>> encode_level("line 3/press+")
    'line%203%2Fpress%2B'
    """
    return text if text.isidentifier() else _reserved().sub(_percent, text)


def decode_level(level: str) -> str:
    """Return the text that :func:`encode_level` made ``level`` from.

    :raises InvalidTopicError: if the percent-encoded bytes are not UTF-8.
    """
    # slow to import, and only readers decode
    from urllib.parse import unquote_to_bytes

    try:
        return unquote_to_bytes(level.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as exc:
        raise InvalidTopicError(level, "is not percent-encoded UTF-8") from exc


def telemetry_topic(org_id: str, project_id: str, run_id: str, kind: str = EVENTS) -> str:
    """Return the topic of one kind of telemetry of one run."""
    return "/".join(("cascade/telemetry", *map(encode_level, (org_id, project_id, run_id)), kind))


def parse_telemetry_topic(topic: str) -> tuple[str, str, str, str] | None:
    """Return ``(org_id, project_id, run_id, kind)``, or None for any other topic.

    >>> parse_telemetry_topic("cascade/telemetry/local/default/9a81/events")
    ('local', 'default', '9a81', 'events')
    """
    levels = topic.split("/")
    if len(levels) != 6 or levels[:2] != ["cascade", "telemetry"]:
        return None
    try:
        org_id, project_id, run_id = map(decode_level, levels[2:5])
    except InvalidTopicError:
        return None
    return org_id, project_id, run_id, levels[5]


def status_topic(source_id: str) -> str:
    """Return the topic of a process's birth, will and offline message."""
    return f"cascade/status/{encode_level(source_id)}"


def parse_status_topic(topic: str) -> str | None:
    """Return the source of a presence topic, or None for any other topic.

    >>> parse_status_topic("cascade/status/press-line-3")
    'press-line-3'
    """
    return _parse_source_topic(topic, "status")


def constraint_topic(scope: str, kind: str = "") -> str:
    """Return the topic of a register: ``scope`` as in ``task:resize*``, ``kind`` as in ``pause``.

    Without ``kind`` it is the older form, whose message alone names the type.

    >>> constraint_topic("task:resize*", "concurrency"), constraint_topic("global")
    ('cascade/constraints/task/resize*/@concurrency', 'cascade/constraints/global')
    """
    name, _, value = scope.partition(":")
    levels = [encode_level(name), *([encode_level(value)] if value else [])]
    return _CONSTRAINTS + "/".join([*levels, *([f"@{encode_level(kind)}"] if kind else [])])


def parse_constraint_topic(topic: str) -> tuple[str, str] | None:
    """Return ``(scope, kind)`` of a register's topic, or None for any other topic.

    ``kind`` is empty in the older form. Scopes of unknown kinds are returned too.

    >>> parse_constraint_topic("cascade/constraints/run/9a81/@cancel")
    ('run:9a81', 'cancel')
    """
    if not topic.startswith(_CONSTRAINTS):
        return None
    levels = topic[len(_CONSTRAINTS) :].split("/")
    kind = levels.pop()[1:] if levels[-1].startswith("@") else ""
    if len(levels) not in (1, 2) or "" in levels or topic.endswith("/@"):
        return None
    try:
        return ":".join(map(decode_level, levels)), decode_level(kind)
    except InvalidTopicError:
        return None


def is_canonical(topic: str, scope: str, kind: str) -> bool:
    """Return whether a register's topic is spelled as :func:`constraint_topic` does.

    Only this spelling is a register: access rules compare topics as text, and nobody would find another one to clear it.
    """
    return topic == constraint_topic(scope, kind)


def sync_filter(source_id: str) -> str:
    """Return the filter of the echoes that show a process that a retained set has arrived."""
    return sync_topic(source_id, "") + "+"


def sync_topic(source_id: str, nonce: str) -> str:
    """Return the topic of one echo."""
    return f"cascade/sync/{encode_level(source_id)}/{encode_level(nonce)}"


def canary_topic(source_id: str) -> str:
    """Return the topic of the retained message by which a named process knows that its set is complete."""
    return f"cascade/sync/{encode_level(source_id)}/@canary"


def state_topic(source_id: str, kind: str) -> str:
    """Return the topic of a process's report: ``kind`` is ``constraints``, ``runs``, ``workflows`` ..."""
    return f"cascade/state/{encode_level(source_id)}/{kind}"


def parse_state_topic(topic: str) -> tuple[str, str] | None:
    """Return ``(source_id, kind)`` of a report's topic, or None for any other topic.

    >>> parse_state_topic("cascade/state/press-line-3/runs")
    ('press-line-3', 'runs')
    """
    levels = topic.split("/")
    if len(levels) != 4 or levels[:2] != ["cascade", "state"]:
        return None
    try:
        return decode_level(levels[2]), levels[3]
    except InvalidTopicError:
        return None


def ack_topic(source_id: str) -> str:
    """Return the topic on which a collector states what it has stored of a process."""
    return f"cascade/ack/{encode_level(source_id)}"


def parse_ack_topic(topic: str) -> str | None:
    """Return the source of an acknowledgement's topic, or None for any other topic.

    >>> parse_ack_topic("cascade/ack/press-line-3")
    'press-line-3'
    """
    return _parse_source_topic(topic, "ack")


def request_topic(source_id: str | None, workflow: str) -> str:
    """Return the topic of requests for a run of a workflow, by one source, or by every one (None).

    >>> request_topic("line 3", "audit"), request_topic(None, "audit")
    ('cascade/requests/line%203/audit', 'cascade/requests/@all/audit')
    """
    return f"{_REQUESTS}{_encode_source(source_id)}/{encode_level(workflow)}"


def request_filters(source_id: str) -> tuple[str, str]:
    """Return the filters of the requests to a source: its own, and those to every one."""
    return f"{_REQUESTS}{encode_level(source_id)}/+", f"{_REQUESTS}{_EVERY}/+"


def parse_request_topic(topic: str) -> tuple[str | None, str] | None:
    """Return ``(source_id, workflow)`` of a request's topic, or None for any other topic; the source None: every one.

    >>> parse_request_topic("cascade/requests/@all/audit")
    (None, 'audit')
    """
    return _parse_addressed_topic(topic, _REQUESTS)


def is_request(topic: str) -> bool:
    """Return whether a topic, or a filter, is one of requests: whether these are retained shows also in live ones."""
    return topic.startswith(_REQUESTS)


def response_topic(source_id: str | None, request_id: str) -> str:
    """Return the topic of the responses of a source to the request with an id.

    The requester may name another one with MQTT 5: below those of the source, or of every one (None) if it asks every one.
    """
    return f"{_RESPONSES}{_encode_source(source_id)}/{encode_level(request_id)}"


def parse_response_topic(topic: str) -> tuple[str | None, str] | None:
    """Return ``(source_id, request_id)`` of a response's topic, or None for any other topic; the source None: every one.

    >>> parse_response_topic("cascade/responses/press-line-3/b7")
    ('press-line-3', 'b7')
    """
    return _parse_addressed_topic(topic, _RESPONSES)


def lease_topic(name: str) -> str:
    """Return the topic of a lease.

    >>> lease_topic("hall-2")
    'cascade/leases/hall-2'
    """
    return f"cascade/leases/{encode_level(name)}"


def is_response_to(topic: str, request_topic: str) -> bool:
    """Return whether a topic is below the responses of the source, or of every one, that a request names.

    They are compared as texts, as access rules compare them.
    """
    if parse_request_topic(request_topic) is None:
        return False
    below = f"{_RESPONSES}{request_topic.split('/')[2]}/"
    return topic.startswith(below) and len(topic) > len(below)


def is_control(topic: str) -> bool:
    """Return whether messages on ``topic`` (presence, sync, reports) overtake telemetry."""
    return topic.startswith(_CONTROL_LANE)


def check_topic(topic: str) -> str:
    """Return ``topic`` if a message can be published to it.

    :raises InvalidTopicError: if it is not text, empty, longer than 65,535 bytes, or has a
        wildcard, or something for which brokers cut the link: a control character, a noncharacter, a lone
        surrogate, more than 201 levels.
    """
    problem = _topic_problem(topic) if isinstance(topic, str) else "is not text"
    if problem:
        raise InvalidTopicError(topic, problem)
    return topic


def check_filter(topic_filter: str) -> str:
    """Return ``topic_filter`` if it can be subscribed to.

    :raises InvalidTopicError: as for :func:`check_topic`, but wildcards may stand where MQTT
        allows them: ``+`` as a whole level, ``#`` as the whole last level.
    """
    problem = _filter_problem(topic_filter) if isinstance(topic_filter, str) else "is not text"
    if problem:
        raise InvalidTopicError(topic_filter, problem)
    return topic_filter


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether a message on ``topic`` reaches a subscription to ``topic_filter``.

    A wildcard in the first level does not match topics that begin with ``$`` (MQTT 5.0,
    section 4.7.2).

    >>> matches("cascade/+/events/#", "cascade/a/events"), matches("#", "$SYS/uptime")
    (True, False)
    """
    matcher: TopicMatcher[None] = TopicMatcher()
    matcher.add(topic_filter, None)
    return any(True for _ in matcher.match(topic))


class TopicMatcher(Generic[T]):
    """Values by topic filter, found by topic in time that does not grow with their number."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Branch[T] = _Branch()

    @property
    def has_filters(self) -> bool:
        """Whether any value stands here."""
        return bool(self._root.children)

    def add(self, topic_filter: str, value: T) -> None:
        """File ``value`` under a filter; several values may stand under one."""
        branch = self._root
        for level in _filter_levels(topic_filter):
            below = branch.children.get(level)
            if below is None:
                below = branch.children[level] = _Branch()
            branch = below
        branch.values.append(value)

    def remove(self, topic_filter: str, value: T) -> None:
        """Take ``value`` away again.

        :raises KeyError: if it does not stand under this filter.
        """
        levels = _filter_levels(topic_filter)
        path = [self._root]
        for level in levels:
            path.append(path[-1].children[level])
        try:
            path[-1].values.remove(value)
        except ValueError:
            raise KeyError(topic_filter) from None
        while levels and not path[-1].values and not path[-1].children:
            path.pop()
            del path[-1].children[levels.pop()]

    def match(self, topic: str) -> Iterator[T]:
        """Yield the values of every filter that matches ``topic``."""
        branches = [self._root]
        wild = not topic.startswith("$")
        for level in topic.split("/"):
            below: list[_Branch[T]] = []
            for branch in branches:
                if wild and (rest := branch.children.get("#")):
                    yield from rest.values
                if exact := branch.children.get(level):
                    below.append(exact)
                if wild and (single := branch.children.get("+")):
                    below.append(single)
            branches, wild = below, True
        for branch in branches:
            yield from branch.values
            if rest := branch.children.get("#"):
                yield from rest.values


class _Branch(Generic[T]):
    """One level of the filters that begin alike."""

    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Branch[T]] = {}
        self.values: list[T] = []


def _parse_source_topic(topic: str, kind: str) -> str | None:
    levels = topic.split("/")
    if len(levels) != 3 or levels[:2] != ["cascade", kind] or not levels[2]:
        return None
    try:
        return decode_level(levels[2])
    except InvalidTopicError:
        return None


def _encode_source(source_id: str | None) -> str:
    return _EVERY if source_id is None else encode_level(source_id)


def _parse_addressed_topic(topic: str, below: str) -> tuple[str | None, str] | None:
    levels = topic.removeprefix(below).split("/")
    if not topic.startswith(below) or len(levels) != 2 or "" in levels:
        return None
    try:
        source, last = map(decode_level, levels)
    except InvalidTopicError:
        return None
    return None if levels[0] == _EVERY else source, last


def _filter_levels(topic_filter: str) -> list[str]:
    levels = topic_filter.split("/")
    # MQTT 5.0, section 4.8.2
    return levels[2:] if levels[0] == "$share" else levels


@cache
def _reserved() -> re.Pattern[str]:
    """Compile at the first use: many programs never need it."""
    return re.compile(f"[/+#% {UNSENDABLE}]|^[$@]")


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found.group().encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=512)
def _topic_problem(topic: str) -> str:
    if "+" in topic or "#" in topic:
        return "has a wildcard, which only a subscription may have"
    return _name_problem(topic)


@lru_cache(maxsize=512)
def _filter_problem(topic_filter: str) -> str:
    levels = topic_filter.split("/")
    if any(len(level) > 1 and ("+" in level or "#" in level) for level in levels):
        return "has a wildcard that is not a whole level"
    if "#" in levels[:-1]:
        return "has a '#' that is not its last level"
    if levels[0] == "$share" and (len(levels) < 3 or levels[1] in ("", "+") or not any(levels[2:])):
        return "is an incomplete shared subscription; write $share/<group>/<filter>"
    return _name_problem(topic_filter)


def _name_problem(text: str) -> str:
    if not text:
        return "is empty"
    if text.count("/") >= MAX_LEVELS:
        return f"has more than {MAX_LEVELS} levels, for which brokers cut the link"
    return text_problem(text)
