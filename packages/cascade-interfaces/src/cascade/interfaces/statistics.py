"""The counts of a connector."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_NONE: Mapping[str, int] = MappingProxyType({})


class ConnectorStatistics(NamedTuple):
    """Counts of messages since the connector was made.

    At every moment ``accepted == sent + pending + sum(dropped.values())``.
    """

    linked: bool = False
    connections: int = 0
    """How often a link was established."""
    accepted: int = 0
    """Messages taken by ``publish``."""
    sent: int = 0
    """Messages written to the link and, at QoS 1 and 2, acknowledged by the peer."""
    pending: int = 0
    """Messages waiting or in flight."""
    dropped: Mapping[str, int] = _NONE
    """Outgoing messages dropped, by reason."""
    sanitized: int = 0
    """Outgoing payloads in which text replaced a value that JSON does not have."""
    received: int = 0
    """Messages read from the link."""
    delivered: int = 0
    """Callbacks that were called and watch items that were taken."""
    discarded: Mapping[str, int] = _NONE
    """Incoming messages (one for each subscription) dropped, by reason."""
    window: int = 0
    """How many messages may be in flight now; it grows up to ``window_limit`` with the round trip."""
    window_limit: int = 0
    """How many messages may be in flight at most on this link."""
    receive_maximum: int | None = None
    """How many messages of QoS 1 and 2 the broker allows in flight; None if it does not say (MQTT 3.1.1)."""
    packet_limit: int | None = None
    """Bytes of the largest packet that the broker may send; None if it has no limit (MQTT 3.1.1)."""
    refused: Mapping[str, int] = _NONE
    """Filters that the broker refuses on this link, with its reason code."""
