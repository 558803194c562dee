"""``cascade serve`` on a machine whose clock is changed: nights of two lengths, wrong clocks, and stops."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cascade.interfaces import RecordedStatus
from cascade.runtime import SqliteState
from cascade.testkit.waiting import busyness
from testing_tools.changed_clocks import ChangedClock
from testing_tools.engines import CASCADE, eventually

pytestmark = [pytest.mark.process, pytest.mark.full]

JOBS = """
import time
import cascade as cs

@cs.task
async def note() -> None:
    with open("ticks.txt", "a") as file:
        file.write(f"{cs.step().run_id} {time.time()}\\n")

def made() -> cs.LazyResult[None]:
    return note()

# the clock is read every 2 s, and each of its minutes is in the file
beat = cs.workflow(name="beat", every="2s", overlap="allow")(made)
"""
MINUTE = """
minute = cs.workflow(name="minute", cron="* * * * *", tz="UTC", missed="none", overlap="allow")(made)
"""


class Night(NamedTuple):
    """A night with another length than others."""

    zone: str
    moments: str
    """At which the machine looks, in UTC."""
    expected: dict[str, str]
    """The ticks by expression, in UTC."""


NIGHTS = {
    # 02:00 to 03:00 is left out, at 01:00 UTC
    "Berlin, spring": Night(
        "Europe/Berlin",
        "2027-03-28: 00:00 00:30 01:00 01:30 02:00",
        {"30 1 * * *": "00:30", "30 2 * * *": "01:00", "0 3 * * *": "01:00", "0 * * * *": "00:00 01:00 02:00"},
    ),
    # 02:00 to 03:00 comes twice, from 00:00 and from 01:00 UTC
    "Berlin, autumn": Night(
        "Europe/Berlin",
        "2027-10-31: 00:00 00:30 01:00 01:30 02:00",
        {"0 2 * * *": "00:00", "30 2 * * *": "00:30", "0 3 * * *": "02:00", "0 * * * *": "00:00 01:00 02:00"},
    ),
    # 02:00 to 03:00 is left out, at 07:00 UTC
    "New York, spring": Night(
        "America/New_York",
        "2027-03-14: 06:00 06:30 07:00 07:30 08:00",
        {"30 1 * * *": "06:30", "30 2 * * *": "07:00", "0 3 * * *": "07:00", "0 * * * *": "06:00 07:00 08:00"},
    ),
    # 01:00 to 02:00 comes twice, from 05:00 and from 06:00 UTC
    "New York, autumn": Night(
        "America/New_York",
        "2027-11-07: 05:00 05:30 06:00 06:30 07:00 07:30",
        {"30 1 * * *": "05:30", "30 2 * * *": "07:30", "0 2 * * *": "07:00", "0 * * * *": "05:00 06:00 07:00"},
    ),
    # 02:00 to 02:30 is left out, at 15:30 UTC of the day before
    "Lord Howe, spring": Night(
        "Australia/Lord_Howe",
        "2027-10-02: 15:00 15:15 15:30 15:45 16:00",
        {"30 1 * * *": "15:00", "15 2 * * *": "15:30", "30 2 * * *": "15:30", "0 3 * * *": "16:00"},
    ),
    # 01:30 to 02:00 comes twice, from 14:30 and from 15:00 UTC of the day before
    "Lord Howe, autumn": Night(
        "Australia/Lord_Howe",
        "2027-04-03: 14:30 14:45 15:00 15:15 15:30 15:45",
        {"30 1 * * *": "14:30", "45 1 * * *": "14:45", "0 2 * * *": "15:30", "15 2 * * *": "15:45"},
    ),
}  # fmt: skip


class Machine:
    """A folder with a service, and a clock that is set by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.clock = ChangedClock(folder)
        self.set = self.clock.set

    def start(self, jobs: str) -> None:
        """Start the service, and wait until it runs."""
        beats = self.beats()
        (self.folder / "jobs.py").write_text(JOBS + jobs)
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [*CASCADE, "serve", "jobs.py", "--state", "runs", "--drain", "5s"],
                cwd=self.folder,
                env={**os.environ, **self.clock.environment},
                stderr=log,
            )
        eventually(lambda: self.beats() > beats, "the service runs")

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the service; not in the middle of a tick, whose step would run again."""
        assert self.process is not None
        eventually(self._has_recorded_all, "what ran is recorded")
        process, self.process = self.process, None
        process.send_signal(number)
        assert process.wait(60 * busyness()) == (143 if number == signal.SIGTERM else -number)

    def beats(self) -> int:
        """How often the interval has run."""
        return sum(line.startswith("beat~") for line in self._lines())

    def ticks(self) -> list[str]:
        """The ticks that ran, without those that only drive the test; none of them before its time."""
        found = [line.split() for line in self._lines() if not line.startswith(("beat~", "minute~"))]
        for run_id, at in found:
            assert float(at) >= datetime.fromisoformat(run_id.partition("~")[2]).timestamp() - 0.001, run_id
        return sorted(run_id for run_id, _ in found)

    def look_at(self, moment: str, expected: Sequence[str]) -> None:
        """Live through a moment: what was due up to it has run, and nothing else."""
        self.set(moment, before=1.0)
        eventually(lambda: any(f"minute~{moment} " in line for line in self._lines()), f"it is {moment}")
        eventually(lambda: self.ticks() == sorted(expected), f"{moment}: {self.ticks()}, not {expected}")

    def _has_recorded_all(self) -> bool:
        state = SqliteState(self.folder / "runs")
        # each by its id: on a busy machine hundreds of other runs are newer
        found = [each for run_id in {*self.ticks()} for each in state.runs(run_id=run_id)]
        return {each.run_id for each in found if each.status is RecordedStatus.SUCCEEDED} >= {*self.ticks()}

    def log(self) -> str:
        """What the service printed."""
        return (self.folder / "log.txt").read_text()

    def _lines(self) -> list[str]:
        file = self.folder / "ticks.txt"
        return (
            [line for line in file.read_text().splitlines(True) if line.endswith("\n")]
            if file.exists()
            else []
        )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine; the test is skipped without libfaketime, and fails then in CI."""
    made = Machine(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait()
        print(made.log())


def jobs_of(night: Night) -> str:
    """The workflows of a night."""
    return "".join(
        f'{name_of(cron)} = cs.workflow(name="{name_of(cron)}", cron="{cron}", tz="{night.zone}", missed="all")(made)\n'
        for cron in night.expected
    )


def name_of(cron: str) -> str:
    return "at_" + cron.replace(" ", "_").replace("*", "x")


def times_of(night: Night) -> tuple[list[str], list[str]]:
    """The moments of a night, and the ids of its ticks."""
    day, moments = night.moments.split(": ")
    ids = [
        f"{name_of(cron)}~{day}T{at}:00Z" for cron, times in night.expected.items() for at in times.split()
    ]
    return [f"{day}T{at}:00Z" for at in moments.split()], ids


def nights(full: str) -> list[Any]:
    """All nights; those other than one are long forms."""
    return [each if each == full else pytest.param(each, marks=pytest.mark.nightly) for each in NIGHTS]


@pytest.mark.parametrize("name", nights("Lord Howe, autumn"))
def test_a_night_has_the_ticks_of_the_table(name: str, machine: Machine) -> None:
    """Moment by moment: a time that is left out comes right after the gap, and one that comes twice starts once."""
    moments, ids = times_of(NIGHTS[name])
    machine.set(moments[0], before=600.0)
    machine.start(jobs_of(NIGHTS[name]) + MINUTE)
    for moment in moments:
        machine.look_at(moment, [each for each in ids if each.partition("~")[2] <= moment])
    machine.end()
    assert machine.ticks() == sorted(ids)


@pytest.mark.parametrize("name", nights("Berlin, autumn"))
def test_a_night_without_power_has_the_ticks_of_the_table(name: str, machine: Machine) -> None:
    """Cut before the night and back after it, with ``missed="all"``."""
    moments, ids = times_of(NIGHTS[name])
    machine.set(moments[0], before=600.0)
    machine.start(jobs_of(NIGHTS[name]))
    machine.end(signal.SIGKILL)
    machine.set(moments[-1], before=-60.0)
    machine.start(jobs_of(NIGHTS[name]))
    eventually(lambda: len(machine.ticks()) >= len(ids), "all have started")
    machine.end()
    assert machine.ticks() == sorted(ids)


def hourly(missed: str) -> str:
    return f'{missed} = cs.workflow(name="{missed}", cron="0 * * * *", tz="UTC", missed="{missed}")(made)\n'


def test_a_day_forward_and_back(machine: Machine) -> None:
    """The newest of the skipped hours starts; after the step back the hours go on, and when they come again, none runs twice."""
    machine.set("2027-01-11T11:50:00Z")
    machine.start(hourly("one") + MINUTE)
    ids = ["one~2027-01-11T12:00:00Z"]
    machine.look_at("2027-01-11T12:00:00Z", ids)
    ids.append("one~2027-01-12T12:00:00Z")
    machine.look_at("2027-01-12T12:30:00Z", ids)
    ids.append("one~2027-01-11T13:00:00Z")
    machine.look_at("2027-01-11T13:00:00Z", ids)
    machine.look_at("2027-01-12T12:01:00Z", ids)
    ids.append("one~2027-01-12T13:00:00Z")
    machine.look_at("2027-01-12T13:00:00Z", ids)
    machine.end()
    assert machine.ticks() == sorted(ids)


def test_a_machine_that_wakes_up_in_1970(machine: Machine) -> None:
    """Intervals run, cron waits and says so; once the clock is set, the newest that was missed without power starts."""
    machine.set("2027-01-11T11:50:00Z")
    machine.start(hourly("one") + MINUTE)
    machine.look_at("2027-01-11T12:00:00Z", ids := ["one~2027-01-11T12:00:00Z"])
    machine.end(signal.SIGKILL)
    machine.set("1970-01-01T00:59:58Z")
    machine.start(hourly("one") + MINUTE)
    beats = machine.beats()
    eventually(lambda: machine.beats() >= beats + 2, "the interval goes on over a full hour")
    assert "the clock is not set: it says 1970-01-01T0" in machine.log()
    assert machine.ticks() == ids
    ids.append("one~2027-01-11T15:00:00Z")
    machine.look_at("2027-01-11T15:30:00Z", ids)
    ids.append("one~2027-01-11T16:00:00Z")
    machine.look_at("2027-01-11T16:00:00Z", ids)
    machine.end()
    assert machine.ticks() == ids


def test_a_stop_of_eight_hours(machine: Machine) -> None:
    """Once asleep and once without power, by each rule; before, between and after them nothing is missed."""
    rules = ("none", "one", "all")

    def at(start: str, *, rule: Sequence[str] = rules, hours: int = 1) -> list[str]:
        first = datetime.fromisoformat(start)
        times = [first + timedelta(hours=each) for each in range(hours)]
        return [f"{each}~{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for each in rule for time in times]

    jobs = "".join(map(hourly, rules)) + MINUTE
    machine.set("2027-01-11T11:50:00Z")
    machine.start(jobs)
    machine.look_at("2027-01-11T12:00:00Z", ids := at("2027-01-11T12:00:00Z"))
    assert machine.process is not None
    machine.process.send_signal(signal.SIGSTOP)
    machine.set("2027-01-11T20:30:00Z")
    machine.process.send_signal(signal.SIGCONT)
    ids += at("2027-01-11T20:00:00Z", rule=["one"]) + at("2027-01-11T13:00:00Z", rule=["all"], hours=8)
    machine.look_at("2027-01-11T20:31:00Z", ids)
    machine.end(signal.SIGKILL)
    machine.set("2027-01-12T04:30:00Z")
    machine.start(jobs)
    ids += at("2027-01-12T04:00:00Z", rule=["one"]) + at("2027-01-11T21:00:00Z", rule=["all"], hours=8)
    machine.look_at("2027-01-12T04:31:00Z", ids)
    machine.look_at("2027-01-12T05:00:00Z", ids := ids + at("2027-01-12T05:00:00Z"))
    machine.end()
    assert machine.ticks() == sorted(ids)
