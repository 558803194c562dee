"""The manager on real brokers: what they do with retained messages, restarts, cuts and storms."""

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
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import Clock
from cascade.interfaces.topics import STORE_TOPIC, constraint_topic
from cascade.runtime import EventBus
from cascade.runtime._clock import SystemClock
from cascade.runtime.constraints import Admission, ConstraintManager, Turnstile
from cascade.runtime.constraints.parse import Constraint, parse
from cascade.testkit import Broker, Mosquitto, NatsServer, eventually
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.fixtures import require_mosquitto

pytestmark = pytest.mark.broker

GLOBAL = "cascade/constraints/global"
PAUSE = b'{"type":"pause"}'
LIMIT = b'{"type":"concurrency","params":{"limit":2}}'


class FastClock(SystemClock):
    """A clock whose wall is ten minutes ahead of everybody else's."""

    @staticmethod
    def now() -> float:
        return time.time() + 600


class Steered:
    """One engine's steered half, connected to a broker."""

    def __init__(
        self, host: str, port: int, name: str = "press-3", *, clock: Clock | None = None, **keywords: Any
    ) -> None:
        clock = clock or SystemClock()
        self.connector = MqttConnector(host, port, source_id=name, **keywords)
        self.turnstile = Turnstile(Admission(), clock=clock)
        self.manager = ConstraintManager(self.connector, self.turnstile, clock=clock, bus=EventBus())

    async def __aenter__(self) -> "Steered":
        self.manager.start()
        await self.connector.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.manager.stop()
        await self.connector.disconnect()

    async def synced(self) -> None:
        await asyncio.wait_for(self.manager.synced(), 20)

    @property
    def gates(self) -> set[tuple[str, str]]:
        return set(self.turnstile.admission.gates.by_key)

    @property
    def sync(self) -> str:
        return self.manager.sync.state.value


@pytest.fixture(params=[Mosquitto, NatsServer], ids=["mosquitto", "nats"])
def any_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker of its own for each test: what is retained there belongs to the test."""
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
    """A program that knows nothing of Cascade and publishes what it likes."""
    async with aiomqtt.Client(broker.host, broker.port) as client:
        client.pending_calls_threshold = 100_000
        yield client


async def write(broker: Broker, *messages: tuple[str, bytes], qos: int = 1) -> None:
    async with writer(broker) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=qos, retain=True)


async def test_row_17_a_retained_storm_of_5000_is_in_force_whole(any_broker: Broker, no_leaks: None) -> None:
    """Row 17: 5,000 retained registers arrive before the echo; the barrier opens with all of them in force."""
    async with writer(any_broker) as client:
        for number in range(5_000):
            await client.publish(f"cascade/constraints/task/t{number}/@pause", PAUSE, retain=True)
        await client.publish(GLOBAL, PAUSE, qos=1, retain=True)
    async with Steered(any_broker.host, any_broker.port) as steered:
        await steered.synced()
        assert len(steered.gates) == 5_001
        assert steered.sync == "synced"


async def test_what_a_person_types_pauses_and_lifts(any_broker: Broker, no_leaks: None) -> None:
    """The older topic, only the type, QoS 0, then the empty message: as with mosquitto_pub."""
    async with Steered(any_broker.host, any_broker.port) as steered:
        await steered.synced()
        await write(any_broker, (GLOBAL, PAUSE), qos=0)
        await eventually(lambda: steered.gates == {("global", "pause")})
        await write(any_broker, (GLOBAL, b""), qos=0)
        await eventually(lambda: steered.gates == set())


async def test_one_constraint_on_two_topics_is_lifted_with_the_second(
    any_broker: Broker, no_leaks: None
) -> None:
    """The older form and the typed one are two registers: clearing one leaves the other in force."""
    async with Steered(any_broker.host, any_broker.port) as steered:
        await write(any_broker, (GLOBAL, PAUSE), (f"{GLOBAL}/@pause", PAUSE), (GLOBAL, b""))
        await eventually(lambda: list(steered.manager.registers.values) == [f"{GLOBAL}/@pause"])
        assert steered.gates == {("global", "pause")}
        await write(any_broker, (f"{GLOBAL}/@pause", b"{}"))
        await eventually(lambda: steered.gates == set())


async def test_a_message_cannot_claim_another_scope(any_broker: Broker, no_leaks: None) -> None:
    """Whoever may write one topic steers that scope only, so that the broker's ACL decides."""
    topic = constraint_topic("task:mine")
    claim = json.dumps({"type": "pause", "scope": "global"}).encode()
    await write(any_broker, (topic, claim))
    async with Steered(any_broker.host, any_broker.port) as steered:
        await steered.synced()
        assert steered.gates == set()
        assert "names the scope" in steered.manager.registers.rejections[topic]


