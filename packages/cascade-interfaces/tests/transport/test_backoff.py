"""The pauses between attempts to connect, without time and without chance."""

from __future__ import annotations

from cascade.transport.backoff import Backoff


class Drawn:
    """A backoff, and the range from which each pause was drawn."""

    def __init__(self, answer_timeout: float = 2.0) -> None:
        self.ranges: list[tuple[float, float]] = []
        self.backoff = Backoff(answer_timeout, self._draw)

    def _draw(self, low: float, high: float) -> float:
        self.ranges.append((low, high))
        return high

    def pause(self, *, silent: bool = False, slow: bool = False, useful: bool = False) -> float:
        """Return the pause behind one attempt or link."""
        return self.backoff.pause(silent=silent, slow=slow, useful=useful)


def test_every_pause_is_drawn_at_random_below_its_longest() -> None:
    """A thousand clients of one broker do not come back in the same moment, and none comes at once."""
    drawn = Drawn()
    for _ in range(8):
        drawn.pause()
    assert all(0 < low < high for low, high in drawn.ranges)
    assert len({low for low, _ in drawn.ranges}) == 1
    assert 0 < Backoff(2.0).pause(silent=False, slow=False, useful=False) <= drawn.ranges[0][1]
