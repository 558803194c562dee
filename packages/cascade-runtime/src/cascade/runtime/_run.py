"""One run of an engine, from its first event to its last one, and all that has to be open meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from cascade.interfaces import (
    Middleware,
    RunCancelledError,
    RunStatus,
    TaskCancelledError,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import describe
from cascade.interfaces.termination import why_cancelled
from cascade.interfaces.wire import source_of
from cascade.runtime._engine_parts import EngineParts
from cascade.runtime._scheduler.events import EventEmitter
from cascade.runtime._scheduler.run_parts import RunParts
from cascade.runtime._scheduler.runner import TaskRunner
from cascade.runtime._scheduler.scheduler import RunScheduler
from cascade.runtime._support.loop_lag import LoopLagMonitor
from cascade.runtime._support.loop_steps import emptied, finished
from cascade.runtime._support.loops import abandoned
from cascade.runtime._support.run_facts import RunFacts
from cascade.runtime._support.settings import OnFailure, ResumeRules, RunIdentity
from cascade.runtime._support.shared_connection import SharedConnection
from cascade.runtime.executors._registry import RunExecutors
from cascade.spec import LazyResult, target_name
from cascade.transport.waiting import AwakeTimeout

if TYPE_CHECKING:  # a run imports the features that it uses, and no others
    from cascade.interfaces import Failure
    from cascade.runtime._observers.progress_bar import ProgressBar
    from cascade.runtime._observers.run_observers import RunObservers
    from cascade.runtime._outbox.queue import DurableQueue
    from cascade.runtime._recovery.recording import RunRecording
    from cascade.runtime._resources.scope import ResourceScope
    from cascade.runtime.telemetry import TelemetrySubscriber

_log = get_logger("cascade.engine")

TELEMETRY_DRAIN = 5.0
"""Seconds that a run may wait at its end for a connector to take the last messages."""


class Run:
    """One run, whose target and options were checked; it is executed once.

    Each method opens what the next one needs, and closes it at the end: :meth:`execute` the link and the journal,
    ``_observe`` the run's events and its control, ``_schedule`` executors and resources.

    :param targets: emptied at the end, in steps.
    :param params: values of the run's inputs; those of a recorded run count instead.
    """

    def __init__(
        self,
        parts: EngineParts,
        identity: RunIdentity,
        targets: list[LazyResult[Any]],
        params: Mapping[str, Any],
        *,
        on_failure: OnFailure,
        rules: ResumeRules,
        bar: ProgressBar | None,
    ) -> None:
        self._parts = parts
        self._identity = identity
        self._id = identity.run_id
        self._targets = targets
        self._params = params
        self._continue_on_failure = on_failure != "stop"
        self.failures: list[Failure] | None = [] if on_failure == "return" else None
        """What failed, if the run returns it."""
        self.partial: list[Any] | None = None
        """What a failed run that returns its failures has of the targets' values."""
        self._cause = ""
        self._rules = rules
        self._bar = bar
        self._recording: RunRecording | None = None
        self._outbox: DurableQueue | None = None
        self._lease_term = None if identity.lease is None else identity.lease.term
        self._observers: RunObservers | None = None
        self._around: tuple[Middleware, ...] = ()

    async def execute(self) -> tuple[list[Any], Exception | None]:
        """Return the values, or what the run raised: contextlib would set attributes of what passes through it."""
        parts, control = self._parts, self._parts.control
        prepare = partial(control.prepare, self._identity, forget=self._rules.forget_control)
        with _logged(parts), control.prepared(self._id):
            async with (
                _outbox_queue(parts) as queue,
                SharedConnection.hold(parts.connector, meanwhile=prepare) as start_timeout,
                _telemetry(parts, queue) as telemetry,
            ):
                self._outbox = queue
                try:
                    await self._open_recording()
                    try:
                        with self._events_recorded(telemetry), self._followed():
                            return await self._observe(start_timeout), None
                    finally:
                        if self._recording is not None:
                            await self._recording.close()
                except Exception as exc:
                    return [], exc

    async def _observe(self, start_timeout: AwakeTimeout) -> list[Any]:
        """Run between the first event and the last one."""
        parts, recording, facts = self._parts, self._recording, RunFacts()
        events = self._emitter(facts)
        facts.began = events.started()
        status, error, by = RunStatus.CANCELLED, "", ""
        try:
            with self._sent_lines(events):
                await parts.control.begin(
                    self._identity,
                    target_name(self._targets),
                    facts,
                    start_timeout=start_timeout,
                    attempt=recording.attempt if recording is not None else 1,
                    token=events.token,
                    forget=recording is not None and recording.forget_control,
                    outbox=self._outbox,
                )
                with self._observed_code():
                    values = await self._schedule(events)
            if recording is not None:
                await recording.succeeded()
            status = RunStatus.SUCCEEDED
        except Exception as exc:
            # an error of another run comes from a run inside a task
            cancel = exc if isinstance(exc, RunCancelledError | TaskCancelledError) else None
            ours = cancel is not None and cancel.run_id == self._id
            status = RunStatus.CANCELLED if ours else RunStatus.FAILED
            by = cancel.by if cancel is not None and ours else ""
            error = describe(exc) if ours or not self._cause else self._cause
            if recording is not None:
                await recording.failed(status, error, exc)
            raise
        except BaseException as exc:
            error = why_cancelled(exc)
            raise
        finally:
            facts.ended = events.stopped(status, error, by)
            await parts.control.end(self._id, status, error, by)
        return values

    def _sent_lines(self, events: EventEmitter) -> AbstractContextManager[None]:
        """Send the lines that the run's code logs, if the engine was asked to."""
        parts = self._parts
        if parts.log_level is None:
            return nullcontext()
        from cascade.runtime._scheduler.log_lines import SentLines

        return SentLines(parts.log_level, events, run_id=self._id, clock=parts.clock, redactor=parts.redactor)

    async def _schedule(self, events: EventEmitter) -> list[Any]:
        """Run between the opening of what the run owns and its closing."""
        parts, still_running = self._parts, StillRunning()
        try:
            async with (
                RunExecutors(parts.executor, parts.executors) as executors,
                self._runner(executors, still_running) as runner,
            ):
                monitor = LoopLagMonitor.join(asyncio.get_running_loop())
                scheduler = self._scheduler(runner, events, monitor)
                limit = parts.stop_timeout
                try:
                    values = await scheduler.run(self._targets)
                    # the values are known: calls that were abandoned on the way run on alone
                    limit = 0.0
                    return values
                except Exception:
                    self._cause, self.partial = scheduler.cause, scheduler.partial
                    raise
                finally:
                    monitor.leave()
                    still_running.tasks += await scheduler.stop(parts.stop_timeout)
                    still_running.calls = await executors.settle(limit)
                    # often nothing else refers to them
                    await finished(emptied(self._targets), parts.clock)
        finally:
            still_running.report(self._id)

    @contextmanager
    def _followed(self) -> Iterator[None]:
        """Pass the events on to the engine's observers."""
        parts = self._parts
        if not parts.observers:
            yield
            return
        from cascade.interfaces.observer import ObservedRun
        from cascade.runtime._observers.run_observers import RunObservers

        run = ObservedRun(self._id, parts.redactor.one_line)
        with RunObservers(parts.bus, parts.observers, run) as self._observers:
            yield

    @contextmanager
    def _observed_code(self) -> Iterator[None]:
        """Have the run's code in the contexts of the observers, which have had its first event."""
        if self._observers is None:
            yield
            return
        with self._observers.contexts() as self._around:
            yield

    async def _open_recording(self) -> None:
        """Open what is recorded of the run, if the engine records runs."""
        parts = self._parts
        if parts.state_backend is None:
            return
        from cascade.runtime._recovery.opening import open_recording

        self._recording = await open_recording(
            parts.state_backend,
            self._id,
            self._targets,
            self._params,
            name=target_name(self._targets),
            source=source_of(parts.connector),
            rules=self._rules,
            clock=parts.clock,
        )
        if self._recording.params is not None:
            self._params = self._recording.params

    def _events_recorded(self, telemetry: TelemetrySubscriber | None) -> ExitStack:
        """Have the journal keep the events that may be lost, as long as the run goes on."""
        # not a generator: contextlib sets attributes of an error that passes through one
        end = ExitStack()
        if self._recording is not None and telemetry is not None:
            if (trail := telemetry.follow(self._id)) is not None:
                self._recording.follow(trail)
            end.callback(telemetry.unfollow, self._id)
        return end

    def _emitter(self, facts: RunFacts) -> EventEmitter:
        parts, recording = self._parts, self._recording
        if self._bar is not None:
            self._bar.follow(facts, lambda name: parts.admission.hold_of(self._id, name))
        return EventEmitter(
            self._identity,
            parts.bus,
            parts.clock,
            facts=facts if parts.control.reports_runs or self._bar is not None else None,
            attempt=recording.attempt if recording is not None else 1,
            kept=recording.kept if recording is not None else 0,
            target=target_name(self._targets),
        )

    def _runner(self, executors: RunExecutors, still_running: StillRunning) -> TaskRunner:
        return TaskRunner(
            self._id,
            executors,
            partial(self._resource_scope, executors, still_running),
            cache_backend=self._parts.cache,
            clock=self._parts.clock,
            left=still_running.tasks,
            stop_timeout=self._parts.stop_timeout,
            middleware=(*self._around, *self._parts.middleware),
            offers_resources=bool(self._parts.resources),
            recording=self._recording,
            lease_term=self._lease_term,
        )

    def _resource_scope(self, executors: RunExecutors, still_running: StillRunning) -> ResourceScope:
        from cascade.runtime._resources.lifetime import CloseTimeouts
        from cascade.runtime._resources.scope import ResourceScope

        parts = self._parts
        return ResourceScope(
            parts.resources,
            executors.threads,
            timeouts=CloseTimeouts(parts.close_timeout, parts.stop_timeout),
            still_running=still_running.resources,
        )

    def _scheduler(self, runner: TaskRunner, events: EventEmitter, monitor: LoopLagMonitor) -> RunScheduler:
        engine = self._parts
        return RunScheduler(
            RunParts(
                self._id,
                engine.clock,
                engine.admission,
                monitor,
                events,
                self._recording,
                self._identity.workflow,
                self._lease_term,
            ),
            runner,
            params=self._params,
            continue_on_failure=self._continue_on_failure,
            failures=self.failures,
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
            f"{kind} ({', '.join(sorted({task.get_name() for task in tasks if not task.done()}))})"
            for kind, tasks in (("tasks", self.tasks), ("resources", self.resources))
            if not all(task.done() for task in tasks)
        ]
        if parts:
            parts[-1] += " that suppress asyncio.CancelledError"
        if self.calls:
            parts.append(f"{self.calls} call{'s' if self.calls > 1 else ''} that cannot be stopped")
        if parts:
            _log.warning("run %s ended, but these run on: %s", run_id, "; ".join(parts))


