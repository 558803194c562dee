"""Control of an engine from outside: there from its first run to its last, and waited for at the start."""

from __future__ import annotations

import asyncio
import logging
import os

from cascade.interfaces import Clock, ConfigurationError, Connector, EventBus, SupportsStatistics, supports
from cascade.runtime._tasks import cancel
from cascade.runtime.constraints import ConstraintManager, Turnstile

_log = logging.getLogger("cascade.engine")


class Control:
    """Follows the broker's constraints while any run of an engine is on.

    :param required: wait for the constraints however long it takes, before the first task.
    """

    def __init__(
        self,
        connector: Connector | None,
        turnstile: Turnstile,
        *,
        clock: Clock,
        bus: EventBus,
        required: bool,
    ) -> None:
        followed = connector is not None and ConstraintManager.can_follow(connector)
        if required and not followed:
            raise ConfigurationError(
                "require_control",
                "needs a connector with watch(), such as MqttConnector, or nobody can steer",
            )
        self._connector = connector if followed else None
        self._turnstile = turnstile
        self._clock = clock
        self._bus = bus
        self._required = required
        self._manager: ConstraintManager | None = None
        self._users = 0

    async def begin(self, run_id: str, target: str, *, limit: float) -> None:
        """Report a run from now on, and wait up to ``limit`` seconds for the broker's constraints."""
        self._users += 1
        if self._connector is None:
            return
        if self._manager is None:
            self._manager = ConstraintManager(
                self._connector,
                self._turnstile,
                clock=self._clock,
                bus=self._bus,
                project_id=os.environ.get("CASCADE_PROJECT_ID") or "default",
            )
            self._manager.start()
        self._manager.begin_run(run_id, target)
        await self._synced(self._manager, limit)

    async def end(self, run_id: str) -> None:
        """Report the run no more; after the last one follow the broker no longer."""
        self._users -= 1
        manager = self._manager
        if manager is None:
            return
        manager.end_run(run_id)
        if not self._users:
            self._manager = None
            await manager.stop()

    async def _synced(self, manager: ConstraintManager, limit: float) -> None:
        if not self._required and self._is_unlinked():
            return  # there is nothing to wait for, and the connector has said so
        synced = asyncio.create_task(manager.synced(), name="cascade first sync")
        try:
            await asyncio.wait({synced}, timeout=None if self._required else max(limit, 0))
            if not synced.done():
                _log.warning(
                    "the broker's constraints are not known yet; the run goes on without them until they are"
                )
        finally:
            await cancel([synced], timeout=1.0)

    def _is_unlinked(self) -> bool:
        connector = self._connector
        return supports(connector, SupportsStatistics) and not connector.statistics().linked
