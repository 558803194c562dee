"""What the author of a store and the reader of a list get from the values of recorded runs and caches."""

import dataclasses
from enum import Enum
from typing import Any

import pytest

from cascade.interfaces import (
    NO_EVENTS,
    ChangeKind,
    Earlier,
    Hit,
    PendingEvent,
    Plan,
    RecordedStatus,
    Resume,
    RunInfo,
    RunSummary,
    StepChange,
    StepEvents,
    StepInfo,
    StepRecord,
    StepState,
    StepSummary,
)

WITHOUT: list[tuple[Any, dict[str, Any]]] = [
    (
        RunInfo("night", "report"),
        {"params": None, "secrets": {}, "shape": b"", "source": "", "by": ""},
    ),
    (StepEvents(), {"seq": None, "token": "", "pending": ()}),
    (NO_EVENTS, {"seq": None, "token": "", "pending": ()}),
    (Earlier(RecordedStatus.FAILED, {}, b"", 3), {"error": "", "pending": ()}),
    (
        StepRecord("f:0", StepState.STARTED),
        {
            "name": "",
            "inputs": b"",
            "code": b"",
            "attempt": 1,
            "starts": 0,
            "tries": 0,
            "began": 0.0,
            "ended": 0.0,
            "not_before": 0.0,
            "error": "",
            "deaths": 0,
        },
    ),
    (Plan([]), {"decider": False}),
    (
        RunSummary("night", "report", RecordedStatus.RUNNING, 1, 1.5, None),
        {"error": "", "by": "", "counts": {}},
    ),
    (StepInfo("night", "f:0", "f"), {"attempt": 1, "start": 1}),
]


@pytest.mark.parametrize(("value", "rest"), WITHOUT, ids=lambda value: type(value).__name__)
def test_what_is_left_out_of_a_value_is_empty(value: Any, rest: dict[str, Any]) -> None:
    """A number that nothing counted is 0, or 1 for the first attempt; a text is empty, and the types are the same."""
    found = {name: getattr(value, name) for name in rest}
    assert [(name, type(each), each) for name, each in found.items()] == [
        (name, type(each), each) for name, each in rest.items()
    ]


def test_one_run_does_not_get_the_secrets_or_counts_of_another() -> None:
    """Each has a mapping of its own."""
    assert RunInfo("a", "f").secrets is not RunInfo("b", "f").secrets
    one, other = (RunSummary(name, "f", RecordedStatus.RUNNING, 1, 1.5, None) for name in "ab")
    assert one.counts is not other.counts


def test_the_text_of_a_run_shows_no_secret() -> None:
    """It may stand in a log; the other fields are in it."""
    text = repr(RunInfo("night", "report", {"day": 3}, {"TOKEN": "hush"}, source="box"))
    assert "hush" not in text
    assert "TOKEN" not in text
    assert "run_id='night', target='report', params={'day': 3}" in text
    assert "source='box'" in text


FROZEN = [
    *(value for value, _ in WITHOUT if dataclasses.is_dataclass(value)),
    StepSummary("f:0", "f", StepState.FAILED, 1, 2, 3.5, None, "no steam", 0),
    StepChange("f:0", ChangeKind.CODE),
    Hit(None, 1.5),
]


@pytest.mark.parametrize("value", FROZEN, ids=lambda value: type(value).__name__)
def test_a_value_cannot_be_changed_and_takes_no_further_attribute(value: Any) -> None:
    """Several parts of an engine share it; very many of them are small."""
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, "other")
    assert not hasattr(value, "__dict__")
    assert dataclasses.replace(value) == value


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


def test_an_event_is_told_by_its_place() -> None:
    """A store writes it as a row: number, topic, payload, quality of service."""
    assert PendingEvent(1, "topic", "{}", 2)._asdict() == {
        "number": 1,
        "topic": "topic",
        "payload": "{}",
        "qos": 2,
    }
