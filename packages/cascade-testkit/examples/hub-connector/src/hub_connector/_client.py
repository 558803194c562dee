"""Step 1, your wire: one connection. It connects once, sends, receives, and reports when it is lost."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from cascade.transport import DeliveryCounts, LinkLost, Outgoing, PendingCalls, close_copy

Receive = Callable[[dict[str, Any]], None]


class HubClient(PendingCalls):
    """See ``LinkClient`` and ``Senders`` for what each method promises."""

    def __init__(self, host: str, port: int, will: dict[str, Any] | None, delivery: DeliveryCounts) -> None:
        super().__init__()
        self._address, self._will = (host, port), will
        self._delivery = delivery
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._subscriptions: dict[int, Receive] = {}
        self._numbers = 0

    async def connect(self, answer_timeout: float) -> None:
        async with asyncio.timeout(answer_timeout):
            reader, self._writer = await asyncio.open_connection(*self._address, limit=2**20)
            self._reading = asyncio.create_task(self._read(reader), name="hub-reader")
            await self.request({"op": "hello", "will": self._will})

    async def publish(self, item: Outgoing) -> None:
        message = {"topic": item.topic, "payload": item.payload, "retain": item.retain}
        await self.request({"op": "publish", "message": message})

    async def subscribe(self, topic_filter: str, receive: Receive) -> int:
        """Return when the hub has sent the retained messages: its answer comes behind them."""
        self._numbers += 1
        self._subscriptions[number := self._numbers] = receive
        await self.request({"op": "subscribe", "id": number, "filter": topic_filter})
        return number

    async def unsubscribe(self, number: int) -> None:
        self._subscriptions.pop(number, None)
        await self.request({"op": "unsubscribe", "id": number})

    async def disconnect(self) -> None:
        with contextlib.suppress(LinkLost):
            await self.request({"op": "bye"})

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.transport.abort()
        self.lost(ConnectionError("closed"))

    def close_in_child(self) -> None:
        if self._writer is not None:
            close_copy(self._writer.get_extra_info("socket"))

    async def request(self, request: dict[str, Any]) -> None:
        """Send a request and wait until the hub has done it."""
        self._numbers += 1
        with self.expecting(n := self._numbers) as answer:
            assert self._writer is not None
            self._writer.write(json.dumps({**request, "n": n}).encode() + b"\n")
            await answer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        cause: BaseException = ConnectionError("the hub has closed the connection")
        try:
            async for line in reader:
                answer = json.loads(line)
                if answer["op"] == "message":
                    self._delivery.received += 1
                    for receive in [self._subscriptions.get(number) for number in answer["ids"]]:
                        if receive is not None:
                            receive(answer["message"])
                elif answer["op"] == "done":
                    self.answer(answer["n"])
        except (OSError, ValueError) as exc:
            cause = exc
        self.lost(cause)
