"""Cron schedules beside a brute force over all minutes, on nights with and without a change of clocks."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError

from cascade.interfaces import ConfigurationError
from cascade.runtime.serving import CronSchedule
from cascade.spec.schedules import check_cron

DAYS = 4
NIGHTS = [
    ("Europe/Berlin", datetime(2027, 3, 27, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2027, 10, 30, tzinfo=UTC)),
    ("America/New_York", datetime(2027, 3, 13, tzinfo=UTC)),
    ("America/New_York", datetime(2027, 11, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 10, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 4, 2, tzinfo=UTC)),
    ("UTC", datetime(2028, 2, 27, tzinfo=UTC)),
]
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def field(draw: random.Random, low: int, high: int, *, star: float) -> tuple[str, set[int]]:
    """Return a part of an expression, and the numbers that it means."""
    if draw.random() < star:
        return "*", set(range(low, high + 1))
    kind, step = draw.randrange(4), draw.randint(1, 12)
    if kind == 0:
        return f"*/{step}", set(range(low, high + 1, step))
    first = draw.randint(low, high - 1)
    if kind == 1:
        last = draw.randint(first + 1, high)
        return f"{first}-{last}/{step}", set(range(first, last + 1, step))
    numbers = [draw.randint(low, high) for _ in range(kind * 2 - 3)]
    return ",".join(map(str, numbers)), set(numbers)


def expression(draw: random.Random) -> tuple[str, list[set[int]]]:
    stars = (0.2, 0.3, 0.7, 0.8, 0.7)
    parts = [field(draw, *limits, star=star) for limits, star in zip(LIMITS, stars, strict=True)]
    return " ".join(text for text, _ in parts), [numbers for _, numbers in parts]


@cache
def minutes(zone: str, start: datetime) -> list[tuple[float, datetime]]:
    """Return every real minute with its local time."""
    real = (start + timedelta(minutes=each) for each in range(DAYS * 1440))
    return [(each.timestamp(), each.astimezone(ZoneInfo(zone))) for each in real]


def matches(text: str, sets: list[set[int]], local: datetime) -> bool:
    minute, hour, day, month, weekday = sets
    if local.minute not in minute or local.hour not in hour or local.month not in month:
        return False
    _, _, days, _, weekdays = text.split()
    on_day = local.day in day
    on_weekday = bool({local.isoweekday(), local.isoweekday() % 7} & weekday)
    either = not days.startswith("*") and not weekdays.startswith("*")
    return (on_day or on_weekday) if either else (on_day and on_weekday)


def brute_force(text: str, sets: list[set[int]], zone: str, start: datetime) -> list[float]:
    """Return the times by Debian's rules: see cron(8).

    What has a star for minute or hour follows the clock. Other times that are skipped come right after the gap, and
    those that come twice count once.
    """
    real = minutes(zone, start)
    if any(part.startswith("*") for part in text.split()[:2]):
        return [at for at, local in real if matches(text, sets, local)]
    first, last = real[0][1].replace(tzinfo=None), real[-1][1].replace(tzinfo=None)
    found, local = set(), first
    earliest = {each.replace(tzinfo=None): at for at, each in reversed(real)}
    while local <= last:
        if matches(text, sets, local):
            moved = local
            while moved not in earliest:
                moved += timedelta(minutes=1)
            found.add(earliest[moved])
        local += timedelta(minutes=1)
    return sorted(found)


def made(text: str, zone: str) -> CronSchedule | None:
    """Return a schedule; None for one that never fires, or that cronsim gets wrong where clocks change by half an hour."""
    try:
        return CronSchedule(text, zone)
    except ConfigurationError:
        return None


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_every_time_is_one_that_a_brute_force_over_minutes_finds(number: int) -> None:
    """Also asked from any minute, such as one of an hour that comes twice; the newest of a while are found as well."""
    draw = random.Random(7)
    compared = 0
    for _ in range(number):
        text, sets = expression(draw)
        zone, start = draw.choice(NIGHTS)
        check_cron(text)
        schedule = made(text, zone)
        if schedule is None:
            continue
        expected = brute_force(text, sets, zone, start)
        begin, end = start.timestamp() - 1, start.timestamp() + DAYS * 86_400 - 60
        assert schedule.between(begin, end, most=9999) == expected, (text, zone, start)
        assert schedule.between(begin, end, most=7) == expected[-7:]
        since = draw.choice(minutes(zone, start))[0]
        later = [at for at in expected if at > since]
        if later:
            assert schedule.after(since) == later[0], (text, zone, since)
        compared += len(expected)
    assert compared > number


def test_what_is_accepted_is_what_cronsim_accepts() -> None:
    """Texts that are nearly expressions: none that passes here fails there."""
    draw = random.Random(3)
    accepted, refused = 0, set[str]()
    for _ in range(3_000):
        text, _ = expression(draw)
        place = draw.randrange(len(text) + 1)
        text = text[:place] + draw.choice("0123456789*/-,#LW aA") + text[place + draw.randrange(2) :]
        try:
            check_cron(text)
        except ConfigurationError:
            continue
        accepted += 1
        try:
            CronSim(text, datetime(2027, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            refused.add(str(error))
    # a day that no month has: refused when the workflow is served
    assert refused <= {"Bad day-of-month"}
    assert accepted > 500


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 4,6 *"])
def test_an_expression_that_never_fires_is_refused(cron: str) -> None:
    """No month has that day."""
    with pytest.raises(ConfigurationError, match="never fires"):
        CronSchedule(cron, "UTC")


def test_a_schedule_says_its_times_in_words_and_with_the_offset() -> None:
    """On a leap day, too."""
    leap = CronSchedule("0 3 29 2 *", "Europe/Berlin")
    assert leap.text == "At 03:00 on February 29"
    assert leap.shown(leap.after(datetime(2027, 1, 1, tzinfo=UTC).timestamp())) == "2028-02-29T03:00:00+01:00"
