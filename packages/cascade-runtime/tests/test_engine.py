"""The engine: what runs when, what a failure does, and which events observers get."""

import asyncio
import contextvars
import gc
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from desk import limits_of, pass_now
from fakes import FakeClock
from observers import hold_the_loop, watch
from simple_tasks import collect, double, fail

from cascade.interfaces import (
    ConfigurationError,
    InvalidTargetError,
    Lifecycle,
    LifecycleEvent,
    MapLengthError,
    RunCancelledError,
    RunStatus,
    TaskCallError,
    TaskCancelledError,
    TaskState,
    TaskStateEvent,
    TaskTimeoutError,
)
from cascade.runtime import Engine, EventBus, LocalConnector, ThreadExecutor
from cascade.runtime._support.loop_lag import LAG_LIMIT, LoopLagMonitor
from cascade.runtime._support.loop_steps import BatchSize
from cascade.spec import LazyResult, task
from cascade.testkit import eventually, no_leaks, time_limit

Told = list[tuple[str, str]]


@task
def in_thread(x: Any) -> Any:
    return x, threading.current_thread() is threading.main_thread()


def states(events: list[Any]) -> Told:
    return [(e.task_name, e.state.value) for e in events if isinstance(e, TaskStateEvent)]


async def test_a_graph_gives_its_value() -> None:
    """Tasks on the loop, inline and in threads share one graph."""
    assert await Engine().run(collect(double(1), double(double(2)), in_thread(3))) == [2, 8, (3, False)]


async def test_a_list_of_targets_gives_a_list() -> None:
    """Results come in the order of the targets, the same target twice, and none for none."""
    one = double(1)
    assert await Engine().run([one, double(2), one]) == [2, 4, 2]
    assert await Engine().run([]) == []


async def test_one_node_used_twice_runs_once() -> None:
    """A lazy result is one call, however many tasks take it; a second run calls it again."""
    calls = []

    @task
    async def count() -> int:
        calls.append(1)
        return len(calls)

    shared = count()
    assert await Engine().run(collect(shared, [shared], {"a": shared})) == [1, [1], {"a": 1}]
    assert await Engine().run(shared) == 2


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


async def test_after_waits_without_taking_the_value() -> None:
    """Order can be declared where no value flows."""
    order: list[str] = []

    @task(mode="inline")
    def note(name: str) -> None:
        order.append(name)

    first, second = note("first"), note("second")
    await Engine().run([note("last").after(first, second.after(first)), second])
    assert order[0] == "first"
    assert order[-1] == "last"


async def test_a_map_runs_once_for_each_item() -> None:
    """Items from lists, from a lazy list, holding lazy results, and none at all."""

    @task
    async def numbers(n: int) -> list[int]:
        return list(range(n))

    engine = Engine()
    assert await engine.run(double.map(x=[1, 2, 3])) == [2, 4, 6]
    assert await engine.run(double.map(x=numbers(4))) == [0, 2, 4, 6]
    assert await engine.run(double.map(x=[double(1), 5])) == [4, 10]
    assert await engine.run(double.map(x=double.map(x=numbers(3)))) == [0, 4, 8]
    assert await engine.run([double.map(x=[]), double.map(x=numbers(0))]) == [[], []]
    assert await engine.run(double.map(x=[]).after(double(1))) == []


async def test_a_map_waits_for_what_it_comes_after() -> None:
    """Each item of a map waits for the map's predecessors."""
    done: list[int] = []

    @task(mode="inline")
    def mark() -> None:
        done.append(1)

    @task(mode="inline")
    def look(x: int) -> int:
        return len(done)

    @task(mode="inline")
    def two() -> list[int]:
        return [1, 2]

    assert await Engine().run(look.map(x=[1, 2]).after(mark())) == [1, 1]
    assert await Engine().run(look.map(x=two()).after(mark())) == [2, 2]


async def test_a_map_whose_iterables_turn_out_wrong_fails_with_a_clear_message() -> None:
    """Lengths and types that are known only in the run are refused like those known before."""

    @task(mode="inline")
    def give(value: Any) -> Any:
        return value

    @task(mode="inline")
    def pair(a: int, b: int) -> None: ...

    engine = Engine()
    with pytest.raises(TaskCallError, match="'give' gave int"):
        await engine.run(double.map(x=give(3)))
    with pytest.raises(MapLengthError, match="a has 1, b has 2"):
        await engine.run(pair.map(a=[1], b=give([1, 2])))


