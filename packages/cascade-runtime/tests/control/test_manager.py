"""The manager on a connector inside the process: retained constraints come into force and are reported."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest
from admission_parts import Controller, Policy, SystemClock
from control_parts import ActiveRun, ConstraintManager, RetainedMessages, SyncState
from fakes import FakeClock, Racing
from observers import watch_tasks

from cascade.interfaces import (
    Clock,
    Complete,
    ConfigurationError,
    WatchItem,
    WatchStream,
)
from cascade.interfaces.topics import STORE_TOPIC
from cascade.runtime import Engine, EventBus, LocalConnector, LocalHub
from cascade.spec import task
from cascade.testkit import eventually
from cascade.testkit.waiting import busyness

pytestmark = pytest.mark.process  # left out of the session unit

GLOBAL = "cascade/constraints/global"
PAUSE = b'{"type":"pause"}'
MOST_CHANGES = 512
"""A loop iteration may run the manager's asyncio task and its timer; each applies one slice."""


@task
async def step(x: int) -> int:
    return x


class Watcher:
    """Keeps every report that the hub delivers."""

    def __init__(self) -> None:
        self.reports: dict[str, list[dict[str, Any]]] = {}

    async def receive(self, topic: str, report: dict[str, Any]) -> None:
        self.reports.setdefault(topic, []).append(report)

    def last(self, topic: str) -> dict[str, Any]:
        return self.reports.get(topic, [{}])[-1]


