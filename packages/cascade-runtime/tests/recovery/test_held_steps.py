"""Recorded runs whose steps end faster than the disk takes their rows: the memory and the loop stay free."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cascade.runtime import Engine, SqliteState
from cascade.runtime._durable import journal as journals
from cascade.runtime._durable.run_file import RunFile
from cascade.runtime._storage import group_commit
from cascade.spec import task
from cascade.testkit import eventually

STEPS = 1_000
IN_FLIGHT = 200
"""More than the rows that wait and two batches of the ready queue, and far fewer than all steps."""


@pytest.mark.parametrize("together", [False, True], ids=["each ends at once", "all end together"])
async def test_no_further_step_starts_while_many_rows_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, together: bool
) -> None:
    """While the disk hangs, few steps are in memory, however many could start; when it answers, all start and end."""
    monkeypatch.setattr(journals, "MAX_WAITING", 20)
    monkeypatch.setattr(group_commit, "MAX_BATCH", 10)
    disk_answers, transact = threading.Event(), RunFile.transact
    disk_answers.set()
    begun: list[int] = []
    all_begun = asyncio.Event()

    def transact_late(file: RunFile, write: Callable[[], None]) -> None:
        disk_answers.wait()
        transact(file, write)

    @task
    async def noop(x: int) -> int:
        if not begun:
            disk_answers.clear()
        begun.append(x)
        if len(begun) == STEPS:
            all_begun.set()
        if together:
            await all_begun.wait()
        return x

    monkeypatch.setattr(RunFile, "transact", transact_late)
    engine = Engine(state_backend=SqliteState(tmp_path / "runs", power_safe=False))
    run = asyncio.create_task(engine.run(noop.map(x=range(STEPS)), run_id="night"))
    try:
        await eventually(lambda: begun)
        for _ in range(3 * STEPS):  # each iteration could start a step at least
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) < IN_FLIGHT
    finally:
        disk_answers.set()
    assert await asyncio.wait_for(run, 30) == list(range(STEPS))
    assert sorted(begun) == list(range(STEPS))
