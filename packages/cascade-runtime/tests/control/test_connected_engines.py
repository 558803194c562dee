"""The engines of one connector: what they share, and what ends with them."""

from collections.abc import Sequence

from fakes import FakeClock

from cascade.interfaces import TaskFields, TaskStateEvent
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._control.engines import ConnectedEngines
from cascade.runtime.bus import EventBus


def test_no_event_arrives_after_the_engines_were_cleared() -> None:
    """A run may go on when its connector is disconnected: its events concern no report any more."""
    clock, arrived = FakeClock(), list[TaskFields]()

    def arrive(fields: Sequence[TaskFields]) -> None:
        arrived.extend(fields)

    engines = ConnectedEngines(
        "press",
        None,
        {},
        clock=clock,
        on_events=arrive,
        on_progress=lambda _: None,
        on_step=lambda: None,
    )
    bus, admission = EventBus(), AdmissionController(AdmissionPolicy(), clock=clock)
    engines.add(admission, dict)
    engines.begin_run("r", admission, bus)
    assert bus.wants(TaskStateEvent)
    engines.clear()
    assert not engines.have_runs
    assert bus.handlers() == []
