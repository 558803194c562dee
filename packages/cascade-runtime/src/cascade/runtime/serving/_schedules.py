"""Times at which a workflow starts by itself. No I/O but zone files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

from cascade.interfaces import ConfigurationError
from cascade.interfaces.distribution import install_line

_ZONE_FILE = Path("/etc/localtime")
_FIRST_WINDOW = 3600.0
LOCAL = "local"
"""The name of a machine's time zone that has none."""
_HALF_HOURS = ("Australia/Lord_Howe", "Australia/LHI")
"""Their clocks change by half an hour, where cronsim leaves out a time of an expression with a star."""


class CronSchedule:
    """The times of a cron expression in a time zone, by Debian's rules for the nights on which clocks change.

    :param tz: name of the zone; that of the machine if None, or UTC if the machine's cannot be found.
    :raises ConfigurationError: if cronsim is not installed, the expression never fires, or it has a star for minute or hour where clocks
        change by half an hour.
    """

    def __init__(self, cron: str, tz: str | None = None) -> None:
        try:
            from cronsim import CronSim
        except ImportError:
            raise ConfigurationError("workflow(cron=)", f"needs cronsim: {install_line('serve')}") from None
        self._cron, self._made = cron, CronSim
        self.tz, self.zone = local_zone() if tz is None else (tz, ZoneInfo(tz))
        if self.tz in _HALF_HOURS and any(each.startswith("*") for each in cron.split()[:2]):
            problem = "its clocks change by half an hour: give minute and hour without a star, or use every="
            raise ConfigurationError("workflow(tz=)", problem, value=self.tz)
        try:
            self.text: str = CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)).explain()
            self.after(0.0)
        except Exception:
            raise ConfigurationError("workflow(cron=)", "never fires", value=cron) from None

    def after(self, at: float) -> float:
        """Return the first time after ``at``, both in seconds since the epoch."""
        return next(self._from(at))

    def between(self, since: float, until: float, *, most: int) -> list[float]:
        """Return the newest times after ``since`` and up to ``until``, oldest first."""
        window = _FIRST_WINDOW
        while True:
            start = max(since, until - window)
            found = list(takewhile(lambda at: at <= until, self._from(start)))
            if len(found) >= most or start == since:
                return found[-most:]
            window *= 4

    def shown(self, at: float) -> str:
        """Return a time in ISO format with the zone's offset."""
        return datetime.fromtimestamp(at, self.zone).isoformat(timespec="seconds")

    def _from(self, at: float) -> Iterator[float]:
        # within an hour that comes twice cronsim knows only the first one
        for found in self._made(self._cron, datetime.fromtimestamp(at, self.zone)):
            if (stamp := found.timestamp()) > at:
                yield stamp


def local_zone() -> tuple[str, tzinfo]:
    """Return the time zone of the machine, with its name; UTC if it cannot be found."""
    name = os.environ.get("TZ", "").lstrip(":") or _linked_name()
    try:
        if name:
            return name, ZoneInfo(name)
        with _ZONE_FILE.open("rb") as file:
            return LOCAL, ZoneInfo.from_file(file)
    except (OSError, LookupError, ValueError):
        return "UTC", UTC


def _linked_name() -> str:
    _, found, name = str(_ZONE_FILE.resolve()).partition("/zoneinfo/")
    return name if found else ""


def tick_id(at: float) -> str:
    """Return the id of a tick's run: ``2026-11-25T02:00:00Z``."""
    return f"{datetime.fromtimestamp(int(at), UTC):%Y-%m-%dT%H:%M:%SZ}"
