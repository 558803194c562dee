"""The event loop of ``cs.run``: asyncio's in all but the waits, which are exact."""

import asyncio
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
    """Of many waits of a tenth of a millisecond some end before epoll would have looked at the clock."""
    taken: list[float] = []

    async def waits() -> None:
        for _ in range(200):
            began = time.perf_counter()
            await asyncio.sleep(0.0001)
            taken.append(time.perf_counter() - began)

    loop.run_until_complete(waits())
    assert 0.0001 <= min(taken) < 0.001


def test_what_arrives_during_a_wait_is_taken_in_at_once(loop: asyncio.AbstractEventLoop) -> None:
    """From a socket and from another thread, while something sleeps for long."""
    near, far = socket.socketpair()

    async def main() -> None:
        heard = loop.create_future()
        loop.add_reader(near, lambda: heard.set_result(near.recv(10)))
        sleeping = asyncio.create_task(asyncio.sleep(60))
        await asyncio.to_thread(far.send, b"one")
        assert await asyncio.wait_for(heard, 30) == b"one"
        loop.remove_reader(near)
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
def test_a_process_with_a_thousand_files_open_gets_a_loop_too() -> None:
    """Beyond what select can watch, waits are rounded, and nothing else is different."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        loop = new_event_loop()
        try:
            assert loop.run_until_complete(asyncio.sleep(0.001, "done")) == "done"
        finally:
            loop.close()
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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