async def test_row_18_a_pause_cleared_while_the_link_was_cut_is_gone(
    any_broker: Broker, no_leaks: None
) -> None:
    """Row 18, I2: the clear leaves no message behind; the next sync lifts it all the same."""
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
    """Killed and started again, it still holds the set; in between and after, the same is in force."""
    await write(lasting, (STORE_TOPIC, b'{"store":"A"}'), (GLOBAL, PAUSE))
    async with Steered(lasting.host, lasting.port) as steered:
        await steered.synced()
        lasting.restart()
        await eventually(lambda: steered.sync == "syncing")
        assert steered.gates == {("global", "pause")}
        await eventually(lambda: steered.sync == "synced", 20)
        assert steered.gates == {("global", "pause")}


async def test_row_19_a_broker_that_lost_its_store_lifts_nothing(lasting: Broker, no_leaks: None) -> None:
    """Row 19: the known set stays in force and is stale; a tool that begins a new store ends that."""
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
        assert steered.sync == "synced"


async def test_row_23_a_constraint_expires_without_a_word_of_the_broker(
    any_broker: Broker, no_leaks: None
) -> None:
    """Row 23: the broker tells nobody of an expiry; the engine's own timer lifts it."""
    async with Steered(any_broker.host, any_broker.port) as steered:
        await steered.synced()
        message = {"type": "pause", "expires_at": time.time() + 0.5}
        await write(any_broker, (GLOBAL, json.dumps(message).encode()))
        await eventually(lambda: steered.gates)
        await eventually(lambda: not steered.gates)


async def test_row_23_with_mqtt_5_the_remaining_expiry_counts(lasting: Broker, no_leaks: None) -> None:
    """Row 23: an engine whose clock is ten minutes ahead obeys a fresh pause, live and retained, as long as it holds."""
    speaks_5: dict[str, Any] = {"clock": FastClock(), "protocol": aiomqtt.ProtocolVersion.V5}
    pause = json.dumps({"type": "pause", "expires_at": time.time() + 300}).encode()

    async with Steered(lasting.host, lasting.port, **speaks_5) as steered:
        await steered.synced()
        await asyncio.to_thread(write_with_expiry, lasting, GLOBAL, pause, 300)
        await eventually(lambda: steered.gates == {("global", "pause")})
        deadline = steered.manager.registers.next_expiry()
        assert deadline is not None
        assert 290 < deadline - time.monotonic() <= 300
    async with Steered(lasting.host, lasting.port, **speaks_5) as steered:
        await steered.synced()
        assert steered.gates == {("global", "pause")}
        await asyncio.to_thread(write_with_expiry, lasting, GLOBAL, pause, 1)
        await eventually(lambda: not steered.gates)
        register = steered.manager.registers.get(GLOBAL)
        assert register is not None
        assert register.status.value == "expired"


