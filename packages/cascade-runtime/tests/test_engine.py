"""The engine: what runs when, what a failure does, and which events observers get."""

import asyncio
import contextvars
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from observers import hold_the_loop, watch
from simple_tasks import collect, double, fail

from cascade.interfaces import (
    ConfigurationError,
    InvalidTargetError,
    Lifecycle,
    LifecycleEvent,
    RunStatus,
    TaskCancelledError,
    TaskState,
    TaskStateEvent,
    TaskTimeoutError,
)
from cascade.runtime import Engine, LocalConnector
from cascade.spec import task

Told = list[tuple[str, str]]


def states(events: list[Any]) -> Told:
    return [(e.task_name, e.state.value) for e in events if isinstance(e, TaskStateEvent)]


async def test_a_task_starts_as_soon_as_its_own_inputs_are_done() -> None:
    """No stages: a short branch is through before a long one has done its first step."""
    gate = asyncio.Event()

    @task
    async def slow() -> str:
        await gate.wait()
        return "slow"

    @task
    async def opens(x: int) -> int:
        gate.set()
        return x

    assert await Engine().run(collect(slow(), opens(double(double(1))))) == ["slow", 4]


@pytest.mark.parametrize("target", [7, None, "x", [double(1), 3], {"a": 1}, double])
async def test_what_is_no_lazy_result_is_refused(target: Any) -> None:
    """The error says what was given and what to give, and nothing has been started."""
    engine = Engine()
    events = watch(engine)
    with pytest.raises(InvalidTargetError, match=r"call a function decorated with|call it: double"):
        await engine.run(target)
    assert not events


async def test_observers_get_events_in_order() -> None:
    """ENGINE_STARTED is the first event, ENGINE_STOPPED the last; inputs complete before dependents run."""
    engine = Engine()
    events = watch(engine)
    await engine.run(double(double(1)))
    assert isinstance(events[0], LifecycleEvent)
    assert events[0].event is Lifecycle.ENGINE_STARTED
    assert (events[-1].event, events[-1].status, events[-1].error) == (
        Lifecycle.ENGINE_STOPPED,
        RunStatus.SUCCEEDED,
        "",
    )
    assert states(events) == [("double", "RUNNING"), ("double", "COMPLETED")] * 2
    assert len({e.task_id for e in events[1:-1]}) == 2
    assert len({e.run_id for e in events}) == 1
    assert all(e.duration_ms >= 0 for e in events[1:-1])


async def test_a_failure_cancels_the_siblings() -> None:
    """What raised is raised, with a note; running siblings are cancelled, dependents never start."""
    engine = Engine()
    events = watch(engine)
    cancelled = asyncio.Event()

    @task
    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ValueError, match="boom") as caught:
        await engine.run(collect(forever(), fail(), double(fail("later"))))
    assert "in task 'fail'" in caught.value.__notes__[0]
    assert cancelled.is_set()
    told = states(events)
    assert ("forever", "CANCELLED") in told
    assert ("double", "RUNNING") not in told
    assert events[-1].event is Lifecycle.ENGINE_STOPPED
    assert (events[-1].status, events[-1].error) == (RunStatus.FAILED, "fail:0: ValueError: boom")


async def test_a_task_cancelled_from_within_is_a_failure() -> None:
    """A task that awaits something cancelled fails the run, instead of hanging or cancelling it."""

    @task
    async def awaits_cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(
        TaskCancelledError, match="'awaits_cancelled' was cancelled: something that it awaited"
    ):
        await Engine().run(awaits_cancelled())


async def test_retry_tries_up_to_the_number_of_attempts() -> None:
    """max_attempts counts all attempts; each failure but the last is reported as RETRYING with its reason."""
    engine = Engine()
    events = watch(engine)
    attempts: list[int] = []

    @task
    async def flaky(succeed_at: int) -> int:
        attempts.append(1)
        if len(attempts) < succeed_at:
            raise OSError("not yet")
        return len(attempts)

    assert await engine.run(flaky(3).with_retry(3)) == 3
    assert [s for _, s in states(events)] == ["RUNNING", "RETRYING", "RETRYING", "COMPLETED"]
    assert [e.reason for e in events if getattr(e, "state", None) is TaskState.RETRYING] == [
        "attempt 1 of 3 failed; the next one comes in 0 s",
        "attempt 2 of 3 failed; the next one comes in 0 s",
    ]
    attempts.clear()
    with pytest.raises(OSError, match="not yet"):
        await engine.run(flaky(9).with_retry(2))
    assert len(attempts) == 2


class Hasty:
    """A clock whose time passes as soon as code waits for it."""

    def __init__(self) -> None:
        self.seconds = 1.0
        self.waited: list[float] = []

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.Handle:
        self.waited.append(seconds)
        self.seconds += seconds
        return asyncio.get_running_loop().call_soon(callback)


