"""One run of an engine, from its first event to its last one, and all that has to be open meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from cascade.interfaces import (
    Clock,
    Connector,
    EventBus,
    Executor,
    Middleware,
    RunCancelledError,
    RunStatus,
    TaskCancelledError,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor, describe
from cascade.interfaces.wire import source_of
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._control.engine_control import EngineControl
from cascade.runtime._scheduler.events import EventEmitter
from cascade.runtime._scheduler.runner import TaskRunner
from cascade.runtime._scheduler.scheduler import RunScheduler
from cascade.runtime._support.loop_lag import LoopLagMonitor
from cascade.runtime._support.loop_steps import emptied, finished
from cascade.runtime._support.loops import abandoned
from cascade.runtime._support.run_facts import RunFacts
from cascade.runtime._support.settings import ResumeRules, RunIdentity
from cascade.runtime._support.shared_connection import SharedConnection
from cascade.runtime.executors._registry import RunExecutors
from cascade.spec import LazyResult, Resource, call_of
from cascade.transport.waiting import AwakeTimeout

if TYPE_CHECKING:  # a run imports the features that it uses, and no others
    from cascade.interfaces import CacheBackend, StateBackend
    from cascade.runtime._observers.progress_bar import ProgressBar
    from cascade.runtime._outbox.outbox import Outbox
    from cascade.runtime._outbox.queue import DurableQueue
    from cascade.runtime._recovery.recording import RunRecording
    from cascade.runtime._resources.scope import ResourceScope
    from cascade.runtime.telemetry import TelemetrySubscriber

_log = get_logger("cascade.engine")

TELEMETRY_DRAIN = 5.0
"""Seconds that a run may wait at its end for a connector to take the last messages."""


class RunServices:
    """What an engine gives to each of its runs, set once; see :class:`Engine`."""

    # not a dataclass: making one takes longer than the run of a small task

    connector: Connector | None
    outbox: Outbox | None
    bus: EventBus
    redactor: Redactor
    logs: int | None
    control: EngineControl
    admission: AdmissionController
    executor: Executor | None
    executors: Mapping[str, Executor]
    resources: Sequence[Resource]
    middleware: Sequence[Middleware]
    cache_backend: CacheBackend | None
    state_backend: StateBackend | None
    clock: Clock
    stop_timeout: float
    close_timeout: float

    def cache(self) -> CacheBackend:
        """Return what keeps the values of cached tasks: for all runs of the engine the same."""
        if self.cache_backend is None:
            from cascade.runtime.cache import MemoryCache

            self.cache_backend = MemoryCache(clock=self.clock)
        return self.cache_backend


class Run:
    """One run, whose target and options were checked; it is executed once.

    Each method opens what the next one needs, and closes it at the end: :meth:`execute` the link and the journal,
    ``_observe`` the run's events and its control, ``_schedule`` executors and resources.

    :param targets: emptied at the end, in steps.
    :param params: values of the run's inputs; those of a recorded run count instead.
    """

    def __init__(
        self,
        services: RunServices,
        identity: RunIdentity,
        targets: list[LazyResult[Any]],
        params: Mapping[str, Any],
        *,
        carry_on: bool,
        rules: ResumeRules,
        bar: ProgressBar | None,
    ) -> None:
        self._services = services
        self._identity = identity
        self._id = identity.run_id
        self._targets = targets
        self._params = params
        self._carry_on = carry_on
        self._rules = rules
        self._bar = bar
        self._recording: RunRecording | None = None

    async def execute(self) -> tuple[list[Any], Exception | None]:
        """Return the values, or what the run raised: contextlib would set attributes of what passes through it."""
        services, control = self._services, self._services.control
        prepare = partial(control.prepare, self._id, forget=self._rules.forget_control)
        with _logged(services), control.prepared(self._id):
            async with (
                _outbox_queue(services) as queue,
                SharedConnection.hold(services.connector, meanwhile=prepare) as start_timeout,
                _telemetry(services, queue) as telemetry,
            ):
                try:
                    await self._open_recording()
                    try:
                        with self._events_recorded(telemetry):
                            return await self._observe(start_timeout), None
                    finally:
                        if self._recording is not None:
                            await self._recording.close()
                except Exception as exc:
                    return [], exc

    async def _observe(self, start_timeout: AwakeTimeout) -> list[Any]:
        """Run between the first event and the last one."""
        services, recording, facts = self._services, self._recording, RunFacts()
        events = self._emitter(facts)
        events.started()
        status, error = RunStatus.CANCELLED, ""
        try:
            with self._sent_lines(events):
                await services.control.begin(
                    self._identity,
                    _names(self._targets),
                    facts,
                    start_timeout=start_timeout,
                    attempt=recording.attempt if recording is not None else 1,
                    forget=recording is not None and recording.forget_control,
                )
                values = await self._schedule(events)
            if recording is not None:
                await recording.succeeded()
            status = RunStatus.SUCCEEDED
        except Exception as exc:
            # an error of another run comes from a run inside a task
            ours = isinstance(exc, RunCancelledError | TaskCancelledError) and exc.run_id == self._id
            status, error = RunStatus.CANCELLED if ours else RunStatus.FAILED, describe(exc)
            if recording is not None:
                await recording.failed(status, error, exc)
            raise
        finally:
            events.stopped(status, error)
            await services.control.end(self._id, status, error)
        return values

    def _sent_lines(self, events: EventEmitter) -> AbstractContextManager[None]:
        """Send the lines that the run's code logs, if the engine was asked to."""
        services = self._services
        if services.logs is None:
            return nullcontext()
        from cascade.runtime._scheduler.log_lines import SentLines

        return SentLines(
            services.logs, events, run_id=self._id, clock=services.clock, redactor=services.redactor
        )

    async def _schedule(self, events: EventEmitter) -> list[Any]:
        """Run between the opening of what the run owns and its closing."""
        services, still_running = self._services, StillRunning()
        try:
            async with (
                RunExecutors(services.executor, services.executors) as executors,
                self._runner(executors, still_running) as runner,
            ):
                monitor = LoopLagMonitor.join(asyncio.get_running_loop())
                scheduler = self._scheduler(runner, events, monitor)
                limit = services.stop_timeout
                try:
                    values = await scheduler.run(self._targets)
                    limit = 0.0  # the values are known: calls that were abandoned on the way run on alone
                    return values
                finally:
                    monitor.leave()
                    still_running.tasks += await scheduler.stop(services.stop_timeout)
                    still_running.calls = await executors.settle(limit)
                    # often nothing else refers to them
                    await finished(emptied(self._targets), services.clock)
        finally:
            still_running.report(self._id)

    async def _open_recording(self) -> None:
        """Open what is recorded of the run, if the engine records runs."""
        services = self._services
        if services.state_backend is None:
            return
        from cascade.runtime._recovery.opening import open_recording

        self._recording = await open_recording(
            services.state_backend,
            self._id,
            self._targets,
            self._params,
            name=_names(self._targets),
            source=source_of(services.connector),
            rules=self._rules,
            clock=services.clock,
        )
        if self._recording.params is not None:
            self._params = self._recording.params

    def _events_recorded(self, telemetry: TelemetrySubscriber | None) -> ExitStack:
        """Have the journal keep the events that may be lost, as long as the run goes on."""
        end = ExitStack()  # not a generator: contextlib sets attributes of an error that passes through one
        if self._recording is not None and telemetry is not None:
            if (trail := telemetry.follow(self._id)) is not None:
                self._recording.follow(trail)
            end.callback(telemetry.unfollow, self._id)
        return end

    def _emitter(self, facts: RunFacts) -> EventEmitter:
        services, recording = self._services, self._recording
        return EventEmitter(
            self._identity,
            services.bus,
            services.clock,
            graph_changed=self._bar.graph if self._bar is not None else None,
            facts=facts if services.control.reports else None,
            attempt=recording.attempt if recording is not None else 1,
            kept=recording.kept if recording is not None else 0,
        )

    def _runner(self, executors: RunExecutors, still_running: StillRunning) -> TaskRunner:
        return TaskRunner(
            self._id,
            executors,
            partial(self._resource_scope, executors, still_running),
            cache_backend=self._services.cache,
            clock=self._services.clock,
            middleware=self._services.middleware,
            offers_resources=bool(self._services.resources),
            recording=self._recording,
        )

    def _resource_scope(self, executors: RunExecutors, still_running: StillRunning) -> ResourceScope:
        from cascade.runtime._resources.lifetime import CloseTimeouts
        from cascade.runtime._resources.scope import ResourceScope

        services = self._services
        return ResourceScope(
            services.resources,
            executors.threads,
            timeouts=CloseTimeouts(services.close_timeout, services.stop_timeout),
            still_running=still_running.resources,
        )

    def _scheduler(self, runner: TaskRunner, events: EventEmitter, monitor: LoopLagMonitor) -> RunScheduler:
        return RunScheduler(
            self._id,
            events=events,
            clock=self._services.clock,
            runner=runner,
            controller=self._services.admission,
            params=self._params,
            carry_on=self._carry_on,
            monitor=monitor,
            recording=self._recording,
        )


