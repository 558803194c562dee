"""Connectors that are wrong in one way each, and the correct one. Run by ``test_suite_is_tested.py``."""

import asyncio
from collections import deque
from typing import Any

import pytest
from tiny import Board, Callback, Line, Outgoing, Tiny, TinySubscription

from cascade.interfaces import Connector
from cascade.testkit.connector import Ability, ConnectorContract


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
    async def flush(self, timeout: float) -> bool:
        return self.linked


class SendsFromAnyThread(Tiny):
    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        try:
            super().publish_nowait(topic, payload, qos, retain=retain)
        finally:
            if self.loop is not None and asyncio._get_running_loop() is not self.loop:
                self.outbox.append((topic, b'{"n": 1}', retain))


class KeepsAFilterItRefused(Tiny):
    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        try:
            return await super().subscribe(topic, callback, qos)
        finally:
            if topic == "a+":
                self.subscriptions[TinySubscription(self, topic, callback)] = None


class TinyContract(ConnectorContract):
    abilities = frozenset(
        {
            Ability.DELIVERY,
            Ability.RETAINED,
            Ability.LINK,
            Ability.BYTES,
            Ability.STATISTICS,
            Ability.PUBLISH_NOWAIT,
            Ability.FLUSH,
        }
    )
    patience = 2.0
    kind: type[Tiny]

    @pytest.fixture
    def environment(self) -> None:
        self.board, self.line = Board(), Line()

    async def make(self) -> Connector:
        return self.kind(self.board, self.line)

    async def make_witness(self) -> Connector:
        return Tiny(self.board, Line())

    async def send_bytes(self, topic: str, payload: bytes) -> None:
        self.board.send(topic, payload, retain=False)

    async def interrupt(self) -> None:
        self.line.turn("down")

    async def silence(self) -> None:
        self.line.turn("silent")

    async def restore(self) -> None:
        self.line.turn("up")


class TestTiny(TinyContract):
    kind = Tiny


class TestLosesOrder(TinyContract):
    kind = LosesOrder


class TestForgetsToResubscribe(TinyContract):
    kind = ForgetsToResubscribe


class TestLetsOneCallbackBlockAnother(TinyContract):
    kind = LetsOneCallbackBlockAnother


class TestDrainsNothing(TinyContract):
    kind = DrainsNothing


class TestDropsSilently(TinyContract):
    kind = DropsSilently


class TestClearsTheWrongTopic(TinyContract):
    kind = ClearsTheWrongTopic


class TestWaitsForTheLink(TinyContract):
    kind = WaitsForTheLink


class TestWaitsForAnAnswer(TinyContract):
    kind = WaitsForAnAnswer


class TestGoesOnTrying(TinyContract):
    kind = GoesOnTrying


class TestSaysFlushed(TinyContract):
    kind = SaysFlushed


class TestSendsFromAnyThread(TinyContract):
    kind = SendsFromAnyThread


class TestKeepsAFilterItRefused(TinyContract):
    kind = KeepsAFilterItRefused
