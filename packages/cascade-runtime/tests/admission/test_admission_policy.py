"""The admission policy: gates, worker slots and resources, on a clock that the test sets."""

from typing import Any

import pytest
from admission_parts import (
    Bench,
    BlockReason,
    Cancel,
    Concurrency,
    Pause,
    RateLimit,
    Rule,
    StartRequest,
    WorkerSlots,
)


def test_admit_returns_no_more_than_the_caller_allows() -> None:
    """The caller sets how many start in one step; the next step admits the rest."""
    bench = Bench()
    bench.submit(*"abcde")
    assert bench.names(2) == ["a", "b"]
    assert bench.policy.unfinished
    assert bench.names(9) == ["c", "d", "e"]
    assert not bench.policy.unfinished


def test_i3_nothing_in_scope_starts_after_a_pause() -> None:
    """I3: under a pause no request in its scope is admitted, whether it waits, is new, or is a retry."""
    bench = Bench()
    (running,) = bench.submit("resize")
    assert bench.admit() == [running]
    bench.submit("resize")
    bench.put("task:res*", Pause())
    bench.policy.release(running)
    bench.policy.submit(running)  # its next attempt
    bench.submit("resize", "other")
    for _ in range(3):
        bench.now += 1_000
        assert set(bench.names()) <= {"other"}
    bench.lift("task:res*", "pause")
    assert bench.names() == ["resize"] * 3


def test_a_pause_is_reported_before_any_other_reason() -> None:
    """A request that a pause blocks is reported with the pause, whatever else would block it."""
    bench = Bench(gpu=1)
    bench.put("global", Concurrency(0))
    (request,) = bench.submit("a", gpu=1)
    bench.admit()
    bench.put("task:a", Pause())
    bench.admit()
    why = BlockReason("task:a is paused", "topic/task:a/pause", "pause")
    assert bench.policy.notifications.take_blocked(9) == [(request, why)]


def test_a_concurrency_limit_counts_tasks_that_started_before_it() -> None:
    """A limit counts the tasks that were running, including those that started without a request."""
    bench = Bench()
    without_request = [StartRequest(bench.run, "a"), StartRequest(bench.run, "a")]
    bench.run.without_request = without_request
    (asked,) = bench.submit("a")
    bench.admit()
    bench.put("task:a", Concurrency(3))
    assert bench.policy.gates.running == 3
    bench.submit("a", "a")
    assert bench.names() == []
    for request in (*without_request, asked):
        bench.policy.release(request)
    assert bench.names() == ["a", "a"]


def test_releasing_a_request_again_gives_nothing_back() -> None:
    """A second release, or one of a request that was not admitted, changes nothing."""
    bench = Bench(gpu=2)
    bench.put("global", Concurrency(1))
    first, *_ = bench.submit(*"aaa", gpu=1)
    assert bench.admit() == [first]
    for _ in range(3):
        bench.policy.release(first)
    assert bench.policy.resources.free == {"gpu": 2.0}
    assert len(bench.admit()) == 1
    assert bench.admit() == []


@pytest.mark.parametrize("rule", [Pause(), Concurrency(0), RateLimit("1/h")])
def test_i9_lifting_a_constraint_admits_all_that_wait_at_once(rule: Rule) -> None:
    """I9: lifting takes effect at once for a thousand requests that already wait."""
    bench = Bench()
    bench.put("task:w*", rule)
    bench.submit(*(f"w{number % 7}" for number in range(1_000)))
    started = len(bench.admit())
    bench.lift("task:w*", rule.type)
    assert started + len(bench.admit()) == 1_000


def test_i9_a_faster_rate_applies_at_once() -> None:
    """I9 for rates: a waiting request gets its token at the new rate, not when the old rate would add it."""
    bench = Bench()
    bench.put("global", RateLimit("1/h"))
    bench.submit("a", "b")
    assert bench.names() == ["a"]
    assert bench.policy.next_wake(bench.now) == pytest.approx(bench.now + 3600)
    bench.put("global", RateLimit(10))
    assert bench.policy.next_wake(bench.now) == pytest.approx(bench.now + 0.1)
    bench.now += 0.1
    assert bench.names() == ["b"]


def test_i10_a_waiting_request_holds_nothing() -> None:
    """I10: a waiting request holds no slot of a limit, no token, no resource and no worker."""
    bench = Bench(gpu=1)
    slots = WorkerSlots(1)
    bench.put("task:paused", Pause())
    bench.put("global", Concurrency(1))
    bench.put("task:*", RateLimit("1/h"))
    bench.submit("paused", slots=slots, gpu=1)
    assert bench.admit() == []
    assert (slots.free, bench.policy.resources.free["gpu"]) == (1, 1.0)
    bench.submit("other", slots=slots, gpu=1)
    assert bench.names() == ["other"]
    assert (slots.free, bench.policy.resources.free["gpu"]) == (0, 0.0)