class StillRunning:
    """The asyncio tasks and calls of one run that did not stop within their limits."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []
        self.resources: list[asyncio.Task[Any]] = []
        self.calls = 0
        """Calls in threads or processes, which cannot be stopped."""

    def report(self, run_id: str) -> None:
        """Log in one line what still runs, if anything does."""
        stuck = [task for task in (*self.tasks, *self.resources) if not task.done()]
        abandoned.update(stuck)
        parts = [
            f"{kind} ({', '.join(sorted(task.get_name() for task in tasks if not task.done()))})"
            for kind, tasks in (("tasks", self.tasks), ("resources", self.resources))
            if not all(task.done() for task in tasks)
        ]
        if parts:
            parts[-1] += " that suppress asyncio.CancelledError"
        if self.calls:
            parts.append(f"{self.calls} calls that cannot be stopped")
        if parts:
            _log.warning("run %s ended, but these run on: %s", run_id, "; ".join(parts))


def _logged(services: RunServices) -> AbstractContextManager[None]:
    """Log what becomes of the run, if INFO is enabled on the logger now."""
    if not get_logger("cascade.run").isEnabledFor(logging.INFO):
        return nullcontext()
    from cascade.runtime._observers.run_log import logged

    return logged(services.bus, services.redactor)


@asynccontextmanager
async def _outbox_queue(services: RunServices) -> AsyncIterator[DurableQueue | None]:
    """Open the outbox until the connector was disconnected: only then it is known what is left to keep."""
    if services.outbox is None or services.connector is None:
        yield None
        return
    async with services.outbox.attached(services.connector) as queue:
        yield queue


@asynccontextmanager
async def _telemetry(
    services: RunServices, queue: DurableQueue | None
) -> AsyncIterator[TelemetrySubscriber | None]:
    """Send events through the connector, and wait at the end until it has taken them."""
    services.bus.bind(asyncio.get_running_loop())
    if services.connector is None:
        yield None
        return
    from cascade.runtime.telemetry import TelemetrySubscriber

    with TelemetrySubscriber.attached(
        services.bus, services.connector, services.redactor, queue=queue
    ) as telemetry:
        try:
            yield telemetry
        finally:
            await telemetry.drain(TELEMETRY_DRAIN)


def _names(targets: list[LazyResult[Any]]) -> str:
    """Name a run's targets in a report."""
    return ", ".join(dict.fromkeys(call_of(lazy).definition.name for lazy in targets[:8]))