def _logged(parts: EngineParts) -> AbstractContextManager[None]:
    """Log what becomes of the run, if INFO is enabled on the logger now."""
    if not get_logger("cascade.run").isEnabledFor(logging.INFO):
        return nullcontext()
    from cascade.runtime._observers.run_log import logged

    return logged(parts.bus, parts.redactor)


@asynccontextmanager
async def _outbox_queue(parts: EngineParts) -> AsyncIterator[DurableQueue | None]:
    """Open the outbox until the connector was disconnected: only then it is known what is left to keep."""
    if parts.outbox is None or parts.connector is None:
        yield None
        return
    async with parts.outbox.attached(parts.connector) as queue:
        yield queue


@asynccontextmanager
async def _telemetry(
    parts: EngineParts, queue: DurableQueue | None
) -> AsyncIterator[TelemetrySubscriber | None]:
    """Send events through the connector, and wait at the end until it has taken them."""
    parts.bus.bind(asyncio.get_running_loop())
    if parts.connector is None:
        yield None
        return
    from cascade.runtime.telemetry import TelemetrySubscriber

    with TelemetrySubscriber.attached(parts.bus, parts.connector, parts.redactor, queue=queue) as telemetry:
        try:
            yield telemetry
        finally:
            await telemetry.drain(TELEMETRY_DRAIN)
