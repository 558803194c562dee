"""The clock of the machine."""

from __future__ import annotations

import time


class SystemClock:
    """A :class:`cascade.interfaces.Clock` that reads the operating system's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
