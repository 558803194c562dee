"""The manager at odd moments: second calls, a disconnect, several runs; on a stream whose items the test gives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from admission_parts import Controller, Policy
from control_parts import ActiveRun, ConstraintManager
from live_stream import Live

from cascade.interfaces import (
    Complete,
    Linked,
    Lost,
    Message,
    Payload,
    ProgressEvent,
    RunStatus,
    TaskState,
    TaskStateEvent,
)
from cascade.interfaces.redaction import Redactor
from cascade.interfaces.topics import STORE_TOPIC, constraint_topic
from cascade.interfaces.wire import timestamp
from cascade.runtime import EventBus, LocalConnector, LocalHub
from cascade.testing import ManualClock
from cascade.testkit import eventually

PAUSE = constraint_topic("global", "pause")
LIMIT = constraint_topic("task:a", "concurrency")
PAYLOADS = {PAUSE: b'{"type":"pause"}', LIMIT: b'{"type":"concurrency","params":{"limit":3}}'}


class Connector(LocalConnector):
    """Gives the streams that the test feeds, and keeps the reports, by kind."""

    def __init__(self, source_id: str | None) -> None:
        super().__init__(LocalHub(), source_id=source_id)
        self.streams: list[Live] = []
        self.is_up = True
        self.sent: list[tuple[str, Mapping[str, Any]]] = []

    @property
    def connected(self) -> bool:
        return self.is_up

    def watch(self, *filters: str) -> Any:
        self.streams.append(Live(filters))
        return self.streams[-1]

    def publish_nowait(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        assert isinstance(payload, Mapping)
        self.sent.append((topic.rpartition("/")[2], payload))

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        return [payload for each, payload in self.sent if each == kind]


class Store:
    """Remembers one set, and counts what is asked of it."""

    def __init__(self) -> None:
        self.content: Mapping[str, Any] | None = None
        self.calls: list[str] = []

    async def load_control(self, source: str) -> Mapping[str, Any] | None:
        self.calls.append("load")
        return self.content

    async def save_control(self, source: str, content: Mapping[str, Any]) -> None:
        self.calls.append("save")
        self.content = content

    async def forget_control(self, source: str) -> None:
        self.calls.append("forget")
        self.content = None

    @property
    def topics(self) -> set[str] | None:
        return None if self.content is None else set(self.content["registers"])


class Bench:
    """One manager on one connector; the test is the broker."""

    def __init__(self, source_id: str | None = "line-3") -> None:
        self.connector = Connector(source_id)
        self.clock = ManualClock()
        self.manager = ConstraintManager(self.connector, clock=self.clock)
        self.manager.start()
        self.store = Store()

    async def give(self, *items: Linked | Lost | Message | Complete) -> None:
        """Have the latest stream yield these items, and wait until they are handled."""
        stream = self.connector.streams[-1]
        for item in items:
            stream.items.put_nowait(item)
        await eventually(lambda: stream.waits)

    async def hold(self, *topics: str, linked: bool = True) -> None:
        """Have the broker's whole set be these topics."""
        messages = [Message(topic, PAYLOADS[topic], retain=True) for topic in topics]
        first = [Linked()] if linked else []
        await self.give(*first, *messages, Complete(proved=True, topics=frozenset(topics)))

    def engine(self) -> tuple[Controller, EventBus]:
        bus = EventBus()
        bus.bind(asyncio.get_running_loop())
        return Controller(Policy(), clock=self.clock), bus


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.manager.stop()


