"""What stands in the tests for an engine's runs and its clock."""

from collections.abc import Callable

from cascade.runtime._clock import SystemClock
from cascade.runtime.constraints import Obstacle, Ticket

_BEGAN = 1_799_999_000.0  # so that the wall clock begins at a round number


class FakeClock:
    """A wall clock and a monotonic one, which only a test moves."""

    def __init__(self) -> None:
        self.ticks = 1_000.0
        self.put_forward = 0.0
        """By how many seconds somebody has set the wall clock."""

    def now(self) -> float:
        return _BEGAN + self.ticks + self.put_forward

    def monotonic(self) -> float:
        return self.ticks


class Racing(SystemClock):
    """A clock for which every step of building takes long, so that the loop turns after each."""

    def __init__(self) -> None:
        self._past = 0.0

    def monotonic(self) -> float:
        self._past += 0.01
        return super().monotonic() + self._past


class Run:
    """The owner of tickets who does nothing but keep what it is told."""

    def __init__(self, run_id: str = "r1") -> None:
        self.run_id = run_id
        self.unasked: list[Ticket] = []
        """Of tasks that run and never had to ask."""
        self.started: list[Ticket] = []
        self.told: list[tuple[str, str]] = []
        """What happened, and the topic of the register because of which."""
        self.cancelled: list[Callable[[str], bool] | None] = []
        self.reconsidered = 0
        self.on_start: Callable[[Ticket], None] = lambda ticket: None

    def running(self) -> list[Ticket]:
        return self.unasked

    def start(self, ticket: Ticket) -> None:
        self.started.append(ticket)
        self.on_start(ticket)

    def turn_away(self, ticket: Ticket, obstacle: Obstacle) -> None:
        self.told.append((f"turned away {ticket.name}", obstacle.topic))

    def blocked(self, ticket: Ticket, obstacle: Obstacle) -> None:
        self.told.append((f"blocked {ticket.name}", obstacle.topic))

    def cancel(self, obstacle: Obstacle, covers: Callable[[str], bool] | None) -> None:
        self.cancelled.append(covers)
        self.told.append(("cancel", obstacle.topic))

    def reconsider(self) -> None:
        self.reconsidered += 1

    def abort(self, error: Exception) -> None:
        self.told.append((f"abort {error}", ""))
