"""The admission policy: gates, worker slots and resources, on a clock that the test sets."""

from typing import Any

import pytest
from admission_parts import (
    Bench,
    Concurrency,
    Pause,
    RateLimit,
    Rule,
    WorkerSlots,
)


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
