"""What a resume takes from the journal: in parts, so that the loop serves others, and for several builds at once."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from itertools import pairwise
from typing import Any

import pytest

from cascade.interfaces import RunInfo
from cascade.runtime import Engine
from cascade.runtime._graph.node import Kind
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery.changed_steps import ChangeFinder
from cascade.runtime._recovery.opening import open_recording
from cascade.runtime._recovery.restorer import Restorer
from cascade.runtime._recovery.step_digests import StepDigests
from cascade.runtime._support.clock import SystemClock
from cascade.runtime._support.settings import ResumeRules
from cascade.spec import LazyResult, MapCall, call_of, task
from cascade.testkit.state import MemoryJournal, MemoryState
from cascade.transport.event_loop import LOOP_BUDGET

MANY = 5_000


class Hurried(SystemClock):
    """A clock by which whatever is done takes longer than the loop may be kept."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += LOOP_BUDGET
        return self.seconds


class Looking(MemoryJournal):
    """Counts the steps that were looked at: in all, and in the thread of the loop."""

    looked = on_loop = 0

    def known(self, key: str) -> Any:
        self.looked += 1
        self.on_loop += threading.current_thread() is threading.main_thread()
        return super().known(key)


@task
async def double(x: int) -> int:
    return 2 * x


@task
async def numbers() -> list[int]:
    return [*range(MANY)]


@task
async def total(values: list[int]) -> int:
    return sum(values)


@task
async def refused(values: list[int]) -> int:
    raise ValueError("refused")


@pytest.fixture
async def state(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MemoryState]:
    monkeypatch.setattr("cascade.testkit._state.memory.MemoryJournal", Looking)
    state = MemoryState()
    yield state
    await state.close()


def restorer_of(journal: MemoryJournal, on_change: Any = "keep") -> Restorer:
    return Restorer(journal, "night", StepDigests(), home=__name__, on_change=on_change, clock=Hurried())


async def journal_after(target: LazyResult[Any], state: MemoryState) -> Looking:
    """Run a target, whose last step fails; return the journal of the next attempt."""
    with pytest.raises(ValueError, match="refused"):
        await Engine(state_backend=state).run(target, run_id="night")
    journal = await state.open(RunInfo("night", "refused"))
    assert isinstance(journal, Looking)
    return journal


TARGETS = {
    "a map": lambda: refused(double.map(x=range(MANY))),
    "a list": lambda: refused([double(n) for n in range(MANY)]),
}


@pytest.mark.parametrize("on_change", ["keep", "refuse"])
@pytest.mark.parametrize("form", TARGETS)
async def test_the_loop_serves_others_while_many_steps_are_restored(
    form: str, on_change: str, state: MemoryState
) -> None:
    """No more than a thousand steps are looked at between two turns of the loop; it compares none of them itself."""
    target = TARGETS[form]()
    journal = await journal_after(target, state)
    restorer, graph = restorer_of(journal, on_change), RecordedGraph()
    looked = await looked_beside(journal, restorer.restore(graph, [target]))
    assert journal.looked > MANY * (1 if on_change == "keep" else 2)
    assert looked <= 1_001


@pytest.mark.parametrize("on_change", ["keep", "refuse"])
async def test_the_loop_serves_others_while_the_items_that_a_step_returned_are_restored(
    on_change: str, state: MemoryState
) -> None:
    """They are known only when the step has its value."""
    items = double.map(x=numbers())
    target = refused(items)
    journal = await journal_after(target, state)
    restorer, graph = restorer_of(journal, on_change), RecordedGraph()
    await restorer.restore(graph, [target])
    before, call = journal.looked, call_of(items)
    assert isinstance(call, MapCall)
    looked = await looked_beside(journal, restorer.restore_items(graph, call, {"x": range(MANY)}))
    assert journal.looked - before >= MANY * (1 if on_change == "keep" else 2)
    assert looked <= 1_001


