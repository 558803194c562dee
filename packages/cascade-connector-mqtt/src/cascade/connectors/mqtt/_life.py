"""A connector from ``connect`` to ``disconnect``, again and again: one session at a time."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import Callable

from cascade.connectors.mqtt._listeners import calling
from cascade.connectors.mqtt._session import Session
from cascade.connectors.mqtt.config import Settings
from cascade.interfaces.errors import ConfigurationError, ConnectorUnavailable, WrongThreadError


class Life:
    """Opens and closes sessions, each after the one before is gone."""

    def __init__(self, settings: Settings) -> None:
        self.session: Session | None = None
        self._settings = settings
        self._closing: set[asyncio.Task[None]] = set()
        self._connections = 0

    @property
    def connections(self) -> int:
        """How often there was a link."""
        return self._connections + (self.session.connections if self.session is not None else 0)

    def on_this_loop(self, operation: str) -> Session | None:
        """Return the session.

        :raises WrongThreadError: if it is on another loop than this call.
        """
        session = self.session
        if session is not None and _get_running_loop() is not session.loop:
            raise WrongThreadError(operation)
        return session

    async def settle(self) -> None:
        """Forget what a closed loop took with it, and wait until a session that is closing is closed."""
        self._forget_closed_loop()
        while self._closing:
            await asyncio.wait(self._closing)

    async def begin(self, make_session: Callable[[], Session]) -> None:
        """Open a session and wait for its first attempt; leave none behind if that is cancelled.

        :param make_session: returns a new session on the running loop, which begins to connect.
        :raises ConnectorUnavailable: without a link, if one is required.
        :raises ConfigurationError: if aiomqtt refuses its keywords.
        """
        try:
            session = make_session()
        except (TypeError, ValueError, AttributeError) as exc:
            raise ConfigurationError("MqttConnector", f"aiomqtt refuses its keywords: {exc}") from exc
        self.session = session
        try:
            fault = await session.first_attempt(self._settings.connect_timeout)
        except asyncio.CancelledError:
            await self._undo(session)
            raise
        if fault is not None:
            if self._settings.required:
                await self._undo(session)
                raise ConnectorUnavailable(self._settings.hostname, self._settings.port, fault.text)
            session.tell(fault)
        session.release()

    async def end(self) -> None:
        """Close the session, if there is one; else wait for one that is closing.

        :raises WrongThreadError: if it is on another loop than this call.
        """
        self._forget_closed_loop()
        self.on_this_loop("disconnect")
        session = self.take()
        if session is None:
            await self.settle()
            return
        await self._close(session, self._settings.drain_timeout)

    def take(self) -> Session | None:
        """Return the session, and have none from here on."""
        session, self.session = self.session, None
        if session is not None:
            self._connections += session.connections
        return session

    async def _undo(self, session: Session) -> None:
        if self.session is session:
            self.take()
        await self._close(session, 0)

    async def _close(self, session: Session, drain_timeout: float) -> None:
        closing = asyncio.get_running_loop().create_task(
            session.close(drain_timeout, caller=calling.get()), name="cascade-mqtt-disconnect"
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
        """Drop a session whose event loop ended before ``disconnect`` was called, and with it the link."""
        if self.session is not None and self.session.loop.is_closed():
            self.session.die()
            self.take()
        self._closing -= {task for task in self._closing if task.get_loop().is_closed()}
