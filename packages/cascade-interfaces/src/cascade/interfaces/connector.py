"""The connector: four methods, and no more. A docstring here is the contract of its method.

What a connector can do beyond them is in :mod:`cascade.interfaces.abilities`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, runtime_checkable

Payload = Mapping[str, Any] | None
"""A message's content as ``publish`` takes it: a JSON object, or None to clear a retained message."""
MessageCallback = Callable[[str, dict[str, Any]], Awaitable[None]]
"""What ``subscribe`` calls: ``await callback(topic, data)``."""


@runtime_checkable
class Subscription(Protocol):
    """A callback's registration."""

    async def unsubscribe(self) -> None:
        """End the registration: no call begins after this returns. Idempotent."""
        ...


@runtime_checkable
class Connector(Protocol):
    """Carries telemetry out and control in. All methods run on one event loop.

    ``publish`` and ``subscribe`` never raise because of a fault of the outside world; a mistake
    of the caller (an invalid topic, a payload that is not a mapping) raises a ``UsageError``.

    An engine connects a connector that is not connected, and disconnects it after the last run
    that uses it; one that it finds connected stays connected. It can see that only in the
    attribute ``connected`` (see :class:`SupportsLink`; an attribute of the instance is enough):
    a connector without it is disconnected after a run even if its user had connected it.
    """

    async def connect(self) -> None:
        """Establish the link, or begin to; do nothing when already connected.

        Return within the connector's own time limit, whatever the other side does. From this
        call on messages wait for the link. It may be called again after ``disconnect``, also on
        another event loop.

        :raises ConnectorUnavailable: only if the connector was made to require its link.
        """
        ...

    async def disconnect(self) -> None:
        """Send the waiting messages, within a stated time, then close the link cleanly. Idempotent.

        Subscriptions stay registered, and ``publish`` behaves as before ``connect``.
        """
        ...

    async def publish(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Queue one message as it is now, and return at once.

        ``qos`` and ``retain`` name guarantees, and each network provides them in its own way: the table "What a network
        provides" in this package's README. At ``qos`` 0 a message that is on its way when the link breaks may be
        lost; at 1 it is sent until the peer has acknowledged it, so it may arrive twice; at 2 it is sent like that, and
        once where the network can do that. ``retain`` keeps it as the topic's value for later subscribers.
        Messages of one topic and QoS leave in the order of their calls. A payload of ``None``
        is the empty message, which clears a retained one. Values that JSON does not have are
        replaced by text and counted. Before ``connect`` is called nothing is sent, and one
        warning is logged. Without a link messages wait; dropped messages are counted.

        :raises InvalidTopicError: if nothing can be published to the topic; see ``topics.check_topic``.
        :raises InvalidPayloadError: if the payload is neither a mapping nor None.
        :raises WrongThreadError: if called from another thread than that of the event loop.
        """
        ...

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int = 0) -> Subscription:
        """Call ``await callback(topic, data)`` for each message that matches the filter.

        Calls of one subscription come one after the other, in order of arrival, never from
        inside ``publish``. An empty message arrives as ``{}``; a message that is not a JSON
        object is skipped and counted. A callback that fails, is slow or never returns does not
        affect any other: each subscription has a queue of 1,000 messages; when it is full, the
        oldest is dropped and counted. A filter may have several subscriptions, and each gets a
        message once, also where filters overlap. The retained messages of the filter come
        first; earlier subscriptions to it may get them again. Before ``connect`` the
        subscription is only registered.

        :raises InvalidTopicError: if the filter is not valid.
        """
        ...
