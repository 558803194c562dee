"""cs.run ends within its limits, whatever tasks, resources and the user's own asyncio tasks do with a cancel."""

import asyncio
import gc
import logging
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator

import pytest

import cascade as cs
from cascade.testkit.waiting import busyness, eventually

BOUND = 30.0

PREAMBLE = """
import asyncio, logging, os, sys, threading
import cascade as cs

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")

async def swallow():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

@cs.task
async def stubborn():
    os.write(1, b"ready\\n")
    await swallow()

@cs.task
async def fails():
    await asyncio.sleep(0)
    raise ValueError("no")

@cs.resource
async def opens_for_ever():
    os.write(1, b"ready\\n")
    await swallow()
    yield

@cs.resource
async def closes_for_ever():
    yield 1
    os.write(1, b"ready\\n")
    await swallow()

@cs.task
async def uses(held=cs.inject("held")):
    pass

@cs.task
async def forgets():
    global left
    left = asyncio.create_task(swallow(), name="left behind")
    await asyncio.sleep(0)

class Ear(logging.Handler):
    heard = threading.Event()

    def emit(self, record):
        if "these still run" in record.getMessage():
            self.heard.set()

@cs.task
async def threads():
    logging.getLogger("cascade").addHandler(Ear())
    begun = threading.Event()

    def wait():
        begun.set()
        Ear.heard.wait(60)

    global left
    left = asyncio.create_task(asyncio.to_thread(wait))
    while not begun.is_set():  # one that has not begun is cancelled with its task
        await asyncio.sleep(0.001)

@cs.task
async def iterates():
    async def numbers():
        try:
            yield 1
        finally:
            await swallow()
    global left
    left = numbers()
    await anext(left)
"""

LIMITS = "stop_timeout=0.1, close_timeout=0.1"
SWALLOWED = "these run on: {} that suppress asyncio.CancelledError"
TASK = SWALLOWED.format("tasks (stubborn:0)")
LEFT = "these still run: {}"

PROGRAMS = {
    "a task, after a failure": (f"cs.run([stubborn(), fails()], {LIMITS})", None, TASK),
    "a task, after its time limit": (f"cs.run(stubborn().with_timeout(0.05), {LIMITS})", None, TASK),
    "a task, before its time limit": (f"cs.run(stubborn().with_timeout(60), {LIMITS})", signal.SIGINT, TASK),
    "a task, after Ctrl-C": (f"cs.run(stubborn(), {LIMITS})", signal.SIGINT, TASK),
    "a task, after SIGTERM": (f"cs.run(stubborn(), {LIMITS})", signal.SIGTERM, TASK),
    "a task, after the run's value": (f"cs.run(forgets(), {LIMITS})", None, LEFT.format("task left behind")),
    "a resource that opens": (
        f"cs.run(uses(), resources=[cs.resource(name='held')(opens_for_ever.function)], {LIMITS})",
        signal.SIGINT,
        SWALLOWED.format("resources (cascade resource held)"),
    ),
    "a resource that closes": (
        f"cs.run(uses(), resources=[cs.resource(name='held')(closes_for_ever.function)], {LIMITS})",
        None,
        SWALLOWED.format("resources (cascade resource held)"),
    ),
    "an asynchronous generator": (
        f"cs.run(iterates(), {LIMITS})",
        None,
        LEFT.format("an asynchronous generator"),
    ),
    "a call in a thread of the loop": (
        f"cs.run(threads(), {LIMITS})",
        None,
        LEFT.format("a call in a thread (asyncio.to_thread)"),
    ),
}


@pytest.mark.process
@pytest.mark.parametrize("what", PROGRAMS)
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_run_ends_whatever_does_not_stop(what: str) -> None:
    """Rows 26 and 30: the program ends, and one line names what still runs."""
    call, number, warning = PROGRAMS[what]
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(call)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if number is not None:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
        _out, err = process.communicate(timeout=BOUND * busyness())
    finally:
        process.kill()
    named = [line for line in err.splitlines() if line.startswith("WARNING") and warning in line]
    assert len(named) == 1, err
    assert err.count("these still run") + err.count("these run on") == 1
    assert "was destroyed" not in err
    assert "never retrieved" not in err


def test_errors_of_tasks_that_are_left_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A task that the user left behind and that fails when it is cancelled is reported as asyncio does."""

    async def fail_at_the_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("at the end")

    left: list[asyncio.Task[None]] = []

    @cs.task
    async def leave() -> int:
        left.append(asyncio.create_task(fail_at_the_end()))
        await asyncio.sleep(0)
        return 1

    assert cs.run(leave()) == 1
    errors = [record.exc_info[1] for record in caplog.records if record.name == "asyncio" and record.exc_info]
    assert [str(error) for error in errors if isinstance(error, ValueError)] == ["at the end"]


def test_a_run_that_leaves_nothing_behind_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Generators are closed, calls in threads of the loop are waited for, and no warning comes."""
    seen: list[str] = []
    begun, closing = threading.Event(), threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            seen.append("generator")
            closing.set()

    def in_thread() -> None:
        begun.set()
        assert closing.wait(BOUND * busyness())
        seen.append("thread")

    kept: list[object] = []

    @cs.task
    async def leave() -> int:
        iterator = numbers()
        kept.extend((iterator, asyncio.create_task(asyncio.to_thread(in_thread))))
        await eventually(begun.is_set)  # one that has not begun is cancelled with its task
        return await anext(iterator)

    gc.collect()  # so that nothing of an earlier test is logged here
    with caplog.at_level(logging.WARNING):
        assert cs.run(leave()) == 1
    assert sorted(seen) == ["generator", "thread"]
    assert not [each for each in caplog.records if "holds the event loop" not in each.getMessage()]


@pytest.mark.parametrize("what", ["an error", "a value"])
def test_what_cannot_be_printed_disturbs_no_later_run(what: str) -> None:
    """asyncio may print the result of a run's own task; after a run Ctrl-C is Python's own again."""

    class Unprintable(Exception):
        def __repr__(self) -> str:
            raise KeyboardInterrupt("printed")

    @cs.task
    async def give() -> Unprintable:
        if what == "an error":
            raise Unprintable
        return Unprintable()

    before = signal.getsignal(signal.SIGINT)
    if what == "an error":
        with pytest.raises(Unprintable):
            cs.run(give())
    else:
        assert isinstance(cs.run(give()), Unprintable)
    assert signal.getsignal(signal.SIGINT) is before
