"""The timetable of a service through weeks with pauses, sleep and power cuts, beside a model that goes by minutes."""

from __future__ import annotations

from typing import Any, Literal

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from cascade.runtime._support.clock import EARLIEST
from cascade.runtime.serving import CronSchedule
from cascade.runtime.serving._timetable import MAX_WAKE_UP, Entry, Timetable

State = Literal["on", "paused", "asleep", "off"]
START = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 30.0
"""Half a minute after midnight: states change when no tick is due."""
EVERY = 20
WEEK: list[tuple[State, int]] = [
    ("on", 600),
    ("paused", 1440),
    ("on", 30),
    ("off", 2880),
    ("paused", 300),
    ("on", 1000),
    ("asleep", 480),
    ("on", 1440),
    ("off", 5),
    ("on", 1905),
]


class Machine:
    """Drives a timetable by its own wake-ups, with the clocks of a machine."""

    def __init__(self, kind: str, missed: Any) -> None:
        self.kind, self.missed = kind, missed
        self.now, self.offset, self.wake_ups = START, 0.0, 0
        self.mark: float | None = None
        self.starts: list[float] = []
        self.dropped: list[tuple[float, str]] = []
        self.table: Timetable | None = None

    def begin(self) -> None:
        cron = CronSchedule(f"*/{EVERY} * * * *", "UTC") if self.kind == "cron" else None
        self.table = Timetable([Entry("audit", cron, EVERY * 60.0, self.missed)])
        self.offset = self.now - 5.0
        marks: dict[str, float] = {"audit": self.mark} if self.mark is not None else {}
        self.table.begin(self.now, 5.0, marks)

    def spend(self, state: State, seconds: float) -> None:
        end = self.now + seconds
        if state == "off":
            if self.table is not None:
                self.mark, self.table = self.table.entries["audit"].mark, None
        elif state != "asleep":
            if self.table is None:
                self.begin()
            self.run(end, "global" if state == "paused" else "")
        self.now = end

    def run(self, end: float, scope: str) -> None:
        assert self.table is not None
        while self.now < end:
            for due in self.table.due(self.now, self.now - self.offset, lambda _: scope):
                self.starts += due.starts
                self.dropped += [(at, due.reason) for at in due.dropped]
            pause = self.table.wake_up(self.now, self.now - self.offset)
            assert 0 < pause <= MAX_WAKE_UP
            self.wake_ups += 1
            self.now = min(end, self.now + pause)


def model(
    kind: str, missed: str, states: list[tuple[State, int]]
) -> tuple[list[float], list[tuple[float, str]]]:
    """Return the ticks that start, and those that do not and why, minute by minute."""
    starts: list[float] = []
    dropped: list[tuple[float, str]] = []
    backlog: list[float] = []
    now, before, began = START, "off", START
    held = False

    def release(on_time: int, why: str = "") -> None:
        why = why or f'{"a pause was in force" if held else "it was missed"} (missed="{missed}")'
        most = {"none": on_time, "one": 1, "all": 100}[missed]
        count = min(most, len(backlog))
        ticks = backlog[-100:]
        starts.extend(ticks[len(ticks) - count :])
        dropped.extend((each, why) for each in ticks[: len(ticks) - count])
        backlog.clear()

    for state, length in states:
        if "off" in (state, before) and kind == "every":
            # an interval counts from the start of the process
            backlog.clear()
        held = held and state != "off"
        if before == "off" and state in ("on", "paused"):
            began = now
        for minute in range(length):
            at = now + minute * 60 + (30 if kind == "cron" else 0)
            since = at if kind == "cron" else at - began
            gone = kind == "every" and state == "off"
            if state == "on" and backlog and kind == "cron":
                # a tick that was slept through is on time for a minute
                release(int(before == "asleep" and now - backlog[-1] <= 60))
            waited = bool(backlog)
            if since % (EVERY * 60) == 0 and since > 0 and not gone:
                backlog.append(at)
            if state == "on" and backlog:
                release(int(not waited))
            elif state == "paused" and missed == "none":
                release(0, "a pause of global was in force")
            held = bool(backlog) and (held or state == "paused")
        now += length * 60
        before = state if state != "asleep" or before != "off" else "off"
    return starts, dropped


