"""Publish without waiting, through a connector of any kind."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from cascade.interfaces import Connector, SupportsPublishNowait, supports
from cascade.transport.state_log import StateLog

CAPACITY = 65_536
"""Messages that wait for a slow connector; when more come, the oldest is dropped and counted."""

_PUBLISH = "publish"  # the key of the only operation whose state is logged

_Message = tuple[str, Mapping[str, Any], int, bool]


class SafeQueue(Protocol):
    """A queue that reports when a message can no longer be lost with the process."""

    def publish_text(
        self, topic: str, text: str, qos: int = 0, *, on_safe: Callable[[], None] | None = None
    ) -> None:
        """Publish a message that is JSON already; call ``on_safe`` once."""
        ...


LastReports = Callable[[], Mapping[str, str]]
"""Returns the reports that the broker would hold now, by topic."""


class ReportKeeper(Protocol):
    """A queue that keeps the last reports of the process with the messages that wait."""

    def keep_reports(self, latest: LastReports, *, learn: Callable[[Mapping[str, str]], None]) -> None:
        """Keep what ``latest`` returns; call ``learn`` once with what an earlier process of this name has kept."""
        ...


class PublishQueue:
    """Publishes messages in order; the caller never waits and never sees an error of the connector.

    A connector with ``publish_nowait`` takes each message at once. For any other connector,
    messages wait in a bounded queue while one asyncio task awaits its ``publish`` for each of them.
    A message that the connector refuses is dropped and counted; the log has one warning until
    publishing works again.

    All methods must be called on the event loop.

    :param content: what the messages are, in the plural, for the log.
    :param latest_only: a message replaces the one that waits on the same topic and takes its place.
    """

    def __init__(
        self, connector: Connector, *, content: str, logger: logging.Logger, latest_only: bool = False
    ) -> None:
        self.dropped = 0
        """Messages that the connector has not taken and will not be offered again."""
        self._connector = connector
        self._nowait = connector if supports(connector, SupportsPublishNowait) else None
        self._content = content
        self._logger = logger
        self._state = StateLog(logger)
        self._latest_only = latest_only
        self._waiting: OrderedDict[Hashable, _Message] = OrderedDict()
        self._accepted = 0
        self._in_progress = 0  # 1 while the connector's publish() runs
        self._drains: dict[asyncio.Future[None], int] = {}
        self._task: asyncio.Task[None] | None = None

    def publish(self, topic: str, payload: Mapping[str, Any], qos: int = 0, *, retain: bool = False) -> None:
        """Publish a message, now or as soon as the connector has taken the ones before it."""
        if self._nowait is None:
            self._enqueue((topic, payload, qos, retain))
            return
        try:
            self._nowait.publish_nowait(topic, payload, qos, retain=retain)
        except Exception as exc:
            self._failed(exc)
        else:
            self._state.works(_PUBLISH)

    async def drain(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the connector has taken all messages accepted so far.

        After that time, drop and count those that still wait; messages accepted meanwhile stay.
        """
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
            await self._drop_until(target, timeout)

    @property
    def _settled(self) -> int:
        """How many of the accepted messages were published or dropped."""
        return self._accepted - len(self._waiting) - self._in_progress

    def _enqueue(self, message: _Message) -> None:
        key: Hashable = message[0] if self._latest_only else self._accepted
        if key not in self._waiting:
            if len(self._waiting) >= CAPACITY:
                self._waiting.popitem(last=False)
                self.dropped += 1
            self._accepted += 1
        self._waiting[key] = message
        self._ensure_task()

    def _ensure_task(self) -> None:
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._publish_waiting(), name=f"cascade publish {self._content}")

    async def _publish_waiting(self) -> None:
        while self._waiting:
            _, (topic, payload, qos, retain) = self._waiting.popitem(last=False)
            self._in_progress = 1
            try:
                await self._connector.publish(topic, payload, qos, retain=retain)
            except Exception as exc:
                self._failed(exc)
            else:
                self._state.works(_PUBLISH)
            finally:
                self._in_progress = 0
            self._wake_drains()

    async def _drop_until(self, target: int, timeout: float) -> None:
        """Drop what was accepted up to ``target``; what came later, from another run, stays."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=timeout)
        left = max(0, target - self._settled - self._in_progress)
        for _ in range(left):
            self._waiting.popitem(last=False)
        if left:
            self.dropped += left
            self._logger.warning(
                "%d %s were not sent in time and are dropped; check the connector and its broker",
                left,
                self._content,
            )
        self._ensure_task()

    def _wake_drains(self) -> None:
        for drained, target in self._drains.items():
            if self._settled >= target and not drained.done():
                drained.set_result(None)

    def _failed(self, error: Exception) -> None:
        self.dropped += 1
        self._state.failed(
            _PUBLISH,
            "%s are lost while the run goes on: %s: %s; check the connector and its broker",
            self._content,
            type(error).__name__,
            error,
        )
