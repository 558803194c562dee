"""Open a recorded run: for the first time, or once more."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from itertools import islice
from typing import Any

from cascade.interfaces import Clock, Resume, RunInfo, StateBackend
from cascade.runtime._graph.builder import NODES_PER_STEP
from cascade.runtime._graph.dependencies import inputs_among, walk
from cascade.runtime._recovery.recording import RunRecording
from cascade.runtime._support.loop_steps import finished
from cascade.runtime._support.settings import ResumeRules
from cascade.spec import LazyResult


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
