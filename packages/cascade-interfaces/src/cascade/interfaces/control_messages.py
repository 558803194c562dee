"""The messages of a tool that steers engines (``PROTOCOL.md``, section 4); the topics are in ``topics``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from cascade.interfaces.topics import parse_constraint_topic
from cascade.interfaces.wire import timestamp

TYPES = ("pause", "concurrency", "rate_limit", "cancel")
"""The types of constraints; each scope has a register for each of them, and one in the older form."""


class ConstraintMessage(TypedDict):
    """The content of a register. Writers send the first five keys; readers need only ``type``."""

    id: str
    scope: str
    type: str
    params: Mapping[str, Any]
    expires_at: float | None
    by: NotRequired[str]
    ts: NotRequired[str]


class StoreMessage(TypedDict):
    """The identity of a broker's store, on :data:`cascade.interfaces.topics.STORE_TOPIC`."""

    store: str


def constraint_message(
    scope: str,
    kind: str,
    params: Mapping[str, Any] | None = None,
    *,
    expires_at: float | None = None,
    now: float | None = None,
) -> ConstraintMessage:
    """Return what to publish, retained, to the topic of a register.

    :param expires_at: seconds since the epoch; with MQTT 5 also give the message an expiry that
        ends then, so that the broker forgets it.
    :param now: seconds since the epoch; None for the clock of this machine. A cancel of a source or of tasks says
        when it was written: a process that starts later obeys it only for runs that had begun before.
    """
    message: ConstraintMessage = {
        "id": constraint_id(scope, kind),
        "scope": scope,
        "type": kind,
        "params": dict(params or {}),
        "expires_at": expires_at,
    }
    if kind == "cancel" and not scope.startswith("run:"):
        message["ts"] = timestamp(time.time() if now is None else now)
    return message


def constraint_id(scope: str, kind: str) -> str:
    """Return the id of a constraint whose writer gives none.

    >>> constraint_id("task:call_api", "rate_limit")
    'ratelimit-task:call_api'
    """
    return f"{kind.replace('_', '')}-{scope}"


def lift_command(topic: str, kind: str) -> str:
    """Return the command line that lifts a constraint, quoted for a shell; empty for a topic of no register.

    :param kind: the type of the constraint, for a topic that does not name one.

    >>> lift_command("cascade/constraints/task/resize*/@rate_limit", "")
    "cascade clear 'task:resize*' rate_limit"
    """
    found = parse_constraint_topic(topic)
    if found is None:
        return ""
    import shlex  # only a line for a person needs it

    scope, kind = found[0], found[1] or kind
    words = ["cascade", "resume", scope] if kind == "pause" else ["cascade", "clear", scope, kind]
    return shlex.join(words[:2] if words[1:] == ["resume", "global"] else words)


def store_message() -> StoreMessage:
    """Return an identity that the first tool that steers publishes, retained, if the broker has none.

    Read the topic again a second later: if two tools have written at once, the broker's value counts.
    """
    return {"store": os.urandom(8).hex()}
