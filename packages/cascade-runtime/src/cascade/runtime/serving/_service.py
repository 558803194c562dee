"""A service: takes requests, starts runs, answers, and reports what it offers."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Connector,
    EventBus,
    Lifecycle,
    LifecycleEvent,
    Linked,
    Message,
    RecordedStatus,
    RunCancelledError,
    RunStatus,
    RunSummary,
    StateUnavailable,
    SupportsFlush,
    SupportsLink,
    SupportsStatistics,
    SupportsWatch,
    TaskCancelledError,
    supports,
)
from cascade.interfaces.events import RunLease
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor, describe
from cascade.interfaces.topics import parse_request_topic, request_filters, state_topic
from cascade.interfaces.wire import default_source, source_of
from cascade.runtime._graph.plan import check_inputs
from cascade.runtime._support.clock import SystemClock
from cascade.runtime._support.loops import cancel
from cascade.runtime._support.publish_queue import PublishQueue
from cascade.runtime._support.settings import lease_of_runs
from cascade.runtime.serving._intake import (
    REMEMBERED,
    REMEMBERED_SECONDS,
    Accepted,
    Code,
    Intake,
    Offer,
    Outcome,
    Refused,
    RequestedRun,
    State,
)
from cascade.runtime.serving._leases import Leases
from cascade.runtime.serving._refusals import RefusalLog
from cascade.runtime.serving._report import workflows_report
from cascade.runtime.serving._responses import Asker, Responses, sendable
from cascade.runtime.serving._store import KEPT_SECONDS, RequestStore
from cascade.runtime.serving._systemd import notify
from cascade.runtime.serving._ticking import Ticking
from cascade.runtime.starting import Target
from cascade.spec import targets_of
from cascade.wire.requests import OfferedLease, StartRequest, parse_request

RunTarget = Callable[[Target, Mapping[str, Any], RequestedRun], Awaitable[Any]]
"""Runs a target with the values of its inputs, under the id and the workflow of a request."""

STOP_SECONDS = 2.0
"""For what is left to send at the end."""
REOPEN_SECONDS = 1.0
"""Until a stream of requests that has failed is opened again."""
MAX_REMEMBERED = 10_000
"""Ended runs that are remembered with a state folder."""
_MAX_RETAINED = 1_000
_DEAF = "the broker does not let this service read its requests"
_ENDED = (RecordedStatus.SUCCEEDED, RecordedStatus.FAILED, RecordedStatus.CANCELLED)
_log = get_logger("cascade.serve")


class Service:
    """Starts the workflows that it offers when it is asked over a connector, for as long as :meth:`serve` runs.

    :param run: runs a target; :class:`cascade.Engine` gives it.
    :param bus: that of the runs: a run is recorded when it has published its start.
    :param pause_of: returns the scope of a pause that covers a workflow; empty if none does.
    :param store: keeps accepted requests for the next process; without one, they are remembered in memory.
    :param history: returns the recorded run of an id, if there is one.
    :param drain: seconds that active runs have to end when the service stops.
    :raises ConfigurationError: if the connector cannot receive requests or has no name, or two workflows have one name.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        *,
        connector: Connector,
        run: RunTarget,
        bus: EventBus,
        pause_of: Callable[[str], str],
        store: RequestStore | None = None,
        history: Callable[[str], Sequence[RunSummary]] = lambda run_id: (),
        clock: Clock | None = None,
        redactor: Redactor | None = None,
        drain: float = 30.0,
    ) -> None:
        self._source = checked_source(connector)
        _check_names(offers)
        self._watcher = _watcher_of(connector)
        self._connector, self._run, self._bus, self._clock = connector, run, bus, clock or SystemClock()
        self._store, self._history, self._drain = store, history, drain
        self._redactor = redactor or Redactor.DEFAULT
        remembered = (REMEMBERED, REMEMBERED_SECONDS) if store is None else (MAX_REMEMBERED, KEPT_SECONDS)
        self._intake = Intake(offers, pause_of=pause_of, remembered=remembered)
        self._leases = Leases(offers, connector=connector, clock=self._clock, changed=self._lease_changed)
        self._ticking = Ticking(
            self._intake,
            clock=self._clock,
            pause_of=pause_of,
            store=store,
            leases=self._leases,
            start=self._start_tick,
            report=self._report,
        )
        self._responses = Responses(connector, self._source, self._redactor)
        self._reports = PublishQueue(connector, content="reports of workflows", logger=_log, latest_only=True)
        self._session = secrets.token_hex(8)
        self._is_deaf = False
        self._askers: dict[str, list[Asker]] = {}
        # by run id: runs that are recorded, and how those that have just ended did
        self._recorded: set[str] = set()
        self._stopped: dict[str, tuple[RunStatus, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusals = RefusalLog(self._clock, self._redactor)
        self._retained: OrderedDict[int, None] = OrderedDict()

    async def serve(self) -> None:
        """Serve until the asyncio task is cancelled; then refuse what comes, and let active runs end.

        :raises StateUnavailable: if the requests of an earlier process cannot be read.
        """
        unsubscribe = self._bus.subscribe(LifecycleEvent, self._note_lifecycle)
        await self._recall()
        await self._ticking.begin()
        reader = asyncio.create_task(self._read(), name=f"cascade requests {self._source}")
        ticking = None
        if self._ticking.has_schedule:
            self._leases.start()
            ticking = asyncio.create_task(self._ticking.run(), name=f"cascade ticks {self._source}")
            ticking.add_done_callback(self._done)
        # also without a link: the broker may come later, and a service manager would not wait for it
        notify("READY=1")
        try:
            # not the reader itself: a cancel of this one would end it, and requests are refused until the end
            await asyncio.wait({reader})
        finally:
            try:
                if ticking is not None:
                    await cancel([ticking], timeout=STOP_SECONDS)
                await self._stop()
            finally:
                await self._leases.stop()
                await cancel([reader, *self._tasks], timeout=STOP_SECONDS)
                unsubscribe()
                if self._store is not None:
                    await self._store.close()

    async def _recall(self) -> None:
        """Take the requests of an earlier process: answer for those that have ended, go on with the others."""
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

    async def _read(self) -> None:
        """Take requests from the connector; a stream that fails is opened again."""
        while True:
            try:
                stream = self._watcher.watch(*request_filters(self._source))
                try:
                    async for item in stream:
                        if isinstance(item, Message):
                            self._take(item)
                        elif isinstance(item, Linked) or self._hears() is self._is_deaf:
                            self._is_deaf = not self._hears()
                            self._report()
                finally:
                    await stream.aclose()
            except Exception:
                _log.exception("%s: the stream of requests has failed; it is opened again", self._source)
            await asyncio.sleep(REOPEN_SECONDS)

    def _hears(self) -> bool:
        """Return whether the broker permits to read the requests of this source, as far as it says so."""
        own, _ = request_filters(self._source)
        return not supports(self._connector, SupportsStatistics) or (
            own not in self._connector.statistics().refused
        )

    def _take(self, message: Message) -> None:
        addressed = parse_request_topic(message.topic)
        if addressed is None or not message.payload:
            return
        source, workflow = addressed
        if source is None and workflow not in self._intake.offers:
            # another engine may offer it
            return
        reply_to = message.reply_to
        if reply_to is not None and not reply_to.is_permitted(message.topic):
            reply_to = None
        try:
            request = parse_request(message.payload, traceparent=message.traceparent)
        except ValueError as error:
            self._refuse([Asker("", reply_to)], workflow, Refused(Code.INVALID, str(error)))
            return
        decided = self._intake.decide(workflow, request, now=self._clock.now(), retained=message.retain)
        if isinstance(decided, Accepted):
            self._accept(Asker(decided.run.id, reply_to, request.wait), decided, request)
        elif decided.code is not Code.RETAINED or self._is_first(message):
            asker = Asker(request.id or secrets.token_hex(8), reply_to)
            self._refuse([asker], workflow, decided, id_=request.id, by=request.by)

    def _accept(self, asker: Asker, accepted: Accepted, request: StartRequest) -> None:
        run = accepted.run
        if accepted.is_new:
            self._askers[run.run_id] = [asker]
            _log.info("%s: accepted%s", run.run_id, f", asked by {request.by[:64]!r}" if request.by else "")
            self._spawn(self._begin(run))
        elif run.state is State.ENDED:
            self._responses.ended(asker, run)
        elif request.wait or not self._is_recorded(run):
            self._askers.setdefault(run.run_id, []).append(asker)
        else:
            self._responses.accepted(asker, run)

    async def _begin(self, run: RequestedRun) -> None:
        """Record a new request, and start it if it need not wait."""
        waits = run.state is State.WAITING
        if self._store is not None:
            try:
                await self._store.put(run)
            except StateUnavailable as error:
                self._withdraw(run, Refused(Code.FULL, f"the request cannot be recorded: {error}"))
                return
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
        following = self._intake.ended(run, outcome)
        if following is not None:
            self._spawn(self._start_waiting(following))
        await self._put(run)
        self._report()
        await self._answer(run)

    def _start_tick(self, run: RequestedRun) -> None:
        self._recorded.add(run.run_id)
        if run.state is State.RUNNING:
            self._spawn(self._execute(run, accepted=True))

    async def _start_waiting(self, run: RequestedRun) -> None:
        await self._put(run)
        await self._execute(run, accepted=True)

    async def _answer(self, run: RequestedRun) -> None:
        """Send the end to whoever waits for it, and note that."""
        askers = self._askers.pop(run.run_id, [])
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
        self._refuse(self._askers.pop(run.run_id, []), run.workflow, refused, id_=run.id, by=run.by)
        if following is not None:
            self._spawn(self._start_waiting(following))

    def _refuse(
        self, askers: Sequence[Asker], workflow: str, refused: Refused, *, id_: str = "", by: str = ""
    ) -> None:
        self._refusals.refused(workflow, refused, id_=id_, by=by)
        for asker in askers:
            self._responses.refused(asker, refused)

    def _is_first(self, message: Message) -> bool:
        """Return whether a retained message has not been refused before: it comes again with each sync."""
        key = hash((message.topic, message.payload))
        if key in self._retained:
            return False
        self._retained[key] = None
        if len(self._retained) > _MAX_RETAINED:
            self._retained.popitem(last=False)
        return True

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

    def _report(self) -> None:
        presence = self._connector.presence if supports(self._connector, SupportsLink) else None
        body = workflows_report(
            self._intake.offers.values(),
            source=self._source,
            session=self._session,
            presence=presence or "",
            accepting=not self._intake.stopping,
            redactor=self._redactor,
            now=self._clock.now(),
            problem=_DEAF if self._is_deaf else "",
            schedule_of=self._ticking.schedule_of,
            lease_of=self._lease_of,
        )
        self._reports.publish(state_topic(self._source, "workflows"), body, qos=1, retain=True)

    def _lease_of(self, workflow: str) -> OfferedLease | None:
        lease = self._leases.of(workflow)
        return None if lease is None else lease.row()

    def _lease_changed(self) -> None:
        self._ticking.look()
        self._report()

    async def _stop(self) -> None:
        """Refuse what comes, let active runs end, and leave the others to the next process."""
        self._intake.stopping = True
        # the runs that go on keep it until they have ended
        self._leases.close()
        notify("STOPPING=1")
        self._report()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._drain)
        await cancel([*self._tasks], timeout=STOP_SECONDS)
        if self._store is None:
            for run in self._intake.active():
                run.outcome = Outcome(RunStatus.CANCELLED.value, self._clock.now(), "the service has stopped")
                for asker in self._askers.pop(run.run_id, []):
                    self._responses.ended(asker, run)
        self._refusals.close()
        await self._responses.drain(STOP_SECONDS)
        await self._reports.drain(STOP_SECONDS)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work, name=f"cascade request {self._source}")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s: an internal error; please report it", self._source, exc_info=error)


def checked_source(connector: Connector) -> str:
    """Return the name of a service.

    :raises ConfigurationError: if the connector has none.
    """
    source = source_of(connector)
    if source == default_source():
        raise ConfigurationError(
            "serve(connector=)", "needs a name, by which others ask it: mqtt://broker?source_id=press-line-3"
        )
    return source


def _watcher_of(connector: Connector) -> SupportsWatch:
    if not supports(connector, SupportsWatch):
        raise ConfigurationError("serve(connector=)", "needs a connector with watch(), such as mqtt://broker")
    return connector


def _check_names(offers: Sequence[Offer]) -> None:
    names = [offer.name for offer in offers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(
            "serve()", f"two workflows have the name {twice[0]!r}; give one another name"
        )
    if not names:
        raise ConfigurationError("serve()", "needs at least one workflow")


def _outcome_of(recorded: RunSummary) -> Outcome:
    ended = recorded.ended or recorded.created
    return Outcome(recorded.status.value, ended, recorded.error, (ended - recorded.created) * 1000)
