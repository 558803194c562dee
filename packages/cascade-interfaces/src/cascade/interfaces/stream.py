"""What comes out of ``watch()``, and what a connector counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Linked:
    """The link is up and every filter of the watch has been acknowledged by the broker.

    What is published from here on comes after the filters' retained messages, where the
    broker keeps that order.
    """


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages may have been missed: the link went down, or the watch's queue overflowed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message, undecoded, in its order of arrival."""

    topic: str
    payload: bytes
    retain: bool
    expires_in: float | None = None
    """Seconds that were left to it when it arrived (MQTT 5.0, section 3.3.2.3.3); None: nobody said."""


WatchItem = Linked | Lost | Message


@dataclass(frozen=True, slots=True)
class ConnectorStatistics:
    """Counts of messages since the connector was made.

    At every moment ``accepted == sent + pending + sum(dropped.values())``.
    """

    linked: bool = False
    connections: int = 0
    """How often a link was established."""
    accepted: int = 0
    """Messages taken by ``publish``."""
    sent: int = 0
    """Messages written to the link and, at QoS 1 and 2, acknowledged by the broker."""
    pending: int = 0
    """Messages waiting or in flight."""
    dropped: Mapping[str, int] = field(default_factory=lambda: _NONE)
    """Outgoing messages given up, by reason."""
    sanitized: int = 0
    """Outgoing payloads in which something that JSON cannot hold was replaced by text."""
    received: int = 0
    """Messages read from the link."""
    delivered: int = 0
    """Callbacks that were called and watch items that were taken."""
    discarded: Mapping[str, int] = field(default_factory=lambda: _NONE)
    """Incoming messages (one for each subscription) given up, by reason."""
