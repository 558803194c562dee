"""The state of one gate: values and time in; whether it holds, why, and when to look again out. No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cascade.interfaces.gates import SENT_NOTHING, Gate, GateReading, Window, duration_in_words
from cascade.interfaces.text import printable
from cascade.runtime._gates.values import NoValue, shown
from cascade.runtime._support.clock import EARLIEST

LONGEST_LOOK = 60.0
"""Seconds after which a window is looked at again at the latest: the wall clock may be set."""

NOTHING_YET = NoValue(SENT_NOTHING)
OF_UNKNOWN_AGE = NoValue(
    "has sent nothing since this engine listens, and the age of its retained value is not known"
)


class GateState:
    """The state of a gate on a topic.

    An unknown value counts as out of band, or with ``on_stale="pass"`` as in band. The gate closes at once, and
    opens when the value has been in band for ``settle`` seconds without a break.

    :param now: on the monotonic clock, like every time here.
    """

    def __init__(self, gate: Gate, now: float) -> None:
        self.gate = gate
        self.holds = gate.on_stale == "hold"
        """Whether work waits."""
        self._value: float | str | NoValue = NOTHING_YET
        # the latest one, while the value is known
        self._heard: float | None = None
        # since when it has been in band, while the gate is closed
        self._good_since: float | None = None

    def receive(self, value: float | str | NoValue, now: float, *, retained: bool = False) -> None:
        """Take what has arrived; a retained value of unknown age may close the gate, but does not open it."""
        self.look(now)
        if retained and self.gate.stale is not None and self._in_band(value):
            if self._value is NOTHING_YET:
                self._value = OF_UNKNOWN_AGE
            return
        self._take(value, now)

    def lose(self, why: NoValue, now: float) -> None:
        """Note that the value is unknown from now on."""
        self.look(now)
        self._take(why, now)

    def look(self, now: float) -> None:
        """Do what time alone changes, in its order."""
        while (due := self.due()) is not None and due <= now:
            if self._heard is not None and due == self._stale_at():
                assert self.gate.stale is not None
                self._take(NoValue(f"has sent nothing for {duration_in_words(self.gate.stale)}"), due)
            else:
                self.holds, self._good_since = False, None

    def due(self) -> float | None:
        """Return when :meth:`look` changes something, or None."""
        times = (self._stale_at(), self._opens_at())
        return min((at for at in times if at is not None), default=None)

    def reading(self) -> GateReading:
        """Return what the gate says."""
        if isinstance(self._value, NoValue):
            return GateReading(self.holds, "unknown", None, f"{printable(self.gate.topic)} {self._value.why}")
        return GateReading(
            self.holds, "closed" if self.holds else "open", shown(self._value), self._text(self._value)
        )

    def _stale_at(self) -> float | None:
        return None if self._heard is None or self.gate.stale is None else self._heard + self.gate.stale

    def _opens_at(self) -> float | None:
        return None if self._good_since is None else self._good_since + self.gate.settle

    def _take(self, value: float | str | NoValue, now: float) -> None:
        self._value = value
        self._heard = None if isinstance(value, NoValue) else now
        if not self._is_good(value):
            self.holds, self._good_since = True, None
        elif self.holds:
            self._good_since = now if self._good_since is None else self._good_since
            if self.gate.settle == 0:
                self.holds, self._good_since = False, None

    def _is_good(self, value: float | str | NoValue) -> bool:
        """Return whether the gate may be open at this value; while it is closed, only behind ``clear_at``."""
        if isinstance(value, NoValue):
            return self.gate.on_stale == "pass"
        back = self.gate.clear_at if self.holds else None
        if back is None or isinstance(value, str):
            return self._in_band(value)
        return value <= back if self.gate.comparison == "above" else value >= back

    def _in_band(self, value: float | str | NoValue) -> bool:
        bound = self.gate.bound
        if isinstance(value, NoValue):
            return False
        if isinstance(value, str) or isinstance(bound, str):
            return value != bound
        if isinstance(bound, tuple):
            inside = bound[0] <= value <= bound[1]
            return inside is (self.gate.comparison == "outside")
        return value <= bound if self.gate.comparison == "above" else value >= bound

    def _text(self, value: float | str) -> str:
        number = shown(value) if isinstance(value, str) else f"{value:.10g}"
        unit = printable(self.gate.path.rpartition("/")[2])
        found = f"{printable(self.gate.topic)} is {number}{f' {unit}' if unit else ''}"
        if not self.holds:
            return found
        back = self.gate if self.gate.clear_at is None else self.gate._replace(bound=self.gate.clear_at)
        wait = f" for {duration_in_words(self.gate.settle)}" if self._good_since is not None else ""
        return f"{found}, {back.must_be}{wait}"


class WindowState(NamedTuple):
    """The state of a gate that is a window of time."""

    window: Window

    def reading(self, wall: float) -> GateReading:
        """Return what the gate says at a time, in seconds since the epoch."""
        if wall < EARLIEST:
            return GateReading(
                True, "unknown", None, f"the clock of this computer is not set; open {self.window}"
            )
        is_open = self._is_open(wall)
        text = f"it is {'within' if is_open else 'not yet within'} {self.window}"
        return GateReading(not is_open, "open" if is_open else "closed", None, text)

    def next_look(self, wall: float) -> float:
        """Return in how many seconds to look again."""
        return min(LONGEST_LOOK, 60.0 - wall % 60.0)

    def _is_open(self, wall: float) -> bool:
        # slow to import, and only a window needs it
        from zoneinfo import ZoneInfo

        local = datetime.fromtimestamp(wall, ZoneInfo(self.window.zone))
        minute = local.hour * 60 + local.minute
        start, end, _ = self.window
        return start <= minute < end if start < end else minute >= start or minute < end
