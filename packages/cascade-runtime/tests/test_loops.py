"""The event loop of ``cs.run``: asyncio's own, except that its timers are exact."""

import asyncio
import contextlib
import os
import select
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cascade.runtime._support import loops
from cascade.runtime._support.loops import new_event_loop

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


@pytest.mark.parametrize("how", ["a socket", "another thread"])
def test_data_that_arrives_during_a_wait_is_read_at_once(how: str, loop: asyncio.AbstractEventLoop) -> None:
    """It is read before the wait is over, although nothing else wakes the loop."""
    near, far = socket.socketpair()

    async def main() -> None:
        received = loop.create_future()
        loop.add_reader(near, lambda: received.set_result(near.recv(10)))
        if how == "a socket":
            threading.Timer(0.05, far.send, [b"one"]).start()
        else:
            threading.Timer(0.05, loop.call_soon_threadsafe, [received.set_result, b"one"]).start()
        sleeping = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.wait({received, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        loop.remove_reader(near)
        assert received.done()
        assert not sleeping.done()
        sleeping.cancel()

    with near, far:
        loop.run_until_complete(main())


@pytest.mark.slow
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


def test_what_another_policy_sets_on_asyncios_loop_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example a task factory or an exception handler."""
    make = asyncio.new_event_loop
    settings: list[Callable[[asyncio.AbstractEventLoop], None]] = [
        lambda loop: loop.set_task_factory(
            lambda loop, coroutine, **kwargs: asyncio.Task(coroutine, loop=loop)
        ),
        lambda loop: loop.set_exception_handler(lambda loop, context: None),
    ]
    for setting in settings:
        made = make()
        setting(made)
        monkeypatch.setattr(asyncio, "new_event_loop", lambda made=made: made)
        assert new_event_loop() is made
        made.close()


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


@linux
def test_the_limit_of_select_is_that_of_the_system() -> None:
    """A descriptor beyond the limit raises ValueError, one below it may just not be open."""
    with pytest.raises(ValueError, match="out of range"):
        select.select([loops._SELECTABLE], [], [], 0)
    with contextlib.suppress(OSError):
        select.select([loops._SELECTABLE - 1], [], [], 0)


@linux
def test_no_descriptor_is_left_behind() -> None:
    """Neither the loop that is returned nor the one that was made to look at its type leaves one open."""
    new_event_loop().close()
    before = {*Path("/proc/self/fd").iterdir()}
    for _ in range(5):
        new_event_loop().close()
    assert {*Path("/proc/self/fd").iterdir()} <= before  # another test's thread may close files meanwhile


@linux
def test_more_than_a_thousand_sockets_can_be_watched() -> None:
    """The loop still uses epoll, which has no limit of 1,024 descriptors."""
    loop = new_event_loop()
    try:
        assert isinstance(vars(loop)["_selector"], selectors.EpollSelector)
    finally:
        loop.close()
