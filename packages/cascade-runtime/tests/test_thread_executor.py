"""Threads for synchronous tasks: bounded, abandoned when they must be, never in the way of an exit."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from cascade.interfaces import ConfigurationError, ExecutorUnavailable
from cascade.runtime import ThreadExecutor


async def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_calls_run_in_up_to_as_many_threads_as_asked_for() -> None:
    """Work is spread over the workers, and no further thread is started."""
    executor = ThreadExecutor(3)
    barrier = threading.Barrier(3)

    def meet() -> int:
        barrier.wait(5)
        return threading.get_ident()

    seen = await asyncio.gather(*(executor.run(meet, (), {}) for _ in range(6)))
    assert len(set(seen)) == 3
    await executor.close()


async def test_calls_go_through_the_threads_that_the_system_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread serves all; without any a call is refused, does not begin later, and blocks no other one."""
    executor, start = ThreadExecutor(2), threading.Thread.start
    ran: list[int] = []

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(2):
        with pytest.raises(ExecutorUnavailable, match="no more threads"):
            await executor.run(ran.append, (0,), {})
    monkeypatch.setattr(threading.Thread, "start", start)
    async with asyncio.timeout(5):
        await executor.run(ran.append, (1,), {})
        monkeypatch.setattr(threading.Thread, "start", refuse)
        await asyncio.gather(*[executor.run(ran.append, (n,), {}) for n in (2, 3)])
    monkeypatch.setattr(threading.Thread, "start", start)
    await executor.close()
    assert ran == [1, 2, 3]


async def test_what_is_raised_is_raised() -> None:
    """Errors come through as they are; StopIteration, which no future can carry, as RuntimeError."""
    executor = ThreadExecutor(1)
    with pytest.raises(ValueError, match="invalid literal"):
        await executor.run(int, ("x",), {})
    with pytest.raises(RuntimeError, match="StopIteration"):
        await executor.run(next, (iter(()),), {})
    assert await executor.run(int, ("7",), {"base": 8}) == 7
    await executor.close()


async def test_a_call_that_has_not_begun_does_not_begin() -> None:
    """Cancelling a call that waits for a thread takes it out of the queue."""
    executor = ThreadExecutor(1)
    release = threading.Event()
    ran: list[int] = []
    busy = asyncio.create_task(executor.run(release.wait, (5,), {}))
    waiting = asyncio.create_task(executor.run(ran.append, (1,), {}))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await executor.settle(0) == 0
    release.set()
    assert await busy is True
    assert await executor.run(lambda: 2, (), {}) == 2
    assert not ran
    await executor.close()


async def test_an_abandoned_call_is_waited_for_within_the_limit() -> None:
    """settle() tells how many abandoned calls still run, and returns as soon as none does."""
    executor = ThreadExecutor(1)
    begun, release = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        release.wait(5)

    call = asyncio.create_task(executor.run(stuck, (), {}))
    await eventually(begun.is_set)
    call.cancel()
    await asyncio.wait({call})
    assert await executor.settle(0.01) == 1
    release.set()
    assert await executor.settle(5) == 0
    await executor.close()


async def test_a_call_that_was_given_up_holds_no_worker() -> None:
    """What hangs in the only thread keeps nobody waiting; its thread ends with it, and one worker is left."""
    executor = ThreadExecutor(1)
    before = {*threading.enumerate()}  # some may be ending
    begun, release = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        release.wait(60)

    stuck_call = asyncio.create_task(executor.run(stuck, (), {}))
    await eventually(begun.is_set)
    waiting = asyncio.create_task(executor.run(threading.get_ident, (), {}))
    await asyncio.sleep(0)
    stuck_call.cancel()
    async with asyncio.timeout(5):
        worker = await waiting
        release.set()
        assert await executor.settle(5) == 0
        await eventually(lambda: len({*threading.enumerate()} - before) == 1)
        same = {await executor.run(threading.get_ident, (), {}) for _ in range(3)}
    assert same == {worker}
    await executor.close()
    await eventually(lambda: {*threading.enumerate()} <= before)


def test_a_call_that_outlived_its_loop_delays_no_later_one() -> None:
    """An executor that several runs share forgets what ended with the loop of an earlier one."""
    executor = ThreadExecutor(1)
    begun, release = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        release.wait(60)

    async def give_up() -> None:
        call = asyncio.create_task(executor.run(stuck, (), {}))
        await eventually(begun.is_set)
        call.cancel()
        await asyncio.wait({call})

    async def settle() -> int:
        return await executor.settle(60)

    asyncio.run(give_up())
    assert asyncio.run(settle()) == 0
    release.set()


async def test_closing_ends_the_threads() -> None:
    """After close() no thread is left, twice is harmless, and it can be used again."""
    executor = ThreadExecutor(2)
    before = threading.active_count()
    await asyncio.gather(*(executor.run(time.sleep, (0.001,), {}) for _ in range(4)))
    await executor.close()
    await executor.close()
    await eventually(lambda: threading.active_count() <= before)
    assert await executor.run(lambda: 1, (), {}) == 1
    await executor.close()


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "2"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers: int) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match="whole number from 1"):
        ThreadExecutor(workers)


def test_a_task_that_hangs_in_a_thread_does_not_hold_the_exit() -> None:
    """Row 30: the process ends although a thread sleeps for an hour."""
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
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "ended boom\n"
