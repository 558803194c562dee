"""Back-off: the wait before the next attempt to connect. No I/O; the randomness is injected."""

from __future__ import annotations

import random
from collections.abc import Callable

SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
SLOW_PAUSE = 30.0
STEADY = 5.0
"""Seconds after which a link was useful, even if nothing was sent over it."""

LONGEST_ANSWER_TIMEOUT = 10.0

_MOST_DOUBLINGS = 10


class Backoff:
    """Counts consecutive attempts without success and spaces them out, at random within limits.

    A link that the peer closes before it carried anything counts as a failed attempt, too: a peer
    that rejects what we send must not be asked several times a second.

    :param answer_timeout: seconds that the first attempt waits for an answer.
    :param uniform: returns a random number between its two arguments.
    """

    def __init__(
        self, answer_timeout: float, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self.answer_timeout = answer_timeout
        """Seconds that the next attempt waits; a peer that is slow to answer gets more each time."""
        self._uniform = uniform
        self._failures = 0

    def pause(self, *, silent: bool, slow: bool, useful: bool) -> float:
        """Return the seconds to wait after an attempt or a link has ended.

        :param silent: whether the peer did not answer in time.
        :param slow: whether only a person can fix the cause, such as a wrong password.
        :param useful: whether there was a link that carried something, or held for ``STEADY`` seconds.
        """
        if silent:
            self.answer_timeout = max(
                self.answer_timeout, min(LONGEST_ANSWER_TIMEOUT, 2 * self.answer_timeout)
            )
        if useful:
            self._failures = 0
        longest = min(LONGEST_PAUSE, 0.5 * 2 ** min(self._failures, _MOST_DOUBLINGS))
        self._failures += 1
        if slow:
            return SLOW_PAUSE
        return self._uniform(min(SHORTEST_PAUSE, longest), longest)
