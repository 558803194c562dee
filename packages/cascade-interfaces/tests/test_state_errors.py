"""What the errors of recorded runs say: the run or step, what happened, and what to do."""

import datetime as dt
import re

import pytest

from cascade.interfaces import (
    CascadeError,
    ChangeKind,
    RecordedStatus,
    RunChangedError,
    RunEndedError,
    RunInputsError,
    RunInUseError,
    StateUnavailable,
    StepChange,
    StepInDoubtError,
    StepKeepsDyingError,
    UnreadableResultError,
)

LONG_AGO = dt.datetime(2020, 11, 21, 3, 0, 20).astimezone().timestamp()
CODE = StepChange("resize:0", ChangeKind.CODE)

MESSAGES = [
    (
        StateUnavailable("runs/x.db", "it is a database of another program"),
        "state runs/x.db: it is a database of another program",
    ),
    (
        RunInUseError("night", pid=4711, host="box-3", since=LONG_AGO),
        "run 'night' is held by process 4711 on box-3 since 2020-11-21 03:00:20; end it, or give another run_id",
    ),
    (
        RunEndedError("night", RecordedStatus.CANCELLED),
        "run 'night' has ended as Cancelled; give resume='cancelled' to continue it, or another run_id",
    ),
    (
        RunInputsError("night", ("day",), "day='2026-11-20', and is given '2026-11-21'"),
        (
            "run 'night' was started with day='2026-11-20', and is given '2026-11-21'; "
            "leave params out to resume, or give another run_id"
        ),
    ),
    (
        RunChangedError("night", [CODE, StepChange("upload:3", ChangeKind.ARGUMENTS)]),
        (
            "run 'night' cannot go on as it was: 2 completed steps changed: resize:0 (code), upload:3 (arguments); "
            "fix: on_change='rerun' runs them again with all that take their values, on_change='keep' takes the recorded results"
        ),
    ),
    (
        UnreadableResultError("load:0", "module app has no class Point"),
        (
            "the recorded result of step 'load:0' cannot be read: module app has no class Point; "
            "bring back what it needs, or give on_change='rerun' to run the step again"
        ),
    ),
    (
        StepInDoubtError("night", "open_valve:0", began=LONG_AGO, state="runs"),
        (
            "step 'open_valve:0' was started at 2020-11-21 03:00:20, and its process ended before it recorded an "
            "outcome; find out whether it was done, then: cascade resolve night open_valve:0 --state runs "
            "--value JSON/--again/--fail"
        ),
    ),
    (
        StepKeepsDyingError("resize:3", 5),
        (
            "step 'resize:3' was running each of the last 5 times that the run's process died, and no step was recorded "
            "in between; look for memory that runs out or a crash in native code, then give max_starts=None to try again"
        ),
    ),
]


@pytest.mark.parametrize(("error", "message"), MESSAGES, ids=lambda value: type(value).__name__)
def test_an_error_names_its_cause_and_what_to_do(error: CascadeError, message: str) -> None:
    assert str(error) == message


def test_many_changes_are_counted_and_not_all_listed() -> None:
    """So few that the remedy stands in the first 500 characters, which the command prints."""
    error = RunChangedError("night", [StepChange(f"f:0[{n}]", ChangeKind.CODE) for n in range(1000)])
    assert len(error.changes) == 1000
    assert "1000 completed steps changed: f:0[0] (code), " in str(error)
    assert " and 995 more; fix: on_change='rerun' " in str(error)[:500]


def test_a_single_change_is_one_step() -> None:
    assert "1 completed step changed: resize:0 (code); " in str(RunChangedError("night", [CODE]))


def test_values_of_inputs_do_not_leave_the_process() -> None:
    error = RunInputsError("night", ("day", "area"), "day='secret'")
    assert "secret" not in error.public
    assert "day, area" in error.public


def test_a_time_of_today_has_no_date() -> None:
    now = dt.datetime.now().astimezone().replace(hour=12, minute=0, second=5)
    error = RunInUseError("night", pid=1, host="box", since=now.timestamp())
    assert re.search(r"since 12:00:05;", str(error))
