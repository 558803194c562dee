"""Messages that have arrived and are not acknowledged yet. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from cascade.connectors.mqtt._client_port import Packet
from cascade.transport.event_loop import AutoResetEvent

MOST = 2_000
"""Messages after which no more are read: twice what is asked of a broker that knows a Receive Maximum."""


class Unsettled:
    """In order of arrival, as MQTT wants them acknowledged (5.0, section 4.6).

    :param hold: called with True when so many wait that no more may be read, and with False when there is room again.
    """

    def __init__(self, hold: Callable[[bool], None]) -> None:
        self._hold = hold
        self._held = False
        self._count = 0
        # each with whether somebody reads it
        self._arrived: deque[tuple[Packet, bool]] = deque()
        self._read: list[Packet] = []
        self._wakeup = AutoResetEvent()

    def arrive(self, packet: Packet, *, readable: bool) -> None:
        """Add a message; one that nobody can read is settled behind those before it."""
        self._arrived.append((packet, readable))
        self._count += 1
        self._pass_unreadable()
        if self._count >= MOST and not self._held:
            self._held = True
            self._hold(True)

    def read(self) -> None:
        """Note that the next message was read."""
        if self._arrived:
            self._read.append(self._arrived.popleft()[0])
            self._wakeup.set()
            self._pass_unreadable()

    async def take(self) -> list[Packet]:
        """Wait for messages that were read, and return all of them."""
        while not self._read:
            await self._wakeup.wait()
        taken, self._read = self._read, []
        return taken

    def settled(self, packets: Sequence[Packet]) -> None:
        """Note that messages are acknowledged."""
        self._count -= len(packets)
        if self._held and self._count < MOST:
            self._held = False
            self._hold(False)

    def _pass_unreadable(self) -> None:
        while self._arrived and not self._arrived[0][1]:
            self._read.append(self._arrived.popleft()[0])
            self._wakeup.set()
