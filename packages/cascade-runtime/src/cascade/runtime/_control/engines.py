"""The engines that use one connector: they share its constraints and its reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from cascade.interfaces import Clock, EventBus, ProgressEvent, TaskStateEvent
from cascade.runtime._admission.buckets import TokenBuckets
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.limits import Effective, Key
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.waits import Wait, waits_of
from cascade.runtime._support.shared import Shared


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
        self._spare: AdmissionPolicy | None = None  # has the constraints in force, and no runs
        self._buses: Shared[Callable[[], None]] = Shared()
        self._runs: dict[str, tuple[AdmissionController, EventBus]] = {}  # by run id

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

    def waits(self, run_id: str, paused: Mapping[str, int]) -> Counter[Wait]:
        """Count the tasks of a run that wait under each reason; ``paused`` ones wait at a checkpoint, by name."""
        if run_id not in self._runs:
            return Counter()
        policy = self._runs[run_id][0].policy
        return waits_of(policy, run_id, self._clock.monotonic(), paused=paused)

    def apply(self, changes: Mapping[Key, Effective | None]) -> None:
        """Put changed constraints in force in every engine."""
        for controller in list(self._controllers):
            controller.apply(changes)
        if self._spare is not None:
            self._spare.apply(changes, self._clock.monotonic())

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
        if not self._runs:  # the last call has ended that an engine still counted
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
