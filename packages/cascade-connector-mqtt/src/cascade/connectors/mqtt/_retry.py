"""How long to wait before the next attempt to connect. Pure: chance is injected."""

from __future__ import annotations

import random
from collections.abc import Callable

from cascade.connectors.mqtt._errors import SLOW_RETRY, Fault, Kind

SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
SLOW_PAUSE = 30.0
STEADY = 5.0
"""Seconds after which a link has been of use, even if nothing was sent over it."""

LONGEST_PATIENCE = 10.0

_MOST_DOUBLINGS = 10


class Retry:
    """Counts the attempts in a row that came to nothing.

    A link that the broker closes before it has carried anything is such an attempt, too: a broker
    that refuses what we send must not be asked several times a second.

    :param patience: seconds that the first attempt waits for an answer.
    """

    def __init__(self, patience: float, dice: Callable[[float, float], float] = random.uniform) -> None:
        self.patience = patience
        """Seconds that the next attempt waits: a broker that is slow to answer gets ever more of them."""
        self._dice = dice
        self._failures = 0

    def pause(self, fault: Fault, *, useful: bool, contested: bool) -> float:
        """Return the seconds to wait after an attempt or a link has ended.

        :param useful: whether there was a link that carried something, or held for ``STEADY`` seconds.
        :param contested: whether another process uses our name.
        """
        if fault.kind is Kind.SILENT:
            self.patience = max(self.patience, min(LONGEST_PATIENCE, 2 * self.patience))
        if useful:
            self._failures = 0
        longest = min(LONGEST_PAUSE, 0.5 * 2 ** min(self._failures, _MOST_DOUBLINGS))
        self._failures += 1
        if contested or fault.kind in SLOW_RETRY:
            return SLOW_PAUSE
        return self._dice(min(SHORTEST_PAUSE, longest), longest)
