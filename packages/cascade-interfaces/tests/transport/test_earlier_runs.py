"""The report of runs that a process finds on its own topic: what of it outlives the process that wrote it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from cascade.transport.presence import EarlierRuns

ENDED: dict[str, Any] = {
    "run_id": "77fe",
    "target": "report",
    "status": "Failed",
    "error": "ValueError: no such file",
    "started": "2026-11-21T02:00:20.000000+00:00",
    "ended": "2026-11-21T02:00:28.123000+00:00",
    "attempt": 1,
    "duration_ms": 8123.0,
    "counts": {"COMPLETED": 40, "FAILED": 1},
}


NOW = datetime.fromisoformat("2026-11-21T02:00:31+00:00").timestamp()


def report(presence: str, *recent: object, source: str = "press", **more: object) -> bytes:
    """Return a report of runs as an engine writes it."""
    return json.dumps(
        {
            "v": "1.0",
            "source": source,
            "presence": presence,
            "ts": "2026-11-21T02:00:30.000000+00:00",
            "runs": [],
            "recent": [*recent],
            **more,
        }
    ).encode()


@pytest.mark.parametrize(
    ("payload", "retained", "complete", "rows"),
    [
        (report("before", ENDED), True, True, [ENDED]),
        (report("before"), True, True, []),
        (report("before", ENDED), False, False, None),
        (report("mine", ENDED), True, True, None),
        (report("mine", ENDED), False, True, None),
        (report("before", ENDED, source="oven"), True, True, None),
        (b"", True, True, None),
        (b"", False, False, None),
        (b"no json", True, True, None),
        (b"no json", False, False, None),
    ],
    ids=[
        "of an earlier process",
        "of one that has ended no run",
        "published now by another process",
        "the own one, retained",
        "the own one, as it comes back",
        "of another source",
        "none",
        "deleted now",
        "no report",
        "no report, now",
    ],
)
def test_only_what_an_earlier_process_has_left_is_taken_over(
    payload: bytes, retained: bool, complete: bool, rows: list[dict[str, Any]] | None
) -> None:
    """Nothing more is to be expected after a retained message, or after the own report has come back."""
    earlier = EarlierRuns("press")
    assert earlier.receive(payload, retained=retained, session="mine", now=NOW) is complete
    assert earlier.rows == rows


@pytest.mark.parametrize(
    "wrong",
    [
        "garbage",
        {},
        {"run_id": "bad", "status": "Lost"},
        *(
            ENDED | {key: each}
            for key, each in (("ended", "never"), ("status", "Lost"), ("run_id", ""), ("started", 3))
        ),
    ],
)
def test_a_row_that_does_not_tell_how_a_run_ended_is_left_out(wrong: object) -> None:
    """Anyone may have written the report; the others are carried over as they stand, ten at most."""
    earlier = EarlierRuns("press")
    assert earlier.receive(report("before", wrong, *[ENDED] * 11), retained=True, session="mine", now=NOW)
    assert earlier.rows == [ENDED] * 10


@pytest.mark.parametrize(
    ("more", "later", "contested"),
    [
        ({"contested": True}, 0.0, True),
        ({"contested": True}, 119.0, True),
        ({"contested": True}, 121.0, False),
        ({"contested": True}, -122.0, False),
        ({"contested": True, "ts": "never"}, 0.0, False),
        ({"contested": "yes"}, 0.0, False),
        ({}, 0.0, False),
    ],
)
def test_a_name_that_was_shared_a_moment_ago_still_is(
    more: dict[str, Any], later: float, contested: bool
) -> None:
    """A third process of the name, and one that comes back to a broker that was started again, report it at once."""
    earlier = EarlierRuns("press")
    earlier.receive(report("before", **more), retained=True, session="mine", now=NOW + later)
    assert earlier.contested is contested
