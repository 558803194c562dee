"""A connector that appends the telemetry of runs to a file, one JSON object per line."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from functools import reduce
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import unquote

from cascade.interfaces import (
    ConfigurationError,
    ConnectorStatistics,
    InvalidPayloadError,
    MessageCallback,
    Payload,
    WrongThreadError,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.topics import check_filter, check_topic
from cascade.interfaces.wire import encode_payload
from cascade.runtime.file._writer import LineWriter
from cascade.transport.event_loop import inert_in_children
from cascade.transport.state_log import StateLog

DRAIN_TIMEOUT = 5.0
"""Seconds that ``disconnect`` waits for the disk."""

_log = get_logger("cascade.connectors.file")


class FileConnector:
    """Writes the events and other telemetry of runs to a file: ``cs.run(..., connector="file:run.jsonl")``.

    Each line is the JSON object of one message, with its ``topic`` as a further key. Lines are appended;
    the file may be read while it grows. A thread does the writing. A full disk, a missing folder or a
    missing right loses messages, which are counted, and logs one warning; it never changes a run.
    Constraints cannot be received through a file, and reports for observers are not written.

    :param path: created when the first message is written; its folder must exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self.path = os.fspath(path)
        except TypeError:
            self.path = ""
        if not isinstance(self.path, str) or not self.path or "\0" in self.path:
            raise ConfigurationError("FileConnector(path)", "needs the path of a file", value=path)
        self._writer: LineWriter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections = self._sanitized = 0
        self._closing: list[LineWriter] = []
        self._closed = (0, 0, 0)  # what the closed writers have counted
        self._state = StateLog(_log)
        inert_in_children(self)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make a connector from ``file:run.jsonl``, relative to the working folder, or ``file:///var/run.jsonl``.

        :raises ConfigurationError: if the URL names another host or no file.
        """
        scheme, _, rest = url.partition(":")
        if scheme != "file":
            raise ConfigurationError("url", "needs the form file:PATH", value=url)
        if not rest.startswith("//"):
            return cls(rest)
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise ConfigurationError("url", "names a host; write file:PATH or file:///PATH", value=url)
        return cls(unquote(slash + path))

    @property
    def connected(self) -> bool:
        """True from ``connect`` to ``disconnect``, while the event loop of ``connect`` is open."""
        return self._writer is not None and self._loop is not None and not self._loop.is_closed()

    async def connect(self) -> None:
        """Start the thread that writes; do nothing while it runs."""
        if self.connected:
            self._check_loop("connect")
            return
        self._loop = asyncio.get_running_loop()
        # The thread of a loop that was closed without a disconnect goes on: what it holds is not lost.
        self._writer = self._writer or LineWriter(self.path)
        self._connections += 1
        self._state.reset()

    async def disconnect(self) -> None:
        """Write what waits, at most 5 s, and close the file. Idempotent."""
        if self.connected:
            self._check_loop("disconnect")
        writer, self._writer = self._writer, None
        if writer is None:
            return
        self._closing.append(writer)
        ended = asyncio.Event()
        writer.close(ended=_setter(asyncio.get_running_loop(), ended))
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT):
                await ended.wait()
        except TimeoutError:
            _log.warning("the disk of %s does not answer; %d messages are lost", self.path, writer.abandon())
        self._closing.remove(writer)
        self._closed = _sum(self._closed, writer.counts())

    async def publish(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Write one message of telemetry, as it is now; ignore every other topic. See ``Connector.publish``."""
        self.publish_nowait(topic, payload, qos, retain=retain)

    def publish_nowait(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Do what ``publish`` does, without being awaited.

        :raises WrongThreadError: if called from another thread than that of the event loop.
        """
        check_topic(topic)
        if payload is not None and not isinstance(payload, Mapping):
            raise InvalidPayloadError(topic, payload)
        if (writer := self._writer_for(topic)) is not None:
            text, replaced = encode_payload(payload or {})
            self._sanitized += bool(replaced)
            writer.put(_line(topic, text))

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int = 0) -> NoMessages:
        """Return a subscription whose callback is never called: a file sends no messages."""
        check_filter(topic)
        return NoMessages()

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything published so far is written or dropped; return whether that was in time.

        :param timeout: seconds; those of ``disconnect`` if None.
        """
        writer = self._writer
        if writer is None or not self.connected:
            return True
        until = asyncio.get_running_loop().time() + (DRAIN_TIMEOUT if timeout is None else timeout)
        target = writer.counts()[0]
        while (counts := writer.counts())[1] + counts[2] < target:
            if asyncio.get_running_loop().time() > until:
                return False
            writer.hurry()
            await asyncio.sleep(_POLL)
        return True

    def statistics(self) -> ConnectorStatistics:
        """Return the counts of this moment."""
        accepted, sent, dropped = self._counts()
        return ConnectorStatistics(
            linked=self.connected,
            connections=self._connections,
            accepted=accepted,
            sent=sent,
            pending=accepted - sent - dropped,
            dropped=MappingProxyType({"not written": dropped} if dropped else {}),
            sanitized=self._sanitized,
        )

    def become_inert(self) -> None:
        """Write nothing in a forked child, which has no copy of the thread."""
        self._writer = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    def __repr__(self) -> str:
        state = "connected" if self.connected else "not connected"
        _, sent, dropped = self._counts()
        return f"<FileConnector {self.path} {state}, {sent} written, {dropped} dropped>"

    def _writer_for(self, topic: str) -> LineWriter | None:
        """Return what writes a message to ``topic``; None if nothing does."""
        if not self.connected or self._writer is None:
            self._state.failed("publish", "nothing is written: publish was called before connect")
            return None
        self._check_loop("publish")
        return self._writer if topic.startswith(_TELEMETRY) else None

    def _check_loop(self, operation: str) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self._loop:
            raise WrongThreadError(operation)

    def _counts(self) -> _Counts:
        """Return how many messages were accepted, written and dropped, over all connections."""
        writers = [*self._closing, *([self._writer] if self._writer is not None else [])]
        return reduce(_sum, (writer.counts() for writer in writers), self._closed)


class NoMessages:
    """A subscription that never receives a message."""

    async def unsubscribe(self) -> None:
        """Do nothing."""


_Counts = tuple[int, int, int]
_TELEMETRY = "cascade/telemetry/"
_POLL = 0.005  # seconds between two looks at the counts in flush()


def _sum(first: _Counts, second: _Counts) -> _Counts:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _line(topic: str, text: str) -> bytes:
    head = f'{{"topic": {json.dumps(topic)}'
    line = f"{head}, {text[1:]}\n" if text != "{}" else f"{head}}}\n"
    return line.encode()


def _setter(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    """Return a function that sets an event of a loop, for another thread."""

    def set_event() -> None:
        try:
            loop.call_soon_threadsafe(event.set)
        except RuntimeError:  # the loop is closed, and no task waits
            return

    return set_event
