"""Who may start, and when: gates, lanes and resources over tickets, on a clock that the test moves."""

from typing import Any

import pytest
from stand_ins import Run

from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.rules import Cancel, Concurrency, Pause, RateLimit, Rule
from cascade.runtime.constraints.system_resources import SystemResources
from cascade.runtime.constraints.tickets import Lane, Obstacle, Ticket


class Bench:
    """An admission, one run, and short words for what happens to them."""

    def __init__(self, **resources: float) -> None:
        self.admission = Admission(SystemResources(resources))
        self.run = Run()
        self.admission.attach(self.run)
        self.now = 100.0

    def put(self, scope: str, rule: Rule) -> None:
        topic = f"topic/{scope}/{rule.type}"
        self.admission.apply({(scope, rule.type): Effective(rule, topic)}, self.now)

    def lift(self, scope: str, kind: str) -> None:
        self.admission.apply({(scope, kind): None}, self.now)

    def enter(
        self, *names: str, run: Run | None = None, lane: Lane | None = None, **demands: float
    ) -> list[Ticket]:
        tickets = []
        for name in names:
            checked = self.admission.resources.check(name, demands)
            ticket = Ticket(run or self.run, name, demands=checked, lane=lane)
            self.admission.enter(ticket)
            tickets.append(ticket)
        return tickets

    def admit(self, most: int = 1_000_000) -> list[Ticket]:
        return self.admission.admit(self.now, most)

    def names(self, most: int = 1_000_000) -> list[str]:
        return [ticket.name for ticket in self.admit(most)]


def test_without_constraints_everything_passes_in_order() -> None:
    """Nothing declared: idle before and after, and tickets come out as they went in."""
    bench = Bench()
    idle = [bench.admission.idle]
    bench.enter("a", "b", "a", "c")
    idle.append(bench.admission.idle)
    assert bench.names() == ["a", "b", "a", "c"]
    assert [*idle, bench.admission.idle] == [True, False, True]


def test_no_more_are_returned_than_asked_for() -> None:
    """The caller sets how many start in one turn; the rest comes in the next."""
    bench = Bench()
    bench.enter(*"abcde")
    assert bench.names(2) == ["a", "b"]
    assert bench.admission.unfinished
    assert bench.names(9) == ["c", "d", "e"]
    assert not bench.admission.unfinished


def test_i3_nothing_in_scope_starts_after_a_pause() -> None:
    """I3 once a pause is in force nothing in its scope passes: neither waiting, nor new, nor retried."""
    bench = Bench()
    (running,) = bench.enter("resize")
    assert bench.admit() == [running]
    bench.enter("resize")
    bench.put("task:res*", Pause())
    bench.admission.leave(running)
    bench.admission.enter(running)  # its next attempt
    bench.enter("resize", "other")
    for _ in range(3):
        bench.now += 1_000
        assert set(bench.names()) <= {"other"}
    bench.lift("task:res*", "pause")
    assert bench.names() == ["resize"] * 3


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        ("global", "ab"),
        ("task:a", "a"),
        ("run:r1", "ab"),
        ("run:other", ""),
        ("source:me", "ab"),
        ("task:[!a]", "b"),
    ],
)
def test_a_gate_stands_before_its_scope_only(scope: str, held: str) -> None:
    """Each kind of scope holds exactly what it names."""
    bench = Bench()
    bench.put(scope, Pause())
    bench.enter("a", "b")
    assert set(bench.names()) == set("ab") - set(held)


def test_pause_beats_all() -> None:
    """A pause is what a ticket is told to wait for, whatever else would hold it."""
    bench = Bench(gpu=1)
    bench.put("global", Concurrency(0))
    (ticket,) = bench.enter("a", gpu=1)
    bench.admit()
    bench.put("task:a", Pause())
    bench.admit()
    why = Obstacle("task:a is paused", "topic/task:a/pause")
    assert bench.admission.notices.take_blocked(9) == [(ticket, why)]


