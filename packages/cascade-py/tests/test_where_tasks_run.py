"""The manual's table says what a task can do where it runs: each cell is tried."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import multiprocessing
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cascade as cs
from cascade.interfaces import DataEvent, ProgressEvent, RunCancelledError, UsageError
from cascade.interfaces.control_messages import constraint_message
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import LocalConnector, LocalHub
from cascade.testkit import eventually
from cascade.testkit.waiting import busyness

pytestmark = [pytest.mark.process, pytest.mark.full, pytest.mark.timeout(240)]

PAGE = (Path(__file__).parents[1] / "docs/executors.md").read_text("utf-8")
TABLE = PAGE.partition("Where a task runs decides")[2].partition("\n\n")[2].partition("\n\n")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines()[2:]]

MANY = 160
"""Turns of a task, of 5 ms each, after which it has not waited."""


@cs.task
def watched(folder: str, visits: bool) -> str:
    """Go on until a file ``end`` exists; leave files that show what works and how it ended."""
    place, turn = Path(folder), 0
    try:
        cs.publish("value", 1)
    except UsageError:
        (place / "refused").touch()
    (place / "key").write_text(cs.step().key)
    try:
        while not (place / "end").exists():
            turn += 1
            if visits:
                cs.checkpoint(done=turn, total=1_000_000)  # type: ignore[unused-awaitable]
            (place / "turn").write_text(str(turn))
            time.sleep(0.005)
    except BaseException:
        (place / "stopped").touch()
        raise
    return "ended"


@cs.task
def doubled(n: int, folder: str) -> int:
    with (Path(folder) / "calls").open("a") as file:
        file.write("called\n")
    return 2 * n


class Desk:
    """One engine on one executor, and who steers it."""

    def __init__(self, executor: Any, folder: Path) -> None:
        self.hub, self.folder, self.seen = LocalHub(), folder, set[type]()
        self.engine = cs.Engine(executor=executor, connector=LocalConnector(self.hub, source_id="line"))
        for kind in (ProgressEvent, DataEvent):
            self.engine.bus.subscribe(kind, lambda event: self.seen.add(type(event)))

    def steer(self, kind: str, *, lift: bool = False) -> None:
        message = {**constraint_message("run:r", kind, {}), "id": kind}
        payload = b"" if lift else json.dumps(message).encode()
        self.hub.publish(constraint_topic("run:r", kind), payload, retain=True)

    def turn(self) -> int:
        try:
            return int((self.folder / "turn").read_text() or 0)
        except (FileNotFoundError, ValueError):  # not begun, or being written
            return 0

    async def waits(self) -> bool:
        """Return whether the task stands still; it does not if it makes many turns."""
        begun, many = self.turn(), MANY * busyness()
        last, same = begun, 0
        while last - begun < many:
            await asyncio.sleep(0.05)
            now = self.turn()
            same = same + 1 if now == last else 0
            last = max(last, now)
            if same >= 24:
                return True
        return False


async def ended(desk: Desk, *, visits: bool) -> str:
    """Cancel a task that runs; return how that ended it: yes, at a checkpoint, or no."""
    run = asyncio.create_task(desk.engine.run(watched(str(desk.folder), visits), run_id="r"))
    await eventually(lambda: desk.turn() > 0, 60)
    desk.steer("cancel")
    with pytest.raises(RunCancelledError):
        await run
    stops = not (await desk.waits()) and not (desk.folder / "stopped").exists()
    (desk.folder / "end").touch()
    return "no" if stops else "yes"


async def cells(make: Callable[[], Any], folder: Path) -> list[str]:
    """Return the row of the table for an executor."""
    executor = make()
    places = [folder / name for name in ("steered", "cancelled", "deaf")]
    for place in places:
        place.mkdir()
    desk = Desk(executor, places[0])
    run = asyncio.create_task(desk.engine.run(watched(str(places[0]), True), run_id="r"))
    await eventually(lambda: desk.turn() > MANY, 60)
    desk.steer("pause")
    pauses = await desk.waits()
    desk.steer("pause", lift=True)
    (places[0] / "end").touch()
    assert await run == "ended"
    at_checkpoint = await ended(Desk(executor, places[1]), visits=True)
    anywhere = await ended(Desk(executor, places[2]), visits=False)
    state = cs.SqliteState(folder / "state")
    engine = cs.Engine(executor=executor, state_backend=state, system_resources={"gpu": 1})
    target = doubled.with_cache(ttl=600).with_constraints(gpu=1)(21, str(folder))
    for run_id in ("one", "one", "two"):  # from the record, and from the cache
        assert await engine.run(target, run_id=run_id) == 42
    await executor.close()
    return [
        "yes" if ProgressEvent in desk.seen else "no, one warning in the worker",
        "yes" if pauses else "no",
        "yes"
        if anywhere == "yes"
        else "at a checkpoint"
        if at_checkpoint == "yes"
        else "no, it runs to its end",
        "yes" if DataEvent in desk.seen else "no, it raises `UsageError`",
        "yes" if (places[0] / "key").read_text() == "watched:0" else "no",
        "yes" if (folder / "calls").read_text() == "called\n" else "no",
    ]


def spawned() -> Any:
    return concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))


MADE: list[Callable[[], Any]] = [
    lambda: cs.executor("thread", 2),
    lambda: cs.executor("process", 2),
    lambda: cs.executor("dask", workers=2, processes=False),
    lambda: cs.executor("futures", concurrent.futures.ThreadPoolExecutor(2)),
    lambda: cs.executor("futures", spawned()),
]


def test_the_table_has_a_row_for_each_executor() -> None:
    assert len(ROWS) == len(MADE)
    assert [re.findall(r'"(\w+)"', row[0])[0] for row in ROWS] == [
        "thread",
        "process",
        "dask",
        "futures",
        "futures",
    ]


@pytest.mark.parametrize("row", range(len(MADE)))
async def test_each_cell_of_a_row_is_true(row: int, tmp_path: Path) -> None:
    assert await cells(MADE[row], tmp_path) == ROWS[row][1:]
