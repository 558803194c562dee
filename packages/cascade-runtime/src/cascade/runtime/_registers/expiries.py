"""When registers expire. No I/O."""

from __future__ import annotations

import heapq

from cascade.runtime._registers.table import Register, RegisterTable, Status


class Expiries:
    """The deadlines of the registers of a table, on the monotonic clock, the earliest first."""

    def __init__(self, table: RegisterTable) -> None:
        self._table = table
        # also deadlines that registers had before; they are skipped when they come up
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, register: Register) -> None:
        """Note the deadline of a register that has one."""
        if register.deadline is None or register.state is Status.EXPIRED:
            return
        heapq.heappush(self._heap, (register.deadline, register.topic))
        if len(self._heap) > 2 * len(self._table) + 64:
            self._heap = [entry for entry in set(self._heap) if self._is_due(*entry)]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """Return the earliest deadline, or None."""
        while self._heap and not self._is_due(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> Register | None:
        """Return a register whose deadline has passed, and forget that deadline; None: there is no further one."""
        deadline = self.next()
        return None if deadline is None or deadline > now else self._table.get(heapq.heappop(self._heap)[1])

    def _is_due(self, deadline: float, topic: str) -> bool:
        register = self._table.get(topic)
        return register is not None and register.deadline == deadline and register.state is not Status.EXPIRED
