"""Engines that use one connector, and what they share for each broker as long as the process lives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from cascade.interfaces import (
    Clock,
    Connector,
    EventBus,
    ProgressEvent,
    SupportsBroker,
    TaskStateEvent,
    supports,
)
from cascade.interfaces.logs import get_logger
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.rules import Effective, Key, TokenBuckets
from cascade.runtime._admission.wait_reasons import Wait, texts_of, waits_of
from cascade.runtime._registers.cancels import Arrivals
from cascade.runtime._run_reports.active_run import ActiveRun
from cascade.runtime._run_reports.run_history import RunHistory
from cascade.runtime._support.use_counts import Shared
from cascade.transport.state_log import StateLog

T = TypeVar("T")

_log = get_logger("cascade.constraints")

_Values = dict[tuple[str, str], T]


class ByBroker(Generic[T]):
    """One value for each broker, project and source, for as long as the process lives.

    A broker is known by host and port, or by the hub of a connector inside the process; for any other
    connector it is the connector itself.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.by_address: dict[tuple[str, int], _Values[T]] = {}
        self.by_hub: WeakKeyDictionary[Hashable, _Values[T]] = WeakKeyDictionary()

    def get(self, connector: Connector, *, project: str, source: str) -> T:
        """Return the value; make it if there is none."""
        values, key = self._of_broker(connector), (project, source)
        if key not in values:
            values[key] = self._make()
        return values[key]

    def _of_broker(self, connector: Connector) -> _Values[T]:
        if supports(connector, SupportsBroker):
            return self.by_address.setdefault((connector.hostname, connector.port), {})
        try:
            hub: Any = getattr(connector, "hub", connector)
            return self.by_hub.setdefault(hub, {})
        except TypeError:
            # it cannot be hashed or referenced weakly: its values live as long as one manager
            return {}


class BrokerState(NamedTuple):
    """What the engines with one broker, project and source share, however many runs there are one after another.

    A limit of two a minute holds across short runs. A clear drops the bucket of its scope (see the
    admission policy).
    """

    buckets: TokenBuckets
    history: RunHistory
    cancels: Arrivals


_BROKER_STATES = ByBroker(lambda: BrokerState({}, RunHistory(), {}))


def broker_state(connector: Connector, *, project: str, source: str) -> BrokerState:
    """Return the state that all engines with this broker, project and source share."""
    return _BROKER_STATES.get(connector, project=project, source=source)


class PeerEngines:
    """Counts the managers of each source: two with one name write their reports on the same topics."""

    def __init__(self) -> None:
        self._by_source: Counter[str] = Counter()
        self._duplicate_names = StateLog(_log)

    def join(self, source: str) -> None:
        """Add a manager; the first time that two have the same source, log a warning."""
        self._by_source[source] += 1
        if self._by_source[source] > 1:
            self._duplicate_names.failed(
                source,
                "two engines of this process are both called %s, so their reports look alike; "
                "give each engine a name of its own (source_id of its connector)",
                source,
            )

    def leave(self, source: str) -> None:
        """Remove a manager."""
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]


