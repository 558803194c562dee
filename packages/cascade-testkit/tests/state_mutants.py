"""A state backend that keeps its contract, and others that break one promise each. Not collected by itself."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from failing import FailsByWaiting

from cascade.interfaces import (
    Earlier,
    Plan,
    RecordedStatus,
    Resume,
    RunInfo,
    StateBackend,
    StepEvents,
    StepState,
    UnstorableValueError,
)
from cascade.testkit._state import memory
from cascade.testkit.state import MemoryJournal, MemoryState, StateContract, StoredRun


class Base(StateContract):
    kind: type[MemoryState] = MemoryState
    journal: type[MemoryJournal] = MemoryJournal

    @pytest.fixture(autouse=True)
    def _store(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store: dict[str, StoredRun] = {}
        monkeypatch.setattr(memory, "MemoryJournal", self.journal)

    async def make(self) -> StateBackend:
        return self.kind(self.store)

    async def lose(self, backend: StateBackend) -> None:
        assert isinstance(backend, MemoryState)
        backend.lose()


class TestMemory(Base):
    pass


class TestLosesTheLastValue(Base):
    """What is reported as committed is still in a buffer."""

    class journal(MemoryJournal):  # noqa: N801
        def lose(self) -> None:
            if self._run.values:
                self.delete(list(self._run.values)[-1])
            super().lose()


class TestKeepsTheObject(Base):
    """The store holds the caller's own object."""

    class journal(MemoryJournal):  # noqa: N801
        def keep(self, key: str, state: StepState, value: Any, *, error: str = "") -> None:
            super().keep(key, state, value, error=error)
            self._run.values[key] = value


class TestWritesJson(Base):
    """A tuple comes back as a list."""

    class journal(MemoryJournal):  # noqa: N801
        def keep(self, key: str, state: StepState, value: Any, *, error: str = "") -> None:
            super().keep(key, state, value, error=error)
            if isinstance(value, tuple):
                self._run.values[key] = json.loads(json.dumps(value))


class TestKeepsTheFirstValue(Base):
    """A later value of a step is ignored."""

    class journal(MemoryJournal):  # noqa: N801
        def keep(self, key: str, state: StepState, value: Any, *, error: str = "") -> None:
            super().keep(key, state, self._run.values.get(key, value), error=error)


class TestFailsForWhatItCannotKeep(Base):
    """A value that cannot be kept fails the step."""

    class journal(MemoryJournal):  # noqa: N801
        async def completed(self, key: str, value: Any, **event: Any) -> bool:
            if await super().completed(key, value, **event):
                return True
            raise UnstorableValueError(value, "cannot be kept")


class TestForgetsTheDecider(Base):
    """A plan loses its mark."""

    class journal(MemoryJournal):  # noqa: N801
        async def expanded(self, key: str, plan: Plan, *, replaces: str | None = None, **events: Any) -> None:
            await super().expanded(key, Plan(plan.content), replaces=replaces, **events)


class TestKeepsEveryTurn(Base):
    """The file of an endless loop grows."""

    class journal(MemoryJournal):  # noqa: N801
        async def expanded(self, key: str, plan: Plan, *, replaces: str | None = None, **events: Any) -> None:
            await super().expanded(key, plan, **events)


class TestDeletesAlikeTurns(Base):
    """Turn 11 is deleted with turn 1."""

    class journal(MemoryJournal):  # noqa: N801
        async def expanded(self, key: str, plan: Plan, *, replaces: str | None = None, **events: Any) -> None:
            await super().expanded(key, plan, replaces=replaces and replaces.rstrip("/"), **events)


class TestCountsOneStart(Base):
    """A step that was started twice counts as started once."""

    class journal(MemoryJournal):  # noqa: N801
        def commit(self) -> None:
            self._queued[:] = [step._replace(starts=1) for step in self._queued]
            super().commit()


class TestForgetsTheDelay(Base):
    """The next attempt comes at once."""

    class journal(MemoryJournal):  # noqa: N801
        def retrying(self, key: str, *, tries: int, not_before: float, error: str) -> None:
            super().retrying(key, tries=tries, not_before=0.0, error=error)


class TestHasNoDoubt(Base):
    """A start for certain is a start like any other."""

    class journal(MemoryJournal):  # noqa: N801
        async def started_for_certain(self, key: str, **digests: Any) -> None:
            self.started(key, **digests)
            self.commit()


class TestDiscardsOne(Base):
    """Only the first of the steps is deleted."""

    class journal(MemoryJournal):  # noqa: N801
        async def discard(self, keys: Iterable[str]) -> None:
            await super().discard([*keys][:1])


class TestReordersRows(Base):
    """What is not awaited is committed by the next one that is not."""

    class journal(MemoryJournal):  # noqa: N801
        async def completed(self, key: str, value: Any, **event: Any) -> bool:
            queued, self._queued = self._queued[:-1], self._queued[-1:]
            kept = await super().completed(key, value, **event)
            self._queued = queued
            return kept