def test_concurrency_counts_what_had_started_before_it() -> None:
    """A limit counts the tasks that were running, also those that never had to ask."""
    bench = Bench()
    unasked = [Ticket(bench.run, "a"), Ticket(bench.run, "a")]
    bench.run.unasked = unasked
    (asked,) = bench.enter("a")
    bench.admit()
    bench.put("task:a", Concurrency(3))
    assert bench.admission.gates.running == 3
    bench.enter("a", "a")
    assert bench.names() == []
    for ticket in (*unasked, asked):
        bench.admission.leave(ticket)
    assert bench.names() == ["a", "a"]


def test_slots_come_back_once_however_often_a_ticket_leaves() -> None:
    """Leaving twice, or without having been let in, gives back nothing that was not taken."""
    bench = Bench(gpu=2)
    bench.put("global", Concurrency(1))
    first, *_ = bench.enter(*"aaa", gpu=1)
    assert bench.admit() == [first]
    for _ in range(3):
        bench.admission.leave(first)
    assert bench.admission.resources.free == {"gpu": 2.0}
    assert len(bench.admit()) == 1
    assert bench.admit() == []


def test_lowering_a_limit_drains() -> None:
    """What runs goes on; nothing starts until fewer run than the new limit."""
    bench = Bench()
    bench.put("global", Concurrency(4))
    bench.enter(*"aaaaaa")
    running = bench.admit()
    assert len(running) == 4
    bench.put("global", Concurrency(2))
    for ticket in running[:2]:
        bench.admission.leave(ticket)
        assert bench.admit() == []
    bench.admission.leave(running[2])
    assert len(bench.admit()) == 1


def test_a_limit_of_0_holds_everything_until_it_is_raised() -> None:
    """Limit 0 is valid: nothing starts, nothing breaks."""
    bench = Bench()
    bench.put("global", Concurrency(0))
    bench.enter("a")
    assert bench.admit() == []
    bench.put("global", Concurrency(1))
    assert bench.names() == ["a"]


@pytest.mark.parametrize("rule", [Pause(), Concurrency(0), RateLimit("1/h")])
def test_i9_lifting_frees_all_that_wait_at_once(rule: Rule) -> None:
    """I9 lifting takes effect at once for a thousand tasks that wait already."""
    bench = Bench()
    bench.put("task:w*", rule)
    bench.enter(*(f"w{number % 7}" for number in range(1_000)))
    started = len(bench.admit())
    bench.lift("task:w*", rule.type)
    assert started + len(bench.admit()) == 1_000


def test_i9_raising_a_limit_frees_as_many_at_once() -> None:
    """I9 for raising: exactly the difference starts, without any task having ended."""
    bench = Bench()
    bench.put("global", Concurrency(2))
    bench.enter(*["a", "b"] * 50)
    assert len(bench.admit()) == 2
    bench.put("global", Concurrency(30))
    assert len(bench.admit()) == 28


def test_i9_a_faster_rate_counts_from_now_on() -> None:
    """I9 for rates: a waiting task gets its token at the new rate, not at the old one's time."""
    bench = Bench()
    bench.put("global", RateLimit("1/h"))
    bench.enter("a", "b")
    assert bench.names() == ["a"]
    assert bench.admission.next_wake(bench.now) == pytest.approx(bench.now + 3600)
    bench.put("global", RateLimit(10))
    assert bench.admission.next_wake(bench.now) == pytest.approx(bench.now + 0.1)
    bench.now += 0.1
    assert bench.names() == ["b"]


def test_i10_a_waiting_ticket_holds_nothing() -> None:
    """I10 a task that waits for permission holds no slot, no token, no resource and no worker."""
    bench = Bench(gpu=1)
    lane = Lane(1)
    bench.put("task:paused", Pause())
    bench.put("global", Concurrency(1))
    bench.put("task:*", RateLimit("1/h"))
    bench.enter("paused", lane=lane, gpu=1)
    assert bench.admit() == []
    assert (lane.free, bench.admission.resources.free["gpu"]) == (1, 1.0)
    bench.enter("other", lane=lane, gpu=1)
    assert bench.names() == ["other"]
    assert (lane.free, bench.admission.resources.free["gpu"]) == (0, 0.0)


