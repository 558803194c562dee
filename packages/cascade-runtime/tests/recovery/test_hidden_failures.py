"""Failures behind recorded values: a run that goes on never succeeds without the step that had failed."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import RecordedStatus, StepState
from cascade.runtime import Engine, SqliteState
from cascade.spec import LazyResult, Router, task

ran: Counter[str] = Counter()
broken: set[str] = set()


def note(what: str) -> None:
    ran[what] += 1
    if what in broken:
        raise ValueError(what)


@task
async def upload() -> int:
    note("upload")
    return 1


@task
async def listed() -> list[int]:
    note("listed")
    return [1, 2]


@task(mode="inline")
def wanted() -> bool:
    note("wanted")
    return False


@task(mode="inline")
def add(x: int = 0, y: int = 0) -> int:
    note("add")
    return x + y


@task(mode="inline")
def total(values: Any) -> Any:
    note("total")
    return values


@task(mode="inline")
def returned(turns: int) -> LazyResult[int]:
    note("returned")
    return add(declined()) if turns == 0 else add(returned(turns - 1))


@task(mode="inline")
def last() -> int:
    note("last")
    return 9


def declined(lazy: LazyResult[Any] | None = None) -> LazyResult[int]:
    """A call that is not made, so that a failure of its argument hides behind its value, 7."""
    return add(upload() if lazy is None else lazy).run_if(wanted(), otherwise=7)


SHAPES: dict[str, Callable[[], LazyResult[Any]]] = {
    "a call": lambda: add(declined()),
    "what comes before": lambda: add(add().after(upload()).run_if(wanted(), otherwise=7)),
    "a map": lambda: total(add.map(x=[1, upload()]).run_if(wanted(), otherwise=[7])),
    "items of a map": lambda: total(add.map(x=[declined(), 3])),
    "a skipped call": lambda: add(add().after(add().after(upload()).run_if(wanted()))),
    "far behind": lambda: add(add(add(declined()), y=1)),
    "the choice of a route": lambda: total(Router(wanted(), {False: declined(), True: add()})),
    "what a route needs": lambda: total(Router(wanted(), {False: add(declined()), True: add()})),
    "another call instead": lambda: add(add(upload()).run_if(wanted(), otherwise=add(7))),
    "a returned call": lambda: add(returned(0)),
    "a call returned by a returned one": lambda: add(returned(2)),
    "a map of returned calls": lambda: total(returned.map(turns=[0, 1])),
}


class Night:
    """A run whose attempts go on after failures."""

    def __init__(self, folder: Path, shape: Callable[[], LazyResult[Any]]) -> None:
        self.folder, self.shape = folder, shape

    async def attempt(self) -> list[Any]:
        ran.clear()
        engine = Engine(state_backend=SqliteState(self.folder, power_safe=False))
        found: list[Any] = await engine.run([self.shape(), last()], run_id="night", on_failure="continue")
        return found

    async def fails(self) -> str:
        with pytest.raises(ExceptionGroup) as raised:
            await self.attempt()
        (failure,) = {str(each) for each in raised.value.exceptions}
        return failure

    def status(self) -> RecordedStatus:
        return SqliteState(self.folder).runs()[0].status


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()
    broken.clear()


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_step_that_failed_runs_again_also_behind_recorded_values(shape: str, tmp_path: Path) -> None:
    """It alone runs, in each attempt until it has a value; what had taken 7 in its place is taken from the record."""
    night = Night(tmp_path, SHAPES[shape])
    broken.add("upload")
    await night.fails()
    assert ran["total"] + ran["add"]
    uploads = ran["upload"]
    for _ in range(2):
        assert await night.fails() == "upload"
        assert ran == {"upload": uploads}
        assert night.status() is RecordedStatus.FAILED
    broken.clear()
    values = await night.attempt()
    assert (ran, night.status()) == ({"upload": uploads}, RecordedStatus.SUCCEEDED)
    assert await night.attempt() == values
    assert not ran
    assert {step.state for step in SqliteState(tmp_path).steps("night")} <= {
        StepState.COMPLETED,
        StepState.EXPANDED,
    }


async def test_a_failure_that_is_no_step_is_found_again(tmp_path: Path) -> None:
    """An item that a value does not have fails the run in each attempt, though nothing takes it."""
    night = Night(tmp_path, lambda: add(declined(listed()[5])))
    for expected in ({"listed": 1, "wanted": 1, "add": 1, "last": 1}, {}, {}):
        assert "list index out of range" in await night.fails()
        assert ran == expected
        assert night.status() is RecordedStatus.FAILED


async def test_a_map_without_items_has_nothing_behind_it(tmp_path: Path) -> None:
    """What its items would take runs in no attempt, also where the run failed elsewhere."""
    night = Night(tmp_path, lambda: total(add.partial(y=declined()).map(x=[])))
    broken.add("last")
    for expected in ({"total": 1, "last": 1}, {"last": 1}):
        assert await night.fails() == "last"
        assert ran == expected
    broken.clear()
    assert await night.attempt() == [[], 9]
    assert ran == {"last": 1}
