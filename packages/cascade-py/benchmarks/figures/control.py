"""How soon engines obey what is sent to them, and what permission costs."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import quantiles

import aiomqtt

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import EventBus
from cascade.runtime._clock import SystemClock
from cascade.runtime.constraints import Admission, ConstraintManager, Obstacle, Ticket, Turnstile
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.rules import RateLimit
from cascade.testkit.brokers import Broker, start_broker
from figures.measure import Settings, alternate, run
from figures.table import Row, no_more_than

TITLE = "control: from a message at the broker to what it does, and what permission costs"

PATIENCE = 60.0
PAUSE = b'{"type":"pause"}'
TOPIC = constraint_topic("global", "pause")


class Run:
    """A run of an engine that only notes when a task of its own starts."""

    run_id = "bench"

    def __init__(self, on_start: Callable[[], None] = lambda: None) -> None:
        self._on_start = on_start

    def running(self) -> list[Ticket]:
        """Return nothing: whatever starts here has ended at once."""
        return []

    def start(self, ticket: Ticket) -> None:
        """Note it."""
        self._on_start()

    def turn_away(self, ticket: Ticket, obstacle: Obstacle) -> None:
        """Never called: nothing is cancelled here."""

    def blocked(self, ticket: Ticket, obstacle: Obstacle) -> None:
        """Wait on."""

    def cancel(self, obstacle: Obstacle, covers: Callable[[str], bool] | None) -> None:
        """Never called: nothing is cancelled here."""

    def reconsider(self) -> None:
        """Hold nothing at a checkpoint."""

    def abort(self, error: Exception) -> None:
        """Never called: nothing goes wrong here."""


def rows(settings: Settings) -> Iterator[Row]:
    """Measure the way to one engine, to fifty, and through a rate limit."""
    with start_broker() as broker:
        yield run(_to_one(broker, settings))
        yield run(_to_fifty(broker, settings))
    yield _through_a_rate(settings)


async def _to_one(broker: Broker, settings: Settings) -> Row:
    n = settings.size(300)
    bare, ours = await alternate(
        settings.rounds_or(5), lambda: _until_heard(broker, n), lambda: _until_started(broker, n)
    )
    return Row("a pause is lifted, a task starts: p99", "ms", ours, "aiomqtt hears it", bare, no_more_than(5))


async def _until_started(broker: Broker, n: int) -> float:
    started = asyncio.Event()
    owner = Run(started.set)
    async with _engine(broker, "bench", owner) as turnstile, _writer(broker) as writer:
        ticket = Ticket(owner, "task")
        times = []
        for _ in range(n):
            await writer.publish(TOPIC, PAUSE, qos=1, retain=True)
            await _until(lambda: turnstile.admission.constrained)
            turnstile.enter(ticket)
            started.clear()
            began = time.perf_counter()
            await writer.publish(TOPIC, b"", qos=0, retain=True)
            await started.wait()
            times.append(time.perf_counter() - began)
            turnstile.leave(ticket)
        return _p99(times)


async def _until_heard(broker: Broker, n: int) -> float:
    times = []
    async with _writer(broker) as writer, _writer(broker) as reader:
        await reader.subscribe(TOPIC)
        messages = aiter(reader.messages)
        for _ in range(n):
            await writer.publish(TOPIC, PAUSE, qos=1, retain=True)
            await anext(messages)
            began = time.perf_counter()
            await writer.publish(TOPIC, b"", qos=0, retain=True)
            await anext(messages)
            times.append(time.perf_counter() - began)
    return _p99(times)


async def _to_fifty(broker: Broker, settings: Settings) -> Row:
    count = settings.size(50)
    async with AsyncExitStack() as stack:
        for number in range(count):
            await stack.enter_async_context(_engine(broker, f"engine-{number}", Run()))
        times = [await _until_all_report(broker, count) for _ in range(settings.rounds_or(5))]
    return Row(f"{count} engines report a pause as applied", "s", times, target=no_more_than(1))


async def _until_all_report(broker: Broker, count: int) -> float:
    async with _writer(broker) as writer, asyncio.timeout(PATIENCE):
        await writer.subscribe("cascade/state/+/constraints")
        began = time.perf_counter()
        await writer.publish(TOPIC, PAUSE, qos=1, retain=True)
        await _until_reported(writer, "applied", count)
        taken = time.perf_counter() - began
        await writer.publish(TOPIC, b"", qos=1, retain=True)
        await _until_reported(writer, None, count)
        return taken


async def _until_reported(reader: aiomqtt.Client, status: str | None, count: int) -> None:
    seen: dict[str, str | None] = {}
    async for message in reader.messages:
        report = json.loads(bytes(message.payload))
        seen[report["source"]] = report["applied"].get(TOPIC, {}).get("status")
        if sum(found == status for found in seen.values()) == count:
            return


def _through_a_rate(settings: Settings) -> Row:
    n = settings.size(1_000)
    admission = Admission()
    owner = Run()
    admission.attach(owner)
    now = 0.0
    admission.apply({("global", "rate_limit"): Effective(RateLimit("50/s"), TOPIC)}, now)
    for _ in range(n):
        admission.enter(Ticket(owner, "task"))
    while admission.waiting:
        for ticket in admission.admit(now, n):
            admission.leave(ticket)
        now = admission.next_wake(now) or now
    return Row(f"{n:,} tasks under 50/s: checks a task", "", [admission.checks / n], target=no_more_than(3))


@asynccontextmanager
async def _engine(broker: Broker, name: str, owner: Run) -> AsyncIterator[Turnstile]:
    clock = SystemClock()
    connector = MqttConnector(broker.host, broker.port, source_id=name)
    turnstile = Turnstile(Admission(), clock=clock)
    manager = ConstraintManager(connector, turnstile, clock=clock, bus=EventBus())
    async with connector:
        manager.start()
        turnstile.attach(owner)
        await asyncio.wait_for(manager.synced(), PATIENCE)
        yield turnstile
        turnstile.detach(owner)
        await manager.stop()


@asynccontextmanager
async def _writer(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    at_once = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)  # else a delayed ACK is what is measured
    async with aiomqtt.Client(broker.host, broker.port, socket_options=at_once) as client:
        yield client


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - it is outside of what is measured
            await asyncio.sleep(0.0005)


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100, method="inclusive")[-1] * 1e3
