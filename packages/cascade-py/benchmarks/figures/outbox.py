"""An outbox on disk with a backlog: how late new events arrive that overtake it, and memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any

from cascade.connectors.mqtt import MqttConnector
from cascade.runtime import Outbox
from cascade.testkit.brokers import Broker, start_broker
from figures.measure import Settings, run
from figures.memory import peak_memory
from figures.table import Row, no_more_than

TITLE = 'new events beside a backlog in an outbox on disk, sent with order="live-first"'

LIVE = "bench/live"
SOURCE = "bench-press"
PATIENCE = 120.0
LIVE_RATE = 100
"""New events a second beside a backlog."""

_PROGRAM = Path(__file__).parent / "programs" / "filling.py"


def rows(settings: Settings) -> Iterator[Row]:
    """Measure new events beside a backlog."""
    with start_broker() as broker:
        yield from run(_beside_a_backlog(broker, settings))


async def _beside_a_backlog(broker: Broker, settings: Settings) -> list[Row]:
    """Measure how late new events are that overtake a backlog, and how much memory it takes."""
    backlog, live = settings.size(1_000_000), settings.size(1_000)
    lags: list[float] = []

    async def note(topic: str, data: dict[str, Any]) -> None:
        lags.append(time.monotonic() - data["at"])

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "events"
        _fill(folder, backlog)
        async with (
            MqttConnector(broker.host, broker.port, presence=False) as reader,
            MqttConnector(broker.host, broker.port, source_id=SOURCE) as connector,
        ):
            await reader.subscribe(LIVE, note, 1)
            before = peak_memory()
            outbox = Outbox(folder, order="live-first", max_bytes=4 << 30)
            async with outbox.attached(connector) as queue:
                for _ in range(live):
                    queue.publish(LIVE, {"at": time.monotonic()}, 1)
                    await asyncio.sleep(1 / LIVE_RATE)
                async with asyncio.timeout(PATIENCE):
                    while len(lags) < live:  # noqa: ASYNC110 - it is outside of what is measured
                        await asyncio.sleep(0.01)
                grown = (peak_memory() - before) / (1 << 20)
                sent = queue.sent - live
    late = quantiles(lags, n=100, method="inclusive")[-1]
    name = f"beside a backlog of {backlog:,}"
    return [
        Row(f"{name}, a new event arrives: p99", "s", [late], target=no_more_than(1)),
        Row(f"{name}, memory while {sent:,} were sent", "MiB", [grown], target=no_more_than(40)),
    ]


def _fill(folder: Path, count: int) -> None:
    """Leave behind what many runs without a link would have left; in a process of its own, for its memory's sake."""
    subprocess.run(
        [sys.executable, _PROGRAM, folder, SOURCE, str(count)], check=True, stderr=subprocess.DEVNULL
    )