@pytest.mark.parametrize("target", [7, None, "x", [double(1), 3], {"a": 1}, double])
async def test_what_is_no_lazy_result_is_refused(target: Any) -> None:
    """The error says what was given and what to give, and nothing has been started."""
    engine = Engine()
    events = watch(engine)
    with pytest.raises(InvalidTargetError, match="call a function decorated with"):
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


async def test_mapped_and_nested_tasks_complete_like_any_other() -> None:
    """Every call of a map is reported as RUNNING and COMPLETED, under the task's name."""
    engine = Engine()
    events = watch(engine)
    await engine.run(collect([double.map(x=[1, 2])]))
    told = states(events)
    assert told.count(("double", "RUNNING")) == told.count(("double", "COMPLETED")) == 2


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
    assert (events[-1].status, events[-1].error) == (RunStatus.FAILED, "ValueError: boom")


async def test_a_cancelled_run_stops_its_tasks() -> None:
    """Cancelling run() cancels running tasks, reports Cancelled, and raises CancelledError."""
    engine = Engine()
    events = watch(engine)
    started = asyncio.Event()
    ended: list[str] = []

    @task
    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    run = asyncio.create_task(engine.run(forever()))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert ended == ["cancelled"]
    assert states(events)[-1] == ("forever", "CANCELLED")
    assert events[-1].status is RunStatus.CANCELLED


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


async def test_a_task_that_is_still_running_does_not_delay_the_end_of_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A task that swallows its cancellation is waited for up to stop_timeout, then named in a warning."""
    let_go = asyncio.Event()

    @task
    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(ValueError, match="boom"):
        await Engine(stop_timeout=0.01).run([stubborn(), fail()])
    assert "stubborn:0" in caplog.text
    let_go.set()
    await eventually(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "stubborn:0"])


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


async def test_a_run_that_ends_during_a_delay_waits_for_no_clock() -> None:
    """A clock that stands still holds an attempt, and not the end of the run; its timer is cancelled."""
    cancelled: list[float] = []

    class Still(Hasty):
        def call_later(self, seconds: float, callback: Callable[[], object]) -> Any:
            timer = asyncio.get_running_loop().create_future()
            timer.add_done_callback(lambda _: cancelled.append(seconds))
            return timer

    with pytest.raises(ValueError, match="boom"):
        await Engine(clock=Still()).run([fail().with_retry(2, delay=5), fail().after(double(double(1)))])
    assert cancelled == [5]


async def test_a_time_limit_ends_an_attempt() -> None:
    """An attempt that takes too long is cancelled and fails as a time-out that names task and limit; retry applies."""
    attempts: list[int] = []

    @task
    async def slow() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            await asyncio.Event().wait()
        return "second"

    assert await Engine().run(slow().with_timeout(0.01).with_retry(2)) == "second"
    attempts.clear()
    with pytest.raises(TaskTimeoutError, match=r"'slow' took longer than its time limit of 0.01 s"):
        await Engine().run(slow().with_timeout(0.01))


async def test_a_run_that_succeeds_does_not_wait_for_what_was_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run's time ends when the value is known: the thread of a first attempt runs on without it."""
    release, limits = threading.Event(), limits_of(3600, monkeypatch)
    attempts: list[int] = []

    @task
    def slow_at_first() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            release.wait(60)
        return len(attempts)

    try:
        once_more = slow_at_first().with_timeout(3600).with_retry(2)
        run = asyncio.create_task(Engine(stop_timeout=60).run(once_more))
        await eventually(lambda: attempts)
        pass_now(limits[0])
        async with time_limit(50):
            assert await run == 2
        assert not release.is_set()
    finally:
        release.set()


async def test_a_time_out_of_the_tasks_own_is_its_own() -> None:
    """A TimeoutError that the task raises itself is not taken for its limit."""

    @task
    async def own() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine") as caught:
        await Engine().run(own().with_timeout(5))
    assert not isinstance(caught.value, TaskTimeoutError)


