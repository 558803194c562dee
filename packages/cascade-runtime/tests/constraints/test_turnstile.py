"""Tickets pass on the loop: in a turn of their own, with one timer, and with a word to whoever waits."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from cascade.runtime._clock import SystemClock
from cascade.runtime.constraints import Admission, Obstacle, Ticket, Turnstile
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.rules import Cancel, Concurrency, Pause, RateLimit, Rule
from cascade.testkit import eventually


class Run:
    """Notes what it is told; its tasks end when the test says so."""

    def __init__(self, turnstile: Turnstile, run_id: str = "r1") -> None:
        self.run_id = run_id
        self.turnstile = turnstile
        self.started: list[Ticket] = []
        self.told: list[tuple[str, str]] = []
        self.reconsidered = 0
        self.on_start: Callable[[Ticket], None] = lambda ticket: None

    def running(self) -> list[Ticket]:
        return []

    def start(self, ticket: Ticket) -> None:
        self.started.append(ticket)
        self.on_start(ticket)

    def turn_away(self, ticket: Ticket, obstacle: Obstacle) -> None:
        self.told.append((f"turned away {ticket.name}", obstacle.topic))

    def blocked(self, ticket: Ticket, obstacle: Obstacle) -> None:
        self.told.append((f"blocked {ticket.name}", obstacle.topic))

    def cancel(self, obstacle: Obstacle, name: str | None) -> None:
        self.told.append((f"cancel {name}", obstacle.topic))

    def reconsider(self) -> None:
        self.reconsidered += 1

    def abort(self, error: Exception) -> None:
        self.told.append((f"abort {error}", ""))

    def enter(self, *names: str) -> None:
        for name in names:
            self.turnstile.enter(Ticket(self, name))


class JumpingClock(SystemClock):
    """The system's clock, which the test may put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def turnstile(clock: JumpingClock) -> Turnstile:
    return Turnstile(Admission(), clock=clock)


def put(turnstile: Turnstile, scope: str, rule: Rule) -> None:
    turnstile.apply({(scope, rule.type): Effective(rule, f"t/{scope}/{rule.type}")})


def lift(turnstile: Turnstile, scope: str, kind: str) -> None:
    turnstile.apply({(scope, kind): None})


async def test_ten_thousand_tickets_pass_in_order(turnstile: Turnstile, no_leaks: None) -> None:
    """However many enter at once, all pass, in order, a batch in each turn."""
    run = Run(turnstile)
    turnstile.attach(run)
    turns: list[int] = []
    run.on_start = lambda ticket: turns.append(ticket.order)
    run.enter(*["a"] * 10_000)
    assert run.started == []  # never from inside enter
    await eventually(lambda: len(turns) == 10_000)
    assert turns == sorted(turns)
    assert turnstile.idle
    turnstile.detach(run)


async def test_a_token_wakes_by_a_timer(turnstile: Turnstile, no_leaks: None) -> None:
    """A rate limit lets the next task pass when its token is there, without anybody asking."""
    run = Run(turnstile)
    turnstile.attach(run)
    put(turnstile, "global", RateLimit("1200/m"))
    run.enter(*"a" * 25)
    await eventually(lambda: len(run.started) == 25)
    assert turnstile.admission.checks <= 3 * 25
    turnstile.detach(run)


async def test_a_token_comes_when_the_clock_says_so(no_leaks: None) -> None:
    """A clock with timers of its own wakes who waits: an hour passes when it is moved."""

    class Moved(JumpingClock):
        callback: Callable[[], object] | None = None

        def monotonic(self) -> float:
            return self.ahead

        def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.Handle:
            self.callback = callback
            return asyncio.get_running_loop().call_later(seconds, callback)

    clock = Moved()
    turnstile = Turnstile(Admission(), clock=clock)
    run = Run(turnstile)
    turnstile.attach(run)
    put(turnstile, "global", RateLimit(1 / 3600))
    run.enter("a", "b")
    await eventually(lambda: clock.callback)
    assert len(run.started) == 1
    clock.ahead = 3600.0
    assert clock.callback is not None
    clock.callback()
    await eventually(lambda: len(run.started) == 2)
    turnstile.detach(run)


