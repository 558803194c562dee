"""The runs of a service: from the acceptance of a request, or a tick, until its end is answered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from cascade.interfaces import (
    Clock,
    Connector,
    EventBus,
    Lifecycle,
    LifecycleEvent,
    RecordedStatus,
    RunCancelledError,
    RunStatus,
    RunSummary,
    StateUnavailable,
    SupportsFlush,
    TaskCancelledError,
    supports,
)
from cascade.interfaces.events import RunLease
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor, describe
from cascade.runtime._graph.plan import check_inputs
from cascade.runtime._support.loops import cancel
from cascade.runtime._support.settings import lease_of_runs
from cascade.runtime.serving._intake import Accepted, Code, Intake, Outcome, Refused, RequestedRun, State
from cascade.runtime.serving._leases import Leases
from cascade.runtime.serving._responses import Asker, Responses, sendable
from cascade.runtime.serving._store import RequestStore
from cascade.runtime.starting import Target
from cascade.spec import targets_of
from cascade.wire.requests import StartRequest

RunTarget = Callable[[Target, Mapping[str, Any], RequestedRun], Awaitable[Any]]
"""Runs a target with the values of its inputs, under the id and the workflow of a request."""

STOP_SECONDS = 2.0
"""For what is left to send at the end."""
_ENDED = (RecordedStatus.SUCCEEDED, RecordedStatus.FAILED, RecordedStatus.CANCELLED)
_log = get_logger("cascade.serve")


class ServiceRuns:
    """Runs what the intake has accepted, records it, and answers those who ask.

    :param run: runs a target; :class:`cascade.Engine` gives it.
    :param bus: that of the runs: a run is recorded when it has published its start.
    :param history: returns the recorded run of an id, if there is one.
    :param refuse: answers and logs that a request is refused.
    :param report: called when a report is due.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        connector: Connector,
        run: RunTarget,
        bus: EventBus,
        clock: Clock,
        redactor: Redactor,
        store: RequestStore | None,
        history: Callable[[str], Sequence[RunSummary]],
        leases: Leases,
        responses: Responses,
        refuse: Callable[[Sequence[Asker], RequestedRun, Refused], None],
        report: Callable[[], None],
    ) -> None:
        self._intake, self._connector, self._run, self._clock = intake, connector, run, clock
        self._redactor = redactor
        self._store, self._history, self._leases = store, history, leases
        self._responses, self._refuse, self._report = responses, refuse, report
        self._askers: dict[str, list[Asker]] = {}
        # by run id: runs that are recorded, those whose end is being recorded, and how those that have just ended did
        self._recorded: set[str] = set()
        self._ending: set[str] = set()
        self._stopped: dict[str, tuple[RunStatus, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._bus = bus
        self._unfollow: Callable[[], None] = lambda: None

    async def begin(self) -> None:
        """Take the requests of an earlier process: answer for those that have ended, go on with the others.

        :raises StateUnavailable: if they cannot be read.
        """
        self._unfollow = self._bus.subscribe(LifecycleEvent, self._note_lifecycle)
        if self._store is None:
            return
        runs = await self._store.load()
        unfinished = [run.run_id for run in runs if run.state is not State.ENDED]
        found = await asyncio.to_thread(lambda: [each for id_ in unfinished for each in self._history(id_)])
        recorded = {each.run_id: each for each in found}
        for run in runs:
            was_running, known = run.state is State.RUNNING, recorded.get(run.run_id)
            if run.state is not State.ENDED and known is not None and known.status in _ENDED:
                # the process ended between the end of the run and its record here; nothing runs again
                run.state, run.outcome = State.ENDED, _outcome_of(known)
                await self._store.put(run)
            if run.state is not State.ENDED:
                # it was accepted: who asks again is answered at once
                self._recorded.add(run.run_id)
            if not self._intake.recall(run):
                _log.warning(
                    "%s: the request cannot be continued: the workflow or its parameters have changed",
                    run.run_id,
                )
            elif run.state is State.RUNNING:
                _log.info("%s: %s after a restart", run.run_id, "goes on" if was_running else "starts")
                self._spawn(self._execute(run, accepted=True))
            elif run.state is State.ENDED and run.waits and not run.answered:
                self._spawn(self._answer(run))

    def accept(self, asker: Asker, accepted: Accepted, request: StartRequest) -> None:
        """Start the run of a request that was accepted, if it is new, and answer."""
        run = accepted.run
        if accepted.is_new:
            self._askers[run.run_id] = [asker]
            self._spawn(self._begin(run))
        elif run.state is State.ENDED and run.run_id not in self._ending:
            self._responses.ended(asker, run)
        elif request.wait or not self._is_recorded(run):
            self._askers.setdefault(run.run_id, []).append(asker)
        else:
            self._responses.accepted(asker, run)

    def start_tick(self, run: RequestedRun) -> None:
        """Start the run of a tick, which is recorded."""
        self._recorded.add(run.run_id)
        self._spawn(self._execute(run, accepted=True))

    async def stop(self, drain: float) -> None:
        """Let active runs end, and leave the others to the next process, or answer that they do not end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=drain)
        await cancel([*self._tasks], timeout=STOP_SECONDS)
        if self._store is None:
            for run in self._intake.active():
                run.outcome = Outcome(RunStatus.CANCELLED.value, self._clock.now(), "the service has stopped")
                for asker in self._askers.pop(run.run_id, []):
                    self._responses.ended(asker, run)

    async def close(self) -> None:
        """Give up what still runs."""
        await cancel([*self._tasks], timeout=STOP_SECONDS)
        self._unfollow()

    async def _begin(self, run: RequestedRun) -> None:
        """Record a new request, and start it if it need not wait."""
        waits = run.state is State.WAITING
        if self._store is not None:
            try:
                await self._store.put(run)
            except StateUnavailable as error:
                # one whose turn has come meanwhile goes on
                if not waits or run.state is State.WAITING:
                    self._withdraw(run, Refused(Code.FULL, f"the request cannot be recorded: {error}"))
                return
        _log.info("%s: accepted%s", run.run_id, f", asked by {run.by[:64]!r}" if run.by else "")
        if waits:
            self._note_recorded(run.run_id)
        else:
            await self._execute(run, accepted=False)

    async def _execute(self, run: RequestedRun, *, accepted: bool) -> None:
        """Run a request to its end.

        :param accepted: whether that was answered already: then a run that cannot begin has failed.
        """
        if (lease := self._leases.of_run(run)) is not None:
            if (term := await lease.begin(run.workflow, run.id)) is None:
                self._recorded.discard(run.run_id)
                problem = f"another machine holds the lease {lease.name}"
                await self._end(run, Outcome(RunStatus.CANCELLED.value, self._clock.now(), problem))
                return
            # nothing is awaited between that and the start
            lease_of_runs.set(RunLease(lease.name, term))
        began = self._clock.monotonic()
        value: Any = msgspec.UNSET
        error: Exception | None = None
        try:
            target, params = self._intake.offers[run.workflow].startable.build(run.values)
            check_inputs(targets_of(target), params, os.environ)
            value = await self._run(target, params, run)
        except Exception as exc:
            error = exc
        if error is not None and not accepted and run.run_id not in self._recorded:
            await self._forget(run)
            self._withdraw(run, Refused(Code.INVALID, f"the run cannot begin: {describe(error)}"))
            return
        duration = (self._clock.monotonic() - began) * 1000
        status, text = self._end_of(run, error)
        answers = self._intake.offers[run.workflow].answer and error is None
        outcome = Outcome(
            status.value, self._clock.now(), text, duration, sendable(value) if answers else msgspec.UNSET
        )
        await self._end(run, outcome)

    def _end_of(self, run: RequestedRun, error: Exception | None) -> tuple[RunStatus, str]:
        """Return how a run ended: as its last event says, or else its error."""
        self._recorded.discard(run.run_id)
        if (stopped := self._stopped.pop(run.run_id, None)) is not None:
            return stopped
        if error is None:
            return RunStatus.SUCCEEDED, ""
        cancelled = isinstance(error, RunCancelledError | TaskCancelledError)
        return RunStatus.CANCELLED if cancelled else RunStatus.FAILED, describe(error)

    async def _end(self, run: RequestedRun, outcome: Outcome) -> None:
        self._ending.add(run.run_id)
        following = self._intake.ended(run, outcome)
        took = f" after {outcome.duration_ms / 1000:.1f} s" if outcome.duration_ms is not None else ""
        error = f": {self._redactor.one_line(outcome.error)}" if outcome.error else ""
        _log.info("%s: %s%s%s", run.run_id, outcome.status.lower(), took, error)
        if following is not None:
            self._spawn(self._start_waiting(following))
        await self._put(run)
        self._report()
        await self._answer(run)

    async def _start_waiting(self, run: RequestedRun) -> None:
        await self._put(run)
        await self._execute(run, accepted=True)

    async def _answer(self, run: RequestedRun) -> None:
        """Send the end to those who wait for it, and record that they have it."""
        askers = self._askers.pop(run.run_id, [])
        self._ending.discard(run.run_id)
        if not askers and run.waits:
            # it asked an earlier process
            askers = [Asker(run.id)]
        for asker in askers:
            self._responses.ended(asker, run)
        if askers and self._store is not None and supports(self._connector, SupportsFlush):
            run.answered = await self._connector.flush(STOP_SECONDS)
            await self._put(run)

    async def _put(self, run: RequestedRun) -> None:
        """Record a request that has changed; a fault costs no run, only what is known of it after a restart."""
        if self._store is None:
            return
        try:
            await self._store.put(run)
        except StateUnavailable as error:
            _log.warning("%s: the request cannot be recorded: %s", run.run_id, error)

    async def _forget(self, run: RequestedRun) -> None:
        if self._store is None:
            return
        try:
            await self._store.delete(run)
        except StateUnavailable as error:
            _log.warning("%s: the request cannot be deleted: %s", run.run_id, error)

    def _withdraw(self, run: RequestedRun, refused: Refused) -> None:
        """Refuse a request whose run cannot begin."""
        following = self._intake.withdrawn(run)
        self._refuse(self._askers.pop(run.run_id, []), run, refused)
        if following is not None:
            self._spawn(self._start_waiting(following))

    def _note_lifecycle(self, event: LifecycleEvent) -> None:
        if event.event is Lifecycle.ENGINE_STARTED:
            self._note_recorded(event.run_id)
        elif event.run_id in self._recorded and event.status is not None:
            self._stopped[event.run_id] = event.status, event.error

    def _note_recorded(self, run_id: str) -> None:
        """Answer those who do not wait for the end: the run is recorded."""
        run = self._intake.get(run_id)
        if run is None:
            return
        self._recorded.add(run_id)
        waiting = []
        for asker in self._askers.pop(run_id, []):
            if asker.wait:
                waiting.append(asker)
            else:
                self._responses.accepted(asker, run)
        if waiting:
            self._askers[run_id] = waiting

    def _is_recorded(self, run: RequestedRun) -> bool:
        return run.run_id in self._recorded

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="cascade request")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(log_error)


def log_error(task: asyncio.Task[None]) -> None:
    """Log an error that no task of a service may end with."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s: an internal error; please report it", task.get_name(), exc_info=error)


def _outcome_of(recorded: RunSummary) -> Outcome:
    ended = recorded.ended or recorded.created
    return Outcome(recorded.status.value, ended, recorded.error, (ended - recorded.created) * 1000)
