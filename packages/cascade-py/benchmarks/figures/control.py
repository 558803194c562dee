"""The time until engines apply a constraint, and the cost of admission."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median, quantiles

import aiomqtt

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, EventBus, LocalConnector, LocalHub
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.request_queues import AdmittedRun, BlockReason, StartRequest
from cascade.runtime._admission.rules import Effective, RateLimit
from cascade.runtime._control.constraint_manager import ConstraintManager
from cascade.runtime._run_reports.active_run import ActiveRun
from cascade.runtime._support.clock import SystemClock
from cascade.spec import task
from cascade.testkit.brokers import Broker, start_broker
from figures.measure import Settings, alternate, run
from figures.table import Row, at_most, no_more_than

TITLE = "control: from a message at the broker to its effect, and the cost of admission"

TIMEOUT = 60.0
PAUSE = b'{"type":"pause"}'
TOPIC = constraint_topic("global", "pause")
_BETWEEN_REPORTS = 0.3
"""Seconds after which an engine reports a change at once: the report of the lifting before is not what is measured."""


class Run(AdmittedRun):
    """A run as the admission controller knows it; it only reports that a task starts."""

    def __init__(self, on_start: Callable[[], None] = lambda: None) -> None:
        self.run_id, self.workflow = "bench", ""
        self._on_start = on_start

    def running(self) -> list[StartRequest]:
        """Return nothing: each task here ends when it starts."""
        return []

    def start(self, request: StartRequest) -> None:
        """Report the start."""
        self._on_start()

    def reject(self, request: StartRequest, reason: BlockReason) -> None:
        """Do nothing: no task is cancelled here."""

    def report_blocked(self, request: StartRequest, reason: BlockReason) -> None:
        """Do nothing: no event is measured here."""

    def cancel(self, reason: BlockReason, covers: Callable[[str], object] | None) -> None:
        """Do nothing: no task is cancelled here."""

    def reconsider(self) -> None:
        """Do nothing: no task is at a checkpoint."""

    def abort(self, error: Exception) -> None:
        """Do nothing: a failure shows as a timeout."""


def rows(settings: Settings) -> Iterator[Row]:
    """Measure one engine, fifty engines, and the checks under a rate limit."""
    with start_broker() as broker:
        yield run(_to_one(broker, settings))
        yield run(_to_fifty(broker, settings))
    yield run(_second_run(settings))
    yield run(_second_local_run(settings))
    yield _under_a_rate_limit(settings)


async def _to_one(broker: Broker, settings: Settings) -> Row:
    n = settings.size(300)
    bare, ours = await alternate(
        settings.rounds_or(5), lambda: _until_received(broker, n), lambda: _until_started(broker, n)
    )
    return Row("a pause is lifted, a task starts: p99", "ms", ours, "aiomqtt receives it", bare, at_most(2.5))


async def _until_started(broker: Broker, n: int) -> float:
    started = asyncio.Event()
    bench_run = Run(started.set)
    async with _engine(broker, "bench", bench_run) as controller, _writer(broker) as writer:
        request = StartRequest(bench_run, "task")
        times = []
        for _ in range(n):
            await writer.publish(TOPIC, PAUSE, qos=1, retain=True)
            await _until(lambda: controller.policy.constrained)
            controller.submit(request)
            started.clear()
            began = time.perf_counter()
            await writer.publish(TOPIC, b"", qos=0, retain=True)
            await started.wait()
            times.append(time.perf_counter() - began)
            controller.release(request)
        return _p99(times)


async def _until_received(broker: Broker, n: int) -> float:
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
    return Row(f"{count} engines report a pause as applied", "s", times, target=no_more_than(0.1))


async def _second_run(settings: Settings) -> Row:
    """Measure a run of one task on a connected connector, beside 10,000 leftover registers and beside none."""
    leftovers = settings.size(10_000)
    with start_broker() as empty, start_broker() as full:
        async with _writer(full) as writer:
            writer.pending_calls_threshold = leftovers
            for number in range(leftovers - 1):
                topic = constraint_topic(f"task:other-{number}", "pause")
                await writer.publish(topic, PAUSE, qos=0, retain=True)
            await writer.publish(constraint_topic("task:last", "pause"), PAUSE, qos=1, retain=True)
        without, beside = await alternate(
            settings.rounds_or(5), lambda: _short_runs(empty, "few"), lambda: _short_runs(full, "many")
        )
    name = f"a run of one task beside {leftovers:,} registers"
    return Row(name, "ms", beside, "beside none", without, at_most(1.2))


async def _second_local_run(settings: Settings) -> Row:
    """Measure the same on a LocalConnector: process CPU time, because such a run takes less than a millisecond."""
    leftovers = settings.size(10_000)
    few, many = LocalHub(), LocalHub()
    for number in range(leftovers):
        many.publish(constraint_topic(f"task:other-{number}", "pause"), PAUSE, retain=True)
    async with LocalConnector(few, source_id="few") as one, LocalConnector(many, source_id="many") as other:
        without, beside = await alternate(
            settings.rounds_or(5), lambda: _short_local_runs(one), lambda: _short_local_runs(other)
        )
    name = f"- on a LocalConnector, beside {leftovers:,} registers"
    return Row(name, "ms", beside, "beside none", without, at_most(1.2))


async def _short_local_runs(connector: LocalConnector) -> float:
    nothing = task(name="nothing")(_nothing)
    await Engine(connector=connector, require_control=True).run(nothing())
    times = []
    for _ in range(50):
        engine = Engine(connector=connector)
        began = time.process_time()
        await engine.run(nothing())
        times.append((time.process_time() - began) * 1e3)
    return median(times)


async def _short_runs(broker: Broker, source: str) -> float:
    """Return the median time of a run, each by an engine of its own, once the constraints are known."""
    nothing = task(name="nothing")(_nothing)
    times = []
    async with MqttConnector(broker.host, broker.port, source_id=source) as connector:
        await Engine(connector=connector, require_control=True).run(nothing())
        for _ in range(15):
            engine = Engine(connector=connector)
            began = time.perf_counter()
            await engine.run(nothing())
            times.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(0.3)  # reports of the run before are not part of what is measured
    return median(times)


async def _nothing() -> None:
    """Do nothing."""


async def _until_all_report(broker: Broker, count: int) -> float:
    async with _writer(broker) as writer, asyncio.timeout(TIMEOUT):
        await writer.subscribe("cascade/state/+/constraints")
        await asyncio.sleep(_BETWEEN_REPORTS)
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


def _under_a_rate_limit(settings: Settings) -> Row:
    n = settings.size(1_000)
    policy = AdmissionPolicy()
    bench_run = Run()
    policy.attach(bench_run)
    now = 0.0
    policy.apply({("global", "rate_limit"): Effective(RateLimit("50/s"), TOPIC)}, now)
    for _ in range(n):
        policy.submit(StartRequest(bench_run, "task"))
    while policy.waiting:
        for request in policy.admit(now, n):
            policy.release(request)
        now = policy.next_wake(now) or now
    return Row(f"{n:,} tasks under 50/s: checks a task", "", [policy.checks / n], target=no_more_than(3))


@asynccontextmanager
async def _engine(broker: Broker, name: str, bench_run: Run) -> AsyncIterator[AdmissionController]:
    clock = SystemClock()
    connector = MqttConnector(broker.host, broker.port, source_id=name)
    controller = AdmissionController(AdmissionPolicy(), clock=clock)
    manager = ConstraintManager(connector, clock=clock)
    async with connector:
        manager.start()
        manager.begin_run(ActiveRun(bench_run.run_id, "bench", clock.now()), controller, EventBus())
        controller.attach(bench_run)
        await asyncio.wait_for(manager.synced(), TIMEOUT)
        yield controller
        controller.detach(bench_run)
        await manager.stop()


@asynccontextmanager
async def _writer(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    at_once = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)  # else a delayed ACK is what is measured
    async with aiomqtt.Client(broker.host, broker.port, socket_options=at_once) as client:
        yield client


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - it is outside of what is measured
            await asyncio.sleep(0.0005)


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100, method="inclusive")[-1] * 1e3
