"""The line that names what a run leaves behind."""

import asyncio

import pytest

from cascade.runtime._run import StillRunning
from cascade.runtime._support.loops import abandoned

SUPPRESS = " that suppress asyncio.CancelledError"


async def named(*names: str) -> list[asyncio.Task[None]]:
    """Return tasks that wait; one whose name ends with a dot has ended."""
    tasks = [asyncio.create_task(endless(over=name.endswith(".")), name=name) for name in names]
    await asyncio.sleep(0)
    return tasks


async def endless(*, over: bool) -> None:
    if not over:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("tasks", "resources", "calls", "said"),
    [
        (["b", "over.", "a"], [], 0, f"tasks (a, b){SUPPRESS}"),
        ([], ["db", "over.", "cache"], 0, f"resources (cache, db){SUPPRESS}"),
        (["a"], ["db"], 0, f"tasks (a); resources (db){SUPPRESS}"),
        (["over."], ["db"], 0, f"resources (db){SUPPRESS}"),
        (["a"], ["over."], 3, f"tasks (a){SUPPRESS}; 3 calls that cannot be stopped"),
        (["over."], [], 2, "2 calls that cannot be stopped"),
        (["over."], ["over."], 0, None),
        ([], [], 0, None),
    ],
)
async def test_a_run_names_what_it_leaves_behind_in_one_line(
    tasks: list[str], resources: list[str], calls: int, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """What has ended meanwhile is not named, and the loop does not name the rest again when it closes."""
    left = StillRunning()
    left.tasks = await named(*tasks)
    left.resources = await named(*resources)
    left.calls = calls
    left.report("night")
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ([f"run night ended, but these run on: {said}"] if said else [])
    for each in (*left.tasks, *left.resources):
        assert (each in abandoned) is not each.done()
        each.cancel()
    await asyncio.gather(*left.tasks, *left.resources, return_exceptions=True)
