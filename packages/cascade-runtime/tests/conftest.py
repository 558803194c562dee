"""These tests share stand-ins, tasks and observers: put their folder where Python finds it."""

import sys
from pathlib import Path

import pytest

from cascade.runtime._control import manager
from cascade.runtime._scheduler import ready_queue
from cascade.runtime._support import pace
from cascade.transport import yielding

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no work yield because the machine is slow: what is ready at one time starts in one iteration of the loop."""
    for module in (manager, pace, ready_queue, yielding):
        monkeypatch.setattr(module, "LOOP_BUDGET", 600.0)
