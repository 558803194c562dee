"""The messages of presence and of control that a process or a person writes (``PROTOCOL.md``, sections 3 and 4).

What a connector itself writes of them, :mod:`cascade.transport` makes as plain dicts: it depends on nothing.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType, field

from cascade.wire.message import Message, Number, Whole


class Birth(Message, frozen=True, tag_field="status", tag="online", kw_only=True):
    """A named process is connected."""

    session: str
    ts: str
    pid: Whole
    host: str
    version: str


class Offline(Message, frozen=True, tag_field="status", tag="offline", kw_only=True):
    """A process is not connected: with ``reason`` it has ended, without one this is its will."""

    session: str = ""
    reason: str = ""


class ConstraintByHand(Message, frozen=True, kw_only=True):
    """The content of a register as a person may write it: what is missing follows from the topic."""

    id: str = ""
    scope: str = ""
    type: str
    params: dict[str, Any] = field(default_factory=dict)
    expires_at: Number | None = None
    by: str = ""


class Echo(Message, frozen=True, kw_only=True):
    """What a process sends to itself; a canary has a text that only this process knows."""

    canary: str | UnsetType = UNSET
