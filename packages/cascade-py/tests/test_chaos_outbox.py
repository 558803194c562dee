"""Engines and brokers are killed in turn, and every event that was stored arrives."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Mosquitto, eventually
from cascade.testkit.fixtures import require_mosquitto

pytestmark = [pytest.mark.broker, pytest.mark.process, pytest.mark.timeout(120)]

ENGINE = """
import asyncio, sys
from cascade.connectors.mqtt import MqttConnector
from cascade.runtime import Outbox

async def main(port, folder, token):
    connector = MqttConnector("127.0.0.1", port, source_id="press", presence=False)
    async with connector, Outbox(folder, delay=0.0).sender(connector) as sender:
        for seq in range(1_000_000):
            sender.send("plant/events", {"event_id": f"run-{token}-{seq}", "pad": "x" * 100})
            if seq % 20 == 19:
                print(seq, flush=True)
                await asyncio.sleep(0.005)

asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""


def stored(folder: Path) -> set[str]:
    """Return the ids of the messages in a folder."""
    found: set[str] = set()
    for path in folder.glob("*.db"):
        with (
            contextlib.suppress(sqlite3.DatabaseError),  # not filled yet, or no longer there
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
        ):
            found |= {event_id for (event_id,) in connection.execute("SELECT event_id FROM message")}
    return found


def more_than(folder: Path, count: int) -> bool:
    """Return whether more messages wait in a folder."""
    return len(stored(folder)) > count


def came_from(seen: set[str], token: str) -> bool:
    """Return whether a message of a sender has come."""
    return any(token in event_id for event_id in seen)


async def hears_itself(reader: MqttConnector, seen: set[str], probe: str) -> bool:
    """Publish a message; return whether one of them has come: the broker knows the subscription."""
    await reader.publish("plant/events", {"event_id": probe}, 1)
    return probe in seen


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    """A broker as it is by default: what it has when it is killed is lost."""
    require_mosquitto()
    with Mosquitto() as broker:
        yield broker


@pytest.mark.parametrize(
    "kills", [2, pytest.param(40, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])]
)
async def test_what_a_killed_sender_has_stored_is_sent_by_the_next_one(
    broker: Mosquitto,
    tmp_path: Path,
    kills: int,
    seeded_random: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each time the broker goes first, so that events wait on disk; then the sender is killed.

    The next sender begins when the reader is subscribed again. The oldest go first, so when the reader has an event of a
    sender, it has all that its predecessors have left: only then the broker may be killed again.
    """
    monkeypatch.setattr("cascade.transport.backoff.LONGEST_PAUSE", 0.05)
    # A sender is as fast as it can be: a reader whose loop stands still must not drop what waits for its callback.
    monkeypatch.setattr("cascade.transport.incoming.callbacks.CALLBACK_MESSAGES", 10_000_000)
    folder, seen, kept = tmp_path / "events", set[str](), set[str]()

    async def collect(topic: str, data: dict[str, Any]) -> None:
        seen.add(data["event_id"])

    async with MqttConnector(broker.host, broker.port, presence=False) as reader:
        await reader.subscribe("plant/events", collect, 1)
        for attempt in range(kills):
            with started(broker, folder, f"{attempt:08x}") as sender:
                await eventually(partial(came_from, seen, f"-{attempt:08x}-"), 30)
                await asyncio.to_thread(broker.terminate if attempt % 2 else broker.kill)
                enough = len(stored(folder)) + seeded_random.randrange(100, 1_500)
                await eventually(partial(more_than, folder, enough), 30)
                sender.kill()
                await asyncio.to_thread(sender.wait)
            kept |= stored(folder)
            assert kept
            await asyncio.to_thread(broker.start)
            await eventually(partial(hears_itself, reader, seen, f"probe-{attempt}"), 30)
        with started(broker, folder, "ffffffff"):
            await eventually(lambda: kept <= seen, 60)


@contextlib.contextmanager
def started(broker: Mosquitto, folder: Path, token: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a sender until the context ends."""
    command = [sys.executable, "-c", ENGINE, str(broker.port), str(folder), token]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