async def test_a_second_run_that_forgets_begins_with_what_the_broker_has(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The old file is deleted; what the broker has is in force and is remembered again, without a warning."""
    await bench.manager.remember(bench.store, forget=False)
    await bench.hold(PAUSE)
    await eventually(lambda: bench.store.topics == {PAUSE})
    await bench.manager.remember(bench.store, forget=True)
    assert "forget" in bench.store.calls
    assert bench.manager.registers.has_in_force(PAUSE)
    await eventually(lambda: bench.store.topics == {PAUSE})
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("proved", [True, False])
async def test_a_run_waits_for_its_own_topics_only_if_the_set_is_not_proved(
    bench: Bench, proved: bool
) -> None:
    """A broker that withholds retained messages from a wildcard sends them on the run's exact topics."""
    await bench.give(Linked(), Complete(proved=proved, topics=frozenset()))
    bench.manager.expect_run("r")
    waiting = asyncio.create_task(bench.manager.synced(required=False))
    for _ in range(5):
        await asyncio.sleep(0)
    assert waiting.done() is proved
    await bench.give(Complete(proved=proved, topics=frozenset()))
    await waiting


@pytest.mark.parametrize("org", [None, "", "acme"])
async def test_a_report_of_runs_names_organisation_and_project(
    org: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dashboards choose by them; an empty variable is as good as none."""
    if org is None:
        monkeypatch.delenv("CASCADE_ORG_ID", raising=False)
    else:
        monkeypatch.setenv("CASCADE_ORG_ID", org)
    connector = Connector("line-3")
    manager = ConstraintManager(connector, clock=ManualClock(), project_id="plant")
    manager.start()
    connector.streams[0].items.put_nowait(Linked())
    await eventually(lambda: manager.sync.is_linked)
    await manager.stop()
    runs = connector.of("runs")[-1]
    assert (runs["org_id"], runs["project_id"]) == (org or "local", "plant")


async def test_reports_mask_what_any_engine_of_the_connector_masks(bench: Bench) -> None:
    """They share the reports: the reason of a rejected message, the target of a run and its error."""
    bench.manager.mask_with(Redactor(patterns=["cust-*"]))
    bench.manager.mask_with(Redactor(patterns=["acct-*"]))
    secret = "cust-4711 and acct-9 and password=S3cr3t"
    await bench.hold()
    await bench.give(Message(LIMIT, f'{{"type":"{secret}","id":"cust-12"}}'.encode(), retain=True))
    controller, bus = bench.engine()
    bench.manager.begin_run(ActiveRun("r", f"f {secret}", 0.0), controller, bus)
    bench.clock.advance(1.0)
    await eventually(lambda: any(body["runs"] for body in bench.connector.of("runs")))
    bench.manager.end_run("r", RunStatus.FAILED, f"ValueError: {secret}")
    bench.clock.advance(1.0)
    masked = "*** and *** and password=***"
    await eventually(lambda: masked in str(bench.connector.of("constraints")))
    runs = bench.connector.of("runs")
    assert {row["target"] for body in runs for row in body["runs"]} == {f"f {masked}"}
    assert [(row["target"], row["error"]) for row in runs[-1]["recent"]] == [
        (f"f {masked}", f"ValueError: {masked}")
    ]
    assert not any(word in str(bench.connector.sent) for word in ("4711", "acct-9", "S3cr3t", "cust-12"))


async def test_a_report_follows_the_attempts_and_the_progress_of_each_run(bench: Bench) -> None:
    """A retry shows as running from its beginning, without an event; that of another run changes nothing."""
    await bench.hold()
    controller, bus = bench.engine()
    runs = {name: ActiveRun(name, "f", 0.0) for name in ("one", "two")}
    for run in runs.values():
        bench.manager.begin_run(run, controller, bus)
        for state in (TaskState.RUNNING, TaskState.RETRYING):
            bus.publish(TaskStateEvent(run.run_id, "t", "work", state, bench.clock.now()))

    async def rows() -> dict[str, Any]:
        bench.connector.sent.clear()
        bench.clock.advance(1.0)
        await eventually(lambda: bench.connector.of("runs"))
        return {row["run_id"]: row for row in bench.connector.of("runs")[-1]["runs"]}

    found = await rows()
    assert [found[name]["counts"] for name in runs] == [{"RETRYING": 1}, {"RETRYING": 1}]
    bench.clock.advance(100.0)
    began = bench.clock.now()
    runs["two"].facts.attempt_begins("t")
    found = await rows()
    assert [found[name]["counts"] for name in runs] == [{"RETRYING": 1}, {"RUNNING": 1}]
    (running,) = found["two"]["running"]
    assert running["task_id"] == "t"
    assert running["since"] == timestamp(began)
    bus.publish(ProgressEvent("two", "t", "work", began, 3, 8, message="half way", unit="files"))
    (running,) = (await rows())["two"]["running"]
    assert (running["done"], running["total"], running["message"], running["unit"]) == (
        3,
        8,
        "half way",
        "files",
    )


def store(identity: str) -> Message:
    return Message(STORE_TOPIC, f'{{"store":"{identity}"}}'.encode(), retain=True)
