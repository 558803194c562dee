"""The names of the engines of this process that follow a broker."""

from __future__ import annotations

from collections import Counter

from cascade.interfaces.logs import get_logger
from cascade.transport.state_log import StateLog

_log = get_logger("cascade.constraints")


class PeerEngines:
    """Counts the managers of each source: two with one name write their reports on the same topics."""

    def __init__(self) -> None:
        self._by_source: Counter[str] = Counter()
        self._duplicate_names = StateLog(_log)

    def join(self, source: str) -> None:
        """Add a manager; the first time that two have the same source, log a warning."""
        self._by_source[source] += 1
        if self._by_source[source] > 1:
            self._duplicate_names.failed(
                source,
                "two engines of this process are both called %s, so their reports look alike; "
                "give each engine a connector with its own source_id",
                source,
            )

    def leave(self, source: str) -> None:
        """Remove a manager."""
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]
