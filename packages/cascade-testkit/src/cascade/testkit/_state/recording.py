"""Tests of what a journal records, and of what the next attempt finds."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import (
    PendingEvent,
    Plan,
    RunStatus,
    StepEvents,
    StepState,
    UnreadableResultError,
    UnstorableValueError,
)
from cascade.testkit._state.harness import Harness, complete, known, start

VALUES: list[Any] = [
    None,
    "",
    "é\x00",
    0,
    -1.5,
    True,
    b"\x00\xff",
    (1, (2, "x")),
    {3, 4},
    {"a": [1, {"b": None}], "$": ()},
    {1: "one", (2, 3): "pair"},
    dt.datetime(2026, 11, 21, 3, 0, 20, 5, dt.UTC),
    Path("a/b"),
]


def events(*numbers: int) -> StepEvents:
    """Make what is recorded with an outcome: events of these numbers, of which the last reports it."""
    pending = [PendingEvent(number, "plant/events", f'{{"seq": {number}}}', 1) for number in numbers]
    return StepEvents(numbers[-1], "c41e07d2", pending)


class Recording(Harness):
    """Section 1: values, plans, starts, tries, failures, and the events about them."""

    async def test_values_are_recorded(self) -> None:
        """They are equal and of the same types in another process."""
        journal = await self.begin()
        for number, value in enumerate(VALUES):
            await complete(journal, f"load:{number}", value)
        journal = await self.again(journal)
        for number, value in enumerate(VALUES):
            found = await self.within(journal.load(f"load:{number}"))
            assert (type(found), found) == (type(value), value)
            assert known(journal, f"load:{number}").state is StepState.COMPLETED

    async def test_a_large_value_is_recorded(self) -> None:
        """Eight megabytes."""
        value = bytes(range(256)) * 32_768
        journal = await self.begin()
        await complete(journal, "load:0", value)
        journal = await self.again(journal)
        assert await self.within(journal.load("load:0")) == value

    async def test_many_values_are_loaded_at_once(self) -> None:
        """In the order of their keys; one that is not recorded is an error in its place, and spoils no other."""
        journal = await self.begin()
        for number in range(3):
            await complete(journal, f"load:{number}", number)
        journal = await self.again(journal)
        found = await self.within(journal.load_all(["load:2", "none:0", "load:0"]))
        assert [found[0], found[2]] == [2, 0]
        assert isinstance(found[1], UnreadableResultError)
        assert await self.within(journal.load_all([])) == []

    async def test_the_value_is_recorded_as_it_was(self) -> None:
        """A change after the call has returned does not reach the store, nor does one of a loaded value."""
        value = [1]
        journal = await self.begin()
        await complete(journal, "load:0", value)
        value.append(2)
        journal = await self.again(journal)
        (await self.within(journal.load("load:0"))).append(3)
        assert await self.within(journal.load("load:0")) == [1]

    async def test_a_later_value_replaces_an_earlier_one(self) -> None:
        """Of one step."""
        journal = await self.begin()
        await complete(journal, "load:0", 1)
        await complete(journal, "load:0", 2)
        journal = await self.again(journal)
        assert await self.within(journal.load("load:0")) == 2

    async def test_many_values_at_a_time_are_all_recorded(self) -> None:
        """A thousand, each under its own key."""
        journal = await self.begin()
        await self.within(asyncio.gather(*(complete(journal, f"f:0[{n}]", n) for n in range(1000))))
        journal = await self.again(journal)
        assert sorted(journal.known_keys()) == sorted(f"f:0[{n}]" for n in range(1000))
        values = await self.within(asyncio.gather(*(journal.load(f"f:0[{n}]") for n in range(1000))))
        assert values == list(range(1000))

    async def test_a_value_that_cannot_be_kept_is_reported_and_the_step_runs_again(self) -> None:
        """``completed`` returns False, and the next attempt knows nothing of the step."""
        journal = await self.begin()
        start(journal, "connect:0")
        assert await self.within(journal.completed("connect:0", threading.Lock())) is False
        journal = await self.again(journal)
        assert journal.known("connect:0") is None

    async def test_a_plan_is_recorded(self) -> None:
        """With its arguments, and with the mark of a decider."""
        journal = await self.begin()
        plans = {
            "grow:0": Plan([["app", "shrink", (1,)]]),
            "grow:1": Plan({"digest": b"\x01"}, decider=True),
        }
        for key, plan in plans.items():
            start(journal, key)
            await self.within(journal.expanded(key, plan))
        journal = await self.again(journal)
        for key, plan in plans.items():
            assert known(journal, key).state is StepState.EXPANDED
            assert await self.within(journal.load(key)) == plan

    async def test_a_plan_that_cannot_be_kept_is_refused(self) -> None:
        """The caller records a decider then."""
        journal = await self.begin()
        start(journal, "grow:0")
        with pytest.raises(UnstorableValueError):
            await self.within(journal.expanded("grow:0", Plan([threading.Lock()])))

    async def test_the_next_turn_of_a_loop_deletes_the_earlier_one(self) -> None:
        """Its steps, large or small, but no step whose key only looks alike."""
        journal = await self.begin()
        for key in ("loop:0~1/f:0", "loop:0~1/g:0~2/h:0", "loop:0~11/f:0", "loop:0~2/f:0", "loop:1~1/f:0"):
            await complete(journal, key, "x" * 2_000_000 if key == "loop:0~1/f:0" else 1)
        start(journal, "loop:0")
        await self.within(journal.expanded("loop:0", Plan(["turn 2"]), replaces="loop:0~1/"))
        journal = await self.again(journal)
        assert sorted(journal.known_keys()) == ["loop:0", "loop:0~11/f:0", "loop:0~2/f:0", "loop:1~1/f:0"]
        assert await self.within(journal.load("loop:0")) == Plan(["turn 2"])
        assert journal.earlier is not None
        assert journal.earlier.kept == 4

    async def test_a_start_is_counted_and_keeps_its_digests(self) -> None:
        """In each attempt, also if nothing was awaited after it."""
        journal = await self.begin()
        start(journal, "f:0")
        start(journal, "f:0", code=b"other")
        journal = await self.again(journal)
        record = known(journal, "f:0")
        assert (record.state, record.starts, record.name) == (StepState.STARTED, 2, "f")
        assert (record.inputs, record.code) == (b"inputs", b"other")

    async def test_a_failed_try_keeps_its_delay(self) -> None:
        """A resume waits no longer than the policy allows, and knows the error."""
        journal = await self.begin()
        start(journal, "f:0")
        journal.retrying("f:0", tries=2, not_before=1.5e9, error="OSError: \udcff")
        journal = await self.again(journal)
        record = known(journal, "f:0")
        assert (record.state, record.tries, record.not_before) == (StepState.RETRYING, 2, 1.5e9)
        assert record.error.startswith("OSError: ")

    async def test_a_failure_is_recorded(self) -> None:
        """It has no value."""
        journal = await self.begin()
        start(journal, "f:0")
        await self.within(journal.failed("f:0", "ValueError: bad"))
        journal = await self.again(journal)
        assert (known(journal, "f:0").state, known(journal, "f:0").error) == (
            StepState.FAILED,
            "ValueError: bad",
        )
        with pytest.raises(UnreadableResultError, match="f:0"):
            await self.within(journal.load("f:0"))

    async def test_a_step_that_runs_at_most_once_is_in_doubt_until_its_outcome(self) -> None:
        """Its start is committed when the call returns."""
        backend = await self.backend()
        journal = await self.begin(backend)
        for key in ("open:0", "open:1"):
            await self.within(journal.started_for_certain(key, name="open", inputs=b"inputs", code=b"code"))
        assert await journal.completed("open:1", 1)
        await self.lose(backend)
        journal = await self.begin()
        assert known(journal, "open:0").state is StepState.IN_DOUBT
        assert known(journal, "open:1").state is StepState.COMPLETED

    async def test_the_keys_of_steps_in_one_state_are_known(self) -> None:
        """Without a state, all keys; with some, only those of steps in one of them."""
        journal = await self.begin()
        await complete(journal, "f:0", 1)
        start(journal, "g:0")
        await self.within(journal.failed("g:0", "ValueError: bad"))
        start(journal, "h:0")
        journal = await self.again(journal)
        assert sorted(journal.known_keys()) == ["f:0", "g:0", "h:0"]
        assert list(journal.known_keys(StepState.COMPLETED)) == ["f:0"]
        assert sorted(journal.known_keys(StepState.STARTED, StepState.FAILED)) == ["g:0", "h:0"]
        assert list(journal.known_keys(StepState.IN_DOUBT)) == []

    async def test_discarded_steps_are_not_known(self) -> None:
        """All of them, at once and in the next attempt."""
        journal = await self.begin()
        for key in ("f:0", "g:0", "h:0"):
            await complete(journal, key, 1)
        journal = await self.again(journal)
        await self.within(journal.discard(["f:0", "h:0", "unknown:0"]))
        assert list(journal.known_keys()) == ["g:0"]
        journal = await self.again(journal)
        assert (journal.known("f:0"), known(journal, "g:0").state) == (None, StepState.COMPLETED)

    async def test_what_is_not_awaited_is_committed_with_the_next_row(self) -> None:
        """Rows are committed in the order of the calls."""
        backend = await self.backend()
        journal = await self.begin(backend)
        start(journal, "f:0")
        await complete(journal, "g:0", 1)
        await self.lose(backend)
        journal = await self.begin()
        assert known(journal, "f:0").state is StepState.STARTED
        assert await self.within(journal.load("g:0")) == 1

    async def test_events_are_recorded_with_the_outcome(self) -> None:
        """With a value and with a plan, in the order of their numbers; one that comes twice is there once."""
        backend = await self.backend()
        journal = await self.begin(backend)
        assert await journal.completed("f:0", 1, events=partial(events, 0, 1))
        await self.within(journal.expanded("g:0", Plan([]), events=events(1, 2)))
        await self.lose(backend)
        journal = await self.begin()
        assert journal.earlier is not None
        assert list(journal.earlier.pending) == list(events(0, 1, 2).pending)

    async def test_an_event_with_a_number_that_was_recorded_before_replaces_it(self) -> None:
        """A step may have another end than the one that was recorded with it."""
        backend = await self.backend()
        journal = await self.begin(backend)
        assert await journal.completed("f:0", 1, events=partial(events, 0))
        other = PendingEvent(0, "plant/events", '{"seq": 0, "state": "CANCELLED"}', 1)
        new = PendingEvent(1, "plant/events", '{"seq": 1}', 1)
        assert await journal.completed("g:0", 1, events=lambda: StepEvents(1, "c41e07d2", [other, new]))
        await self.lose(backend)
        journal = await self.begin()
        assert journal.earlier is not None
        assert list(journal.earlier.pending) == [other, new]

    async def test_events_are_recorded_though_the_outcome_cannot_be(self) -> None:
        """A value that is not kept was reported nevertheless."""
        backend = await self.backend()
        journal = await self.begin(backend)
        assert not await self.within(journal.completed("f:0", threading.Lock(), events=partial(events, 0)))
        with pytest.raises(UnstorableValueError):
            await self.within(journal.expanded("g:0", Plan([threading.Lock()]), events=events(1)))
        await self.lose(backend)
        journal = await self.begin()
        assert journal.earlier is not None
        assert [event.number for event in journal.earlier.pending] == [0, 1]

    async def test_settled_events_are_forgotten_with_a_later_commit(self) -> None:
        """Those below the number, of all attempts; the others stay until the end of the run and beyond it."""
        journal = await self.begin()
        assert await journal.completed("f:0", 1, events=partial(events, 0, 1, 2))
        journal = await self.again(journal)
        journal.settled(1)
        assert await journal.completed("g:0", 1, events=partial(events, 3))
        journal = await self.again(journal)
        assert journal.earlier is not None
        assert [event.number for event in journal.earlier.pending] == [1, 2, 3]
        journal.settled(3)
        await self.within(journal.end(RunStatus.SUCCEEDED))
        journal = await self.begin()
        assert journal.earlier is not None
        assert [event.number for event in journal.earlier.pending] == [3]
