"""The last reports that processes have kept while they had no link: the sender of their events publishes them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Literal

from cascade.interfaces import (
    Complete,
    Connector,
    Lost,
    Message,
    OutboxUnavailable,
    SupportsFlush,
    SupportsWatch,
    supports,
)
from cascade.interfaces.topics import parse_state_topic, state_topic, status_topic
from cascade.runtime._outbox.file import OutboxPaths, delete_files, last_reports
from cascade.runtime._outbox.schema import KIND, State
from cascade.runtime._run_reports.late_reports import are_held, late_reports
from cascade.runtime._storage import database, process_lock
from cascade.runtime._storage.process_lock import LockedError

Why = Literal["online", "silent", "refused"]
"""Why reports stay in the folder: another process of the name is online, or the broker does not answer, or does not keep them."""


async def publish_reports(connector: Connector, folder: Path, timeout: float) -> dict[str, Why]:
    """Publish what the processes of a folder have kept, each if the broker has answered within ``timeout`` seconds.

    Return the names of those whose reports stay, with the reason.
    """
    stays: dict[str, Why] = {}
    for paths in await asyncio.to_thread(OutboxPaths.all, folder):
        with contextlib.suppress(LockedError, OSError, sqlite3.Error, OutboxUnavailable):
            file = await asyncio.to_thread(KeptReports, paths)
            try:
                if file.source and (reason := await _publish(connector, file, timeout)) is not None:
                    stays[file.source] = reason
            finally:
                await asyncio.to_thread(file.close)
    return stays


async def _publish(connector: Connector, file: KeptReports, timeout: float) -> Why | None:
    """Publish the reports of one process, and forget them when the broker holds them; return why they stay otherwise."""
    topics = status_topic(file.source), state_topic(file.source, "runs"), state_topic(file.source, "ended")
    held = await _held(connector, topics, timeout)
    if held is None:
        return "silent"
    messages = late_reports(file.source, file.reports, held)
    if messages is None:
        return "online"
    for topic, body in messages.items():
        await connector.publish(topic, body, 1, retain=True)
    # a broker acknowledges what its rules refuse, so what it holds is read back
    sent = supports(connector, SupportsFlush) and await connector.flush(timeout)
    now = await _held(connector, (*topics, *messages), timeout) if sent else None
    if now is None:
        return "silent"
    if not are_held(messages, now):
        return "online" if late_reports(file.source, file.reports, now) is None else "refused"
    await asyncio.to_thread(file.forget)
    return None


async def _held(connector: Connector, topics: tuple[str, ...], timeout: float) -> dict[str, bytes] | None:
    """Return what the broker retains on topics; None if it does not answer."""
    if not supports(connector, SupportsWatch):
        return None
    found: dict[str, bytes] = {}
    stream = connector.watch(*topics)
    try:
        async with asyncio.timeout(timeout):
            async for item in stream:
                if isinstance(item, Message):
                    found[item.topic] = item.payload
                elif isinstance(item, Complete):
                    return found
                elif isinstance(item, Lost):
                    break
    except TimeoutError:
        pass
    finally:
        await stream.aclose()
    return None


class KeptReports:
    """What the process of a locked file has kept; every call blocks.

    :raises LockedError: if its process lives.
    :raises OutboxUnavailable: if it is not a file of this version.
    :raises sqlite3.Error: if it cannot be read.
    :raises OSError: likewise.
    """

    def __init__(self, paths: OutboxPaths) -> None:
        self._paths = paths
        self._lock = process_lock.take(paths.lock)
        try:
            self._connection = database.open_to_write(paths.database, KIND, power_safe=False)
        except BaseException:
            self._lock.release()
            raise
        self._empty = False
        self.reports = last_reports(self._connection)
        topics = (parse_state_topic(topic) for topic in self.reports)
        self.source = next((found[0] for found in topics if found is not None), "")

    def forget(self) -> None:
        """Delete what was kept."""
        self._connection.execute("DELETE FROM message WHERE state = ?", (State.REPORT,))
        self._empty = not self._connection.execute("SELECT 1 FROM message LIMIT 1").fetchone()

    def close(self) -> None:
        """Release the file; delete it if nothing is left in it."""
        self._connection.close()
        if self._empty:
            delete_files(self._paths)
        self._lock.release()
