"""The admission controller on the event loop: its steps, its timer, its notifications and its log."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from admission_parts import (
    Controller,
    Effective,
    Pause,
    Policy,
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
def controller(clock: JumpingClock) -> Controller:
    return Controller(Policy(), clock=clock)


@pytest.fixture
async def run(controller: Controller, no_leaks: None) -> AsyncIterator[Run]:
    """A run that is attached during its test and leaves nothing behind."""
    served = Run()
    controller.attach(served)
    yield served
    controller.detach(served)


def put(controller: Controller, scope: str, rule: Rule) -> None:
    controller.apply({(scope, rule.type): Effective(rule, f"t/{scope}/{rule.type}")})


def lift(controller: Controller, scope: str, kind: str) -> None:
    controller.apply({(scope, kind): None})


def submit(controller: Controller, run: Run, *names: str) -> None:
    for name in names:
        controller.submit(StartRequest(run, name))


async def test_a_forgotten_pause_is_logged_with_the_command_that_clears_it(
    controller: Controller, run: Run, clock: JumpingClock, caplog: pytest.LogCaptureFixture
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


async def test_an_error_in_a_step_aborts_every_run(controller: Controller) -> None:
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
