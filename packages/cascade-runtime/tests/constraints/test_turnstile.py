"""Tickets pass on the loop: in a turn of their own, with one timer, and with a word to whoever waits."""

import asyncio
import logging
import shlex
from collections.abc import AsyncIterator, Callable

import pytest
from stand_ins import Run

from cascade.runtime._clock import SystemClock
from cascade.runtime.constraints import Admission, Ticket, Turnstile
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.rules import Cancel, Concurrency, Pause, RateLimit, Rule
from cascade.testkit import eventually


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


@pytest.fixture
async def run(turnstile: Turnstile, no_leaks: None) -> AsyncIterator[Run]:
    """A run that is served as long as its test goes on, and leaves nothing behind."""
    served = Run()
    turnstile.attach(served)
    yield served
    turnstile.detach(served)


def put(turnstile: Turnstile, scope: str, rule: Rule) -> None:
    turnstile.apply({(scope, rule.type): Effective(rule, f"t/{scope}/{rule.type}")})


def lift(turnstile: Turnstile, scope: str, kind: str) -> None:
    turnstile.apply({(scope, kind): None})


def enter(turnstile: Turnstile, run: Run, *names: str) -> None:
    for name in names:
        turnstile.enter(Ticket(run, name))


async def test_ten_thousand_tickets_pass_in_order(turnstile: Turnstile, run: Run) -> None:
    """However many enter at once, all pass, in order, a batch in each turn."""
    turns: list[int] = []
    run.on_start = lambda ticket: turns.append(ticket.order)
    enter(turnstile, run, *["a"] * 10_000)
    assert run.started == []  # never from inside enter
    await eventually(lambda: len(turns) == 10_000)
    assert turns == sorted(turns)
    assert turnstile.idle


async def test_a_token_wakes_by_a_timer(turnstile: Turnstile, run: Run) -> None:
    """A rate limit lets the next task pass when its token is there, without anybody asking."""
    put(turnstile, "global", RateLimit("1200/m"))
    enter(turnstile, run, *"a" * 25)
    await eventually(lambda: len(run.started) == 25)
    assert turnstile.admission.checks <= 3 * 25


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
    run = Run()
    turnstile.attach(run)
    put(turnstile, "global", RateLimit(1 / 3600))
    enter(turnstile, run, "a", "b")
    await eventually(lambda: clock.callback)
    assert len(run.started) == 1
    clock.ahead = 3600.0
    assert clock.callback is not None
    clock.callback()
    await eventually(lambda: len(run.started) == 2)
    turnstile.detach(run)


async def test_a_slot_is_handed_on_by_whoever_leaves(turnstile: Turnstile, no_leaks: None) -> None:
    """A task of one run that ends lets a waiting task of another run start."""
    one, two = Run("r1"), Run("r2")
    turnstile.attach(one)
    turnstile.attach(two)
    put(turnstile, "global", Concurrency(1))
    enter(turnstile, one, "a")
    enter(turnstile, two, "b")
    await eventually(lambda: one.started)
    await eventually(lambda: two.told == [("blocked b", "t/global/concurrency")])
    assert two.started == []
    turnstile.leave(one.started[0])
    await eventually(lambda: two.started)
    turnstile.detach(one)
    turnstile.detach(two)


async def test_owners_are_told_of_cancels(turnstile: Turnstile, run: Run) -> None:
    """A cancelled run, cancelled running tasks and tasks that are turned away reach their owner."""
    enter(turnstile, run, "a")
    await eventually(lambda: run.started)
    put(turnstile, "task:a", Cancel())
    enter(turnstile, run, "a")
    put(turnstile, "run:r1", Cancel())
    await eventually(lambda: len(run.told) == 3)
    assert sorted(run.told) == [
        ("cancel", "t/run:r1/cancel"),
        ("cancel", "t/task:a/cancel"),
        ("turned away a", "t/task:a/cancel"),
    ]


async def test_those_who_wait_are_told_a_batch_a_turn(turnstile: Turnstile, run: Run) -> None:
    """However many are held at once, each hears of it once, in order, and no turn tells more than it may start."""
    put(turnstile, "global", Pause())
    put(turnstile, "task:b", Pause())
    enter(turnstile, run, *["a"] * 5_000, *["b"] * 5_000)
    most = 0
    while len(run.told) < 10_000:
        before, batch = len(run.told), turnstile._pace.batch
        await asyncio.sleep(0)
        most = max(most, len(run.told) - before - batch)
    assert most == 0
    assert [name for name, _ in run.told] == ["blocked a"] * 5_000 + ["blocked b"] * 5_000
    assert not turnstile.admission.notices.blocked


