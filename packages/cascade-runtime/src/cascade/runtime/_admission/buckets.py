"""Token buckets: how many starts a rate limit permits now. No I/O."""

from __future__ import annotations

from cascade.runtime._admission.limits import RateLimit

_TOKEN = 1.0 - 1e-6  # so that a timer that fires a microsecond early finds its token


class TokenBucket:
    """The tokens of one rate limit; several engines and, one after the other, many runs may share it.

    It is full at first. Times are seconds on the monotonic clock, which all loops of a process share.
    """

    __slots__ = ("_level", "_refilled_at")

    def __init__(self, rule: RateLimit) -> None:
        self._level = rule.burst
        self._refilled_at: float | None = None

    def has_token(self, rule: RateLimit, now: float) -> bool:
        """Return whether a task may start now."""
        self.refill(rule, now)
        return self._level >= _TOKEN

    def take(self, rule: RateLimit, now: float) -> None:
        """Take the token of a start."""
        self.refill(rule, now)
        self._level = max(0.0, self._level - 1.0)

    def next_token(self, rule: RateLimit, now: float) -> float:
        """Return when there is a token."""
        self.refill(rule, now)
        return now + max(0.0, 1.0 - self._level) / rule.per_second

    def refill(self, rule: RateLimit, now: float) -> None:
        """Add the tokens of the time that has passed, at the rate of ``rule``."""
        since, self._refilled_at = self._refilled_at, now
        if since is not None and now > since:
            self._level += (now - since) * rule.per_second
        self._level = min(rule.burst, self._level)


TokenBuckets = dict[str, TokenBucket]
"""The buckets of one engine by scope. They outlive its runs: a new run does not begin with a full bucket."""