class TestKeepsNoEventOfAPlan(Base):
    """Only values have events."""

    class journal(MemoryJournal):  # noqa: N801
        async def expanded(self, key: str, plan: Plan, *, replaces: str | None = None, **events: Any) -> None:
            await super().expanded(key, plan, replaces=replaces)


class TestKeepsEventsOfValuesOnly(Base):
    """If a value cannot be kept, its event is not, either."""

    class journal(MemoryJournal):  # noqa: N801
        async def completed(self, key: str, value: Any, *, error: str = "", **events: Any) -> bool:
            kept = events if type(value) is int else {}
            return await super().completed(key, value, error=error, **kept)


class TestForgetsWhyAStepFailed(Base):
    """A kept failure has no text."""

    class journal(MemoryJournal):  # noqa: N801
        def keep(self, key: str, state: StepState, value: Any, *, error: str = "") -> None:
            super().keep(key, state, value)


class TestKeepsTheFirstEventOfANumber(Base):
    """A later one does not replace it."""

    class journal(MemoryJournal):  # noqa: N801
        def keep_events(self, events: StepEvents) -> None:
            new = [event for event in events.pending if event.number not in self._run.events]
            super().keep_events(replace(events, pending=new))


class TestForgetsALastEvent(Base):
    """One more than was settled."""

    class journal(MemoryJournal):  # noqa: N801
        def settled(self, before: int) -> None:
            super().settled(before + 1)


class TestKeepsSettledEvents(Base):
    """For ever."""

    class journal(MemoryJournal):  # noqa: N801
        def settled(self, before: int) -> None:
            pass


class TestSharesARun(Base):
    """Two processes have one run."""

    class kind(MemoryState):  # noqa: N801
        def _check_free(self, stored: StoredRun) -> None:
            pass


class TestContinuesACancelledRun(Base):
    """Although it was not asked to."""

    class kind(MemoryState):  # noqa: N801
        def _continued(self, stored: StoredRun, run: RunInfo, resume: Resume) -> Earlier:
            return super()._continued(stored, run, Resume.CANCELLED)


class TestTakesOtherInputs(Base):
    """A run goes on with inputs that it was not begun with."""

    class kind(MemoryState):  # noqa: N801
        def _continued(self, stored: StoredRun, run: RunInfo, resume: Resume) -> Earlier:
            return super()._continued(stored, replace(run, params=None), resume)


class TestTakesOtherSecrets(Base):
    """Secrets are not compared."""

    class kind(MemoryState):  # noqa: N801
        def _continued(self, stored: StoredRun, run: RunInfo, resume: Resume) -> Earlier:
            return super()._continued(stored, replace(run, secrets={}), resume)


class TestInterruptsWhatItRefused(Base):
    """A run that had ended is interrupted by an attempt that did nothing."""

    class journal(MemoryJournal):  # noqa: N801
        async def close(self) -> None:
            self._before = None
            await super().close()


class TestIgnoresTheState(Base):
    """Whatever states are asked for, all keys are returned."""

    class journal(MemoryJournal):  # noqa: N801
        def known_keys(self, *states: StepState) -> Iterable[str]:
            return super().known_keys()


class TestCountsEveryDeath(Base):
    """Also those with progress in between."""

    class journal(MemoryJournal):  # noqa: N801
        def lose(self) -> None:
            self._kept_any = False
            super().lose()


class TestListsTheDeadAsRunning(Base):
    """A run whose process died is never interrupted in a list."""

    class kind(MemoryState):  # noqa: N801
        def runs(self, **choice: Any) -> list[Any]:
            return [
                replace(run, status=RecordedStatus.RUNNING)
                if run.status is RecordedStatus.INTERRUPTED
                else run
                for run in super().runs(**choice)
            ]


class TestForgetsNothing(Base):
    """A forgotten run is still there."""

    class kind(MemoryState):  # noqa: N801
        async def forget(self, run_id: str) -> None:
            if run_id in self._runs:
                self._check_free(self._runs[run_id])


class TestLeavesATask(FailsByWaiting, Base):
    """Closing does not end what opening began."""

    fault = "test_close_releases_every_run_and_leaves_nothing_behind"

    class kind(MemoryState):  # noqa: N801
        left: asyncio.Task[Any] | None = None

        async def open(self, run: RunInfo, *, resume: Resume = Resume.AUTO) -> MemoryJournal:
            if run.run_id == "run 2":
                self.left = asyncio.create_task(asyncio.Event().wait(), name="left")
            return await super().open(run, resume=resume)


class TestShowsValues(Base):
    """A list of steps has values in it."""

    class kind(MemoryState):  # noqa: N801
        def steps(self, run_id: str, *, state: StepState | None = None) -> Any:
            values: Mapping[str, Any] = self._runs[run_id].values if run_id in self._runs else {}
            for step in super().steps(run_id, state=state):
                yield replace(step, error=step.error or str(values.get(step.key, "")))