class Setting:
    """The controlled half of an engine, and an observer on the other side of the hub."""

    def __init__(
        self, hub: LocalHub, *, name: str = "press-3", clock: Clock | None = None, **options: Any
    ) -> None:
        self.hub = hub
        self.name = name
        self.connector = LocalConnector(hub, source_id=name)
        self.bus = EventBus()
        self.clock = clock or SystemClock()
        self.admission = Controller(Policy(), clock=self.clock)
        self.manager = ConstraintManager(self.connector, clock=self.clock, **options)
        self.watcher = Watcher()
        self.observer = LocalConnector(hub, source_id="observer")

    async def __aenter__(self) -> "Setting":
        self.bus.bind(asyncio.get_running_loop())
        await self.observer.connect()
        await self.observer.subscribe("cascade/state/#", self.watcher.receive)
        await self.connector.connect()
        self.manager.start()
        self.manager.add_engine(self.admission)
        return self

    def begin_run(self, run_id: str, target: str = "target") -> None:
        self.manager.begin_run(ActiveRun(run_id, target, self.clock.now()), self.admission, self.bus)

    async def __aexit__(self, *_: object) -> None:
        await self.manager.stop()
        await self.connector.disconnect()
        await self.observer.disconnect()

    def publish(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        self.hub.publish(topic, payload, retain=retain)

    @property
    def in_force(self) -> set[tuple[str, str]]:
        return set(self.manager.registers.effective())

    @property
    def gates(self) -> set[tuple[str, str]]:
        return set(self.by_key)

    @property
    def by_key(self) -> Collection[tuple[str, str]]:
        """The gates, without a copy of them."""
        return self.admission.policy.gates.by_key

    @property
    def report(self) -> dict[str, Any]:
        return self.watcher.last(f"cascade/state/{self.name}/constraints")

    @property
    def effective(self) -> dict[tuple[str, str], Any]:
        """The parameters in force, as reported, by scope and type."""
        return {(row["scope"], row["type"]): row["params"] for row in self.report.get("effective", ())}

    @property
    def runs(self) -> dict[str, Any]:
        return self.watcher.last(f"cascade/state/{self.name}/runs")

    async def most_changes_in_an_iteration(self, done: Callable[[], bool]) -> int:
        """Return how many changes one loop iteration applied at most, until ``done()``."""
        admission: Any = self.admission
        apply = admission.apply
        changes = [0]  # of each iteration

        def count(changes_: Any, *args: Any, **keywords: Any) -> Any:
            changes[-1] += len(changes_)
            return apply(changes_, *args, **keywords)

        admission.apply = count
        async with asyncio.timeout(60 * busyness()):
            while not done():
                await asyncio.sleep(0)
                changes.append(0)
        admission.apply = apply
        return max(changes)


@pytest.fixture
async def setting(hub: LocalHub, no_leaks: None) -> AsyncIterator[Setting]:
    async with Setting(hub) as made:
        yield made


async def test_row_23_a_constraint_ends_by_the_engines_own_timer(hub: LocalHub, no_leaks: None) -> None:
    """Row 23: a constraint that expires soon is lifted without any message of the broker."""
    clock = FakeClock()  # stands still until the constraint has been seen in force

    async with Setting(hub, clock=clock) as setting:

        async def shows(status: str) -> None:
            clock.ticks += 0.2  # the least time between two reports
            await eventually(
                lambda: setting.report.get("applied", {}).get(GLOBAL, {}).get("status") == status
            )

        await setting.manager.synced()
        message = {"type": "pause", "expires_at": clock.now() + 0.5}
        setting.publish(GLOBAL, json.dumps(message).encode())
        await eventually(lambda: setting.gates)
        await shows("applied")  # so no timer of a report is left that would notice the expiry
        clock.ticks += 0.5
        await eventually(lambda: not setting.gates)
        await shows("expired")


async def test_i8_only_the_last_engine_on_a_connector_reports_stopped(hub: LocalHub, no_leaks: None) -> None:
    """I8: two engines with one connector share one report; while one has a run, its constraints stand there."""
    watcher = Watcher()
    observer, connector = LocalConnector(hub, source_id="observer"), LocalConnector(hub, source_id="shared")
    await observer.connect()
    await observer.subscribe("cascade/state/+/constraints", watcher.receive)
    hub.publish(GLOBAL, PAUSE, retain=True)
    engines = [Engine(connector=connector) for _ in range(2)]
    blocked = [watch_tasks(engine) for engine in engines]
    one, other = (asyncio.create_task(engine.run(step(number))) for number, engine in enumerate(engines))
    topic = "cascade/state/shared/constraints"
    await eventually(lambda: watcher.last(topic).get("applied") and all(blocked))  # both runs have begun
    one.cancel()
    await asyncio.wait({one})
    assert {report["sync"] for report in watcher.reports[topic]} <= {"syncing", "synced"}
    assert len({report["session"] for report in watcher.reports[topic]}) == 1
    assert list(watcher.last(topic)["applied"]) == [GLOBAL]
    assert not other.done()
    hub.publish(GLOBAL, b"", retain=True)
    assert await other == 1
    await eventually(lambda: watcher.last(topic)["sync"] == "stopped")
    await observer.disconnect()


@pytest.mark.full
async def test_ten_thousand_registers_leave_the_loop_to_others(hub: LocalHub, no_leaks: None) -> None:
    """A large set is applied in small slices with other work in between, and what a later set does not have is removed so."""
    for number in range(10_000):
        hub.publish(f"cascade/constraints/task/t{number}/@pause", PAUSE, retain=True)
    async with Setting(hub, clock=Racing()) as setting:  # for which each message takes longer than the budget
        assert (
            await setting.most_changes_in_an_iteration(lambda: len(setting.by_key) == 10_000) <= MOST_CHANGES
        )
        await setting.manager.synced()
        hub._retained = RetainedMessages()  # as by clears that were sent while the engine was away
        setting.begin_run("r1")  # without a run the manager ends when its user disconnects
        await setting.connector.disconnect()
        await setting.connector.connect()
        assert await setting.most_changes_in_an_iteration(lambda: not setting.by_key) <= MOST_CHANGES


async def test_only_a_named_engine_leaves_a_retained_report(hub: LocalHub, no_leaks: None) -> None:
    """Reports are retained if the connector has a source_id, and never otherwise."""
    async with Setting(hub) as setting:
        await eventually(lambda: setting.report)
    assert hub._retained.matching(["cascade/state/#"])
    hub = LocalHub()
    connector = LocalConnector(hub)
    manager = ConstraintManager(connector, clock=SystemClock())
    await connector.connect()
    manager.start()
    await manager.synced()
    await manager.stop()
    await connector.disconnect()
    assert not hub._retained.matching(["#"])


async def test_row_19_a_lost_store_is_reported_as_stale(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 19: the known set stays in force, the report says stale, and the log has one warning."""
    setting.publish(STORE_TOPIC, b'{"store":"A"}')
    setting.publish(GLOBAL, PAUSE)
    await eventually(lambda: setting.gates)
    setting.begin_run("r1")  # without a run the manager ends when its user disconnects
    await setting.connector.disconnect()
    setting.hub._retained = RetainedMessages()
    await setting.connector.connect()
    await eventually(lambda: setting.report.get("sync") == "stale")
    assert setting.gates == {("global", "pause")}
    lost, *_ = warned = [each for each in caplog.messages if "lost its retained messages" in each]
    assert len(warned) == 1
    assert f"stay in force until a command publishes a new one there: {GLOBAL}. " in lost
    setting.publish(STORE_TOPIC, b'{"store":"B"}')
    await eventually(lambda: setting.gates == set())
    assert f"new store without these constraints, they are lifted: {GLOBAL}. " in caplog.text


async def test_row_19_a_lost_store_in_which_nothing_was_in_force_is_not_worth_a_warning(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """A service on a new broker has lost nothing, and the first constraint there lifts nothing."""
    setting.publish(STORE_TOPIC, b'{"store":"A"}')
    setting.publish(GLOBAL, PAUSE)
    await eventually(lambda: setting.gates)
    setting.publish(GLOBAL, b"")
    await eventually(lambda: not setting.gates)
    setting.begin_run("r1")
    await setting.connector.disconnect()
    setting.hub._retained = RetainedMessages()
    await setting.connector.connect()
    await eventually(lambda: setting.report.get("sync") == "stale")
    setting.publish(STORE_TOPIC, b'{"store":"B"}')
    setting.publish(GLOBAL, PAUSE)
    await eventually(lambda: setting.gates)
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_two_engines_with_one_name_are_logged_once(
    hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    """Two engines of one process with the same source cause one warning, however often they run."""
    async with Setting(hub, name="twin"):
        for _ in range(3):
            async with Setting(hub, name="twin"):
                pass
    warnings = [record for record in caplog.records if "are both called twin" in record.getMessage()]
    assert [record.levelno for record in warnings] == [logging.WARNING]


async def test_a_connector_without_watch_is_rejected() -> None:
    """Control needs the ability watch; without it the constructor raises."""

    class Plain:
        async def connect(self) -> None: ...
        async def disconnect(self) -> None: ...
        async def publish(self, *_: Any, **__: Any) -> None: ...
        async def subscribe(self, *_: Any, **__: Any) -> Any: ...

    with pytest.raises(ConfigurationError, match="watch"):
        ConstraintManager(Plain(), clock=SystemClock())


async def test_a_set_that_arrives_while_the_process_stands_still_is_not_late(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, no_leaks: None
) -> None:
    """It is read before the sync counts as degraded: the broker has answered in time."""
    monkeypatch.setattr("cascade.runtime._registers.sync.COMPLETE_LIMIT", 0.1)
    monkeypatch.setattr("cascade.runtime._control.constraint_manager._STANDSTILL", 0.0)
    watch = LocalConnector.watch

    async def with_a_standstill(stream: WatchStream) -> AsyncIterator[WatchItem]:
        async for item in stream:
            if isinstance(item, Complete):
                await asyncio.sleep(0)  # the timer of the limit is set
                time.sleep(0.3)  # noqa: ASYNC251 - as SIGSTOP does
                for _ in range(5):  # reading takes some iterations of the loop
                    await asyncio.sleep(0)
            yield item

    monkeypatch.setattr(
        LocalConnector, "watch", lambda self, *filters: with_a_standstill(watch(self, *filters))
    )
    async with Setting(hub) as setting:
        await setting.manager.synced()
        assert setting.manager.sync.state is SyncState.SYNCED
    assert "does not answer" not in caplog.text


async def test_what_a_sync_lifts_is_one_warning(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    """A constraint that was cleared while the engine was away is named by one WARNING when it is lifted."""
    setting.publish(f"{GLOBAL}/@pause", PAUSE)
    await eventually(lambda: setting.gates)
    setting.begin_run("r1")  # without a run the manager ends when its user disconnects
    await setting.connector.disconnect()
    setting.publish(f"{GLOBAL}/@pause", b"")
    await setting.connector.connect()
    await eventually(lambda: not setting.gates)
    await eventually(lambda: setting.manager.sync.state is SyncState.SYNCED)
    (line,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert f"no longer has these constraints, they are lifted: {GLOBAL}/@pause" in line


async def test_after_a_stream_that_failed_a_run_waits_for_the_next_set(setting: Setting) -> None:
    """Messages may be missing until then; known constraints stay in force."""
    manager = setting.manager
    await manager.synced(required=True)
    reader, stream = manager._stream._reader, manager._stream._stream
    assert reader is not None
    assert stream is not None
    await stream.aclose()
    await asyncio.wait({reader})
    assert manager._in_sync.is_set() is (manager.sync.state is SyncState.SYNCED)
    async with asyncio.timeout(50 * busyness()):
        await manager.synced(required=True)
    assert manager.sync.state is SyncState.SYNCED
    assert manager._stream._stream is not stream