async def test_all_constraints_are_lifted_at_once(turnstile: Turnstile, run: Run) -> None:
    """Whoever follows the broker no longer leaves nothing in force, and nobody waiting."""
    for name in "abc":
        put(turnstile, f"task:{name}", Pause())
    put(turnstile, "global", RateLimit("1/h"))
    enter(turnstile, run, *"abcd" * 3)
    await eventually(lambda: len(run.told) == 11)
    turnstile.clear()
    assert not turnstile.admission.constrained
    await eventually(lambda: len(run.started) == 12)
    assert run.reconsidered == 5


async def test_what_is_told_of_a_scope_is_one_line_and_one_word_of_a_shell(
    turnstile: Turnstile, run: Run, clock: JumpingClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 31: neither a newline, nor an escape sequence, nor a quote in a scope does anything to who reads of it."""
    scope, topic = "task:a*\n\x1b[2J", "cascade/constraints/task/a*'; reboot '\x1b"
    turnstile.apply({(scope, "pause"): Effective(Pause(), topic)})
    ticket = Ticket(run, "a\n\x1b[2J")
    turnstile.enter(ticket)
    await eventually(lambda: run.told)
    clock.ahead = 5.1
    turnstile.poke()
    await eventually(lambda: "nothing has started" in caplog.text)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.isprintable()
    command = line.partition("retained message: ")[2]
    assert shlex.split(command) == ["mosquitto_pub", "-r", "-n", "-t", topic.replace("\x1b", "\\x1b")]
    turnstile.clear()
    await eventually(lambda: run.started)
    assert all(record.getMessage().isprintable() for record in caplog.records)


async def test_a_forgotten_pause_is_named_with_its_remedy(
    turnstile: Turnstile, run: Run, clock: JumpingClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After 5 s without a start one warning names the register and how to clear it; one line its end."""
    put(turnstile, "global", Pause())
    enter(turnstile, run, "a")
    await eventually(lambda: run.told)
    clock.ahead = 5.1
    for _ in range(3):
        turnstile.poke()
        await eventually(lambda: turnstile._turn is None)
    warning = "mosquitto_pub -r -n -t t/global/pause"
    assert [record.levelno for record in caplog.records if warning in record.getMessage()] == [
        logging.WARNING
    ]
    lift(turnstile, "global", "pause")
    await eventually(lambda: run.started)
    assert caplog.text.count("t/global/pause was lifted or changed") == 1


async def test_a_new_run_begins_with_patience(
    turnstile: Turnstile, clock: JumpingClock, caplog: pytest.LogCaptureFixture, no_leaks: None
) -> None:
    """What an earlier run has waited does not count: the warning comes 5 s after a run began to wait."""
    first = Run()
    turnstile.attach(first)
    put(turnstile, "global", Pause())
    enter(turnstile, first, "a")
    await eventually(lambda: first.told)
    turnstile.detach(first)
    clock.ahead = 60
    second = Run("r2")
    turnstile.attach(second)
    enter(turnstile, second, "a")
    await eventually(lambda: second.told)
    assert "nothing has started" not in caplog.text
    turnstile.detach(second)


async def test_those_who_run_are_told_of_every_change(turnstile: Turnstile, run: Run) -> None:
    """Whoever holds tasks at a checkpoint looks again when constraints have changed."""
    put(turnstile, "global", Pause())
    lift(turnstile, "global", "pause")
    assert run.reconsidered == 2


async def test_a_fault_in_a_turn_is_told_to_every_run(turnstile: Turnstile) -> None:
    """Nobody awaits a turn: the runs must not wait for what will never come."""
    runs = [Run(name) for name in ("one", "two")]
    for run in runs:
        turnstile.attach(run)

    def slip(ticket: Ticket) -> None:
        raise RuntimeError("a slip")

    runs[0].on_start = slip
    enter(turnstile, runs[0], "step")
    await eventually(lambda: runs[1].told)
    assert [run.told for run in runs] == [[("abort a slip", "")]] * 2
    for run in runs:
        turnstile.detach(run)


async def test_a_cancelled_run_hears_that_before_its_tasks_are_turned_away(
    turnstile: Turnstile, run: Run
) -> None:
    """Otherwise a task's end would look like the reason for the run's."""
    enter(turnstile, run, "step")
    put(turnstile, f"run:{run.run_id}", Cancel())
    await eventually(lambda: len(run.told) == 2)
    topic = f"t/run:{run.run_id}/cancel"
    assert run.told == [("cancel", topic), ("turned away step", topic)]