STATES: st.SearchStrategy[list[tuple[State, int]]] = st.lists(
    st.tuples(st.sampled_from(["on", "paused", "off"]), st.integers(1, 400)), min_size=1, max_size=12
)


@pytest.mark.parametrize("missed", ["none", "one", "all"])
@pytest.mark.parametrize("kind", ["cron", "every"])
@given(states=STATES)
@example(states=WEEK)
@example(states=[("on", 5), ("off", 20_000), ("on", 60)])
def test_what_starts_and_what_does_not_is_what_the_rule_says(
    kind: str, missed: str, states: list[tuple[State, int]]
) -> None:
    """Paused, asleep, and cut from power; no tick starts twice, and the machine is left alone when nothing is due."""
    if kind == "every":
        # both clocks of the model move in whole minutes
        states = [each for each in states if each[0] != "asleep"]
    states = [("on", 1), *states, ("on", 1)]
    machine = Machine(kind, missed)
    for state, length in states:
        machine.spend(state, length * 60)
    starts, dropped = model(kind, missed, states)
    assert machine.starts == starts
    assert machine.dropped == dropped
    assert len(set(machine.starts)) == len(machine.starts)
    minutes_on = sum(length for state, length in states if state == "on")
    if all(state in ("on", "off") for state, _ in states):
        assert machine.wake_ups <= minutes_on * 2 + len(starts) + len(states)


def hourly(now: float, mark: float | None = None) -> tuple[Timetable, list[float]]:
    table = Timetable([Entry("audit", CronSchedule("0 * * * *", "UTC"))])
    table.begin(now, 0.0, {} if mark is None else {"audit": mark})
    return table, []


def ask(table: Timetable, now: float) -> list[float]:
    return [at for due in table.due(now, 0.0, lambda _: "") for at in due.starts]


def test_a_clock_that_is_not_set_starts_nothing_until_it_is() -> None:
    """In 1970 cron waits, and then goes on from what the earlier process had decided."""
    seven = START - 30 + 7 * 3600
    table, _ = hourly(1000.0, mark=seven)
    assert ask(table, 1000.0 + 86_400) == []
    assert table.next("audit", 1000.0, 0.0) is None
    assert ask(table, EARLIEST - 1) == []
    assert ask(table, seven + 7200 + 5) == [seven + 7200], "one of the two"


def test_a_day_forward_and_back() -> None:
    """The newest of the skipped hours starts; after the step back the hours go on, and none of them waits for tomorrow."""
    noon = START - 30 + 12 * 3600
    table, _ = hourly(noon + 60)
    assert ask(table, noon + 60 + 86_400) == [noon + 86_400]
    assert ask(table, noon + 120) == []
    assert table.next("audit", noon + 120, 0.0) == noon + 3600
    assert ask(table, noon + 3600) == [noon + 3600]


def test_a_small_step_back_starts_no_tick_again() -> None:
    """A time server corrects a clock by seconds."""
    noon = START - 30 + 12 * 3600
    table, _ = hourly(noon - 60)
    assert ask(table, noon) == [noon]
    assert ask(table, noon - 2) == []
    assert ask(table, noon) == []


@pytest.mark.parametrize(("passed", "starts"), [(2.0, 1), (0.5, 0)])
def test_a_tick_between_a_step_back_and_the_next_look_starts(passed: float, starts: int) -> None:
    """The clock is set back to just before an hour that a step forward had left out; one that shows only later times had none."""
    table = Timetable([Entry("hourly", CronSchedule("0 * * * *", "UTC"))])
    hour = 13 * 3_600.0 + 21_000 * 86_400
    table.begin(hour + 86_400 - 1_800, 0.0, {})
    assert table.due(hour + 86_400 - 1_790, 10.0, lambda name: "") == []
    found = [at for due in table.due(hour + 1.0, 10.0 + passed, lambda name: "") for at in due.starts]
    assert found == [hour] * starts
