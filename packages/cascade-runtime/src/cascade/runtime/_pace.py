"""How much to do before the event loop gets its turn. Pure."""

from __future__ import annotations

TURN = 0.005
"""Seconds for which one thing may keep the event loop before all others get their turn."""

_LEAST, _MOST = 16, 2048


class Pace:
    """How many tasks may be started in one turn, learnt from how long such turns took."""

    def __init__(self) -> None:
        self.batch = 64

    def learn(self, seconds: float) -> None:
        """Take in how long the loop needed for a turn in which a full batch was started."""
        if seconds > TURN:
            self.batch = max(_LEAST, self.batch // 2)
        elif seconds < TURN / 2:
            self.batch = min(_MOST, self.batch * 2)