async def test_the_delay_between_attempts_grows() -> None:
    """Attempts are spaced by delay, then by delay x backoff, on the engine's clock."""
    clock = Hasty()
    with pytest.raises(ValueError, match="boom"):
        await Engine(clock=clock).run(fail().with_retry(4, delay=600, backoff=3.0))
    assert clock.waited == [600, 1800, 5400]


async def test_a_time_out_of_the_tasks_own_is_its_own() -> None:
    """A TimeoutError that the task raises itself is not taken for its limit."""

    @task
    async def own() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine") as caught:
        await Engine().run(own().with_timeout(5))
    assert not isinstance(caught.value, TaskTimeoutError)


async def test_context_variables_do_not_leak_between_tasks() -> None:
    """A task sees the caller's context, and what it sets stays with it, on the loop, inline and in threads."""
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")
    var.set("caller")

    @task
    async def sets() -> str:
        seen = var.get()
        var.set("task")
        return seen

    @task
    def reads() -> str:
        seen = var.get()
        var.set("thread")
        return seen

    @task(mode="inline")
    def at_once() -> str:
        seen = var.get()
        var.set("inline")
        return seen

    calls = [sets(), reads(), sets().after(sets()), at_once().after(at_once())]
    assert await Engine().run(calls) == ["caller"] * 4
    assert var.get() == "caller"


def lag_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "holds the event loop" in r.getMessage()]


@task
async def hog(caplog: pytest.LogCaptureFixture) -> None:
    hold_the_loop(lambda: lag_lines(caplog))


@pytest.mark.full
@pytest.mark.process
def test_a_task_that_blocks_the_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Row 34: a task that blocks the loop is named in one warning that says what to do, also if it blocks at once."""
    with caplog.at_level(logging.WARNING, "cascade.engine"):
        asyncio.run(Engine().run(hog(caplog)))
    (line,) = lag_lines(caplog)
    assert "'hog:0'" in line
    assert "plain function" in line


STOPPED_PROGRAM = """
import asyncio, sys, time
from cascade.runtime import Engine
from cascade.runtime._support import loop_lag
from cascade.spec import task

limit, loop_lag.LAG_LIMIT = loop_lag.LAG_LIMIT, 3600  # the first run imports, which takes long on a busy machine

@task
async def wait():
    monitor = loop_lag.LoopLagMonitor.join(asyncio.get_running_loop())
    monitor._excuse()  # of the time that the imports took
    monitor.leave()
    loop_lag.LAG_LIMIT = limit
    while time.process_time() < 1.5 * limit:
        await asyncio.sleep(0)  # uses CPU time, which the monitor must not count for the time that the process stands still
    print("running", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.sleep(1.0)  # four checks of the monitor

asyncio.run(Engine().run(wait()))
"""


@pytest.mark.full
@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows has no SIGSTOP")
def test_a_process_that_stood_still_blames_no_task() -> None:
    """Row 34: after SIGSTOP, or on a machine that slept, no task held the event loop."""
    command = [sys.executable, "-c", STOPPED_PROGRAM]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.0)
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate("\n", timeout=60)
    assert (process.returncode, stderr) == (0, "")


async def test_an_engine_runs_on_one_loop_at_a_time() -> None:
    """A run in another thread is refused, and the message says what to do; after the last run any loop may be used."""
    engine = Engine()

    @task
    def runs() -> object:
        return asyncio.run(engine.run(double(1)))

    with pytest.raises(ConfigurationError, match=r"another event loop.*one engine for each"):
        await engine.run(runs())
    assert await asyncio.to_thread(asyncio.run, engine.run(double(2))) == 4
    assert await engine.run(double(3)) == 6


async def test_an_engine_shows_how_many_runs_it_has() -> None:
    """Also after one that failed, and with its connector."""
    engine = Engine()

    @task
    async def look() -> str:
        return repr(engine)

    @task
    async def nest() -> tuple[str, str]:
        return repr(engine), await engine.run(look())

    assert await engine.run(nest()) == ("<Engine with 1 runs>", "<Engine with 2 runs>")
    with pytest.raises(ValueError, match="boom"):
        await engine.run(fail())
    assert repr(engine) == "<Engine with 0 runs>"
    connector = LocalConnector()
    assert repr(Engine(connector=connector)) == f"<Engine with 0 runs on {connector!r}>"


async def test_an_engine_refuses_a_run_of_an_id_that_it_runs() -> None:
    """Only while the first one goes on, and by the name of the keyword."""
    engine = Engine()

    @task
    async def again() -> object:
        return await engine.run(double(1), run_id="night")

    with pytest.raises(ConfigurationError, match=r"run\(run_id=\).*'night' is running on this engine; wait"):
        await engine.run(again(), run_id="night")
    assert await engine.run(again(), run_id="day") == 2
    assert await engine.run(double(2), run_id="night") == 4