class ConnectedEngines:
    """The admission of every engine that has had a run on the connector, and the buses of active runs.

    Between runs the constraints in force are kept ready for the next engine, whichever that is: a run
    begins under them at once, however many there are.

    :param on_event: called with each event of a task.
    :param on_progress: called with each progress of such a task.
    :param on_step: called after each step of admission in which a constraint is in force.
    """

    def __init__(
        self,
        source: str,
        broker: tuple[str, int] | None,
        buckets: TokenBuckets,
        *,
        clock: Clock,
        on_event: Callable[[TaskStateEvent], None],
        on_progress: Callable[[ProgressEvent], None],
        on_step: Callable[[], None],
    ) -> None:
        self._source = source
        self._broker = broker
        self._buckets = buckets
        self._clock = clock
        self._on_event = on_event
        self._on_progress = on_progress
        self._on_step = on_step
        self._controllers: dict[AdmissionController, None] = {}
        # has the constraints in force, and no runs
        self._spare: AdmissionPolicy | None = None
        self._buses: Shared[Callable[[], None]] = Shared()
        # by run id
        self._runs: dict[str, tuple[AdmissionController, EventBus]] = {}

    @property
    def running(self) -> int:
        """How many tasks run in the scope of a constraint."""
        return sum([controller.policy.gates.running for controller in self._controllers])

    @property
    def have_runs(self) -> bool:
        """Whether any run is active."""
        return bool(self._runs)

    def add(self, controller: AdmissionController, in_force: Callable[[], Mapping[Key, Effective]]) -> None:
        """Put the constraints in force in one more engine; do nothing for one that is here."""
        if controller in self._controllers:
            return
        self._controllers[controller] = None
        controller.source, controller.broker = self._source, self._broker
        controller.policy.buckets = self._buckets
        controller.on_step = self._stepped
        spare, self._spare = self._spare, None
        gates = spare.take_gates() if spare is not None else None
        if gates is None or controller.policy.constrained:
            controller.apply(in_force())
        else:
            controller.policy.adopt_gates(gates)

    def begin_run(self, run_id: str, controller: AdmissionController, bus: EventBus) -> None:
        """Observe the events of a run."""
        self._runs[run_id] = (controller, bus)
        self._buses.join(bus, make=lambda: self._observe(bus))

    def end_run(self, run_id: str) -> None:
        """Stop observing the events of a run; after the last run of an engine, keep its gates for the next. Idempotent."""
        _, bus = self._runs.pop(run_id, (None, None))
        if bus is not None and (unsubscribe := self._buses.leave(bus)) is not None:
            unsubscribe()
        self._remove_idle()

    def waits(self, run: ActiveRun) -> Counter[Wait]:
        """Count the tasks of a run that wait under each reason now."""
        waits: Counter[Wait] = Counter()
        if run.run_id in self._runs:
            policy = self._runs[run.run_id][0].policy
            paused = Counter(run.running[task_id].task_name for task_id in run.paused)
            waits = waits_of(policy, run.run_id, self._clock.monotonic(), paused=paused)
        waits[Wait("slot")] += run.facts.waits_for_slot()
        for name, waiting in run.facts.over_map_limits().items():
            waits[Wait("slot", name)] += waiting
        if run.waits_for_sync:
            waits[Wait("sync")] += max(sum(run.facts.known.values()), 1)
        return waits

    def apply(self, changes: Mapping[Key, Effective | None]) -> None:
        """Put changed constraints in force in every engine."""
        for controller in list(self._controllers):
            controller.apply(changes)
        if self._spare is not None:
            self._spare.apply(changes, self._clock.monotonic())

    def gates_turned(self, keys: Iterable[Key]) -> None:
        """Have every engine obey gates that have closed or opened."""
        for controller in list(self._controllers):
            controller.gates_turned(keys)

    def texts(self, run: ActiveRun, waits: Iterable[Wait]) -> Mapping[Wait, str]:
        """Return the reasons of closed gates for which tasks of a run wait, in words."""
        return texts_of(self._runs[run.run_id][0].policy, waits) if run.run_id in self._runs else {}

    def forget_buckets(self, in_force: Callable[[Key], bool]) -> None:
        """Drop the token buckets of scopes whose rate limit the broker no longer has."""
        for scope in [scope for scope in self._buckets if not in_force((scope, "rate_limit"))]:
            del self._buckets[scope]

    def clear(self) -> None:
        """Lift every constraint in every engine, and forget the engines and their runs."""
        for controller in list(self._controllers):
            controller.on_step = None
            controller.clear()
        self._controllers.clear()
        self._spare = None
        for run_id in list(self._runs):
            self.end_run(run_id)

    def _observe(self, bus: EventBus) -> Callable[[], None]:
        ends = (
            bus.subscribe(TaskStateEvent, self._on_event),
            bus.subscribe(ProgressEvent, self._on_progress),
        )

        def end() -> None:
            for each in ends:
                each()

        return end

    def _stepped(self) -> None:
        # the last call has ended that an engine still counted
        if not self._runs:
            self._remove_idle()
        self._on_step()

    def _remove_idle(self) -> None:
        """Forget the engines without a run, except those that still count a call which could not be stopped."""
        busy = {controller for controller, _ in self._runs.values()}
        for controller in [each for each in self._controllers if each not in busy]:
            self._remove(controller)

    def _remove(self, controller: AdmissionController) -> None:
        if (gates := controller.policy.take_gates()) is None:
            return
        del self._controllers[controller]
        controller.on_step = None
        if self._spare is None:
            self._spare = AdmissionPolicy()
            self._spare.buckets = self._buckets
            self._spare.adopt_gates(gates)
