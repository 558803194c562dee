"""The messages about one recorded run that may still be lost with the process: its journal keeps them until then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cascade.interfaces import NO_EVENTS, PendingEvent, StepEvents, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES
from cascade.interfaces.logs import get_logger
from cascade.runtime._support.publish_queue import SafeQueue
from cascade.wire.series import Series

_log = get_logger("cascade.telemetry")


MOST_HELD = 10_000
"""Events that wait behind a commit; when more come, all that can be are published."""


@dataclass(slots=True, eq=False)
class UnsentEvent:
    """An event that waits for its turn."""

    event: PendingEvent
    ready: bool = True
    """Whether it may be published; not before the commit of the result that it reports."""
    seq: int = 0
    state: TaskState | None = None
    overtaken: bool = False
    """Whether the events behind it were published before it."""


class EventTrail:
    """Publishes the messages of one attempt of a recorded run, and knows which of them may still be lost.

    What may be lost when a result is committed is committed with it. So the event of the step's end is made, and has its
    ``seq``, before the commit; it is published after it. Events that are made meanwhile wait: if the process is killed
    before the commit, no event with a higher ``seq`` has left it.

    :param series: returns the series of an event.
    :param encode: returns an event as the next message of its series.
    """

    def __init__(
        self,
        queue: SafeQueue,
        *,
        qos: int,
        series: Callable[[TaskStateEvent], Series],
        encode: Callable[[Series, TaskStateEvent], str],
    ) -> None:
        self._queue = queue
        self._qos = qos
        self._series = series
        self._encode = encode
        self._next = self._oldest = 0
        self._unsafe: set[int] = set()
        # those of them that the journal does not have
        self._unrecorded: dict[int, PendingEvent] = {}
        # in the order of their ``seq``
        self._unsent: deque[UnsentEvent] = deque()
        # those that are not ready, by the id of the task
        self._prepared: dict[str, UnsentEvent] = {}
        self._failed = False

    @property
    def settled(self) -> int:
        """The number below which every message is safe."""
        while self._oldest < self._next and self._oldest not in self._unsafe:
            self._oldest += 1
        return self._oldest

    def publish_again(self, events: Sequence[PendingEvent]) -> None:
        """Publish what earlier attempts recorded and may have lost; call it before anything else is published."""
        if events:
            self._oldest, self._next = events[0].number, events[-1].number + 1
        for event in events:
            self._publish(event)

    def publish(self, topic: str, text: str, *, in_turn: bool) -> None:
        """Publish a message; ``in_turn``: not before those events that wait for a commit."""
        event = self._new(topic, text)
        if in_turn and self._unsent:
            self._unsent.append(UnsentEvent(event))
            if len(self._unsent) > MOST_HELD:
                self.release()
        else:
            self._publish(event)

    def release(self) -> None:
        """Publish the events that wait behind a commit, and not those that report its result."""
        unsent, self._unsent = self._unsent, deque()
        for each in unsent:
            each.overtaken = not each.ready
            if each.ready:
                self._publish(each.event)

    def prepare(self, event: TaskStateEvent | None) -> StepEvents:
        """Make the message that reports a step's end, unless there is none; return what to commit with the result.

        Never raises: an observer must not fail a run.
        """
        try:
            return self._commits(event)
        except Exception:
            if not self._failed:
                self._failed = True
                _log.exception(
                    "an event is not recorded with its result; the run goes on, further failures are not logged"
                )
            return NO_EVENTS

    def end_of(self, series: Series, event: TaskStateEvent) -> bool:
        """Publish the event of a step's end if it was prepared; return whether it was.

        An event that reports another end than was expected, such as a failed commit, takes its ``seq``.
        """
        prepared = self._prepared.pop(event.task_id, None) if event.state in ENDED_STATES else None
        if prepared is None:
            return False
        # first: an event that cannot be encoded must not hold the others
        prepared.ready = True
        if event.state is not prepared.state:
            changed = prepared.event._replace(payload=self._again(series, event, prepared.seq))
            prepared.event = self._unrecorded[changed.number] = changed
        if prepared.overtaken:
            self._publish(prepared.event)
        while self._unsent and self._unsent[0].ready:
            self._publish(self._unsent.popleft().event)
        return True

    def _again(self, series: Series, event: TaskStateEvent, seq: int) -> str:
        """Return an event as the message with a number that was given out before."""
        following, series.seq = series.seq, seq
        try:
            return self._encode(series, event)
        finally:
            series.seq = following

    def _commits(self, event: TaskStateEvent | None) -> StepEvents:
        seq = None
        if event is not None:
            series = self._series(event)
            seq = series.seq
            pending = self._new(series.topic, self._encode(series, event))
            prepared = self._prepared[event.task_id] = UnsentEvent(pending, False, seq, event.state)
            self._unsent.append(prepared)
        taken = [*self._unrecorded.values()]
        self._unrecorded.clear()
        return StepEvents(seq, event.token if event is not None else "", taken)

    def _new(self, topic: str, text: str) -> PendingEvent:
        number = self._next
        self._next = number + 1
        self._unsafe.add(number)
        event = self._unrecorded[number] = PendingEvent(number, topic, text, self._qos)
        return event

    def _publish(self, event: PendingEvent) -> None:
        self._unsafe.add(event.number)
        self._queue.publish_text(
            event.topic, event.payload, event.qos, on_safe=partial(self._is_safe, event.number)
        )

    def _is_safe(self, number: int) -> None:
        self._unsafe.discard(number)
        self._unrecorded.pop(number, None)
