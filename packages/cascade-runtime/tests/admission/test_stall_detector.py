"""A constraint that prevents every start is reported once, and so is its end."""

from admission_parts import (
    STALL_LIMIT,
    Bench,
    Concurrency,
    Pause,
    RateLimit,
    Rule,
    StallDetector,
    WorkerSlots,
)


class StallBench(Bench):
    """A policy that is watched for a stall."""

    def __init__(self) -> None:
        super().__init__()
        self.stall = StallDetector(self.policy)

    def put(self, scope: str, rule: Rule, topic: str = "") -> None:
        super().put(scope, rule, topic or f"topic/{scope}")

    def after(self, *seconds: float) -> list[str]:
        """Advance the clock step by step; return the topics of the registers that are reported."""
        reported = []
        for each in seconds:
            self.now += each
            self.policy.admit(self.now, 10)
            if (reason := self.stall.detect(self.now)) is not None:
                reported.append(reason.topic)
        return reported


def test_a_constraint_that_prevents_every_start_for_5_seconds_is_reported_once() -> None:
    """The register is reported when nothing has started for 5 s, and its end when it is no longer in force."""
    bench = StallBench()
    bench.put("global", Pause())
    bench.submit("a")
    assert bench.after(0) == []
    assert bench.stall.due() == bench.now + STALL_LIMIT
    assert bench.after(STALL_LIMIT - 0.1) == []
    assert bench.after(0.1) == ["topic/global"]
    assert bench.after(1, 4, 5, 60) == []
    assert bench.stall.take_ended() == []
    bench.lift("global", "pause")
    assert bench.stall.take_ended() == ["topic/global"]
    assert bench.stall.take_ended() == []


def test_a_run_with_a_start_every_few_seconds_is_not_reported() -> None:
    """A start within each 5 s prevents the warning."""
    bench = StallBench()
    bench.put("global", RateLimit("30/m"))
    for _ in range(9):
        bench.submit("a")
    assert bench.after(*[2] * 8) == []


def test_waiting_for_workers_is_not_reported() -> None:
    """If long tasks use all workers, a constraint is not why nothing starts."""
    bench = StallBench()
    slots = WorkerSlots(0)
    bench.put("task:held", Concurrency(0))
    bench.submit("free", slots=slots)
    bench.submit("held", slots=slots)
    assert bench.after(*[4] * 5) == []
    bench.policy.withdraw(*bench.submit("free", slots=slots))
    slots.free = 2
    assert bench.after(0, 5) == ["topic/task:held"]


def test_the_time_in_which_nothing_waited_does_not_count() -> None:
    """A task that is blocked long after the last start has itself waited for 5 s before that is reported."""
    bench = StallBench()
    bench.put("task:b", Pause())
    (first,) = bench.submit("b")
    assert bench.after(0) == []
    bench.policy.withdraw(first)
    assert bench.after(60) == []
    bench.submit("b")
    assert bench.after(60, STALL_LIMIT - 0.1) == []
    assert bench.after(0.1) == ["topic/task:b"]


def test_of_several_reported_registers_those_that_changed_have_ended() -> None:
    """One that is lifted, one that became stricter and one that another topic holds now; the one between them stays."""
    bench = StallBench()
    scopes = ("task:a", "task:b", "task:c", "task:d")
    for scope in scopes:
        bench.put(scope, Concurrency(0))
        bench.submit(scope.removeprefix("task:"))
    assert sorted(bench.after(0, *[STALL_LIMIT] * 6)) == [f"topic/{scope}" for scope in scopes]
    bench.lift("task:a", "concurrency")
    bench.put("task:c", Concurrency(0), topic="topic/elsewhere")
    bench.put("task:d", Concurrency(0))
    assert sorted(bench.stall.take_ended()) == ["topic/task:a", "topic/task:c"]
    assert bench.stall.take_ended() == []
    bench.lift("task:b", "concurrency")
    bench.lift("task:d", "concurrency")
    assert sorted(bench.stall.take_ended()) == ["topic/task:b", "topic/task:d"]