async def test_a_slot_is_handed_on_by_whoever_leaves(turnstile: Turnstile, no_leaks: None) -> None:
    """A task of one run that ends lets a waiting task of another run start."""
    one, two = Run(turnstile, "r1"), Run(turnstile, "r2")
    turnstile.attach(one)
    turnstile.attach(two)
    put(turnstile, "global", Concurrency(1))
    one.enter("a")
    two.enter("b")
    await eventually(lambda: one.started)
    await eventually(lambda: two.told == [("blocked b", "t/global/concurrency")])
    assert two.started == []
    turnstile.leave(one.started[0])
    await eventually(lambda: two.started)
    turnstile.detach(one)
    turnstile.detach(two)


async def test_owners_are_told_of_cancels(turnstile: Turnstile, no_leaks: None) -> None:
    """A cancelled run, cancelled running tasks and tasks that are turned away reach their owner."""
    run = Run(turnstile)
    turnstile.attach(run)
    run.enter("a")
    await eventually(lambda: run.started)
    put(turnstile, "task:a", Cancel())
    run.enter("a")
    put(turnstile, "run:r1", Cancel())
    await eventually(lambda: len(run.told) == 3)
    assert sorted(run.told) == [
        ("cancel None", "t/run:r1/cancel"),
        ("cancel a", "t/task:a/cancel"),
        ("turned away a", "t/task:a/cancel"),
    ]
    turnstile.detach(run)


async def test_a_forgotten_pause_is_named_with_its_remedy(
    turnstile: Turnstile, clock: JumpingClock, caplog: pytest.LogCaptureFixture, no_leaks: None
) -> None:
    """After 5 s without a start one warning names the register and how to clear it; one line its end."""
    run = Run(turnstile)
    turnstile.attach(run)
    put(turnstile, "global", Pause())
    run.enter("a")
    await eventually(lambda: run.told)
    clock.ahead = 5.1
    for _ in range(3):
        turnstile.poke()
        await eventually(lambda: turnstile._turn is None)
    warning = "mosquitto_pub -r -n -t 't/global/pause'"
    assert [record.levelno for record in caplog.records if warning in record.getMessage()] == [
        logging.WARNING
    ]
    lift(turnstile, "global", "pause")
    await eventually(lambda: run.started)
    assert "t/global/pause no longer holds anything up" in caplog.text
    turnstile.detach(run)


async def test_a_new_run_begins_with_patience(
    turnstile: Turnstile, clock: JumpingClock, caplog: pytest.LogCaptureFixture, no_leaks: None
) -> None:
    """What an earlier run has waited does not count: the warning comes 5 s after a run began to wait."""
    first = Run(turnstile)
    turnstile.attach(first)
    put(turnstile, "global", Pause())
    first.enter("a")
    await eventually(lambda: first.told)
    turnstile.detach(first)
    clock.ahead = 60
    second = Run(turnstile, "r2")
    turnstile.attach(second)
    second.enter("a")
    await eventually(lambda: second.told)
    assert "nothing has started" not in caplog.text
    turnstile.detach(second)


async def test_those_who_run_are_told_of_every_change(turnstile: Turnstile, no_leaks: None) -> None:
    """Whoever holds tasks at a checkpoint looks again when constraints have changed."""
    run = Run(turnstile)
    turnstile.attach(run)
    put(turnstile, "global", Pause())
    lift(turnstile, "global", "pause")
    assert run.reconsidered == 2
    turnstile.detach(run)


async def test_a_fault_in_a_turn_is_told_to_every_run(turnstile: Turnstile) -> None:
    """Nobody awaits a turn: the runs must not wait for what will never come."""
    runs = [Run(turnstile, name) for name in ("one", "two")]
    for run in runs:
        turnstile.attach(run)

    def slip(ticket: Ticket) -> None:
        raise RuntimeError("a slip")

    runs[0].on_start = slip
    runs[0].enter("step")
    await eventually(lambda: runs[1].told)
    assert [run.told for run in runs] == [[("abort a slip", "")]] * 2
    for run in runs:
        turnstile.detach(run)


async def test_a_cancelled_run_hears_that_before_its_tasks_are_turned_away(turnstile: Turnstile) -> None:
    """Otherwise a task's end would look like the reason for the run's."""
    run = Run(turnstile)
    turnstile.attach(run)
    run.enter("step")
    put(turnstile, f"run:{run.run_id}", Cancel())
    await eventually(lambda: len(run.told) == 2)
    topic = f"t/run:{run.run_id}/cancel"
    assert run.told == [("cancel None", topic), ("turned away step", topic)]
    turnstile.detach(run)
