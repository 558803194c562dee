"""Connectors that are wrong in one way each, and the correct one. Run by ``test_suite_is_tested.py``."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from settler import Settled, Settler
from tiny import Callback, Outgoing, Tiny, TinySubscription
from tiny_contract import TinyHooks
from watcher import TinyStream, Watcher, WithholdingBoard

from cascade.interfaces import ConnectorStatistics, Delivery
from cascade.interfaces.topics import matches
from cascade.testkit.connector import Ability, ConnectorContract, Settling


class LosesOrder(Tiny):
    def in_order(self, batch: list[Outgoing]) -> list[Outgoing]:
        return batch[::-1]


class ForgetsToResubscribe(Tiny):
    def filters_for_a_new_link(self) -> set[str]:
        return super().filters_for_a_new_link() - self.registered


class LetsOneCallbackBlockAnother(Tiny):
    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        first = next(iter(self.subscriptions))
        self.queued: deque[TinySubscription] = getattr(self, "queued", deque())
        self.queued.append(subscription)
        first.offer(topic, data)

    async def call(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        await super().call(self.queued.popleft(), topic, data)


class DrainsNothing(Tiny):
    def drain(self) -> None:
        self.drop_all()


class DropsSilently(Tiny):
    def drop_all(self) -> None:
        self.outbox.clear()


class ClearsTheWrongTopic(Tiny):
    def hand_over(self, topic: str, payload: bytes, retain: bool) -> None:
        above = topic.rpartition("/")[0]
        self.board.send(topic, payload, retain, kept_as=topic if payload else above)


class WaitsForTheLink(Tiny):
    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        if not self.linked and self.loop is not None:
            await asyncio.sleep(0.002)
        await super().publish(topic, payload, qos, retain=retain)


class WaitsForAnAnswer(Tiny):
    async def connect(self) -> None:
        await super().connect()
        while self.line.state == "silent":
            await asyncio.sleep(0.01)


class GoesOnTrying(Tiny):
    def drop_all(self) -> None:
        if self.line.state == "down" and self.outbox:
            self.left = asyncio.create_task(asyncio.Event().wait(), name="tiny-left")
        super().drop_all()


class SaysFlushed(Tiny):
    async def flush(self, timeout: float | None = None) -> bool:
        return self.linked


class SaysFlushedWithoutALink(Tiny):
    async def flush(self, timeout: float | None = None) -> bool:
        return not self.linked or await super().flush(timeout)


class HidesWhatWaits(Tiny):
    def statistics(self) -> ConnectorStatistics:
        counts = super().statistics()
        return counts if self.linked else counts._replace(pending=0)


class CountsNoNewLink(Tiny):
    lost = False

    def link(self) -> None:
        super().link()
        self.counts["connections"] -= self.lost

    def unlink(self) -> None:
        super().unlink()
        self.lost = self.line.state == "down"


class SendsFromAnyThread(Tiny):
    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        try:
            super().publish_nowait(topic, payload, qos, retain=retain)
        finally:
            if self.loop is not None and asyncio._get_running_loop() is not self.loop:
                self.outbox.append((topic, b'{"n": 1}', retain))


class LosesWhatIsPublishedNowait(Tiny):
    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        super().publish_nowait(topic, payload, qos, retain=retain)

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        super().publish_nowait(topic, payload, qos, retain=retain)
        if self.outbox:
            self.outbox.pop()


class SettlesTwice(Settler):
    def hand_over(self, topic: str, payload: bytes, retain: bool) -> None:
        _, settled = self.settlements.get(id(payload), (b"", None))
        super().hand_over(topic, payload, retain)
        if settled is not None:
            settled(Delivery.TAKEN)


class SettlesWithoutALink(Settler):
    def unlink(self) -> None:
        super().unlink()
        for payload, _ in [*self.settlements.values()]:
            self.settle(payload, Delivery.RETURNED)

    def queue(self, message: tuple[str, bytes, bool]) -> None:
        super().queue(message)
        if not self.linked:
            self.settle(message[1], Delivery.TAKEN)


class ReturnsNothing(Settler):
    def drop_all(self) -> None:
        Tiny.drop_all(self)


class RefusesWhatCouldBeSentLater(Settler):
    def settle(self, payload: bytes, delivery: Delivery) -> None:
        super().settle(payload, Delivery.REFUSED if delivery is Delivery.RETURNED else delivery)


class DeliversFirst(Settler):
    def queue(self, message: tuple[str, bytes, bool]) -> None:
        self.outbox.appendleft(message)


class KeepsWhatItReturned(Settler):
    def deliver_nowait(self, topic: str, payload: str, qos: int = 1, *, settled: Settled) -> None:
        if self.loop is None:
            self.outbox.append((topic, payload.encode(), False))
        super().deliver_nowait(topic, payload, qos, settled=settled)


class SettlesWhatItRefused(Settler):
    def deliver_nowait(self, topic: str, payload: str, qos: int = 1, *, settled: Settled) -> None:
        try:
            super().deliver_nowait(topic, payload, qos, settled=settled)
        except ValueError:
            settled(Delivery.REFUSED)
            raise


class KeepsAFilterItRefused(Tiny):
    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        try:
            return await super().subscribe(topic, callback, qos)
        finally:
            if topic == "a+":
                self.subscriptions[TinySubscription(self, topic, callback)] = None


class UnsubscribesOnlyOnce(Tiny):
    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        subscription = await super().subscribe(topic, callback, qos)
        unsubscribe = subscription.unsubscribe

        async def once() -> None:
            del self.subscriptions[subscription]
            await unsubscribe()

        subscription.unsubscribe = once  # type: ignore[method-assign]
        return subscription


class ForgetsWhoHasReceived(Tiny):
    def start(self, subscription: TinySubscription) -> None:
        if not hasattr(subscription, "has_received"):
            super().start(subscription)

    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        subscription.has_received = True  # type: ignore[attr-defined]
        super().dispatch(subscription, topic, data)


class TakesEqualMessagesForDuplicates(Tiny):
    before: tuple[str, bytes] | None = None

    def arrive(self, topic: str, payload: bytes) -> None:
        repeated, self.before = (topic, payload) == self.before, (topic, payload)
        filters = {each.topic for each in self.subscriptions if matches(each.topic, topic)}
        if not repeated or len(filters) < 2:
            super().arrive(topic, payload)


class EndsWithACancelledErrorOfACallback(Tiny):
    def cancelled_in_a_call(self) -> None:
        raise asyncio.CancelledError


class KeepsACancelFromItsWorker(Tiny):
    def cancelled_in_a_call(self) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling() > 1:  # or the event loop could not be closed
            raise asyncio.CancelledError


class NeverCompletes(Watcher):
    def complete(self, stream: TinyStream) -> None:
        if not stream.known:
            super().complete(stream)


class CompletesBeforeTheSet(Watcher):
    def read_set(self, stream: TinyStream, found: Mapping[str, bytes]) -> None:
        if len(found) > 50:
            self.complete(stream)
        super().read_set(stream, found)


class KeepsWhatIsGone(Watcher):
    def gone(self, missing: set[str]) -> set[str]:
        return set()


class ForgetsTheSecondLook(Watcher):
    def gone(self, missing: set[str]) -> set[str]:
        return missing


class TinyContract(TinyHooks, ConnectorContract):
    pass


class WatcherContract(TinyContract):
    abilities = TinyContract.abilities | {Ability.WATCH}
    kind = Watcher


class TestWatcherOnAWithholdingBoard(WatcherContract):
    board_kind = WithholdingBoard


class TestForgetsTheSecondLook(WatcherContract):
    kind = ForgetsTheSecondLook
    board_kind = WithholdingBoard


class SettlerContract(TinyHooks, Settling):
    """The section of settlement alone: in all others these are like Tiny."""

    abilities = TinyContract.abilities | {Ability.SETTLEMENT}
    kind = Settler


CONTRACTS: dict[type[Any], tuple[type[Any], ...]] = {
    TinyContract: (
        Tiny,
        SaysFlushedWithoutALink,
        HidesWhatWaits,
        CountsNoNewLink,
        LosesOrder,
        ForgetsToResubscribe,
        LetsOneCallbackBlockAnother,
        DrainsNothing,
        DropsSilently,
        ClearsTheWrongTopic,
        WaitsForTheLink,
        WaitsForAnAnswer,
        GoesOnTrying,
        SaysFlushed,
        SendsFromAnyThread,
        LosesWhatIsPublishedNowait,
        KeepsAFilterItRefused,
        UnsubscribesOnlyOnce,
        ForgetsWhoHasReceived,
        TakesEqualMessagesForDuplicates,
        EndsWithACancelledErrorOfACallback,
        KeepsACancelFromItsWorker,
    ),
    WatcherContract: (
        Watcher,
        NeverCompletes,
        CompletesBeforeTheSet,
        KeepsWhatIsGone,
    ),
    SettlerContract: (
        Settler,
        SettlesTwice,
        SettlesWithoutALink,
        ReturnsNothing,
        RefusesWhatCouldBeSentLater,
        DeliversFirst,
        KeepsWhatItReturned,
        SettlesWhatItRefused,
    ),
}
for contract, kinds in CONTRACTS.items():
    for kind in kinds:  # each has tests of its own, by its name
        globals()[f"Test{kind.__name__}"] = type(f"Test{kind.__name__}", (contract,), {"kind": kind})
