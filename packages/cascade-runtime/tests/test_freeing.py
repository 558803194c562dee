"""What a run leaves is freed in steps: a million objects at once would hold the loop for most of a second."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import Racing

from cascade.runtime import Engine
from cascade.spec import task

FREED_PER_STEP, BUILT_PER_STEP = 2_048, 128
MANY = 3 * FREED_PER_STEP


@task(mode="inline")
def give(value: Any) -> Any:
    return value


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


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Have objects freed only because nothing refers to them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


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