async def test_context_variables_do_not_leak_between_tasks() -> None:
    """A task sees the caller's context, and what it sets stays with it, on the loop and in threads."""
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

    assert await Engine().run([sets(), reads(), sets().after(sets())]) == ["caller", "caller", "caller"]
    assert var.get() == "caller"


async def test_a_plain_function_that_returns_a_coroutine_is_awaited() -> None:
    """A wrapper that hides an async function still gives its value."""

    async def hidden(x: int) -> int:
        return x + 1

    @task
    def wrapper(x: int) -> Any:
        return hidden(x)

    assert await Engine().run(wrapper(1)) == 2


async def test_runs_share_an_engine() -> None:
    """Several runs at the same time each give their own result under their own id."""
    engine = Engine()
    events = watch(engine)
    results = await asyncio.gather(*(engine.run(double.map(x=[n, n + 1])) for n in range(5)))
    assert results == [[2 * n, 2 * n + 2] for n in range(5)]
    assert len({e.run_id for e in events}) == 5


@pytest.mark.full
@pytest.mark.process
async def test_a_chain_of_a_hundred_thousand_runs() -> None:
    """Depth costs no recursion anywhere: declaring, building, running, freeing."""
    lazy: LazyResult[int] = double(0)
    for _ in range(100_000):
        lazy = double(lazy)
    assert await Engine().run(lazy) == 0


async def test_a_large_run_yields_to_other_tasks() -> None:
    """Work is cut into turns: a neighbour on the loop gets its turn again and again during 10,000 tasks."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    neighbour = asyncio.create_task(other())
    await Engine().run(collect(*[double(n) for n in range(10_000)]))
    neighbour.cancel()
    await asyncio.wait({neighbour})
    assert turns > 4


def test_the_pace_follows_how_long_turns_take() -> None:
    """A turn over 5 ms halves the batch, a quick one doubles it, within bounds."""
    batch_size = BatchSize()
    start = batch_size.batch
    batch_size.learn(0.006)
    assert batch_size.batch == start // 2
    batch_size.learn(0.004)
    assert batch_size.batch == start // 2
    for _ in range(20):
        batch_size.learn(0.001)
    assert batch_size.batch == 2048
    for _ in range(20):
        batch_size.learn(1.0)
    assert batch_size.batch == 16


async def test_a_run_leaves_nothing_behind() -> None:
    """After success, failure and cancellation no task and no thread of the engine is left."""
    before, threads = set(asyncio.all_tasks()), set(threading.enumerate())
    await Engine().run(in_thread(1))
    with pytest.raises(ValueError, match="boom"):
        await Engine().run([in_thread(1), fail()])
    gc.collect()
    assert set(asyncio.all_tasks()) == before
    await eventually(
        lambda: not any(t.name.startswith("cascade") for t in set(threading.enumerate()) - threads)
    )


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
        time.sleep(2 * LAG_LIMIT)
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate("\n", timeout=60)
    assert (process.returncode, stderr) == (0, "")


async def test_a_process_that_stood_still_behind_a_check_blames_no_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The check was in time: only the next one, by the time since this one, knows that the process stood still."""
    began = time.monotonic()
    monitor = LoopLagMonitor(asyncio.get_running_loop())
    monitor._last_beat = began - 10 * LAG_LIMIT
    monitor._check(monitor._last_beat + LAG_LIMIT / 2)
    assert lag_lines(caplog) == []
    monitor._check(began)
    assert len(lag_lines(caplog)) == 1
    monitor._handle.cancel()


async def test_a_task_is_named_once_although_the_process_stands_still_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It holds the loop before and after; what the monitor excuses is the time between."""
    monitor = LoopLagMonitor(asyncio.get_running_loop())
    for _ in range(2):
        monitor._check(monitor._last_beat + 2 * LAG_LIMIT)
        monitor._excuse()
    monitor._check(monitor._last_beat + 2 * LAG_LIMIT)
    monitor._handle.cancel()
    assert len(lag_lines(caplog)) == 1


@pytest.mark.full
@pytest.mark.process
async def test_a_blocked_loop_is_logged_once_for_all_its_runs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of one loop share one monitor, which ends with the last run."""
    later_checks = 0
    check = LoopLagMonitor._check

    def count_and_check(monitor: LoopLagMonitor, now: float) -> None:
        nonlocal later_checks
        later_checks += len(lag_lines(caplog))
        check(monitor, now)

    monkeypatch.setattr(LoopLagMonitor, "_check", count_and_check)

    @task
    async def hold_for_several_checks() -> None:
        hold_the_loop(lambda: later_checks > 2)

    async def after(begun: asyncio.Event) -> None:
        await begun.wait()
        await Engine().run(hold_for_several_checks())

    begun = asyncio.Event()

    @task
    async def wait(engine: int) -> int:
        begun.set()
        await held
        return engine

    async with no_leaks():
        held = asyncio.create_task(after(begun))
        assert await asyncio.gather(*(Engine().run(wait(n)) for n in range(3))) == [0, 1, 2]
    assert len(lag_lines(caplog)) == 1


