"""Who may disconnect a connector: the last run that uses one which an engine connected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from cascade.interfaces import Connector, ConnectorUnavailable
from cascade.runtime._tasks import cancel

START_LIMIT = 2.0
"""Seconds that a run waits for its connector before it starts without a link; for one that requires
its link, as long as that takes to tell."""
GRACE = 0.5
"""Seconds more until that is told: a connector that gives up at the same limit tells why, and better."""
STOP_LIMIT = 10.0
"""Seconds after which a connector that does not come back from ``disconnect`` is left alone."""

_log = logging.getLogger("cascade.engine")


class Lease:
    """The use that runs in this process make of one connector, whichever engine they belong to."""

    _all: ClassVar[dict[int, Lease]] = {}

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._users = 0
        self._owned = False
        self._connecting: asyncio.Task[None] | None = None
        self._late: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def hold(cls, connector: Connector | None) -> AsyncIterator[None]:
        """Keep a connector connected for as long as the context lasts.

        It is left as it was found: one that was connected before stays so.

        :raises ConnectorUnavailable: if the connector requires its link and has none.
        """
        if connector is None:
            yield
            return
        lease = cls._all.setdefault(id(connector), cls(connector))
        lease._users += 1
        try:
            await lease._acquire()
            yield
        finally:
            await lease._release()

    async def _acquire(self) -> None:
        leaving = self._leaving
        if self._connecting is None and (leaving is not None or not _is_connected(self._connector)):
            self._owned = True
            self._connecting = asyncio.create_task(self._connect(leaving), name="cascade connect")
        if self._connecting is not None:
            limit = None if _is_required(self._connector) else START_LIMIT
            await asyncio.wait({self._connecting}, timeout=limit)
            self._look_at(self._connecting)

    async def _connect(self, leaving: asyncio.Task[None] | None) -> None:
        if leaving is not None:
            await asyncio.wait({leaving}, timeout=STOP_LIMIT)
        await self._connector.connect()

    def _look_at(self, connecting: asyncio.Task[None]) -> None:
        if not connecting.done():
            loop = asyncio.get_running_loop()
            self._late = self._late or loop.call_later(GRACE, self._tell_late, connecting)
            return
        error = None if connecting.cancelled() else connecting.exception()
        if isinstance(error, ConnectorUnavailable):
            raise error
        self._tell(connecting)

    def _tell(self, connecting: asyncio.Task[None]) -> None:
        if not connecting.done():
            _log.warning(
                "%r does not connect within %g s; the run goes on without it", self._connector, START_LIMIT
            )
        elif connecting.cancelled():
            _log.warning("%r was cancelled while connecting; the run goes on without it", self._connector)
        elif error := connecting.exception():
            _log.warning(
                "%r cannot connect, the run goes on without it: %s: %s",
                self._connector,
                type(error).__name__,
                error,
            )

    def _tell_late(self, connecting: asyncio.Task[None]) -> None:
        """Tell of a connector that was late, if that is still to be told."""
        late, self._late = self._late, None
        if late is not None:
            late.cancel()
            self._tell(connecting)

    async def _release(self) -> None:
        self._users -= 1
        try:
            if self._owned and not self._users:
                await self._disconnect()
        finally:
            if not self._users and self._leaving is None:
                self._all.pop(id(self._connector), None)

    async def _disconnect(self) -> None:
        connecting, self._connecting, self._owned = self._connecting, None, False
        leaving = self._leaving = asyncio.create_task(self._leave(connecting), name="cascade disconnect")
        try:
            await asyncio.wait({leaving}, timeout=STOP_LIMIT)
        finally:
            if not leaving.done():
                await cancel([leaving], timeout=STOP_LIMIT)
            if self._leaving is leaving:
                self._leaving = None
        if not leaving.done() or leaving.cancelled():
            _log.warning("%r does not disconnect within %g s and is left alone", self._connector, STOP_LIMIT)
        elif error := leaving.exception():
            _log.warning("%r failed to disconnect: %s: %s", self._connector, type(error).__name__, error)

    async def _leave(self, connecting: asyncio.Task[None] | None) -> None:
        try:
            if connecting is not None:
                self._tell_late(connecting)
                connecting.cancel()
                await asyncio.wait({connecting})
                if not connecting.cancelled():
                    connecting.exception()  # those who waited for it have told it
        finally:
            await self._connector.disconnect()


def _is_connected(connector: Connector) -> bool:
    """Return whether it says so; one that cannot be asked is taken for one that is not."""
    return _says(connector, "connected")


def _is_required(connector: Connector) -> bool:
    return _says(connector, "required")


def _says(connector: Connector, name: str) -> bool:
    """Return whether an attribute is true, of the type or of the instance; what a mock makes up is not."""
    return getattr(connector, name, None) is True
