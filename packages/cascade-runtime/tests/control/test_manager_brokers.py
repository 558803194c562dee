"""The manager on real brokers: retained messages, restarts, cut connections and large sets."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
import pytest
from admission_parts import Controller, Policy, SystemClock
from control_parts import ActiveRun, Constraint, ConstraintManager, parse
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import Clock, RunStatus
from cascade.interfaces.topics import STORE_TOPIC, constraint_topic
from cascade.runtime import EventBus
from cascade.testkit import Broker, Mosquitto, NatsServer, eventually
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import busyness

pytestmark = [
    pytest.mark.broker,
    pytest.mark.wrong_messages("some registers hold what an engine must reject", "cascade/constraints/#"),
]

GLOBAL = "cascade/constraints/global"
PAUSE = b'{"type":"pause"}'
LIMIT = b'{"type":"concurrency","params":{"limit":2}}'


class FastClock(SystemClock):
    """A clock whose wall time is ten minutes ahead."""

    @staticmethod
    def now() -> float:
        return time.time() + 600


class Steered:
    """The controlled half of an engine, connected to a broker."""

    def __init__(
        self, host: str, port: int, name: str = "press-3", *, clock: Clock | None = None, **keywords: Any
    ) -> None:
        clock = clock or SystemClock()
        self.connector = MqttConnector(host, port, source_id=name, **keywords)
        self.admission = Controller(Policy(), clock=clock)
        self.manager = ConstraintManager(self.connector, clock=clock)

    async def __aenter__(self) -> "Steered":
        self.manager.start()
        self.manager.add_engine(self.admission)
        await self.connector.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.manager.stop()
        await self.connector.disconnect()

    async def synced(self) -> None:
        await asyncio.wait_for(self.manager.synced(), 60 * busyness())

    @property
    def gates(self) -> set[tuple[str, str]]:
        return set(self.admission.policy.gates.by_key)

    @property
    def sync(self) -> str:
        return self.manager.sync.state.value


@pytest.fixture(params=[Mosquitto, NatsServer], ids=["mosquitto", "nats"])
def any_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A new broker for each test: its retained messages belong to the test."""
    if request.param is Mosquitto:
        require_mosquitto()
    with request.param() as broker:
        yield broker


@pytest.fixture
def lasting() -> Iterator[Broker]:
    """A mosquitto that writes its store on every change."""
    require_mosquitto()
    with Mosquitto(durable=True) as broker:
        yield broker


@asynccontextmanager
async def writer(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    """A program that does not use Cascade and can publish anything."""
    async with aiomqtt.Client(broker.host, broker.port, timeout=60) as client:
        client.pending_calls_threshold = 100_000
        yield client


async def write(broker: Broker, *messages: tuple[str, bytes], qos: int = 1) -> None:
    async with writer(broker) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=qos, retain=True)


@pytest.mark.full
async def test_row_17_a_retained_set_of_5000_is_in_force_as_a_whole(
    any_broker: Broker, no_leaks: None
) -> None:
    """Row 17: 5,000 retained registers arrive before Complete; the sync completes with all of them in force."""
    async with writer(any_broker) as client:
        for number in range(5_000):
            await client.publish(f"cascade/constraints/task/t{number}/@pause", PAUSE, retain=True)
        await client.publish(GLOBAL, PAUSE, qos=1, retain=True)
    async with Steered(any_broker.host, any_broker.port) as steered:
        await steered.synced()
        assert len(steered.gates) == 5_001
        assert steered.sync == "synced"


async def test_row_18_a_pause_cleared_while_the_link_was_cut_is_lifted(
    any_broker: Broker, no_leaks: None
) -> None:
    """Row 18, I2: the clear leaves no message at the broker; the next sync lifts the pause all the same."""
    await write(any_broker, (GLOBAL, PAUSE), (f"{GLOBAL}/@concurrency", LIMIT))
    async with ChaosProxy(any_broker.port) as proxy, Steered(proxy.host, proxy.port) as steered:
        await eventually(lambda: len(steered.gates) == 2)
        await proxy.down()
        await eventually(lambda: steered.sync == "syncing")
        await write(any_broker, (GLOBAL, b""))
        assert len(steered.gates) == 2
        await proxy.up()
        await eventually(lambda: steered.gates == {("global", "concurrency")})


async def test_a_broker_that_restarts_with_its_store_changes_nothing(lasting: Broker, no_leaks: None) -> None:
    """A killed and restarted broker still has the set; during and after that, the same constraints are in force."""
    await write(lasting, (STORE_TOPIC, b'{"store":"A"}'), (GLOBAL, PAUSE))
    async with Steered(lasting.host, lasting.port) as steered:
        await steered.synced()
        revision = steered.manager.registers.revision
        connections = steered.connector.statistics().connections
        lasting.restart()
        await eventually(lambda: steered.connector.statistics().connections > connections, 20)
        await eventually(lambda: steered.manager.sync.is_linked and steered.sync == "synced", 20)
        assert steered.gates == {("global", "pause")}
        assert steered.manager.registers.revision == revision  # nor was it different in between