async def test_the_loop_serves_others_while_it_is_found_what_runs_again(state: MemoryState) -> None:
    """All items have changed; with them runs what takes their values, and nothing else."""
    journal = await journal_after(refused([total(double.map(x=range(MANY))), double(1)]), state)
    changed = refused([total(double.map(x=range(1, MANY + 1))), double(1)])
    restorer, graph = restorer_of(journal, "rerun"), RecordedGraph()
    looked = await looked_beside(journal, restorer.restore(graph, [changed]))
    assert journal.looked > 3 * MANY
    assert looked < MANY / 2
    assert [key for key in journal.known_keys() if journal.known(key)] == ["double:1"]


class Compared(str):
    """A key that counts how often keys are looked at in a search."""

    __slots__ = ()
    times = 0

    def startswith(self, *args: Any) -> bool:
        Compared.times += 1
        return super().startswith(*args)

    def __getitem__(self, part: Any) -> str:
        Compared.times += 1
        return super().__getitem__(part)


def test_what_runs_again_is_found_in_one_pass() -> None:
    """Each recorded key is looked at a few times, however many steps have changed."""
    recorded = [Compared(f"double:0[{number}]~1/add:0[2]") for number in range(1_000)]
    journal = Recorded([*recorded, "double:0[7]", "double:0[70]", "double:00[7]", "other:0[7]~1/add:0"])
    finder = ChangeFinder(journal, StepDigests())
    found = finder.recorded_of_all([f"double:0[{number}]" for number in range(7, 1_000)])
    assert Counter(found) == Counter(["double:0[7]", "double:0[70]", *recorded[7:]])
    assert Compared.times <= 10 * len(recorded)


class Recorded(MemoryJournal):
    """Knows these keys, and nothing else of the steps."""

    def __init__(self, keys: list[str]) -> None:
        self._recorded = dict.fromkeys(keys)

    def known(self, key: str) -> Any:
        return key if key in self._recorded else None

    def known_keys(self, *states: Any) -> Any:
        return self._recorded


async def looked_beside(journal: Looking, work: Awaitable[Any]) -> int:
    """Return how many steps the loop looked at between two of its turns, at most."""
    looked = [journal.on_loop]

    async def other() -> None:
        while True:
            looked.append(journal.on_loop)
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await work
    beside.cancel()
    return max(after - before for before, after in pairwise([*looked, journal.on_loop]))


async def turns_beside(work: Awaitable[Any]) -> int:
    """Return how often another coroutine had its turn meanwhile."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await work
    beside.cancel()
    return turns


async def test_the_loop_serves_others_while_many_calls_get_their_keys(state: MemoryState) -> None:
    """Also in a new run, of which nothing is recorded."""
    journal = await state.open(RunInfo("night", "refused"))
    assert isinstance(journal, Looking)
    restoring = restorer_of(journal).restore(RecordedGraph(), [TARGETS["a list"]()])
    assert await turns_beside(restoring) > 50


async def test_the_loop_serves_others_while_the_inputs_of_many_calls_are_found(state: MemoryState) -> None:
    """Before the run begins, because its secrets are compared with those that it was begun with."""
    rules = ResumeRules()
    targets = [TARGETS["a list"]()]
    opening = open_recording(
        state, "night", targets, {}, name="night", source="", rules=rules, clock=Hurried()
    )
    assert await turns_beside(opening) > 30


async def test_what_is_restored_for_one_build_stays_while_another_one_begins(state: MemoryState) -> None:
    """Two routes of one graph may be built at the same time; no step of the first one may run again."""
    first, second = total(double.map(x=[1, 2])), double(4)
    target = refused([first, second])
    journal = await journal_after(target, state)
    restorer, graph = restorer_of(journal), RecordedGraph()
    graph.declare_now([target])
    await restorer.restore(graph, [first])
    await restorer.restore(graph, [second])
    for _ in graph.build([first, second], lambda node: None):
        pass
    assert [graph.node(lazy).kind for lazy in (first, second)] == [Kind.RECORDED, Kind.RECORDED]
    assert graph.node(first).value.value == 6
