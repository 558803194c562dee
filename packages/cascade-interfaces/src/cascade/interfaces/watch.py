"""The items of ``watch()``."""

from __future__ import annotations

from typing import NamedTuple

from cascade.interfaces.topics import is_response_to


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


class ReplyTo(NamedTuple):
    """Where the sender of a message expects an answer, for ``SupportsReplies``.

    The sender alone has chosen it, and an answer leaves with the rights of the one who answers: ask ``is_permitted`` before.
    """

    topic: str
    """Where the sender listens."""
    correlation: bytes | None = None
    """By which the sender recognizes the answer; it is copied into the answer."""
    is_inbox: bool = False
    """Whether the network has made the topic for answers alone: nothing obeys what arrives there."""

    def is_permitted(self, request_topic: str) -> bool:
        """Return whether a request may be answered there: in an inbox, or below the responses of the source that it names.

        >>> ReplyTo("cascade/responses/press/9").is_permitted("cascade/requests/press/audit")
        True
        >>> ReplyTo("cascade/constraints/global").is_permitted("cascade/requests/press/audit")
        False
        """
        return self.is_inbox or is_response_to(self.topic, request_topic)


class Message(NamedTuple):
    """One message, undecoded, in its order of arrival."""

    topic: str
    payload: bytes
    retain: bool
    """Whether it comes from the retained set; of a request also, where the network transmits it, whether it was
    published to be retained (MQTT 5, not 3.1.1)."""
    expires_in: float | None = None
    """Seconds until the message expires, counted from its arrival, if the network transmits them; None if unknown."""
    reply_to: ReplyTo | None = None
    """Where its sender expects an answer; None if nowhere, or if the network does not transmit it (MQTT 3.1.1)."""
    traceparent: str = ""
    """The trace of its sender, in the form of W3C Trace Context; empty if it sent none beside the payload, or a wrong one."""


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
