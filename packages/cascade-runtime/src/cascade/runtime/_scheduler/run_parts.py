"""Parts that one run is given, and that its scheduler hands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cascade.interfaces import Clock
    from cascade.runtime._admission.controller import AdmissionController
    from cascade.runtime._scheduler.events import EventEmitter
    from cascade.runtime._scheduler.recording import Recording
    from cascade.runtime._support.loop_lag import LoopLagMonitor


class RunParts(NamedTuple):
    """What one run has of its engine, and what was made for it alone."""

    run_id: str
    clock: Clock
    controller: AdmissionController
    monitor: LoopLagMonitor
    events: EventEmitter
    recording: Recording | None = None
    """None if the engine does not record runs."""
    workflow: str = ""
    lease_term: int | None = None
