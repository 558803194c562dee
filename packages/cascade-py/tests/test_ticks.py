"""``cs.aserve`` by the clock: workflows that start when their time has come."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cascade as cs
from cascade.interfaces import Message
from cascade.interfaces.topics import constraint_topic
from cascade.runtime._storage.database import open_to_write
from cascade.testing import ManualClock
from cascade.testkit import eventually
from cascade.wire import View

THREE = datetime.fromisoformat("2027-03-01T03:00:00+01:00").timestamp()
STARTED: list[str] = []
CLOSED: list[bool] = []


@cs.task
async def note() -> None:
    STARTED.append(cs.step().run_id)
    await eventually(lambda: not CLOSED)


@cs.workflow(cron="0 3 * * *", tz="Europe/Berlin")
def audit() -> cs.LazyResult[None]:
    return note()


@pytest.fixture(autouse=True)
def fresh() -> None:
    CLOSED.clear()
    STARTED.clear()


class Desk:
    def __init__(self, clock: ManualClock) -> None:
        self.link = cs.LocalConnector(source_id="press")
        self.clock = clock
        self.view = View()

    async def listen(self) -> None:
        client = cs.LocalConnector(self.link.hub, source_id="client")
        async with client:
            async for item in client.watch("cascade/state/#"):
                if isinstance(item, Message):
                    self.view.fold(item.topic, item.payload, now=0.0)

    def row(self, name: str = "audit") -> Any:
        report = self.view.engines["press"].workflows if "press" in self.view.engines else None
        return next((each for each in report.workflows if each.name == name), None) if report else None

    async def reach(self, at: float, condition: Callable[[], Any]) -> None:
        """Move the clock to a time by the service's own wake-ups, and wait for what comes of it."""
        while self.clock.now() < at:
            await asyncio.sleep(0.001)
            self.clock.advance(min(30.0, at - self.clock.now()))
        await eventually(condition)


@asynccontextmanager
async def service(*workflows: Any, now: float, **settings: Any) -> AsyncIterator[Desk]:
    desk = Desk(ManualClock(now))
    tasks = [
        asyncio.create_task(desk.listen()),
        asyncio.create_task(cs.aserve(*workflows, connector=desk.link, clock=desk.clock, **settings)),
    ]
    await eventually(lambda: tasks[1].done() or desk.row(workflows[0].name))
    try:
        yield desk
    finally:
        for task in reversed(tasks):
            task.cancel()
            await asyncio.wait({task})
        assert tasks[1].cancelled(), tasks[1].exception()


async def test_a_tick_is_a_run_with_the_id_of_its_time_and_the_report_says_the_next() -> None:
    """In words, and with the zone's offset."""
    async with service(audit, now=THREE - 60) as desk:
        schedule = desk.row().schedule
        assert (schedule.text, schedule.tz, schedule.next) == (
            *("At 03:00 every day", "Europe/Berlin"),
            "2027-03-01T03:00:00+01:00",
        )
        await desk.reach(THREE, lambda: desk.row().last)
        assert STARTED == ["audit~2027-03-01T02:00:00Z"]
        assert desk.row().last.run_id == STARTED[0]
        assert desk.row().last_success
        assert desk.row().schedule.next == "2027-03-02T03:00:00+01:00"


async def test_the_first_tick_of_an_interval_is_one_interval_after_the_start() -> None:
    """The text and the next start are in the report."""
    often = cs.workflow(name="often", every="10m")(audit.function)
    async with service(often, now=THREE) as desk:
        assert desk.row("often").schedule.text == "Every 10m"
        await desk.reach(THREE + 599, lambda: True)
        assert STARTED == []
        await desk.reach(THREE + 1200, lambda: len(STARTED) == 2)
        assert STARTED == ["often~2027-03-01T02:10:00Z", "often~2027-03-01T02:20:00Z"]