async def test_the_bus_given_is_the_bus_used() -> None:
    """Dependencies are injected: bus and executor are the caller's, and the executor is left open."""
    bus = EventBus()
    heard: list[Any] = []
    bus.subscribe(LifecycleEvent, heard.append)
    executor = ThreadExecutor(1)
    await Engine(bus=bus, executor=executor).run(in_thread(1))
    assert len(heard) == 2
    assert await executor.run(lambda: 5, (), {}) == 5
    await executor.close()


@pytest.mark.parametrize("connector", ["mqtt://broker", LocalConnector, object()])
def test_what_is_no_connector_is_refused_when_the_engine_is_made(connector: Any) -> None:
    """A URL, a class or any other object: the message says what to pass."""
    with pytest.raises(
        ConfigurationError, match=r"connector=\).*(cs\.connector|is not a connector: it lacks)"
    ):
        Engine(connector=connector)


def test_control_that_the_connector_cannot_carry_is_refused() -> None:
    """An engine that must obey refuses to be made without a connector that brings it commands."""
    with pytest.raises(ConfigurationError, match="require_control: needs a connector with watch"):
        Engine(require_control=True)


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
    """Also after one that failed, and on another loop afterwards."""
    engine = Engine()
    go_on = asyncio.Event()

    @task
    async def look() -> str:
        return repr(engine)

    @task
    async def wait() -> None:
        await go_on.wait()
        raise ValueError("boom")

    assert await engine.run(look()) == "<Engine with 1 runs>"
    waiting = asyncio.create_task(engine.run(wait()))
    await asyncio.sleep(0)
    assert await engine.run(look()) == "<Engine with 2 runs>"
    assert repr(engine) == "<Engine with 1 runs>"
    go_on.set()
    with pytest.raises(ValueError, match="boom"):
        await waiting
    assert repr(engine) == "<Engine with 0 runs>"
    assert await asyncio.to_thread(asyncio.run, engine.run(look())) == "<Engine with 1 runs>"
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


async def test_what_a_task_was_handling_when_it_failed_is_shown() -> None:
    """Python's "During handling of the above exception" reaches the code that runs the graph."""

    @task
    async def bad() -> None:
        try:
            _ = dict[str, int]()["key"]
        except KeyError:
            raise ValueError("consequence")  # noqa: B904 - this is what people write

    with pytest.raises(ValueError, match="consequence") as caught:
        await Engine().run(bad())
    assert isinstance(caught.value.__context__, KeyError)
    assert not caught.value.__suppress_context__


async def test_a_task_whose_own_run_was_cancelled_has_failed() -> None:
    """A run that a task makes is another one: its cancelling is a failure here, and no cancelling."""

    @task
    async def nest() -> None:
        raise RunCancelledError("another", "someone wanted it")

    engine = Engine()
    ends: list[RunStatus | None] = []
    engine.bus.subscribe(LifecycleEvent, lambda event: ends.append(event.status))
    with pytest.raises(RunCancelledError):
        await engine.run(nest())
    assert ends == [None, RunStatus.FAILED]


async def test_a_chain_needs_one_iteration_of_the_loop_for_each_task() -> None:
    """The end of a task starts the next one, in a context that the first one has not touched."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    iterations = 0

    async def count() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    @task
    async def link(x: int) -> int:
        seen = variable.get()
        variable.set(x + 1)
        return x + 1 + seen

    last = link(0)
    for _ in range(199):
        last = link(last)
    counting = asyncio.create_task(count())
    assert await Engine(clock=FakeClock()).run(last) == 200  # no step of building takes long
    counting.cancel()
    assert 200 <= iterations < 250
