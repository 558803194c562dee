"""The invariants of control on a real nats-server, steered by a program that knows only keys of the bucket."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client

import cascade as cs
from cascade.connectors.nats import NatsConnector
from cascade.interfaces.topics import constraint_topic, state_topic
from cascade.testkit import NatsServer, eventually
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.waiting import busyness

pytestmark = [pytest.mark.broker, pytest.mark.process]

PAUSE = constraint_topic("global", "pause")
LIMIT = constraint_topic("global", "concurrency")


class Plant:
    """An engine behind a proxy, its reports, and a client of nats-py that writes keys."""

    def __init__(self, proxy: ChaosProxy, server: NatsServer, client: Client) -> None:
        self.proxy = proxy
        self.engine = NatsConnector(proxy.host, proxy.port, source_id="press-3")
        self.reader = NatsConnector(server.host, server.nats_port, presence=False)
        self.reports: list[dict[str, Any]] = []
        self._client = client
        self.started = self.running = 0
        self.gate = asyncio.Event()
        self.step = cs.task(name="step")(self._step)

    async def put(self, topic: str, payload: dict[str, Any] | bytes) -> None:
        """Write a key; empty bytes clear it."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        key = topic.replace("/", ".").replace("@", "=40").replace("*", "=2A")
        await self._client.request(f"$KV.cascade.{key}", data, timeout=50 * busyness())

    async def cut(self, *acts: tuple[str, dict[str, Any] | bytes]) -> None:
        """End the engine's link, write, and let it link again."""
        await self.proxy.down()
        for topic, payload in acts:
            await self.put(topic, payload)
        before = self.engine.statistics().connections
        await self.proxy.up()
        await eventually(lambda: self.engine.statistics().connections > before)

    def status(self, topic: str) -> str:
        """Return the last report's entry of a register."""
        entry = self.reports[-1]["applied"].get(topic, {}) if self.reports else {}
        return str(entry.get("status", ""))

    def applied(self) -> set[str]:
        """Return the topics that the last report lists."""
        return set(self.reports[-1]["applied"]) if self.reports else set()

    async def reported(self, topic: str, status: str) -> None:
        """Wait until a report has an entry; "" for none."""
        await eventually(lambda: self.reports and self.status(topic) == status, what=f"{topic}: {status}")

    async def hear(self, topic: str, report: dict[str, Any]) -> None:
        if report:
            self.reports.append(report)

    def run(self, count: int) -> asyncio.Task[Any]:
        """Start a run of steps that wait for the gate, once the constraints are known."""
        running = cs.arun(self.step.map(x=range(count)), connector=self.engine, require_control=True)
        return asyncio.create_task(running, name="the run")

    async def _step(self, x: int) -> int:
        self.started += 1
        self.running += 1
        await self.gate.wait()
        await asyncio.sleep(0)
        self.running -= 1
        return x


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as own:
        yield own


@pytest_asyncio.fixture
async def plant(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    for pause in ("SHORTEST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(f"cascade.transport.backoff.{pause}", 0.01)
    async with ChaosProxy(server.nats_port) as proxy:
        made = Plant(proxy, server, client := await nats.connect(server.nats_url))
        async with made.engine, made.reader:
            await made.reader.subscribe(state_topic("press-3", "constraints"), made.hear)
            yield made
        await client.close()


@pytest.mark.wrong_messages("a register with any bytes", "cascade/constraints/#")
async def test_i1_i5_the_registers_are_the_keys_of_the_bucket(plant: Plant) -> None:
    """After random writes, clears and cuts each key is a register; an invalid one changes no other."""
    chance, keys = random.Random(18), set[str]()
    topics = [constraint_topic(f"task:t{n}", "pause") for n in range(12)]
    running = plant.run(1)
    for _ in range(25):
        topic = chance.choice(topics)
        is_clear = chance.random() < 0.3
        await plant.put(topic, b"" if is_clear else {"type": "pause"})
        (keys.discard if is_clear else keys.add)(topic)
        if chance.random() < 0.1:
            await plant.cut()
    await eventually(lambda: plant.applied() == keys, what="the registers equal the keys")
    before = dict(plant.reports[-1]["applied"])
    await plant.put(PAUSE, b"\xff{")
    await eventually(lambda: plant.status(PAUSE).startswith("rej"), what="the rejection")
    assert {topic: row for topic, row in plant.reports[-1]["applied"].items() if topic != PAUSE} == before
    plant.gate.set()
    await running


async def test_i2_i3_a_pause_holds_over_cuts_and_one_that_was_cleared_does_not_come_back(
    plant: Plant,
) -> None:
    """No task starts after the report, whatever happens to the link; a clear during a cut is known afterwards."""
    await plant.put(LIMIT, {"type": "concurrency", "params": {"limit": 1}})
    running = plant.run(50)
    await eventually(lambda: plant.running == 1)
    await plant.put(PAUSE, {"type": "pause"})
    await plant.reported(PAUSE, "applied")
    plant.gate.set()
    await eventually(lambda: plant.running == 0)
    started = plant.started
    for _ in range(3):
        await plant.cut()
        assert plant.started == started
    await plant.cut((PAUSE, b""))
    assert len(await running) == 50
    await plant.cut()
    await plant.reported(PAUSE, "")


async def test_i4_i9_i10_limits_add_up_and_lifting_one_frees_what_waits(plant: Plant) -> None:
    """The strictest counts; raising it starts waiting tasks at once; what waits holds no slot of another task."""
    task_limit = constraint_topic("task:step", "concurrency")
    await plant.put(LIMIT, {"type": "concurrency", "params": {"limit": 3}})
    running = plant.run(20)
    await eventually(lambda: plant.running == 3)
    await plant.put(task_limit, {"type": "concurrency", "params": {"limit": 8}})
    await plant.reported(task_limit, "applied")
    assert plant.running == 3
    await plant.put(LIMIT, b"")
    await eventually(lambda: plant.running == 8)
    other = cs.task(name="other")(lambda: 7)
    async with asyncio.timeout(50):
        assert await cs.arun(other(), connector=plant.engine) == 7
    await plant.put(task_limit, b"")
    await eventually(lambda: plant.running == 20)
    plant.gate.set()
    await running


@pytest.mark.wrong_messages("registers with any bytes", "cascade/constraints/#")
async def test_i6_i7_any_bytes_leave_the_engine_running(plant: Plant) -> None:
    """On every topic, also many of them, and large ones."""
    chance = random.Random(7)
    running = plant.run(3)
    for number in range(60):
        scope = chance.choice(["global", f"task:x{number}", "source:press-3", f"run:{number}"])
        await plant.put(constraint_topic(scope, "pause"), chance.randbytes(chance.choice([1, 30, 70_000])))
    mark = constraint_topic("task:mark", "pause")
    await plant.put(mark, {"type": "pause"})
    await plant.reported(mark, "applied")
    plant.gate.set()
    assert await running == [0, 1, 2]


async def test_i8_a_report_claims_only_what_is_in_force(plant: Plant) -> None:
    """Neither what is invalid, nor what has expired, nor a run that is not here is in effect."""
    gone, old = constraint_topic("run:gone", "pause"), constraint_topic("source:press-3", "pause")
    running = plant.run(1)
    await plant.put(gone, {"type": "pause"})
    await plant.put(old, {"type": "pause", "expires_at": 1.0})
    await plant.put(PAUSE, {"type": "puase"})
    await plant.reported(gone, "no_match")
    await eventually(lambda: plant.status(PAUSE) not in ("", "applied"))
    assert plant.reports[-1]["effective"] == []
    assert plant.status(old) == "expired"
    plant.gate.set()
    await running
