"""Follow the broker's constraints: apply them to the engine's runs, and report what is applied."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, ClassVar

from cascade.interfaces import (
    Clock,
    Complete,
    ConfigurationError,
    Connector,
    EventBus,
    Linked,
    Message,
    ProgressEvent,
    RunStatus,
    SupportsBroker,
    SupportsLink,
    SupportsWatch,
    WatchItem,
    supports,
)
from cascade.interfaces.events import Tag
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor
from cascade.interfaces.topics import status_topic
from cascade.interfaces.wire import default_source, source_of
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.rules import Key, TokenBuckets
from cascade.runtime._control.connected_engines import ConnectedEngines, PeerEngines, broker_state
from cascade.runtime._control.constraint_log import ControlLog, SyncLog
from cascade.runtime._control.constraint_stream import ConstraintStream
from cascade.runtime._control.reports import Gates, Reporter
from cascade.runtime._control.watched_state import WatchedState
from cascade.runtime._gates.plant_gates import PlantGates
from cascade.runtime._registers.cancels import Cancels
from cascade.runtime._registers.registers import Registers
from cascade.runtime._registers.sync import Sync, SyncState
from cascade.runtime._run_reports.active_run import ActiveRun
from cascade.runtime._run_reports.run_history import RunHistory
from cascade.runtime._support.clock import EarliestTimer, earliest
from cascade.runtime._support.loops import cancel
from cascade.runtime._support.publish_queue import PublishQueue, ReportKeeper
from cascade.runtime._support.shared_connection import SharedConnection
from cascade.transport.earlier_runs import EarlierRuns
from cascade.transport.state_log import StateLog

if TYPE_CHECKING:
    from cascade.interfaces import SupportsControlMemory
    from cascade.runtime._control.remembered_constraints import ControlMemory

STOP_LIMIT = 1.0
"""Seconds that stopping may take, for the stream to end and for the last reports to be published."""

# A large set is taken in slices, so that other tasks get the loop in between.
_SETTLED_PER_ITERATION = 1_024
_CHANGES_PER_ITERATION = 256

# seconds; a timer that is later shows that the loop was blocked, or the process stopped
_STANDSTILL = 1.0

_log = get_logger("cascade.constraints")


class ConstraintManager:
    """Keeps the constraints of a connector's engines equal to the broker's: section 4 of ``PROTOCOL.md``.

    One manager follows a connector for as long as it is connected, on one event loop, so a run begins
    in sync without fetching anything. No payload on any topic and no fault of the connector makes a
    method raise or a run wait. A link that is lost lifts nothing; the end of the manager lifts everything.

    :param connector: must support ``watch``.
    :param project_id: the engines obey constraints of this ``project:`` scope.
    :raises ConfigurationError: if the connector does not support ``watch``.
    """

    _peers: ClassVar[PeerEngines] = PeerEngines()

    def __init__(self, connector: Connector, *, clock: Clock, project_id: str = "default") -> None:
        shared = broker_state(connector, project=project_id, source=source_of(connector))
        self._connector = connector
        self._queue = PublishQueue(connector, content="constraint reports", logger=_log, latest_only=True)
        self.source = source_of(connector)
        self._watcher = _watcher_of(connector)
        self._clock = clock
        self._project_id = project_id
        self._named = self.source != default_source()
        self._redactor = Redactor.DEFAULT
        self._control_log = ControlLog(self.source, clock=clock)
        self._sync_log = SyncLog(self.source, clock=clock)
        self._stream_state = StateLog(_log)
        self.registers = Registers(
            clock,
            own_scopes=self._own_scopes,
            notice=self._control_log.notice,
            clean=self._mask,
            cancels=Cancels(clock, shared.cancels),
        )
        self.sync = Sync(self.registers, named=self._named, clock=clock)
        # the context in which an event arrives would keep a run's variables alive
        context = Context()
        self._gates = PlantGates(self._watcher, clock=clock, changed=self._gates_changed, context=context)
        self._watched = self._make_watched(shared.history)
        self._engines = self._make_engines(shared.buckets)
        self._reporter = self._make_reporter()
        self._memory: ControlMemory | None = None
        self._expected: set[str] = set()  # runs that are about to begin
        self._offered: frozenset[str] = frozenset()  # workflows
        self._in_sync = asyncio.Event()
        self._has_set = asyncio.Event()
        # None unless started
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forget_disconnect: Callable[[], None] = lambda: None
        self._timer = EarliestTimer(clock, self._on_timer, context=context)
        self._stream = self._make_stream(context)

    @property
    def _own_scopes(self) -> tuple[str, ...]:
        return "global", f"project:{self._project_id}", f"source:{self.source}"

    def _make_watched(self, history: RunHistory) -> WatchedState:
        return WatchedState(
            self._clock,
            connector=self._connector,
            history=history,
            # the engines are made after this
            waits=lambda run: self._engines.waits(run),  # noqa: PLW0108
            texts=lambda run, waits: self._engines.texts(run, waits),  # noqa: PLW0108
            paused=lambda: any(
                self.registers.is_in_force((scope, "pause")) for scope in (*self._own_scopes, "task:*")
            ),
            clean=self._mask,
            names={"org_id": os.environ.get("CASCADE_ORG_ID") or "local", "project_id": self._project_id},
            retained=self._named,
            on_change=self._note_count,
        )

    def _make_engines(self, buckets: TokenBuckets) -> ConnectedEngines:
        watcher = self._watcher
        return ConnectedEngines(
            self.source,
            (watcher.hostname, watcher.port) if supports(watcher, SupportsBroker) else None,
            buckets,
            clock=self._clock,
            on_event=self._watched.runs.count,
            on_progress=self._note_progress,
            on_step=self._check_reports,
        )

    def _make_reporter(self) -> Reporter:
        watcher = self._watcher
        return Reporter(
            self._queue,
            registers=self.registers,
            sync=self.sync,
            clock=self._clock,
            source=self.source,
            session=os.urandom(8).hex(),
            retain=self._named,
            running=lambda: self._engines.running,
            presence=lambda: watcher.presence if supports(watcher, SupportsLink) else None,
            contested=lambda: supports(watcher, SupportsBroker) and watcher.contested,
            gates=Gates(self._gates.reading, lambda: self._gates.revision),
            watched=self._watched,
            disconnects=lambda: supports(watcher, SupportsLink) and SharedConnection.owns(self._connector),
        )

    def _make_stream(self, context: Context) -> ConstraintStream:
        return ConstraintStream(
            self._watcher,
            self.source,
            scopes=self._own_scopes,
            clock=self._clock,
            handle=self._handle,
            failed=self._stream_failed,
            closed=self._end,
            context=context,
        )

    @property
    def is_following(self) -> bool:
        """Whether the manager follows the broker on the running loop."""
        return self._loop is asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to follow the broker, on the running loop; the connector may connect later."""
        self._peers.join(self.source)
        self._loop = asyncio.get_running_loop()
        self._timer.start(self._loop)
        self._gates.start(self._loop)
        if supports(self._watcher, SupportsLink):
            self._forget_disconnect = self._watcher.before_disconnect(self._before_disconnect)
        self._open()

    async def stop(self) -> None:
        """Lift all constraints, report that, and release everything. Idempotent."""
        await self.leave()
        await self.release()

    async def leave(self) -> None:
        """Lift all constraints and report that. Idempotent."""
        # before any await: the next manager uses the same admission controllers
        self._end()
        if self._memory is not None:
            await self._memory.flush(STOP_LIMIT)
        await self._queue.drain(STOP_LIMIT)

    async def release(self) -> None:
        """End the stream. A connector that has disconnected by then need not unsubscribe from each topic."""
        await cancel([*self._stream.take_readers(), *self._gates.take_readers()], timeout=STOP_LIMIT)

    def end_if_disconnected(self) -> None:
        """End if the user has disconnected the connector and no run is active."""
        if self._loop is not None and not self._engines.have_runs and self._is_disconnected():
            self._end(report=False)  # nothing can be sent now
            for reader in (*self._stream.take_readers(), *self._gates.take_readers()):
                reader.cancel()

    async def synced(self, *, required: bool = True) -> None:
        """Wait until the retained set has arrived and is applied.

        :param required: wait for a set that counts as complete; without it, for all that the broker shows.
        """
        await (self._in_sync if required else self._has_set).wait()

    async def remember(self, store: SupportsControlMemory, *, forget: bool) -> None:
        """Obey what an earlier process of this source obeyed, until the broker's set arrives; save what changes.

        Only a named source is found again. With ``forget``, what was saved is deleted instead.
        """
        if not self._named or (self._memory is not None and not forget):
            return
        from cascade.runtime._control.remembered_constraints import (
            ControlMemory,  # only a run with a state needs it
        )

        memory = self._memory or ControlMemory(store, self.source, self._project_id, clock=self._clock)
        found = await memory.recall()
        if forget:
            await memory.forget()
        known, self._memory = self._memory is not None, memory
        self._save()  # the broker's set may have arrived meanwhile
        if found is None or known or self.sync.has_set or len(self.registers):
            return
        if forget:
            self._control_log.forgotten(found.payloads)
        else:
            self.sync.recall(found.payloads, found.store)
            self._apply_changes()
            self._control_log.recalled(
                [topic for topic in found.payloads if self.registers.has_in_force(topic)]
            )

    def pause_of(self, workflow: str = "") -> str:
        """Return the scope of a pause that covers every run here, or all of a workflow; empty if there is none."""
        scopes = (*self._own_scopes, f"workflow:{workflow}")
        return next((each for each in scopes if self.registers.is_in_force((each, "pause"))), "")

    def offer(self, workflows: frozenset[str]) -> None:
        """Obey the constraints of these workflows also while none of their runs is active, and of no others. Idempotent."""
        before, self._offered = self._offered, workflows
        if workflows == before:
            return
        self.registers.offer(workflows)
        self._stream.add_scopes(*(f"workflow:{name}" for name in workflows - before))
        self._stream.remove_scopes(*(f"workflow:{name}" for name in before - workflows))
        self._apply_changes()
        self._check_reports()

    def mask_with(self, redactor: Redactor) -> None:
        """Mask secrets in reports from now on as an engine of this connector does."""
        self._redactor = self._redactor.merged(redactor)

    def add_engine(self, controller: AdmissionController) -> None:
        """Apply the constraints to the runs of one more engine; do nothing for one that has had a run here."""
        self._engines.add(controller, lambda: self._gates.follow(self.registers.effective()))

    def describe(self, labels: Mapping[str, Tag], *, host_report: bool) -> None:
        """Report these labels from now on, and the host only if every engine wants that."""
        self._watched.labels.update(labels)
        self._watched.host_report = self._watched.host_report and host_report

    def expect_run(self, run_id: str, workflow: str = "") -> None:
        """Ask for the constraints of a run that is about to begin; :meth:`forget_run` undoes it."""
        self._expected.add(run_id)
        self.registers.begin_run(run_id, workflow)
        is_asked = self._stream.add_scopes(*self.registers.scopes_of(run_id))
        if is_asked and self.sync.is_linked and not self.sync.proved:
            # the run waits for what a wildcard may have withheld
            self._forget_set()

    def forget_run(self, run_id: str) -> None:
        """Ask no longer for the constraints of a run that has not begun. Idempotent."""
        if run_id in self._expected:
            self._expected.discard(run_id)
            self._stream.remove_scopes(*self.registers.scopes_of(run_id))
            self.registers.end_run(run_id)
            self._set_timer()

    def begin_run(self, run: ActiveRun, controller: AdmissionController, bus: EventBus) -> None:
        """Apply the constraints to a run of an engine, and report the run, from now on."""
        run_id = run.run_id
        self.add_engine(controller)
        self._engines.begin_run(run_id, controller, bus)
        run.lost_before = self._watched.lost()
        run.facts.attempt_begins = lambda task_id: self._note_attempt(run_id, task_id)
        self._reporter.begin(run)
        if run_id not in self._expected:
            self.expect_run(run_id, run.workflow)
        self._expected.discard(run_id)
        self._apply_changes()
        self._check_reports()

    def keep_reports_in(self, outbox: ReportKeeper) -> None:
        """Have an outbox keep the last reports with the events that wait, if the broker keeps reports of this name."""
        if self._named:
            outbox.keep_reports(self._last_reports, learn=self._learn)

    def _last_reports(self) -> dict[str, str]:
        return self._reporter.last_reports(down=self._is_disconnected())

    def _learn(self, reports: Mapping[str, str]) -> None:
        # slow to import, and only a process with a name has earlier runs
        from cascade.wire.parsed import Presence, parse_presence

        earlier = EarlierRuns(self.source)
        earlier.take_all({topic: text.encode() for topic, text in reports.items()})
        status = parse_presence(topic := status_topic(self.source), reports.get(topic, "").encode())
        if isinstance(status, Presence):
            self._reporter.earlier_presence = status.session
        self._watched.learn(earlier)
        self._check_reports()

    def end_run(self, run_id: str, status: RunStatus, error: str, by: str = "") -> None:
        """Stop reporting a run as active, and report how it ended, and who has ended it."""
        if self._loop is None:
            return
        self._engines.end_run(run_id)
        run = self._reporter.runs.get(run_id)
        ended = run.facts.ended if run is not None else None
        now = self._clock.now() if ended is None else ended
        self._reporter.runs.end(run_id, status=status, error=error, by=by, now=now, clean=self._mask)
        self._stream.remove_scopes(*self.registers.scopes_of(run_id))
        self.registers.end_run(run_id)
        self._apply_changes()
        self._note_disconnect()
        self._reporter.publish_end()
        self._check_reports()

    def __repr__(self) -> str:
        return f"<ConstraintManager {self.source} {self.sync.state.value}, {len(self.registers)} registers>"

    def _mask(self, text: str) -> str:
        return self._redactor.one_line(text)

    def _before_disconnect(self) -> None:
        """Report the end while the connector still sends. The manager ends when the link is down, if no run is active then."""
        if self.is_following:
            self._reporter.publish_down(stopped=not self._engines.have_runs)

    def _is_disconnected(self) -> bool:
        """Return whether the connector reports that it is not connected; a link that is down does not report that."""
        return getattr(self._watcher, "connected", None) is False

    def _note_disconnect(self) -> None:
        """Report nothing from the moment when the user disconnects: the stream ends later, after the drain."""
        if self._is_disconnected():
            self.sync.lost()
            self._forget_set()

    def _end(self, *, report: bool = True) -> None:
        """Lift everything and report that. Idempotent."""
        if self._loop is None:
            return
        self._loop = None
        self._forget_disconnect()
        self._peers.leave(self.source)
        self._timer.stop()
        self._stream.end()
        self._gates.end()
        self.sync.state = SyncState.STOPPED
        self._forget_set()
        self.registers.clear()
        self._expected.clear()
        self._engines.clear()
        if report:
            self._reporter.publish_last()

    def _open(self) -> None:
        """Open a new stream of the constraints."""
        try:
            self._stream.open()
        except Exception as exc:
            self._stream_failed(exc)
            return
        self.sync.opened()
        self._set_timer()

    def _stream_failed(self, error: Exception | None) -> None:
        """Keep the known constraints after the stream failed or ended by itself; a new one is opened later."""
        self._stream_state.failed(
            "stream",
            "%s: the stream of constraints has ended (%s); known constraints stay in force, it is opened again",
            self.source,
            f"{type(error).__name__}: {error}" if error is not None else "the connector closed it",
        )
        self.sync.failed()
        self._forget_set()
        self._set_timer()

    async def _handle(self, item: WatchItem) -> None:
        if isinstance(item, Message):
            self.sync.receive(item)
        elif isinstance(item, Complete):
            self.sync.complete(item)
        elif isinstance(item, Linked):
            self.sync.linked()
            self._forget_set()
        else:
            self.sync.lost()
            self._forget_set()
            self.end_if_disconnected()
        while self._apply_changes():  # noqa: ASYNC110 - the loop body does the work
            await asyncio.sleep(0)
        if self.sync.removed or self.sync.store_replaced:
            self._log_removals()
        if isinstance(item, Complete):
            self._completed(item)
            self._save()
        self._check_reports()

    def _completed(self, item: Complete) -> None:
        """Let runs that wait for the retained set begin."""
        self._stream_state.works("stream")
        if item.topics is not None:
            self._engines.forget_buckets(self.registers.is_in_force)
        self._has_set.set()
        if self.sync.state in (SyncState.SYNCED, SyncState.STALE):
            self._in_sync.set()

    def _log_removals(self) -> None:
        """Log once which constraints in force the broker no longer has."""
        removed, self.sync.removed = self.sync.removed, []
        replaced, self.sync.store_replaced = self.sync.store_replaced, False
        if replaced:
            self._control_log.store_replaced(removed)
        else:
            self._control_log.removed_by_sync(removed)

    def _forget_set(self) -> None:
        self._in_sync.clear()
        self._has_set.clear()

    def _apply_changes(self) -> bool:
        """Apply one slice of what has changed; return whether there is more."""
        if self.registers.settle(_SETTLED_PER_ITERATION) and self.registers.has_changes:
            changes = self._gates.follow(self.registers.take_changes(_CHANGES_PER_ITERATION))
            self._engines.apply(changes)
            self._control_log.changed(changes, self.registers)
        if not self.registers.has_changes:
            self._save()
        return self.registers.has_changes

    def _gates_changed(self, turned: list[Key]) -> None:
        if turned:
            self._engines.gates_turned(turned)
        self._check_reports()

    def _save(self) -> None:
        if self._memory is not None and self._loop is not None:
            self._memory.save_changes(self.registers, self.sync)

    def _note_count(self) -> None:
        # only the first change sets the timer: many events follow
        if self._reporter.check_runs():
            self._set_timer()

    def _note_attempt(self, run_id: str, task_id: str) -> None:
        self._reporter.runs.attempt_begins(run_id, task_id, self._clock.now())
        if self._reporter.check_runs():
            self._set_timer()

    def _note_progress(self, event: ProgressEvent) -> None:
        self._reporter.runs.note_progress(event)
        if self._reporter.check_runs():
            self._set_timer()

    def _check_reports(self) -> None:
        """Find out what has to be reported, and set the timer for it."""
        self._reporter.check()
        self._reporter.publish_begin()
        self._sync_log.check(self.sync)
        self._reporter.check_runs()
        self._set_timer()

    def _set_timer(self) -> None:
        """Set the one timer to the earliest expiry, deadline or report."""
        changes = 0.0 if self.registers.has_changes else None
        at = earliest(
            changes, self.registers.next_expiry(), self.sync.due(), self._reporter.due(), self._stream.due()
        )
        if at is not None:
            self._timer.set(at)

    def _on_timer(self, late: float) -> None:
        if late > _STANDSTILL:
            self.sync.stood_still()
        if self.sync.tick():
            self._open()
        self._stream.tick()
        self.registers.expire()
        self._apply_changes()
        self._note_disconnect()
        self._reporter.check()
        self._reporter.publish_begin()
        self._sync_log.check(self.sync)
        self._reporter.publish_due()
        self._set_timer()


def _watcher_of(connector: Connector) -> SupportsWatch:
    if not supports(connector, SupportsWatch):
        raise ConfigurationError(
            "connector", "does not support watch(), which is needed to receive constraints"
        )
    return connector
