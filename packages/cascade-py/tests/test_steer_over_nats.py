"""Random steering over MQTT and over NATS: the same seed gives the same reports, whatever links are cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.connectors.nats import NatsConnector
from cascade.interfaces import Message, WatchStream
from cascade.interfaces.topics import constraint_topic, state_topic
from cascade.testkit import NatsServer
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.waiting import busyness

pytestmark = [pytest.mark.broker, pytest.mark.process]

SCOPES = [
    "global",
    "project:default",
    "project:other",
    "source:press-3",
    "source:other",
    "task:audit*",
    "run:gone",
    "workflow:audit",
]
PAYLOADS: list[dict[str, Any]] = [
    {"type": "pause"},
    {"type": "pause", "params": {}, "id": "mine"},
    {"type": "concurrency", "params": {"limit": 3}},
    {"type": "concurrency", "params": {"limit": True}},
    {"type": "rate_limit", "params": {"rate": "10/m"}},
    {"type": "cancel"},
    {"type": "quota"},
    {"type": "pause", "scope": "run:x"},
    {"type": "pause", "expires_at": 4e12},
]
SEED = int(os.environ.get("CASCADE_TEST_SEED", "20261122"))


@dataclass(frozen=True)
class Step:
    """One act of an operator, or of the network."""

    topic: str
    payload: dict[str, Any] | None
    cut: bool


def steps(seed: int, count: int) -> list[Step]:
    """Return the same acts for the same seed."""
    chance = random.Random(seed)
    return [
        Step(
            constraint_topic(
                chance.choice(SCOPES), chance.choice(["", "pause", "concurrency", "rate_limit"])
            ),
            chance.choice([*PAYLOADS, None, None]),
            chance.random() < 0.1,
        )
        for _ in range(count)
    ]


@cs.task
def nothing() -> None:
    """Do nothing."""


@pytest.fixture
def server() -> Iterator[NatsServer]:
    """One server for both: its retained messages of MQTT and its bucket do not mix."""
    with NatsServer() as own:
        yield own


async def reported(reports: WatchStream, mark: str) -> dict[str, Any]:
    """Return the parts of the next report other than times, once it has the last register.

    After a cut the last register may come before the set is whole: then what was cleared is still in force.
    """
    async with asyncio.timeout(30 * busyness()):
        while True:
            item = await anext(reports)
            if isinstance(item, Message) and item.payload:
                report = json.loads(item.payload)
                if mark in report["applied"] and report["sync"] == "synced":
                    break
    return {
        "applied": {topic: row for topic, row in sorted(report["applied"].items()) if topic != mark},
        "effective": sorted(
            json.dumps(row, sort_keys=True) for row in report["effective"] if row["topic"] != mark
        ),
    }


@contextlib.asynccontextmanager
async def following(engine: Any, operator: Any) -> AsyncIterator[WatchStream]:
    """Connect both, have the engine follow its connector, and watch its reports."""
    async with engine, operator:
        await cs.arun(nothing(), connector=engine)
        async with contextlib.aclosing(operator.watch(state_topic("press-3", "constraints"))) as reports:
            yield reports


class Operator:
    """Steers an engine, and reads from its reports what it has made of that.

    NATS keeps one message of a topic: an engine may never see one that another replaces at once, and a link may be cut
    meanwhile. An invalid message leaves the last valid one that the engine has seen in force, so an act waits until the
    engine has reported the one before it on its topic.
    """

    def __init__(self, connector: Any, reports: WatchStream) -> None:
        self.connector, self.reports = connector, reports
        self.unseen: set[str] = set()
        self.marks = itertools.count()

    async def act(self, act: Step) -> None:
        if act.topic in self.unseen:
            await self.reported()
        await self.connector.publish(act.topic, act.payload, 1, retain=True)
        self.unseen.add(act.topic)

    async def reported(self) -> dict[str, Any]:
        """Return what the engine reports once it has seen everything."""
        mark = constraint_topic(f"task:mark-{next(self.marks)}", "pause")
        assert await self.connector.flush(30 * busyness())
        await self.connector.publish(mark, {"type": "pause"}, 1, retain=True)
        found = await reported(self.reports, mark)
        await self.connector.publish(mark, None, 1, retain=True)
        self.unseen.clear()
        return found


async def steered(make: Callable[..., Any], port: int, acts: list[Step]) -> list[dict[str, Any]]:
    """Return what the engine has reported after every fourth act."""
    found = []
    async with ChaosProxy(port) as proxy:
        engine = make(proxy.host, proxy.port, source_id="press-3")
        connector = make("127.0.0.1", port, presence=False)
        async with following(engine, connector) as reports:
            operator = Operator(connector, reports)
            for number, act in enumerate(acts):
                if act.cut:
                    await proxy.cut()
                await operator.act(act)
                if number % 4 == 3:
                    found.append(await operator.reported())
    return found


async def _same_reports(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, count: int
) -> list[dict[str, Any]]:
    for pause in ("SHORTEST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(f"cascade.transport.backoff.{pause}", 0.01)
    acts = steps(SEED, count)
    over_mqtt = await steered(MqttConnector, server.port, acts)
    over_nats = await steered(NatsConnector, server.nats_port, acts)
    assert over_nats == over_mqtt, f"CASCADE_TEST_SEED={SEED}"
    return over_nats


@pytest.mark.full
async def test_the_same_acts_are_reported_in_the_same_way(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acts on registers of every kind, valid and invalid, while links are cut."""
    reports = await _same_reports(server, monkeypatch, 24)
    assert len(reports) == 6
    assert any(report["effective"] for report in reports)


@pytest.mark.nightly
async def test_the_same_acts_are_reported_in_the_same_way_for_long(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand of them."""
    await _same_reports(server, monkeypatch, 1_000)
