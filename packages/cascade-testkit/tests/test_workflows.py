"""Random workflows find an engine that is wrong in one way, and show the workflow with which it goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cascade.interfaces import TaskState, TaskStateEvent
from cascade.spec import LazyResult
from testing_tools.workflows.check import check_workflow
from testing_tools.workflows.reference import Reference

SEEDS = range(40)
Targets = list[LazyResult[Any]]
Handler = Callable[[Any], object]


class Bus:
    """As much of one as the check needs."""

    def __init__(self) -> None:
        self.handler: Handler | None = None

    def subscribe(self, event_type: type, handler: Handler) -> Callable[[], None]:
        assert event_type is TaskStateEvent
        self.handler = handler
        return lambda: None


class ByRecursion:
    """A correct engine: it does what the reference does, in a folder of its own."""

    def __init__(self, *, system_resources: dict[str, int], resources: list[Any]) -> None:
        self.bus: Any = Bus()
        self.slots = system_resources["slots"]
        self.resources = resources

    async def run(self, targets: Targets, params: dict[str, str], *, on_failure: str) -> list[Any]:
        reference = Reference(params)
        values = [reference.evaluate(lazy).value for lazy in targets]
        self.publish([*reference.published.elements()])
        failures = self.failures(reference.failures, on_failure)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup("several", failures)
        return self.values(values, on_failure)

    def publish(self, states: list[tuple[str, TaskState]]) -> None:
        for name, state in [*states, ("step 0", TaskState.RUNNING)]:
            if self.bus.handler is not None:
                self.bus.handler(TaskStateEvent("run", name, name, state, 0.0))

    def failures(self, failures: list[Exception], on_failure: str) -> list[Exception]:
        return failures[:1] if on_failure == "stop" else failures

    def values(self, values: list[Any], on_failure: str) -> list[Any]:
        return values


class GivesAnotherValue(ByRecursion):
    def values(self, values: list[Any], on_failure: str) -> list[Any]:
        return values if on_failure == "stop" else [*values[:-1], 1]


class LosesAFailure(ByRecursion):
    def failures(self, failures: list[Exception], on_failure: str) -> list[Exception]:
        return failures[1:] if len(failures) > 1 else failures


class RaisesAnErrorOfNoTask(ByRecursion):
    def failures(self, failures: list[Exception], on_failure: str) -> list[Exception]:
        return [RuntimeError("of no task")] if on_failure == "stop" else failures


class LosesAnEnd(ByRecursion):
    def publish(self, states: list[tuple[str, TaskState]]) -> None:
        super().publish([pair for pair in states if pair[1] is not TaskState.SKIPPED])


class LeavesAResourceOpen(ByRecursion):
    async def run(self, targets: Targets, params: dict[str, str], *, on_failure: str) -> list[Any]:
        self.kept: list[AsyncIterator[int] | Iterator[int]] = KEPT
        shared = self.resources[0].function()
        assert await anext(shared) == 3
        self.kept.append(shared)
        return await super().run(targets, params, on_failure=on_failure)


KEPT: list[Any] = []


def check_all(engine: type[ByRecursion], folder: Path) -> None:
    for seed in SEEDS:
        check(engine, seed, folder)


def check(engine: type[ByRecursion], seed: int, folder: Path) -> None:
    place = folder / str(seed)
    place.mkdir()

    async def run() -> None:
        try:
            await check_workflow(engine, Random(seed), place)
        finally:
            while KEPT:
                await KEPT.pop().aclose()

    asyncio.run(run())


def test_a_correct_engine_passes(tmp_path: Path) -> None:
    """It gives the values, failures and ends of the reference with each workflow."""
    check_all(ByRecursion, tmp_path)


@pytest.mark.parametrize(
    "engine",
    [
        GivesAnotherValue,
        LosesAFailure,
        RaisesAnErrorOfNoTask,
        LosesAnEnd,
        LeavesAResourceOpen,
    ],
)
def test_an_engine_that_is_wrong_in_one_way_fails(engine: type[ByRecursion], tmp_path: Path) -> None:
    """With one of the workflows at the latest; the error shows this workflow."""
    with pytest.raises(AssertionError) as caught:
        check_all(engine, tmp_path)
    (shown,) = caught.value.__notes__
    *steps, targets = shown.splitlines()
    assert steps[0].startswith("#0 = ")
    assert targets.startswith("targets: #")
