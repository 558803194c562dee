"""Check that random workflows give on an executor what a simple recursive evaluator gives.

def test_any_workflow(tmp_path):
    check_workflows(lambda: MyExecutor(workers=2), Engine, tmp_path, examples=100)
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, Protocol

from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.interfaces import EventBus, Executor, MissingItemError, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES
from cascade.spec import LazyResult
from testing_tools.workflows.describe import describe
from testing_tools.workflows.maker import FOLDER, make_workflow
from testing_tools.workflows.needed import Needed
from testing_tools.workflows.reference import Reference
from testing_tools.workflows.work import without_causes

__all__ = ["EngineLike", "check_workflow", "check_workflows", "make_workflow"]


class EngineLike(Protocol):
    """As much of an engine as the check needs."""

    bus: EventBus

    @property
    def run(self) -> Callable[..., Awaitable[Any]]:
        """Run targets; ``params`` and ``on_failure`` are those of the SDK."""
        ...


def check_workflows(
    make_executor: Callable[[], Executor],
    make_engine: Callable[..., EngineLike],
    folder: Path,
    *,
    examples: int,
) -> None:
    """Run so many random workflows through one executor, and close it.

    ``make_engine(executor=, ...)`` is called with what :func:`check_workflow` chooses, for each run.

    :raises AssertionError: showing the simplest workflow that goes wrong.
    """
    numbers = itertools.count()
    with asyncio.Runner() as runner:
        executor = make_executor()

        @settings(max_examples=examples, deadline=None)
        @given(st.randoms(use_true_random=False))
        def any_workflow(random: Random) -> None:
            place = folder / str(next(numbers))
            place.mkdir()
            runner.run(check_workflow(functools.partial(make_engine, executor=executor), random, place))

        try:
            any_workflow()
        finally:
            runner.run(executor.close())


async def check_workflow(make_engine: Callable[..., EngineLike], random: Random, folder: Path) -> None:
    """Make a workflow and run it in both ways of meeting failures, each time by a new engine.

    ``make_engine`` is called with what the workflow needs: ``system_resources`` and ``resources``.

    :raises AssertionError: if a value, a failure or what observers received is not the
        reference's, or a resource was left open.
    """
    targets = make_workflow(random)
    needed = Needed()
    try:
        await _compare(functools.partial(make_engine, **needed.keywords()), targets, folder)
        assert needed.open == []
    except AssertionError as exc:
        exc.add_note(describe(targets))
        raise


async def _compare(
    make_engine: Callable[[], EngineLike], targets: list[LazyResult[Any]], folder: Path
) -> None:
    reference = Reference({FOLDER: _new(folder, "reference")})
    values = [reference.evaluate(lazy).value for lazy in targets]
    engine = make_engine()
    states = _listen(engine)
    given, failures = await outcome(engine, targets, _new(folder, "continue"), on_failure="continue")
    assert texts(failures) == texts(reference.failures)
    assert failures or without_causes(given) == without_causes(values)
    assert _steps(states) == _steps(reference.published)
    given, failures = await outcome(make_engine(), targets, _new(folder, "stop"), on_failure="stop")
    assert bool(failures) == bool(reference.failures)
    assert texts(failures) <= texts(reference.failures)
    assert failures or without_causes(given) == without_causes(values)


def _new(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    return str(folder / name)


def _listen(engine: EngineLike) -> Counter[tuple[str, TaskState]]:
    states: Counter[tuple[str, TaskState]] = Counter()
    engine.bus.subscribe(TaskStateEvent, lambda event: states.update([(event.task_name, event.state)]))
    return states


async def outcome(
    engine: EngineLike, targets: list[LazyResult[Any]], folder: str, **keywords: Any
) -> tuple[list[Any], list[Exception]]:
    """Return the values of a run, or its failures."""
    try:
        return await engine.run(targets, {FOLDER: folder}, **keywords), []
    except ExceptionGroup as group:
        return [], list(group.exceptions)
    except Exception as exc:
        return [], [exc]


def texts(errors: list[Exception]) -> Counter[str]:
    """Return failures as texts that the reference has, too."""
    return Counter(map(_text, errors))


def _text(error: Exception) -> str:
    if isinstance(error, MissingItemError):
        # the reference knows no keys of steps
        return str(error).partition(": not in the value of")[0]
    return f"{type(error).__name__}: {error}"


def _steps(states: Counter[tuple[str, TaskState]]) -> dict[tuple[str, TaskState], int]:
    """Leave out what observers do not receive, and steps of which any one can find its value cached."""
    return {
        (name, state): count
        for (name, state), count in states.items()
        if name.startswith("step ") and state in ENDED_STATES
    }
