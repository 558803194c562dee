"""The pauses between attempts to connect, without time and without chance."""

from __future__ import annotations

import pytest

from cascade.transport.backoff import SLOW_PAUSE, Backoff


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


def test_pauses_double_up_to_a_limit_and_begin_anew_behind_a_useful_link() -> None:
    """However many attempts have failed; the first pause behind a link is the shortest again."""
    drawn = Drawn()
    pauses = [drawn.pause() for _ in range(2_000)]
    assert pauses[:3] == [pauses[0], 2 * pauses[0], 4 * pauses[0]]
    assert pauses[4:] == [max(pauses)] * 1_996
    assert [drawn.pause(useful=True), drawn.pause()] == pauses[:2]


def test_every_pause_is_drawn_at_random_below_its_longest() -> None:
    """A thousand clients of one broker do not come back in the same moment, and none comes at once."""
    drawn = Drawn()
    for _ in range(8):
        drawn.pause()
    assert all(0 < low < high for low, high in drawn.ranges)
    assert len({low for low, _ in drawn.ranges}) == 1
    assert 0 < Backoff(2.0).pause(silent=False, slow=False, useful=False) <= drawn.ranges[0][1]


@pytest.mark.parametrize("useful", [False, True])
def test_what_only_a_person_can_fix_is_asked_about_rarely(useful: bool) -> None:
    """Nothing is drawn for it, and it counts as an attempt: the next pause is longer."""
    drawn = Drawn()
    first = Drawn().pause()
    assert drawn.pause(slow=True, useful=useful) == SLOW_PAUSE
    assert drawn.ranges == []
    assert drawn.pause() == 2 * first


@pytest.mark.parametrize(("given", "grown"), [(2.0, [4.0, 8.0, 10.0, 10.0]), (15.0, [15.0] * 4)])
def test_only_a_silent_peer_gets_more_time_for_its_answer(given: float, grown: list[float]) -> None:
    """Up to a limit; never less than the caller has asked for, and a link takes nothing of it back."""
    drawn = Drawn(given)
    drawn.pause(slow=True)
    drawn.pause()
    assert drawn.backoff.answer_timeout == given
    timeouts = []
    for _ in grown:
        drawn.pause(silent=True)
        timeouts.append(drawn.backoff.answer_timeout)
    assert timeouts == grown
    drawn.pause(useful=True)
    assert drawn.backoff.answer_timeout == grown[-1]
