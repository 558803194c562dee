"""The collector: it receives, commits, and only then acknowledges."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cascade.cli.link import Link
from cascade.interfaces import Subscription
from cascade.interfaces.topics import (
    CONSTRAINTS_FILTER,
    DATA,
    EVENTS,
    LOGS,
    PROGRESS,
    ack_topic,
    parse_state_topic,
    parse_status_topic,
)
from cascade.interfaces.wire import VERSION
from cascade.ops._collecting.message import Change, EventFile, Known, Received, Recent, Series
from cascade.ops._collecting.write_errors import in_words, may_pass
from cascade.wire import Acknowledgement, EventMessage, parse_event, to_wire

GATHER = 0.1
"""Seconds for which messages gather to share a commit."""
ENOUGH = 20
"""Messages that wait no longer for others: some brokers send no more before the first of them is acknowledged."""
MOST = 100_000
"""Messages that gather while the file is slow; further ones wait in the queues of the subscriptions, which are bounded."""
KINDS = (EVENTS, DATA, LOGS)
STATUS = "cascade/status/+"
CHANGES = (CONSTRAINTS_FILTER, "cascade/state/+/ended", "cascade/state/+/runs")
"""What is kept as it changes, beside the presence of engines."""
MOST_REPORTS = 10_000
"""Engines with runs whose last report waits until they go."""
RETRY_SECONDS = 2.0
"""Seconds from one attempt to write a full file to the next."""
_TELEMETRY = "cascade/telemetry/"

_Message = tuple[str, dict[str, Any], float]
"""Topic, payload, and when it came."""
_Storing = asyncio.Future[tuple[list[Received], dict[Series, Known]]]


class Collector:
    """Keeps the events of all engines in a file.

    While the disk is full, or another program keeps the file for itself, it stores nothing, acknowledges nothing, and tries again.

    :param name: the name in acknowledgements; None: acknowledge nothing.
    :param note: called with what a person should know of the file, the end of a sentence.
    :param observe: called with each event.
    :param follow: called with the messages of each commit, in the thread that has made it.
    """

    def __init__(
        self,
        link: Link,
        file: EventFile,
        *,
        name: str | None,
        note: Callable[[str], object] = lambda line: None,
        observe: Callable[[EventMessage], object] | None = None,
        follow: Callable[[Sequence[Received]], None] | None = None,
    ) -> None:
        self.stored = 0
        """Messages that were committed, second copies too."""
        self._link = link
        self._file = file
        self._name = name
        self._note = note
        self._observe = observe
        self._follow = follow
        self._batch: list[_Message] = []
        self._enough = asyncio.Event()
        # messages that were taken out of the batch, and those of them that were committed
        self._taken = 0
        self._in_file = 0
        self._storing: _Storing | None = None
        """What is being committed."""
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._committed = asyncio.Condition()
        # no further attempt is made then
        self._ending = asyncio.Event()
        # sources that a retained acknowledgement may be left for
        self._named: set[str] = set()
        self._recent: dict[str, Recent] = defaultdict(Recent)
        self._reports: dict[str, Change] = {}
        self._changing: list[Subscription] = []
        self._reading: asyncio.Task[None] | None = None
        # whether an engine is known to be offline, by source
        self._gone: dict[str, bool] = {}

    async def subscribe(self) -> None:
        """Register for events; before the link is made, so that nothing of the broker's session is missed."""
        await self._subscribe_to_changes()
        for kind in KINDS:
            await self._link.subscribe(f"cascade/telemetry/+/+/+/{kind}", self._receive, 1)
        # the latest is enough: the next one comes soon
        await self._link.subscribe(f"cascade/telemetry/+/+/+/{PROGRESS}", self._receive, 0)

    async def _subscribe_to_changes(self) -> None:
        """Get what is retained, too; called again, once more, without a moment in which nothing is subscribed."""
        before, self._changing = self._changing, [await self._link.subscribe(STATUS, self._note_source, 1)]
        for topic_filter in CHANGES:
            self._changing.append(await self._link.subscribe(topic_filter, self._receive, 1))
        for subscription in before:
            await subscription.unsubscribe()

    def _read_again(self) -> None:
        """Get what is retained again: while the file was full, the broker's queue may have dropped what has changed.

        Nothing waits for that: the broker's answer may come only behind what has to be stored first.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._subscribe_to_changes(), name="cascade collect again")

    async def run(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Collect until this is cancelled; what has arrived by then is stored.

        :raises OSError: if the file cannot be written, and waiting does not help or this was cancelled meanwhile.
        """
        try:
            while not until():
                await self._arrived.wait()
                self._arrived.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GATHER):
                        await self._enough.wait()
                await self._store()
        finally:
            self._ending.set()
            try:
                await self._store()
            finally:
                if self._reading is not None:
                    self._reading.cancel()
                    await asyncio.gather(self._reading, return_exceptions=True)

    async def store_rest(self) -> None:
        """Store what came since ``run`` has ended, and acknowledge nothing: the link has ended, too.

        :raises OSError: if the file cannot be written.
        """
        self._name = None
        await self._store()

    async def all_stored(self) -> None:
        """Return when everything that has arrived by now is in the file."""
        async with self._committed:
            goal = self._taken + len(self._batch)
            await self._committed.wait_for(lambda: self._in_file >= goal)

    async def _note_source(self, topic: str, data: dict[str, Any]) -> None:
        await self._receive(topic, data)
        source = parse_status_topic(topic)
        if source is not None and data and source not in self._named:
            self._named.add(source)
            if source in self._recent:
                await self._acknowledge(source)

    async def _receive(self, topic: str, data: dict[str, Any]) -> None:
        while len(self._batch) >= MOST:
            self._room.clear()
            await self._room.wait()
        self._batch.append((topic, data, time.time()))
        self._arrived.set()
        if len(self._batch) >= ENOUGH:
            self._enough.set()

    async def _store(self) -> None:
        # its caller was cancelled; the file takes one batch at a time
        if self._storing is not None:
            await self._commit(self._storing)
        batch, self._batch = self._batch, []
        self._room.set()
        self._enough.clear()
        if batch:
            self._taken += len(batch)
            await self._commit(asyncio.ensure_future(self._parse_and_store(batch)))

    async def _commit(self, storing: _Storing) -> None:
        """Wait until a batch is committed, then acknowledge it; it is also committed if this is cancelled."""
        self._storing = storing
        try:
            messages, found = await asyncio.shield(storing)
        finally:
            if storing.done():
                self._storing = None
        self.stored += len(messages)
        async with self._committed:
            self._in_file = self._taken
            self._committed.notify_all()
        if self._observe is not None:
            for message in messages:
                self._observe(message.event)
        await self._acknowledge_each(found)

    async def _acknowledge_each(self, found: Mapping[Series, Known]) -> None:
        """Acknowledge what was committed: one message has no room for more series, and each must be in one."""
        by_source: dict[str, list[tuple[Series, Known]]] = defaultdict(list)
        for series, known in found.items():
            by_source[series.source].append((series, known))
        for source, all_known in by_source.items():
            for start in range(0, len(all_known), Recent.MOST):
                for series, known in all_known[start : start + Recent.MOST]:
                    self._recent[source].note(series, known)
                if source in self._named:
                    await self._acknowledge(source)

    async def _parse_and_store(self, batch: list[_Message]) -> tuple[list[Received], dict[Series, Known]]:
        messages, changes = await asyncio.to_thread(self._parse, batch)
        noted = False
        while True:
            try:
                found = await asyncio.to_thread(self._write, messages, changes)
            except (sqlite3.Error, OSError) as exc:
                if self._ending.is_set() or not may_pass(exc):
                    raise
                if not noted:
                    self._note(f"cannot be written now: {in_words(exc)}; the broker keeps what comes")
                noted = True
                await self._pause()
            else:
                if noted:
                    self._note("is written again")
                    self._read_again()
                return messages, found

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await self._ending.wait()

    def _write(self, messages: list[Received], changes: list[Change]) -> dict[Series, Known]:
        found = self._file.store(messages, changes)
        if self._follow is not None:
            self._follow(messages)
        return found

    def _parse(self, batch: list[_Message]) -> tuple[list[Received], list[Change]]:
        messages: list[Received] = []
        changes: list[Change] = []
        for topic, data, at in batch:
            if not topic.startswith(_TELEMETRY):
                changes += self._changes(topic, data, at)
            elif (event := parse_event(topic, json.dumps(data).encode())) is not None:
                messages.append(Received(topic, data, event, at))
        return messages, changes

    def _changes(self, topic: str, data: dict[str, Any], at: float) -> Iterator[Change]:
        """Yield what is to be kept of a message on a retained topic: of the reports of runs the last one of an engine that goes."""
        state, source = parse_state_topic(topic), parse_status_topic(topic)
        if state is not None and state[1] == "runs":
            self._reports.pop(state[0], None)
            if data.get("runs"):
                self._reports[state[0]] = Change(topic, data, at)
            if len(self._reports) > MOST_REPORTS:
                del self._reports[next(iter(self._reports))]
            source = state[0] if self._gone.get(state[0]) else None
        else:
            yield Change(topic, data, at)
            if source is not None:
                self._gone[source] = data.get("status") == "offline"
        if source is not None and self._gone[source] and (last := self._reports.get(source)) is not None:
            yield last

    async def _acknowledge(self, source: str) -> None:
        """Publish what is stored of a source: it was committed before."""
        if self._name is None:
            return
        recent = self._recent[source].by_name()
        missing = {name: known.spans.missing for name, known in recent.items() if known.since is not None}
        ack = Acknowledgement(
            v=VERSION,
            by=self._name,
            upto={name: known.spans.upto for name, known in recent.items()},
            missing={name: [[*hole] for hole in holes] for name, holes in missing.items()},
        )
        await self._link.publish(ack_topic(source), to_wire(ack), 1, retain=True)
