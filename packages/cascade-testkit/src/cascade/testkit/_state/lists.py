"""Lists of runs and steps, for people."""

from __future__ import annotations

import pytest

from cascade.interfaces import RecordedStatus, RunInUseError, RunStatus, StepState
from cascade.testkit._state.harness import RUN, Harness, complete, known, start
from cascade.testkit.leaks import no_leaks


class Lists(Harness):
    """Section 3: runs, steps, forgetting, closing."""

    async def test_an_empty_store_has_no_runs(self) -> None:
        """And no steps of an unknown one."""
        backend = await self.backend()
        assert backend.runs() == []
        assert list(backend.steps("unknown")) == []

    async def test_a_run_is_listed_with_its_status(self) -> None:
        """While it runs, after its process has died, and after its end."""
        backend = await self.backend()
        await self.begin(backend, by="me")
        reader = await self.backend()
        (run,) = reader.runs()
        assert (run.run_id, run.target, run.status, run.attempts, run.by) == (
            RUN,
            "report",
            RecordedStatus.RUNNING,
            1,
            "me",
        )
        await self.lose(backend)
        (run,) = reader.runs()
        assert (run.status, run.ended) == (RecordedStatus.INTERRUPTED, None)
        journal = await self.begin()
        await complete(journal, "f:0")
        await self.within(journal.end(RunStatus.FAILED, "ValueError: bad"))
        (run,) = reader.runs()
        assert (run.status, run.attempts, run.error) == (RecordedStatus.FAILED, 2, "ValueError: bad")
        assert run.ended is not None
        assert run.counts == {StepState.COMPLETED: 1}

    async def test_runs_are_listed_newest_first_and_can_be_chosen(self) -> None:
        """By status, by target, by time, by id, and only so many."""
        for number in range(4):
            journal = await self.begin(run_id=f"run {number}", target=f"target {number % 2}")
            if number == 2:
                await self.within(journal.end(RunStatus.SUCCEEDED))
        backend = await self.backend()
        runs = backend.runs()
        assert [run.run_id for run in runs] == ["run 3", "run 2", "run 1", "run 0"]
        assert [run.run_id for run in backend.runs(target="target 0")] == ["run 2", "run 0"]
        assert [run.run_id for run in backend.runs(status=RecordedStatus.SUCCEEDED)] == ["run 2"]
        assert [run.run_id for run in backend.runs(since=runs[1].created)] == ["run 3", "run 2"]
        assert [run.run_id for run in backend.runs(run_id="run 1")] == ["run 1"]
        assert backend.runs(run_id="run") == []
        assert [run.run_id for run in backend.runs(limit=1)] == ["run 3"]

    async def test_steps_are_listed_in_order_while_the_run_goes_on(self) -> None:
        """With their states and sizes, never with values."""
        journal = await self.begin()
        start(journal, "b:0")
        await complete(journal, "a:0", "secret value")
        start(journal, "c:0")
        await self.within(journal.failed("c:0", "ValueError: bad"))
        reader = await self.backend()
        steps = list(reader.steps(RUN))
        assert [(step.key, step.name, step.state) for step in steps] == [
            ("a:0", "a", StepState.COMPLETED),
            ("b:0", "b", StepState.STARTED),
            ("c:0", "c", StepState.FAILED),
        ]
        assert [(step.size > 0, step.error) for step in steps] == [
            (True, ""),
            (False, ""),
            (False, "ValueError: bad"),
        ]
        assert "secret value" not in repr(steps)
        assert [step.key for step in reader.steps(RUN, state=StepState.FAILED)] == ["c:0"]

    async def test_a_kept_failure_is_a_result_that_lists_count_as_failed(self) -> None:
        """The step does not run again, and a person reads that it failed, and why."""
        journal = await self.begin()
        start(journal, "d:0")
        assert await self.within(journal.completed("d:0", "the failure", error="OSError: no answer"))
        reader = await self.backend()
        (step,) = reader.steps(RUN, state=StepState.FAILED)
        assert (step.key, step.state, step.error) == ("d:0", StepState.FAILED, "OSError: no answer")
        assert not list(reader.steps(RUN, state=StepState.COMPLETED))
        (run,) = reader.runs()
        assert run.counts == {StepState.FAILED: 1}
        journal = await self.again(journal)
        assert known(journal, "d:0").state is StepState.COMPLETED
        assert await self.within(journal.load("d:0")) == "the failure"

    async def test_a_forgotten_run_is_new(self) -> None:
        """With all its steps; an unknown one is forgotten already; a live one is refused."""
        backend = await self.backend()
        journal = await self.begin(backend)
        await complete(journal, "f:0", "x" * 2_000_000)
        with pytest.raises(RunInUseError):
            await self.within(backend.forget(RUN))
        await self.within(journal.close())
        await self.within(backend.forget(RUN))
        await self.within(backend.forget(RUN))
        assert backend.runs() == []
        journal = await self.begin(backend)
        assert (journal.attempt, journal.known("f:0")) == (1, None)

    async def test_close_releases_every_run_and_leaves_nothing_behind(self) -> None:
        """What was queued is committed; the backend can be used again; closing twice is as good as once."""
        await self.within((await self.begin(run_id="warm up")).close())
        backend = await self.backend()
        async with no_leaks(self.timeout):
            for number in range(3):
                start(await self.begin(backend, run_id=f"run {number}"), "f:0")
            await self.within(backend.close())
            await self.within(backend.close())
        journal = await self.begin(backend, run_id="run 2")
        assert (journal.attempt, list(journal.known_keys())) == (2, ["f:0"])

    async def test_an_ended_journal_can_be_closed(self) -> None:
        """As often as one likes."""
        journal = await self.begin()
        await self.within(journal.end(RunStatus.SUCCEEDED))
        await self.within(journal.close())
        await self.within(journal.close())
        (run,) = (await self.backend()).runs()
        assert run.status is RecordedStatus.SUCCEEDED
