"""One attempt of a recorded run: opened before anything is built, ended before the run's last event."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from cascade.interfaces import (
    Clock,
    Journal,
    Resume,
    RunChangedError,
    RunInfo,
    RunInUseError,
    RunStatus,
    StateBackend,
    StateUnavailable,
    StepInDoubtError,
    StepKeepsDyingError,
    StepState,
)
from cascade.interfaces.logs import get_logger
from cascade.runtime._graph.builder import NODES_PER_STEP
from cascade.runtime._graph.dependencies import inputs_among, walk
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery.digests import StepDigests
from cascade.runtime._recovery.parts import RecordedAttempts, RecordedExpansion, RecordedRunner
from cascade.runtime._recovery.recorder import Recorder
from cascade.runtime._recovery.restorer import Restorer
from cascade.runtime._scheduler.runner import TaskRunner
from cascade.runtime._scheduler.scheduler import RunParts
from cascade.runtime._support.event_trail import EventTrail
from cascade.runtime._support.pace import finished
from cascade.runtime._support.resume_rules import ResumeRules
from cascade.spec import LazyResult

_log = get_logger("cascade.state")


class RunRecording:
    """The journal of one run, and the parts that a scheduler needs to write and to read it."""

    def __init__(self, journal: Journal, run_id: str, *, home: str, clock: Clock, rules: ResumeRules) -> None:
        self._journal = journal
        self._run_id = run_id
        digests = StepDigests()
        restorer = Restorer(journal, run_id, digests, home=home, on_change=rules.on_change, clock=clock)
        recorder = Recorder(journal, restorer, digests, home=home, clock=clock)
        self.parts = RunParts(
            graph=RecordedGraph,
            attempts=partial(RecordedAttempts, recorder=recorder),
            expansion=partial(RecordedExpansion, recorder=recorder, restorer=restorer),
        )
        self._recorder = recorder
        self.forget_control = rules.forget_control
        """Whether the run begins without the constraints that the last process obeyed."""

    @property
    def attempt(self) -> int:
        """Which attempt of the run this is, from 1."""
        return self._journal.attempt

    @property
    def kept(self) -> int:
        """How many steps earlier attempts recorded."""
        return self._journal.earlier.kept if self._journal.earlier is not None else 0

    def follow(self, trail: EventTrail | None) -> None:
        """Record events that may be lost; None: nothing keeps events from being lost."""
        if trail is not None:
            self._recorder.follow(trail)

    @property
    def params(self) -> Mapping[str, Any] | None:
        """The values of the run's inputs; None for a new run."""
        return self._journal.earlier.params if self._journal.earlier is not None else None

    def runner(self, *parts: Any, **settings: Any) -> TaskRunner:
        """Make the runner of the run's tasks."""
        return RecordedRunner(*parts, recorder=self._recorder, run_attempt=self.attempt, **settings)

    def check(self, rules: ResumeRules, state: str) -> None:
        """Refuse a run with a step that must not be started again.

        :raises StepInDoubtError: for a step that runs at most once and may have been done.
        :raises StepKeepsDyingError: for one in which the process died too often.
        """
        for key in self._journal.known_keys(*_IN_FLIGHT):
            record = self._journal.known(key)
            assert record is not None
            if record.state is StepState.IN_DOUBT:
                raise StepInDoubtError(self._run_id, key, began=record.began, state=state)
            if rules.max_starts is not None and record.deaths >= rules.max_starts:
                raise StepKeepsDyingError(key, record.deaths)

    async def succeeded(self) -> None:
        """Record that the run ended with its values.

        :raises StateUnavailable: if that cannot be recorded.
        """
        self._recorder.settle()
        await self._journal.end(RunStatus.SUCCEEDED)

    async def failed(self, status: RunStatus, error: str, cause: Exception) -> None:
        """Record why the run ended without its values; log it if that cannot be recorded.

        :param cause: where it says that the run cannot go on as it was recorded, the run stands as it did before, if
            no step began.
        """
        if isinstance(cause, RunChangedError) and not self._recorder.wrote:
            await self._journal.close()
            return
        self._recorder.settle()
        try:
            await self._journal.end(status, error)
        except (StateUnavailable, RunInUseError) as exc:
            _log.warning("the end of run %r is not recorded: %s", self._run_id, exc)

    async def close(self) -> None:
        """Release the run, which is interrupted unless it has ended."""
        await self._journal.close()


async def open_recording(
    backend: StateBackend,
    run_id: str,
    targets: Sequence[LazyResult[Any]],
    params: Mapping[str, Any],
    *,
    name: str,
    source: str,
    rules: ResumeRules,
    clock: Clock,
) -> RunRecording:
    """Begin a run, or the next attempt of a recorded one.

    :raises RunInUseError: if a live process has it.
    :raises RunEndedError: if it was cancelled, and the rules do not allow to continue it.
    :raises RunInputsError: if it was begun with other inputs.
    :raises StepInDoubtError: if a step that runs at most once may have been done.
    :raises StepKeepsDyingError: if the process died in one step again and again.
    :raises StateUnavailable: if the store cannot be used.
    """
    environment = await finished(_environment(targets), clock)
    secrets = {each: os.environ[each] for each in sorted(environment) if each in os.environ}
    info = RunInfo(run_id, name, dict(params) or None, secrets, source=source)
    journal = await backend.open(info, resume=Resume(rules.resume))
    recording = RunRecording(journal, run_id, home=_home(targets), clock=clock, rules=rules)
    try:
        recording.check(rules, str(getattr(backend, "folder", "FOLDER")))
    except BaseException:
        await recording.close()
        raise
    return recording


def _environment(targets: Sequence[LazyResult[Any]]) -> Generator[None, None, set[str]]:
    """Return the names of the environment's variables that the targets take; yield between steps."""
    found = set[str]()
    calls = walk(targets)
    while some := list(islice(calls, NODES_PER_STEP)):
        found |= {each.name for each in inputs_among(some) if each.from_environment}
        yield
    return found


def _home(targets: Sequence[LazyResult[Any]]) -> str:
    """Return the module of the first task that a target reaches."""
    for lazy in targets:
        for call in walk([lazy]):
            if not call.definition.structural:
                return str(call.definition.function.__module__)
    return ""


_IN_FLIGHT = (StepState.STARTED, StepState.IN_DOUBT)
