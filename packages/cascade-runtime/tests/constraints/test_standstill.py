"""A forgotten constraint is named once, and so is its end."""

from stand_ins import Run

from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.rules import Concurrency, Pause, RateLimit, Rule
from cascade.runtime.constraints.standstill import LIMIT, Standstill
from cascade.runtime.constraints.tickets import Lane, Ticket


class Bench:
    def __init__(self) -> None:
        self.admission = Admission()
        self.standstill = Standstill(self.admission)
        self.run = Run()
        self.admission.attach(self.run)
        self.now = 100.0

    def put(self, scope: str, rule: Rule | None, kind: str = "", topic: str = "") -> None:
        key = (scope, rule.type if rule else kind)
        effective = Effective(rule, topic or f"topic/{scope}") if rule else None
        self.admission.apply({key: effective}, self.now)

    def enter(self, name: str = "a", lane: Lane | None = None) -> Ticket:
        ticket = Ticket(self.run, name, lane=lane)
        self.admission.enter(ticket)
        return ticket

    def after(self, *seconds: float) -> list[str]:
        """Let time pass; return the registers that are told of."""
        told = []
        for each in seconds:
            self.now += each
            self.admission.admit(self.now, 10)
            if (obstacle := self.standstill.holds(self.now)) is not None:
                told.append(obstacle.topic)
        return told


def test_a_constraint_that_holds_everything_for_5_seconds_is_named_once() -> None:
    """The register is named when nothing has started for 5 s, and its end when it is no longer in force."""
    bench = Bench()
    bench.put("global", Pause())
    bench.enter()
    assert bench.after(0) == []
    assert bench.standstill.due() == bench.now + LIMIT
    assert bench.after(LIMIT - 0.1) == []
    assert bench.after(0.1) == ["topic/global"]
    assert bench.after(1, 4, 5, 60) == []
    assert bench.standstill.ended() == []
    bench.put("global", None, "pause")
    assert bench.standstill.ended() == ["topic/global"]
    assert bench.standstill.ended() == []


def test_each_register_that_holds_everything_up_is_named() -> None:
    """After one was told of, a forgotten second one is, too, and each ends with a word of its own."""
    bench = Bench()
    bench.put("task:a", Pause())
    bench.enter("a")
    assert bench.after(0, 5) == ["topic/task:a"]
    bench.enter("b")
    assert bench.after(1, 5, 5) == []  # what else there is has started
    bench.put("global", Pause())
    bench.enter("b")
    assert bench.after(0, 5) == ["topic/global"]
    assert bench.after(5, 100, 1_000) == []
    bench.put("task:a", None, "pause")
    assert bench.standstill.ended() == ["topic/task:a"]
    assert bench.after(0, 100) == []  # the global one holds that as well, and has been told of
    bench.put("global", None, "pause")
    assert bench.standstill.ended() == ["topic/global"]


def test_a_register_that_was_changed_is_another_one() -> None:
    """A limit of 0 that becomes 4 and then 0 again gives a word for its end and is named a second time."""
    bench = Bench()
    bench.put("global", Concurrency(0))
    for _ in range(9):
        bench.enter()
    assert bench.after(0, 5) == ["topic/global"]
    bench.put("global", Concurrency(4))
    assert bench.standstill.ended() == ["topic/global"]
    assert bench.after(0) == []
    bench.put("global", Concurrency(0))
    assert bench.standstill.ended() == []
    assert bench.after(5, 60) == ["topic/global"]


def test_a_register_that_takes_over_is_named_itself() -> None:
    """When the same holds because of another topic, the first one has ended and the second is told of."""
    bench = Bench()
    bench.put("global", Pause(), topic="older")
    bench.enter()
    assert bench.after(0, 5) == ["older"]
    bench.put("global", Pause(), topic="typed")
    assert bench.standstill.ended() == ["older"]
    assert bench.after(5) == ["typed"]


def test_a_slow_rate_is_told_of_once() -> None:
    """One start a minute is a standstill that is told of, and not with each start again."""
    bench = Bench()
    bench.put("global", RateLimit("1/m"))
    for _ in range(5):
        bench.enter()
    assert bench.after(0, *[6.0] * 40) == ["topic/global"]
    assert bench.admission.waiting == 0


def test_a_run_that_goes_on_slowly_is_left_in_peace() -> None:
    """As long as something starts now and then, nobody is warned."""
    bench = Bench()
    bench.put("global", RateLimit("30/m"))
    for _ in range(9):
        bench.enter()
    assert bench.after(*[2] * 8) == []


def test_waiting_for_workers_is_no_constraint() -> None:
    """Long tasks that keep all workers are the program's own business, whoever else is held by a constraint."""
    bench = Bench()
    lane = Lane(0)
    bench.put("task:held", Concurrency(0))
    bench.enter("free", lane)
    bench.enter("held", lane)
    assert bench.after(*[4] * 5) == []
    bench.admission.withdraw(bench.enter("free", lane))
    lane.free = 2
    assert bench.after(0, 5) == ["topic/task:held"]
