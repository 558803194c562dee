"""Schedules of workflows: what is refused where they are declared, and what the message says."""

from __future__ import annotations

from typing import Any

import pytest

from cascade.interfaces.errors import ConfigurationError
from cascade.spec import workflow
from cascade.spec.schedules import check_cron, every_seconds

FIELDS = "(minute, hour, day of the month, month, day of the week)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cron": "0 25 * * *"}, "workflow(cron=): '0 25 * * *', column 3: hour: needs 0 to 23, not '25'"),
        ({"cron": "*/0 3 * * *"}, "column 3: minute: needs a step from 1, not '0'"),
        ({"cron": "0 3 * * mon,fry"}, "column 13: day of the week: needs 0 to 7 or SUN to SAT, not 'fry'"),
        ({"cron": "0 17-9 * * *"}, "column 6: hour: 9 is before 17"),
        ({"cron": "0 9-9/2 * * *"}, "column 3: hour: 9-9 is one number and takes no step; write 9"),
        ({"cron": "0 1-x * * *"}, "column 5: hour: needs 0 to 23, not 'x'"),
        ({"cron": "  0 3 0 * *"}, "column 7: day of the month: needs 1 to 31, not '0'"),
        ({"cron": "0 3 * 13 *"}, "column 7: month: needs 1 to 12 or JAN to DEC, not '13'"),
        ({"cron": "0, 3 * * *"}, "column 3: minute: needs 0 to 59, not ''"),
        ({"cron": "0 3 * *"}, f"needs five fields {FIELDS} and has 4"),
        ({"cron": "0 0 3 * * *"}, f"needs five fields {FIELDS} and has 6; for seconds, use every='10s'"),
        ({"cron": "@daily"}, "needs five fields: write '0 0 * * *'"),
        ({"cron": 3}, "needs a text such as '0 3 * * *'"),
        ({"every": "0s"}, "workflow(every=): needs 1s to less than a year"),
        ({"every": "365d"}, "needs 1s to less than a year"),
        ({"every": "-5m"}, "needs a whole number with a unit: 90s, 10m, 2h or 1d"),
        ({"every": 10}, "needs a whole number with a unit: 90s, 10m, 2h or 1d"),
        ({"every": "10m", "cron": "0 3 * * *"}, "cannot be given with cron=; leave one out"),
        ({"cron": "0 3 * * *", "tz": "Asia/Tokio"}, "needs the name of a time zone, such as Asia/Tokyo"),
        ({"cron": "0 3 * * *", "tz": "berlin"}, "needs the name of a time zone, such as Europe/Berlin"),
        ({"cron": "0 3 * * *", "tz": "tokyo"}, "needs the name of a time zone, such as Asia/Tokyo"),
        ({"cron": "0 3 * * *", "tz": "../etc"}, "needs the name of a time zone, such as Europe/Berlin"),
        ({"every": "1d", "tz": "UTC"}, "is the time zone of cron=, which is missing"),
        ({"missed": "some"}, "needs 'none', 'one' or 'all'"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused_with_what_would_be_right(
    settings: dict[str, Any], message: str
) -> None:
    """Where the workflow is declared; a mistake in an expression with its column."""
    with pytest.raises(ConfigurationError) as raised:
        workflow(name="audit", **settings)(lambda: None)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "cron",
    ["*/5 8-17 * * mon-fri", "0 0 L * *", "0 0 LW * *", "0 0 * * 5L", "30 2 * * sun#2", "5/10 1,3-4 1 JAN 7"],
)
def test_expressions_that_cronsim_knows_are_accepted(cron: str) -> None:
    """Names, steps, lists, and the last day, working day or weekday of the month."""
    check_cron(cron)


def test_an_interval_is_a_number_with_a_unit() -> None:
    """In seconds, minutes, hours or days."""
    known = {"1s": 1, "90s": 90, "10m": 600, "2h": 7200, "364d": 364 * 86_400}
    assert {text: every_seconds(text) for text in known} == known