@pytest.mark.parametrize(("missed", "days"), [("none", []), ("one", ["04"]), ("all", ["02", "03", "04"])])
async def test_what_was_missed_while_the_service_was_away_starts_as_the_rule_says(
    missed: Any, days: list[str], tmp_path: Path
) -> None:
    """From the state folder, oldest first and each once; a second restart starts none again."""
    night = cs.workflow(name="audit", cron="0 3 * * *", tz="Europe/Berlin", missed=missed)(audit.function)
    async with service(night, now=THREE - 60, state=tmp_path) as desk:
        await desk.reach(THREE, lambda: desk.row().last)
    STARTED.clear()
    expected = [f"audit~2027-03-{day}T02:00:00Z" for day in days]
    for _ in range(2):
        async with service(night, now=THREE + 3 * 86_400 + 600, state=tmp_path) as desk:
            await eventually(
                lambda: desk.row().last.run_id in (expected[-1:] or ["audit~2027-03-01T02:00:00Z"])
            )
    assert len(STARTED) == len(expected)
    assert sorted(STARTED) == expected
    assert sorted(STARTED) == STARTED


WEEK = [
    ("on", "Mon 03 06 09 12 15 18 21, Tue 00 03 06", ""),
    ("paused", "Wed 00", "Tue 21, and 4 before it, does not start: a pause was in force"),
    ("then stopped", "Wed 03 06 09 12", ""),
    ("on", "Thu 18", "Thu 15, and 8 before it, does not start: it was missed"),
    ("then cut", "Thu 21, Fri 00 03 06 09 12", ""),
    ("on", "Fri 12, Sat 12", "Sat 09, and 6 before it, does not start: it was missed"),
    ("on", "Sat 15 18 21, Sun 00 03 06 09 12 15 18 21 24", ""),
]
"""What starts in each part of a week with a tick every three hours, and what does not; the run that is cut goes on."""
DAYS = {
    name: f"2027-03-{day:02}" for day, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), 1)
}


def stamps(text: str) -> list[float]:
    """Return the times of a row of the week."""
    found = []
    for part in filter(None, text.split(", ")):
        day, *hours = part.split()
        start = datetime.fromisoformat(f"{DAYS[day]}T00:00:00Z").timestamp()
        found += [start + 3600 * int(hour) for hour in hours]
    return found


def id_at(at: float) -> str:
    return f"audit~{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


async def is_last(desk: Desk, id_: str) -> None:
    await eventually(lambda: desk.row().last and desk.row().last.run_id == id_)


async def live(desk: Desk, times: list[float]) -> None:
    """Move the clock from tick to tick; each has run."""
    for at in times:
        desk.clock.advance(max(0.0, at - desk.clock.now()))
        await is_last(desk, id_at(at))


async def live_in_a_pause(desk: Desk, times: list[float]) -> None:
    """Pause from Tuesday 09:00, when a tick is due, to Wednesday 02:00."""
    topic = constraint_topic("workflow:audit", "pause")
    await desk.link.publish(topic, {"type": "pause"}, 1, retain=True)
    desk.clock.advance(stamps("Tue 09")[0] - desk.clock.now())
    await eventually(lambda: desk.row().schedule.skipped)
    desk.clock.advance(stamps("Wed 02")[0] - desk.clock.now())
    await desk.link.publish(topic, None, 1, retain=True)

    def looks_again() -> bool:
        desk.clock.advance(1.0)
        return bool(desk.row().last.run_id == id_at(times[0]))

    await eventually(looks_again)


async def live_until_a_run_is_cut(desk: Desk, times: list[float]) -> None:
    """The last run waits in its step."""
    await live(desk, times[:-1])
    CLOSED.append(True)
    desk.clock.advance(times[-1] - desk.clock.now())
    await eventually(lambda: STARTED[-1] == id_at(times[-1]))


