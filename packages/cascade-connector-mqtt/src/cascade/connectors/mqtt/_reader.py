"""The reading of one link's messages: as they come, and those that a lost link leaves behind."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from cascade.connectors.mqtt import _aiomqtt
from cascade.connectors.mqtt._dispatch import Dispatcher

_AT_ONCE = 64


class Reader:
    """Puts what a client receives before those who listen.

    :param fail: is told what shows that the link is down.
    """

    def __init__(
        self, context: Any, client: Any, dispatcher: Dispatcher, *, fail: Callable[[BaseException], None]
    ) -> None:
        self._context = context
        self._client = client
        self._dispatcher = dispatcher
        self._fail = fail

    async def read(self) -> None:
        """Take in what comes, for as long as the link holds."""
        unbroken = 0
        try:
            async for message in self._client.messages:
                self._take_in(message)
                await self._read_on()
                unbroken += 1
                if unbroken >= _AT_ONCE:  # an iterator that never suspends must not starve the callbacks
                    unbroken = 0
                    await asyncio.sleep(0)
        except Exception as exc:
            self._fail(exc)

    def take_rest(self) -> None:
        """Take in what has arrived and was not read: it is acknowledged, so nobody will send it again."""
        for message in _aiomqtt.waiting(self._context):
            self._take_in(message)

    async def _read_on(self) -> None:
        """Take in what else is there, and what comes while we do: aiomqtt starts a task for each message."""
        more = True
        while more:
            more = False
            for message in itertools.islice(_aiomqtt.waiting(self._context), _AT_ONCE):
                self._take_in(message)
                more = True
            if more:
                await asyncio.sleep(0)

    def _take_in(self, message: Any) -> None:
        payload = message.payload
        if isinstance(payload, str):
            payload = payload.encode()
        elif not isinstance(payload, bytes):
            payload = bytes(payload or b"")
        left = _aiomqtt.expires_in(message)
        self._dispatcher.dispatch(str(message.topic), payload, message.retain is True, left)
