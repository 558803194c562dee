"""Any bytes on any topic leave the engine, the collector, the lists and the picture of ``watch`` running."""

import asyncio
import copy
import itertools
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from rich.cells import cell_len

import cascade as cs
from cascade.cli._collecting.collector import Collector
from cascade.cli._collecting.lines_file import LinesFile
from cascade.cli._collecting.message import EventFile, Received
from cascade.cli._collecting.sqlite_file import SqliteFile
from cascade.cli._watching.changes import Changes, in_words
from cascade.cli._watching.drawing import Frame, draw
from cascade.cli._watching.picture import take
from cascade.cli._watching.rates import Rates
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.wire.read import View, constraint_rows, engine_rows, parse_event, run_rows
from cascade.testkit import eventually
from cascade.testkit.brokers import Broker

NOW, WALL = 100.0, 1_800_000_000.0
RUN = "fuzzed"
CONTROL = [
    f"cascade/constraints/{scope}{kind}"
    for scope in ("global", "project/default", "source/press", "source/other", "task/*", "run/other")
    for kind in ("", "/@pause", "/@concurrency", "/@rate_limit", "/@quota", "/@", "/x/y")
] + ["cascade/constraints/@store", "cascade/constraints/", "cascade/constraints/global//@pause"]
OTHERS = [
    "cascade/status/press",
    "cascade/status/\u2603",
    "cascade/state/press/runs",
    "cascade/state/press/constraints",
    "cascade/state/ghost/graph",
    "cascade/state/ghost/host",
    "cascade/state/ghost/summary",
    "cascade/sync/press/@canary",
    "cascade/sync/press/nonce",
    "cascade/ack/press",
    f"cascade/telemetry/local/default/{RUN}/events",
    "cascade/telemetry/local/default/other/events",
    "cascade/telemetry/local/default/other/data",
    "cascade/telemetry/local/default/other/logs",
    "cascade/telemetry/local/default/other/progress",
]
# Valid messages; each mutation changes a part of one. None cancels: that would end the run by right.
SEEDS: list[dict[str, Any]] = [
    {"id": "x", "scope": "global", "type": "pause", "params": {}, "expires_at": None},
    {"id": "x", "scope": "task:*", "type": "concurrency", "params": {"limit": 1}, "expires_at": WALL},
    {"type": "rate_limit", "params": {"rate": "10/m", "capacity": 2}},
    {"status": "online", "session": "s", "ts": "2026-11-21T03:00:20+00:00", "pid": 7, "host": "h", "version": "1"},
    {"v": "1.0", "source": "press", "session": "s", "presence": "s", "sync": "synced", "effective": [],
     "applied": {"cascade/constraints/global/@pause": {"id": "x", "status": "applied"}}, "in_scope_running": 1},
    {"v": "1.0", "source": "press", "session": "s", "org_id": "local", "project_id": "default", "paused": False,
     "runs": [{"run_id": "r", "target": "t", "started": "2026-11-21T03:00:20+00:00", "counts": {"RUNNING": 2},
               "known": 3, "open": True, "eta_s": 4.5, "waiting": [{"why": "slot", "n": 1}],
               "running": [{"task_id": "a", "task_name": "a", "since": "2026-11-21T03:00:20+00:00", "done": 1}]}],
     "recent": [{"run_id": "q", "target": "t", "status": "Failed", "error": "E", "counts": {"FAILED": 1}}]},
    {"v": "1.0", "ts": "2026-11-21T03:00:20+00:00", "run_id": "other", "org_id": "local", "project_id": "default",
     "source": "press", "seq": 1, "token": "c41e07d2", "event_id": "other-c41e07d2-1",
     "body": {"type": "TaskStateEvent", "task_id": "t", "task_name": "t", "state": "RUNNING", "duration_ms": 0.0}},
    {"up": 1, "runs": 1, "running": 4, "waiting": 6, "paused": False, "last_status": "Succeeded"},
    {"source": "press", "collector": "c", "runs": {"r": {"c41e07d2": 5}}},
]  # fmt: skip
ODD: list[Any] = [
    None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**400, "", "x" * 300, "[red]\x1b]0;y", "\ud800", "\u202e",
    [], {}, [[[]]], {"": {}}, "NaN", "1/0", "10/m", "9999999/s", 2**63, "0001-01-01", "9999-12-31T23:59:59.999999",
]  # fmt: skip
BYTES = [b"", b"{", b"{}", b"[]", b"null", b"NaN", b"\xff\xfe", b'{"type":', b"[" * 60_000, b"9" * 5_000,
         b'{"type":"pause","type":"pause"}', b'{"type":"pause"}\0', b" " * 70_000]  # fmt: skip


def messages(seed: int, count: int, topics: list[str]) -> Iterator[tuple[str, bytes]]:
    """Messages on topics: valid ones in which a part was changed, and bytes of any kind; the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        topic, kind = chance.choice(topics), chance.random()
        if kind < 0.1:
            yield topic, chance.choice(BYTES)
        elif kind < 0.2:
            yield topic, chance.randbytes(chance.randrange(40))
        else:
            made = copy.deepcopy(chance.choice(SEEDS))
            for _ in range(chance.randrange(3)):
                _mutate(made, chance)
            text = json.dumps(made).encode("utf-8", "surrogatepass")
            yield topic, text[: chance.randrange(len(text))] if kind > 0.9 else text


def _mutate(part: Any, chance: random.Random) -> None:
    """Change one value, somewhere in nested objects and lists."""
    while True:
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        if not keys:
            return
        key = chance.choice(keys)
        inner = part[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            part = inner
            continue
        if isinstance(part, dict) and chance.random() < 0.2:
            part[str(chance.choice(ODD))[:20]] = inner
        else:
            part[key] = copy.deepcopy(chance.choice(ODD))
        return


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


def send(broker: Broker, seed: int, control: int, others: int) -> None:
    """Publish hostile messages, then clear every topic that holds one; return when the broker has acknowledged it."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.max_inflight_messages_set(200)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        assert connected.wait(40)
        last = None
        topics = [each for each in CONTROL if "//" not in each]
        hostile = itertools.chain(messages(seed, control, topics), messages(seed + 1, others, OTHERS))
        for number, (topic, payload) in enumerate(hostile):
            last = client.publish(topic, payload, 1)
            if number % 1_000 == 999:  # paho queues a limited number
                last.wait_for_publish(300)
        for topic in (*CONTROL, *OTHERS):
            last = client.publish(topic, b"", 1, retain=True)
        assert last is not None
        last.wait_for_publish(300)
        assert last.is_published()
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.broker
@pytest.mark.slow
async def test_an_engine_and_a_collector_go_on(fresh_broker: Broker, tmp_path: Path) -> None:
    """The short form: one fixed seed."""
    await check_engine_and_collector(fresh_broker, tmp_path, 17, 400, 200)


@pytest.mark.broker
@pytest.mark.nightly
async def test_an_engine_and_a_collector_go_on_for_long(fresh_broker: Broker, tmp_path: Path) -> None:
    """100,000 control messages, and 20,000 of status, reports, sync and events."""
    seed = random.randrange(2**32)
    print("seed", seed)
    await check_engine_and_collector(fresh_broker, tmp_path, seed, 100_000, 20_000)
