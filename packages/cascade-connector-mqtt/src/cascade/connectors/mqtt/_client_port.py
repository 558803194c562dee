"""The client port: what the connector needs of an MQTT client. Another client needs only another adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from cascade.transport.incoming.message import IncomingMessage
from cascade.transport.link import LinkClient
from cascade.transport.outbox import Outgoing


class Packet(NamedTuple):
    """What identifies a message of QoS 1 or 2 until it is acknowledged; MQTT 5.0, section 2.2.1."""

    number: int
    qos: int


class ClientPort(LinkClient, Protocol):
    """One client for one link: it connects once, and is closed afterwards.

    ``publish``, ``subscribe`` and ``unsubscribe`` raise ``LinkLost`` if the link is down.
    """

    @property
    def native(self) -> Any:
        """The connected client itself, for users who need more than the connector offers."""
        ...

    @property
    def can_probe(self) -> bool:
        """Whether a message that the client publishes comes back to it from a broker."""
        ...

    @property
    def receive_maximum(self) -> int | None:
        """How many messages of QoS 1 and 2 the broker allows in flight; None if it did not say (MQTT 5)."""
        ...

    @property
    def packet_limit(self) -> int | None:
        """How many bytes the largest packet from the broker may have; None without a limit (MQTT 3.1.1)."""
        ...

    async def publish(self, item: Outgoing) -> None:
        """Send one message; return when it is written and, at QoS 1 and 2, acknowledged.

        :raises MessageTooLarge: if its packet exceeds the broker's Maximum Packet Size (MQTT 5).
        :raises MessageRejected: if the broker rejects the message.
        """
        ...

    async def subscribe(self, filters: str | list[tuple[str, int]], qos: int = 0) -> list[int | None]:
        """Subscribe to one filter, or to several with a QoS for each, in one packet.

        Return the reason code of each filter that the broker refused, and None for the others; an empty
        list if the broker's answer is not known.
        """
        ...

    async def unsubscribe(self, filters: list[str]) -> None:
        """Unsubscribe from filters in one packet."""
        ...

    def messages(self) -> AsyncIterator[IncomingMessage]:
        """Return an iterator that waits for messages."""
        ...

    def arrived(self) -> Iterator[IncomingMessage]:
        """Yield the messages that have arrived and were not read yet, without waiting."""
        ...

    async def unsettled(self) -> Sequence[Packet]:
        """Wait until a message of QoS 1 or 2 was read that is not settled; return all of them, in order of arrival.

        Only a client that keeps messages returns: another one acknowledges each when it arrives.
        """
        ...

    def settle(self, packets: Sequence[Packet]) -> None:
        """Acknowledge what ``unsettled`` has returned, in this order."""
        ...
