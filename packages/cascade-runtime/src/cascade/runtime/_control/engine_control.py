"""Control of one engine: its runs obey the broker's constraints while they are active."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakValueDictionary

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Connector,
    EventBus,
    RunStatus,
    SupportsStatistics,
    SupportsWatch,
    supports,
)
from cascade.interfaces.events import Tag
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._support.clock import SystemClock
from cascade.runtime._support.loops import cancel
from cascade.runtime._support.run_facts import RunFacts
from cascade.runtime._support.settings import RunIdentity
from cascade.runtime._support.shared_connection import SharedConnection
from cascade.transport.waiting import AwakeTimeout

if TYPE_CHECKING:  # only a run under control pays for the import
    from cascade.interfaces import SupportsControlMemory
    from cascade.interfaces.gates import Gate
    from cascade.runtime._control.constraint_manager import ConstraintManager
    from cascade.runtime._gates.declared_gates import DeclaredGates
    from cascade.runtime._support.publish_queue import ReportKeeper

_log = get_logger("cascade.engine")

_Key = tuple[int, str, int]

_PARTS = (
    "cascade.interfaces.abilities",
    "msgspec",
    "cascade.runtime._registers.parsing",
    "cascade.runtime._registers.registers",
    "cascade.runtime._control.reports",
    "cascade.runtime._control.constraint_manager",
)
"""Modules that only a run under control needs, each behind those that it imports: together they take 25 ms."""
_BETWEEN_IMPORTS = 2
"""Iterations of the event loop: its first one ends the sleep of another task, which goes on in the second."""


class EngineControl:
    """Connects an engine to the manager of its connector; the first engine's first run starts that one.

    A manager ends before a run disconnects the connector, and after a user has disconnected it.

    :param required: wait for the constraints, however long it takes, before the first task starts.
    :param gates: those that the program declares.
    :raises ConfigurationError: if control is required and the connector does not support it, or if the gates cannot work.
    """

    _managers: ClassVar[WeakValueDictionary[_Key, ConstraintManager]] = WeakValueDictionary()
    """By the identities of connector and clock, and by project. A manager holds its connector, so the
    identity of the connector is unique while the entry exists."""

    def __init__(
        self,
        connector: Connector | None,
        controller: AdmissionController,
        *,
        clock: Clock,
        bus: EventBus,
        required: bool,
        redactor: Redactor,
        labels: Mapping[str, Tag] | None = None,
        host_report: bool = True,
        memory: SupportsControlMemory | None = None,
        gates: Sequence[Gate] = (),
    ) -> None:
        can_follow = connector is not None and supports(connector, SupportsWatch)
        if required and not can_follow:
            raise ConfigurationError(
                "require_control", "needs a connector with watch(), such as MqttConnector"
            )
        self._connector = connector if can_follow else None
        self._controller = controller
        self._clock = clock
        self._bus = bus
        self._required = required
        self._redactor = redactor
        self._labels = dict(labels or {})
        self._host_report = host_report
        self._memory = memory
        self._offered: frozenset[str] = frozenset()  # workflows
        self._gates = self._declared(gates)
        self._manager_of: dict[str, ConstraintManager] = {}  # by run id
        # by the id of a run that has not begun
        self._prepared: dict[str, ConstraintManager] = {}

    def _declared(self, gates: Sequence[Gate]) -> DeclaredGates | None:
        # most programs declare none, and need not import them
        if isinstance(gates, tuple) and not gates:
            return None
        from cascade.runtime._gates.declared_gates import DeclaredGates, checked_gates

        connector = self._connector
        watcher = connector if connector is not None and supports(connector, SupportsWatch) else None
        checked = checked_gates(gates, can_read=watcher is not None)
        return DeclaredGates(checked, self._controller, watcher, clock=self._clock)

    @property
    def reports_runs(self) -> bool:
        """Whether the engine's runs are reported."""
        return self._connector is not None

    @contextmanager
    def prepared(self, run_id: str) -> Iterator[None]:
        """Undo at the end what was prepared for a run that did not begin."""
        try:
            yield
        finally:
            if (manager := self._prepared.pop(run_id, None)) is not None:
                manager.forget_run(run_id)

    async def prepare(self, run: RunIdentity, *, forget: bool) -> None:
        """Ask for the constraints of a run while its connector connects: the broker can answer both at once.

        :param forget: as for :meth:`begin`.
        """
        if self._connector is not None:
            manager = await self._following(self._connector, forget=forget)
            manager.expect_run(run.run_id, run.workflow)
            self._prepared[run.run_id] = manager

    async def begin(
        self,
        run: RunIdentity,
        target: str,
        facts: RunFacts,
        *,
        start_timeout: AwakeTimeout,
        attempt: int = 1,
        token: str = "",
        forget: bool = False,
        outbox: ReportKeeper | None = None,
    ) -> None:
        """Report a run from now on, and wait for the broker's constraints.

        :param facts: what the run knows of itself and its events do not show.
        :param start_timeout: how long the run waits, unless constraints are required.
        :param token: the one in the run's events.
        :param forget: begin without the constraints that an earlier process obeyed.
        :param outbox: keeps the last reports with the events that wait.
        """
        if self._gates is not None:
            self._gates.begin(run.run_id)
        if self._connector is None:
            return
        from cascade.runtime._run_reports.active_run import ActiveRun

        manager = self._prepared.pop(run.run_id, None)
        if manager is None or not manager.is_following:
            manager = await self._following(self._connector, forget=forget)
        self._manager_of[run.run_id] = manager
        if outbox is not None:
            manager.keep_reports_in(outbox)
        active = ActiveRun(
            run.run_id,
            target,
            self._clock.now() if facts.began is None else facts.began,
            name=run.name,
            tags=run.tags,
            workflow=run.workflow,
            facts=facts,
            attempt=attempt,
            token=token,
        )
        active.waits_for_sync = True
        manager.begin_run(active, self._controller, self._bus)
        await self._wait_for_sync(manager, start_timeout)
        active.waits_for_sync = False

    async def end(self, run_id: str, status: RunStatus, error: str, by: str = "") -> None:
        """Stop reporting the run as active, and report how it ended, and who has ended it. Idempotent."""
        if self._gates is not None:
            await self._gates.end(run_id)
        manager = self._manager_of.pop(run_id, None)
        if manager is not None:
            manager.end_run(run_id, status, error, by)
            manager.end_if_disconnected()

    async def follow(self) -> None:
        """Follow the broker's constraints from now on, also while no run is active."""
        if self._connector is not None:
            manager = await self._following(self._connector, forget=False)
            manager.add_engine(self._controller)

    @contextmanager
    def offering(self, workflows: Iterable[str]) -> Iterator[None]:
        """Obey the constraints of these workflows inside the context, also while none of their runs is active."""
        self._offered = frozenset(workflows)
        try:
            yield
        finally:
            self._offered = frozenset()
            if self._connector is not None and (manager := self._known_manager(self._connector)) is not None:
                manager.offer(self._offered)

    async def known(self, start_timeout: AwakeTimeout) -> None:
        """Wait until the constraints are known, as long as a run would before its first task."""
        if self._connector is not None:
            await self._wait_for_sync(self._find_manager(self._connector), start_timeout)

    def pause_of(self, workflow: str) -> str:
        """Return the scope of a pause that covers every run of the engine, or all of a workflow; empty if there is none."""
        return "" if self._connector is None else self._find_manager(self._connector).pause_of(workflow)

    async def _following(self, connector: Connector, *, forget: bool) -> ConstraintManager:
        """Return the manager that follows this connector, which knows this engine from now on."""
        await _import_parts()
        manager = self._find_manager(connector)
        SharedConnection.around_disconnect(connector, manager.leave, manager.release)
        manager.mask_with(self._redactor)
        manager.describe(self._labels, host_report=self._host_report)
        if self._offered:
            manager.offer(self._offered)
        if self._memory is not None:
            await manager.remember(self._memory, forget=forget)
        return manager

    def _find_manager(self, connector: Connector) -> ConstraintManager:
        """Return the manager that follows this connector on the running loop; start one if there is none."""
        from cascade.runtime._control.constraint_manager import ConstraintManager

        manager = self._known_manager(connector)
        if manager is None:
            manager = ConstraintManager(connector, clock=self._clock, project_id=_project_id())
            manager.start()
            self._managers[self._key(connector)] = manager
        return manager

    def _known_manager(self, connector: Connector) -> ConstraintManager | None:
        """Return the manager that follows this connector on the running loop, if there is one."""
        manager = self._managers.get(self._key(connector))
        return manager if manager is not None and manager.is_following else None

    def _key(self, connector: Connector) -> _Key:
        return id(connector), _project_id(), 0 if isinstance(self._clock, SystemClock) else id(self._clock)

    async def _wait_for_sync(self, manager: ConstraintManager, start_timeout: AwakeTimeout) -> None:
        if not self._required and self._is_known_unlinked():
            return
        synced = asyncio.create_task(manager.synced(required=self._required), name="cascade first sync")
        try:
            if self._required:
                await asyncio.wait({synced})
            else:
                await start_timeout.wait(synced)
            if not synced.done():
                _log.warning(
                    "the broker's constraints are not known yet; the run starts without them and applies "
                    "them when they arrive. To wait for them, set require_control=True"
                )
        finally:
            await cancel([synced], timeout=1.0)

    def _is_known_unlinked(self) -> bool:
        """Return whether the connector reports that it has no link: then no constraint can arrive."""
        connector = self._connector
        return supports(connector, SupportsStatistics) and not connector.statistics().linked


def _project_id() -> str:
    return os.environ.get("CASCADE_PROJECT_ID") or "default"


async def _import_parts() -> None:
    """Import what a run under control needs, one module at a time."""
    for name in _PARTS:
        if name not in sys.modules:
            for _ in range(_BETWEEN_IMPORTS):
                await asyncio.sleep(0)
            import_module(name)
