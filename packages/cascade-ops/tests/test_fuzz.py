"""Any bytes on any topic leave the engine, the collector, the lists and the picture of ``watch`` running."""

import asyncio
import json
import random
from pathlib import Path

import pytest
from collectors import Collector, EventFile, LinesFile, Received, SqliteFile
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

import cascade as cs
from cascade.cli._watching.changes import Changes, in_words
from cascade.cli._watching.drawing import Frame, draw
from cascade.cli._watching.picture import take
from cascade.cli._watching.rates import Rates
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import eventually
from cascade.testkit.brokers import Broker
from cascade.wire import View, constraint_rows, engine_rows, parse_event, run_rows
from testing_tools.hostile import CONTROL, ODD, OTHERS, RUN, SEEDS, WALL, messages, send

NOW = 100.0


def show(view: View, changes: Changes, rates: Rates) -> None:
    """Do with a view what the commands do: rows as strict JSON, the picture at two widths, the lines of changes."""
    json.dumps([*engine_rows(view, NOW), *run_rows(view, NOW), *constraint_rows(view, NOW)], allow_nan=False)
    for kind, row in changes.since_last(view, NOW):
        assert "\x1b" not in repr(in_words(kind, row))
    picture = take(view, rates, now=NOW, wall=WALL)
    for width in (80, 30):
        lines = draw(picture, Frame(width=width, height=24), title="t", link="l", lost=False)
        assert all(cell_len(line.plain) <= width for line in lines)
        assert not any("\x1b" in line.plain for line in lines)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32))
def test_lists_and_pictures_show_any_messages(seed: int) -> None:
    """No message raises, moves a cursor or makes a line too wide."""
    view, changes, rates = View(), Changes(), Rates()
    for number, (topic, payload) in enumerate(messages(seed, 60, CONTROL + OTHERS)):
        view.fold(topic, payload, now=NOW, retained=number % 2 == 0)
    show(view, changes, rates)


@pytest.mark.nightly
def test_lists_and_pictures_show_20_000_messages() -> None:
    """The long form, with another seed each time."""
    seed = random.randrange(2**32)
    print("seed", seed)
    view, changes, rates = View(), Changes(), Rates()
    for number, (topic, payload) in enumerate(messages(seed, 20_000, CONTROL + OTHERS)):
        view.fold(topic, payload, now=NOW, retained=number % 2 == 0)
        if number % 100 == 0:
            show(view, changes, rates)


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