def write_with_expiry(broker: Broker, topic: str, payload: bytes, seconds: int) -> None:
    """Write a retained message that the broker forgets after a time."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=True, properties=properties).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


async def test_i8_an_engine_that_ends_without_a_link_takes_back_what_it_claimed(
    any_broker: Broker, no_leaks: None
) -> None:
    """I8: the link drops, the engine ends, the link returns: the reports that are kept say so."""
    await write(any_broker, (GLOBAL, PAUSE))
    async with ChaosProxy(any_broker.port) as proxy, Steered(proxy.host, proxy.port) as steered:
        await steered.synced()
        steered.manager.begin_run("r1", "target")
        async with writer(any_broker) as client:
            reports: dict[str, Any] = {}
            reader = asyncio.create_task(keep_reports(client, reports), name="reader")
            await eventually(
                lambda: (
                    reports.keys() == {"constraints", "runs"}
                    and reports["constraints"]["applied"]
                    and reports["runs"]["runs"]
                )
            )
            await proxy.down()
            await eventually(lambda: steered.sync == "syncing")
            steered.manager.end_run("r1")
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
    """Row 24: the same message a hundred times is one change, and the last one written counts."""
    async with Steered(any_broker.host, any_broker.port) as steered:
        await steered.synced()
        last = constraint_topic("task:last", "pause")
        await write(any_broker, *[(GLOBAL, PAUSE)] * 100, (last, PAUSE))
        await eventually(lambda: ("task:last", "pause") in steered.gates)  # so all the others have come
        assert steered.gates == {("global", "pause"), ("task:last", "pause")}
        assert steered.manager.registers.revision == 2
        await write(any_broker, (GLOBAL, b""), (GLOBAL, PAUSE), (GLOBAL, b""), (last, b""))
        await eventually(lambda: not steered.gates)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "count", [10_000, pytest.param(100_000, marks=pytest.mark.nightly)], ids=["short", "long"]
)
async def test_row_25_fuzzed_messages_leave_the_end_right(
    fresh_broker: Broker, count: int, no_leaks: None
) -> None:
    """Row 25, I7: after so many random messages the loop lives and the registers are the retained set."""
    dice = random.Random(25)
    async with Steered(fresh_broker.host, fresh_broker.port) as steered, writer(fresh_broker) as client:
        await steered.synced()
        for _ in range(count):
            await client.publish(fuzzed_topic(dice), fuzzed_payload(dice), qos=0, retain=dice.random() < 0.9)
        for topic in FUZZED:
            await client.publish(topic, b"", qos=0, retain=True)
        await client.publish(constraint_topic("task:last", "pause"), PAUSE, qos=1, retain=True)
        await eventually(lambda: ("task:last", "pause") in steered.gates, 60)
        assert steered.gates == {("task:last", "pause")}
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


def fuzzed_topic(dice: random.Random) -> str:
    return dice.choice(FUZZED)


def fuzzed_payload(dice: random.Random) -> bytes:
    text = json.dumps(
        {
            "type": dice.choice(["pause", "concurrency", "rate_limit", "cancel", "x", None, 3]),
            "params": dice.choice(
                [{}, {"limit": dice.randrange(-2, 5)}, {"rate": dice.choice([0, "1/m", "x"])}, []]
            ),
            "expires_at": dice.choice([None, 1, time.time() + 0.05, "x", True]),
        }
    ).encode()
    whole = dice.choice(
        [text, text, dice.randbytes(dice.randrange(80)), b"[" * 5_000, b"9" * 5_000, b"x" * 70_000]
    )
    return whole if dice.random() < 0.8 else whole[: dice.randrange(len(whole) + 1)]


@pytest.mark.parametrize("steps", [60, pytest.param(600, marks=pytest.mark.nightly)], ids=["short", "long"])
@pytest.mark.timeout(600)
async def test_i1_a_walk_of_writes_cuts_and_returns_converges(
    any_broker: Broker, steps: int, dice: random.Random, no_leaks: None
) -> None:
    """I1, I2, I5: the played broker's story on a real one; whenever all is quiet, E is R."""
    retained: dict[str, bytes] = {}
    async with (
        ChaosProxy(any_broker.port) as proxy,
        Steered(proxy.host, proxy.port) as steered,
        writer(any_broker) as client,
    ):
        up = True
        for _ in range(steps):
            match dice.choice(["write"] * 6 + ["reset", "down", "up", "settle"]):
                case "write":
                    topic, payload = dice.choice(WALK)
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
                    await eventually(lambda: held_by(steered) == read_of(retained), 20)
                case _:
                    pass
        await proxy.up()
        await eventually(lambda: steered.sync == "synced" and held_by(steered) == read_of(retained), 20)
        in_force = {(c.scope, c.rule.type) for c in read_of(retained).values()}
        await eventually(lambda: steered.gates == in_force)  # what is lifted goes a turn after what is set


WALK = [
    *((GLOBAL, payload) for payload in (PAUSE, LIMIT, b"")),
    *((f"{GLOBAL}/@pause", payload) for payload in (PAUSE, b"")),
    *((constraint_topic("task:a*"), payload) for payload in (PAUSE, LIMIT, b"")),
]


def held_by(steered: Steered) -> dict[str, object]:
    return dict(steered.manager.registers.values)


def read_of(retained: dict[str, bytes]) -> dict[str, Constraint]:
    """Return what a fresh engine would hold."""
    read = {topic: parse(topic, payload) for topic, payload in retained.items()}
    return {topic: found for topic, found in read.items() if isinstance(found, Constraint)}


async def test_fifty_engines_report_a_pause_as_applied(any_broker: Broker, no_leaks: None) -> None:
    """An operator who pauses fifty engines sees fifty reports that name the register as applied."""
    topic = constraint_topic("global", "pause")
    engines = [Steered(any_broker.host, any_broker.port, f"engine-{number}") for number in range(50)]
    try:
        await asyncio.gather(*(engine.__aenter__() for engine in engines))
        await asyncio.gather(*(engine.synced() for engine in engines))
        async with writer(any_broker) as client:
            await client.subscribe("cascade/state/+/constraints")
            await client.publish(topic, PAUSE, qos=1, retain=True)
            applied: set[str] = set()
            async with asyncio.timeout(20):
                async for message in client.messages:
                    report = json.loads(message.payload)
                    if report["applied"].get(topic, {}).get("status") == "applied":
                        applied.add(report["source"])
                    if len(applied) == len(engines):
                        break
    finally:
        await asyncio.gather(*(engine.__aexit__() for engine in engines))
