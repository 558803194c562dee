"""Turns events of the bus into messages of a connector."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from cascade.interfaces import (
    Connector,
    DataEvent,
    Event,
    EventBus,
    Lifecycle,
    LifecycleEvent,
    LogEvent,
    ProgressEvent,
    TaskStateEvent,
)
from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor
from cascade.interfaces.topics import DATA, EVENTS, LOGS, PROGRESS
from cascade.interfaces.wire import encode_payload, source_of
from cascade.runtime._support.publish_queue import PublishQueue, SafeQueue
from cascade.runtime._support.use_counts import Shared
from cascade.runtime.telemetry.paced_queue import PacedQueue
from cascade.wire.series import Series, body_of

if TYPE_CHECKING:
    from cascade.runtime.telemetry.event_trail import EventTrail

_log = get_logger("cascade.telemetry")


MAX_IDENTIFIER = 1_000
"""Characters of an organisation's or project's id; even percent-encoded they fit into a topic of 65,535 bytes."""


class EventQueue(Protocol):
    """Where the messages of a subscriber go: a queue in memory, or one that keeps them on disk."""

    @property
    def dropped(self) -> int:
        """Messages that will not be sent."""
        ...

    def publish(self, topic: str, payload: Mapping[str, Any], qos: int = 0) -> None:
        """Publish a message, now or later."""
        ...

    async def drain(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until every message is taken."""
        ...


class DurableEventQueue(SafeQueue, EventQueue, Protocol):
    """One that keeps them on disk."""


