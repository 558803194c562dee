"""Tests that what is subscribed to arrives, and that callbacks do each other no harm."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from cascade.interfaces import Connector, InvalidTopicError, Subscription
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness, Inbox
from cascade.testkit._contract.publishing import statistics
from cascade.testkit.leaks import no_leaks

QUEUE = 1_000


class Subscribing(Harness):
    """Section 3: subscribe, unsubscribe, callbacks."""

    @needs(Ability.DELIVERY)
    async def test_a_callback_gets_topic_and_decoded_payload(self) -> None:
        """It is awaited with the topic and the JSON object as a dict."""
        topic, inbox, connector = self.topic(), Inbox(), await self.open()
        await connector.subscribe(topic, inbox, 1)
        await connector.publish(topic, {"text": "é", "list": [1, None, {"deep": True}]}, 1)
        await self.until(inbox.seen, "the message")
        assert inbox.seen() == [(topic, {"text": "é", "list": [1, None, {"deep": True}]})]

    @needs(Ability.DELIVERY)
    async def test_an_empty_message_arrives_as_an_empty_dict(self) -> None:
        """A payload of None is the empty message, and a callback gets ``{}``."""
        topic, inbox, connector = self.topic(), Inbox(), await self.open()
        await connector.subscribe(topic, inbox, 1)
        await connector.publish(topic, None, 1)
        await self.until(inbox.seen, "the message")
        assert inbox.seen() == [(topic, {})]

    @needs(Ability.DELIVERY)
    @pytest.mark.parametrize(
        ("pattern", "matching"),
        [
            ("{}/a/b", {"{}/a/b"}),
            ("{}/+/b", {"{}/a/b", "{}/c/b"}),
            ("{}/a/#", {"{}/a", "{}/a/b", "{}/a/b/c"}),
            ("{}/+", {"{}/a"}),
            ("{}/#", {"{}", "{}/a", "{}/a/b", "{}/a/b/c", "{}/c/b"}),
        ],
    )
    async def test_wildcards_match_as_in_mqtt(self, pattern: str, matching: set[str]) -> None:
        """``+`` is one level, ``#`` all that follow and the level above."""
        base, inbox, last, connector = self.topic(), Inbox(), Inbox(), await self.open()
        await connector.subscribe(pattern.format(base), inbox, 1)
        await connector.subscribe(f"{base}-last", last, 1)
        for topic in ("{}", "{}/a", "{}/a/b", "{}/a/b/c", "{}/c/b", "{}x/a/b"):
            await connector.publish(topic.format(base), {}, 1)
        await connector.publish(f"{base}-last", {}, 1)
        await self.until(lambda: last.seen() and len(inbox.seen()) >= len(matching), "all messages")
        assert sorted(topic for topic, _ in inbox.seen()) == sorted(name.format(base) for name in matching)

    @needs(Ability.DELIVERY)
    @pytest.mark.parametrize("pattern", ["#", "+/{}", "+/#"])
    async def test_a_leading_wildcard_does_not_match_dollar_topics(self, pattern: str) -> None:
        """Row 16: topics that begin with ``$`` are the broker's own (MQTT 5.0, section 4.7.2).

        For another callback one comes in all the same, where the other side accepts such topics at all, and
        before the message that is waited for: a connector has to distinguish them itself.
        """
        name = self.topic().replace("/", "-")
        inbox, connector = Inbox(), await self.open()
        await connector.subscribe(f"$contract/{name}", Inbox())
        await connector.subscribe(pattern.format(name), inbox)
        for level in ("$contract", "contract"):
            await connector.publish(f"{level}/{name}", {})
        await self.until(lambda: named(inbox, name), "the other message")
        assert named(inbox, name) == {f"contract/{name}"}

    @needs(Ability.DELIVERY)
    async def test_overlapping_filters_call_each_callback_once(self) -> None:
        """Row 16: a message that matches three filters reaches each of their callbacks once."""
        base, connector = self.topic(), await self.open()
        inboxes = [Inbox() for _ in range(3)]
        for inbox, pattern in zip(inboxes, ("#", "+", "a"), strict=True):
            await connector.subscribe(f"{base}/{pattern}", inbox, 1)
        for n in range(2):
            await connector.publish(f"{base}/a", {"n": n}, 1)
        await self.until(lambda: all({0, 1} <= set(inbox.numbers()) for inbox in inboxes), "both messages")
        assert [sorted(inbox.numbers()) for inbox in inboxes] == [[0, 1]] * 3

    @needs(Ability.DELIVERY)
    async def test_equal_messages_all_arrive_through_overlapping_filters(self) -> None:
        """Row 16: a message that is equal to the one before it, such as a heartbeat, is not a duplicate of it."""
        base, connector = self.topic(), await self.open()
        inboxes = [Inbox(), Inbox()]
        for inbox, pattern in zip(inboxes, ("+", "a"), strict=True):
            await connector.subscribe(f"{base}/{pattern}", inbox, 1)
        for _ in range(6):
            await connector.publish(f"{base}/a", {"n": 1}, 1)
        await self.until(lambda: all(len(inbox.numbers()) >= 6 for inbox in inboxes), "all messages")
        assert [sorted(inbox.numbers()) for inbox in inboxes] == [[1] * 6] * 2

    @needs(Ability.DELIVERY)
    async def test_a_subscription_that_has_received_survives_disconnect_and_connect(self) -> None:
        """Its callback was called on the first connection, and is called again on the second one."""
        topic, inbox, connector = self.topic(), Inbox(), await self.open()
        await connector.subscribe(topic, inbox, 1)
        for n in range(3):
            await connector.publish(topic, {"n": n}, 1)
            await self.until(lambda n=n: n in inbox.numbers(), f"message {n}")  # type: ignore[misc]
            await self.within(connector.disconnect())
            await connector.connect()
        assert inbox.numbers() == [0, 1, 2]

    @needs(Ability.DELIVERY)
    async def test_a_callback_that_raises_cancelled_error_is_called_again(self) -> None:
        """It has awaited a cancelled task, for example; the callback itself was not cancelled."""
        topic, inbox, connector = self.topic(), Inbox(), await self.open()

        async def callback(topic: str, data: dict[str, Any]) -> None:
            await inbox(topic, data)
            raise asyncio.CancelledError

        await connector.subscribe(topic, callback, 1)
        for n in range(2):
            await connector.publish(topic, {"n": n}, 1)
            await self.until(lambda n=n: n in inbox.numbers(), f"message {n}")  # type: ignore[misc]

    @needs(Ability.DELIVERY)
    async def test_a_call_in_progress_ends_with_disconnect(self) -> None:
        """The callback waits for something that never happens; nothing is left of it."""
        topic, calls, connector = self.topic(), list[bool](), await self.make()

        async def callback(_topic: str, _data: dict[str, Any]) -> None:
            calls.append(True)
            try:
                await asyncio.Event().wait()
            finally:
                calls.append(False)

        async with no_leaks(self.timeout):
            await connector.connect()
            subscription = await connector.subscribe(topic, callback, 1)
            await self.within(connector.publish(topic, {}, 1))
            await self.until(lambda: calls, "the call")
            await self.within(connector.disconnect())
            assert calls == [True, False]
        await subscription.unsubscribe()

    @needs(Ability.DELIVERY)
    async def test_one_filter_may_have_several_subscriptions(self) -> None:
        """Row 16: each callback of a filter is called once for each message."""
        topic, connector = self.topic(), await self.open()
        inboxes = [Inbox() for _ in range(3)]
        for inbox in inboxes:
            await connector.subscribe(topic, inbox, 1)
        for n in range(2):
            await connector.publish(topic, {"n": n}, 1)
        await self.until(lambda: all({0, 1} <= set(inbox.numbers()) for inbox in inboxes), "both messages")
        assert [sorted(inbox.numbers()) for inbox in inboxes] == [[0, 1]] * 3

    @needs(Ability.DELIVERY)
    async def test_a_callback_is_never_called_inside_publish(self) -> None:
        """When publish returns to synchronous code that follows, no callback has run in its task."""
        topic, connector, callers = self.topic(), await self.open(), []

        async def callback(topic: str, data: dict[str, Any]) -> None:
            callers.append(asyncio.current_task())

        await connector.subscribe(topic, callback, 1)
        await connector.publish(topic, {}, 1)
        await self.until(lambda: callers, "the call")
        assert asyncio.current_task() not in callers

    @needs(Ability.DELIVERY)
    async def test_a_callback_that_raises_goes_on_and_harms_no_other(self) -> None:
        """Row 15: its own later messages still reach it, and another callback gets every one."""
        topic, inbox, calls, connector = self.topic(), Inbox(), Inbox(), await self.open()

        async def callback(topic: str, data: dict[str, Any]) -> None:
            await calls(topic, data)
            raise RuntimeError("a callback that fails")

        await connector.subscribe(topic, callback, 1)
        await connector.subscribe(topic, inbox, 1)
        for n in range(3):
            await connector.publish(topic, {"n": n}, 1)
        await self.until(lambda: {0, 1, 2} <= set(calls.numbers()) & set(inbox.numbers()), "all for both")

    @needs(Ability.DELIVERY)
    async def test_a_callback_that_never_returns_harms_no_other(self) -> None:
        """Row 15: another callback of the same filter gets every message, and disconnect returns."""
        topic, inbox, hung, connector = self.topic(), Inbox(), asyncio.Event(), await self.open()

        async def callback(topic: str, data: dict[str, Any]) -> None:
            hung.set()
            await asyncio.Event().wait()

        await connector.subscribe(topic, callback, 1)
        await connector.subscribe(topic, inbox, 1)
        for n in range(3):
            await self.within(connector.publish(topic, {"n": n}, 1))
        await self.within(hung.wait())
        await self.until(lambda: len(inbox.seen()) == 3, "the messages of the other callback")
        await self.within(connector.disconnect())

    @needs(Ability.DELIVERY)
    async def test_a_callback_that_blocks_loses_nothing(self) -> None:
        """Row 15: after a callback has blocked the whole event loop, every message still comes to all."""
        topic, inbox, slow, connector = self.topic(), Inbox(), Inbox(), await self.open()

        async def callback(topic: str, data: dict[str, Any]) -> None:
            time.sleep(0.02)  # noqa: ASYNC251 - that is what it shows
            await slow(topic, data)

        await connector.subscribe(topic, callback, 1)
        await connector.subscribe(topic, inbox, 1)
        for n in range(5):
            await connector.publish(topic, {"n": n}, 1)
        await self.until(lambda: len(inbox.seen()) == len(slow.seen()) == 5, "all for both")

    @needs(Ability.DELIVERY)
    async def test_a_queue_holds_a_thousand_and_drops_the_oldest(self) -> None:
        """Row 15: a callback that hung gets, when it goes on, the newest thousand; the rest is counted."""
        topic, inbox, others, connector = self.topic(), Inbox(), Inbox(), await self.open()
        hung, go_on = asyncio.Event(), asyncio.Event()

        async def callback(topic: str, data: dict[str, Any]) -> None:
            hung.set()
            await go_on.wait()
            await inbox(topic, data)

        await connector.subscribe(topic, callback, 1)
        await self.within(connector.publish(topic, {"first": True}, 1))
        await self.within(hung.wait())
        observer = await self.open()
        await observer.subscribe(topic, others, 1)
        for n in range(QUEUE + 200):
            await connector.publish(topic, {"n": n}, 1)
            if n % 100 == 99:
                await self.until(lambda n=n: len(others.seen()) > n, "what was published")  # type: ignore[misc]
        # the observer may get a message first
        if Ability.STATISTICS in self.abilities:
            await self.until(lambda: statistics(connector).received > QUEUE + 200, "all messages")
        go_on.set()
        await self.until(lambda: len(inbox.seen()) == QUEUE + 1, "all messages of the queue")
        assert set(inbox.numbers()) == set(range(200, QUEUE + 200))
        if Ability.STATISTICS in self.abilities:
            assert sum(statistics(connector).discarded.values()) == 200

    @needs(Ability.DELIVERY)
    async def test_a_callback_may_publish_and_unsubscribe(self) -> None:
        """Both work from inside it; after its own unsubscribe it is called no more."""
        topic, inbox, answers, connector = self.topic(), Inbox(), Inbox(), await self.open()
        own: list[Subscription] = []

        async def callback(topic: str, data: dict[str, Any]) -> None:
            await inbox(topic, data)
            await own[0].unsubscribe()
            await connector.publish(f"{topic}/answer", data, 1)

        await connector.subscribe(f"{topic}/answer", answers, 1)
        own.append(await connector.subscribe(topic, callback, 1))
        await connector.publish(topic, {"n": 1}, 1)
        await self.until(answers.seen, "the answer")
        await connector.publish(topic, {"n": 2}, 1)
        await connector.publish(f"{topic}/answer", {"n": 3}, 1)
        await self.until(lambda: 3 in answers.numbers(), "the last message")
        assert (inbox.numbers(), sorted(answers.numbers())) == ([1], [1, 3])

    @needs(Ability.DELIVERY)
    async def test_unsubscribe_ends_one_subscription_alone(self) -> None:
        """No call begins after it; another subscription of the filter goes on; twice is harmless."""
        topic, ended, other, connector = self.topic(), Inbox(), Inbox(), await self.open()
        subscription = await connector.subscribe(topic, ended, 1)
        await connector.subscribe(topic, other, 1)
        await connector.publish(topic, {"n": 1}, 1)
        await self.until(lambda: ended.seen() and other.seen(), "the first message")
        await subscription.unsubscribe()
        await subscription.unsubscribe()
        await connector.publish(topic, {"n": 2}, 1)
        await self.until(lambda: 2 in other.numbers(), "the second message")
        assert ended.numbers() == [1]

    @needs(Ability.DELIVERY)
    async def test_a_subscription_outlives_the_end_of_another_one_of_its_filter(self) -> None:
        """It may begin at any moment while the last one of the filter ends, whose end is sent later."""
        connector = await self.open()
        for turns in range(4):
            topic, inbox = self.topic(), Inbox()
            ending = asyncio.create_task(_subscribed(connector, topic))
            await asyncio.sleep(0)
            ending.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            await self.within(connector.subscribe(topic, inbox, 1))
            await asyncio.wait({ending})
            await connector.publish(topic, {"n": turns}, 1)
            await self.until(inbox.numbers, f"the message after {turns} turns of the event loop")

    @needs(Ability.DELIVERY)
    async def test_subscribe_before_connect_is_sent_on_connecting(self) -> None:
        """It is only registered then, and works as soon as connect has returned."""
        topic, inbox, connector = self.topic(), Inbox(), await self.make()
        await connector.subscribe(topic, inbox, 1)
        await self._opened(connector)
        await connector.publish(topic, {"n": 1}, 1)
        await self.until(lambda: inbox.numbers() == [1], "the message")

    @needs(Ability.DELIVERY)
    async def test_a_subscription_outlives_disconnect(self) -> None:
        """It is registered until it is unsubscribed: after another connect it works again."""
        topic, inbox, connector = self.topic(), Inbox(), await self.open()
        await connector.subscribe(topic, inbox, 1)
        await connector.disconnect()
        await connector.connect()
        await connector.publish(topic, {"n": 1}, 1)
        await self.until(lambda: inbox.numbers() == [1], "the message")

    @needs(Ability.DELIVERY)
    @pytest.mark.parametrize("pattern", ["", "a/#/b", "a+", "a\x00b", "a\ud800b", "a" * 65_536])
    async def test_an_invalid_filter_is_refused(self, pattern: str) -> None:
        """Row 12: the caller gets an error, and nothing is registered that would break the next link."""
        topic, inbox, connector = self.topic(), Inbox(), await self.open()
        with pytest.raises(InvalidTopicError):
            await connector.subscribe(pattern, Inbox())
        await connector.disconnect()
        await connector.connect()
        await connector.subscribe(topic, inbox, 1)
        await connector.publish(topic, {"n": 1}, 1)
        await self.until(lambda: inbox.numbers() == [1], "a message over the next link")
        if Ability.STATISTICS in self.abilities:
            assert statistics(connector).connections == 2

    @needs(Ability.DELIVERY, Ability.BYTES)
    @pytest.mark.parametrize(
        "payload",
        [b"{", b"\xff\xfe", b"[1]", b"7", b"NaN", b"[" * 100_000],
        ids=lambda payload: repr(payload[:9]),
    )
    async def test_an_undecodable_payload_is_passed_over(self, payload: bytes) -> None:
        """No callback is called with it, and what follows it arrives."""
        topic, inbox, connector = self.topic(), Inbox(), await self.open()
        await connector.subscribe(topic, inbox, 1)
        await self.send_bytes(topic, payload)
        await self.send_bytes(topic, b'{"n": 1}')
        await self.until(inbox.seen, "the message that follows")
        assert inbox.seen() == [(topic, {"n": 1})]

    @needs(Ability.DELIVERY, Ability.STATISTICS)
    async def test_statistics_of_what_came_in_are_true(self) -> None:
        """Received counts messages, delivered counts calls."""
        topic, inbox, connector = self.topic(), Inbox(), await self.open()
        for _ in range(2):
            await connector.subscribe(topic, inbox, 1)
        await self.numbered(connector, topic, 10)
        await self.until(lambda: len(inbox.seen()) == 20, "twenty calls")
        counts = statistics(connector)
        assert (counts.received, counts.delivered, dict(counts.discarded)) == (10, 20, {})


async def _subscribed(connector: Connector, topic: str) -> None:
    await connector.subscribe(topic, Inbox(), 1)


def named(inbox: Inbox, name: str) -> set[str]:
    """Return the topics of messages that end with a name: on a shared broker others come in, too."""
    return {topic for topic, _ in inbox.seen() if topic.endswith(name)}
