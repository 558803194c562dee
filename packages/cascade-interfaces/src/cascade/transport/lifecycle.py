"""The lifecycle of a connector: one session at a time, from ``connect`` to ``disconnect``, and callbacks before that."""

from __future__ import annotations

import asyncio
import logging
from asyncio import _get_running_loop
from collections.abc import Callable
from typing import Any

from cascade.interfaces.errors import ConnectorUnavailable
from cascade.transport.event_loop import check_loop
from cascade.transport.incoming.callbacks import calling_task
from cascade.transport.session import Session
from cascade.transport.settings import ConnectorSettings


class Lifecycle:
    """Opens and closes sessions, each after the previous one has ended."""

    def __init__(self, settings: ConnectorSettings) -> None:
        self._session: Session[Any] | None = None
        self._settings = settings
        self._closing: set[asyncio.Task[None]] = set()
        self.connections = 0
        """How many links there were, also while a session was closing."""

    @property
    def session(self) -> Session[Any] | None:
        """The session, unless its event loop was closed without a disconnect."""
        session = self._session
        return None if session is None or session.loop.is_closed() else session

    def on_this_loop(self, operation: str) -> Session[Any] | None:
        """Return the session.

        :raises WrongThreadError: if it belongs to another event loop than the caller.
        """
        session = self._session
        if session is None or _get_running_loop() is session.loop:
            return session
        if session.loop.is_closed():
            return None
        check_loop(operation, session.loop)
        return session

    async def settle(self) -> None:
        """Forget a session whose loop was closed, and wait for a session that is closing."""
        self._forget_closed_loop()
        while self._closing:
            await asyncio.wait(self._closing)

    async def begin(self, make_session: Callable[[], Session[Any]]) -> None:
        """Open a session and wait for its first attempt; close it again if this is cancelled.

        :param make_session: returns a new session on the running loop, which begins to connect.
        :raises ConnectorUnavailable: without a link, if one is required.
        """
        self._session = session = make_session()
        try:
            fault = await session.first_attempt(self._settings.connect_timeout)
        except asyncio.CancelledError:
            await self._undo(session)
            raise
        if fault is not None:
            if self._settings.required:
                await self._undo(session)
                raise ConnectorUnavailable(
                    self._settings.hostname, self._settings.port, fault.text, kind=fault.kind.value
                )
            session.log_fault(fault)
        session.release()

    async def end(self) -> None:
        """Close the session; if there is none, wait for one that is closing.

        :raises WrongThreadError: if it belongs to another event loop than the caller.
        """
        self._forget_closed_loop()
        self.on_this_loop("disconnect")
        session = self.take()
        if session is None:
            await self.settle()
            return
        await self._close(session, self._settings.drain_timeout)

    def take(self) -> Session[Any] | None:
        """Remove and return the session."""
        session, self._session = self._session, None
        return session

    async def _undo(self, session: Session[Any]) -> None:
        if self._session is session:
            self.take()
        await self._close(session, 0)

    async def _close(self, session: Session[Any], drain_timeout: float) -> None:
        closing = asyncio.get_running_loop().create_task(
            session.close(drain_timeout, caller=calling_task.get()), name="cascade-disconnect"
        )
        for task in (closing, session.task):
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        try:
            await asyncio.wait({closing})
        except asyncio.CancelledError:
            closing.cancel()
            await asyncio.wait({closing})
            raise
        closing.result()

    def _forget_closed_loop(self) -> None:
        """Drop a session, and its link, whose event loop was closed before ``disconnect``."""
        if self._session is not None and self._session.loop.is_closed():
            self._session.die()
            self._session = None
        self._closing -= {task for task in self._closing if task.get_loop().is_closed()}


class BeforeDisconnect:
    """What others have asked a connector to call before it disconnects.

    :param logger: gets a warning for a callback that raises an error.
    """

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        self._logger = logger
        self._callbacks: dict[object, Callable[[], object]] = {}

    def add(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Add a callback; return how to remove it, which may be done more than once."""
        key = object()
        self._callbacks[key] = callback

        def remove() -> None:
            self._callbacks.pop(key, None)

        return remove

    def call(self) -> None:
        """Call every callback in the order in which they were added; an error of one does not affect the others."""
        for callback in list(self._callbacks.values()):
            try:
                callback()
            except Exception as exc:
                self._logger.warning(
                    "a callback before the disconnect has failed: %s: %s", type(exc).__name__, exc
                )
