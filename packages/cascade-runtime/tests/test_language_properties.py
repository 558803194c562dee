"""Any workflow at all gives what a simple recursive evaluator gives, on every executor."""

import asyncio
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from desk import Desk
from fakes import Racing
from simple_tasks import give

from cascade.interfaces import Executor, TaskState, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub, ProcessExecutor, ThreadExecutor
from cascade.spec import task
from testing_tools.workflows.check import check_workflows

pytestmark = pytest.mark.process  # left out of the session unit


class OnLoop:
    """An executor that calls in place."""

    workers = 4

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return function(*args, **kwargs)

    async def settle(self, timeout: float) -> int:
        return 0

    async def close(self) -> None: ...


FEW = {"loop": 300, "threads": 150, "processes": 50}
EXECUTORS: dict[str, Callable[[], Executor]] = {
    "loop": OnLoop,
    "threads": lambda: ThreadExecutor(3),
    "processes": lambda: ProcessExecutor(2),
}


@pytest.mark.full
@pytest.mark.parametrize("name", ["loop", "threads", pytest.param("processes", marks=pytest.mark.process)])
def test_any_workflow_gives_what_a_recursive_evaluator_gives(name: str, tmp_path: Path) -> None:
    """Values, failures and events agree with the reference, in both modes of on_failure."""
    check_workflows(EXECUTORS[name], Engine, tmp_path, examples=FEW[name])


def test_some_workflows_give_what_a_recursive_evaluator_gives(tmp_path: Path) -> None:
    """The short form, for every change."""
    check_workflows(EXECUTORS["loop"], Engine, tmp_path, examples=40)


@pytest.mark.nightly
@pytest.mark.parametrize("name", EXECUTORS)
def test_many_workflows_give_what_a_recursive_evaluator_gives(name: str, tmp_path: Path) -> None:
    """The long form."""
    check_workflows(EXECUTORS[name], Engine, tmp_path, examples=50 * FEW[name])


@pytest.mark.parametrize(
    "examples",
    [
        3,
        pytest.param(40, marks=pytest.mark.full),
        pytest.param(3_000, marks=[pytest.mark.nightly, pytest.mark.timeout(7_200)]),
    ],
)
def test_a_killed_workflow_gives_what_a_recursive_evaluator_gives(
    examples: int, seeded_random: random.Random
) -> None:
    """Resumed, with rates: no recorded step, also no kept failure, runs again, and no failure is in the cache."""
    command = [sys.executable, "-m", "testing_tools.workflows.killed"]
    done = subprocess.run(
        [*command, str(examples), str(seeded_random.randrange(1_000_000))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f": {examples} workflows, " in done.stdout


class Steered:
    """An engine that builds a step in each iteration, while constraints come and go."""

    def __init__(self, **keywords: Any) -> None:
        self._hub = LocalHub()
        connector = LocalConnector(self._hub, source_id="line-3")
        self._engine = Engine(connector=connector, clock=Racing(), **keywords)
        self.bus = self._engine.bus

    async def run(self, *args: Any, **keywords: Any) -> Any:
        async with Desk(self._hub) as desk:
            steering = asyncio.create_task(self._steer(desk))
            try:
                return await self._engine.run(*args, **keywords)
            finally:
                steering.cancel()
                await asyncio.wait({steering})
                if not steering.cancelled():
                    steering.result()  # it ends by a fault only

    async def _steer(self, desk: Desk) -> None:
        for turns in itertools.cycle((1, 5, 2, 9, 3)):
            for scope, kind, params in COMMANDS:
                await desk.put(scope, kind, **params)
                await self._let_pass(turns)
                await desk.lift(scope, kind)
                await self._let_pass(2)

    async def _let_pass(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)


COMMANDS: list[tuple[str, str, dict[str, Any]]] = [
    ("global", "pause", {}),
    ("task:step*", "concurrency", {"limit": 1}),
    ("task:*", "rate_limit", {"rate": 2000}),
    ("task:late", "pause", {}),
    ("global", "concurrency", {"limit": 0}),
]


@pytest.mark.full
def test_any_workflow_that_is_steered_gives_what_a_recursive_evaluator_gives(tmp_path: Path) -> None:
    """Tasks that wait, and expansions meanwhile, lose nothing, run nothing twice and are reported once."""
    check_workflows(EXECUTORS["threads"], Steered, tmp_path, examples=50)


@pytest.mark.nightly
def test_many_workflows_that_are_steered_give_what_a_recursive_evaluator_gives(tmp_path: Path) -> None:
    """The long form."""
    check_workflows(EXECUTORS["threads"], Steered, tmp_path, examples=2_000)


@task(mode="inline")
def fail() -> Any:
    raise ValueError("boom")


@pytest.mark.parametrize("first", ["skipped", "failed"])
async def test_a_failure_is_the_reason_whatever_the_order_of_arguments(first: str) -> None:
    """What needs a skipped value and a failed one is skipped for the failure, and so is what comes after it."""
    engine = Engine()
    told: list[tuple[str, TaskState]] = []
    engine.bus.subscribe(TaskStateEvent, lambda event: told.append((event.task_name, event.state)))
    needed = [give(1).run_if(give(False)), fail()]
    lost = give(needed if first == "skipped" else needed[::-1]).named("lost")
    with pytest.raises(ExceptionGroup):
        await engine.run(give(1).named("later").after(lost), on_failure="continue")
    assert ("lost", TaskState.SKIPPED) in told
    assert ("later", TaskState.SKIPPED) in told