@pytest.mark.full
async def test_row_19_a_lost_store_keeps_the_constraints(lasting: Broker, no_leaks: None) -> None:
    """Row 19: the known set stays in force as stale until a tool starts a new store."""
    await write(lasting, (STORE_TOPIC, b'{"store":"A"}'), (GLOBAL, PAUSE))
    async with Steered(lasting.host, lasting.port) as steered:
        await steered.synced()
        lasting.restart(keep_store=False)
        await eventually(lambda: steered.sync == "stale", 20)
        assert steered.gates == {("global", "pause")}
        await write(lasting, (f"{GLOBAL}/@concurrency", LIMIT))
        await eventually(lambda: len(steered.gates) == 2)
        await write(lasting, (STORE_TOPIC, b'{"store":"B"}'))
        await eventually(lambda: steered.gates == {("global", "concurrency")})
        await eventually(lambda: steered.sync == "synced")


@pytest.mark.full
async def test_row_23_with_mqtt_5_the_remaining_expiry_counts(lasting: Broker, no_leaks: None) -> None:
    """Row 23: an engine whose clock is ten minutes ahead obeys a new pause, live and retained, for its full time."""
    speaks_5: dict[str, Any] = {"clock": FastClock(), "protocol": aiomqtt.ProtocolVersion.V5}
    pause = json.dumps({"type": "pause", "expires_at": time.time() + 300}).encode()

    async with Steered(lasting.host, lasting.port, **speaks_5) as steered:
        await steered.synced()
        earliest = time.monotonic() - 2  # the broker counts whole seconds
        await asyncio.to_thread(write_with_expiry, lasting, GLOBAL, pause, 300)
        await eventually(lambda: steered.gates == {("global", "pause")})
        deadline = steered.manager.registers.next_expiry()
        assert deadline is not None
        assert earliest <= deadline - 300 <= time.monotonic()
    async with Steered(lasting.host, lasting.port, **speaks_5) as steered:
        await steered.synced()
        assert steered.gates == {("global", "pause")}
        await asyncio.to_thread(write_with_expiry, lasting, GLOBAL, pause, 1)
        await eventually(lambda: not steered.gates)
        register = steered.manager.registers.get(GLOBAL)
        assert register is not None
        assert register.status.value == "expired"


