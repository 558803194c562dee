"""When the admission policy asks to be woken, on a clock that the test sets."""

import pytest
from admission_parts import Bench, RateLimit


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
