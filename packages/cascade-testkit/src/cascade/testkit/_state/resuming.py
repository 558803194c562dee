"""Tests of which process may open a run, and of what the next attempt finds."""

from __future__ import annotations

import os

import pytest

from cascade.interfaces import (
    RecordedStatus,
    Resume,
    RunEndedError,
    RunInfo,
    RunInputsError,
    RunInUseError,
    RunStatus,
    UnstorableValueError,
)
from cascade.testkit._state.harness import RUN, Harness, complete, known, start

NOT_STORABLE = (value for value in (1, 2))


class Resuming(Harness):
    """Section 2: one process for each run, attempts, inputs, deaths."""

    async def test_a_new_run_is_its_first_attempt(self) -> None:
        """Nothing is known."""
        journal = await self.begin()
        assert (journal.attempt, journal.earlier, list(journal.known_keys())) == (1, None, [])
        assert journal.known("f:0") is None
        assert journal.stalled is False
        await self.within(journal.writable())

    async def test_the_next_attempt_is_told_what_earlier_ones_recorded(self) -> None:
        """Inputs, the graph's digest, how many steps are kept, and how it ended."""
        journal = await self.begin(params={"day": "2026-11-20"}, shape=b"shape")
        await complete(journal, "f:0", 1)
        start(journal, "g:0")
        await self.within(journal.failed("g:0", "ValueError: bad"))
        await self.within(journal.end(RunStatus.FAILED, "ValueError: bad"))
        journal = await self.begin()
        earlier = journal.earlier
        assert journal.attempt == 2
        assert earlier is not None
        assert (earlier.status, earlier.error, earlier.kept) == (
            RecordedStatus.FAILED,
            "ValueError: bad",
            1,
        )
        assert (dict(earlier.params), earlier.shape) == ({"day": "2026-11-20"}, b"shape")

    @pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.FAILED])
    async def test_a_run_that_has_ended_can_be_opened_again(self, status: RunStatus) -> None:
        """The values of one that succeeded are there."""
        journal = await self.begin()
        await complete(journal, "f:0", "value")
        await self.within(journal.end(status))
        journal = await self.begin()
        assert journal.earlier is not None
        assert journal.earlier.status.value == status.value
        assert await self.within(journal.load("f:0")) == "value"

    @pytest.mark.parametrize("status", [*RunStatus])
    async def test_an_attempt_that_recorded_nothing_leaves_the_run_as_it_was(self, status: RunStatus) -> None:
        """It was refused; one that recorded anything leaves an interrupted run."""
        journal = await self.begin()
        await complete(journal, "f:0", "value")
        await self.within(journal.end(status, "ValueError: bad"))
        backend = await self.backend()
        (before,) = backend.runs()
        journal = await self.begin(backend, resume=Resume.CANCELLED)
        assert await self.within(journal.load("f:0")) == "value"
        await self.within(journal.close())
        (after,) = backend.runs()
        assert (after.status, after.error, after.ended) == (before.status, before.error, before.ended)
        journal = await self.begin(backend, resume=Resume.CANCELLED)
        start(journal, "g:0")
        await self.within(journal.close())
        journal = await self.begin(backend)
        assert journal.earlier is not None
        assert journal.earlier.status is RecordedStatus.INTERRUPTED

    @pytest.mark.parametrize("recorded", [False, True])
    async def test_the_end_of_a_run_stands_when_only_its_values_are_returned(self, recorded: bool) -> None:
        """An attempt that recorded a step ended later."""
        journal = await self.begin()
        await complete(journal, "f:0", "value")
        await self.within(journal.end(RunStatus.SUCCEEDED))
        backend = await self.backend()
        (before,) = backend.runs()
        journal = await self.begin(backend)
        if recorded:
            await complete(journal, "g:0", "value")
        await self.within(journal.end(RunStatus.SUCCEEDED))
        (after,) = backend.runs()
        assert (after.status, after.ended == before.ended) == (RecordedStatus.SUCCEEDED, not recorded)

    async def test_a_cancelled_run_is_continued_only_on_request(self) -> None:
        """The error states what to give."""
        journal = await self.begin()
        await self.within(journal.end(RunStatus.CANCELLED))
        with pytest.raises(RunEndedError, match="resume='cancelled'"):
            await self.begin()
        assert (await self.begin(resume=Resume.CANCELLED)).attempt == 2

    async def test_a_run_in_use_is_refused(self) -> None:
        """With the process that has it; another run is not, and the journal works on."""
        journal = await self.begin()
        for backend in (await self.backend(), await self.backend()):
            with pytest.raises(RunInUseError, match=f"process {os.getpid()} on ") as refused:
                await self.begin(backend)
            assert refused.value.pid == os.getpid()
        assert (await self.begin(run_id="another")).attempt == 1
        await complete(journal, "f:0", 1)
        journal = await self.again(journal)
        assert (journal.attempt, known(journal, "f:0").starts) == (2, 1)

    async def test_a_run_whose_process_died_is_free_at_once(self) -> None:
        """What was committed is there, and it counts as interrupted."""
        backend = await self.backend()
        journal = await self.begin(backend)
        await complete(journal, "f:0", 1)
        await self.lose(backend)
        journal = await self.begin()
        assert (journal.attempt, await self.within(journal.load("f:0"))) == (2, 1)
        assert journal.earlier is not None
        assert journal.earlier.status is RecordedStatus.INTERRUPTED

    async def test_a_death_is_counted_for_the_steps_that_ran(self) -> None:
        """In a row, until a step is recorded; an orderly end is not a death."""
        for deaths in range(4):
            backend = await self.backend()
            journal = await self.begin(backend)
            if deaths:
                assert known(journal, "f:0").deaths == deaths
                assert known(journal, "done:0").deaths == 0
            else:
                await complete(journal, "done:0")
            start(journal, "f:0")
            await self.within(
                journal.started_for_certain("g:0", name="g", inputs=b"", code=b"")
            )  # and f:0 with it
            await self.lose(backend)
        journal = await self.begin()
        assert known(journal, "f:0").deaths == 4
        # an attempt that starts nothing, such as one that was refused
        journal = await self.again(journal)
        assert known(journal, "f:0").deaths == 4
        start(journal, "f:0")
        journal = await self.again(journal)
        assert known(journal, "f:0").deaths == 0

    async def test_a_death_after_progress_is_the_first_one(self) -> None:
        """A step was recorded since the last one."""
        for _ in range(3):
            backend = await self.backend()
            journal = await self.begin(backend)
            start(journal, "f:0")
            await complete(journal, f"g:{journal.attempt}")
            await self.lose(backend)
        assert known(await self.begin(), "f:0").deaths == 1

    async def test_other_inputs_are_refused(self) -> None:
        """The error names the first one and both values; without inputs the recorded ones count."""
        journal = await self.begin(params={"area": 1, "day": "2026-11-20"})
        await self.within(journal.close())
        with pytest.raises(
            RunInputsError, match=r"with day='2026-11-20', and is given '2026-11-21'; leave params"
        ) as refused:
            await self.begin(params={"area": 1, "day": "2026-11-21"})
        assert refused.value.names == ("day",)
        with pytest.raises(RunInputsError):
            await self.begin(params={"area": 1})
        journal = await self.begin(params={"day": "2026-11-20", "area": 1})
        journal = await self.again(journal)
        assert journal.earlier is not None
        assert dict(journal.earlier.params) == {"area": 1, "day": "2026-11-20"}

    async def test_another_secret_is_refused_without_its_value(self) -> None:
        """Only its name is in the message."""
        journal = await self.begin(secrets={"TOKEN": "hunter2"})
        await self.within(journal.close())
        with pytest.raises(RunInputsError, match="another value of TOKEN") as refused:
            await self.begin(secrets={"TOKEN": "hunter3"})
        assert "hunter" not in str(refused.value)
        await self.begin(secrets={"TOKEN": "hunter2"})

    async def test_an_input_that_cannot_be_stored_is_refused(self) -> None:
        """And the run is not started."""
        backend = await self.backend()
        with pytest.raises(UnstorableValueError):
            await self.within(backend.open(RunInfo(RUN, "report", {"items": NOT_STORABLE})))
        assert (await self.begin()).attempt == 1
