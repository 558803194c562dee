"""ThreadExecutor: a bounded number of threads, abandoned calls, and no thread that blocks the exit."""

import asyncio
import subprocess
import sys
import threading

import pytest

from cascade.interfaces import ConfigurationError, ExecutorUnavailable
from cascade.runtime import ThreadExecutor
from cascade.testkit.waiting import busyness, eventually, time_limit

LIMIT = 50.0
"""Seconds after which what has not happened is a failure."""


async def test_calls_run_in_the_threads_that_the_system_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread serves all calls; without any a call fails, does not start later, and blocks no other call."""
    executor, start = ThreadExecutor(2), threading.Thread.start
    ran: list[int] = []

    def fail_to_start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail_to_start)
    for _ in range(2):
        with pytest.raises(ExecutorUnavailable, match="cannot start more threads"):
            await executor.run(ran.append, (0,), {})
    monkeypatch.setattr(threading.Thread, "start", start)
    async with time_limit(50):
        await executor.run(ran.append, (1,), {})
        monkeypatch.setattr(threading.Thread, "start", fail_to_start)
        await asyncio.gather(*[executor.run(ran.append, (n,), {}) for n in (2, 3)])
    monkeypatch.setattr(threading.Thread, "start", start)
    await executor.close()
    assert ran == [1, 2, 3]


async def test_an_abandoned_call_occupies_no_worker() -> None:
    """Another thread replaces the only one, which hangs; that one ends with its call, and one worker is left."""
    executor = ThreadExecutor(1)
    before = {*threading.enumerate()}  # some may be ending
    started, release = threading.Event(), threading.Event()

    def stuck() -> None:
        started.set()
        release.wait(60)

    stuck_call = asyncio.create_task(executor.run(stuck, (), {}))
    await eventually(started.is_set)
    waiting = asyncio.create_task(executor.run(threading.get_ident, (), {}))
    await asyncio.sleep(0)
    stuck_call.cancel()
    async with time_limit(50):
        worker = await waiting
        release.set()
        assert await executor.settle(LIMIT) == 0
        await eventually(lambda: len({*threading.enumerate()} - before) == 1)
        same = {await executor.run(threading.get_ident, (), {}) for _ in range(3)}
    assert same == {worker}
    await executor.close()
    await eventually(lambda: {*threading.enumerate()} <= before)


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "2"])
def test_an_invalid_number_of_workers_is_rejected(workers: int) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match="whole number from 1"):
        ThreadExecutor(workers)


@pytest.mark.process
def test_a_task_that_hangs_in_a_thread_does_not_block_the_exit() -> None:
    """Row 30: the program ends although a thread sleeps for an hour."""
    code = (
        "import asyncio, time\n"
        "from cascade.runtime import Engine\n"
        "from cascade.spec import task\n"
        "@task\n"
        "def hang(): time.sleep(3600)\n"
        "@task\n"
        "async def fail(): raise ValueError('boom')\n"
        "try: asyncio.run(Engine(stop_timeout=0.05).run([hang(), fail()]))\n"
        "except ValueError as exc: print('ended', exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT * busyness(), check=True
    )
    assert done.stdout == "ended boom\n"
