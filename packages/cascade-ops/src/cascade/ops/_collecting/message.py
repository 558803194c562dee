"""Messages as a collector keeps them, and what both kinds of file have in common. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from cascade.interfaces.topics import EVENTS
from cascade.ops._collecting.spans import Range, Spans
from cascade.wire import EventMessage


class Series(NamedTuple):
    """One attempt of a run."""

    source: str
    run_id: str
    token: str

    @property
    def name(self) -> str:
        """Its name in an acknowledgement."""
        return f"{self.run_id}-{self.token}"


class Received(NamedTuple):
    """One message of telemetry, and when it came, in seconds since the epoch."""

    topic: str
    payload: dict[str, Any]
    event: EventMessage
    at: float

    @property
    def series(self) -> Series:
        """The attempt of a run that it belongs to."""
        return Series(self.event.source, self.event.run_id, self.event.token)

    @property
    def counted(self) -> int | None:
        """Its number if a hole in these numbers is a lost message."""
        return self.event.seq if self.event.kind == EVENTS else None


class Hole(NamedTuple):
    """What is missing of a series, and since when, in seconds since the epoch."""

    series: Series
    missing: list[Range]
    since: float


@dataclass(slots=True)
class Known:
    """What a file has of one series."""

    spans: Spans = field(default_factory=Spans)
    since: float | None = None
    """When its oldest hole was seen; None if it has none."""

    def add(self, number: int, at: float) -> bool:
        """Note an event; return whether it is new."""
        new = self.spans.add(number)
        if new:
            self.since = (self.since or at) if self.spans.missing else None
        return new


class EventFile(Protocol):
    """Where events are kept."""

    def store(self, batch: Sequence[Received]) -> dict[Series, Known]:
        """Commit what is new of a batch; return the series that it concerns, of duplicates too.

        :raises OSError: if the disk fails.
        """
        ...

    def holes(self) -> list[Hole]:
        """Return what is missing."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Recent(OrderedDict[str, Known]):
    """The series of one source that its acknowledgement names: the latest ones."""

    MOST = 64

    def note(self, name: str, known: Known) -> None:
        """Add a series, or move it to the end."""
        self[name] = known
        self.move_to_end(name)
        while len(self) > self.MOST:
            self.popitem(last=False)
