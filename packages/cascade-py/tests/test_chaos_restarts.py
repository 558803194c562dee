"""One run through broker restarts and cut links: its result is right, and every event is accounted for."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from long_limits import AGES, PATIENT

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Broker, Mosquitto, eventually
from cascade.testkit.chaos import ChaosProxy, Direction
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import time_limit
from testing_tools.recorder import Recorder

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("patient")]

EVENTS = "cascade/telemetry/+/+/+/events"
GROUP = 100
"""Tasks that begin with each fault."""
BOUND = 30.0
ANSWERS_PER_SECOND, BYTES_OF_ANSWER = 1_000, 4
"""How fast answers come: 50 at a time. If all came in one turn of the event loop, none were left for a fault."""

Fault = Callable[[], Awaitable[object]]


COUNTS = [
    pytest.param(4, id="4 and 4"),
    pytest.param(20, id="20 and 20", marks=[pytest.mark.nightly, pytest.mark.timeout(300)]),
]


@pytest.fixture(autouse=True)
def hasty(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect almost at once in the short form; the long one uses the pauses that users have."""
    if count < 20:
        for pause in ("backoff.SHORTEST_PAUSE", "backoff.LONGEST_PAUSE", "senders.STEADY_AFTER"):
            monkeypatch.setattr(f"cascade.transport.{pause}", 0.01)


def workflow(gates: list[asyncio.Event]) -> cs.LazyResult[int]:
    """Return a graph of which a further part may run for each gate that is open."""

    @cs.task
    async def opened(number: int) -> int:
        await gates[number].wait()
        return number

    @cs.task
    async def work(group: int, number: int) -> int:
        await asyncio.sleep(0)
        return group * GROUP + number

    @cs.task(mode="inline")
    def total(values: list[int]) -> int:
        return sum(values)

    groups = [opened(number) for number in range(len(gates))]
    return total([work(group, number) for group in groups for number in range(GROUP)])


async def suffer(
    proxy: ChaosProxy,
    faults: list[Fault],
    gates: list[asyncio.Event],
    connector: MqttConnector,
    seeded_random: random.Random,
) -> None:
    """Open one gate for each fault, which then comes in the middle of the events; then the last one."""
    for fault, gate in zip(faults, gates, strict=False):
        before = connector.statistics()
        proxy.slow(ANSWERS_PER_SECOND * BYTES_OF_ANSWER, Direction.DOWN)
        gate.set()
        async with time_limit(BOUND):
            enough = before.sent + seeded_random.randrange(1, GROUP)
            # Telemetry waits while the loop is busy, so this must not keep it busy; eventually() looks too seldom.
            while (counts := connector.statistics()).sent < enough or not counts.pending:
                await asyncio.sleep(0.001)
        assert connector.statistics().pending
        await fault()
        proxy.resume()
        await eventually(lambda before=before: connector.statistics().connections > before.connections, BOUND)  # type: ignore[misc]
    assert await connector.flush(AGES)  # a store that is written for every message is slow on a busy disk
    gates[-1].set()


def restarts(broker: Broker, proxy: ChaosProxy, count: int) -> list[Fault]:
    """Return half of them by SIGTERM, half by SIGKILL."""

    async def restart(end: Callable[[], None]) -> None:
        await asyncio.to_thread(end)
        await proxy.cut()
        proxy.resume()
        await asyncio.to_thread(broker.start)

    async def kill() -> None:
        await hold_back_acknowledgements(broker, proxy)
        await restart(broker.kill)

    ends: list[Fault] = [partial(restart, broker.terminate), kill]
    return [ends[n % 2] for n in range(count)]


async def hold_back_acknowledgements(broker: Broker, proxy: ChaosProxy) -> None:
    """Return when all that the client has seen acknowledged is in the store, and see to it that it sees no more.

    Mosquitto answers first and writes its store at the end of the same iteration of its loop: a SIGKILL between
    the two loses what was acknowledged, by whomever it was sent. It answers a new client in a later iteration.
    """
    proxy.stall(Direction.DOWN)
    async with MqttConnector(broker.host, broker.port, presence=False, required=True, **PATIENT):
        pass


