"""One run through broker restarts and cut links: its result is right, and every event is accounted for."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Broker, Mosquitto, eventually
from cascade.testkit.chaos import ChaosProxy, Direction
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.recorder import Recorder

pytestmark = pytest.mark.broker

EVENTS = "cascade/telemetry/+/+/+/events"
GROUP = 100
"""Tasks that begin with each fault."""
BOUND = 30.0

Fault = Callable[[], Awaitable[object]]


COUNTS = [
    pytest.param(4, id="4 and 4"),
    pytest.param(20, id="20 and 20", marks=[pytest.mark.nightly, pytest.mark.timeout(300)]),
]


@pytest.fixture(autouse=True)
def hasty(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the short form try lost links again almost at once; the long one waits as users do."""
    if count < 20:
        for pause in ("_retry.SHORTEST_PAUSE", "_retry.LONGEST_PAUSE", "_senders.STEADY_AFTER"):
            monkeypatch.setattr(f"cascade.connectors.mqtt.{pause}", 0.01)


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
    faults: list[Fault], gates: list[asyncio.Event], connector: MqttConnector, dice: random.Random
) -> None:
    """Open one gate for each fault, which then comes in the middle of the events; then the last one."""
    for fault, gate in zip(faults, gates, strict=False):
        before = connector.statistics()
        gate.set()
        async with asyncio.timeout(BOUND):
            enough = before.sent + dice.randrange(1, GROUP)
            while connector.statistics().sent < enough:
                await asyncio.sleep(0)  # eventually() looks so seldom that all would be over
        assert connector.statistics().pending
        await fault()
        await eventually(lambda before=before: connector.statistics().connections > before.connections, BOUND)  # type: ignore[misc]
    assert await connector.flush(120)  # a store that is written for every message is slow on a busy disk
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

    Mosquitto answers first and writes its store at the end of the same turn of its loop: a SIGKILL between
    the two loses what was acknowledged, by whomever it was sent. It answers a new client in a later turn.
    """
    proxy.stall(Direction.DOWN)
    async with MqttConnector(broker.host, broker.port, presence=False, required=True, connect_timeout=BOUND):
        pass


def cuts(proxy: ChaosProxy, count: int) -> list[Fault]:
    """Return half of them by FIN, half by RST."""
    return [[proxy.cut, proxy.reset][n % 2] for n in range(count)]


def said(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    """Count the warnings by logger; what they tell of lost messages is no change of the link's state."""
    records = [each for each in caplog.records if each.levelno >= logging.WARNING]
    losses = ("put aside", "not delivered")
    return Counter(each.name for each in records if not any(loss in each.getMessage() for loss in losses))


async def run_under(
    broker: Broker, count: int, dice: random.Random
) -> tuple[int, MqttConnector, cs.TelemetrySubscriber]:
    """Run the workflow through ``count`` restarts and as many cuts; return its value and who counted."""
    async with ChaosProxy(broker.port) as proxy:
        faults = [*restarts(broker, proxy, count), *cuts(proxy, count)]
        dice.shuffle(faults)
        gates = [asyncio.Event() for _ in (*faults, None)]
        connector = MqttConnector(proxy.host, proxy.port, drain_timeout=BOUND)
        bus = cs.EventBus()
        telemetry = cs.TelemetrySubscriber(bus, connector)
        run = asyncio.create_task(cs.Engine(connector=connector, bus=bus).run(workflow(gates)))
        await eventually(lambda: telemetry.produced > len(gates) and not connector.statistics().pending)
        await suffer(faults, gates, connector, dice)
        return await run, connector, telemetry


@pytest.mark.parametrize("count", COUNTS)
async def test_row_5_restarts_and_cuts_with_a_store_that_is_kept_at_once(
    count: int, dice: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    """Every event that was produced is received or counted as dropped; first copies are in order."""
    require_mosquitto()
    with Mosquitto(durable=True) as broker, Recorder(broker.host, broker.port, EVENTS) as recorder:
        value, connector, telemetry = await run_under(broker, count, dice)
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
    assert set(said(caplog)) <= {"cascade.connectors.mqtt", "mqtt"}
    assert max(said(caplog).values()) < counts.connections  # one line for each link that was lost


@pytest.mark.parametrize("count", COUNTS)
async def test_row_5_restarts_and_cuts_of_a_broker_as_it_is_installed(
    count: int, dice: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    """The result is right; what a broker forgets that acknowledged it is not the run's to keep."""
    require_mosquitto()
    with Mosquitto(max_queued_messages=1_000) as broker:
        value, connector, _telemetry = await run_under(broker, count, dice)
    assert value == sum(range((2 * count + 1) * GROUP))
    counts = connector.statistics()
    assert counts.accepted == counts.sent + sum(counts.dropped.values())
    assert counts.connections > 2 * count
    assert set(said(caplog)) <= {"cascade.connectors.mqtt", "mqtt"}
    assert max(said(caplog).values()) < counts.connections
