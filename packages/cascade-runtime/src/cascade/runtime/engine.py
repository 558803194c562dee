"""The engine: runs graphs, tells what happens, and is given everything that it works with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from cascade.interfaces import (
    Clock,
    Connector,
    Executor,
    InvalidTargetError,
    Lifecycle,
    LifecycleEvent,
    RunStatus,
    SupportsStart,
    supports,
)
from cascade.interfaces import (
    EventBus as EventBusProtocol,
)
from cascade.runtime._clock import SystemClock
from cascade.runtime._driver import Driver
from cascade.runtime._lag import LagWatch
from cascade.runtime._lease import Lease
from cascade.runtime.bus import EventBus
from cascade.runtime.executors import ThreadExecutor
from cascade.runtime.telemetry import TelemetrySubscriber, describe
from cascade.spec import LazyResult

R = TypeVar("R")

TELEMETRY_DRAIN = 5.0
"""Seconds that a run may wait at its end for a connector to take the last messages."""


class Engine:
    """Runs graphs of lazy results; several runs may share one engine, also at the same time.

    Everything is optional. With a ``connector`` all events leave through it. ``executor`` runs
    synchronous tasks (threads by default, as many as the machine's cores plus four, at most
    32); one that is given is never closed here. ``stop_timeout`` is how many seconds a run that
    failed or was cancelled waits for tasks that do not stop.
    """

    def __init__(
        self,
        *,
        connector: Connector | None = None,
        executor: Executor | None = None,
        bus: EventBusProtocol | None = None,
        clock: Clock | None = None,
        stop_timeout: float = 2.0,
    ) -> None:
        self.bus: EventBusProtocol = bus if bus is not None else EventBus()
        self._connector = connector
        self._executor = executor
        self._clock: Clock = clock or SystemClock()
        self._stop_timeout = stop_timeout
        self._telemetry: TelemetrySubscriber | None = None

    @overload
    async def run(self, target: LazyResult[R]) -> R: ...
    @overload
    async def run(self, target: Sequence[LazyResult[R]]) -> list[R]: ...
    async def run(self, target: LazyResult[Any] | Sequence[LazyResult[Any]]) -> Any:
        """Run what ``target`` needs and return its value; a list of targets gives a list.

        :raises InvalidTargetError: if a target is no lazy result; nothing was started then.
        :raises ConnectorUnavailable: if the connector requires its link and has none.
        :raises Exception: what the first task that failed had raised, with a note that names it.
        """
        targets = _check_targets(target)
        async with Lease.hold(self._connector):
            self._listen()
            try:
                values = await self._observed(targets)
            finally:
                if self._telemetry is not None:
                    await self._telemetry.drain(TELEMETRY_DRAIN)
        return values[0] if isinstance(target, LazyResult) else values

    def _listen(self) -> None:
        """Attach one telemetry subscriber, unless somebody has attached one for this connector."""
        self.bus.bind(asyncio.get_running_loop())
        if self._connector is not None and not TelemetrySubscriber.serves(self.bus, self._connector):
            self._telemetry = TelemetrySubscriber(self.bus, self._connector)

    async def _observed(self, targets: list[LazyResult[Any]]) -> list[Any]:
        """Run between the first event and the last one."""
        run_id = os.urandom(16).hex()
        self._tell(run_id, Lifecycle.ENGINE_STARTED)
        status, error = RunStatus.CANCELLED, ""
        try:
            values = await self._driven(run_id, targets)
            status = RunStatus.SUCCEEDED
        except Exception as exc:
            status, error = RunStatus.FAILED, describe(exc)
            raise
        finally:
            self._tell(run_id, Lifecycle.ENGINE_STOPPED, status, error)
        return values

    async def _driven(self, run_id: str, targets: list[LazyResult[Any]]) -> list[Any]:
        executor = self._executor or ThreadExecutor()
        driver = Driver(
            run_id, bus=self.bus, executor=executor, clock=self._clock, stop_timeout=self._stop_timeout
        )
        try:
            if supports(executor, SupportsStart):
                await executor.start()
            with LagWatch(asyncio.get_running_loop()):
                return await driver.run(targets)
        finally:
            if executor is not self._executor:
                await executor.close()

    def _tell(self, run_id: str, event: Lifecycle, status: RunStatus | None = None, error: str = "") -> None:
        self.bus.publish(LifecycleEvent(run_id, event, self._clock.now(), status, error))


def _check_targets(target: object) -> list[LazyResult[Any]]:
    if isinstance(target, LazyResult):
        return [target]
    if not isinstance(target, list | tuple):
        raise InvalidTargetError(target)
    for item in target:
        if not isinstance(item, LazyResult):
            raise InvalidTargetError(item)
    return list(target)