def write_with_expiry(broker: Broker, topic: str, payload: bytes, seconds: int) -> None:
    """Publish a retained message with a message expiry."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=True, properties=properties).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


async def test_i8_an_engine_that_stops_without_a_link_corrects_its_reports(
    any_broker: Broker, no_leaks: None
) -> None:
    """I8: the link drops, the engine stops, the link returns: the retained reports say so."""
    await write(any_broker, (GLOBAL, PAUSE))
    async with ChaosProxy(any_broker.port) as proxy, Steered(proxy.host, proxy.port) as steered:
        await steered.synced()
        steered.manager.begin_run(ActiveRun("r1", "target", 0.0), steered.admission, EventBus())
        async with writer(any_broker) as client:
            reports: dict[str, Any] = {}
            reader = asyncio.create_task(keep_reports(client, reports), name="reader")
            await eventually(
                lambda: (
                    reports.keys() >= {"constraints", "runs"}
                    and reports["constraints"]["applied"]
                    and reports["runs"]["runs"]
                )
            )
            await proxy.down()
            await eventually(lambda: steered.sync == "syncing")
            steered.manager.end_run("r1", RunStatus.SUCCEEDED, "")
            await steered.manager.stop()
            await proxy.up()
            await eventually(
                lambda: reports["constraints"]["sync"] == "stopped" and not reports["runs"]["runs"]
            )
            assert (reports["constraints"]["applied"], reports["constraints"]["effective"]) == ({}, [])
            reader.cancel()
            await asyncio.wait({reader})


async def keep_reports(client: aiomqtt.Client, reports: dict[str, Any]) -> None:
    """Keep the latest report of each kind."""
    await client.subscribe("cascade/state/press-3/+", qos=1)
    async for message in client.messages:
        reports[str(message.topic).rpartition("/")[2]] = json.loads(message.payload)


async def test_row_24_old_and_repeated_messages_are_harmless(any_broker: Broker, no_leaks: None) -> None:
    """Row 24: the same message a hundred times is one change, and the last message counts."""
    async with Steered(any_broker.host, any_broker.port) as steered:
        await steered.synced()
        last = constraint_topic("task:last", "pause")
        await write(any_broker, *[(GLOBAL, PAUSE)] * 100, (last, PAUSE))
        await eventually(lambda: ("task:last", "pause") in steered.gates)  # so all the others have come
        await eventually(lambda: steered.gates == {("global", "pause"), ("task:last", "pause")})
        assert steered.manager.registers.revision == 2
        await write(any_broker, (GLOBAL, b""), (GLOBAL, PAUSE), (GLOBAL, b""), (last, b""))
        await eventually(lambda: not steered.gates)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "count", [10_000, pytest.param(100_000, marks=pytest.mark.nightly)], ids=["short", "long"]
)
async def test_row_25_after_fuzzed_messages_the_final_state_is_right(
    fresh_broker: Broker, count: int, no_leaks: None
) -> None:
    """Row 25, I7: after many random messages the loop still runs and the registers equal the retained set."""
    rng = random.Random(25)
    async with Steered(fresh_broker.host, fresh_broker.port) as steered, writer(fresh_broker) as client:
        await steered.synced()
        for _ in range(count):
            await client.publish(fuzzed_topic(rng), fuzzed_payload(rng), qos=0, retain=rng.random() < 0.9)
        for topic in FUZZED:
            await client.publish(topic, b"", qos=0, retain=True)
        await client.publish(constraint_topic("task:last", "pause"), PAUSE, qos=1, retain=True)
        await eventually(lambda: ("task:last", "pause") in steered.gates, 60)
        await eventually(lambda: steered.gates == {("task:last", "pause")})
        assert list(steered.manager.registers.values) == [constraint_topic("task:last", "pause")]


FUZZED = [
    *(
        constraint_topic(scope, kind)
        for scope in ("global", "task:a*", "run:x")
        for kind in ("", "pause", "x")
    ),
    "cascade/constraints/a/b/c/d",
    "cascade/constraints",
    "cascade/constraints/%ff",
    STORE_TOPIC,
]


def fuzzed_topic(rng: random.Random) -> str:
    return rng.choice(FUZZED)


def fuzzed_payload(rng: random.Random) -> bytes:
    text = json.dumps(
        {
            "type": rng.choice(["pause", "concurrency", "rate_limit", "cancel", "x", None, 3]),
            "params": rng.choice(
                [{}, {"limit": rng.randrange(-2, 5)}, {"rate": rng.choice([0, "1/m", "x"])}, []]
            ),
            "expires_at": rng.choice([None, 1, time.time() + 0.05, "x", True]),
        }
    ).encode()
    whole = rng.choice(
        [text, text, rng.randbytes(rng.randrange(80)), b"[" * 5_000, b"9" * 5_000, b"x" * 70_000]
    )
    return whole if rng.random() < 0.8 else whole[: rng.randrange(len(whole) + 1)]


@pytest.mark.parametrize("steps", [60, pytest.param(600, marks=pytest.mark.nightly)], ids=["short", "long"])
@pytest.mark.timeout(600)
async def test_i1_random_writes_cuts_and_reconnections_converge(
    any_broker: Broker, steps: int, seeded_random: random.Random, no_leaks: None
) -> None:
    """I1, I2, I5: as with the fake broker, on a real one; when nothing is in flight, E equals R."""
    retained: dict[str, bytes] = {}
    async with (
        ChaosProxy(any_broker.port) as proxy,
        Steered(proxy.host, proxy.port) as steered,
        writer(any_broker) as client,
    ):
        up = True
        for _ in range(steps):
            match seeded_random.choice(["write"] * 6 + ["reset", "down", "up", "settle"]):
                case "write":
                    topic, payload = seeded_random.choice(WALK)
                    await client.publish(topic, payload, qos=1, retain=True)
                    retained.pop(topic, None)
                    retained.update({topic: payload} if payload else {})
                case "reset":
                    await proxy.reset()
                case "down":
                    await proxy.down()
                    up = False
                case "up":
                    await proxy.up()
                    up = True
                case "settle" if up:
                    await eventually(lambda: held_by(steered) == read_of(retained), SETTLED)
                case _:
                    pass
        await proxy.up()
        await eventually(lambda: steered.sync == "synced" and held_by(steered) == read_of(retained), SETTLED)
        in_force = {(c.scope, c.rule.type) for c in read_of(retained).values()}
        await eventually(
            lambda: steered.gates == in_force
        )  # what is lifted is removed an iteration after what is set


WALK = [
    *((GLOBAL, payload) for payload in (PAUSE, LIMIT, b"")),
    *((f"{GLOBAL}/@pause", payload) for payload in (PAUSE, b"")),
    *((constraint_topic("task:a*"), payload) for payload in (PAUSE, LIMIT, b"")),
]


SETTLED = 60.0
"""Seconds for several attempts to connect, each with a pause and a time-out that have grown while the link was away."""


def held_by(steered: Steered) -> dict[str, object]:
    return dict(steered.manager.registers.values)


def read_of(retained: dict[str, bytes]) -> dict[str, Constraint]:
    """Return the registers that a new engine would have."""
    read = {topic: parse(topic, payload) for topic, payload in retained.items()}
    return {topic: found for topic, found in read.items() if isinstance(found, Constraint)}
