"""Calls of ProcessExecutor that wait for a worker: each runs at most once, whatever happens to others."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from worker_calls import calls

from cascade.interfaces import WorkerLostError
from cascade.runtime import ProcessExecutor
from cascade.testkit import eventually

pytestmark = pytest.mark.process


def noted(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


@pytest_asyncio.fixture
async def executor() -> AsyncIterator[ProcessExecutor]:
    """One worker, which has started."""
    executor = ProcessExecutor(1)
    await executor.run(calls.echo, (1,), {})
    yield executor
    await executor.close()


async def test_a_lost_worker_fails_only_the_call_that_ran(executor: ProcessExecutor, tmp_path: Path) -> None:
    """Those that waited run in another one, each once."""
    file = tmp_path / "notes"
    dying = asyncio.create_task(executor.run(calls.die, (), {}))
    behind = [asyncio.create_task(executor.run(calls.note, (str(file), n), {})) for n in range(8)]
    with pytest.raises(WorkerLostError, match="task 'die' was started once"):
        await dying
    assert len(set(await asyncio.gather(*behind))) == 1
    assert Counter(noted(file)) == Counter(map(str, range(8)))


async def test_a_call_is_not_failed_by_a_worker_that_died_before_it(executor: ProcessExecutor) -> None:
    """The idle worker was killed from outside: the next call runs in another one."""
    worker = await executor.run(os.getpid, (), {})
    os.kill(worker, signal.SIGKILL)
    await eventually(lambda: os.waitid(os.P_PID, worker, os.WEXITED | os.WNOHANG | os.WNOWAIT), 60)
    assert await executor.run(calls.echo, (1,), {}) == 1


@pytest.mark.parametrize("seed", [1, pytest.param(None, marks=pytest.mark.nightly)])
async def test_random_cancels_and_losses(seed: int | None, tmp_path: Path) -> None:
    """No call runs twice; those that return ran once."""
    seed = random.randrange(1 << 32) if seed is None else seed
    print("seed", seed)
    chance, file = random.Random(seed), tmp_path / "notes"
    executor = ProcessExecutor(2)
    count = 400 if seed == 1 else 5_000

    async def one(number: int) -> str:
        try:
            await executor.run(calls.note, (str(file), number), {})
        except WorkerLostError:
            return "lost"
        return "ran"

    running: list[asyncio.Task[str]] = []
    for number in range(count):
        running.append(asyncio.create_task(one(number)))
        await asyncio.sleep(0 if chance.random() < 0.9 else 0.002)
        if chance.random() < 0.05:
            chance.choice(running).cancel()
        if chance.random() < 0.01:
            asyncio.ensure_future(executor.run(calls.die, (), {})).add_done_callback(
                lambda end: end.exception()
            )
    await asyncio.wait(running, timeout=120)
    runs = Counter(map(int, noted(file)))
    assert max(runs.values()) == 1
    for number, one_task in enumerate(running):
        if not one_task.cancelled():
            assert one_task.result() == "lost" or runs[number] == 1, number
    await executor.settle(10)
    await executor.close()