def test_10_a_minute_starts_one_every_six_seconds() -> None:
    """A bucket that fills slower than one a second still holds one token: 10/m never hangs."""
    bench = Bench()
    bench.put("task:call", RateLimit("10/m"))
    bench.enter(*["call"] * 5)
    starts = []
    while bench.admission.waiting:
        starts += [bench.now] * len(bench.admit())
        bench.now = bench.admission.next_wake(bench.now) or bench.now
    assert [round(at - starts[0], 3) for at in starts] == [0, 6, 12, 18, 24]


def test_a_full_bucket_allows_a_burst_and_no_more() -> None:
    """Idle time fills the bucket up to its capacity, whatever the time was."""
    bench = Bench()
    bench.put("global", RateLimit(5, capacity=3))
    bench.enter(*"a" * 20)
    assert len(bench.admit()) == 3
    bench.now += 1_000
    assert len(bench.admit()) == 3


def test_repeating_or_slowing_a_rate_fills_no_bucket() -> None:
    """A limit that is set again gives no new tokens; a smaller capacity spills what is too much."""
    bench = Bench()
    bench.put("global", RateLimit(2))
    bench.enter(*"a" * 9)
    assert len(bench.admit()) == 2
    for _ in range(5):
        bench.put("global", RateLimit(2))
        assert bench.admit() == []
    bench.now += 60
    bench.put("global", RateLimit(2, capacity=1))
    assert len(bench.admit()) == 1


@pytest.mark.parametrize("names", [1, 100, 1_000])
def test_a_rate_over_a_thousand_waiting_costs_three_looks_each_at_most(names: int) -> None:
    """1,000 tasks under 50/s: no more than 3 checks a task, of however many names they are."""
    bench = Bench()
    bench.put("global", RateLimit("50/s"))
    bench.enter(*(f"t{number % names}" for number in range(1_000)))
    started = 0
    while bench.admission.waiting:
        for ticket in bench.admit():
            started += 1
            bench.admission.leave(ticket)
        bench.now = bench.admission.next_wake(bench.now) or bench.now
    assert started == 1_000
    assert bench.admission.checks <= 3 * 1_000


def test_a_limit_over_a_thousand_waiting_costs_three_looks_each_at_most() -> None:
    """The same for a slot that is handed on a thousand times, over many names and two runs."""
    bench = Bench()
    other = Run("r2")
    bench.admission.attach(other)
    bench.put("global", Concurrency(2))
    for number in range(500):
        bench.enter(f"t{number}")
        bench.enter(f"t{number}", run=other)
    order = []
    while started := bench.admit():
        for ticket in started:
            order.append(ticket.order)
            bench.admission.leave(ticket)
    assert order == list(range(1, 1_001))
    assert bench.admission.checks <= 3 * 1_000


def test_a_ticket_passes_only_when_all_gates_are_open() -> None:
    """Two rates and a limit: no token is spent while another gate holds the task."""
    bench = Bench()
    bench.put("global", Concurrency(1))
    bench.put("task:a", RateLimit("1/h"))
    first, second = bench.enter("b", "a")
    assert bench.admit() == [first]
    bench.now += 10
    bench.admission.leave(first)
    assert bench.admit() == [second]  # its one token was still there


def test_the_oldest_goes_first_whatever_held_it() -> None:
    """When two gates open at once, the ticket that entered first passes first."""
    bench = Bench()
    bench.put("global", Concurrency(1))
    bench.put("task:early", Pause())
    (running,) = bench.enter("a")
    early, late = bench.enter("early", "late")
    assert bench.admit() == [running]
    bench.lift("task:early", "pause")
    bench.admission.leave(running)
    assert bench.admit() == [early]
    bench.admission.leave(early)
    assert bench.admit() == [late]


