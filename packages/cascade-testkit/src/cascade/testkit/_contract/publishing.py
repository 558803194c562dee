"""Tests that what is published comes out."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from cascade.interfaces import (
    Connector,
    ConnectorStatistics,
    InvalidPayloadError,
    InvalidTopicError,
    SupportsFlush,
    SupportsPublishNowait,
    SupportsStatistics,
    WrongThreadError,
)
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness, numbers
from cascade.testkit._contract.life import in_a_loop_of_its_own

MANY = 300
BURST = 1_000  # the length of a subscriber's queue


class Publishing(Harness):
    """Section 2: publish, publish_nowait, flush, statistics."""

    async def test_messages_of_one_topic_arrive_in_order(self) -> None:
        """Messages of one topic and QoS come out in the order of their calls."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        await self.numbered(connector, topic, MANY)
        await self.until(lambda: len(seen()) >= MANY, f"{MANY} messages")
        assert numbers(seen()) == list(range(MANY))

    async def test_a_payload_is_what_it_was_at_the_call(self) -> None:
        """Row 14: a change of a dict after publish changes nothing that is sent."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        payload: dict[str, Any] = {"n": 1, "deep": {"list": [1]}}
        await connector.publish(topic, payload, 1)
        payload["n"] = 2
        payload["deep"]["list"].append(2)
        await self.until(seen, "the message")
        assert seen()[0] == (topic, {"n": 1, "deep": {"list": [1]}})

    async def test_what_json_cannot_hold_is_replaced(self) -> None:
        """Row 13: the rest of such a payload comes out all the same, as strict JSON."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        await connector.publish(topic, {"n": 1, "nan": float("nan"), "thing": object(), "text": "é\n\x00"}, 1)
        await self.until(seen, "the message")
        data = seen()[0][1]
        assert (data["n"], data["text"]) == (1, "é\n\x00")
        assert isinstance(data["nan"], str)
        assert isinstance(data["thing"], str)

    @pytest.mark.parametrize("topic", ["", "a/+", "#", "a\x00b", "a\ud800b", "a" * 65_536])
    async def test_an_invalid_topic_is_refused(self, topic: str) -> None:
        """Row 12: empty, a wildcard, NUL, half a character, too long: the caller gets an error, and nothing is sent."""
        connector = await self.open()
        with pytest.raises(InvalidTopicError):
            await connector.publish(topic, {"n": 1})
        await self._works_as_before(connector)

    @pytest.mark.parametrize("payload", ["text", b"bytes", 7, ["a", "list"]])
    async def test_a_payload_that_is_no_mapping_is_refused(self, payload: Any) -> None:
        """The caller gets an error, because it is the caller's mistake, and nothing is sent."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        with pytest.raises(InvalidPayloadError):
            await connector.publish(topic, payload)
        await connector.publish(topic, {"n": 1}, 1)
        await self.until(seen, "what was published afterwards")
        assert seen() == [(topic, {"n": 1})]

    async def test_before_connect_nothing_is_sent(self) -> None:
        """Nothing is raised then, and what was given does not come out later."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.make()
        await connector.publish(topic, {"n": 1}, 1)
        await self._opened(connector)
        await connector.publish(topic, {"n": 2}, 1)
        await self.until(lambda: 2 in numbers(seen()), "what was published after connect")
        assert numbers(seen()) == [2]

    async def test_a_burst_is_drained_by_disconnect(self) -> None:
        """A thousand messages, published without a pause, come out although disconnect follows at once."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        await self.numbered(connector, topic, BURST // 2, qos=0)
        await self.numbered(connector, topic, BURST // 2, qos=1)
        await self.within(connector.disconnect())
        await self.until(lambda: len(seen()) >= BURST, f"{BURST} messages")

    @needs(Ability.PUBLISH_NOWAIT)
    async def test_publish_nowait_does_what_publish_does(self) -> None:
        """It comes out too, and both refuse the same."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        assert isinstance(connector, SupportsPublishNowait)
        connector.publish_nowait(topic, {"n": 1}, 1)
        await self.until(lambda: numbers(seen()) == [1], "the message")
        with pytest.raises(InvalidTopicError):
            connector.publish_nowait("a/#", {"n": 1})
        with pytest.raises(InvalidPayloadError):
            connector.publish_nowait(topic, "text")  # type: ignore[arg-type]

    @needs(Ability.PUBLISH_NOWAIT)
    async def test_publish_nowait_from_another_thread_is_refused(self) -> None:
        """The error explains it; nothing is sent."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        assert isinstance(connector, SupportsPublishNowait)
        with pytest.raises(WrongThreadError):
            await asyncio.to_thread(connector.publish_nowait, topic, {"n": 1}, 1)
        await connector.publish(topic, {"n": 2}, 1)
        await self.until(seen, "what was published afterwards")
        assert numbers(seen()) == [2]

    @needs(Ability.FLUSH)
    async def test_flush_waits_until_all_has_left(self) -> None:
        """After flush has returned True all comes out, although the connector's own loop does nothing more."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.make()
        flushed, seen_all = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        async def flush() -> None:
            assert isinstance(connector, SupportsFlush)
            await connector.connect()
            try:
                await self.numbered(connector, topic, MANY)
                assert await connector.flush(self.timeout)
                assert await connector.flush()  # nothing is left
                loop.call_soon_threadsafe(flushed.set)
                seen_all.wait()  # this blocks its whole loop
            finally:
                await connector.disconnect()

        async with asyncio.TaskGroup() as both:
            both.create_task(in_a_loop_of_its_own(flush), name="contract-flush")
            try:
                await self.within(flushed.wait())
                await self.until(lambda: len(seen()) >= MANY, f"{MANY} messages")
            finally:
                seen_all.set()

    @needs(Ability.STATISTICS)
    async def test_statistics_of_what_went_out_are_true(self) -> None:
        """Accepted is what publish took, and at every moment the sum of sent, pending and dropped."""
        topic = self.topic()
        seen = await self.observe(topic)
        connector = await self.open()
        for n in range(MANY):
            await connector.publish(topic, {"n": n, "odd": object()}, 1)
            assert balanced(connector)
        await self.until(lambda: len(seen()) >= MANY, f"{MANY} messages")
        await self.until(lambda: statistics(connector).pending == 0, "nothing pending")
        counts = statistics(connector)
        assert (counts.accepted, counts.sent, counts.sanitized) == (MANY, MANY, MANY)
        assert (counts.linked, counts.connections, dict(counts.dropped)) == (True, 1, {})

    async def _works_as_before(self, connector: Connector) -> None:
        """See that a refused call has cost neither the link nor anything that is counted."""
        topic = self.topic()
        seen = await self.observe(topic)
        await connector.publish(topic, {"n": 1}, 1)
        await self.until(lambda: numbers(seen()) == [1], "what was published afterwards")
        if Ability.STATISTICS in self.abilities:
            assert (statistics(connector).accepted, statistics(connector).connections) == (1, 1)


def statistics(connector: Connector) -> ConnectorStatistics:
    """Return the counts of a connector that has some."""
    assert isinstance(connector, SupportsStatistics)
    return connector.statistics()


def balanced(connector: Connector) -> bool:
    """Return whether every accepted message is accounted for."""
    counts = statistics(connector)
    return counts.accepted == counts.sent + counts.pending + sum(counts.dropped.values())
