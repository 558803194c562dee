"""One call of an executor on its cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cascade.executors.dask._worker_side import RUN, WINDOW, Order
from cascade.interfaces import CallContext, Directive


class Call:
    """One call on its way: packed, waiting to be sent, or at a worker.

    :param on_end: called once with its packed outcome or an error, unless it was given up before it was sent.
    :param on_received: called with the sum of what it has published, for a confirmation.
    """

    def __init__(
        self,
        packed: bytes,
        name: str,
        *,
        on_end: Callable[[bytes | Exception], object],
        context: CallContext | None = None,
        on_received: Callable[[int], object] | None = None,
    ) -> None:
        self.packed = packed
        self.name = name
        self.end = on_end
        self.abandoned = False
        self.number = 0
        """Unique among the calls that were sent; 0 before that."""
        self.address = ""
        """Of its worker."""
        self.context = context
        """What gets its reports; None if it was given up, or nothing follows it."""
        self.order: Order = RUN
        """What it is to do at its checkpoints."""
        self._received = 0  # characters of what it has published
        self._confirmed = 0
        self._on_received = on_received
        self._lock = threading.Lock()
        self._claimed = False

    def claim(self) -> bool:
        """Return whether this is the first claim: of the one who sends it, or of the one who gives it up."""
        with self._lock:
            first, self._claimed = not self._claimed, True
            return first

    def direct(self, directive: Directive) -> None:
        """Change what it is to do."""
        self.order = (self.order[0] + 1, directive)

    def count(self, size: int) -> None:
        """Have what was received confirmed, each time that it is a quarter of what may be on the way."""
        self._received += size
        if self._on_received is not None and self._received - self._confirmed >= WINDOW // 4:
            self._confirmed = self._received
            self._on_received(self._received)
