"""A reader that comes late learns everything from an engine's reports, on real brokers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiomqtt
import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Broker, eventually
from cascade.wire import View, run_rows

pytestmark = pytest.mark.broker

PROGRAM = """
    import os
    import cascade as cs

    @cs.task
    def press(number: int) -> int:
        if number == 2:
            raise ValueError("no oil")
        return number

    # A run does not wait for its link for longer than 2 s, and this one ends at once.
    connector = cs.connector(os.environ["URL"], connect_timeout=50, required=True)
    cs.run([press(1), press(2)], connector=connector, run_id="last-night", on_failure="continue")
"""


@pytest.fixture(params=["mosquitto", "nats_server"])
def either(request: pytest.FixtureRequest) -> Broker:
    """One broker after the other."""
    broker: Broker = request.getfixturevalue(request.param)
    return broker


@asynccontextmanager
async def late_reader(broker: Broker) -> AsyncIterator[View]:
    """A reader of all that arrives from now on, and of what is retained."""
    view = View()

    async def follow(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            view.fold(str(message.topic), payload, now=time.monotonic(), retained=message.retain)

    async with aiomqtt.Client(broker.host, broker.port) as client:
        for topics in ("cascade/state/#", "cascade/status/#"):
            await client.subscribe(topics)
        following = asyncio.create_task(follow(client))
        try:
            yield view
        finally:
            following.cancel()
            await asyncio.wait({following})


@cs.task
def one() -> int:
    return 1


class Press:
    """A workflow of a map of three that runs until it may end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

        @cs.task
        async def press(number: int) -> int:
            await self.may_end.wait()
            return number

        @cs.task
        def report(numbers: list[int]) -> int:
            return sum(numbers)

        self.target = report(press.map(number=[1, 2, 3]))


def complete(view: View, source: str) -> Callable[[], bool]:
    """Return what tells whether the view has everything of a running engine; an engine repeats its host every 60 s."""

    def look() -> bool:
        engine = view.engines.get(source)
        if engine is None or engine.runs is None or not engine.runs.runs or engine.graph is None:
            return False
        row, graphs = engine.runs.runs[0], engine.graph.runs
        return (
            row.counts == {"RUNNING": 3}
            and (row.known, row.open) == (4, False)
            and [each.task_name for each in row.running] == ["press"] * 3
            and bool(graphs)
            and {node.name: node.known for node in graphs[0].nodes} == {"press": 3, "report": 1}
            and engine.summary is not None
            and engine.summary.running == 3
        )

    return look


async def test_a_late_reader_has_everything_of_a_named_engine(either: Broker) -> None:
    """From retained messages alone: while the run goes on, and after the engine has ended."""
    name, press = f"press-{either.port}", Press()
    async with MqttConnector(either.host, either.port, source_id=name) as connector:
        engine = cs.Engine(connector=connector, labels={"site": "hall-2"})
        going = asyncio.create_task(engine.run(press.target, run_id="r1", name="nightly"))
        async with late_reader(either) as early:
            await eventually(complete(early, name), 20)
        async with late_reader(either) as view:
            await eventually(complete(view, name), 20)
            seen = view.engines[name]
            # Its birth and its host come on other topics.
            await eventually(lambda: seen.is_live(time.monotonic()) and seen.host is not None, 20)
            assert seen.host is not None
            assert (seen.host.labels, seen.host.link["connections"]) == ({"site": "hall-2"}, 1)
        press.may_end.set()
        assert await going == 6
    async with late_reader(either) as view:
        await eventually(
            lambda: (name, "r1") in view.runs and view.runs[name, "r1"].status == "Succeeded", 20
        )
        assert view.runs[name, "r1"].counts == {"COMPLETED": 4}
        await eventually(lambda: view.engines[name].status(0.0) == "ended", 20)
        await eventually(lambda: (summary := view.engines[name].summary) and not summary.up, 20)


@pytest.mark.full
@pytest.mark.wrong_messages("marks the end of what is retained", "cascade/status/marker")
async def test_a_late_reader_has_everything_of_an_engine_without_a_name(either: Broker) -> None:
    """It repeats its reports every 10 s; nothing of it stays at the broker."""
    press = Press()
    connector = MqttConnector(either.host, either.port)
    source = connector.source_id
    going = asyncio.create_task(cs.Engine(connector=connector).run(press.target))
    async with late_reader(either) as early:
        await eventually(complete(early, source), 20)
    async with late_reader(either) as view:
        await eventually(complete(view, source), 30)
    press.may_end.set()
    await going
    async with late_reader(either) as view, aiomqtt.Client(either.host, either.port) as client:
        await client.publish("cascade/status/marker", b'{"status": "online"}', qos=1)
        await eventually(lambda: "marker" in view.engines, 20)  # comes behind what is retained
        assert source not in view.engines


@pytest.mark.full
async def test_runs_of_an_earlier_process_are_still_recent(either: Broker) -> None:
    """The engine of a new process with the same name carries the rows over, and adds its own."""
    name = f"night-{either.port}"
    url = f"mqtt://{either.host}:{either.port}?source_id={name}"
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env={"URL": url, "PATH": ""},
        capture_output=True,
        check=False,
    )
    assert b"no oil" in ended.stderr, ended.stderr
    async with late_reader(either) as view:
        connector = cs.connector(url, connect_timeout=50, required=True)
        await cs.arun(one(), connector=connector, run_id="today")

        def recent() -> list[tuple[str, str, str]]:
            engine = view.engines.get(name)
            rows = engine.runs.recent if engine is not None and engine.runs is not None else ()
            return [(row.run_id, row.status, row.error) for row in rows]

        await eventually(lambda: len(recent()) == 2, 20)
        (today, night) = recent()
        assert today == ("today", "Succeeded", "")
        assert night[:2] == ("last-night", "Failed")
        runs = view.engines[name].runs
        assert runs is not None
        assert runs.recent[1].counts == {"COMPLETED": 1, "FAILED": 1}
        json.dumps(run_rows(view, 0.0))
