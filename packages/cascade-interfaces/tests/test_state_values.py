"""What the author of a store and the reader of a list get from the values of recorded runs and caches."""

from enum import Enum

import pytest

from cascade.interfaces import (
    ChangeKind,
    RecordedStatus,
    Resume,
    RunInfo,
    StepInfo,
    StepState,
)


def test_the_text_of_a_run_shows_no_secret() -> None:
    """It may stand in a log; the other fields are in it."""
    text = repr(RunInfo("night", "report", {"day": 3}, {"TOKEN": "hush"}, source="box"))
    assert "hush" not in text
    assert "TOKEN" not in text
    assert "run_id='night', target='report', params={'day': 3}" in text
    assert "source='box'" in text


MEMBERS: dict[type[Enum], dict[str, object]] = {
    Resume: {"AUTO": "auto", "CANCELLED": "cancelled"},
    RecordedStatus: {
        "RUNNING": "Running",
        "INTERRUPTED": "Interrupted",
        "SUCCEEDED": "Succeeded",
        "FAILED": "Failed",
        "CANCELLED": "Cancelled",
    },
    StepState: {
        "STARTED": 1,
        "RETRYING": 2,
        "COMPLETED": 3,
        "EXPANDED": 4,
        "FAILED": 5,
        "IN_DOUBT": 6,
    },
    ChangeKind: {
        "CODE": "code",
        "ARGUMENTS": "arguments",
        "GONE": "gone",
        "UNREADABLE": "unreadable result",
        "PLAN": "other plan",
    },
}


@pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)
def test_files_arguments_and_messages_have_the_same_names_in_every_release(kind: type[Enum]) -> None:
    """The numbers of states are in files of earlier releases; people write and read the texts."""
    assert {each.name: each.value for each in kind} == MEMBERS[kind]


def test_the_key_of_a_step_for_other_services_is_the_same_in_every_attempt_and_release() -> None:
    """Run and path count, each apart; a service that has seen the key drops the request."""
    first = StepInfo("night", "f:0[17]", "f")  # printf 'night\0f:0[17]' | b2sum -l 128
    assert first.idempotency_key == "50d8c1ba73d0612bfdb9576346bc1b7e"
    assert first._replace(attempt=2, start=3, name="g").idempotency_key == first.idempotency_key
    others = [
        StepInfo("night", "f:0[18]", "f"),
        StepInfo("nigh", "tf:0[17]", "f"),
        StepInfo("\udc80", "f", "f"),
    ]
    assert len({each.idempotency_key for each in (first, *others)}) == 4
