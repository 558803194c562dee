"""Parts of an engine: what each of its runs is given, checked and made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.interfaces import Clock, Connector, EventBus, Executor, Middleware, supports
from cascade.interfaces.events import Tag
from cascade.interfaces.redaction import Redactor
from cascade.runtime._admission.capacities import SystemResources
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._control.engine_control import EngineControl
from cascade.runtime._support.clock import SystemClock
from cascade.runtime._support.settings import check_settings, checked_redactor, checked_tags
from cascade.spec import Resource

if TYPE_CHECKING:  # a run imports the features that it uses, and no others
    from cascade.interfaces import CacheBackend, StateBackend, SupportsControlMemory
    from cascade.interfaces.gates import Gate
    from cascade.interfaces.observer import Observer
    from cascade.runtime._admission.rules import TokenBucket
    from cascade.runtime._outbox.outbox import Outbox
    from cascade.spec.policies import Rate

_declared_buckets: dict[tuple[str, Rate], TokenBucket] = {}
"""Buckets of the rates that tasks declare, for all engines of this process: a run begins with what the one before has left."""


class EngineParts:
    """Everything that an engine gives to each of its runs; see :class:`Engine`."""

    def __init__(
        self,
        *,
        connector: Connector | None,
        bus: EventBus,
        redactor: Redactor,
        log_level: int | None,
        control: EngineControl,
        admission: AdmissionController,
        clock: Clock,
        outbox: Outbox | None,
        executor: Executor | None,
        executors: Mapping[str, Executor] | None,
        resources: Sequence[Resource],
        middleware: Sequence[Middleware],
        observers: Sequence[Observer],
        cache_backend: CacheBackend | None,
        state_backend: StateBackend | None,
        stop_timeout: float,
        close_timeout: float,
    ) -> None:
        self.connector, self.outbox, self.bus = connector, outbox, bus
        self.redactor, self.log_level = redactor, log_level
        self.control, self.admission = control, admission
        self.executor, self.executors = executor, dict(executors or {})
        self.resources, self.middleware = tuple(resources), tuple(middleware)
        self.observers = tuple(observers)
        self.cache_backend, self.state_backend = cache_backend, state_backend
        self.clock, self.stop_timeout, self.close_timeout = clock, stop_timeout, close_timeout

    def cache(self) -> CacheBackend:
        """Return what keeps the values of cached tasks: for all runs of the engine the same."""
        if self.cache_backend is None:
            from cascade.runtime.cache import MemoryCache

            self.cache_backend = MemoryCache(clock=self.clock)
        return self.cache_backend


def engine_parts(
    *,
    connector: Connector | None,
    bus: EventBus,
    clock: Clock | None,
    redactor: Redactor | None,
    system_resources: Mapping[str, float] | None,
    require_control: bool,
    labels: Mapping[str, Tag] | None,
    host_report: bool,
    logs: str | None,
    gates: Sequence[Gate],
    **handed_on: Any,
) -> EngineParts:
    """Check the settings of an engine, and make what its runs share; ``handed_on`` are the other :class:`EngineParts`.

    :raises ConfigurationError: naming the first setting that is wrong.
    """
    check_settings(connector=connector, system_resources=system_resources, bus=bus, clock=clock, **handed_on)
    redactor = checked_redactor(redactor)
    # also without a connector: a wrong one is refused
    level = _checked_level(logs)
    admission = _new_admission(system_resources, clock)
    clock = clock or SystemClock()
    # the broker's constraints arrive in control, which changes what admission permits
    control = EngineControl(
        connector, admission, clock=clock, bus=bus, required=require_control, redactor=redactor,
        labels=checked_tags("Engine(labels=)", {} if labels is None else labels),
        host_report=host_report, memory=_control_memory(handed_on["state_backend"]), gates=gates,
    )  # fmt: skip
    return EngineParts(
        connector=connector, bus=bus, redactor=redactor, log_level=level if connector is not None else None,
        control=control, admission=admission, clock=clock, **handed_on,
    )  # fmt: skip


def _new_admission(resources: Mapping[str, float] | None, clock: Clock | None) -> AdmissionController:
    # tests that set their own clock begin with full buckets
    buckets = _declared_buckets if clock is None else None
    policy = AdmissionPolicy(SystemResources(resources), declared_buckets=buckets)
    return AdmissionController(policy, clock=clock or SystemClock())


def _checked_level(logs: object) -> int | None:
    if logs is None:
        return None
    from cascade.runtime._scheduler.log_lines import checked_level

    return checked_level(logs)


def _control_memory(state: StateBackend | None) -> SupportsControlMemory | None:
    """Return the state backend if it also keeps constraints, so that a pause outlives the process."""
    if state is None:
        return None
    from cascade.interfaces import SupportsControlMemory

    return state if supports(state, SupportsControlMemory) else None