@pytest.mark.full
async def test_a_week_with_a_pause_a_stop_and_a_power_cut_runs_what_the_rule_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rule missed="one", with the reason for what does not start."""
    often = cs.workflow(name="audit", cron="0 */3 * * *", tz="UTC")(audit.function)
    parts = [(kind, stamps(text)) for kind, text, _ in WEEK]
    settings: dict[str, Any] = {"state": tmp_path, "drain": 0.1, "stop_timeout": 0.0}
    for first, last, begins in ((0, 3, "Mon 00"), (3, 5, "Thu 18"), (5, 7, "Sat 12")):
        async with service(often, now=stamps(begins)[0] + 1800, **settings) as desk:
            for kind, times in parts[first:last]:
                lives = {"paused": live_in_a_pause, "then cut": live_until_a_run_is_cut}.get(kind, live)
                await lives(desk, times)
        CLOSED.clear()
    assert STARTED == [id_at(at) for _, times in parts for at in times]  # noqa: SIM300
    skipped = [row.partition(", ") for _, _, row in WEEK if row]
    assert [each.message for each in caplog.records if "does not start" in each.message] == [
        f'audit: the tick of {datetime.fromtimestamp(stamps(tick)[0], UTC).isoformat()}, {why} (missed="one")'
        for tick, _, why in skipped
    ]


async def test_a_tick_that_comes_while_a_run_goes_on_is_skipped_and_reported() -> None:
    """With the reason, in the report and in the log."""
    CLOSED.append(True)
    often = cs.workflow(name="audit", cron="* * * * *", tz="Europe/Berlin")(audit.function)
    async with service(often, now=THREE - 30) as desk:
        await desk.reach(THREE, lambda: STARTED)
        await desk.reach(THREE + 60, lambda: desk.row().schedule.skipped)
        skipped = desk.row().schedule.skipped
        assert (skipped.at, skipped.code) == ("2027-03-01T03:01:00+01:00", "busy")
        CLOSED.clear()
        await eventually(lambda: desk.row().last)
        await desk.reach(THREE + 120, lambda: len(STARTED) == 2)


async def test_a_tick_that_a_full_disk_cannot_record_does_not_start_and_the_next_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 33: neither at once nor when the run before it ends; the reason is in the report and in the log."""
    files = list[sqlite3.Connection]()

    def opened(*args: Any, **settings: Any) -> sqlite3.Connection:
        files.append(open_to_write(*args, **settings))
        return files[-1]

    monkeypatch.setattr("cascade.runtime.serving._store.open_to_write", opened)
    CLOSED.append(True)
    often = cs.workflow(name="audit", cron="* * * * *", tz="Europe/Berlin", overlap="queue")(audit.function)
    async with service(often, now=THREE - 30, state=tmp_path) as desk:
        await desk.reach(THREE, lambda: STARTED)
        fill(files[0])
        await desk.reach(THREE + 60, lambda: desk.row().schedule.skipped)
        skipped = desk.row().schedule.skipped
        assert (skipped.at, skipped.code) == ("2027-03-01T03:01:00+01:00", "full")
        empty(files[0])
        CLOSED.clear()
        await eventually(lambda: desk.row().last)
        await desk.reach(THREE + 120, lambda: len(STARTED) == 2)
        assert STARTED == ["audit~2027-03-01T02:00:00Z", "audit~2027-03-01T02:02:00Z"]
    assert "requests.sqlite: database or disk is full" in caplog.text


def fill(file: sqlite3.Connection) -> None:
    """Let SQLite find no room in a file, as on a full disk."""
    file.execute("PRAGMA max_page_count = 1")
    for size in 1000, 100, 10, 0:
        with contextlib.suppress(sqlite3.OperationalError):
            for number in itertools.count():
                file.execute(
                    "INSERT INTO request VALUES ('other', ?, NULL, zeroblob(?))", (f"{size} {number}", size)
                )


def empty(file: sqlite3.Connection) -> None:
    file.execute("PRAGMA max_page_count = 1000")
    file.execute("DELETE FROM request WHERE source = 'other'")


