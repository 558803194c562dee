"""Connectors that are wrong in one way each while there is no link. Run by ``test_suite_is_tested.py``."""

import asyncio
from typing import Any

from tiny import Callback, Tiny, TinySubscription
from tiny_contract import against
from watching_mutants import CompletesOnce, LinksOnce, YieldsNoLost

from cascade.interfaces import ConnectorStatistics
from cascade.testkit.connector import Ability, Linking


class WaitsForALink(Tiny):
    async def connect(self) -> None:
        await super().connect()
        while self.line.state == "down":
            await asyncio.sleep(0.01)


class WaitsToSubscribe(Tiny):
    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        subscription = await super().subscribe(topic, callback, qos)
        while not self.linked:
            await asyncio.sleep(0.01)
        return subscription


class LosesWhatWasSubscribedWithoutALink(Tiny):
    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        subscription = await super().subscribe(topic, callback, qos)
        if not self.linked and self.loop is not None:
            self.subscriptions.pop(subscription)
        return subscription


class SubscribesToOneAgain(Tiny):
    def filters_for_a_new_link(self) -> set[str]:
        wanted = super().filters_for_a_new_link()
        return wanted if len(wanted) < 2 or not self.registered else {max(wanted)}

    def arrive(self, topic: str, payload: bytes) -> None:
        kept = self.subscriptions
        self.subscriptions = {each: None for each in kept if each.topic in self.wanted()}
        super().arrive(topic, payload)
        self.subscriptions = kept

    def wanted(self) -> set[str]:
        return self.board.filters.get(self, set())


class GoesOnAfterACancelledConnect(Tiny):
    state = "down"

    async def connect(self) -> None:
        if self.line.state == self.state:
            attempt = asyncio.create_task(asyncio.Event().wait(), name="tiny-attempt")
            for _ in range(5):
                await asyncio.sleep(0)
            attempt.cancel()
        await super().connect()


class GoesOnAfterASilentConnect(GoesOnAfterACancelledConnect):
    state = "silent"


class GoesOnAmidSilence(Tiny):
    def drop_all(self) -> None:
        if self.line.state == "silent" and self.outbox:
            self.left = asyncio.create_task(asyncio.Event().wait(), name="tiny-left")
        super().drop_all()


class WaitsForAnAnswerToLeave(Tiny):
    async def disconnect(self) -> None:
        while self.loop is not None and self.line.state == "silent":
            await asyncio.sleep(0.01)
        await super().disconnect()


class RaisesWithoutALink(Tiny):
    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        super().publish_nowait(topic, payload, qos, retain=retain)
        if self.loop is not None and not self.linked and len(self.outbox) > 20:
            raise ConnectionError("no link")


class FlushesForEver(Tiny):
    async def flush(self, timeout: float | None = None) -> bool:
        while self.outbox:
            await asyncio.sleep(0.01)
        return True


class CountsWhatItGaveUpAsSent(Tiny):
    def drop_all(self) -> None:
        self.counts["sent"] += len(self.outbox)
        self.outbox.clear()


class CountsWhatItGaveUpAsPending(Tiny):
    given_up = 0

    def drop_all(self) -> None:
        self.given_up += len(self.outbox)
        self.outbox.clear()

    def statistics(self) -> ConnectorStatistics:
        counts = super().statistics()
        return counts._replace(pending=counts.pending + self.given_up)


class CountsWhatItGaveUpTwice(Tiny):
    def drop_all(self) -> None:
        self.dropped["twice"] += len(self.outbox)
        super().drop_all()


class SaysThatItIsLinked(Tiny):
    def statistics(self) -> ConnectorStatistics:
        return super().statistics()._replace(linked=True)


class CountsALinkTwice(Tiny):
    def link(self) -> None:
        self.counts["connections"] += self.counts["connections"] > 0
        super().link()


TestWaitsForALink = against(Linking, WaitsForALink)
TestWaitsToSubscribe = against(Linking, WaitsToSubscribe)
TestLosesWhatWasSubscribedWithoutALink = against(Linking, LosesWhatWasSubscribedWithoutALink)
TestSubscribesToOneAgain = against(Linking, SubscribesToOneAgain)
TestGoesOnAfterACancelledConnect = against(Linking, GoesOnAfterACancelledConnect)
TestGoesOnAfterASilentConnect = against(Linking, GoesOnAfterASilentConnect)
TestGoesOnAmidSilence = against(Linking, GoesOnAmidSilence)
TestWaitsForAnAnswerToLeave = against(Linking, WaitsForAnAnswerToLeave)
TestRaisesWithoutALink = against(Linking, RaisesWithoutALink)
TestFlushesForEver = against(Linking, FlushesForEver)
TestCountsWhatItGaveUpAsSent = against(Linking, CountsWhatItGaveUpAsSent)
TestCountsWhatItGaveUpAsPending = against(Linking, CountsWhatItGaveUpAsPending)
TestCountsWhatItGaveUpTwice = against(Linking, CountsWhatItGaveUpTwice)
TestSaysThatItIsLinked = against(Linking, SaysThatItIsLinked)
TestCountsALinkTwice = against(Linking, CountsALinkTwice)
TestYieldsNoLost = against(Linking, YieldsNoLost, Ability.WATCH)
TestCompletesOnce = against(Linking, CompletesOnce, Ability.WATCH)
TestLinksOnce = against(Linking, LinksOnce, Ability.WATCH)
