"""The reports of runs that a process finds on its own topics: what of them outlives the process that wrote them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cascade.interfaces.topics import state_topic
from cascade.transport.earlier_runs import EarlierRuns

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


RUNNING: dict[str, Any] = {
    "run_id": "9a81",
    "token": "c41e07d2",
    "target": "report",
    "started": "2026-11-21T02:00:20.000000+00:00",
    "counts": {"COMPLETED": 40, "FAILED": 4, "RUNNING": 3},
    "known": 60,
    "tasks": {"a": {"known": 60, "counts": {}}},
    "running": [{"task_id": "a:0[3]", "task_name": "a", "since": "2026-11-21T02:00:29+00:00", "done": 4}],
    "running_more": 2,
    "waiting": [],
}
ENDS = state_topic("press", "ended")


def receive(earlier: EarlierRuns, payload: bytes, *, topic: str = "", retained: bool = True) -> bool:
    topic = topic or state_topic("press", "runs")
    return earlier.receive(topic, payload, retained=retained, session="mine")


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
    assert receive(earlier, payload, retained=retained) is complete
    assert (earlier.rows, earlier.ends) == (rows, [])


@pytest.mark.parametrize(
    "wrong",
    [
        "garbage",
        {},
        {"run_id": "bad", "status": "Running"},
        *(
            ENDED | {key: each}
            for key, each in (("ended", "never"), ("status", "Running"), ("run_id", ""), ("started", 3))
        ),
    ],
)
def test_a_row_that_does_not_tell_how_a_run_ended_is_left_out(wrong: object) -> None:
    """Anyone may have written the report; the others are carried over as they stand, ten at most."""
    earlier = EarlierRuns("press")
    assert receive(earlier, report("before", wrong, *[ENDED] * 11))
    assert earlier.rows == [ENDED] * 9
    assert receive(earlier, report("before", runs=[wrong, ENDED]), topic=ENDS)
    assert earlier.ends == [ENDED]


@pytest.mark.parametrize("shared", [True, "yes", None])
@pytest.mark.parametrize("written", ["2026-11-21T02:00:30+00:00", "1970-01-01T00:00:08+00:00"])
def test_a_name_that_was_shared_still_is(shared: object, written: str) -> None:
    """A third process of the name, and one that comes back to a broker that was started again, report it at once."""
    earlier = EarlierRuns("press")
    receive(earlier, report("before", runs=[RUNNING], contested=shared, ts=written))
    assert earlier.contested_in == ("before" if shared is True else "")
    # the run of a process that may live is not lost
    assert len(earlier.ends) == (shared is not True)


def test_runs_that_a_dead_process_listed_as_active_are_lost() -> None:
    """They ended when it last reported; what ran then was interrupted, and of what failed before only the number is known."""
    earlier = EarlierRuns("press")
    receive(earlier, report("before", runs=[{**ENDED, "run_id": "a"}]), topic=ENDS)
    assert receive(earlier, report("before", *[ENDED] * 10, runs=[RUNNING]))
    row = {key: RUNNING[key] for key in ("run_id", "token", "target", "started", "counts", "known")}
    row |= {"status": "Lost", "ended": "2026-11-21T02:00:30.000000+00:00", "duration_ms": None}
    row["error"] = "its process died while 3 tasks ran"
    assert earlier.rows == [row, *[ENDED] * 9]
    lost = row | {"tasks": RUNNING["tasks"], "failures": [], "failures_more": 4, "interrupted_more": 2}
    interrupted = [{"task_id": "a:0[3]", "task_name": "a", "since": "2026-11-21T02:00:29+00:00"}]
    assert earlier.ends == [{**ENDED, "run_id": "a"}, lost | {"interrupted": interrupted}]


@pytest.mark.parametrize("wrong", ["garbage", {}, RUNNING | {"started": ""}, RUNNING | {"run_id": 3}])
def test_an_active_row_that_anyone_may_have_written_is_lost_only_if_it_names_a_run(wrong: object) -> None:
    """Strange rows, counts and lists are no error."""
    earlier = EarlierRuns("press")
    odd = {**RUNNING, "running": "many", "running_more": "x", "counts": []}
    receive(earlier, report("before", runs=[wrong, odd]))
    (row,) = earlier.ends
    assert (row["error"], row["interrupted"]) == ("its process died while no task ran", [])
