"""Engine, broker and collector are killed in turn: the collector has each event of each recorded step once."""

import asyncio
import contextlib
import json
import logging
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from collectors import COLLECTOR, kept, process, reading

from cascade.cli.main import main
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import StepState
from cascade.interfaces.topics import telemetry_topic
from cascade.runtime import SqliteState
from cascade.testkit import Broker, Mosquitto, eventually
from cascade.testkit.brokers import NatsServer
from cascade.testkit.fixtures import require_mosquitto

pytestmark = [pytest.mark.broker, pytest.mark.process]

_log = logging.getLogger(__name__)

KILLS = [
    pytest.param(2, marks=pytest.mark.timeout(600)),
    pytest.param(10, marks=[pytest.mark.nightly, pytest.mark.timeout(1_800)]),
    pytest.param(100, marks=[pytest.mark.nightly, pytest.mark.longest, pytest.mark.timeout(14_400)]),
]
ENGINE = """
import asyncio, sys, cascade as cs
from cascade.runtime._outbox import collector_acks
from cascade.transport import backoff

backoff.SHORTEST_PAUSE = backoff.LONGEST_PAUSE = 0.05
collector_acks.RESEND_AFTER = 0.5

@cs.task
async def step(n):
    await asyncio.sleep(0.002 * (n % 10))
    return n

async def main(url, folder, ack=None):
    connector = cs.connector(url + "?source_id=press")
    state = cs.SqliteState(folder + "/runs", keep_runs=None)
    engine = cs.Engine(connector=connector, outbox=cs.Outbox(folder + "/events", delay=0.0, ack=ack), state_backend=state)
    number = max((int(run.run_id[6:]) for run in state.runs()), default=0)  # the one that was killed goes on
    async with connector:
        while True:
            await engine.run([step(n) for n in range(100)], run_id=f"night-{number}")
            number += 1

asyncio.run(main(*sys.argv[1:]))
"""


def waiting(folder: Path) -> set[str]:
    """Return the ids of the events in an outbox."""
    found: set[str] = set()
    for path in folder.glob("*.db"):
        with contextlib.suppress(sqlite3.DatabaseError), reading(path) as connection:
            rows = connection.execute("SELECT event_id FROM message WHERE topic LIKE '%/events'")
            found |= {event_id for (event_id,) in rows}
    return found


def count(path: Path) -> int:
    """Return how many events of any kind a collector has."""
    try:
        with reading(path) as connection:
            (number,) = connection.execute("SELECT COALESCE(MAX(rowid), 0) FROM event").fetchone()
            return int(number)
    except sqlite3.DatabaseError:
        return 0  # the file is being made


def is_complete(path: Path) -> bool:
    """Return whether no event of any run is missing."""
    with reading(path) as connection:
        rows = connection.execute(
            "SELECT MAX(seq) + 1 - COUNT(*) FROM event WHERE kind = 'events' GROUP BY source, run_id, token"
        )
        return not any(missing for (missing,) in rows)


def ends(path: Path) -> Counter[tuple[str, str]]:
    """Return how often the collector has the end of each step, by run and step."""
    completed = "json_extract(payload, '$.body.state') = 'COMPLETED'"
    with reading(path) as connection:
        rows = connection.execute(
            f"SELECT run_id, json_extract(payload, '$.body.task_id') FROM event WHERE kind = 'events' AND {completed}"
        )
        return Counter((run_id, step) for run_id, step in rows)


def recorded(folder: Path) -> set[tuple[str, str]]:
    """Return every step whose result is recorded, by run and step."""
    state = SqliteState(folder)
    runs = state.runs(limit=1_000_000)
    return {
        (run.run_id, step.key) for run in runs for step in state.steps(run.run_id, state=StepState.COMPLETED)
    }


async def has_session(broker: Broker, path: Path) -> None:
    """Return when the broker keeps events for the collector: one of them has come."""
    topic, payload = first_event()
    async with MqttConnector(broker.host, broker.port, presence=False, required=True) as connector:

        async def has_come() -> bool:
            await connector.publish(topic, payload, 1)
            return count(path) > 0

        await eventually(has_come, 60)


