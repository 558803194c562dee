"""Connectors that are wrong in one way each, in what they deliver. Run by ``test_suite_is_tested.py``.

Each is run on the section of the suite that is about its fault: no other section looks for it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from tiny import Board, Callback, Tiny, TinySubscription
from tiny_contract import against, counting_wrongly

from cascade.interfaces import ConnectorStatistics
from cascade.interfaces.topics import matches
from cascade.testkit.connector import Retaining, Subscribing

Change = Callable[[ConnectorStatistics], object]


class Given(Tiny):
    """It changes what a callback is called with."""

    def change(self, data: dict[str, Any]) -> dict[str, Any]:
        return data

    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        subscription.offer(topic, self.change(data))


class GivesAnotherTopic(Tiny):
    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        subscription.offer(topic.upper() if "text" in data else topic, data)


class GivesAsciiOnly(Given):
    def change(self, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "text": "?"} if "text" in data else data


class GivesNothingDeep(Given):
    def change(self, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "list": data["list"][:2]} if "list" in data else data


class PassesOverTheEmptyMessage(Tiny):
    def arrive(self, topic: str, payload: bytes) -> None:
        if payload:
            super().arrive(topic, payload)


class GivesNoneForTheEmptyMessage(Given):
    def change(self, data: dict[str, Any]) -> dict[str, Any]:
        return data or {"payload": None}


class AnyLevels(Board):
    """Its ``+`` matches several levels."""

    def matches(self, topic_filter: str, topic: str) -> bool:
        return super().matches(
            topic_filter.replace("/+", "/#") if topic_filter.endswith("/+") else topic_filter, topic
        )


class NoParent(Board):
    """Its ``#`` does not match the level above."""

    def matches(self, topic_filter: str, topic: str) -> bool:
        return super().matches(topic_filter, topic) and topic_filter != f"{topic}/#"


class Prefixes(Board):
    """Its ``#`` matches whatever begins alike."""

    def matches(self, topic_filter: str, topic: str) -> bool:
        beginning = topic_filter.removesuffix("/#")
        return super().matches(topic_filter, topic) or (
            beginning != topic_filter and "-last" not in topic and topic.startswith(beginning)
        )


class NoWildcardInside(Board):
    """Its ``+`` matches as the last level only."""

    def matches(self, topic_filter: str, topic: str) -> bool:
        return super().matches(topic_filter, topic) and "/+/" not in topic_filter


class OneLevelBelow(Board):
    """Its ``#`` matches one level."""

    def matches(self, topic_filter: str, topic: str) -> bool:
        below = len(topic.split("/")) - len(topic_filter.split("/"))
        return super().matches(topic_filter, topic) and below < 1


class DollarToo(Board):
    """Wildcards match the broker's own topics."""

    def matches(self, topic_filter: str, topic: str) -> bool:
        return super().matches(topic_filter.lstrip("$"), topic.lstrip("$"))


class CallsOnceForEachFilter(Tiny):
    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        for _ in {each.topic for each in self.subscriptions if matches(each.topic, topic)}:
            super().dispatch(subscription, topic, data)


class CallsOneOfAFilter(Tiny):
    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        alike = [each for each in self.subscriptions if each.topic == subscription.topic]
        if subscription is alike[-1]:
            super().dispatch(subscription, topic, data)


class CallsOneOfAll(Tiny):
    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        wanted = [each for each in self.subscriptions if matches(each.topic, topic)]
        if len({each.topic for each in wanted}) < 2 or subscription is wanted[-1]:
            super().dispatch(subscription, topic, data)


class CallsInsidePublish(Tiny):
    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        await super().publish(topic, payload, qos, retain=retain)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for subscription in list(self.subscriptions):
            while payload == {} and subscription.queue:
                await self.call(subscription, *subscription.queue.popleft())

    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        subscription.queue.append((topic, data))
        if data:
            subscription.arrived.set()
        elif self.loop is not None:
            self.loop.call_later(0.001, subscription.arrived.set)


