"""One connection for all runs that use a connector: made for the first run, closed after the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar

from cascade.interfaces import Connector, ConnectorUnavailable, SupportsFlush, supports
from cascade.interfaces.logs import get_logger
from cascade.runtime._support.loops import cancel
from cascade.runtime._support.use_counts import Shared
from cascade.transport.waiting import AwakeTimeout

START_LIMIT = 2.0
"""Seconds that a run waits for its connector, and then for the broker's constraints, before it starts without.

A run whose connector requires its link waits until the connector has connected or failed.
"""
GRACE = 0.5
"""Further seconds until the log says that the connector is late.

A connector that gives up at about the same time logs the reason itself, and knows it better.
"""
STOP_LIMIT = 10.0
"""Seconds that a connector may take to disconnect; then it is cancelled. A longer ``drain_timeout`` of its own holds."""
DRAIN_MARGIN = 2.0
"""Seconds that it may take beyond its ``drain_timeout``."""

_log = get_logger("cascade.engine")


class SharedConnection:
    """The connection of one connector while runs in this process use it, of whichever engine.

    A connector that the user had connected stays connected; each run waits until its messages are sent, because the
    program may end next, without a disconnect. One that a run connected is disconnected after the last run.
    """

    _all: ClassVar[Shared[SharedConnection]] = Shared()
    _disconnecting: ClassVar[dict[int, asyncio.Task[None]]] = {}
    """By the connector's identity: a run that begins meanwhile connects after that."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        # whether a run connected it, so that it is disconnected after the last
        self._owned = False
        self._connecting: asyncio.Task[None] | None = None
        self._late_warning: asyncio.TimerHandle | None = None
        self._before_disconnect: dict[Callable[[], Awaitable[None]], None] = {}
        self._after_disconnect: dict[Callable[[], Awaitable[None]], None] = {}

    @classmethod
    @asynccontextmanager
    async def hold(
        cls, connector: Connector | None, *, meanwhile: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[AwakeTimeout]:
        """Keep a connector connected inside the context, and leave it afterwards as it was found.

        Yield what is left of :data:`START_LIMIT`.

        :param meanwhile: awaited while a run connects the connector, once ``connect`` has begun; not called if it is
            connected already, or still disconnects from an earlier run.
        :raises ConnectorUnavailable: if the connector requires its link and has none.
        """
        start_timeout = AwakeTimeout(START_LIMIT)
        if connector is None:
            yield start_timeout
            return
        connection = cls._all.join(connector, make=lambda: cls(connector))
        try:
            await connection._acquire(start_timeout, meanwhile)
            yield start_timeout
        finally:
            is_last = cls._all.leave(connector) is not None
            if not connection._owned:
                await connection._flush()
            elif is_last:
                await connection._disconnect()

    @classmethod
    def around_disconnect(
        cls, connector: Connector, before: Callable[[], Awaitable[None]], after: Callable[[], Awaitable[None]]
    ) -> None:
        """Await ``before()`` and ``after()`` when the last run disconnects the connector; not if its user had connected it.

        Equal callbacks are called once. A callback returns within a limit of its own and never raises.
        """
        connection = cls._all.get(connector)
        if connection is not None:
            connection._before_disconnect[before] = None
            connection._after_disconnect[after] = None

    @classmethod
    def owns(cls, connector: Connector) -> bool:
        """Return whether a run has connected a connector, so that the last run disconnects it."""
        connection = cls._all.get(connector)
        return connection is not None and connection._owned

    async def _acquire(self, start_timeout: AwakeTimeout, meanwhile: Callable[[], Awaitable[None]]) -> None:
        disconnecting = self._disconnecting.get(id(self._connector))
        if self._connecting is None and (disconnecting is not None or not _is_connected(self._connector)):
            self._owned = True
            self._connecting = asyncio.create_task(self._connect(disconnecting), name="cascade connect")
            await asyncio.sleep(0)  # connect() begins
        if self._connecting is not None:
            if disconnecting is None and not self._connecting.done():
                await meanwhile()
            if _is_required(self._connector):
                await asyncio.wait({self._connecting})
            else:
                await start_timeout.wait(self._connecting)
            self._check(self._connecting)

    async def _connect(self, disconnecting: asyncio.Task[None] | None) -> None:
        if disconnecting is not None:
            await asyncio.wait({disconnecting}, timeout=_stop_limit(self._connector))
        await self._connector.connect()

    def _check(self, connecting: asyncio.Task[None]) -> None:
        """Raise or log why the connector is not connected; one that is late gets a little more time."""
        if not connecting.done():
            loop = asyncio.get_running_loop()
            self._late_warning = self._late_warning or loop.call_later(GRACE, self._log_late, connecting)
            return
        error = None if connecting.cancelled() else connecting.exception()
        if isinstance(error, ConnectorUnavailable):
            raise error
        self._log_result(connecting)

    def _log_result(self, connecting: asyncio.Task[None]) -> None:
        if not connecting.done():
            _log.warning(
                "%r does not connect within %g s; the run goes on without it. Check that the broker is up",
                self._connector,
                START_LIMIT,
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

    def _log_late(self, connecting: asyncio.Task[None]) -> None:
        """Log the result of a late connector, unless that was done before."""
        timer, self._late_warning = self._late_warning, None
        if timer is not None:
            timer.cancel()
            self._log_result(connecting)

    async def _flush(self) -> None:
        """Wait until the connector has sent what it holds, within the limits of its ``disconnect``."""
        limit, connector = _stop_limit(self._connector), self._connector
        if not supports(connector, SupportsFlush):
            return
        try:
            async with asyncio.timeout(limit):
                await connector.flush()
        except Exception as exc:
            _log.warning(
                "%r failed to send its last messages: %s: %s", self._connector, type(exc).__name__, exc
            )

    async def _disconnect(self) -> None:
        key, limit = id(self._connector), _stop_limit(self._connector)
        task = self._disconnecting[key] = asyncio.create_task(
            self._cancel_and_disconnect(), name="cascade disconnect"
        )
        try:
            await asyncio.wait({task}, timeout=limit)
        finally:
            if not task.done():
                await cancel([task], timeout=STOP_LIMIT)
            if self._disconnecting.get(key) is task:
                del self._disconnecting[key]
            # a run that begins meanwhile connects without them
            for callback in self._after_disconnect:
                await callback()
        if not task.done() or task.cancelled():
            _log.warning(
                "%r does not disconnect within %g s and is abandoned; its connection may stay open",
                self._connector,
                limit,
            )
        elif error := task.exception():
            _log.warning("%r failed to disconnect: %s: %s", self._connector, type(error).__name__, error)

    async def _cancel_and_disconnect(self) -> None:
        try:
            for callback in self._before_disconnect:
                await callback()
            if (connecting := self._connecting) is not None:
                self._log_late(connecting)
                connecting.cancel()
                await asyncio.wait({connecting})
                if not connecting.cancelled():
                    # the runs that waited for it have logged or raised it
                    connecting.exception()
        finally:
            await self._connector.disconnect()


def _is_connected(connector: Connector) -> bool:
    """Return whether the connector reports a connection; without the attribute it counts as not connected."""
    return _is_true(connector, "connected")


def _stop_limit(connector: Connector) -> float:
    """Return the seconds that a connector may take to disconnect: a run waits for a drain that its user asked for."""
    drain = getattr(connector, "drain_timeout", None)
    return max(STOP_LIMIT, drain + DRAIN_MARGIN) if isinstance(drain, int | float) else STOP_LIMIT


def _is_required(connector: Connector) -> bool:
    return _is_true(connector, "required")


def _is_true(connector: Connector, name: str) -> bool:
    """Return whether an optional attribute is exactly True: a mock makes up any attribute, but not that."""
    return getattr(connector, name, None) is True
