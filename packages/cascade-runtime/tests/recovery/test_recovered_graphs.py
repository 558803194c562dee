"""Runs of random graphs that are stopped again and again: no recorded step runs twice, and the keys stay."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from random_graphs import Hidden, Maker, Plan, Record, call, current

from cascade.interfaces import Plan as RecordedPlan
from cascade.interfaces import StepInfo, StepState
from cascade.runtime import Engine
from cascade.testkit.state import MemoryState, StoredRun


class Night(Record):
    """A run that is stopped before some of its steps, and the keys under which each call ran."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.runs: dict[str, StoredRun] = {}
        self.attempts = 0
        self.left = 0
        self.kept: set[str] = set()

    def __deepcopy__(self, memo: object) -> "Night":
        return self

    async def around(self, step: StepInfo, call_next: Callable[[], Awaitable[Any]]) -> Any:
        assert step.key not in self.kept, "a recorded step runs again"
        self.left -= 1
        if not self.left:
            self.task.cancel()
        current.set(step.key)
        return await call_next()

    async def note(self, place: str) -> None:
        key = current.get()
        assert self.keys.setdefault(place, key) == key, "a step has another key in another attempt"
        for _ in range(self.random.randrange(8)):
            await asyncio.sleep(0)

    async def run(self, target: Any, steps: int) -> Any:
        """Run until the run ends, each process only for some steps."""
        while True:
            self.attempts += 1
            assert self.attempts < 1_000, "the run does not get on"
            self.left = self.random.randrange(1, steps)
            state = MemoryState(self.runs)
            self.kept = {key for key in self.recorded() if not self.decides(key)}
            engine = Engine(state_backend=state, middleware=[self.around])
            self.task = asyncio.create_task(engine.run(target(), run_id="night"))
            with contextlib.suppress(asyncio.CancelledError):
                return await self.task

    def recorded(self) -> set[str]:
        run = self.runs.get("night")
        kept = (StepState.COMPLETED, StepState.EXPANDED)
        return {key for key, step in run.steps.items() if step.state in kept} if run else set()

    def decides(self, key: str) -> bool:
        value = self.runs["night"].values[key]
        return isinstance(value, RecordedPlan) and value.decider


async def check(seed: int) -> int:
    plain = Record(seed)
    outer = call("outer", plain)
    expected = await Engine(middleware=[plain.around]).run(
        [Maker("", plain, Plan(seed, 2, Hidden(outer))).make(), outer]
    )
    night = Night(seed)
    outer = call("outer", night)
    target = Maker("", night, Plan(seed, 2, Hidden(outer))).make()
    assert await night.run(lambda: [target, outer], Random(seed).choice([3, 10, 50])) == expected
    assert night.keys == plain.keys
    ran = len(night.keys)
    night.left, attempts = 0, night.attempts
    assert await night.run(lambda: [target, outer], 2) == expected
    assert len(night.keys) == ran
    return attempts


@pytest.mark.process
@pytest.mark.parametrize("seeds", [range(6), pytest.param(range(6, 1000), marks=pytest.mark.nightly)])
@pytest.mark.timeout(1800)
async def test_a_graph_that_is_stopped_again_and_again_gives_what_it_gives_undisturbed(seeds: range) -> None:
    """No recorded step runs a second time, keys stay the same, and so does the value."""
    attempts = 0
    for seed in seeds:
        try:
            attempts += await check(seed)
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise
    assert attempts > 3 * len(seeds)
