"""The engine: runs graphs, tells what happens, and is given everything that it works with."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, TypeVar, get_args, overload

from cascade.interfaces import (
    CacheBackend,
    Clock,
    ConfigurationError,
    Connector,
    Executor,
    RunCancelledError,
    RunStatus,
    TaskCancelledError,
)
from cascade.interfaces import (
    EventBus as EventBusProtocol,
)
from cascade.runtime import _traceback
from cascade.runtime._calling import Caller
from cascade.runtime._clock import SystemClock
from cascade.runtime._control import Control
from cascade.runtime._driver import Driver
from cascade.runtime._holding import Patience
from cascade.runtime._lag import LagWatch
from cascade.runtime._lease import START_LIMIT, Lease
from cascade.runtime._telling import Teller
from cascade.runtime.bus import EventBus
from cascade.runtime.constraints import Admission, SystemResources, Turnstile
from cascade.runtime.executors._set import ExecutorSet
from cascade.runtime.resources import Scope
from cascade.runtime.telemetry import TelemetrySubscriber, describe
from cascade.spec import LazyResult, Resource, call_of, targets_of

R = TypeVar("R")
OnFailure = Literal["stop", "continue"]

TELEMETRY_DRAIN = 5.0
"""Seconds that a run may wait at its end for a connector to take the last messages."""

_CONNECTOR = ("connect", "disconnect", "publish")  # what an engine itself needs of one

_log = logging.getLogger("cascade.engine")


class Engine:
    """Runs graphs of lazy results; several runs may share one engine, on one loop also at the same time.

    Everything is optional, and nothing that is given is ever closed here.

    :param connector: all events leave through it.
    :param executor: runs synchronous tasks; threads if none is given (as many as the machine's
        cores plus four, at most 32).
    :param executors: further ones, by the ``mode`` of the tasks that they run.
    :param resources: what tasks may ask for by name.
    :param system_resources: how much there is of what ``with_constraints`` asks for, by name.
    :param cache_backend: keeps the values of cached tasks; in memory if none is given.
    :param require_control: wait at the start, however long it takes, until the broker's
        constraints are known; otherwise a run waits for them at most two seconds.
    :param bus: tells observers what happens.
    :param clock: the time of events, ages of cached values, delays between attempts and
        constraints; the machine's if none is given. Time limits are always the machine's.
    :param stop_timeout: seconds that a run which failed or was cancelled waits for tasks that
        do not stop.
    :param close_timeout: seconds that each resource may take to close; then it is cancelled.
    :raises ConfigurationError: if the connector is none, or control is required and it cannot carry it.
    """

    def __init__(
        self,
        *,
        connector: Connector | None = None,
        executor: Executor | None = None,
        executors: Mapping[str, Executor] | None = None,
        resources: Sequence[Resource] = (),
        system_resources: Mapping[str, float] | None = None,
        cache_backend: CacheBackend | None = None,
        require_control: bool = False,
        bus: EventBusProtocol | None = None,
        clock: Clock | None = None,
        stop_timeout: float = 2.0,
        close_timeout: float = 30.0,
    ) -> None:
        self.bus: EventBusProtocol = bus if bus is not None else EventBus()
        _check_connector(connector)
        self._connector = connector
        self._executor = executor
        self._executors = dict(executors or {})
        self._resources = tuple(resources)
        self._clock: Clock = clock or SystemClock()
        self._stop_timeout = stop_timeout
        self._close_timeout = close_timeout
        self._cache = cache_backend
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runs = 0
        self._turnstile = Turnstile(Admission(SystemResources(system_resources)), clock=self._clock)
        self._control = Control(
            connector, self._turnstile, clock=self._clock, bus=self.bus, required=require_control
        )

    @overload
    async def run(
        self,
        target: LazyResult[R],
        params: Mapping[str, Any] | None = None,
        *,
        on_failure: OnFailure = "stop",
    ) -> R: ...
    @overload
    async def run(
        self,
        target: Sequence[LazyResult[R]],
        params: Mapping[str, Any] | None = None,
        *,
        on_failure: OnFailure = "stop",
    ) -> list[R]: ...
    async def run(
        self,
        target: LazyResult[Any] | Sequence[LazyResult[Any]],
        params: Mapping[str, Any] | None = None,
        *,
        on_failure: OnFailure = "stop",
    ) -> Any:
        """Run what ``target`` needs and return its value; a list of targets gives a list.

        ``params`` are the values of ``cs.Param`` inputs. ``on_failure="stop"`` ends the run with
        the first failure and cancels what runs beside it; ``"continue"`` skips what needs the
        failed task, runs all the rest and raises the failures together.

        :raises InvalidTargetError: if a target is no lazy result; nothing was started then.
        :raises ConfigurationError: if the engine has runs on another event loop.
        :raises InputsError: once for all inputs that are missing, unknown or wrong.
        :raises ConnectorUnavailable: if the connector requires its link and has none.
        :raises RunCancelledError: if a constraint has cancelled the run.
        :raises TaskCancelledError: if a constraint has cancelled a task, which ends the run like a failure.
        :raises Exception: what the first task that failed had raised, with a note that names it.
        :raises ExceptionGroup: with ``on_failure="continue"``, of all failures.
        """
        targets = targets_of(target)
        if on_failure not in get_args(OnFailure):
            raise ConfigurationError("run(on_failure=)", f"knows 'stop' and 'continue', not {on_failure!r}")
        values, error = await self._connected(targets, params or {}, carry_on=on_failure == "continue")
        if error is not None:
            try:
                raise _traceback.cut(error)
            finally:
                del error  # or its traceback would hold it
        return values[0] if isinstance(target, LazyResult) else values

    async def _connected(
        self, targets: list[LazyResult[Any]], params: Mapping[str, Any], *, carry_on: bool
    ) -> tuple[list[Any], Exception | None]:
        """Return the values, or what the run raised: contextlib would set attributes of what passes through it."""
        began = self._clock.monotonic()
        with self._on_one_loop():
            async with Lease.hold(self._connector), self._told():
                left = START_LIMIT - (self._clock.monotonic() - began)
                try:
                    return await self._observed(targets, params, carry_on=carry_on, start_limit=left), None
                except Exception as exc:
                    return [], exc

    @contextmanager
    def _on_one_loop(self) -> Iterator[None]:
        """Refuse a run while others go on elsewhere: what they share belongs to their loop."""
        loop = asyncio.get_running_loop()
        if self._runs and self._loop is not loop and self._loop is not None and not self._loop.is_closed():
            raise ConfigurationError(
                "Engine.run()", "has runs on another event loop; make one engine for each"
            )
        self._runs = self._runs + 1 if self._loop is loop else 1
        self._loop = loop
        try:
            yield
        finally:
            if self._loop is loop:
                self._runs -= 1

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Let what happens leave through the connector, and wait at the end until it has taken it."""
        self.bus.bind(asyncio.get_running_loop())
        if self._connector is None:
            yield
            return
        with TelemetrySubscriber.attached(self.bus, self._connector) as telemetry:
            try:
                yield
            finally:
                await telemetry.drain(TELEMETRY_DRAIN)

    async def _observed(
        self, targets: list[LazyResult[Any]], params: Mapping[str, Any], *, carry_on: bool, start_limit: float
    ) -> list[Any]:
        """Run between the first event and the last one."""
        run_id = os.urandom(16).hex()
        teller = Teller(run_id, self.bus, self._clock)
        teller.started()
        status, error = RunStatus.CANCELLED, ""
        try:
            await self._control.begin(run_id, _names(targets), limit=start_limit)
            values = await self._driven(run_id, targets, params, teller, carry_on=carry_on)
            status = RunStatus.SUCCEEDED
        except Exception as exc:
            # one of another run comes from a run inside a task
            ours = isinstance(exc, RunCancelledError | TaskCancelledError) and exc.run_id == run_id
            status, error = RunStatus.CANCELLED if ours else RunStatus.FAILED, describe(exc)
            raise
        finally:
            teller.stopped(status, error)
            await self._control.end(run_id)
        return values

    async def _driven(
        self,
        run_id: str,
        targets: list[LazyResult[Any]],
        params: Mapping[str, Any],
        teller: Teller,
        *,
        carry_on: bool,
    ) -> list[Any]:
        patience = Patience(self._close_timeout, self._stop_timeout)
        async with (
            ExecutorSet(self._executor, self._executors) as executors,
            Scope(self._resources, executors.threads, patience=patience) as resources,
            Caller(executors, resources, cache_backend=self._cache_backend, clock=self._clock) as caller,
        ):
            driver = Driver(
                run_id,
                teller=teller,
                clock=self._clock,
                caller=caller,
                turnstile=self._turnstile,
                params=params,
                carry_on=carry_on,
            )
            limit = self._stop_timeout
            watch = LagWatch.join(asyncio.get_running_loop())
            try:
                values = await driver.run(targets)
                limit = 0.0  # the run's time is over: what was given up on the way runs on alone
                return values
            finally:
                watch.leave()
                await self._stop(run_id, driver, executors, limit=limit)

    def _cache_backend(self) -> CacheBackend:
        if self._cache is None:
            from cascade.runtime.storage import MemoryCache  # only runs with caches pay for the import

            self._cache = MemoryCache(clock=self._clock)
        return self._cache

    async def _stop(self, run_id: str, driver: Driver, executors: ExecutorSet, *, limit: float) -> None:
        """Stop what still runs, and wait up to ``limit`` seconds for calls that cannot be stopped."""
        stubborn = await driver.stop(self._stop_timeout)
        threads = await executors.settle(limit)
        if stubborn or threads:
            _log.warning(
                "run %s ended, but %d tasks refuse to be cancelled (%s) and %d calls that cannot be "
                "stopped run on",
                run_id,
                len(stubborn),
                ", ".join(stubborn) or "none",
                threads,
            )


def _names(targets: list[LazyResult[Any]]) -> str:
    """Name a run's targets in a report."""
    return ", ".join(dict.fromkeys(call_of(lazy).definition.name for lazy in targets[:8]))


def _check_connector(connector: object) -> None:
    if isinstance(connector, str):
        raise ConfigurationError(
            "Engine(connector=)", "takes a connector, not a URL; make one with cs.connector('mqtt://broker')"
        )
    if connector is None or isinstance(connector, type):
        missing = [] if connector is None else ["an instance"]
    else:
        missing = [name for name in _CONNECTOR if not callable(getattr(connector, name, None))]
    if missing:
        raise ConfigurationError(
            "Engine(connector=)", f"{connector!r} is no connector: it lacks {missing[0]}"
        )