def test_what_a_narrow_gate_holds_does_not_hold_the_others() -> None:
    """A queue that waits for its own gate is overtaken by those that do not."""
    bench = Bench()
    bench.put("global", Concurrency(2))
    bench.put("task:slow", Concurrency(1))
    bench.enter("slow", "slow", "slow", "fast", "fast")
    assert bench.names() == ["slow", "fast"]


def test_a_withdrawn_ticket_is_gone() -> None:
    """A task that is cancelled while it waits takes no slot; those behind it move up."""
    bench = Bench()
    bench.put("global", Concurrency(1))
    first, second, third, fourth = bench.enter(*"aaaa")
    assert bench.admit() == [first]
    for ticket in (second, fourth, fourth):
        bench.admission.withdraw(ticket)
    assert bench.admission.waiting == 1
    bench.admission.leave(first)
    assert bench.admit() == [third]
    assert bench.admission.waiting == 0


def test_a_run_that_ends_leaves_nothing_behind() -> None:
    """Detaching withdraws what waits; what still runs is counted until it has really ended."""
    bench = Bench()
    other = Run("r2")
    bench.admission.attach(other)
    bench.put("global", Concurrency(1))
    (stubborn,) = bench.enter("a")
    bench.enter("a", "b")
    assert bench.admit() == [stubborn]
    bench.admission.detach(bench.run)
    assert bench.admission.waiting == 0
    (next_one,) = bench.enter("c", run=other)
    assert bench.admit() == []
    bench.admission.leave(stubborn)
    assert bench.admit() == [next_one]
    assert [group.run_id for group in bench.admission.gates.groups()] == ["r2"]


def test_tickets_wait_for_a_worker_without_being_told_blocked() -> None:
    """A lane that is busy is no constraint; its tickets pass as workers come free."""
    bench = Bench()
    lane = Lane(2)
    bench.enter(*"aaa", lane=lane)
    bench.enter("on loop")
    assert bench.names() == ["a", "a", "on loop"]
    assert bench.admission.notices.take_blocked(1_000) == []
    lane.free += 1
    assert bench.names() == ["a"]


def test_a_pause_is_seen_by_those_who_wait_for_a_worker() -> None:
    """A pause that comes while tasks wait for a worker holds and names them as well."""
    bench = Bench()
    lane = Lane(0)
    tickets = bench.enter(*"aaa", lane=lane)
    bench.admit()
    bench.put("global", Pause())
    bench.admit()
    assert [ticket for ticket, _ in bench.admission.notices.take_blocked(1_000)] == tickets


def test_every_waiting_ticket_is_told_once() -> None:
    """Each ticket that begins to wait comes out once, with its reason and register, in order."""
    bench = Bench()
    bench.put("global", Concurrency(1))
    first, *others = bench.enter(*"aaaa")
    bench.admit()
    told = bench.admission.notices.take_blocked(1_000)
    assert [ticket for ticket, _ in told] == others
    assert str(told[0][1]) == "1 of at most 1 of global are running (topic/global/concurrency)"
    (late,) = bench.enter("a")
    bench.admit()
    assert [ticket for ticket, _ in bench.admission.notices.take_blocked(1_000)] == [late]
    bench.admission.leave(first)
    bench.admit()
    assert bench.admission.notices.take_blocked(1_000) == []


def test_a_cancelled_run_is_named_with_its_owner() -> None:
    """A cancel for a run asks its owner to end it, now or when it begins; other runs go on."""
    bench = Bench()
    bench.put("run:r1", Cancel())
    bench.put("run:r2", Cancel())
    why = Obstacle("run:r1 is cancelled", "topic/run:r1/cancel")
    assert bench.admission.notices.take_cancellations() == [(bench.run, why, None)]
    other = Run("r2")
    bench.admission.attach(other)
    ((owner, _, covers),) = bench.admission.notices.take_cancellations()
    assert (owner.run_id, covers) == ("r2", None)


