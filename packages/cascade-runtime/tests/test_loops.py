"""The event loop of ``cs.run``: asyncio's in all but the waits, which are exact."""

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

from cascade.runtime import loops
from cascade.runtime.loops import new_event_loop

linux = pytest.mark.skipif(sys.platform != "linux", reason="only epoll rounds")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that is closed in the end."""
    loop = new_event_loop()
    yield loop
    loop.close()


class ForeignLoop(asyncio.SelectorEventLoop):
    """What another policy makes, such as uvloop's."""


@linux
def test_a_wait_is_not_rounded_up_to_a_millisecond(loop: asyncio.AbstractEventLoop) -> None:
    """Of many waits of a tenth of a millisecond some end before epoll itself could have returned."""
    selector = vars(loop)["_selector"]
    taken: list[float] = []
    for _ in range(200):
        began = time.perf_counter()
        assert selector.select(0.0001) == []
        taken.append(time.perf_counter() - began)
    assert 0.0001 <= min(taken) < 0.001


@pytest.mark.parametrize("how", ["a socket", "another thread"])
def test_what_arrives_during_a_wait_is_taken_in_at_once(how: str, loop: asyncio.AbstractEventLoop) -> None:
    """And not only when the wait is over, for nothing else wakes the loop."""
    near, far = socket.socketpair()

    async def main() -> None:
        heard = loop.create_future()
        loop.add_reader(near, lambda: heard.set_result(near.recv(10)))
        if how == "a socket":
            threading.Timer(0.05, far.send, [b"one"]).start()
        else:
            threading.Timer(0.05, loop.call_soon_threadsafe, [heard.set_result, b"one"]).start()
        sleeping = asyncio.create_task(asyncio.sleep(10))
        await asyncio.wait({heard, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        loop.remove_reader(near)
        assert heard.done()
        assert not sleeping.done()
        sleeping.cancel()

    with near, far:
        loop.run_until_complete(main())


def test_processes_and_signals_reach_it(loop: asyncio.AbstractEventLoop) -> None:
    """A child's end and Ctrl-C during a long wait are seen as on asyncio's own."""

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


def test_the_loop_of_another_policy_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has set uvloop gets uvloop."""
    monkeypatch.setattr(asyncio, "new_event_loop", ForeignLoop)
    loop = new_event_loop()
    try:
        assert type(loop) is ForeignLoop
    finally:
        loop.close()


def test_what_another_policy_sets_on_asyncios_loop_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its factory of tasks, say, or its handler of exceptions."""
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
    """Beyond what select can watch, waits are rounded, and nothing else is different."""
    monkeypatch.setattr("cascade.runtime.loops._SELECTABLE", 0)
    loop = new_event_loop()
    try:
        assert type(vars(loop)["_selector"]) is selectors.EpollSelector
        assert loop.run_until_complete(asyncio.sleep(0.001, "done")) == "done"
    finally:
        loop.close()


@linux
def test_what_select_can_watch_is_what_is_taken_for_it() -> None:
    """The limit is that of this system: beyond it no number is looked at, below it one may not be open."""
    with pytest.raises(ValueError, match="out of range"):
        select.select([loops._SELECTABLE], [], [], 0)
    with contextlib.suppress(OSError):
        select.select([loops._SELECTABLE - 1], [], [], 0)


@linux
def test_no_descriptor_is_left_behind() -> None:
    """Neither of the loop that is handed out nor of the one that was asked for its kind."""
    new_event_loop().close()
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        new_event_loop().close()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@linux
def test_it_still_is_epoll() -> None:
    """As many sockets as epoll takes can be watched, not only a thousand."""
    loop = new_event_loop()
    try:
        assert isinstance(vars(loop)["_selector"], selectors.EpollSelector)
    finally:
        loop.close()
