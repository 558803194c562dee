"""Read one link's messages: as they arrive, and those that a lost link leaves behind."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from cascade.connectors.mqtt._duplicates import DuplicateFilter
from cascade.transport.delivery.dispatcher import Dispatcher
from cascade.transport.delivery.message import IncomingMessage

if TYPE_CHECKING:
    from cascade.connectors.mqtt._port import ClientPort

_AT_ONCE = 64


class Reader:
    """Passes what a client receives to the dispatcher, without the broker's duplicates.

    :param fail: called with the error that ends the reading.
    """

    def __init__(
        self,
        client: ClientPort,
        dispatcher: Dispatcher,
        duplicates: DuplicateFilter,
        *,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._dispatcher = dispatcher
        self._duplicates = duplicates
        self._fail = fail

    async def read(self) -> None:
        """Read messages for as long as the link is up."""
        in_a_row = 0
        try:
            async for message in self._client.messages():
                self._take(message)
                await self._read_arrived()
                in_a_row += 1
                if in_a_row >= _AT_ONCE:  # an iterator that never suspends must not starve the callbacks
                    in_a_row = 0
                    await asyncio.sleep(0)
        except Exception as exc:
            self._fail(exc)

    def read_rest(self) -> None:
        """Read what has arrived after the link was lost: it is acknowledged, so the broker will not resend it."""
        for message in self._client.arrived():
            self._take(message)

    async def _read_arrived(self) -> None:
        """Read all messages that are there already: aiomqtt starts a task for each message it waits for."""
        more = True
        while more:
            more = False
            for message in itertools.islice(self._client.arrived(), _AT_ONCE):
                self._take(message)
                more = True
            if more:
                await asyncio.sleep(0)

    def _take(self, message: IncomingMessage) -> None:
        self._dispatcher.delivery.received += 1
        if message.retain or not self._duplicates.is_duplicate(message.topic, message.payload):
            self._dispatcher.dispatch(message)
