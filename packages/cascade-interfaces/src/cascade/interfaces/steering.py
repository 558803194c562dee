"""What a tool writes that steers engines (``PROTOCOL.md``, section 4); the topics are in ``topics``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict


class ConstraintMessage(TypedDict):
    """The content of a register. Writers send all five keys; readers need only ``type``."""

    id: str
    scope: str
    type: str
    params: Mapping[str, Any]
    expires_at: float | None


class StoreMessage(TypedDict):
    """The identity of a broker's store, on :data:`cascade.interfaces.topics.STORE_TOPIC`."""

    store: str


def constraint_message(
    scope: str, kind: str, params: Mapping[str, Any] | None = None, *, expires_at: float | None = None
) -> ConstraintMessage:
    """Return what to publish, retained, to the topic of a register.

    :param expires_at: seconds since the epoch; with MQTT 5 also give the message an expiry that
        ends then, so that the broker forgets it.
    """
    return {
        "id": constraint_id(scope, kind),
        "scope": scope,
        "type": kind,
        "params": dict(params or {}),
        "expires_at": expires_at,
    }


def constraint_id(scope: str, kind: str) -> str:
    """Return the id of a constraint whose writer has none of its own.

    >>> constraint_id("task:call_api", "rate_limit")
    'ratelimit-task:call_api'
    """
    return f"{kind.replace('_', '')}-{scope}"


def store_message() -> StoreMessage:
    """Return an identity to publish, retained, by whoever steers first and finds none.

    Read it again a second later: if two have written at once, the broker's value counts.
    """
    return {"store": os.urandom(8).hex()}