def first_event() -> tuple[str, dict[str, Any]]:
    """Return an event of a run of its own."""
    return telemetry_topic("local", "default", "first"), {
        "v": "1.0",
        "ts": "2026-11-22T10:00:00+00:00",
        "org_id": "local",
        "project_id": "default",
        "run_id": "first",
        "source": "press",
        "seq": 0,
        "token": "c41e07d2",
        "event_id": "first-c41e07d2-0",
        "body": {"type": "LifecycleEvent", "event": "ENGINE_STARTED"},
    }


@pytest.mark.full
@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize(("kind", "ack"), [("mqtt", True), ("mqtt", False), ("nats", True), ("nats", False)])
async def test_every_stored_event_is_in_the_collector_once_whatever_is_killed(
    tmp_path: Path,
    kills: int,
    kind: str,
    ack: bool,
    seeded_random: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each in turn, the broker by SIGTERM and SIGKILL in its default configuration: nothing stored is lost.

    The collector acknowledges to the broker what it has stored, so that no acknowledgement to the engine is needed for
    it. nats-server keeps what it has acknowledged; of mosquitto the store is on disk before a SIGKILL without one.
    """
    if kind == "mqtt":
        require_mosquitto()
    # nats-server refuses, while it ends, messages that no client hears
    monkeypatch.setattr(Broker, "observer", None)
    events, path, stored = tmp_path / "events", tmp_path / "all.sqlite", set[str]()
    with (
        Mosquitto(max_queued_messages=100_000) if kind == "mqtt" else NatsServer() as broker,
        contextlib.ExitStack() as alive,
    ):
        url = broker.nats_url if isinstance(broker, NatsServer) else broker.url

        def collector() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", COLLECTOR, url, str(path), *(["--ack"] if ack else [])]
            return alive.enter_context(process(*command))

        def engine() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", ENGINE, url, str(tmp_path), *(["collector-1"] if ack else [])]
            return alive.enter_context(process(*command))

        async def more() -> None:
            """Wait until a number of further events has come through."""
            enough = count(path) + seeded_random.randrange(20, 200)
            await eventually(lambda: count(path) > enough, 120)
            stored.update(waiting(events))

        async def kill(one: subprocess.Popen[bytes]) -> None:
            one.send_signal(signal.SIGKILL)
            await asyncio.to_thread(one.wait)
            stored.update(waiting(events))

        async def end_broker(*, at_once: bool) -> None:
            if at_once and isinstance(broker, Mosquitto) and not ack:
                await asyncio.to_thread(broker.save)
            await asyncio.to_thread(broker.kill if at_once else broker.terminate)
            stored.update(waiting(events))
            await asyncio.to_thread(broker.start)

        is_safe = ack or kind == "nats"  # what an engine forgets is in the collector or on a disk
        running = {"collector": collector()}
        if kind == "mqtt":
            await has_session(broker, path)
        running["engine"] = engine()
        for number in range(kills):
            await more()
            await kill(running["collector"])
            running["collector"] = collector()
            at_once = bool(number % 2)
            sends = bool(number % 3) and (is_safe or not at_once)
            await more()
            if sends:
                await end_broker(at_once=at_once)
                await more()
            await kill(running["engine"])
            if not sends:
                await end_broker(at_once=at_once)
            running["engine"] = engine()
            _log.info("round %d of %d: %d events are collected", number + 1, kills, count(path))
        await more()
        await kill(running["engine"])
        assert stored or not ack  # without one an event leaves the outbox within moments
        done = recorded(tmp_path / "runs")
        running["engine"] = engine()  # sends what is left
        await eventually(lambda: stored <= set(kept(path)), 120)
        await eventually(lambda: is_complete(path), 120)
        await eventually(lambda: done <= ends(path).keys(), 120)
        twice = {step for step, times in ends(path).items() if times > 1}
    assert done
    assert not twice
    ids = kept(path)
    assert len(ids) == len(set(ids))
    if kind == "mqtt":  # over NATS the latest events may still come on two ways, and not in their order
        assert main(["collect", "--to", str(path), "--holes"]) == 0
        assert capsys.readouterr().out == ""
    assert main(["history", "--from", str(path), "--json"]) == 0
    assert {row["source"] for row in json.loads(capsys.readouterr().out)} == {"press"}
    print(
        f"{kills} kills of each, {count(path)} events, {len(done)} steps, {len(stored)} were seen in the outbox"
    )
