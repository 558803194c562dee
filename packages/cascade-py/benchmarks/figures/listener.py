"""The independent subscriber: a process of its own, which reports what it has received."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt

from cascade.testkit.brokers import Broker

_PROGRAM = Path(__file__).parent / "programs" / "listening.py"
_REPORT = "bench/report"
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What arrived of one run."""

    events: int
    """Distinct events."""
    in_order: bool
    last: float
    """When the last one arrived, in seconds since the epoch."""


class Listener:
    """Asks the process for a report, and reads the lines that it prints."""

    def __init__(self, lines: asyncio.StreamReader, client: aiomqtt.Client) -> None:
        self._lines = lines
        self._client = client

    async def report(self) -> Heard:
        """Return what has arrived since the last report, when all that was sent before has."""
        await self._client.publish(_REPORT, qos=1)
        return Heard(**await self.line())

    async def line(self) -> dict[str, Any]:
        """Return the next line.

        :raises RuntimeError: if none comes.
        """
        try:
            text = await asyncio.wait_for(self._lines.readline(), _PATIENCE)
        except TimeoutError:
            raise RuntimeError(f"the subscriber reported nothing within {_PATIENCE:g} s") from None
        if not text:
            raise RuntimeError("the subscriber has ended")
        line: dict[str, Any] = json.loads(text)
        return line


@asynccontextmanager
async def listening(broker: Broker) -> AsyncIterator[Listener]:
    """Start the subscriber, wait until it has subscribed, and end it at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_PROGRAM), broker.host, str(broker.port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with aiomqtt.Client(broker.host, broker.port) as client:
            listener = Listener(process.stdout, client)
            await listener.line()
            yield listener
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
