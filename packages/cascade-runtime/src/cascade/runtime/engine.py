"""The engine: runs graphs with the connector, the executors and the stores that it is given; it looks none of them up.

An event leaves like this: a :class:`Run` makes it (``_scheduler/events.py``) and publishes it on the bus. While runs are active,
``_run.py`` adds a subscriber for the connector to the bus (``telemetry/subscriber.py``): there the event waits until tasks leave the
event loop idle, becomes a message, and goes into the connector's own queue. With ``outbox=``, one on disk (``_outbox``) takes the
message instead, and the connector tells it what the broker has.

A constraint arrives like this: a :class:`ConstraintManager` (``_control/constraint_manager.py``), one for all engines of a
connector, reads what the connector watches, keeps it (``_registers/registers.py``), and hands what changes to each engine's
:class:`AdmissionController` (``_admission``). A task that a constraint may hold asks the controller before it starts
(``_scheduler/admission_client.py``); one that runs obeys at its next checkpoint (``_scheduler/checkpoints.py``).
:class:`EngineControl` joins the engine and its runs to that manager.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, get_args, overload

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Connector,
    Executor,
    Middleware,
)
from cascade.interfaces import (
    EventBus as EventBusProtocol,
)
from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.events import Tag
from cascade.interfaces.redaction import Redactor
from cascade.interfaces.tracebacks import begin_in_user_code
from cascade.runtime._engine_parts import engine_parts
from cascade.runtime._run import Run
from cascade.runtime._scheduler.checkpoints import current
from cascade.runtime._support.settings import (
    OnChange,
    OnFailure,
    ResumeMode,
    check_params,
    checked_identity,
    checked_rules,
)
from cascade.runtime._support.shared_connection import SharedConnection
from cascade.runtime.bus import EventBus
from cascade.spec import LazyResult, Resource, targets_of

if TYPE_CHECKING:  # a run imports the features that it uses, and no others
    from cascade.interfaces import CacheBackend, Failure, RunResult, StateBackend
    from cascade.interfaces.gates import Gate
    from cascade.interfaces.observer import Observer
    from cascade.runtime._observers.progress_bar import ProgressBar
    from cascade.runtime._outbox.outbox import Outbox

R = TypeVar("R")

STOP_TIMEOUT = 2.0
"""Seconds that a run waits for tasks that do not stop, unless ``stop_timeout`` says otherwise."""


if TYPE_CHECKING:

    class RunDetails(TypedDict, total=False):
        """The keywords of :meth:`Engine.run` that do not decide its type, once for all its overloads."""

        run_id: str | None
        name: str | None
        tags: Mapping[str, Tag] | None
        progress: bool
        resume: ResumeMode
        on_change: OnChange
        max_starts: int | None
        forget_control: bool
        workflow: str | None
        traceparent: str | None

    class RunOptions(RunDetails, total=False):
        """The keywords of a run that raises its failures."""

        on_failure: Literal["stop", "continue"]


class Engine:
    """Runs graphs of lazy results; several runs may share one engine, on one loop also at the same time.

    Everything is optional. The engine closes nothing that it is given, but it connects a connector that is not connected
    for its runs, and disconnects that one after the last of them.

    :param connector: the link to the broker. Events leave through it, and constraints come back: what an operator has
        published there to pause, limit or cancel tasks. Without one nothing is sent, and the runs cannot be steered.
    :param executor: runs synchronous tasks; threads if none is given (as many as the machine's
        cores plus four, at most 32).
    :param executors: further ones, by the ``mode`` of the tasks that they run.
    :param resources: what tasks may ask for by name.
    :param system_resources: how much there is of what ``with_constraints`` asks for, by name.
    :param cache_backend: keeps the values of cached tasks; in memory if none is given.
    :param state_backend: keeps what every run has done, so that a run of the same ``run_id`` goes on where it
        stopped, and which constraints a connector with a ``source_id`` obeyed, so that the next process begins with them;
        see :class:`cascade.SqliteState`. Without one, nothing is kept.
    :param require_control: wait at the start, however long it takes, until the broker's constraints are known. Otherwise a
        run waits for them at most two seconds; time in which the process is stopped, or its event loop blocked, does not count.
    :param middleware: async callables ``around(step, call_next)`` that wrap every attempt of every
        task, the first one outermost; see :data:`cascade.interfaces.Middleware`.
    :param gates: hold every run while a value of the plant is out of band, or at the wrong hours; see :func:`cascade.gate`.
    :param observers: follow the runs inside this process; see :class:`cascade.interfaces.observer.Observer`.
    :param redactor: masks secrets in what is sent and logged; without one, passwords, keys and tokens of
        the usual names and forms.
    :param outbox: keeps events on disk that the broker does not take at once, until it has them, so that they survive a
        lost link and the process.
    :param labels: what watchers at the broker read about this engine beside its host, such as ``{"site": "hall-2"}``.
    :param host_report: whether watchers at the broker see the computer: its system, memory and load, and the process's
        memory; never an address, a user, a path or a command line.
    :param logs: send the lines that the run's code logs at this level (``"INFO"``) and above, at most 50 a second;
        Python's own settings still decide which lines there are. Without it, no line is sent.
    :param bus: carries events to observers in this process; while runs are active, the engine adds the one that sends them
        through the connector. As ``engine.bus`` it takes further ones.
    :param clock: the time of events, ages of cached values, delays between attempts and
        constraints; the machine's if none is given. The time limits of tasks always use the machine's clock.
    :param stop_timeout: seconds that a run which failed or was cancelled waits for tasks that
        do not stop, as does a time limit for an async task.
    :param close_timeout: seconds that each resource may take to close; then it is cancelled.
    :raises ConfigurationError: if the connector is not one, or cannot receive constraints although ``require_control``
        asks for them, or cannot read the topic of a gate; or if a middleware cannot be called.
    """

    @explains_calls
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
        gates: Sequence[Gate] = (),
        observers: Sequence[Observer] = (),
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = 0
        self._run_ids: set[str] = set()
        self._parts = engine_parts(
            connector=connector, bus=self.bus, clock=clock, redactor=redactor, system_resources=system_resources,
            require_control=require_control, labels=labels, host_report=host_report, logs=logs, outbox=outbox,
            executor=executor, executors=executors, resources=resources, middleware=middleware, gates=gates, observers=observers,
            cache_backend=cache_backend, state_backend=state_backend,
            stop_timeout=stop_timeout, close_timeout=close_timeout,
        )  # fmt: skip

    def __repr__(self) -> str:
        connector = self._parts.connector
        connected = "" if connector is None else f" on {connector!r}"
        return f"<Engine with {self._running} runs{connected}>"

    @property
    def state_backend(self) -> StateBackend | None:
        """What keeps the runs."""
        return self._parts.state_backend

    @overload
    async def run(
        self,
        target: LazyResult[R],
        params: Mapping[str, Any] | None = None,
        *,
        on_failure: Literal["return"],
        **options: Unpack[RunDetails],
    ) -> RunResult[R]: ...
    @overload
    async def run(
        self,
        target: Sequence[LazyResult[R]],
        params: Mapping[str, Any] | None = None,
        *,
        on_failure: Literal["return"],
        **options: Unpack[RunDetails],
    ) -> RunResult[Sequence[R]]: ...
    @overload
    async def run(
        self,
        target: LazyResult[R],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> R: ...
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
        workflow: str | None = None,
        traceparent: str | None = None,
    ) -> Any:
        """Run what ``target`` needs and return its value; a list of targets gives a list, a tuple a tuple.

        ``params`` are the values of ``cs.Param`` inputs. ``on_failure="stop"`` ends the run with
        the first failure and cancels what runs beside it; ``"continue"`` skips what needs the
        failed task, runs all the rest and raises the failures together; ``"return"`` does that, and returns a
        :class:`RunResult` with the values that there are in place of raising.
        With a ``state_backend``, a run that was interrupted or failed goes on where it stopped if its ``run_id`` is
        given again: no recorded step runs a second time. ``resume="cancelled"`` continues a cancelled run, too.
        ``on_change`` decides what happens to completed steps whose code or arguments have changed since:
        ``"refuse"``, ``"rerun"`` (with all that take their values) or ``"keep"`` the recorded results. A step in
        which the process died ``max_starts`` times in a row is not started again; None: it always is. ``forget_control``
        begins without the constraints that the ``state_backend`` remembers of an earlier process.
        ``progress`` shows the run on stderr: a line that changes on a terminal, and a last line everywhere.
        Observers see ``run_id`` (random if none is given), ``name`` and ``tags``. With ``workflow="audit"``
        constraints of the scope ``workflow:audit`` cover the run, too. ``traceparent`` (W3C Trace Context) makes the run
        a part of a trace that has begun elsewhere: its first event has it.

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
        :raises ExceptionGroup: with ``on_failure="continue"``, of all failures. With ``"return"`` neither these nor
            what constraints cancelled are raised.
        """
        targets, shaped = _taken(target)
        # a large list that only this call refers to is freed in steps at the end of the run, not in one long one here
        del target
        check_params(params)
        _check_on_failure(on_failure)
        identity = checked_identity(run_id, name, tags, workflow, traceparent)
        rules = checked_rules(resume, on_change, max_starts, forget_control)
        with self._reserved(identity.run_id), self._progress_bar(identity.run_id, progress=progress) as bar:
            run = Run(
                self._parts, identity, targets, params or {}, on_failure=on_failure, rules=rules, bar=bar
            )
            values, error = await run.execute()
        if run.failures is not None and (error is None or run.partial is not None):
            partial = values if run.partial is None else run.partial
            return _run_result(identity.run_id, shaped(partial), run.failures, error)
        if error is not None:
            try:
                # without the frames of the engine above the user's own
                raise begin_in_user_code(error)
            finally:
                # its traceback refers to this frame: they would keep each other alive
                del error
        return shaped(values)

    @asynccontextmanager
    async def attached(self, workflows: Collection[str] = ()) -> AsyncIterator[None]:
        """Keep the connector connected inside the context, and the broker's constraints known, also between runs.

        That includes those of the scopes ``workflow:NAME`` of these workflows. Without a connector this does nothing.

        :raises ConnectorUnavailable: if the connector requires its link and has none.
        """
        parts = self._parts
        with parts.control.offering(workflows):
            async with SharedConnection.hold(
                parts.connector, meanwhile=parts.control.follow
            ) as start_timeout:
                # again: a connector that is connected already has no meanwhile
                await parts.control.follow()
                await parts.control.known(start_timeout)
                yield

    def pause_of(self, workflow: str = "") -> str:
        """Return the scope of a pause that covers every run here, such as ``global``; empty if there is none.

        With a workflow, also of one that covers only its runs. It is known inside :meth:`attached`, and while a run is active.
        """
        return self._parts.control.pause_of(workflow)

    def _progress_bar(self, run_id: str, *, progress: bool) -> AbstractContextManager[ProgressBar | None]:
        if not progress:
            return nullcontext()
        from cascade.runtime._observers.progress_bar import progress_bar

        return progress_bar(self.bus, run_id, self._parts.redactor)

    @contextmanager
    def _reserved(self, run_id: str) -> Iterator[None]:
        """Refuse a second run of the same id, and one on another event loop than other runs, which share what belongs to that loop."""
        loop = asyncio.get_running_loop()
        if self._running and self._loop is not loop and self._loop is not None and not self._loop.is_closed():
            raise ConfigurationError(
                "Engine.run()", "the engine has runs on another event loop; make one engine for each loop"
            )
        if run_id in self._run_ids:
            raise ConfigurationError(
                "run(run_id=)",
                f"{run_id!r} is running on this engine; wait for it to end, or give another id",
            )
        self._running = self._running + 1 if self._loop is loop else 1
        self._loop = loop
        self._run_ids.add(run_id)
        try:
            yield
        finally:
            self._run_ids.discard(run_id)
            if self._loop is loop:
                self._running -= 1


def _taken(
    target: LazyResult[Any] | Sequence[LazyResult[Any]],
) -> tuple[list[LazyResult[Any]], Callable[[list[Any]], Any]]:
    """Return targets, and what gives their values the form in which they were given; a task has used what it has made."""
    targets = targets_of(target)
    if (place := current.get()) is not None:
        place[0].made.pop(place[1], None)
    return targets, _shape_of(target)


def _shape_of(target: LazyResult[Any] | Sequence[LazyResult[Any]]) -> Callable[[list[Any]], Any]:
    """Return what gives the values of targets the form in which the targets were given."""
    if isinstance(target, LazyResult):
        return itemgetter(0)
    return tuple if isinstance(target, tuple) else lambda values: values


def _check_on_failure(on_failure: OnFailure) -> None:
    if on_failure not in get_args(OnFailure):
        raise ConfigurationError(
            "run(on_failure=)", f"needs 'stop', 'continue' or 'return', not {on_failure!r}"
        )


def _run_result(run_id: str, values: Any, failures: list[Failure], error: Exception | None) -> RunResult[Any]:
    """Return what a run gave; ``error`` is what it would have raised."""
    from cascade.interfaces import RunCancelledError, RunResult, RunStatus, TaskCancelledError

    status = RunStatus.SUCCEEDED
    if error is not None:
        cancelled = isinstance(error, RunCancelledError | TaskCancelledError) and error.run_id == run_id
        status = RunStatus.CANCELLED if cancelled else RunStatus.FAILED
        error = begin_in_user_code(error)
    return RunResult(run_id, status, values, tuple(failures), error)
