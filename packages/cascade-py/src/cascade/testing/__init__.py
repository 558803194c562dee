"""Helpers for tests of workflows: a recorder of events, a clock set by hand, a fake executor, fake resources."""

from cascade.runtime import override_resource
from cascade.testing.clock import ManualClock
from cascade.testing.executor import FakeExecutor
from cascade.testing.recorder import Recorder

__all__ = ["FakeExecutor", "ManualClock", "Recorder", "override_resource"]
