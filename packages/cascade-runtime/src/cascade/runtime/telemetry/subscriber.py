"""Turns events of the bus into messages of a connector."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cascade.interfaces import (
    Connector,
    Event,
    EventBus,
    Lifecycle,
    LifecycleEvent,
    ProgressEvent,
    SupportsPublishNowait,
    SupportsSource,
    TaskStateEvent,
    supports,
)
from cascade.interfaces.topics import EVENTS, PROGRESS, telemetry_topic
from cascade.interfaces.wire import body_of, default_source, envelope
from cascade.runtime.telemetry._courier import Courier
from cascade.runtime.telemetry.redaction import one_line


class TelemetrySubscriber:
    """Publishes every event of a bus as contract version 1.0 JSON, in order, without waiting.

    ``org_id`` and ``project_id`` are read from ``CASCADE_ORG_ID`` (else ``local``) and
    ``CASCADE_PROJECT_ID`` (else ``default``) when it is made.
    """

    def __init__(self, event_bus: EventBus, connector: Connector, qos: int = 1) -> None:
        self.connector = connector
        self.produced = 0
        """Messages of the kind ``events`` made so far."""
        self._qos = qos
        self._org_id = os.environ.get("CASCADE_ORG_ID") or "local"
        self._project_id = os.environ.get("CASCADE_PROJECT_ID") or "default"
        self._source = connector.source_id if supports(connector, SupportsSource) else default_source()
        self._nowait: SupportsPublishNowait | None = (
            connector if supports(connector, SupportsPublishNowait) else None
        )
        self._courier = Courier(connector)
        self._borrowed: int | None = None  # by how many runs, if it was made for runs
        self._series: dict[tuple[str, str], _Series] = {}
        handler: Callable[[Any], object] = self.handle
        self._unsubscribe = [event_bus.subscribe(kind, handler) for kind in _KINDS]

    @classmethod
    @contextmanager
    def attached(cls, event_bus: EventBus, connector: Connector) -> Iterator[TelemetrySubscriber]:
        """Keep exactly one subscriber for this bus and connector while any run needs it.

        One that a user has attached serves too, and stays.
        """
        owners = (getattr(handler, "__self__", None) for handler in event_bus.handlers())
        found = (owner for owner in owners if isinstance(owner, cls) and owner.connector is connector)
        subscriber = next(found, None)
        if subscriber is None:
            subscriber = cls(event_bus, connector)
            subscriber._borrowed = 0
        if subscriber._borrowed is None:  # the user's own
            yield subscriber
            return
        subscriber._borrowed += 1
        try:
            yield subscriber
        finally:
            subscriber._borrowed -= 1
            if not subscriber._borrowed:
                subscriber.close()

    @property
    def dropped(self) -> int:
        """Messages given up before the connector took them."""
        return self._courier.dropped

    def handle(self, event: Event) -> None:
        """Publish one event."""
        kind = PROGRESS if isinstance(event, ProgressEvent) else EVENTS
        series = self._series.get((event.run_id, kind))
        if series is None:
            topic = telemetry_topic(self._org_id, self._project_id, event.run_id, kind)
            series = self._series[event.run_id, kind] = _Series(topic, kind)
        message = self._message(event, series)
        if self._nowait is not None:
            self._nowait.publish_nowait(series.topic, message, self._qos)
        else:
            self._courier.send(series.topic, message, self._qos)
        if isinstance(event, LifecycleEvent) and event.event is Lifecycle.ENGINE_STOPPED:
            for ended in (EVENTS, PROGRESS):
                self._series.pop((event.run_id, ended), None)

    async def drain(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the connector has taken every message."""
        await self._courier.drain(timeout)

    def close(self) -> None:
        """Stop listening; what was produced is still carried."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def _message(self, event: Event, series: _Series) -> Mapping[str, Any]:
        message = envelope(
            event,
            body_of(event, clean=one_line),
            org_id=self._org_id,
            project_id=self._project_id,
            source=self._source,
            seq=series.seq,
            kind=series.kind,
        )
        series.seq += 1
        self.produced += series.kind == EVENTS
        return message


class _Series:
    """Where the messages of one kind of one run go, and their count."""

    __slots__ = ("kind", "seq", "topic")

    def __init__(self, topic: str, kind: str) -> None:
        self.topic = topic
        self.kind = kind
        self.seq = 0


_KINDS = (TaskStateEvent, LifecycleEvent, ProgressEvent)
