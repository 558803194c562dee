"""The rate at which a run ends tasks. No I/O."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 10.0
MIN_SECONDS = 1.0
MAX_RUNS = 1_000


class Rates:
    """Tasks ended per second, of each run, over the last ten seconds."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str], deque[tuple[float, int]]] = {}

    def note(self, key: tuple[str, str], ended: int, now: float) -> float | None:
        """Take how many tasks of a run have ended by ``now``; return the rate, or None before it is known."""
        samples = self._samples.setdefault(key, deque())
        if samples and ended < samples[-1][1]:
            samples.clear()  # the run_id is used again
        if samples and samples[-1][0] == now:
            samples.pop()  # without a link the clock does not advance
        samples.append((now, ended))
        while samples[0][0] < now - WINDOW_SECONDS:
            samples.popleft()
        if len(self._samples) > MAX_RUNS:
            del self._samples[next(iter(self._samples))]
        since, before = samples[0]
        return (ended - before) / (now - since) if now - since >= MIN_SECONDS else None