def test_10_a_minute_starts_one_every_six_seconds() -> None:
    """A bucket that fills slower than one token a second still holds one token: 10/m never hangs."""
    bench = Bench()
    bench.put("task:call", RateLimit("10/m"))
    bench.submit(*["call"] * 5)
    starts = []
    while bench.policy.waiting:
        starts += [bench.now] * len(bench.admit())
        bench.now = bench.policy.next_wake(bench.now) or bench.now
    assert [round(at - starts[0], 3) for at in starts] == [0, 6, 12, 18, 24]


@pytest.mark.parametrize("names", [1, 100, 1_000])
def test_a_rate_over_a_thousand_waiting_costs_at_most_three_checks_each(names: int) -> None:
    """1,000 tasks under 50/s: at most 3 checks a task, for any number of task names."""
    bench = Bench()
    bench.put("global", RateLimit("50/s"))
    bench.submit(*(f"t{number % names}" for number in range(1_000)))
    started = 0
    while bench.policy.waiting:
        for request in bench.admit():
            started += 1
            bench.policy.release(request)
        bench.now = bench.policy.next_wake(bench.now) or bench.now
    assert started == 1_000
    assert bench.policy.checks <= 3 * 1_000


def test_requests_that_wait_for_a_worker_are_not_reported_as_blocked() -> None:
    """Busy workers are not a constraint; requests are admitted as workers become free."""
    bench = Bench()
    slots = WorkerSlots(2)
    bench.submit(*"aaa", slots=slots)
    bench.submit("on loop")
    assert bench.names() == ["a", "a", "on loop"]
    assert bench.policy.notifications.take_blocked(1_000) == []
    slots.free += 1
    assert bench.names() == ["a"]


def test_every_blocked_request_is_reported_once() -> None:
    """Each request that begins to wait is returned once, in order, with its reason and register."""
    bench = Bench()
    bench.put("global", Concurrency(1))
    first, *others = bench.submit(*"aaaa")
    bench.admit()
    reported = bench.policy.notifications.take_blocked(1_000)
    assert [request for request, _ in reported] == others
    assert str(reported[0][1]) == "1 of at most 1 of global are running (topic/global/concurrency)"
    (late,) = bench.submit("a")
    bench.admit()
    assert [request for request, _ in bench.policy.notifications.take_blocked(1_000)] == [late]
    bench.policy.release(first)
    bench.admit()
    assert bench.policy.notifications.take_blocked(1_000) == []


def test_a_cancel_of_tasks_rejects_waiting_requests_and_covers_running_tasks() -> None:
    """A cancel of tasks rejects waiting requests, even under a pause, and covers running tasks by name."""
    bench = Bench()
    (running,) = bench.submit("a")
    bench.admit()
    bench.put("global", Pause())
    waiting = bench.submit("a", "b", "a")
    bench.put("task:a", Cancel())
    assert bench.admit() == []
    assert [request for request, _ in bench.policy.notifications.take_rejected()] == [waiting[0], waiting[2]]
    ((run, _, covers),) = bench.policy.notifications.take_cancellations()
    assert run is bench.run
    assert covers is not None
    assert [name for name in ("a", "b", "aa") if covers(name)] == ["a"]
    assert running.running
    assert bench.policy.waiting == 1


def test_the_gate_of_the_oldest_request_is_named_first() -> None:
    """``blocking_gates`` returns the gate of the oldest waiting request first."""
    bench = Bench()
    bench.put("task:a", Pause())
    bench.put("task:b", Pause())
    bench.submit("b", "a", "b")
    bench.admit()
    assert [gate.scope for gate in bench.policy.blocking_gates()] == ["task:b", "task:a"]
    bench.lift("task:b", "pause")
    bench.admit()
    assert [gate.scope for gate in bench.policy.blocking_gates()] == ["task:a"]


def test_a_gate_does_not_count_as_blocking_if_capacity_is_missing_too() -> None:
    """If a request also lacks a worker or a resource, its gate is not the reason why nothing starts."""
    bench = Bench(gpu=1)
    slots = WorkerSlots(1)
    (first,) = bench.submit("b", slots=slots, gpu=1)
    assert bench.admit() == [first]
    bench.put("task:a", Pause())
    bench.submit("a", slots=slots)
    bench.submit("a", gpu=1)
    bench.admit()
    assert bench.policy.blocking_gates() == []
    bench.policy.release(first)
    slots.free += 1
    assert [gate.scope for gate in bench.policy.blocking_gates()] == ["task:a"]


def test_i4_more_constraints_never_permit_more() -> None:
    """I4 for gates: with any constraint added, no more requests are admitted than before."""
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
    bench.submit("a", "ab", "abc", "b", "bc", "ab", "a")
    return len(bench.admit())
