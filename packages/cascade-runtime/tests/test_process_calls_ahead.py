"""ProcessExecutor sends short calls ahead: what has not started can still be cancelled, withdrawn and moved."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from cascade.interfaces import TaskState, TaskStateEvent, WorkerLostError
from cascade.interfaces.ahead import CallWithdrawn
from cascade.runtime import Engine, ProcessExecutor
from cascade.spec import task
from cascade.testkit import eventually, time_limit
from cascade.testkit._executor import calls

pytestmark = pytest.mark.process


def noted(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


@pytest_asyncio.fixture
async def executor() -> AsyncIterator[ProcessExecutor]:
    """One worker, which has run some short calls: the executor sends others ahead."""
    executor = await sending_ahead(1)
    yield executor
    await executor.close()


async def sending_ahead(workers: int) -> ProcessExecutor:
    executor = ProcessExecutor(workers)
    while executor.ahead < 4 * workers:
        await asyncio.gather(*(executor.run(calls.echo, (n,), {}) for n in range(20)))
    return executor


async def held(executor: ProcessExecutor, folder: Path) -> "asyncio.Task[str]":
    """Keep a worker busy until a file ``release`` is in the folder."""
    folder.mkdir(exist_ok=True)
    holding = asyncio.create_task(executor.run(calls.hold, (str(folder),), {}))
    await eventually((folder / "started").exists, 60)
    return holding


async def test_no_more_tasks_are_reported_as_running_than_there_are_workers() -> None:
    """A run of many small tasks: their values are right, and each start follows the end whose place it takes."""
    executor = await sending_ahead(2)
    engine = Engine(executor=executor)
    events: list[TaskStateEvent] = []
    engine.bus.subscribe(TaskStateEvent, events.append)
    echo = task(calls.echo)
    assert await engine.run([echo(n) for n in range(300)]) == list(range(300))
    most, now = 0, set[str]()
    for event in events:
        now.add(event.task_id) if event.state is TaskState.RUNNING else now.discard(event.task_id)
        most = max(most, len(now))
    assert most == 2
    assert len(events) == 600
    await executor.close()


async def test_a_worker_without_calls_takes_those_that_wait_behind_a_long_one(tmp_path: Path) -> None:
    """All short calls end while one long call holds its worker."""
    executor = await sending_ahead(2)
    holding = await held(executor, tmp_path)
    async with time_limit(60):
        values = await asyncio.gather(*(executor.run(calls.echo, (n,), {}) for n in range(100)))
    assert values == list(range(100))
    assert not holding.done()
    (tmp_path / "release").touch()
    assert await holding == "released"
    await executor.close()


async def test_a_withdrawal_needs_no_help_of_a_worker_that_keeps_the_gil(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    """The calls behind the native one are withdrawn while that goes on, and never start."""
    os.mkfifo(tmp_path / "gate")
    native = asyncio.create_task(executor.run(calls.keep_the_gil, (str(tmp_path),), {}))
    behind = [
        asyncio.create_task(executor.run_ahead(calls.note, (str(tmp_path / "notes"), n), {}, lambda: None))
        for n in range(4)
    ]
    await eventually((tmp_path / "started").exists, 60)
    await executor.withdraw()
    assert not native.done()
    outcomes = await asyncio.gather(*behind, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [CallWithdrawn] * 4
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    os.write(gate, b"x")
    await native
    os.close(gate)
    assert await executor.run(calls.echo, (1,), {}) == 1
    assert noted(tmp_path / "notes") == []


async def test_what_has_started_when_calls_are_withdrawn_was_reported(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    """After each withdrawal, every call has either run with a reported start, or been withdrawn."""
    file, reported = tmp_path / "notes", set[int]()

    async def run_ahead(number: int) -> bool:
        try:
            await executor.run_ahead(calls.note, (str(file), number), {}, partial(reported.add, number))
        except CallWithdrawn:
            return False
        return True

    for first in range(0, 200, 10):
        running = [asyncio.create_task(run_ahead(first + n)) for n in range(10)]
        for _ in range(1 + first // 10):
            await asyncio.sleep(0)
        await executor.withdraw()
        certain = set(reported)
        ran = await asyncio.gather(*running)
        done = {first + n for n, has_run in enumerate(ran) if has_run}
        assert done == {number for number in certain if number >= first}
        assert sorted(noted(file)) == sorted(map(str, certain))


async def test_calls_that_ran_while_the_loop_was_busy_are_reported_before_a_withdrawal_returns(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    """Their answers are on the way to the loop, which has not had its turn."""
    file, reported = tmp_path / "notes", set[int]()
    running = [
        asyncio.create_task(executor.run_ahead(calls.note, (str(file), n), {}, partial(reported.add, n)))
        for n in range(10)
    ]
    await asyncio.sleep(0)
    deadline = time.monotonic() + 60
    while len(noted(file)) < 10 and time.monotonic() < deadline:
        time.sleep(0.001)  # noqa: ASYNC251 - the loop must have no turn
    await executor.withdraw()
    assert reported == set(range(10))
    await asyncio.gather(*running)


async def test_a_lost_worker_fails_only_the_call_that_ran(executor: ProcessExecutor, tmp_path: Path) -> None:
    """Those that had been sent with it run elsewhere, each once."""
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


async def test_a_cancelled_call_that_was_sent_ahead_never_starts(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    """Its worker and the calls around it go on."""
    file = tmp_path / "notes"
    worker = await executor.run(os.getpid, (), {})
    holding = asyncio.create_task(executor.run(calls.hold, (str(tmp_path),), {}))
    behind = [asyncio.create_task(executor.run(calls.note, (str(file), n), {})) for n in range(6)]
    await eventually((tmp_path / "started").exists, 60)
    for cancelled in (behind[0], behind[3], behind[5]):
        cancelled.cancel()
    await asyncio.wait([behind[0], behind[3], behind[5]])
    (tmp_path / "release").touch()
    await holding
    assert [await behind[n] for n in (1, 2, 4)] == [worker] * 3
    assert noted(file) == ["1", "2", "4"]


async def test_calls_behind_a_cancelled_one_run_elsewhere(executor: ProcessExecutor, tmp_path: Path) -> None:
    """The worker of the cancelled call ends; those that had not started there run once, in another one."""
    file = tmp_path / "notes"
    worker = await executor.run(os.getpid, (), {})
    holding = asyncio.create_task(executor.run(calls.hold, (str(tmp_path),), {}))
    behind = [asyncio.create_task(executor.run(calls.note, (str(file), n), {})) for n in range(4)]
    await eventually((tmp_path / "started").exists, 60)
    holding.cancel()
    assert worker not in await asyncio.gather(*behind)
    assert Counter(noted(file)) == Counter(map(str, range(4)))
    assert await executor.settle(50) == 0


async def test_large_calls_are_not_sent_ahead(executor: ProcessExecutor, tmp_path: Path) -> None:
    """They would fill the pipe of a busy worker; each is sent when nothing runs there."""
    holding = await held(executor, tmp_path)
    sizes = [10, 1_000_000, 20, 300_000, 9_000]
    behind = [asyncio.create_task(executor.run(len, (b"x" * size,), {})) for size in sizes]
    await asyncio.sleep(0)
    (tmp_path / "release").touch()
    assert await asyncio.gather(*behind) == sizes
    assert await holding == "released"


@pytest.mark.parametrize("seed", [1, pytest.param(None, marks=pytest.mark.nightly)])
async def test_random_cancels_withdrawals_and_losses(seed: int | None, tmp_path: Path) -> None:
    """No call runs twice; those that return ran once; those that were withdrawn did not run."""
    seed = random.randrange(1 << 32) if seed is None else seed
    print("seed", seed)
    chance, file = random.Random(seed), tmp_path / "notes"
    executor = await sending_ahead(2)
    count = 400 if seed == 1 else 5_000

    async def one(number: int) -> str:
        try:
            await executor.run_ahead(calls.note, (str(file), number), {}, lambda: None)
        except CallWithdrawn:
            return "withdrawn"
        except WorkerLostError:
            return "lost"
        return "ran"

    running: list[asyncio.Task[str]] = []
    for number in range(count):
        running.append(asyncio.create_task(one(number)))
        await asyncio.sleep(0 if chance.random() < 0.9 else 0.002)
        if chance.random() < 0.05:
            chance.choice(running).cancel()
        if chance.random() < 0.02:
            await executor.withdraw()
        if chance.random() < 0.01:
            asyncio.ensure_future(executor.run(calls.die, (), {})).add_done_callback(
                lambda end: end.exception()
            )
    await asyncio.wait(running, timeout=120)
    runs = Counter(map(int, noted(file)))
    assert max(runs.values()) == 1
    for number, one_task in enumerate(running):
        if not one_task.cancelled():
            outcome = one_task.result()
            assert runs[number] == {"ran": 1, "withdrawn": 0}.get(outcome, runs[number]), (number, outcome)
    await executor.settle(10)
    await executor.close()
