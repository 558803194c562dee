"""Which messages about a recorded run may still be lost, and in which order they are published."""

import json
from collections.abc import Callable, Sequence

import pytest

from cascade.interfaces import NO_EVENTS, PendingEvent, StepEvents, TaskState, TaskStateEvent
from cascade.runtime.telemetry import event_trail
from cascade.runtime.telemetry.event_trail import EventTrail
from cascade.wire import Series, body_of

TOKEN = "c41e07d2"


class Queue:
    """Keeps what is published, and what to call when it is safe."""

    def __init__(self) -> None:
        self.published: list[tuple[int, str]] = []
        self.safe: list[Callable[[], None]] = []

    def publish_text(
        self, topic: str, text: str, qos: int = 0, *, on_safe: Callable[[], None] | None = None
    ) -> None:
        message = json.loads(text)
        self.published.append((message["seq"], message["body"]["state"]))
        assert on_safe is not None
        self.safe.append(on_safe)


class Trail:
    """A trail, and what an engine and its telemetry do with it."""

    def __init__(self) -> None:
        self.queue, self.series = Queue(), Series("run", org_id="o", project_id="p", source="s", token=TOKEN)
        self.broken = False
        self.trail = EventTrail(self.queue, qos=1, series=lambda event: self.series, encode=self.encode)

    def encode(self, series: Series, event: TaskStateEvent) -> str:
        if self.broken:
            raise ValueError("a pattern of the user")
        return json.dumps(series.envelope(event.timestamp, body_of(event)))

    def report(self, task: str, state: TaskState) -> None:
        """Publish an event as telemetry does."""
        event = made(task, state)
        if not self.trail.end_of(self.series, event):
            self.trail.publish(self.series.topic, self.encode(self.series, event), in_turn=True)

    def commit(self, task: str) -> StepEvents:
        """Return what is committed with the result of a task."""
        return self.trail.prepare(made(task, TaskState.COMPLETED))

    @property
    def published(self) -> list[tuple[int, str]]:
        return self.queue.published


def made(task: str, state: TaskState) -> TaskStateEvent:
    """Make an event of a task."""
    return TaskStateEvent("run", f"{task}:0", task, state, 1e9, token=TOKEN)


def numbers(events: Sequence[PendingEvent]) -> list[int]:
    return [event.number for event in events]


def test_another_end_than_was_expected_takes_the_number() -> None:
    """A commit may fail, or the run may stop meanwhile; the next event has the next number."""
    trail = Trail()
    trail.commit("a")
    trail.report("b", TaskState.RUNNING)
    trail.report("a", TaskState.CANCELLED)
    trail.report("b", TaskState.FAILED)
    assert trail.published == [(0, "CANCELLED"), (1, "RUNNING"), (2, "FAILED")]
    recorded = trail.commit("c").pending
    assert [(each.number, json.loads(each.payload)["body"]["state"]) for each in recorded] == [
        (1, "RUNNING"),
        (0, "CANCELLED"),
        (2, "FAILED"),
        (3, "COMPLETED"),
    ]


def test_more_events_than_may_wait_overtake_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; the event of the result follows when it is committed, and the end of the run does not wait."""
    monkeypatch.setattr(event_trail, "MOST_HELD", 2)
    trail = Trail()
    trail.commit("a")
    for task in "bc":
        trail.report(task, TaskState.RUNNING)
    assert trail.published == [(1, "RUNNING"), (2, "RUNNING")]
    trail.report("a", TaskState.COMPLETED)
    trail.commit("b")
    trail.report("c", TaskState.CANCELLED)
    trail.trail.release()
    assert trail.published[2:] == [(0, "COMPLETED"), (4, "CANCELLED")]


def test_what_earlier_attempts_recorded_is_published_first_and_settled_as_all_others() -> None:
    """It keeps its number, and new messages have higher ones."""
    trail = Trail()
    text = json.dumps({"seq": 40, "body": {"state": "COMPLETED"}})
    trail.trail.publish_again([PendingEvent(number, "plant/events", text, 1) for number in (7, 9)])
    trail.report("a", TaskState.RUNNING)
    assert trail.published == [(40, "COMPLETED"), (40, "COMPLETED"), (0, "RUNNING")]
    assert (trail.trail.settled, numbers(trail.commit("a").pending)) == (7, [10, 11])
    trail.queue.safe[0]()
    assert trail.trail.settled == 9
    trail.report("a", TaskState.COMPLETED)
    trail.report("b", TaskState.RUNNING)
    trail.queue.safe[-1]()
    assert numbers(trail.commit("b").pending) == [13], "its start, 12, can no longer be lost"


def test_an_event_that_cannot_be_made_costs_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """The result is recorded without it."""
    trail = Trail()
    trail.broken = True
    assert trail.commit("a") is trail.commit("b") is NO_EVENTS
    assert [record.getMessage() for record in caplog.records] == [
        "an event is not recorded with its result; the run goes on, further failures are not logged"
    ]
    trail.broken = False
    trail.report("a", TaskState.COMPLETED)
    assert trail.published == [(0, "COMPLETED")]


def test_another_end_that_cannot_be_made_holds_no_other_event() -> None:
    """What was prepared is published with the next event, so that its number is not missing."""
    trail = Trail()
    trail.commit("a")
    trail.commit("b")
    trail.broken = True
    with pytest.raises(ValueError, match="a pattern of the user"):
        trail.report("a", TaskState.FAILED)
    trail.broken = False
    trail.report("b", TaskState.COMPLETED)
    assert trail.published == [(0, "COMPLETED"), (1, "COMPLETED")]
