"""What a named engine obeyed, its next process obeys, until the broker's own set has arrived."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from desk import Desk

from cascade.interfaces import ConnectorStatistics
from cascade.runtime import Engine, LocalConnector, LocalHub, SqliteState
from cascade.spec import task
from cascade.testing import ManualClock
from cascade.testkit import eventually

PAUSE = "cascade/constraints/global/@pause"
RATE = "cascade/constraints/task/other/@rate_limit"

ran: list[int] = []


@task
async def step(x: int) -> int:
    ran.append(x)
    return x


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


class Unlinked(LocalConnector):
    """Has no link to its broker."""

    def __init__(self) -> None:
        super().__init__(LocalHub(), source_id="line-3")

    def statistics(self) -> ConnectorStatistics:
        return ConnectorStatistics(linked=False)

    def watch(self, *filters: str) -> Any:
        return self._silence()

    async def _silence(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None


class Runs:
    """Runs of one source with one folder, each in an engine of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = SqliteState(folder, power_safe=False)
        self.clock: ManualClock | None = None

    def start(self, connector: LocalConnector, number: int, **settings: Any) -> asyncio.Task[int]:
        engine = Engine(connector=connector, state_backend=self.state, clock=self.clock)
        return asyncio.create_task(engine.run(step(number), run_id=f"run-{number}", **settings))

    def text(self) -> str:
        return "".join(path.read_text() for path in self.state.folder.glob("control-*.json"))

    async def saved(self) -> Mapping[str, Any]:
        return (await self.state.load_control("line-3")) or {}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


async def stop(run: asyncio.Task[int]) -> None:
    run.cancel()
    await asyncio.wait([run])


async def paused_once(runs: Runs, *, expires_at: float | None = None, fails: list[int] | None = None) -> None:
    """Have one process of the engine obey a pause, and end."""
    hub = LocalHub()
    async with Desk(hub) as desk:
        await desk.put("task:other", "rate_limit", rate="10/m")
        await desk.put("task:other", "cancel", expires_at=4e9)
        await desk.put("global", "pause", expires_at=expires_at)
        run = runs.start(LocalConnector(hub, source_id="line-3"), 1)
        await eventually(lambda: bool(fails) or PAUSE in runs.text())
        await stop(run)
    assert ran == []


async def test_a_paused_run_goes_on_paused_without_a_broker(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    """And says so in a warning that names the way out."""
    await paused_once(runs)
    assert (await runs.saved())["registers"].keys() == {PAUSE, RATE}, "a cancel is not remembered"
    run = runs.start(Unlinked(), 1)

    def warnings() -> list[str]:
        return [each.getMessage() for each in caplog.records if "last process obeyed" in each.getMessage()]

    await eventually(warnings)
    done, _ = await asyncio.wait([run], timeout=0.3)
    assert not done
    assert ran == []
    (warning,) = warnings()
    assert warning.startswith("line-3: these constraints are in force because the last process obeyed them")
    assert PAUSE in warning
    assert "forget_control=True, or cascade run --forget-control" in warning
    await stop(run)


async def test_the_set_of_the_broker_replaces_what_is_remembered(runs: Runs) -> None:
    """A pause that was cleared while the engine was away is lifted, and is no longer remembered."""
    await paused_once(runs)
    hub = LocalHub()
    assert await runs.start(LocalConnector(hub, source_id="line-3"), 2) == 2

    async def nothing_is_saved() -> bool:
        return not (await runs.saved())["registers"]

    await eventually(nothing_is_saved)  # a run waits at most 1 s for the disk
    assert await runs.start(Unlinked(), 3) == 3


async def test_an_expiry_goes_on_while_no_process_runs(runs: Runs) -> None:
    """On the wall clock."""
    runs.clock = ManualClock()
    await paused_once(runs, expires_at=runs.clock.now() + 60)
    runs.clock.jump(61)
    assert await runs.start(Unlinked(), 4) == 4


async def test_forget_control_begins_without_it_loudly(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    """The run that says so, and those after it."""
    await paused_once(runs)
    assert await runs.start(Unlinked(), 5, forget_control=True) == 5
    assert f"line-3: the constraints that the last process obeyed are forgotten: {PAUSE}" in caplog.text
    assert await runs.saved() == {}
    assert await runs.start(Unlinked(), 6) == 6


async def test_another_source_and_an_unnamed_engine_remember_nothing(runs: Runs) -> None:
    """Only a named source finds its file again."""
    await paused_once(runs)
    assert await runs.start(LocalConnector(LocalHub(), source_id="line-4"), 7) == 7
    assert await runs.start(LocalConnector(LocalHub()), 8) == 8
    assert (await runs.saved())["registers"]
