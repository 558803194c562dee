"""The engine: runs graphs, reports what happens, and is given everything that it works with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, get_args, overload

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Connector,
    Executor,
    Middleware,
    RunCancelledError,
    RunStatus,
    TaskCancelledError,
    supports,
)
from cascade.interfaces import (
    EventBus as EventBusProtocol,
)
from cascade.interfaces.events import Tag
from cascade.interfaces.redaction import Redactor, describe
from cascade.interfaces.tracebacks import begin_in_user_code
from cascade.interfaces.wire.write import source_of
from cascade.runtime._admission.capacities import SystemResources
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._control.session import ControlSession
from cascade.runtime._observers.run_log import logged
from cascade.runtime._resources.lifetime import CloseTimeouts
from cascade.runtime._resources.scope import ResourceScope
from cascade.runtime._scheduler.events import EventEmitter
from cascade.runtime._scheduler.log_lines import SentLines, checked_level
from cascade.runtime._scheduler.runner import TaskRunner
from cascade.runtime._scheduler.scheduler import RunScheduler
from cascade.runtime._scheduler.still_running import StillRunning
from cascade.runtime._support.clock import SystemClock
from cascade.runtime._support.connection import SharedConnection
from cascade.runtime._support.loop_lag import LoopLagMonitor
from cascade.runtime._support.pace import emptied, finished
from cascade.runtime._support.resume_rules import OnChange, ResumeMode, ResumeRules, checked_rules
from cascade.runtime._support.run_facts import RunFacts
from cascade.runtime._support.run_identity import RunIdentity, checked_identity, checked_tags
from cascade.runtime._support.settings import (
    check_connector,
    check_middleware,
    check_outbox,
    check_params,
    check_settings,
    checked_redactor,
)
from cascade.runtime.bus import EventBus
from cascade.runtime.executors._registry import RunExecutors
from cascade.spec import LazyResult, Resource, call_of, targets_of
from cascade.transport.patience import Patience

if TYPE_CHECKING:  # a run imports the features that it uses, and no others
    from cascade.interfaces import CacheBackend, StateBackend, SupportsControlMemory
    from cascade.runtime._observers.progress_bar import ProgressBar
    from cascade.runtime._outbox.outbox import Outbox
    from cascade.runtime._outbox.queue import DurableQueue
    from cascade.runtime._recovery.recording import RunRecording
    from cascade.runtime.telemetry import TelemetrySubscriber

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
R = TypeVar("R")
OnFailure = Literal["stop", "continue"]

STOP_TIMEOUT = 2.0
"""Seconds that a run waits for tasks that do not stop, unless ``stop_timeout`` says otherwise."""

TELEMETRY_DRAIN = 5.0
"""Seconds that a run may wait at its end for a connector to take the last messages."""


class RunOptions(TypedDict, total=False):
    """The keywords of :meth:`Engine.run`, once for all its overloads."""

    run_id: str | None
    name: str | None
    tags: Mapping[str, Tag] | None
    on_failure: OnFailure
    progress: bool
    resume: ResumeMode
    on_change: OnChange
    max_starts: int | None
    forget_control: bool


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
    :param state_backend: keeps what every run has done, so that a run of the same ``run_id`` goes on where it
        stopped; see :class:`cascade.SqliteState`. Without one, nothing is kept.
    :param require_control: wait at the start, however long it takes, until the broker's
        constraints are known; otherwise a run waits for them at most two seconds, without those in which the
        process stands still or its event loop is blocked.
    :param middleware: async callables ``around(step, call_next)`` that wrap every attempt of every
        task, the first one outermost; see :data:`cascade.interfaces.Middleware`.
    :param redactor: masks secrets in what is sent and logged; without one, passwords, keys and tokens of
        the usual names and forms.
    :param outbox: keeps events on disk until the broker has them, so that they survive a lost link and the process.
    :param labels: what watchers read about this engine beside its host, such as ``{"site": "hall-2"}``.
    :param host_report: whether watchers see the computer: its system, memory and load, and the process's
        memory; never an address, a user, a path or a command line.
    :param logs: send the lines that the run's code logs at this level (``"INFO"``) and above, at most 50 a second;
        Python's own settings still decide which lines there are. Without it, no line is sent.
    :param bus: carries events to observers.
    :param clock: the time of events, ages of cached values, delays between attempts and
        constraints; the machine's if none is given. Time limits are always the machine's.
    :param stop_timeout: seconds that a run which failed or was cancelled waits for tasks that
        do not stop.
    :param close_timeout: seconds that each resource may take to close; then it is cancelled.
    :raises ConfigurationError: if the connector is not one, or control is required and it cannot
        carry it; or if a middleware cannot be called.
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
        state_backend: StateBackend | None = None,
        require_control: bool = False,
        middleware: Sequence[Middleware] = (),
        redactor: Redactor | None = None,
        outbox: Outbox | None = None,
        labels: Mapping[str, Tag] | None = None,
        host_report: bool = True,
        logs: str | None = None,
        bus: EventBusProtocol | None = None,
        clock: Clock | None = None,
        stop_timeout: float = STOP_TIMEOUT,
        close_timeout: float = 30.0,
    ) -> None:
        self.bus: EventBusProtocol = bus if bus is not None else EventBus()
        check_connector(connector)
        check_middleware(middleware)
        check_settings(
            executor=executor,
            executors=executors,
            resources=resources,
            system_resources=system_resources,
            cache_backend=cache_backend,
            state_backend=state_backend,
            bus=bus,
            clock=clock,
            stop_timeout=stop_timeout,
            close_timeout=close_timeout,
        )
        check_outbox(outbox, connector)
        self._connector = connector
        self._outbox = outbox
        self._redactor = checked_redactor(redactor)
        level = checked_level(logs)
        self._logs = level if connector is not None else None
        self._middleware = tuple(middleware)
        self._executor = executor
        self._executors = dict(executors or {})
        self._resources = tuple(resources)
        self._clock: Clock = clock or SystemClock()
        self._stop_timeout = stop_timeout
        self._close_timeout = close_timeout
        self._cache = cache_backend
        self._state = state_backend
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runs = 0
        self._run_ids: set[str] = set()
        self._admission = AdmissionController(
            AdmissionPolicy(SystemResources(system_resources)), clock=self._clock
        )
        self._control = ControlSession(
            connector,
            self._admission,
            clock=self._clock,
            bus=self.bus,
            required=require_control,
            redactor=self._redactor,
            labels=checked_tags("Engine(labels=)", {} if labels is None else labels),
            host_report=host_report,
            memory=_control_memory(state_backend),
        )

    def __repr__(self) -> str:
        connected = "" if self._connector is None else f" on {self._connector!r}"
        return f"<Engine with {self._runs} runs{connected}>"

    @overload
    async def run(
        self,
        target: LazyResult[R],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> R: ...
    @overload
    async def run(  # type: ignore[overload-overlap] # a lazy result derives from Any, and a tuple is a sequence
        self,
        target: tuple[LazyResult[A], LazyResult[B]],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> tuple[A, B]: ...
    @overload
    async def run(  # type: ignore[overload-overlap] # a lazy result derives from Any, and a tuple is a sequence
        self,
        target: tuple[LazyResult[A], LazyResult[B], LazyResult[C]],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> tuple[A, B, C]: ...
    @overload
    async def run(  # type: ignore[overload-overlap] # a lazy result derives from Any, and a tuple is a sequence
        self,
        target: tuple[LazyResult[A], LazyResult[B], LazyResult[C], LazyResult[D]],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> tuple[A, B, C, D]: ...
    @overload
    async def run(  # type: ignore[overload-overlap] # a lazy result derives from Any, and a tuple is a sequence
        self,
        target: tuple[LazyResult[A], LazyResult[B], LazyResult[C], LazyResult[D], LazyResult[E]],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> tuple[A, B, C, D, E]: ...
    @overload
    async def run(  # type: ignore[overload-overlap] # a tuple is a sequence
        self,
        target: tuple[LazyResult[R], ...],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> tuple[R, ...]: ...
    @overload
    async def run(
        self,
        target: Sequence[LazyResult[R]],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> list[R]: ...
    async def run(
        self,
        target: LazyResult[Any] | Sequence[LazyResult[Any]],
        params: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        name: str | None = None,
        tags: Mapping[str, Tag] | None = None,
        on_failure: OnFailure = "stop",
        progress: bool = False,
        resume: ResumeMode = "auto",
        on_change: OnChange = "refuse",
        max_starts: int | None = 5,
        forget_control: bool = False,
    ) -> Any:
        """Run what ``target`` needs and return its value; a list of targets gives a list, a tuple a tuple.

        ``params`` are the values of ``cs.Param`` inputs. ``on_failure="stop"`` ends the run with
        the first failure and cancels what runs beside it; ``"continue"`` skips what needs the
        failed task, runs all the rest and raises the failures together.
        With a ``state_backend``, a run that was interrupted or failed goes on where it stopped if its ``run_id`` is
        given again: no recorded step runs a second time. ``resume="cancelled"`` continues a cancelled run, too.
        ``on_change`` decides what happens to completed steps whose code or arguments have changed since:
        ``"refuse"``, ``"rerun"`` (with all that take their values) or ``"keep"`` the recorded results. A step in
        which the process died ``max_starts`` times in a row is not started again; None: it always is.
        ``progress`` shows the run on stderr: a line that changes on a terminal, and a last line everywhere.
        Observers see ``run_id`` (random if none is given), ``name`` and ``tags``.

        :raises InvalidTargetError: if a target is not a lazy result; nothing was started then.
        :raises ConfigurationError: if the engine has runs on another event loop, or one with this
            ``run_id``, or an argument cannot be used.
        :raises InputsError: once for all inputs that are missing, unknown or wrong.
        :raises ConnectorUnavailable: if the connector requires its link and has none.
        :raises RunInUseError: if a live process has the recorded run.
        :raises RunEndedError: if the recorded run was cancelled, and ``resume`` does not allow to continue it.
        :raises RunInputsError: if the recorded run was begun with other inputs.
        :raises RunChangedError: if completed steps have changed.
        :raises StepInDoubtError: if a step that runs at most once may have been done.
        :raises StepKeepsDyingError: if the process died in one step again and again.
        :raises StateUnavailable: if the store cannot be used.
        :raises RunCancelledError: if a constraint has cancelled the run.
        :raises TaskCancelledError: if a constraint has cancelled a task, which ends the run like a failure.
        :raises Exception: what the first task that failed had raised, with a note that names it.
        :raises ExceptionGroup: with ``on_failure="continue"``, of all failures.
        """
        targets = targets_of(target)
        is_one, is_tuple = isinstance(target, LazyResult), isinstance(target, tuple)
        del target  # so that a list which only this call refers to is freed in steps
        check_params(params)
        if on_failure not in get_args(OnFailure):
            raise ConfigurationError("run(on_failure=)", f"needs 'stop' or 'continue', not {on_failure!r}")
        run = checked_identity(run_id, name, tags)
        rules = checked_rules(resume, on_change, max_starts, forget_control)
        with self._reserved(run.run_id), self._shown(run.run_id, progress=progress) as bar:
            values, error = await self._connected(
                run, targets, params or {}, carry_on=on_failure == "continue", bar=bar, rules=rules
            )
        if error is not None:
            try:
                raise begin_in_user_code(error)
            finally:
                del error  # or its traceback would hold it
        if is_one:
            return values[0]
        return tuple(values) if is_tuple else values

    async def _connected(
        self,
        run: RunIdentity,
        targets: list[LazyResult[Any]],
        params: Mapping[str, Any],
        *,
        carry_on: bool,
        bar: ProgressBar | None,
        rules: ResumeRules,
    ) -> tuple[list[Any], Exception | None]:
        """Return the values, or what the run raised: contextlib would set attributes of what passes through it."""
        with self._on_one_loop(), logged(self.bus, self._redactor), self._control.prepared(run.run_id):
            async with (
                self._stored() as queue,
                SharedConnection.hold(
                    self._connector,
                    meanwhile=partial(self._control.prepare, run.run_id, forget=rules.forget_control),
                ) as patience,
                self._telemetry(queue) as telemetry,
            ):
                try:
                    recording = await self._recording(run.run_id, targets, params, rules)
                    try:
                        with _recorded_with_events(recording, telemetry, run.run_id):
                            return await self._observed(
                                run,
                                targets,
                                params,
                                carry_on=carry_on,
                                bar=bar,
                                patience=patience,
                                recording=recording,
                            ), None
                    finally:
                        if recording is not None:
                            await recording.close()
                except Exception as exc:
                    return [], exc

    def _shown(self, run_id: str, *, progress: bool) -> AbstractContextManager[ProgressBar | None]:
        if not progress:
            return nullcontext()
        from cascade.runtime._observers.progress_bar import progress_bar

        return progress_bar(self.bus, run_id, self._redactor)

    @contextmanager
    def _reserved(self, run_id: str) -> Iterator[None]:
        """Refuse a second run of the same id while the first one goes on."""
        if run_id in self._run_ids:
            raise ConfigurationError(
                "run(run_id=)",
                f"{run_id!r} is running on this engine; wait for it to end, or give another id",
            )
        self._run_ids.add(run_id)
        try:
            yield
        finally:
            self._run_ids.discard(run_id)

    @contextmanager
    def _on_one_loop(self) -> Iterator[None]:
        """Refuse a run while others go on elsewhere: what they share belongs to their loop."""
        loop = asyncio.get_running_loop()
        if self._runs and self._loop is not loop and self._loop is not None and not self._loop.is_closed():
            raise ConfigurationError(
                "Engine.run()", "the engine has runs on another event loop; make one engine for each loop"
            )
        self._runs = self._runs + 1 if self._loop is loop else 1
        self._loop = loop
        try:
            yield
        finally:
            if self._loop is loop:
                self._runs -= 1

    @asynccontextmanager
    async def _stored(self) -> AsyncIterator[DurableQueue | None]:
        """Open the outbox until the connector was disconnected: only then it is known what is left to keep."""
        if self._outbox is None or self._connector is None:
            yield None
            return
        async with self._outbox.attached(self._connector) as queue:
            yield queue

    @asynccontextmanager
    async def _telemetry(self, queue: DurableQueue | None) -> AsyncIterator[TelemetrySubscriber | None]:
        """Send events through the connector, and wait at the end until it has taken them."""
        self.bus.bind(asyncio.get_running_loop())
        if self._connector is None:
            yield None
            return
        from cascade.runtime.telemetry import TelemetrySubscriber

        with TelemetrySubscriber.attached(
            self.bus, self._connector, self._redactor, queue=queue
        ) as telemetry:
            try:
                yield telemetry
            finally:
                await telemetry.drain(TELEMETRY_DRAIN)

    async def _recording(
        self, run_id: str, targets: list[LazyResult[Any]], params: Mapping[str, Any], rules: ResumeRules
    ) -> RunRecording | None:
        """Open what is recorded of a run; None if the engine records none."""
        if self._state is None:
            return None
        from cascade.runtime._recovery.opening import open_recording

        return await open_recording(
            self._state,
            run_id,
            targets,
            params,
            name=_names(targets),
            source=source_of(self._connector),
            rules=rules,
            clock=self._clock,
        )

    async def _observed(
        self,
        run: RunIdentity,
        targets: list[LazyResult[Any]],
        params: Mapping[str, Any],
        *,
        carry_on: bool,
        bar: ProgressBar | None,
        patience: Patience,
        recording: RunRecording | None,
    ) -> list[Any]:
        """Run between the first event and the last one."""
        run_id = run.run_id
        attempt = recording.attempt if recording is not None else 1
        params = recording.params if recording is not None and recording.params is not None else params
        graph_changed = bar.graph if bar is not None else None
        facts = RunFacts()
        events = EventEmitter(
            run,
            self.bus,
            self._clock,
            graph_changed=graph_changed,
            facts=facts if self._control.reports else None,
            attempt=attempt,
            kept=recording.kept if recording is not None else 0,
        )
        events.started()
        status, error = RunStatus.CANCELLED, ""
        lines = SentLines(self._logs, events, run_id=run_id, clock=self._clock, redactor=self._redactor)
        try:
            with lines:
                await self._control.begin(
                    run,
                    _names(targets),
                    facts,
                    patience=patience,
                    attempt=attempt,
                    forget=recording is not None and recording.forget_control,
                )
                values = await self._scheduled(
                    run_id, targets, params, events, carry_on=carry_on, recording=recording
                )
            if recording is not None:
                await recording.succeeded()
            status = RunStatus.SUCCEEDED
        except Exception as exc:
            # an error of another run comes from a run inside a task
            ours = isinstance(exc, RunCancelledError | TaskCancelledError) and exc.run_id == run_id
            status, error = RunStatus.CANCELLED if ours else RunStatus.FAILED, describe(exc)
            if recording is not None:
                await recording.failed(status, error, exc)
            raise
        finally:
            events.stopped(status, error)
            await self._control.end(run_id, status, error)
        return values

    async def _scheduled(
        self,
        run_id: str,
        targets: list[LazyResult[Any]],
        params: Mapping[str, Any],
        events: EventEmitter,
        *,
        carry_on: bool,
        recording: RunRecording | None,
    ) -> list[Any]:
        still_running = StillRunning()
        try:
            return await self._within_scope(
                run_id, targets, params, events, still_running, carry_on=carry_on, recording=recording
            )
        finally:
            still_running.report(run_id)

    async def _within_scope(
        self,
        run_id: str,
        targets: list[LazyResult[Any]],
        params: Mapping[str, Any],
        events: EventEmitter,
        still_running: StillRunning,
        *,
        carry_on: bool,
        recording: RunRecording | None,
    ) -> list[Any]:
        """Run between the opening of what the run owns and its closing."""
        timeouts = CloseTimeouts(self._close_timeout, self._stop_timeout)
        async with (
            RunExecutors(self._executor, self._executors) as executors,
            ResourceScope(
                self._resources, executors.threads, timeouts=timeouts, still_running=still_running.resources
            ) as resources,
            TaskRunner(
                run_id,
                executors,
                resources,
                cache_backend=self._cache_backend,
                clock=self._clock,
                middleware=self._middleware,
                recording=recording,
            ) as runner,
        ):
            monitor = LoopLagMonitor.join(asyncio.get_running_loop())
            scheduler = RunScheduler(
                run_id,
                events=events,
                clock=self._clock,
                runner=runner,
                controller=self._admission,
                params=params,
                carry_on=carry_on,
                monitor=monitor,
                recording=recording,
            )
            limit = self._stop_timeout
            try:
                values = await scheduler.run(targets)
                limit = 0.0  # the values are known: calls that were abandoned on the way run on alone
                return values
            finally:
                monitor.leave()
                await self._stop(scheduler, executors, still_running, limit=limit)
                await finished(emptied(targets), self._clock)  # often nothing else refers to them

    def _cache_backend(self) -> CacheBackend:
        if self._cache is None:
            from cascade.runtime.cache import MemoryCache

            self._cache = MemoryCache(clock=self._clock)
        return self._cache

    async def _stop(
        self, scheduler: RunScheduler, executors: RunExecutors, still_running: StillRunning, *, limit: float
    ) -> None:
        """Stop what still runs, and wait up to ``limit`` seconds for calls that cannot be stopped."""
        still_running.tasks += await scheduler.stop(self._stop_timeout)
        still_running.calls = await executors.settle(limit)


def _recorded_with_events(
    recording: RunRecording | None, telemetry: TelemetrySubscriber | None, run_id: str
) -> ExitStack:
    """Have the journal of a run keep the events that may be lost, as long as the run goes on."""
    end = ExitStack()  # not a generator: contextlib sets attributes of an error that passes through one
    if recording is not None and telemetry is not None:
        if (trail := telemetry.follow(run_id)) is not None:
            recording.follow(trail)
        end.callback(telemetry.unfollow, run_id)
    return end


def _names(targets: list[LazyResult[Any]]) -> str:
    """Name a run's targets in a report."""
    return ", ".join(dict.fromkeys(call_of(lazy).definition.name for lazy in targets[:8]))


def _control_memory(state: StateBackend | None) -> SupportsControlMemory | None:
    """Return where constraints are remembered beside the recorded runs."""
    if state is None:
        return None
    from cascade.interfaces import SupportsControlMemory

    return state if supports(state, SupportsControlMemory) else None
