"""How long a connector waits before it tries again."""

from __future__ import annotations

import pytest

from cascade.transport.backoff import Backoff
from cascade.transport.faults import Fault, Kind

REFUSED = Fault(Kind.UNREACHABLE, "refused")


def longest(answer_timeout: float = 2.0) -> Backoff:
    """Return one that always chooses the longest pause."""
    return Backoff(answer_timeout, uniform=lambda _shortest, longest: longest)


def pause(backoff: Backoff, fault: Fault, *, useful: bool = False, contested: bool = False) -> float:
    """Return the pause after a fault, as a session asks for it."""
    return backoff.pause(silent=fault.kind is Kind.SILENT, slow=contested or fault.slow, useful=useful)


def test_row_1_pauses_double_up_to_five_seconds() -> None:
    """Drawn between 0.2 s and min(5, 0.5 x 2^n) s."""
    drawn: list[tuple[float, float]] = []

    def draw(shortest: float, longest: float) -> float:
        drawn.append((shortest, longest))
        return shortest

    made = Backoff(2.0, uniform=draw)
    for _ in range(6):
        pause(made, REFUSED, useful=False, contested=False)
    assert drawn == [(0.2, 0.5), (0.2, 1.0), (0.2, 2.0), (0.2, 4.0), (0.2, 5.0), (0.2, 5.0)]


def test_a_link_that_was_of_use_begins_the_row_anew() -> None:
    """One that the broker closed before it carried anything does not."""
    made = longest()
    closed = Fault(Kind.CLOSED, "closed")
    useless = [pause(made, closed, useful=False, contested=False) for _ in range(3)]
    useful = [pause(made, closed, useful=True, contested=False) for _ in range(3)]
    assert (useless, useful) == ([0.5, 1.0, 2.0], [0.5, 0.5, 0.5])


@pytest.mark.parametrize("kind", list(Kind))
def test_rows_4_and_20_half_a_minute_after_refused_credentials_and_while_a_name_is_contested(
    kind: Kind,
) -> None:
    """Never after anything else."""
    slow = kind in (Kind.CREDENTIALS, Kind.CERTIFICATE, Kind.SETTINGS)
    assert (pause(longest(), Fault(kind, ""), useful=False, contested=False) == 30.0) is slow
    assert pause(longest(), Fault(kind, ""), useful=True, contested=True) == 30.0


def test_a_broker_that_is_slow_to_answer_gets_more_time_with_every_attempt() -> None:
    """Twice as much after each silence, up to ten seconds; a longer time that was asked for stays."""
    quick, slow = longest(0.1), longest(60.0)
    given = []
    for _ in range(9):
        for made in (quick, slow):
            pause(made, Fault(Kind.SILENT, ""), useful=False, contested=False)
        given.append(quick.answer_timeout)
    assert given == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0])
    assert slow.answer_timeout == 60.0
