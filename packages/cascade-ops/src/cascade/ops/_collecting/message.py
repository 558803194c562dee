"""Messages as a collector keeps them, and what both kinds of file have in common. No I/O."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from cascade.interfaces.topics import EVENTS
from cascade.ops._collecting.spans import Range, Spans
from cascade.wire import EventMessage


class Series(NamedTuple):
    """One attempt of a run. An engine of another project that claims its names is another series."""

    source: str
    run_id: str
    token: str
    org_id: str = ""
    project_id: str = ""

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
        event = self.event
        return Series(event.source, event.run_id, event.token, event.org_id, event.project_id)

    @property
    def counted(self) -> int | None:
        """Its number if a hole in these numbers is a lost message."""
        return self.event.seq if self.event.kind == EVENTS else None


class Change(NamedTuple):
    """What is retained on a topic from a moment on, in seconds since the epoch; ``{}``: nothing."""

    topic: str
    payload: dict[str, Any]
    at: float


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

    @property
    def session(self) -> str:
        """The name of the collector's session at the broker: random, and the same for as long as the file lasts."""
        ...

    def store(self, batch: Sequence[Received], changes: Sequence[Change] = ()) -> dict[Series, Known]:
        """Commit what is new of a batch; return the series that it concerns, of duplicates too.

        :raises OSError: if the disk fails.
        """
        ...

    def holes(self) -> list[Hole]:
        """Return what is missing."""
        ...

    def before(self, series: Series, at: float) -> list[EventMessage]:
        """Return the events of a series that came before a moment, by their numbers, if the file can be asked."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def seconds_of(text: object, otherwise: float) -> float:
    """Return the seconds since the epoch of a time in a message, or what is known otherwise."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return otherwise


class Recent(OrderedDict[Series, Known]):
    """The series of one source that its acknowledgement names: the latest ones."""

    MOST = 64

    def note(self, series: Series, known: Known) -> None:
        """Add a series, or move it to the end."""
        self[series] = known
        self.move_to_end(series)
        while len(self) > self.MOST:
            self.popitem(last=False)

    def by_name(self) -> dict[str, Known]:
        """Return what is known of each series by its name in an acknowledgement.

        A name that several projects claim is left out: the engine would forget what only another one has sent.
        """
        claims = Counter(series.name for series in self)
        return {series.name: known for series, known in self.items() if claims[series.name] == 1}
