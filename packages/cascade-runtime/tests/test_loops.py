"""The event loop of ``cs.run``: asyncio's own, except that its timers are exact."""

import asyncio
import contextlib
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.runtime import new_event_loop, run_on_loop

linux = pytest.mark.skipif(sys.platform != "linux", reason="only epoll rounds")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that is closed after the test."""
    loop = new_event_loop()
    yield loop
    loop.close()


class ForeignLoop(asyncio.SelectorEventLoop):
    """A loop of another policy, such as uvloop's."""


@linux
def test_a_timer_is_not_rounded_up_to_a_millisecond(loop: asyncio.AbstractEventLoop) -> None:
    """Of many timers of a tenth of a millisecond, one ends before epoll itself could have returned."""
    selector = vars(loop)["_selector"]
    taken: list[float] = []
    while not taken or (min(taken) >= 0.001 and len(taken) < 5_000):
        began = time.perf_counter()
        assert selector.select(0.0001) == []
        taken.append(time.perf_counter() - began)
    assert 0.0001 <= min(taken) < 0.001


@pytest.mark.process
def test_processes_and_signals_reach_it(loop: asyncio.AbstractEventLoop) -> None:
    """The end of a child process and Ctrl-C wake a long wait, as on asyncio's own loop."""

    async def child() -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
        return await process.wait()

    async def interrupted() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        await asyncio.sleep(60)

    if sys.platform != "win32":
        assert loop.run_until_complete(child()) == 7
    with asyncio.Runner(loop_factory=new_event_loop) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(interrupted())


def test_the_loop_of_another_policy_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has set uvloop gets uvloop."""
    monkeypatch.setattr(asyncio, "new_event_loop", ForeignLoop)
    loop = new_event_loop()
    try:
        assert type(loop) is ForeignLoop
    finally:
        loop.close()


@linux
def test_a_process_with_a_thousand_files_open_gets_a_loop_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what select can watch, timers are rounded, and nothing else is different."""
    monkeypatch.setattr("cascade.runtime._support.loops._SELECTABLE", 0)
    loop = new_event_loop()
    try:
        assert type(vars(loop)["_selector"]) is selectors.EpollSelector
        assert loop.run_until_complete(asyncio.sleep(0.001, "done")) == "done"
    finally:
        loop.close()


def closing(work: Callable[[], Any], *, limit: float = 60.0) -> Any:
    """Run a coroutine on a loop that has so many seconds to close."""
    return run_on_loop(work, loop_factory=new_event_loop, close_timeout=limit)


async def ignoring_cancellation(released: threading.Event) -> None:
    """Go on until a test releases it, whatever cancels it."""
    while not released.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


def test_what_is_left_on_a_loop_cleans_up_before_the_loop_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Asyncio tasks are cancelled, asynchronous generators are closed, and threads are waited for; no line is logged."""
    log: list[str] = []
    entered, go_on = threading.Event(), threading.Event()

    async def helper() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            log.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            log.append("generator")
            go_on.set()

    def in_thread() -> None:
        entered.set()
        go_on.wait(60)
        log.append("thread")

    async def work() -> list[Any]:
        kept = numbers()
        left = [asyncio.create_task(helper()), asyncio.create_task(asyncio.to_thread(in_thread)), kept]
        await anext(kept)
        while not entered.is_set():
            await asyncio.sleep(0.001)
        return left

    left = closing(work)
    assert sorted(log) == ["generator", "task", "thread"]
    assert left[0].cancelled()
    assert not caplog.records


@pytest.mark.parametrize("kept", [("task",), ("generator",), ("thread",), ("task", "generator", "thread")])
def test_a_loop_closes_within_its_limit_and_names_what_still_runs(
    kept: tuple[str, ...], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what the program has to change, and the value is returned all the same."""
    monkeypatch.setattr(
        "cascade.runtime._support.loops.time", SimpleNamespace(monotonic=lambda: 0.0)
    )  # each wait has its whole limit
    released, entered = threading.Event(), threading.Event()
    closed: list[str] = []

    async def endless() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                closed.append("cancelled")
                raise

    def in_thread() -> None:
        entered.set()
        released.wait(60)

    async def work() -> list[Any]:
        left: list[Any] = []
        if "task" in kept:
            left += [
                asyncio.create_task(ignoring_cancellation(released), name=name)
                for name in ("second", "first")
            ]
        if "generator" in kept:
            left.append(endless())
            await anext(left[-1])
        if "thread" in kept:
            left.append(asyncio.get_running_loop().run_in_executor(None, in_thread))
            while not entered.is_set():
                await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        return left

    try:
        left = closing(work, limit=0.02)
    finally:
        released.set()
    assert left
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith("the event loop is closed 0.02 s after it cancelled what was left")
    named = {
        "task": "task first, task second",
        "generator": "an asynchronous generator",
        "thread": "a call in a thread (asyncio.to_thread)",
    }
    assert f"these still run: {', '.join(named[each] for each in kept)}; they must not suppress" in line
    assert closed == ["cancelled"] * ("generator" in kept)
