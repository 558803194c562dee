"""The admission controller on the event loop: its steps, its timer, its notifications and its log."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from admission_parts import (
    AdmissionController,
    AdmissionPolicy,
    Cancel,
    Effective,
    Pause,
    RateLimit,
    Rule,
    StartRequest,
    SystemClock,
)
from fakes import Run
from observers import lines_of

from cascade.testkit import eventually


class JumpingClock(SystemClock):
    """The system's clock, which the test can advance."""

    ahead = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def controller(clock: JumpingClock) -> AdmissionController:
    return AdmissionController(AdmissionPolicy(), clock=clock)


@pytest.fixture
async def run(controller: AdmissionController, no_leaks: None) -> AsyncIterator[Run]:
    """A run that is attached during its test and leaves nothing behind."""
    served = Run()
    controller.attach(served)
    yield served
    controller.detach(served)


def put(controller: AdmissionController, scope: str, rule: Rule) -> None:
    controller.apply({(scope, rule.type): Effective(rule, f"t/{scope}/{rule.type}")})


def lift(controller: AdmissionController, scope: str, kind: str) -> None:
    controller.apply({(scope, kind): None})


def submit(controller: AdmissionController, run: Run, *names: str) -> None:
    for name in names:
        controller.submit(StartRequest(run, name))


async def test_the_timer_of_an_injected_clock_wakes_the_controller(no_leaks: None) -> None:
    """With a clock that has its own timers, an hour passes when the test advances that clock."""

    class Moved(JumpingClock):
        callback: Callable[[], object] | None = None

        def monotonic(self) -> float:
            return self.ahead

        def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.Handle:
            self.callback = callback
            return asyncio.get_running_loop().call_later(seconds, callback)

    clock = Moved()
    controller = AdmissionController(AdmissionPolicy(), clock=clock)
    run = Run()
    controller.attach(run)
    put(controller, "global", RateLimit(1 / 3600))
    submit(controller, run, "a", "b")
    await eventually(lambda: clock.callback)
    assert len(run.started) == 1
    clock.ahead = 3600.0
    assert clock.callback is not None
    clock.callback()
    await eventually(lambda: len(run.started) == 2)
    controller.detach(run)


async def test_blocked_requests_are_reported_one_batch_per_step(
    controller: AdmissionController, run: Run
) -> None:
    """Each of 10,000 blocked requests is reported once, in order, and no step reports more than a batch."""
    put(controller, "global", Pause())
    put(controller, "task:b", Pause())
    submit(controller, run, *["a"] * 5_000, *["b"] * 5_000)
    most = 0
    while len(run.notified) < 10_000:
        before, batch = len(run.notified), controller._pace.batch
        await asyncio.sleep(0)
        most = max(most, len(run.notified) - before - batch)
    assert most == 0
    assert [name for name, _ in run.notified] == ["blocked a"] * 5_000 + ["blocked b"] * 5_000
    assert not controller.policy.notifications.blocked


async def test_clear_lifts_all_constraints_at_once(controller: AdmissionController, run: Run) -> None:
    """After ``clear`` no constraint is in force and every waiting request is admitted."""
    for name in "abc":
        put(controller, f"task:{name}", Pause())
    put(controller, "global", RateLimit("1/h"))
    submit(controller, run, *"abcd" * 3)
    await eventually(lambda: len(run.notified) == 11)
    controller.clear()
    assert not controller.policy.constrained
    await eventually(lambda: len(run.started) == 12)
    assert run.reconsidered == 5


async def test_a_forgotten_pause_is_logged_with_the_command_that_clears_it(
    controller: AdmissionController, run: Run, clock: JumpingClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After 5 s without a start, one warning names the register and how to clear it; one line reports its end."""
    controller.source, controller.broker = "press-3", ("plant-7", 1884)
    put(controller, "global", Pause())
    submit(controller, run, "a")
    await eventually(lambda: run.notified)
    clock.ahead = 5.1
    for _ in range(3):
        controller.wake()
        await eventually(lambda: controller._next_step is None)
    warning = "mosquitto_pub -h plant-7 -p 1884 -r -n -t t/global/pause"
    assert [
        record.levelno for record in lines_of(caplog, "cascade.constraints") if warning in record.getMessage()
    ] == [logging.WARNING]
    lift(controller, "global", "pause")
    await eventually(lambda: run.started)
    assert caplog.text.count("t/global/pause was lifted or changed") == 1
    assert all(
        record.getMessage().startswith("press-3: ") for record in lines_of(caplog, "cascade.constraints")
    )


async def test_runs_reconsider_their_checkpoints_after_every_change(
    controller: AdmissionController, run: Run
) -> None:
    """A run checks its paused tasks again when constraints have changed."""
    put(controller, "global", Pause())
    lift(controller, "global", "pause")
    assert run.reconsidered == 2


async def test_an_error_in_a_step_aborts_every_run(controller: AdmissionController) -> None:
    """No caller sees an error in a step, so without the abort the runs would wait for ever."""
    runs = [Run(name) for name in ("one", "two")]
    for run in runs:
        controller.attach(run)

    def fail(request: StartRequest) -> None:
        raise RuntimeError("an internal error")

    runs[0].on_start = fail
    submit(controller, runs[0], "step")
    await eventually(lambda: runs[1].notified)
    assert [run.notified for run in runs] == [[("abort an internal error", "")]] * 2
    for run in runs:
        controller.detach(run)


async def test_a_run_is_notified_of_its_cancel_before_its_requests_are_rejected(
    controller: AdmissionController, run: Run
) -> None:
    """Otherwise a task's end would look like the reason why the run ended."""
    submit(controller, run, "step")
    put(controller, f"run:{run.run_id}", Cancel())
    await eventually(lambda: len(run.notified) == 2)
    topic = f"t/run:{run.run_id}/cancel"
    assert run.notified == [("cancel", topic), ("rejected step", topic)]
