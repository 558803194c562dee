"""The items of ``watch()``."""

from __future__ import annotations

from typing import NamedTuple


class Linked:
    """The link is up and every filter of the watch has been acknowledged by the peer.

    Messages published from here on come after the filters' retained messages, where the
    network keeps that order.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Linked()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Linked)

    def __hash__(self) -> int:
        return hash(Linked)


class Lost(NamedTuple):
    """Messages may have been missed: the link went down, or the watch's queue overflowed."""

    reason: str


class Message(NamedTuple):
    """One message, undecoded, in its order of arrival."""

    topic: str
    payload: bytes
    retain: bool
    expires_in: float | None = None
    """Seconds until the message expires, counted from its arrival, if the network transmits them; None if unknown."""


class Complete(NamedTuple):
    """The retained set of the watch has arrived, as far as the network can prove it.

    Every message that came before belongs to it. It comes after each link, after each ``Lost`` on a
    link that stays up, and from time to time; between two of them each message is a change.
    """

    proved: bool
    """Whether the network has proved that nothing of the set is missing."""
    topics: frozenset[str] | None
    """Every topic that holds a message; None: there are too many, so no topic may be considered cleared."""
    forgotten: frozenset[str] = frozenset()
    """Those of the topics whose messages the network has lost with its store; none was cleared."""


WatchItem = Linked | Lost | Complete | Message
"""What a watch yields: a message, or a change of the link."""