@pytest.mark.parametrize("scope", ["source:press", "workflow:audit"])
async def test_a_pause_keeps_ticks_and_its_end_starts_the_newest(scope: str) -> None:
    """The rule ``missed="one"``; the report says what they wait for."""
    often = cs.workflow(name="audit", cron="*/10 * * * *", tz="Europe/Berlin")(audit.function)
    async with service(often, now=THREE - 30) as desk:
        topic = constraint_topic(scope, "pause")
        await desk.link.publish(topic, {"type": "pause"}, 1, retain=True)
        await desk.reach(THREE + 1500, lambda: desk.row().schedule.skipped)
        skipped = desk.row().schedule.skipped
        assert (skipped.at, skipped.code) == ("2027-03-01T03:00:00+01:00", "paused")
        assert skipped.reason == f"a pause of {scope} is in force"
        assert STARTED == []
        await desk.link.publish(topic, None, 1, retain=True)
        await desk.reach(THREE + 1540, lambda: STARTED)
    assert STARTED == ["audit~2027-03-01T02:20:00Z"]


async def test_a_clock_that_is_not_believed_holds_cron_and_is_in_the_report(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In 1970 only intervals run; then cron goes on, and that nothing sets the clock stays a warning until something does."""
    states = [5]  # TIME_ERROR of adjtimex(2)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(adjtimex=lambda _: states[0]))
    often = cs.workflow(name="often", every="10m")(audit.function)
    async with service(audit, often, now=1000.0) as desk:
        problem = "the clock is not set: it says 1970-01-01T00:16:40+00:00; cron waits"
        assert (desk.row().schedule.next, desk.row().schedule.problem) == (None, problem)
        await desk.reach(1600.0, lambda: STARTED)
        assert STARTED == ["often~1970-01-01T00:26:40Z"]
        desk.clock.jump(THREE - 1700)
        await desk.reach(THREE, lambda: len(STARTED) == 2)
        assert STARTED[1:] == ["audit~2027-03-01T02:00:00Z"]
        await eventually(lambda: "is not synchronised" in desk.row().schedule.problem)
        states[0] = 0
        await desk.reach(THREE + 60, lambda: not desk.row().schedule.problem)
    assert [each.message for each in caplog.records if "not set" in each.message] == [problem]


async def test_the_clock_needs_no_connector() -> None:
    """Without one nobody can ask, and ticks start."""
    clock = ManualClock(THREE - 1)
    often = cs.workflow(name="often", every="10s")(audit.function)
    serving = asyncio.create_task(cs.aserve(often, clock=clock))

    def started() -> bool:
        clock.advance(0.5)
        return bool(STARTED)

    await eventually(started)
    serving.cancel()
    await asyncio.wait({serving})


class CountingClock(ManualClock):
    """Counts the timers that ring."""

    rung = 0

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Any:
        def ring() -> None:
            self.rung += 1
            callback()

        return super().call_later(seconds, ring)


async def test_an_idle_service_wakes_up_once_in_30_s() -> None:
    """To see whether the clock was set; without a connector nobody hears a report, so none is made."""
    clock = CountingClock(THREE + 60)
    serving = asyncio.create_task(cs.aserve(audit, clock=clock))
    await eventually(lambda: clock._timers)
    for _ in range(3600):
        clock.advance(1.0)
        for _ in range(5):
            await asyncio.sleep(0)
    assert 100 < clock.rung < 130
    serving.cancel()
    await asyncio.wait({serving})


async def test_a_schedule_of_a_workflow_that_needs_a_parameter_is_refused() -> None:
    """A clock gives none."""

    @cs.workflow(every="10m")
    def needs(number: int) -> cs.LazyResult[None]:
        return note()

    with pytest.raises(cs.ConfigurationError, match=r"needs needs number, and a clock gives none"):
        await cs.aserve(needs, connector=cs.LocalConnector(source_id="press"))
