"""Any bytes on any topic leave the engine and the collector running."""

import asyncio
import json
import random
from pathlib import Path

import pytest
from ops_modules import Collector, EventFile, LinesFile, Received, SqliteFile

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import eventually
from cascade.testkit.brokers import Broker
from cascade.wire import parse_event
from testing_tools.hostile import ODD, RUN, SEEDS, WALL, send


@pytest.mark.parametrize("kind", [SqliteFile, LinesFile])
def test_a_collector_keeps_any_event(kind: type[EventFile], tmp_path: Path) -> None:
    """Texts that no file can hold, and numbers of any size: the file takes the event, or the reader refuses it."""
    file = kind(tmp_path / "events")  # type: ignore[call-arg]
    topic = "cascade/telemetry/local/default/other/events"
    for key in ("source", "token", "event_id", "seq", "ts", "attempt", "org_id", "more"):
        for odd in ODD:
            data = {**SEEDS[6], key: odd}
            event = parse_event(topic, json.dumps(data).encode())
            if event is not None:
                file.store([Received(topic, data, event, WALL)])
    for level, run_id in (("%ED%A0%80", "\ud800"), ("%ED%A0%80", "?"), ("\u2603", "\u2603")):
        topic = f"cascade/telemetry/local/default/{level}/events"
        data = {**SEEDS[6], "run_id": run_id}
        event = parse_event(topic, json.dumps(data).encode())
        if event is not None:
            file.store([Received(topic, data, event, WALL)])
    file.holes()
    file.close()


GATE: dict[str, asyncio.Event] = {}
STARTED: list[int] = []


@cs.task
async def wait_for_gate(x: int) -> int:
    STARTED.append(x)
    await GATE["open"].wait()
    return x


async def check_engine_and_collector(
    broker: Broker, folder: Path, seed: int, control: int, others: int
) -> None:
    """Send messages to an engine that runs and to a collector; both go on, and the engine still obeys."""
    GATE["open"] = asyncio.Event()
    STARTED.clear()
    connector = MqttConnector.from_url(f"{broker.url}?source_id=press")
    link = MqttConnector.from_url(broker.url, presence=False, required=True)
    file = SqliteFile(folder / "events.sqlite")
    collector = Collector(link, file, name="c1")
    await collector.subscribe()
    await link.connect()
    collecting = asyncio.create_task(collector.run())
    async with connector:
        engine = cs.Engine(connector=connector)
        running = asyncio.create_task(engine.run(wait_for_gate.map(x=[1, 2, 3]), run_id=RUN))
        await eventually(lambda: len(STARTED) == 3, what="the tasks run, so the engine is in sync")
        await asyncio.to_thread(send, broker, seed, control, others)
        assert not running.done()
        assert not collecting.done()
        GATE["open"].set()
        await eventually(running.done, 60, what="the run ends")
        assert running.result() == [1, 2, 3]
        stored = collector.stored
        assert await engine.run(wait_for_gate(4), run_id="after") == 4
        await connector.flush(20)
        await eventually(lambda: collector.stored > stored, what="the collector stores further events")
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
    await link.disconnect()
    file.close()


@pytest.mark.broker
@pytest.mark.process
@pytest.mark.wrong_messages("a hostile client writes anything", "cascade/#")
async def test_an_engine_and_a_collector_go_on(fresh_broker: Broker, tmp_path: Path) -> None:
    """The short form: one fixed seed."""
    await check_engine_and_collector(fresh_broker, tmp_path, 17, 400, 200)


@pytest.mark.broker
@pytest.mark.nightly
@pytest.mark.wrong_messages("a hostile client writes anything", "cascade/#")
async def test_an_engine_and_a_collector_go_on_for_long(fresh_broker: Broker, tmp_path: Path) -> None:
    """100,000 control messages, and 20,000 of status, reports, sync and events."""
    seed = random.randrange(2**32)
    print("seed", seed)
    await check_engine_and_collector(fresh_broker, tmp_path, seed, 100_000, 20_000)
