"""How one link's messages are read: in order, without duplicates, and without keeping the loop to themselves."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

from cascade.connectors.mqtt._reader import DuplicateFilter, Reader
from cascade.interfaces import Message
from cascade.testkit import time_limit
from cascade.transport.incoming.dispatcher import Dispatcher
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.watches import WatchQueue


class Client:
    """Brings messages without a pause, then ``more`` at once, and ends with an error."""

    def __init__(self, count: int, *more: IncomingMessage) -> None:
        self.count, self.more = count, deque(more)
        self.turns = self.turns_at_end = 0

    async def messages(self) -> AsyncIterator[IncomingMessage]:
        for number in range(self.count):
            self.turns_at_end = self.turns
            yield IncomingMessage("a", b"%d" % number)
        raise ConnectionResetError("reset")

    def arrived(self) -> Iterator[IncomingMessage]:
        while self.more:
            yield self.more.popleft()


class Program:
    def __init__(self, client: Client) -> None:
        self.duplicates = DuplicateFilter(lambda: 0.0)
        self.dispatcher = Dispatcher(
            DeliveryCounts(logging.getLogger(__name__)),
            filter_added=self.duplicates.add,
            filter_removed=self.duplicates.remove,
        )
        self.errors: list[BaseException] = []
        self.queue = WatchQueue(["a", "+"], self.dispatcher.delivery)
        self.dispatcher.add(self.queue)
        played: Any = client
        self.reader = Reader(played, self.dispatcher, self.duplicates, fail=self.errors.append)

    async def got(self, count: int) -> list[tuple[bytes, bool]]:
        found: list[tuple[bytes, bool]] = []
        async with time_limit():
            while len(found) < count:
                if isinstance(item := await self.queue.next(), Message):
                    found.append((item.payload, item.retain))
        return found


async def test_a_broker_that_never_pauses_leaves_others_their_turn() -> None:
    """Each message passes in order, and the error that ends the reading is told once."""
    client = Client(1000)
    program = Program(client)

    async def others() -> None:
        while not program.errors:
            client.turns += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(others())
    await program.reader.read()
    await busy
    assert client.turns_at_end >= 5
    assert await program.got(1000) == [(b"%d" % number, False) for number in range(1000)]
    assert [str(each) for each in program.errors] == ["reset"]
    assert program.dispatcher.delivery.received == 1000


async def test_what_has_arrived_behind_a_message_follows_it_at_once() -> None:
    """More than one look takes, before the next one that is waited for."""
    client = Client(2, *(IncomingMessage("b", b"more %d" % number) for number in range(200)))
    program = Program(client)
    await program.reader.read()
    payloads = [payload for payload, _ in await program.got(202)]
    assert payloads == [b"0", *(b"more %d" % number for number in range(200)), b"1"]


async def test_a_duplicate_is_dropped_also_behind_a_lost_link() -> None:
    """Retained messages are none: a broker sends those for each subscription that asks for them."""
    live, kept = IncomingMessage("a", b"x"), IncomingMessage("a", b"x", retain=True)
    client = Client(0, live, kept, live, kept, live)
    program = Program(client)
    program.duplicates.sent = True
    program.reader.read_rest()
    assert await program.got(4) == [(b"x", False), (b"x", True), (b"x", True), (b"x", False)]
    assert program.dispatcher.delivery.received == 5
