"""What an engine asks of the manager of its connector: for runs that begin, that do not, and without a link."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from admission_parts import Controller, Policy
from control_parts import EngineControl, RunFacts, RunIdentity
from fakes import Plain
from live_stream import Live

from cascade.interfaces import (
    ConfigurationError,
    ConnectorStatistics,
    Linked,
    Lost,
    Message,
    Redactor,
    RunStatus,
)
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import EventBus
from cascade.testing import ManualClock
from cascade.testkit import eventually
from cascade.transport.waiting import AwakeTimeout


class Uncounted(Plain):
    """Gives streams that the test feeds, keeps the reports of runs, and says nothing of its link."""

    source_id = "line-3"

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[Live] = []
        self.linked = self.is_up = True
        self.runs: list[Any] = []

    @property
    def connected(self) -> bool:
        return self.is_up

    def watch(self, *filters: str) -> Any:
        self.streams.append(Live(filters))
        return self.streams[-1]

    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        if topic.endswith("/runs"):
            self.runs.append(payload)


class Connector(Uncounted):
    """Says of its link what the test wants."""

    def statistics(self) -> ConnectorStatistics:
        return ConnectorStatistics(linked=self.linked)


class Bench:
    """One engine's session on one connector."""

    def __init__(self, connector: Uncounted, *, required: bool = False) -> None:
        self.connector = connector
        self.clock = ManualClock()
        self.bus = EventBus()
        self.controller = Controller(Policy(), clock=self.clock)
        self.session = EngineControl(
            connector,
            self.controller,
            clock=self.clock,
            bus=self.bus,
            required=required,
            redactor=Redactor.DEFAULT,
        )
        self.begun: list[str] = []

    async def begin(self, run_id: str, seconds: float = 0.0, **more: Any) -> None:
        await self.session.begin(
            RunIdentity(run_id, "", {}), "target", RunFacts(), start_timeout=AwakeTimeout(seconds), **more
        )
        self.begun.append(run_id)

    def changes(self) -> list[tuple[str, str]]:
        """Return which runs the stream was extended by, and which it dropped."""
        return [
            (kind, filters[0].rpartition("/")[2])
            for each in self.connector.streams
            for kind, filters in each.changes
        ]

    async def give(self, *items: Any) -> None:
        stream = self.connector.streams[-1]
        for item in items:
            stream.items.put_nowait(item)
        await eventually(lambda: stream.waits)

    async def end(self) -> None:
        for run_id in self.begun:
            await self.session.end(run_id, RunStatus.SUCCEEDED, "")
        self.connector.is_up = False
        for stream in self.connector.streams:
            stream.items.put_nowait(Lost("disconnected"))
        await eventually(lambda: all(stream.is_closed for stream in self.connector.streams))


@asynccontextmanager
async def bench_on(connector: Uncounted, *, required: bool = False) -> AsyncIterator[Bench]:
    made = Bench(connector, required=required)
    try:
        yield made
    finally:
        await made.end()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with bench_on(Connector()) as made:
        yield made


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


@pytest.mark.parametrize("fails", [False, True])
async def test_what_was_prepared_for_a_run_that_did_not_begin_is_undone(bench: Bench, fails: bool) -> None:
    """Only for that run, however its beginning ended: the topics of the others stay watched."""
    for run_id in ("first", "second", "third"):
        await bench.session.prepare(RunIdentity(run_id, "", {}), forget=False)
    assert bench.changes() == [("extend", "first"), ("extend", "second"), ("extend", "third")]
    with suppress(ValueError), bench.session.prepared("second"):
        if fails:
            raise ValueError("no such file")
    bench.clock.advance(1.0)
    await eventually(lambda: len(bench.changes()) == 4)
    assert bench.changes()[-1] == ("shrink", "second")
    with bench.session.prepared("first"):
        await bench.begin("first")
    with bench.session.prepared("never prepared"):
        pass
    bench.clock.advance(1.0)
    await bench.give(
        Linked(), Message(constraint_topic("run:first", "pause"), b'{"type":"pause"}', retain=True)
    )
    assert len(bench.changes()) == 4
    assert set(bench.controller.policy.gates.by_key) == {("run:first", "pause")}


@pytest.mark.parametrize("kind", [Connector, Uncounted])
async def test_a_run_that_cannot_wait_any_longer_begins_with_a_warning(
    kind: type[Uncounted], caplog: pytest.LogCaptureFixture
) -> None:
    """With a link, or where nothing is known of it: the constraints may come later, and then apply."""
    async with bench_on(kind()) as bench:
        await bench.begin("r", seconds=0.0)
    (line,) = warnings(caplog)
    assert line == (
        "the broker's constraints are not known yet; the run starts without them and applies "
        "them when they arrive. To wait for them, set require_control=True"
    )


async def test_a_connector_that_cannot_be_watched_reports_nothing_and_cannot_be_required() -> None:
    """Nothing is imported, prepared or waited for."""

    def session(connector: Any, *, required: bool) -> EngineControl:
        clock = ManualClock()
        controller = Controller(Policy(), clock=clock)
        return EngineControl(
            connector,
            controller,
            clock=clock,
            bus=EventBus(),
            required=required,
            redactor=Redactor.DEFAULT,
        )

    for connector in (None, Plain()):
        with pytest.raises(ConfigurationError, match=r"require_control.*a connector with watch\(\)"):
            session(connector, required=True)
        made = session(connector, required=False)
        assert not made.reports_runs
        await made.prepare(RunIdentity("r", "", {}), forget=False)
        await made.begin(RunIdentity("r", "", {}), "target", RunFacts(), start_timeout=AwakeTimeout(1e9))
        await made.end("r", RunStatus.SUCCEEDED, "")
    assert session(Connector(), required=True).reports_runs
