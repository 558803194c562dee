"""The invariants of control on a real nats-server, steered by a program that knows only keys of the bucket."""

from __future__ import annotations

import asyncio
import json
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
