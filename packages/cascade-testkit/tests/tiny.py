"""A tiny connector that is correct, and what it is connected by. ``mutants.py`` makes it wrong."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from cascade.interfaces import (
    ConnectorStatistics,
    InvalidPayloadError,
    InvalidTopicError,
    UndecodableMessageError,
    WrongThreadError,
)
from cascade.interfaces.topics import check_filter, check_topic, matches
from cascade.interfaces.wire import decode_payload, encode_payload

Callback = Callable[[str, dict[str, Any]], Awaitable[None]]
Outgoing = tuple[str, bytes, bool]


class Board:
    """The broker: what is retained, and who has asked for what."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.filters: dict[Tiny, set[str]] = {}

    def send(self, topic: str, payload: bytes, retain: bool, *, kept_as: str | None = None) -> None:
        if retain:
            self.retained.pop(kept_as or topic, None)
            if payload:
                self.retained[topic] = payload
        for connector, filters in list(self.filters.items()):
            if any(self.matches(each, topic) for each in filters):
                connector.arrive_soon(topic, payload)

    def attach(self, connector: "Tiny", topic_filter: str) -> None:
        try:
            check_filter(topic_filter)
        except InvalidTopicError:
            connector.unlink()  # as brokers do with a client that sends such a thing
            return
        self.filters.setdefault(connector, set()).add(topic_filter)
        for topic, payload in self.retained.items():
            if matches(topic_filter, topic):
                connector.arrive_soon(topic, payload)

    def matches(self, topic_filter: str, topic: str) -> bool:
        return matches(topic_filter, topic)

    def detach(self, connector: "Tiny") -> None:
        self.filters.pop(connector, None)


class Line:
    """What connects connectors to the board; it is up, down, or accepts and carries nothing."""

    def __init__(self) -> None:
        self.state: Literal["up", "down", "silent"] = "up"
        self.connectors: set[Tiny] = set()

    def turn(self, state: Literal["up", "down", "silent"]) -> None:
        self.state = state
        for connector in list(self.connectors):
            (connector.link if state == "up" else connector.unlink)()


class TinySubscription:
    """A callback, its bounded queue and the task that calls it."""

    def __init__(self, owner: "Tiny", topic: str, callback: Callback) -> None:
        self.owner, self.topic, self.callback = owner, topic, callback
        self.queue: deque[tuple[str, dict[str, Any]]] = deque(maxlen=1_000)
        self.arrived = asyncio.Event()

    async def unsubscribe(self) -> None:
        self.owner.subscriptions.pop(self, None)
        self.queue.clear()

    def offer(self, topic: str, data: dict[str, Any]) -> None:
        self.owner.discarded["queue full"] += len(self.queue) == self.queue.maxlen
        self.queue.append((topic, data))
        self.arrived.set()

    async def work(self) -> None:
        while True:
            await self.arrived.wait()
            self.arrived.clear()
            while self.queue:
                await self.owner.call(self, *self.queue.popleft())


class Tiny:
    """Correct, and no more than the contract asks for."""

    def __init__(self, board: Board, line: Line) -> None:
        self.board, self.line = board, line
        self.subscriptions: dict[TinySubscription, None] = {}
        self.outbox: deque[Outgoing] = deque()
        self.registered: set[str] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.linked = False
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.discarded: Counter[str] = Counter()

    async def connect(self) -> None:
        if self.loop is not None:
            return
        self.loop, self.wake = asyncio.get_running_loop(), asyncio.Event()
        self.registered.clear()
        self.tasks = {self.loop.create_task(self.send(), name="tiny-sender")}
        for subscription in self.subscriptions:
            self.start(subscription)
        self.line.connectors.add(self)
        if self.line.state == "up":
            self.link()

    async def disconnect(self) -> None:
        if self.loop is None:
            return
        self.drain()
        self.unlink()
        self.line.connectors.discard(self)
        self.loop = None
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks, timeout=1.0)

    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        self.publish_nowait(topic, payload, qos, retain=retain)

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        check_topic(topic)
        if payload is not None and not isinstance(payload, Mapping):
            raise InvalidPayloadError(topic, payload)
        if self.loop is not None:
            self.check_thread()
            text, replaced = encode_payload(payload)
            self.counts.update(accepted=1, sanitized=bool(replaced))
            self.outbox.append((topic, text.encode(), retain))
            self.wake.set()

    async def flush(self, timeout: float | None = None) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.outbox:
                    await asyncio.sleep(0)
        return not self.outbox

    async def subscribe(self, topic: str, callback: Callback, qos: int = 0) -> TinySubscription:
        check_filter(topic)
        subscription = TinySubscription(self, topic, callback)
        self.subscriptions[subscription] = None
        if self.loop is not None:
            self.start(subscription)
        if self.linked:
            self.registered.add(topic)
            self.board.attach(self, topic)
        return subscription

    def statistics(self) -> ConnectorStatistics:
        counts: dict[str, Any] = dict(self.counts)
        return ConnectorStatistics(
            linked=self.linked,
            pending=len(self.outbox),
            dropped=dict(self.dropped),
            discarded=dict(+self.discarded),
            **counts,
        )

    def link(self) -> None:
        self.linked = True
        self.counts["connections"] += 1
        for topic in self.filters_for_a_new_link():
            self.registered.add(topic)
            self.board.attach(self, topic)
        self.wake.set()

    def unlink(self) -> None:
        self.linked = False
        self.board.detach(self)

    def start(self, subscription: TinySubscription) -> None:
        assert self.loop is not None
        subscription.arrived = asyncio.Event()
        self.tasks.add(self.loop.create_task(subscription.work(), name="tiny-worker"))

    async def send(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            self.send_all()

    def send_all(self) -> None:
        if self.linked:
            batch = list(self.outbox)
            self.outbox.clear()
            for message in self.in_order(batch):
                self.hand_over(*message)
            self.counts["sent"] += len(batch)

    def drop_all(self) -> None:
        self.dropped["disconnected"] += len(self.outbox)
        self.outbox.clear()

    def arrive_soon(self, topic: str, payload: bytes) -> None:
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.arrive, topic, payload)

    def arrive(self, topic: str, payload: bytes) -> None:
        self.counts["received"] += 1
        with contextlib.suppress(UndecodableMessageError):
            data = decode_payload(payload)
            for subscription in self.subscriptions:
                if self.board.matches(subscription.topic, topic):
                    self.dispatch(subscription, topic, data)

    async def call(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        if subscription in self.subscriptions:
            self.counts["delivered"] += 1
            try:
                await subscription.callback(topic, data)
            except asyncio.CancelledError:
                self.cancelled_in_a_call()
            except Exception:
                pass

    def check_thread(self) -> None:
        if asyncio._get_running_loop() is not self.loop:
            raise WrongThreadError("publish_nowait")

    # What the mutants do wrong, each in one of these.

    def cancelled_in_a_call(self) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError

    def in_order(self, batch: list[Outgoing]) -> list[Outgoing]:
        return batch

    def filters_for_a_new_link(self) -> set[str]:
        return {subscription.topic for subscription in self.subscriptions}

    def dispatch(self, subscription: TinySubscription, topic: str, data: dict[str, Any]) -> None:
        subscription.offer(topic, data)

    def drain(self) -> None:
        self.send_all()
        self.drop_all()

    def hand_over(self, topic: str, payload: bytes, retain: bool) -> None:
        self.board.send(topic, payload, retain)
