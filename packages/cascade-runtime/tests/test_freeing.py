"""What a run leaves is freed in steps: a million objects at once would hold the loop for most of a second."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes import Racing

from cascade.runtime import Engine
from cascade.spec import LazyResult, task

FREED_PER_STEP, BUILT_PER_STEP = 2_048, 128
MANY = 3 * FREED_PER_STEP


@task(mode="inline")
def give(value: Any) -> Any:
    return value


@task(mode="nowhere")
def nowhere() -> None: ...


@task
async def wait() -> None:
    await asyncio.Event().wait()


class Traced:
    """An argument that notes in which turn of the loop it is freed."""

    def __init__(self, freed_in: list[int], turn: list[int]) -> None:
        self._freed_in = freed_in
        self._turn = turn

    def __del__(self) -> None:
        self._freed_in.append(self._turn[0])


async def turns_of_freeing(targets: Callable[[Callable[[], Traced]], list[LazyResult[Any]]]) -> list[int]:
    """Run targets that only the engine refers to; return the turns of the loop in which arguments were freed."""
    freed_in, turn = list[int](), [0]

    async def count() -> None:
        while True:
            turn[0] += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    run = asyncio.create_task(Engine(clock=Racing()).run(targets(lambda: Traced(freed_in, turn))))
    await asyncio.wait({run})
    assert len(freed_in) == MANY
    counting.cancel()
    await asyncio.wait({counting})
    run.cancelled() or run.exception()
    return freed_in


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Have objects freed only because nothing refers to them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.full
@pytest.mark.parametrize(
    "last",
    [
        pytest.param(lambda: give(1), id="success"),
        pytest.param(lambda: give(1)["no item"], id="failure"),
        pytest.param(nowhere, id="a task that can never start"),
    ],
)
async def test_calls_that_only_the_engine_keeps_are_freed_in_several_turns_of_the_loop(
    no_collector: None, last: Callable[[], LazyResult[Any]]
) -> None:
    """However the run ends, also if its build is undone."""
    turns = await turns_of_freeing(
        lambda traced: [*(give(repr).after(give(traced())) for _ in range(MANY)), last()]
    )
    assert len(set(turns)) >= 3
    assert max(turns.count(turn) for turn in set(turns)) <= FREED_PER_STEP


@pytest.mark.parametrize("cancelled_in", [20, 1_000], ids=["while it is built", "while its tasks wait"])
async def test_a_cancelled_run_frees_what_had_not_run_in_steps(no_collector: None, cancelled_in: int) -> None:
    """The traceback of the cancel keeps no more than what one step has built."""
    freed_in, turn = list[int](), [0]
    lazies = [give(Traced(freed_in, turn)).after(wait()) for _ in range(MANY)]
    run = asyncio.create_task(Engine(clock=Racing()).run(lazies))
    await asyncio.sleep(0)
    del lazies
    while not run.done():
        turn[0] += 1
        if turn[0] == cancelled_in:
            run.cancel()
        await asyncio.sleep(0)
    assert run.cancelled()
    assert len(freed_in) >= MANY - BUILT_PER_STEP
    assert len(set(freed_in)) >= 3