def cuts(proxy: ChaosProxy, count: int) -> list[Fault]:
    """Return half of them by FIN, half by RST."""
    return [[proxy.cut, proxy.reset][n % 2] for n in range(count)]


def warnings_of(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    """Count the warnings by logger; those about lost messages are not a change of the link."""
    records = [each for each in caplog.records if each.levelno >= logging.WARNING]
    losses = ("put aside", "not delivered")
    return Counter(each.name for each in records if not any(loss in each.getMessage() for loss in losses))


async def run_under(
    broker: Broker, count: int, seeded_random: random.Random
) -> tuple[int, MqttConnector, cs.TelemetrySubscriber]:
    """Run the workflow through ``count`` restarts and as many cuts; return its value and who counted."""
    async with ChaosProxy(broker.port) as proxy:
        faults = [*restarts(broker, proxy, count), *cuts(proxy, count)]
        seeded_random.shuffle(faults)
        gates = [asyncio.Event() for _ in (*faults, None)]
        connector = MqttConnector(proxy.host, proxy.port, **PATIENT)
        bus = cs.EventBus()
        telemetry = cs.TelemetrySubscriber(bus, connector)
        run = asyncio.create_task(cs.Engine(connector=connector, bus=bus).run(workflow(gates)))
        await eventually(
            lambda: telemetry.produced > len(gates) and not connector.statistics().pending, BOUND
        )
        await suffer(proxy, faults, gates, connector, seeded_random)
        return await run, connector, telemetry


@pytest.mark.full
@pytest.mark.parametrize("count", COUNTS)
async def test_row_5_restarts_and_cuts_with_a_store_that_is_kept_at_once(
    count: int, seeded_random: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    """Every event that was produced is received or counted as dropped; first copies are in order."""
    require_mosquitto()
    with Mosquitto(durable=True) as broker, Recorder(broker.host, broker.port, EVENTS) as recorder:
        value, connector, telemetry = await run_under(broker, count, seeded_random)
        assert value == sum(range((2 * count + 1) * GROUP))
        await eventually(
            lambda: any(m["body"].get("event") == "ENGINE_STOPPED" for m in recorder.first_copies()), BOUND
        )
        messages = recorder.first_copies()
        copies = len(recorder.messages) - len(messages)
    counts = connector.statistics()
    lost = telemetry.produced - len(messages)
    print(
        f"{telemetry.produced} produced, {len(messages)} received, {lost} lost, {copies} second copies, {counts}"
    )
    seqs = [m["seq"] for m in messages]
    assert telemetry.produced == 2 * ((2 * count + 1) * (1 + GROUP) + 1) + 2
    assert seqs == sorted(set(seqs))
    assert (seqs[0], seqs[-1]) == (0, telemetry.produced - 1)
    assert lost <= sum(number for reason, number in counts.dropped.items() if reason != "superseded")
    assert counts.connections > 2 * count
    assert set(warnings_of(caplog)) <= {"cascade.connectors.mqtt", "mqtt"}
    assert max(warnings_of(caplog).values()) < counts.connections  # one line for each link that was lost


@pytest.mark.full
@pytest.mark.parametrize("count", COUNTS)
async def test_row_5_restarts_and_cuts_of_a_broker_as_it_is_installed(
    count: int, seeded_random: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    """The result is right; what a broker forgets that acknowledged it is not the run's to keep."""
    require_mosquitto()
    with Mosquitto(max_queued_messages=1_000) as broker:
        value, connector, _telemetry = await run_under(broker, count, seeded_random)
    assert value == sum(range((2 * count + 1) * GROUP))
    counts = connector.statistics()
    assert counts.accepted == counts.sent + sum(counts.dropped.values())
    assert counts.connections > 2 * count
    assert set(warnings_of(caplog)) <= {"cascade.connectors.mqtt", "mqtt"}
    assert max(warnings_of(caplog).values()) < counts.connections
