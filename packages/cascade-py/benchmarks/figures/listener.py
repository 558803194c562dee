"""The independent subscriber: a process of its own, which tells what it has received."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.testkit.brokers import Broker

_PROGRAM = Path(__file__).parent / "programs" / "listening.py"
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
    """Reads the lines that the process prints."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines

    async def report(self) -> Heard:
        """Wait for the end of a run; return what arrived of it."""
        return Heard(**await self.line())

    async def line(self) -> dict[str, Any]:
        """Return the next line.

        :raises RuntimeError: if none comes.
        """
        try:
            text = await asyncio.wait_for(self._lines.readline(), _PATIENCE)
        except TimeoutError:
            raise RuntimeError(f"the subscriber saw no end of a run within {_PATIENCE:g} s") from None
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
    listener = Listener(process.stdout)
    try:
        await listener.line()
        yield listener
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
