"""A forgotten constraint is named once, and so is its end."""

from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.rules import Concurrency, Pause, RateLimit, Rule
from cascade.runtime.constraints.standstill import LIMIT, Standstill
from cascade.runtime.constraints.tickets import Lane, Obstacle, Ticket


class Run:
    run_id = "r1"

    def running(self) -> list[Ticket]:
        return []

    def start(self, ticket: Ticket) -> None:
        raise AssertionError("not used")

    def turn_away(self, ticket: Ticket, obstacle: Obstacle) -> None:
        raise AssertionError("not used")

    def blocked(self, ticket: Ticket, obstacle: Obstacle) -> None:
        raise AssertionError("not used")

    def cancel(self, obstacle: Obstacle, name: str | None) -> None:
        raise AssertionError("not used")

    def reconsider(self) -> None:
        raise AssertionError("not used")

    def abort(self, error: Exception) -> None:
        raise AssertionError("not used")


class Bench:
    def __init__(self) -> None:
        self.admission = Admission()
        self.standstill = Standstill(self.admission)
        self.run = Run()
        self.admission.attach(self.run)
        self.now = 100.0

    def put(self, scope: str, rule: Rule | None, kind: str = "") -> None:
        key = (scope, rule.type if rule else kind)
        self.admission.apply({key: Effective(rule, f"topic/{scope}") if rule else None}, self.now)

    def enter(self, lane: Lane | None = None) -> Ticket:
        ticket = Ticket(self.run, "a", lane=lane)
        self.admission.enter(ticket)
        return ticket

    def after(self, seconds: float) -> Obstacle | None:
        self.now += seconds
        self.admission.admit(self.now, 10)
        return self.standstill.holds(self.now)


def test_a_constraint_that_holds_everything_for_5_seconds_is_named_once() -> None:
    """The register is named when nothing has started for 5 s, and its end when it is no longer in force."""
    bench = Bench()
    bench.put("global", Pause())
    bench.enter()
    assert bench.after(0) is None
    assert bench.standstill.due() == bench.now + LIMIT
    assert bench.after(LIMIT - 0.1) is None
    assert bench.after(0.1) == Obstacle("global is paused", "topic/global")
    assert bench.after(60) is None
    assert bench.standstill.lifted() is None
    bench.put("global", None, "pause")
    assert bench.standstill.lifted() == Obstacle("global is paused", "topic/global")
    assert bench.standstill.lifted() is None


def test_a_run_that_goes_on_slowly_is_left_in_peace() -> None:
    """As long as something starts now and then, nobody is warned."""
    bench = Bench()
    bench.put("global", RateLimit("30/m"))
    for _ in range(9):
        bench.enter()
    assert [bench.after(2) for _ in range(8)] == [None] * 8


def test_waiting_for_workers_is_no_constraint() -> None:
    """Long tasks that keep all workers are the program's own business."""
    bench = Bench()
    bench.put("task:other", Concurrency(1))
    bench.enter(Lane(0))
    assert [bench.after(4) for _ in range(5)] == [None] * 5
