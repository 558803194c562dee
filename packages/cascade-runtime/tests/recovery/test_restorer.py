"""What a resume takes from the journal: in parts, so that the event loop serves others meanwhile."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from fakes import Racing

from cascade.runtime import Engine
from cascade.spec import LazyResult, task
from cascade.testkit.state import MemoryJournal, MemoryState

MANY = 3_000
looked = [0]
"""How many steps of the journal the thread of the loop has looked at."""


@task(mode="inline")
def double(x: int) -> int:
    return 2 * x


@task(mode="inline")
def numbers() -> list[int]:
    return [*range(MANY)]


@task(mode="inline")
def refused(values: list[int]) -> int:
    raise ValueError("refused")


async def beside(work: Awaitable[Any]) -> int:
    """Do the work; return how many steps the loop looked at between two of its turns, at most."""
    seen = [looked[0]]

    async def other() -> None:
        while True:
            seen.append(looked[0])
            await asyncio.sleep(0)

    observer = asyncio.create_task(other())
    with pytest.raises(ValueError, match="refused"):
        await work
    observer.cancel()
    return max(after - before for before, after in pairwise([*seen, looked[0]]))


TARGETS: dict[str, Callable[[], LazyResult[Any]]] = {
    "a map": lambda: refused(double.map(x=range(MANY))),
    "a list": lambda: refused([double(n) for n in range(MANY)]),
    "a map of late items": lambda: refused(double.map(x=numbers())),
}


@pytest.mark.parametrize("on_change", ["keep", "refuse", "rerun"])
@pytest.mark.parametrize("form", TARGETS)
async def test_the_loop_serves_others_while_many_steps_are_restored(
    form: str, on_change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than a thousand steps are looked at in one turn of the loop, and all are taken from the journal."""
    state = MemoryState()
    with pytest.raises(ValueError, match="refused"):
        await Engine(state_backend=state).run(TARGETS[form](), run_id="night")
    known = MemoryJournal.known

    def counted(journal: MemoryJournal, key: str) -> Any:
        looked[0] += threading.current_thread() is threading.main_thread()
        return known(journal, key)

    monkeypatch.setattr(MemoryJournal, "known", counted)
    engine, before = Engine(state_backend=state, clock=Racing()), looked[0]
    most = await beside(engine.run(TARGETS[form](), run_id="night", on_change=on_change))
    assert looked[0] - before >= MANY
    assert most <= 1_001
    assert {step.key: step.starts for step in state.steps("night") if step.starts > 1} == {"refused:0": 2}
