"""The manager over a connector inside the process: what is retained comes into force, and is reported."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cascade.interfaces import ConfigurationError, TaskState, TaskStateEvent
from cascade.interfaces.topics import STORE_TOPIC
from cascade.runtime import EventBus, LocalConnector, LocalHub
from cascade.runtime._clock import SystemClock
from cascade.runtime.constraints import Admission, ConstraintManager, Turnstile
from cascade.runtime.constraints.sync import SyncState
from cascade.testkit import eventually

pytestmark = pytest.mark.slow  # left out of the session unit

GLOBAL = "cascade/constraints/global"
PAUSE = b'{"type":"pause"}'


class Watcher:
    """Keeps every report that goes over the hub."""

    def __init__(self) -> None:
        self.reports: dict[str, list[dict[str, Any]]] = {}

    async def hear(self, topic: str, report: dict[str, Any]) -> None:
        self.reports.setdefault(topic, []).append(report)

    def last(self, topic: str) -> dict[str, Any]:
        return self.reports.get(topic, [{}])[-1]


class Setting:
    """An engine's half that is steered, and the other side of the hub."""

    def __init__(self, hub: LocalHub, *, name: str = "press-3", **options: Any) -> None:
        self.hub = hub
        self.name = name
        self.connector = LocalConnector(hub, source_id=name)
        self.bus = EventBus()
        self.clock = SystemClock()
        self.turnstile = Turnstile(Admission(), clock=self.clock)
        self.manager = ConstraintManager(
            self.connector, self.turnstile, clock=self.clock, bus=self.bus, **options
        )
        self.watcher = Watcher()
        self.observer = LocalConnector(hub, source_id="observer")

    async def __aenter__(self) -> "Setting":
        self.bus.bind(asyncio.get_running_loop())
        await self.observer.connect()
        await self.observer.subscribe("cascade/state/#", self.watcher.hear)
        await self.connector.connect()
        self.manager.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.manager.stop()
        await self.connector.disconnect()
        await self.observer.disconnect()

    def say(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        self.hub.publish(topic, payload, retain=retain)

    @property
    def in_force(self) -> set[tuple[str, str]]:
        return set(self.manager.registers.effective())

    @property
    def gates(self) -> set[tuple[str, str]]:
        return set(self.turnstile.admission.gates.by_key)

    @property
    def report(self) -> dict[str, Any]:
        return self.watcher.last(f"cascade/state/{self.name}/constraints")

    @property
    def runs(self) -> dict[str, Any]:
        return self.watcher.last(f"cascade/state/{self.name}/runs")

    def another(self) -> tuple[ConstraintManager, Turnstile]:
        """Return what a second engine would have that is given the same connector."""
        turnstile = Turnstile(Admission(), clock=self.clock)
        return ConstraintManager(self.connector, turnstile, clock=self.clock, bus=self.bus), turnstile

    async def turns_while_busy(self) -> int:
        """Count how often others get the loop until what has come is in force."""
        await eventually(lambda: self.manager.registers.has_changes)
        turns = 0
        while self.manager.registers.has_changes:
            turns += 1
            await asyncio.sleep(0)
        return turns


@pytest.fixture
def hub() -> LocalHub:
    return LocalHub()


@pytest.fixture
async def setting(hub: LocalHub, no_leaks: None) -> AsyncIterator[Setting]:
    async with Setting(hub) as made:
        yield made


async def test_what_is_retained_is_in_force_when_the_sync_is_done(hub: LocalHub, no_leaks: None) -> None:
    """The barrier is passed when the whole retained set is in force, and not before."""
    for number in range(900):
        hub.publish(f"cascade/constraints/task/t{number}/@pause", PAUSE, retain=True)
    async with Setting(hub) as setting:
        await asyncio.wait_for(setting.manager.synced(), 10)
        assert len(setting.gates) == 900
        assert setting.manager.sync.state is SyncState.SYNCED


async def test_i1_a_live_message_changes_what_is_in_force(setting: Setting) -> None:
    """I1 over a real stream: set, change, clear; registers and gates are what is retained."""
    await setting.manager.synced()
    setting.say(GLOBAL, PAUSE)
    await eventually(lambda: setting.gates == {("global", "pause")})
    setting.say(GLOBAL, b'{"type":"concurrency","params":{"limit":2}}')
    await eventually(lambda: setting.gates == {("global", "concurrency")})
    setting.say(GLOBAL, b"")
    await eventually(lambda: setting.gates == set())


async def test_a_message_at_qos_0_that_is_not_retained_is_obeyed(setting: Setting) -> None:
    """A writer that forgets to retain is obeyed until the next sync."""
    await setting.manager.synced()
    setting.say(GLOBAL, PAUSE, retain=False)
    await eventually(lambda: setting.gates == {("global", "pause")})


async def test_i2_what_was_cleared_while_away_is_gone(setting: Setting) -> None:
    """I2 over a real stream: a clear that was sent while the link was down holds after the next sync."""
    setting.say(GLOBAL, PAUSE)
    await eventually(lambda: setting.gates == {("global", "pause")})
    await setting.connector.disconnect()
    setting.say(GLOBAL, b"")
    setting.say(f"{GLOBAL}/@concurrency", b'{"type":"concurrency","params":{"limit":2}}')
    assert setting.gates == {("global", "pause")}  # until then the known set stays in force
    await setting.connector.connect()
    await eventually(lambda: setting.gates == {("global", "concurrency")})
    await eventually(lambda: setting.manager.sync.state is SyncState.SYNCED)


async def test_a_pause_is_reported_as_applied(setting: Setting) -> None:
    """I3, I8: once the report names the register as applied, the gate is there; and after it is cleared, gone."""
    await setting.manager.synced()
    setting.say(f"{GLOBAL}/@pause", b'{"id":"p1","type":"pause"}')
    await eventually(lambda: setting.report.get("applied"))
    assert setting.report["applied"] == {f"{GLOBAL}/@pause": {"id": "p1", "status": "applied"}}
    assert setting.report["sync"] == "synced"
    assert setting.gates == {("global", "pause")}
    setting.say(f"{GLOBAL}/@pause", b"{}")
    await eventually(lambda: setting.report["applied"] == {})
    assert setting.gates == set()


async def test_a_rejection_stands_in_the_report_and_once_in_the_log(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 25: the kept value stays in force, the report names the reason, the log says it once."""
    setting.say(GLOBAL, PAUSE)
    await eventually(lambda: setting.gates)
    for number in range(50):
        setting.say(GLOBAL, b"garbage %d" % number)
    await eventually(lambda: setting.report.get("applied", {}).get(GLOBAL, {}).get("status") == "rejected")
    assert setting.report["applied"][GLOBAL]["id"] == "pause-global"
    assert setting.report["effective"] == [{"scope": "global", "type": "pause", "params": {}}]
    assert len([record for record in caplog.records if "is not obeyed" in record.getMessage()]) == 1


async def test_row_23_a_constraint_ends_by_the_engines_own_timer(setting: Setting) -> None:
    """Row 23: what expires in a moment is lifted although the broker says nothing."""
    message = {"type": "pause", "expires_at": setting.clock.now() + 0.3}
    setting.say(GLOBAL, json.dumps(message).encode())
    await eventually(lambda: setting.gates)
    await eventually(lambda: not setting.gates)
    await eventually(lambda: setting.report["applied"][GLOBAL]["status"] == "expired")


async def test_what_is_past_on_arrival_is_never_in_force(setting: Setting) -> None:
    """Row 23: an ``expires_at`` in the past holds nothing, and the report says why."""
    setting.say(GLOBAL, b'{"type":"pause","expires_at":1}')
    await eventually(lambda: setting.report.get("applied"))
    assert setting.report["applied"][GLOBAL]["status"] == "expired"
    assert setting.report["effective"] == []


async def test_only_its_own_scopes_hold_an_engine(hub: LocalHub, no_leaks: None) -> None:
    """Of sources and projects only the engine's own are in force, and only those are reported as applied."""
    async with Setting(hub, project_id="acme") as setting:
        for scope in ("source/press-3", "source/press-4", "project/acme", "project/default"):
            setting.say(f"cascade/constraints/{scope}", PAUSE)
        await eventually(lambda: len(setting.manager.registers) == 4)
        assert setting.in_force == {("source:press-3", "pause"), ("project:acme", "pause")}
        await eventually(lambda: len(setting.report.get("applied", ())) == 2)
        assert set(setting.report["applied"]) == {
            f"cascade/constraints/{scope}" for scope in ("source/press-3", "project/acme")
        }


async def test_reports_are_coalesced(setting: Setting) -> None:
    """A thousand changes in a moment give a handful of reports, the last of which tells the end."""
    await setting.manager.synced()
    for number in range(1_000):
        setting.say(GLOBAL, b'{"type":"concurrency","params":{"limit":%d}}' % number)
    await eventually(
        lambda: (
            setting.report.get("effective")
            == [{"scope": "global", "type": "concurrency", "params": {"limit": 999}}]
        )
    )
    reports = setting.watcher.reports["cascade/state/press-3/constraints"]
    assert len(reports) <= 10


async def test_runs_are_reported_with_their_counts(setting: Setting) -> None:
    """A run appears with its target and counts, and is gone when it has ended."""
    await setting.manager.synced()
    setting.manager.begin_run("r1", "report")
    await eventually(lambda: [run["target"] for run in setting.runs.get("runs", [])] == ["report"])
    for number in range(100):
        setting.bus.publish(TaskStateEvent("r1", f"a-{number}", "a", TaskState.RUNNING, 0.0))
    await eventually(lambda: setting.runs["runs"][0]["counts"] == {"RUNNING": 100})
    setting.manager.end_run("r1")
    await eventually(lambda: setting.runs["runs"] == [])
    assert len(setting.watcher.reports["cascade/state/press-3/runs"]) <= 5


async def test_stopping_takes_everything_out_of_force_and_says_so(hub: LocalHub, no_leaks: None) -> None:
    """I8 at the end: the last report of an engine that follows no longer claims nothing."""
    async with Setting(hub) as setting:
        setting.say(GLOBAL, PAUSE)
        await eventually(lambda: setting.report.get("applied"))
        await setting.manager.stop()
        await setting.manager.stop()
        assert setting.gates == set()
        await eventually(lambda: setting.report["sync"] == "stopped")
        assert setting.report["applied"] == {}


async def test_i8_only_the_last_of_those_who_share_a_connector_says_stopped(
    hub: LocalHub, no_leaks: None
) -> None:
    """I8: two engines report on one topic; as long as one goes on, what it obeys stands there."""
    async with Setting(hub, name="shared") as setting:
        setting.say(GLOBAL, PAUSE)
        other, turnstile = setting.another()
        other.start()
        heard = setting.watcher.reports.setdefault("cascade/state/shared/constraints", [])
        await eventually(lambda: len({report["session"] for report in heard if report["applied"]}) == 2)
        assert turnstile.admission.constrained
        seen = len(heard)
        await other.stop()
        await eventually(lambda: len(heard) > seen)
        assert {report["sync"] for report in heard} <= {"syncing", "synced"}
        assert list(setting.report["applied"]) == [GLOBAL]
        await setting.manager.stop()
        await eventually(lambda: setting.report["sync"] == "stopped")


async def test_ten_thousand_registers_leave_the_loop_to_others(hub: LocalHub, no_leaks: None) -> None:
    """A great set is taken in and put in force a slice a turn, when it first comes and when it comes again."""
    for number in range(10_000):
        hub.publish(f"cascade/constraints/task/t{number}/@pause", PAUSE, retain=True)
    async with Setting(hub) as setting:
        assert await setting.turns_while_busy() > 30
        await setting.manager.synced()
        assert len(setting.gates) == 10_000
        setting.manager.sync.reopen_at = 0.0
        setting.manager._set_alarm()
        assert await setting.turns_while_busy() > 5
        assert len(setting.gates) == 10_000
        await setting.manager.stop()
        assert setting.gates == set()


async def test_a_named_engine_leaves_its_report_an_unnamed_one_nothing(hub: LocalHub, no_leaks: None) -> None:
    """Reports are retained when the instance is named, and never otherwise."""
    async with Setting(hub) as setting:
        await eventually(lambda: setting.report)
    assert [topic for topic in hub._retained if topic.startswith("cascade/state/")] != []
    hub = LocalHub()
    connector = LocalConnector(hub)
    turnstile = Turnstile(Admission(), clock=SystemClock())
    manager = ConstraintManager(connector, turnstile, clock=SystemClock(), bus=EventBus())
    await connector.connect()
    manager.start()
    await manager.synced()
    await manager.stop()
    await connector.disconnect()
    assert hub._retained == {}


async def test_row_19_a_lost_store_is_reported_as_stale(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 19: the known set stays in force, the report says stale, and so does one line of the log."""
    setting.say(STORE_TOPIC, b'{"store":"A"}')
    setting.say(GLOBAL, PAUSE)
    await eventually(lambda: setting.gates)
    await setting.connector.disconnect()
    setting.hub._retained.clear()
    await setting.connector.connect()
    await eventually(lambda: setting.report.get("sync") == "stale")
    assert setting.gates == {("global", "pause")}
    assert len([r for r in caplog.records if "lost its store" in r.getMessage()]) == 1
    setting.say(STORE_TOPIC, b'{"store":"B"}')
    await eventually(lambda: setting.gates == set())
    assert "its constraints replace all known before" in caplog.text


async def test_two_engines_of_one_name_are_warned_of_once(
    hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever runs two engines in one process names them; otherwise one warning says so, however often they run."""
    async with Setting(hub, name="twin"):
        for _ in range(3):
            async with Setting(hub, name="twin"):
                pass
    warnings = [record for record in caplog.records if "are both called twin" in record.getMessage()]
    assert [record.levelno for record in warnings] == [logging.WARNING]


async def test_a_connector_without_watch_is_refused_in_words() -> None:
    """Control needs the ability watch; what has it not is told so when it is given."""

    class Plain:
        async def connect(self) -> None: ...
        async def disconnect(self) -> None: ...
        async def publish(self, *_: Any, **__: Any) -> None: ...
        async def subscribe(self, *_: Any, **__: Any) -> Any: ...

    assert not ConstraintManager.can_follow(Plain())
    with pytest.raises(ConfigurationError, match="watch"):
        ConstraintManager(
            Plain(), Turnstile(Admission(), clock=SystemClock()), clock=SystemClock(), bus=EventBus()
        )


async def test_i7_fuzzed_messages_leave_the_loop_alive_and_the_end_right(setting: Setting) -> None:
    """I7 over a stream: 2,000 random payloads on random topics, then a pause, and the pause is in force."""
    import random

    dice = random.Random(4)
    kinds = [b'{"type":"pause"}', b'{"type":"x"}', b"[]", b'{"type":"concurrency","params":{"limit":1e999}}']
    for _ in range(2_000):
        payload = dice.choice([dice.randbytes(dice.randrange(40)), *kinds])
        topic = dice.choice([GLOBAL, f"{GLOBAL}/@pause", STORE_TOPIC, "cascade/constraints/a/b/c/d"])
        setting.say(topic, payload, retain=dice.random() < 0.5)
    setting.say(f"{GLOBAL}/@pause", PAUSE)
    setting.say(GLOBAL, b"")
    setting.say("cascade/constraints/task/last", PAUSE)
    await eventually(lambda: ("task:last", "pause") in setting.gates)
    assert setting.gates == {("global", "pause"), ("task:last", "pause")}
