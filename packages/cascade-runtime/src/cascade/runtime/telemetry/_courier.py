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
        self._accepted = 0
        self._in_hand = 0  # 1 while the connector is being given a message
        self._drains: dict[asyncio.Future[None], int] = {}
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def send(self, topic: str, payload: Mapping[str, Any], qos: int) -> None:
        """Queue a message; on the event loop only."""
        if len(self._queue) >= CAPACITY:
            self._queue.popleft()
            self.dropped += 1
        self._accepted += 1
        self._queue.append((topic, payload, qos))
        self._have_task()

    async def drain(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until all that is queued by now is sent; drop and count the rest of it."""
        target = self._accepted
        if self._settled >= target:
            return
        drained = asyncio.get_running_loop().create_future()
        self._drains[drained] = target
        try:
            await asyncio.wait({drained}, timeout=timeout)
        finally:
            del self._drains[drained]
        if not drained.done():
            await self._give_up(target, timeout)

    @property
    def _settled(self) -> int:
        return self._accepted - len(self._queue) - self._in_hand

    def _have_task(self) -> None:
        if self._queue and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._carry(), name="cascade telemetry courier")

    async def _give_up(self, target: int, timeout: float) -> None:
        """Drop what was queued up to ``target``; what came after it, of another run, goes on."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=timeout)
        left = max(0, target - self._settled - self._in_hand)
        for _ in range(left):
            self._queue.popleft()
        if left:
            self.dropped += left
            _log.warning("%d telemetry messages were not sent in time and are dropped", left)
        self._have_task()

    async def _carry(self) -> None:
        while self._queue:
            topic, payload, qos = self._queue.popleft()
            self._in_hand = 1
            try:
                await self._connector.publish(topic, payload, qos)
            except Exception as exc:
                self._report(exc)
            else:
                self._failing = False
            finally:
                self._in_hand = 0
            self._tell_drains()

    def _tell_drains(self) -> None:
        for drained, target in self._drains.items():
            if self._settled >= target and not drained.done():
                drained.set_result(None)

    def _report(self, error: Exception) -> None:
        self.dropped += 1
        if not self._failing:
            self._failing = True
            _log.warning("telemetry is being lost, the run goes on: %s: %s", type(error).__name__, error)