def test_cancelled_tasks_are_turned_away_and_running_ones_named() -> None:
    """A cancel for tasks turns away what waits, even under a pause, and names what runs."""
    bench = Bench()
    (running,) = bench.enter("a")
    bench.admit()
    bench.put("global", Pause())
    waiting = bench.enter("a", "b", "a")
    bench.put("task:a", Cancel())
    assert bench.admit() == []
    assert [ticket for ticket, _ in bench.admission.notices.take_turned_away()] == [waiting[0], waiting[2]]
    ((owner, _, covers),) = bench.admission.notices.take_cancellations()
    assert owner is bench.run
    assert covers is not None
    assert [name for name in ("a", "b", "aa") if covers(name)] == ["a"]
    assert running.running
    assert bench.admission.waiting == 1


def test_a_cancel_of_tasks_asks_every_run() -> None:
    """Who waits between two attempts has no ticket: each run is asked, and one that has ended is not."""
    bench = Bench()
    other, ended = Run("r2"), Run("r3")
    bench.admission.attach(other)
    bench.admission.attach(ended)
    bench.put("task:a*", Cancel())
    bench.admission.detach(ended)
    asked = bench.admission.notices.take_cancellations()
    assert [owner for owner, _, _ in asked] == [bench.run, other]
    assert all(covers is not None and covers("ab") for _, _, covers in asked)


def test_what_holds_the_longest_waiting_is_named_first() -> None:
    """Whoever asks why nothing starts is told the registers, that of the oldest waiting ticket first."""
    bench = Bench()
    bench.put("task:a", Pause())
    bench.put("task:b", Pause())
    bench.enter("b", "a", "b")
    bench.admit()
    assert [gate.scope for gate in bench.admission.holding()] == ["task:b", "task:a"]
    bench.lift("task:b", "pause")
    bench.admit()
    assert [gate.scope for gate in bench.admission.holding()] == ["task:a"]


def test_who_could_not_start_anyway_is_held_by_nobody() -> None:
    """A gate before tasks that lack a worker or a resource as well is not the reason that nothing starts."""
    bench = Bench(gpu=1)
    lane = Lane(1)
    (first,) = bench.enter("b", lane=lane, gpu=1)
    assert bench.admit() == [first]
    bench.put("task:a", Pause())
    bench.enter("a", lane=lane)
    bench.enter("a", gpu=1)
    bench.admit()
    assert bench.admission.holding() == []
    bench.admission.leave(first)
    lane.free += 1
    assert [gate.scope for gate in bench.admission.holding()] == ["task:a"]


def test_only_tasks_that_are_paused_have_to_ask_at_a_checkpoint() -> None:
    """A running task passes without asking under whatever pauses others, or does not pause at all."""
    bench = Bench()
    bench.enter("a", "b")
    bench.admit()
    gates = bench.admission.gates
    assert gates.passes("r1", "a")
    bench.put("task:b", Pause())
    bench.put("global", Concurrency(1))
    assert (gates.passes("r1", "a"), gates.passes("r1", "b")) == (True, False)
    assert not gates.passes("r1", "nobody knows it")
    bench.lift("task:b", "pause")
    assert gates.passes("r1", "b")


def test_i4_more_constraints_never_permit_more() -> None:
    """I4 for gates: whatever is added to a set of constraints, no more tickets pass than before."""
    rules: list[tuple[str, Rule]] = [
        ("global", Concurrency(3)),
        ("task:a*", Concurrency(1)),
        ("global", RateLimit(2)),
        ("task:ab", RateLimit("1/m")),
        ("run:r1", Concurrency(2)),
        ("task:?", Pause()),
    ]
    for chosen in range(1 << len(rules)):
        mine = [rule for bit, rule in enumerate(rules) if chosen >> bit & 1]
        passed = _passed(mine)
        for extra in rules:
            assert _passed([*mine, extra]) <= passed


def _passed(rules: list[Any]) -> int:
    bench = Bench()
    for scope, rule in rules:
        bench.put(scope, rule)
    bench.enter("a", "ab", "abc", "b", "bc", "ab", "a")
    return len(bench.admit())
