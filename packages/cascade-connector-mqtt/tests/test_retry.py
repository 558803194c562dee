"""How long a connector waits before it tries again."""

from __future__ import annotations

import pytest

from cascade.connectors.mqtt._errors import Fault, Kind
from cascade.connectors.mqtt._retry import Retry

REFUSED = Fault(Kind.UNREACHABLE, "refused")


def retry(patience: float = 2.0) -> Retry:
    """Return one whose dice always show the longest pause."""
    return Retry(patience, dice=lambda _shortest, longest: longest)


def test_row_1_pauses_double_up_to_five_seconds() -> None:
    """Drawn between 0.2 s and min(5, 0.5 x 2^n) s."""
    drawn: list[tuple[float, float]] = []

    def draw(shortest: float, longest: float) -> float:
        drawn.append((shortest, longest))
        return shortest

    made = Retry(2.0, dice=draw)
    for _ in range(6):
        made.pause(REFUSED, useful=False, contested=False)
    assert drawn == [(0.2, 0.5), (0.2, 1.0), (0.2, 2.0), (0.2, 4.0), (0.2, 5.0), (0.2, 5.0)]


def test_a_link_that_was_of_use_begins_the_row_anew() -> None:
    """One that the broker closed before it carried anything does not."""
    made = retry()
    closed = Fault(Kind.CLOSED, "closed")
    useless = [made.pause(closed, useful=False, contested=False) for _ in range(3)]
    useful = [made.pause(closed, useful=True, contested=False) for _ in range(3)]
    assert (useless, useful) == ([0.5, 1.0, 2.0], [0.5, 0.5, 0.5])


@pytest.mark.parametrize("kind", list(Kind))
def test_rows_4_and_20_half_a_minute_after_refused_credentials_and_while_a_name_is_contested(
    kind: Kind,
) -> None:
    """Never after anything else."""
    slow = kind in (Kind.CREDENTIALS, Kind.CERTIFICATE, Kind.SETTINGS)
    assert (retry().pause(Fault(kind, ""), useful=False, contested=False) == 30.0) is slow
    assert retry().pause(Fault(kind, ""), useful=True, contested=True) == 30.0


def test_a_broker_that_is_slow_to_answer_gets_more_time_with_every_attempt() -> None:
    """Twice as much after each silence, up to ten seconds; a longer time that was asked for stays."""
    quick, slow = retry(0.1), retry(60.0)
    given = []
    for _ in range(9):
        for made in (quick, slow):
            made.pause(Fault(Kind.SILENT, ""), useful=False, contested=False)
        given.append(quick.patience)
    assert given == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0])
    assert slow.patience == 60.0
