"""Sends what the manager says, whatever kind of connector it has. The latest value of a topic counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from cascade.interfaces import Connector, SupportsPublishNowait, supports

_log = logging.getLogger("cascade.constraints")

_Letter = tuple[Mapping[str, Any], int, bool]


class Publisher:
    """Publishes without waiting; through a connector that can only be awaited, by one task."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._nowait = connector if supports(connector, SupportsPublishNowait) else None
        self._letters: dict[str, _Letter] = {}
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def send(self, topic: str, payload: Mapping[str, Any], *, qos: int = 0, retain: bool = False) -> None:
        """Publish, or replace what waits to be published on this topic."""
        if self._nowait is not None:
            try:
                self._nowait.publish_nowait(topic, payload, qos, retain=retain)
            except Exception as exc:
                self._report(exc)
            return
        self._letters[topic] = (payload, qos, retain)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._carry(), name="cascade constraint reports")

    async def close(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for what waits to be published, then drop it."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout)
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=timeout)

    async def _carry(self) -> None:
        while self._letters:
            topic = next(iter(self._letters))
            payload, qos, retain = self._letters.pop(topic)
            try:
                await self._connector.publish(topic, payload, qos, retain=retain)
            except Exception as exc:
                self._report(exc)
            else:
                self._failing = False

    def _report(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            _log.warning("reports of constraints are being lost: %s: %s", type(error).__name__, error)
