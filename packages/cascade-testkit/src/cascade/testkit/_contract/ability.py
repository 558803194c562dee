"""Abilities of a connector beyond its four methods, as its author declares them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class Ability(Enum):
    """One ability; its value describes what its tests show, and is the reason where they are skipped."""

    DELIVERY = "calls the callbacks of its subscriptions"
    RETAINED = "keeps the retained message of each topic for later subscribers"
    BYTES = "can be sent bytes that no connector sends (send_bytes)"
    LINK = "has a link that can be interrupted, silenced and restored (interrupt, silence, restore)"
    WILL = "informs others when it disappears without a disconnect (status_of, interrupt)"
    PRESENCE = "announces that a named one is online and offline (make_named, status_of)"
    PUBLISH_NOWAIT = "has publish_nowait"
    SETTLEMENT = "has deliver_nowait, and reports what became of each message"
    WATCH = "has watch"
    EXTEND = "can change the exact topics of an open watch (extend, shrink)"
    REPLIES = "has answer_nowait"
    REQUESTS = "transmits where the sender of a message expects an answer (ask)"
    TRACES = "transmits the trace of the sender beside a message (ask)"
    SEND_NOW = "has send_nowait, and a network that gives everybody one order of a topic"
    KEEP = "keeps telemetry for one that is away, until it is stored (keep)"
    FLUSH = "has flush"
    STATISTICS = "has statistics"
    LINK_STATE = "has connected"
    SOURCE = "has source_id"


MEMBERS: Mapping[Ability, str] = MappingProxyType(
    {
        Ability.PUBLISH_NOWAIT: "publish_nowait",
        Ability.SETTLEMENT: "deliver_nowait",
        Ability.WATCH: "watch",
        Ability.REPLIES: "answer_nowait",
        Ability.SEND_NOW: "send_nowait",
        Ability.FLUSH: "flush",
        Ability.STATISTICS: "statistics",
        Ability.LINK_STATE: "connected",
        Ability.SOURCE: "source_id",
    }
)
"""The abilities that show in a connector's type, each with the member that shows it."""
