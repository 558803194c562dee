"""One ordered stream over several filters."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import cast

import pytest

from cascade.interfaces import (
    Complete,
    Connector,
    InvalidTopicError,
    Linked,
    Lost,
    Message,
    SupportsWatch,
    WatchItem,
    WatchStream,
)
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness


class Watching(Harness):
    """Section 5: watch."""

    @needs(Ability.WATCH)
    async def test_a_watch_yields_linked_then_bytes_in_order(self) -> None:
        """``Linked`` comes first, then ``Complete``; then what is published, over all filters, in one order, undecoded."""
        base, connector = self.topic(), await self.open()
        async with self._watching(connector, f"{base}/a", f"{base}/b/+") as stream:
            assert await self._next(stream) == Linked()
            assert isinstance(await self._next(stream), Complete)
            topics = [f"{base}/{'a' if n % 3 else 'b/c'}" for n in range(30)]
            for n, topic in enumerate(topics):
                await connector.publish(topic, {"n": n}, 0)
            got = [await self._next(stream) for _ in topics]
            assert got == [Message(topic, b'{"n": %d}' % n, retain=False) for n, topic in enumerate(topics)]

    @needs(Ability.WATCH)
    async def test_overlapping_filters_of_a_watch_yield_a_message_once(self) -> None:
        """One watch, one message, however many of its filters match."""
        base, connector = self.topic(), await self.open()
        async with self._watching(connector, f"{base}/#", f"{base}/+", f"{base}/a") as stream:
            await self._next(stream)
            for n in (1, 2):
                await connector.publish(f"{base}/a", {"n": n})
            payloads = [item.payload for item in await self._until(stream, b'{"n": 2}')]
            assert payloads == [b'{"n": 1}', b'{"n": 2}']

    @needs(Ability.WATCH)
    async def test_watches_that_share_a_filter_yield_a_message_once_each(self) -> None:
        """Also to those beside a watch whose other filter matches it, too."""
        base, connector = self.topic(), await self.open()
        async with contextlib.AsyncExitStack() as opened:
            streams = [
                await opened.enter_async_context(self._watching(connector, *filters))
                for filters in ((f"{base}/#",), (f"{base}/a", f"{base}/#"), (f"{base}/#",))
            ]
            for stream in streams:
                while not isinstance(await self._next(stream), Complete):
                    pass
            for n in (1, 2):
                await connector.publish(f"{base}/a", {"n": n})
            for stream in streams:
                payloads = [item.payload for item in await self._until(stream, b'{"n": 2}')]
                assert payloads == [b'{"n": 1}', b'{"n": 2}']

    @needs(Ability.WATCH, Ability.RETAINED)
    async def test_the_retained_set_comes_before_what_is_published_after_linked(self) -> None:
        """A message that is published after ``Linked`` comes back behind the complete set."""
        base, connector = self.topic(), await self.open()
        topics = [f"{base}/kept/{n}" for n in range(50)]
        async with self._watching(connector, f"{base}/#") as stream:
            for topic in topics:
                await connector.publish(topic, {}, 1, retain=True)
            await self._until(stream, b"{}", times=len(topics))
        async with self._watching(connector, f"{base}/echo", f"{base}/kept/#") as stream:
            while await self._next(stream) != Linked():
                pass
            await connector.publish(f"{base}/echo", {"echo": 1})
            *kept, echo = await self._until(stream, b'{"echo": 1}')
            assert sorted(item.topic for item in kept) == sorted(topics)
            assert all(item.retain for item in kept)
            assert not echo.retain
        for topic in topics:
            await connector.publish(topic, None, 1, retain=True)

    @needs(Ability.WATCH)
    async def test_a_watch_made_before_connect_begins_with_the_link(self) -> None:
        """It yields ``Linked`` when there is a link, ``Lost`` when it is gone, ``Linked`` when it is back."""
        connector = await self.make()
        async with self._watching(connector, self.topic()) as stream:
            await self._opened(connector)
            assert await self._next(stream) == Linked()
            assert isinstance(await self._next(stream), Complete)
            await connector.disconnect()
            assert isinstance(await self._next(stream), Lost)
            await connector.connect()
            assert await self._next(stream) == Linked()
            assert isinstance(await self._next(stream), Complete)

    @needs(Ability.WATCH)
    async def test_a_closed_watch_ends(self) -> None:
        """After aclose the stream is over; twice is harmless."""
        connector = await self.open()
        stream = connector_watch(connector, self.topic())
        await self._next(stream)
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    @needs(Ability.WATCH)
    async def test_a_watch_with_an_invalid_filter_is_refused(self) -> None:
        """At the call, not when the first item is asked for."""
        connector = await self.open()
        with pytest.raises(InvalidTopicError):
            connector_watch(connector, self.topic(), "a/#/b")

    @needs(Ability.WATCH, Ability.BYTES)
    @pytest.mark.parametrize("payload", [b"", b"{", b"\xff\x00"], ids=repr)
    async def test_a_watch_yields_any_bytes_as_they_are(self, payload: bytes) -> None:
        """A subscriber that has to reject invalid JSON must see it."""
        topic, connector = self.topic(), await self.open()
        async with self._watching(connector, topic) as stream:
            while not isinstance(await self._next(stream), Complete):
                pass
            await self.send_bytes(topic, payload)
            assert await self._next(stream) == Message(topic, payload, retain=False)

    @contextlib.asynccontextmanager
    async def _watching(self, connector: Connector, *filters: str) -> AsyncGenerator[WatchStream, None]:
        async with contextlib.aclosing(connector_watch(connector, *filters)) as stream:
            yield stream

    async def _next(self, stream: WatchStream) -> WatchItem:
        return cast("WatchItem", await self.within(anext(stream)))

    async def _until(self, stream: WatchStream, payload: bytes, *, times: int = 1) -> list[Message]:
        """Return the messages up to the last of those with this payload."""
        got: list[Message] = []
        while sum(item.payload == payload for item in got) < times:
            item = await self._next(stream)
            if isinstance(item, Message):
                got.append(item)
        return got


def connector_watch(connector: Connector, *filters: str) -> WatchStream:
    """Call ``watch`` of a connector that has it."""
    assert isinstance(connector, SupportsWatch)
    return connector.watch(*filters)
