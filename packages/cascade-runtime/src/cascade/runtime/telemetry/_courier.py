"""Carries messages in order to a connector that can only be awaited."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from cascade.interfaces import Connector

CAPACITY = 65_536

_log = logging.getLogger("cascade.telemetry")
_Letter = tuple[str, Mapping[str, Any], int]


class Courier:
    """One bounded queue and one task; when the queue is full the oldest message is dropped."""

    def __init__(self, connector: Connector) -> None:
        self.dropped = 0
        self._connector = connector
        self._queue: deque[_Letter] = deque()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def send(self, topic: str, payload: Mapping[str, Any], qos: int) -> None:
        """Queue a message; on the event loop only."""
        if len(self._queue) >= CAPACITY:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append((topic, payload, qos))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._carry(), name="cascade telemetry courier")

    async def drain(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the queue is empty; drop and count the rest."""
        task = self._task
        if task is None:
            return
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=timeout)
        if self._queue:
            _log.warning("%d telemetry messages were not sent in time and are dropped", len(self._queue))
            self.dropped += len(self._queue)
            self._queue.clear()

    async def _carry(self) -> None:
        while self._queue:
            topic, payload, qos = self._queue.popleft()
            try:
                await self._connector.publish(topic, payload, qos)
            except Exception as exc:
                self._report(exc)
            else:
                self._failing = False

    def _report(self, error: Exception) -> None:
        self.dropped += 1
        if not self._failing:
            self._failing = True
            _log.warning("telemetry is being lost, the run goes on: %s: %s", type(error).__name__, error)