class TelemetrySubscriber:
    """Publishes every event of a bus as contract version 1.0 JSON, in order, without waiting.

    Each attempt of a run and each kind of message has a ``seq`` of its own. The token in
    ``event_id`` is the events' own (the run makes it), or a random one where they have none.
    ``org_id`` and ``project_id`` are read from ``CASCADE_ORG_ID`` (else ``local``) and
    ``CASCADE_PROJECT_ID`` (else ``default``) when it is made.

    :param queue: takes all messages but progress, of which only the latest matters; by default a queue in memory.
    """

    _for_runs: ClassVar[Shared[TelemetrySubscriber]] = Shared()
    """Subscribers that runs have attached, by bus and connector; those that a user attached are not in it."""

    def __init__(
        self,
        event_bus: EventBus,
        connector: Connector,
        qos: int = 1,
        *,
        redactor: Redactor = Redactor.DEFAULT,
        queue: DurableEventQueue | None = None,
    ) -> None:
        self.connector = connector
        self.redactor = redactor
        """Masks secrets in every text that is sent."""
        self.produced = 0
        """Messages of the kind ``events`` made so far."""
        self._qos = qos
        self._org_id = _identifier("CASCADE_ORG_ID", "local")
        self._project_id = _identifier("CASCADE_PROJECT_ID", "default")
        self._source = source_of(connector)
        self._passing = PublishQueue(connector, content="telemetry messages", logger=_log)
        self._queue: EventQueue = queue or self._passing
        self._durable = queue
        self._trails: dict[str, EventTrail] = {}  # of the recorded runs, by id
        self._paced = PacedQueue(self._publish)
        self._series: dict[tuple[str, str, str], Series] = {}
        handler: Callable[[Any], object] = self.handle
        self._unsubscribe = [event_bus.subscribe(kind, handler) for kind in _KINDS]

    @classmethod
    @contextmanager
    def attached(
        cls,
        event_bus: EventBus,
        connector: Connector,
        redactor: Redactor = Redactor.DEFAULT,
        *,
        queue: DurableEventQueue | None = None,
    ) -> Iterator[TelemetrySubscriber]:
        """Attach one subscriber for this bus and connector while any run needs it; it masks with ``redactor``, too.

        If the user has attached one, the runs use that one, and it stays attached.
        """
        owners = (getattr(handler, "__self__", None) for handler in event_bus.handlers())
        found = (owner for owner in owners if isinstance(owner, cls) and owner.connector is connector)
        existing = next(found, None)
        if existing is not None and existing is not cls._for_runs.get(event_bus, connector):
            existing.redactor = existing.redactor.merged(redactor)
            yield existing
            return
        subscriber = cls._for_runs.join(
            event_bus, connector, make=lambda: cls(event_bus, connector, queue=queue)
        )
        subscriber.redactor = subscriber.redactor.merged(redactor)
        try:
            yield subscriber
        finally:
            if cls._for_runs.leave(event_bus, connector) is not None:
                subscriber.close()

    @property
    def dropped(self) -> int:
        """Messages dropped before the connector took them."""
        return self._queue.dropped + (0 if self._queue is self._passing else self._passing.dropped)

    def handle(self, event: Event) -> None:
        """Publish one event; on a busy event loop in one of its next iterations, in order."""
        kind = _KINDS[type(event)]
        self.produced += kind is EVENTS
        if self._durable is None:
            self._paced.add(event)
        elif (trail := self._trails.get(event.run_id)) is None or kind is PROGRESS:
            # a queue on disk keeps what a killed process had made
            self._publish(event)
        else:
            self._follow(trail, event)

    def _publish(self, event: Event) -> None:
        series, queue = self._series_of(event), self._queue
        if type(event) is ProgressEvent:
            queue = self._passing
        queue.publish(series.topic, self._message(series, event), self._qos)
        self._forget_ended(event)

    def _follow(self, trail: EventTrail, event: Event) -> None:
        """Publish an event of a recorded run in its turn."""
        series = self._series_of(event)
        if not (type(event) is TaskStateEvent and trail.end_of(series, event)):
            trail.publish(series.topic, self._text(series, event), in_turn=_KINDS[type(event)] is EVENTS)
            self._forget_ended(event)

    def _forget_ended(self, event: Event) -> None:
        """Forget the series of a run that is over."""
        if isinstance(event, LifecycleEvent) and event.event is Lifecycle.ENGINE_STOPPED:
            for ended in (EVENTS, PROGRESS, LOGS, DATA):
                self._series.pop((event.run_id, event.token, ended), None)

    def follow(self, run_id: str) -> EventTrail | None:
        """Return what keeps the events of a recorded run from being lost; None without a queue on disk."""
        if self._durable is None:
            return None
        # only recorded runs need it
        from cascade.runtime.telemetry.event_trail import EventTrail

        trail = self._trails[run_id] = EventTrail(
            self._durable,
            qos=self._qos,
            series=self._series_of,
            encode=self._text,
        )
        return trail

    def unfollow(self, run_id: str) -> None:
        """Publish what waits for its turn; the run is over."""
        if (trail := self._trails.pop(run_id, None)) is not None:
            trail.release()

    def _message(self, series: Series, event: Event) -> Mapping[str, Any]:
        """Return an event as the next message of its series."""
        return series.envelope(event.timestamp, body_of(event, self.redactor.one_line))

    def _text(self, series: Series, event: Event) -> str:
        """Return an event as the next message of its series, encoded."""
        return encode_payload(self._message(series, event))[0]

    async def drain(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the connector has taken every message."""
        until = time.monotonic() + timeout
        await self._paced.drain(timeout)
        await self._passing.drain(max(0.0, until - time.monotonic()))
        if self._queue is not self._passing:
            await self._queue.drain(timeout)

    def close(self) -> None:
        """Stop listening; what was produced is still carried."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._paced.run_all()

    def _series_of(self, event: Event) -> Series:
        kind = _KINDS[type(event)]
        key = event.run_id, event.token, kind
        if (series := self._series.get(key)) is None:
            series = self._series[key] = Series(
                event.run_id,
                org_id=self._org_id,
                project_id=self._project_id,
                source=self._source,
                token=event.token,
                attempt=event.run_attempt,
                kind=kind,
            )
        return series


_KINDS: dict[type, str] = {
    TaskStateEvent: EVENTS,
    LifecycleEvent: EVENTS,
    ProgressEvent: PROGRESS,
    LogEvent: LOGS,
    DataEvent: DATA,
}
"""Last level of the topic, by type of event."""


def _identifier(variable: str, default: str) -> str:
    """Return the value of an environment variable that becomes a level of each topic.

    :raises ConfigurationError: if it is too long for a topic.
    """
    value = os.environ.get(variable) or default
    if len(value) > MAX_IDENTIFIER:
        raise ConfigurationError(variable, f"it has {len(value)} characters; use at most {MAX_IDENTIFIER}")
    return value
