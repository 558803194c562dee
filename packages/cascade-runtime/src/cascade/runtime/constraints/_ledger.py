"""The registers that an engine keeps, filed by what there is to say of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from cascade.runtime.constraints.parse import Constraint, Unsupported


class Status(StrEnum):
    """What becomes of a register's content."""

    UNSUPPORTED = "unsupported"
    EXPIRED = "expired"
    APPLIED = "applied"
    ELSEWHERE = "elsewhere"
    """Its scope is another source's or project's: nobody reports it but those whom it concerns."""


class Register:
    """What one topic holds."""

    __slots__ = ("content", "deadline", "status")

    def __init__(self, content: Constraint | Unsupported, deadline: float | None, status: Status) -> None:
        self.content = content
        self.deadline = deadline
        """On the monotonic clock, or None."""
        self.status = status


class Ledger:
    """Registers by topic, and by status: so a report finds its entries without a look at all."""

    def __init__(self) -> None:
        self._by_topic: dict[str, Register] = {}
        self._by_status: dict[Status, dict[str, Register]] = {status: {} for status in Status}

    def __len__(self) -> int:
        return len(self._by_topic)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_topic)

    def items(self) -> Iterable[tuple[str, Register]]:
        """Return every register with its topic."""
        return self._by_topic.items()

    def get(self, topic: str) -> Register | None:
        """Return the register of a topic."""
        return self._by_topic.get(topic)

    def put(self, topic: str, register: Register) -> None:
        """Keep the register of a topic that has none."""
        self._by_topic[topic] = self._by_status[register.status][topic] = register

    def take(self, topic: str) -> Register | None:
        """Forget the register of a topic and return it."""
        register = self._by_topic.pop(topic, None)
        if register is not None:
            del self._by_status[register.status][topic]
        return register

    def expire(self, topic: str) -> Register:
        """File a register as expired and return it."""
        register = self._by_topic[topic]
        del self._by_status[register.status][topic]
        register.status = Status.EXPIRED
        self._by_status[register.status][topic] = register
        return register

    def is_reported(self, topic: str) -> bool:
        """Return whether the register of a topic is among those to report."""
        register = self._by_topic.get(topic)
        return register is not None and register.status is not Status.ELSEWHERE

    @property
    def to_report(self) -> int:
        """How many registers there are to report."""
        return len(self._by_topic) - len(self._by_status[Status.ELSEWHERE])

    def reported(self) -> Iterator[tuple[str, Register]]:
        """Yield what there is to report: what is not in force before what is."""
        for status in Status:
            if status is not Status.ELSEWHERE:
                yield from self._by_status[status].items()
