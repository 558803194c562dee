"""Schedules of workflows: cron expressions, intervals and time zones, checked where they are declared. No I/O but zone files."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.text import nearest

Missed = Literal["none", "one", "all"]
"""What becomes of ticks that came due while the process was away, or a pause was in force."""

MAX_EVERY = 365 * 86_400
"""Seconds: an interval is shorter."""
MAX_LEASE_TTL = 86_400
"""Seconds."""
DEFAULT_LEASE_TTL = "30s"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """The first one is the lowest number."""

    def number(self, text: str) -> int | None:
        """Return the number that a text means; None if it is not one of this field."""
        if text.upper() in self.names:
            return self.names.index(text.upper()) + self.low
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        return value if self.low <= value <= self.high else None

    @property
    def right(self) -> str:
        """What would be right."""
        named = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"{self.low} to {self.high}{named}"


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field(
        "month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    ),
    _Field("day of the week", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)


def check_cron(text: object, setting: str = "workflow(cron=)") -> None:
    """Check a cron expression.

    :raises ConfigurationError: with the position of the mistake, and what would be right.
    """
    if not isinstance(text, str):
        raise ConfigurationError(setting, "needs a text such as '0 3 * * *'", value=text)
    if right := _NICKNAMES.get(text.strip().lower()):
        raise ConfigurationError(setting, f"needs five fields: write {right!r}", value=text)
    fields = list(re.finditer(r"\S+", text))
    if len(fields) != len(_FIELDS):
        more = "; for seconds, use every='10s'" if len(fields) == len(_FIELDS) + 1 else ""
        problem = f"needs five fields (minute, hour, day of the month, month, day of the week) and has {len(fields)}{more}"
        raise ConfigurationError(setting, problem, value=text)
    for field, found in zip(_FIELDS, fields, strict=True):
        at = found.start()
        for term in found[0].split(","):
            if wrong := _mistake(field, term):
                position, problem = wrong
                shown = f"{text!r}, column {at + position + 1}: {field.name}: {problem}"
                raise ConfigurationError(setting, shown)
            at += len(term) + 1


def _mistake(field: _Field, term: str) -> tuple[int, str] | None:
    """Return the position and the mistake in a part of a field, such as ``8-17/2``; None if there is none."""
    if _is_special(field, term):
        return None
    span, slash, step = term.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step[:9]) > 0 and len(step) < 10):
        return len(span) + 1, f"needs a step from 1, not {step!r}"
    start, dash, end = span.partition("-")
    if slash and dash and start == end:
        # cronsim would go on to the end of the range
        return 0, f"{span} is one number and takes no step; write {start}"
    return None if span == "*" else _mistake_in_span(field, span)


def _mistake_in_span(field: _Field, span: str) -> tuple[int, str] | None:
    """Return the position and the mistake in a number, or in two with a hyphen."""
    start, dash, end = span.partition("-")
    if (first := field.number(start)) is None:
        return 0, f"needs {field.right}, not {start!r}"
    if not dash:
        return None
    if (last := field.number(end)) is None:
        return len(start) + 1, f"needs {field.right}, not {end!r}"
    return (len(start) + 1, f"{end} is before {start}") if last < first else None


def _is_special(field: _Field, term: str) -> bool:
    """Return whether a part is the last (working) day, the last Friday or the second Friday of the month."""
    upper = term.upper()
    if field.high == 31:
        return upper in ("L", "LW")
    if field.high != 7:
        return False
    day, sign, number = upper.partition("#")
    if sign:
        return field.number(day) is not None and number in tuple("12345")
    return upper.endswith("L") and upper[:-1].isdigit() and field.number(upper[:-1]) is not None


def every_seconds(text: object, setting: str = "workflow(every=)") -> int:
    """Return the seconds of an interval such as ``10m``.

    :raises ConfigurationError: if it is not one, or not from a second to less than a year.
    """
    found = re.fullmatch(r"(\d{1,9})([smhd])", text.strip(), re.ASCII) if isinstance(text, str) else None
    if found is None:
        raise ConfigurationError(setting, "needs a whole number with a unit: 90s, 10m, 2h or 1d", value=text)
    seconds = int(found[1]) * _UNITS[found[2]]
    if not 0 < seconds < MAX_EVERY:
        raise ConfigurationError(setting, "needs 1s to less than a year", value=text)
    return seconds


def check_lease(name: object, ttl: object, *, scheduled: bool) -> None:
    """Check the lease of a workflow.

    :raises ConfigurationError: if the name cannot be part of a topic, the ttl is not from a second to a day, or there are no ticks.
    """
    if every_seconds(ttl, "workflow(lease_ttl=)") > MAX_LEASE_TTL:
        raise ConfigurationError("workflow(lease_ttl=)", "needs 1s to 1d", value=ttl)
    if name is None:
        if ttl != DEFAULT_LEASE_TTL:
            raise ConfigurationError("workflow(lease_ttl=)", "belongs to lease=, which is missing")
        return
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name, re.ASCII):
        problem = "needs 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        raise ConfigurationError("workflow(lease=)", problem, value=name)
    if not scheduled:
        raise ConfigurationError("workflow(lease=)", "is for the ticks of cron= or every=, which are missing")


def check_zone(name: object, setting: str = "workflow(tz=)") -> None:
    """Check the name of a time zone, such as ``Europe/Berlin``.

    :raises ConfigurationError: if the system does not know it, with the nearest name.
    """
    from zoneinfo import ZoneInfo, available_timezones

    try:
        if not isinstance(name, str):
            raise ValueError
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        known = available_timezones()
        near = nearest(str(name)[:100], known) or next(
            (each for each in sorted(known) if each.lower().endswith(f"/{str(name).lower()}")), ""
        )
        if not known:
            hint = "this system has no time zones: pip install tzdata"
        else:
            hint = f"needs the name of a time zone, such as {near or 'Europe/Berlin'}"
        raise ConfigurationError(setting, hint, value=name) from None


def check_schedule(cron: object, every: object, tz: object, missed: object) -> None:
    """Check when a workflow starts by itself.

    :raises ConfigurationError: with what is wrong.
    """
    if cron is not None and every is not None:
        raise ConfigurationError("workflow(every=)", "cannot be given with cron=; leave one out")
    if tz is not None and cron is None:
        raise ConfigurationError("workflow(tz=)", "is the time zone of cron=, which is missing")
    if missed not in ("none", "one", "all"):
        raise ConfigurationError("workflow(missed=)", "needs 'none', 'one' or 'all'", value=missed)
    if cron is not None:
        check_cron(cron)
    if every is not None:
        every_seconds(every)
    if tz is not None:
        check_zone(tz)