class EndsWithAnErrorOfACallback(Tiny):
    async def call(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        async def callback(topic: str, data: dict[str, Any]) -> None:
            try:
                await kept(topic, data)
            except RuntimeError:
                self.subscriptions.pop(subscription)
                raise

        kept, subscription.callback = subscription.callback, callback
        await super().call(subscription, topic, data)
        subscription.callback = kept


class EndsAllWithAnErrorOfACallback(EndsWithAnErrorOfACallback):
    async def call(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        before = list(self.subscriptions)
        await super().call(subscription, topic, data)
        if subscription not in self.subscriptions and len(before) > 1 and data.get("n") == 0:
            self.subscriptions.clear()
            self.subscriptions[subscription] = None


class LosesWhatWaitedWhileItWasBlocked(Tiny):
    async def call(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        blocked: list[float] = []
        with mock.patch.object(time, "sleep", blocked.append):
            await super().call(subscription, topic, data)
        if blocked and data["n"] == 2:
            subscription.queue.clear()


class Queues(Tiny):
    length = 1_000

    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        subscription = await super().subscribe(topic, callback, qos)
        subscription.queue = type(subscription.queue)(maxlen=self.length)
        return subscription


class KeepsFewer(Queues):
    length = 900


class KeepsMore(Queues):
    length = 1_100


class DropsTheNewest(Tiny):
    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        if len(subscription.queue) < 1_000:
            super().dispatch(subscription, topic, data)
        else:
            self.discarded["queue full"] += 1


class WaitsForItsOwnCallback(Tiny):
    running: TinySubscription | None = None

    async def call(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        self.running = subscription
        try:
            await super().call(subscription, topic, data)
        finally:
            self.running = None

    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        subscription = await super().subscribe(topic, callback, qos)
        unsubscribe = subscription.unsubscribe

        async def ended() -> None:
            await self.leave(subscription, unsubscribe)

        subscription.unsubscribe = ended  # type: ignore[method-assign]
        return subscription

    async def leave(self, subscription: TinySubscription, unsubscribe: Callable[[], Any]) -> None:
        while self.running is subscription:
            await asyncio.sleep(0.1)
        await unsubscribe()


class KeepsASubscriptionThatEndsItself(WaitsForItsOwnCallback):
    async def leave(self, subscription: TinySubscription, unsubscribe: Callable[[], Any]) -> None:
        if self.running is not subscription:
            await unsubscribe()


class EndsAllOfAFilter(WaitsForItsOwnCallback):
    async def leave(self, subscription: TinySubscription, unsubscribe: Callable[[], Any]) -> None:
        for each in [each for each in self.subscriptions if each.topic == subscription.topic]:
            self.subscriptions.pop(each)


class EndsNothingFromOutside(WaitsForItsOwnCallback):
    async def leave(self, subscription: TinySubscription, unsubscribe: Callable[[], Any]) -> None:
        if self.running is subscription:
            await unsubscribe()


class EndsAFilterLater(Tiny):
    """It asks the other side for a filter, and when the call is cancelled, it takes the filter back later."""

    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        subscription = await super().subscribe(topic, callback, qos)
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.subscriptions.pop(subscription, None)
            asyncio.get_running_loop().call_soon(self.take_back, topic)
            raise
        return subscription

    def take_back(self, topic: str) -> None:
        for subscription in [each for each in self.subscriptions if each.topic == topic]:
            self.subscriptions.pop(subscription)


class IgnoresWhatComesBeforeConnect(Tiny):
    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        subscription = await super().subscribe(topic, callback, qos)
        if self.loop is None:
            self.subscriptions.pop(subscription)
        return subscription


class ForgetsWhatNeverReceived(Tiny):
    async def disconnect(self) -> None:
        await super().disconnect()
        if not self.counts["received"]:
            self.subscriptions.clear()


INVALID = ["", "a/#/b", "a+", "a\x00b", "a\ud800b", "a" * 65_536]
"""Filters that have to be refused; for each there is a connector that takes it."""


def taking_the_filter(invalid: str) -> type[Tiny]:
    class Takes(Tiny):
        async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
            if topic == invalid:
                return TinySubscription(self, topic, callback)
            return await super().subscribe(topic, callback, qos)

    return Takes


class BreaksItsLinkForAnInvalidFilter(Tiny):
    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        try:
            return await super().subscribe(topic, callback, qos)
        except ValueError:
            self.unlink()
            self.link()
            raise


UNDECODABLE = [b"{", b"\xff\xfe", b"[1]", b"7", b"NaN", b"[" * 100_000]
"""Payloads with which no callback may be called; for each there is a connector that calls it."""


def giving(undecodable: bytes) -> type[Tiny]:
    class Gives(Tiny):
        def arrive(self, topic: str, payload: bytes) -> None:
            super().arrive(topic, b"{}" if payload == undecodable else payload)

    return Gives


class EndsWithAnUndecodablePayload(Tiny):
    def arrive(self, topic: str, payload: bytes) -> None:
        super().arrive(topic, payload)
        if payload == b"{":
            self.subscriptions.clear()


class KeepsNothing(Board):
    def send(self, topic: str, payload: bytes, retain: bool, *, kept_as: str | None = None) -> None:
        super().send(topic, payload, False)


class KeepsAll(Board):
    def send(self, topic: str, payload: bytes, retain: bool, *, kept_as: str | None = None) -> None:
        super().send(topic, payload, retain)
        if topic in self.retained:
            self.retained[topic] = payload


class KeepsTheFirst(Board):
    def send(self, topic: str, payload: bytes, retain: bool, *, kept_as: str | None = None) -> None:
        super().send(topic, payload, retain and not (payload and topic in self.retained))


class ClearsNothing(Board):
    def send(self, topic: str, payload: bytes, retain: bool, *, kept_as: str | None = None) -> None:
        super().send(topic, payload, retain and bool(payload))


class ClearsAllBelow(Board):
    def send(self, topic: str, payload: bytes, retain: bool, *, kept_as: str | None = None) -> None:
        super().send(topic, payload, retain)
        if retain and not payload:
            self.retained = {each: kept for each, kept in self.retained.items() if topic not in each}


class GivesRetainedMessagesOnce(Board):
    def attach(self, connector: Tiny, topic_filter: str) -> None:
        given = connector.__dict__.setdefault("given", set())
        kept = self.retained
        if topic_filter in given:
            self.retained = {}
        super().attach(connector, topic_filter)
        self.retained = kept
        if kept:
            given.add(topic_filter)


class GivesNoRetainedMessageOnConnecting(Tiny):
    def link(self) -> None:
        kept, self.board.retained = self.board.retained, {}
        super().link()
        self.board.retained = kept


WRONG_COUNTS: list[dict[str, Change]] = [
    {"discarded": lambda counts: {}},
    {"discarded": lambda counts: counts.discarded or {"none": 1}},
    {"received": lambda counts: counts.received - (counts.received == 10)},
    {"delivered": lambda counts: counts.received},
]

TestGivesAnotherTopic = against(Subscribing, GivesAnotherTopic)
TestGivesAsciiOnly = against(Subscribing, GivesAsciiOnly)
TestGivesNothingDeep = against(Subscribing, GivesNothingDeep)
TestPassesOverTheEmptyMessage = against(Subscribing, PassesOverTheEmptyMessage)
TestGivesNoneForTheEmptyMessage = against(Subscribing, GivesNoneForTheEmptyMessage)
TestAnyLevels, TestNoParent, TestPrefixes, TestNoWildcardInside, TestOneLevelBelow, TestDollarToo = (
    against(Subscribing, Tiny, board_kind=kind)
    for kind in (AnyLevels, NoParent, Prefixes, NoWildcardInside, OneLevelBelow, DollarToo)
)
TestCallsOnceForEachFilter = against(Subscribing, CallsOnceForEachFilter)
TestCallsOneOfAFilter = against(Subscribing, CallsOneOfAFilter)
TestCallsOneOfAll = against(Subscribing, CallsOneOfAll)
TestCallsInsidePublish = against(Subscribing, CallsInsidePublish)
TestEndsWithAnErrorOfACallback = against(Subscribing, EndsWithAnErrorOfACallback)
TestEndsAllWithAnErrorOfACallback = against(Subscribing, EndsAllWithAnErrorOfACallback)
TestLosesWhatWaitedWhileItWasBlocked = against(Subscribing, LosesWhatWaitedWhileItWasBlocked)
TestKeepsFewer = against(Subscribing, KeepsFewer)
TestKeepsMore = against(Subscribing, KeepsMore)
TestDropsTheNewest = against(Subscribing, DropsTheNewest)
TestCountsNoDiscard, TestCountsADiscard, TestCountsLessThanCame, TestCountsMessagesAsCalls = (
    against(Subscribing, counting_wrongly(**changes)) for changes in WRONG_COUNTS
)
TestWaitsForItsOwnCallback = against(Subscribing, WaitsForItsOwnCallback)
TestKeepsASubscriptionThatEndsItself = against(Subscribing, KeepsASubscriptionThatEndsItself)
TestEndsAllOfAFilter = against(Subscribing, EndsAllOfAFilter)
TestEndsNothingFromOutside = against(Subscribing, EndsNothingFromOutside)
TestEndsAFilterLater = against(Subscribing, EndsAFilterLater)
TestIgnoresWhatComesBeforeConnect = against(Subscribing, IgnoresWhatComesBeforeConnect)
TestForgetsWhatNeverReceived = against(Subscribing, ForgetsWhatNeverReceived)
(
    TestTakesNoFilter,
    TestTakesALevelBehindAll,
    TestTakesHalfALevel,
    TestTakesNul,
    TestTakesHalf,
    TestTakesALong,
) = (against(Subscribing, taking_the_filter(topic)) for topic in INVALID)
TestBreaksItsLinkForAnInvalidFilter = against(Subscribing, BreaksItsLinkForAnInvalidFilter)
TestGivesHalf, TestGivesBytes, TestGivesAList, TestGivesANumber, TestGivesNaN, TestGivesDepth = (
    against(Subscribing, giving(payload)) for payload in UNDECODABLE
)
TestEndsWithAnUndecodablePayload = against(Subscribing, EndsWithAnUndecodablePayload)

(
    TestKeepsNothing,
    TestKeepsAll,
    TestKeepsTheFirst,
    TestClearsNothing,
    TestClearsAllBelow,
    TestGivesRetainedOnce,
) = (
    against(Retaining, Tiny, board_kind=kind)
    for kind in (
        KeepsNothing,
        KeepsAll,
        KeepsTheFirst,
        ClearsNothing,
        ClearsAllBelow,
        GivesRetainedMessagesOnce,
    )
)
TestGivesNoRetainedMessageOnConnecting = against(Retaining, GivesNoRetainedMessageOnConnecting)
