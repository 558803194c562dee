"""Tests of when the retained set of a watch is complete."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable
from typing import cast

import pytest

from cascade.interfaces import Complete, Connector, Lost, Message, SupportsExtend, WatchItem, WatchStream
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness
from cascade.testkit._contract.watching import connector_watch

NAMED = pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])


class Completing(Harness):
    """Section 6: the retained set. Each test runs without a name, and with one if ``PRESENCE`` is declared."""

    @NAMED
    @needs(Ability.WATCH, Ability.RETAINED)
    async def test_complete_comes_behind_the_whole_retained_set(self, named: bool) -> None:
        """Every message of the set is yielded before, and ``Complete`` names the topic of each."""
        base, topics = await self._kept(60)
        connector = await self._make(named)
        async with self._open_watch(connector, f"{base}/#") as stream:
            got, complete = await self._set(stream)
            assert {item.topic for item in got} == topics
            assert complete.topics == topics
            assert not complete.forgotten
        await self._clear(topics)

    @NAMED
    @needs(Ability.WATCH, Ability.RETAINED)
    async def test_an_empty_set_is_complete_too(self, named: bool) -> None:
        """Without a retained message ``Complete`` comes all the same, and names no topic."""
        connector = await self._make(named)
        async with self._open_watch(connector, f"{self.topic()}/#") as stream:
            got, complete = await self._set(stream)
            assert (got, complete.topics) == ([], frozenset())

    @NAMED
    @needs(Ability.WATCH, Ability.RETAINED)
    async def test_a_topic_cleared_while_the_watch_was_away_is_not_in_the_next_set(self, named: bool) -> None:
        """Row 18: the clear leaves no message behind; the set of the next link shows it."""
        connector, witness = await self._make(named), await self.open_witness()
        base = self.topic()
        topics, cleared = frozenset(f"{base}/{n}" for n in range(6)), f"{base}/0"
        async with self._open_watch(connector, f"{base}/#") as stream:
            await self._set(stream)
            await self._learn(stream, witness, topics)
            await connector.disconnect()
            await self._put(witness, {cleared}, None)
            await self.within(connector.connect())
            assert (await self._next_complete(stream)).topics == topics - {cleared}
        await self._clear(topics)

    @NAMED
    @needs(Ability.WATCH, Ability.RETAINED)
    async def test_a_topic_that_still_holds_its_message_stays_in_the_set(self, named: bool) -> None:
        """Row 36: whatever the network sends for a wildcard, what is missing there is asked for by its exact topic."""
        connector, witness = await self._make(named), await self.open_witness()
        base = self.topic()
        topics = frozenset(f"{base}/{n}" for n in range(12))
        async with self._open_watch(connector, f"{base}/#") as stream:
            await self._set(stream)
            await self._learn(stream, witness, topics)
            for _ in range(2):
                await connector.disconnect()
                await self.within(connector.connect())
                assert (await self._next_complete(stream)).topics == topics
        await self._clear(topics)

    @NAMED
    @needs(Ability.WATCH, Ability.RETAINED)
    async def test_an_exact_topic_is_in_the_set(self, named: bool) -> None:
        """Also on a network that sends nothing retained for a wildcard, or not everything."""
        base, topics = await self._kept(20)
        exact = {f"{base}/3", f"{base}/7"}
        connector = await self._make(named)
        async with self._open_watch(connector, *sorted(exact), f"{base}/#") as stream:
            got, complete = await self._set(stream)
            assert exact <= {item.topic for item in got}
            assert complete.topics is not None
            assert exact <= complete.topics
        await self._clear(topics)

    @NAMED
    @needs(Ability.WATCH, Ability.RETAINED, Ability.EXTEND)
    async def test_an_open_watch_gets_further_topics(self, named: bool) -> None:
        """Their retained messages follow, then ``Complete``; a topic that is removed yields nothing more."""
        base, topics = await self._kept(3)
        one, other = f"{base}/1", f"{base}/2"
        connector = await self._make(named)
        async with self._open_watch(connector, f"{base}/0") as stream:
            changes = extensible(stream)
            await self._set(stream)
            changes.extend(one, other)
            got, complete = await self._set(stream)
            assert {item.topic for item in got} == {one, other}
            assert complete.topics == topics
            changes.shrink(one)
            witness = await self.open_witness()
            for topic in (one, other):
                await witness.publish(topic, {"n": 2}, 1)
            while not isinstance(item := await self._item(stream), Message):
                pass
            assert item.topic == other
            await connector.disconnect()
            await self.within(connector.connect())
            assert {f"{base}/0", other} <= ((await self._next_complete(stream)).topics or set())
        await self._clear(topics)

    @NAMED
    @needs(Ability.WATCH, Ability.RETAINED, Ability.EXTEND)
    async def test_a_topic_that_another_filter_covers_stays_in_the_set(self, named: bool) -> None:
        """An engine removes the exact topics of a run that ends; what constrains the run is still there."""
        base, topics = await self._kept(3)
        connector = await self._make(named)
        async with self._open_watch(connector, f"{base}/0", f"{base}/#") as stream:
            changes = extensible(stream)
            await self._set(stream)
            changes.shrink(f"{base}/0")
            changes.extend(f"{base}/new")
            assert f"{base}/0" in ((await self._set(stream))[1].topics or set())
        await self._clear(topics)

    async def open_witness(self) -> Connector:
        """Return a connected connector whose own link ``interrupt`` does not touch."""
        return await self._opened(await self.make_witness())

    async def _make(self, named: bool) -> Connector:
        if named and Ability.PRESENCE not in self.abilities:
            pytest.skip(f"Ability.PRESENCE is not declared: {Ability.PRESENCE.value}")
        name = self.topic().rpartition("/")[2]
        connector = await self.make_named(name) if named else await self.make()
        return await self._opened(connector)

    async def _kept(self, count: int) -> tuple[str, frozenset[str]]:
        """Publish retained messages on topics of one base; return both."""
        base = self.topic()
        topics = frozenset(f"{base}/{n}" for n in range(count))
        await self._put(await self.open_witness(), topics, {"n": 1})
        return base, topics

    async def _put(self, witness: Connector, topics: Iterable[str], payload: dict[str, int] | None) -> None:
        """Publish the same retained message to several topics; return when the broker has them all."""
        seen = await self.observe(mark := self.topic())
        for topic in topics:
            await witness.publish(topic, payload, 1, retain=True)
        await witness.publish(mark, {"n": 0}, 1)
        await self.until(seen, "the last message")

    async def _clear(self, topics: Iterable[str]) -> None:
        await self._put(await self.open_witness(), topics, None)

    async def _learn(self, stream: WatchStream, witness: Connector, topics: Iterable[str]) -> None:
        """Set topics while the watch is open, and read their messages."""
        missing = set(topics)
        await self._put(witness, missing, {"n": 1})
        while missing:
            item = await self._item(stream)
            if isinstance(item, Message):
                missing.discard(item.topic)

    @contextlib.asynccontextmanager
    async def _open_watch(self, connector: Connector, *filters: str) -> AsyncGenerator[WatchStream, None]:
        async with contextlib.aclosing(connector_watch(connector, *filters)) as stream:
            yield stream

    async def _item(self, stream: WatchStream) -> WatchItem:
        return cast("WatchItem", await self.within(anext(stream)))

    async def _set(self, stream: WatchStream) -> tuple[list[Message], Complete]:
        """Read up to the next ``Complete``."""
        got: list[Message] = []
        while not isinstance(item := await self._item(stream), Complete):
            if isinstance(item, Message):
                got.append(item)
        return got, item

    async def _next_complete(self, stream: WatchStream) -> Complete:
        """Read up to the ``Complete`` of the next link."""
        while not isinstance(await self._item(stream), Lost):
            pass
        return (await self._set(stream))[1]


def extensible(stream: object) -> SupportsExtend:
    """Return a stream whose topics can be changed while it is open."""
    assert isinstance(stream, SupportsExtend)
    return stream
