"""Random steering over MQTT and over NATS: the same seed gives the same reports, whatever links are cut."""

from __future__ import annotations

import asyncio
import contextlib
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
                if mark in report["applied"] and report["sync"] != "syncing":
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


async def steered(make: Callable[..., Any], port: int, acts: list[Step]) -> list[dict[str, Any]]:
    """Return what the engine has reported after every fourth act."""
    found = []
    async with ChaosProxy(port) as proxy:
        engine = make(proxy.host, proxy.port, source_id="press-3")
        operator = make("127.0.0.1", port, presence=False)
        async with following(engine, operator) as reports:
            for number, act in enumerate(acts):
                if act.cut:
                    await proxy.cut()
                await operator.publish(act.topic, act.payload, 1, retain=True)
                if number % 4 == 3:
                    mark = constraint_topic(f"task:mark-{number}", "pause")
                    assert await operator.flush(30 * busyness())
                    await operator.publish(mark, {"type": "pause"}, 1, retain=True)
                    found.append(await reported(reports, mark))
                    await operator.publish(mark, None, 1, retain=True)
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
