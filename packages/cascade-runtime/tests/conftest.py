"""These tests share stand-ins, tasks, observers and fixtures: put their folder where Python finds it."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascade.runtime import LocalHub
from cascade.runtime._control import constraint_stream
from cascade.runtime._scheduler import ready_queue
from cascade.runtime._support import loop_steps
from cascade.transport import event_loop

sys.path.insert(0, str(Path(__file__).parent))

from desk import Desk


@pytest.fixture
def hub() -> LocalHub:
    """Return what connects the connectors of one test."""
    return LocalHub()


@pytest.fixture
async def desk(hub: LocalHub) -> AsyncIterator[Desk]:
    """Yield a client that writes constraints and reads reports, outside of the engine."""
    async with Desk(hub) as outside:
        yield outside


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no work yield because the machine is slow: what is ready at one time starts in one iteration of the loop."""
    for module in (constraint_stream, loop_steps, ready_queue, event_loop):
        monkeypatch.setattr(module, "LOOP_BUDGET", 600.0)
