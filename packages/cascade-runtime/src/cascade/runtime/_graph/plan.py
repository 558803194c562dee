"""The plan of a target: what it would run, without running anything. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cascade.interfaces import UsageError
from cascade.runtime._graph.dependencies import (
    DEPENDS_ON_ITSELF,
    Dependencies,
    Role,
    dependencies_first,
    inputs_among,
    walk,
)
from cascade.runtime._graph.keys import declared_key, shortened
from cascade.spec import Call, Input, InputCall, LazyResult, MapCall, RouteCall, Search, call_of, read_inputs


@dataclass(frozen=True, slots=True)
class Edge:
    """One step needs another."""

    source: str
    """Id of the step that comes first."""
    role: Role
    """``argument``, ``condition``, ``amount``: its value is taken; ``before``: only the order; ``route``: perhaps."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call, or one choice, map or input."""

    id: str
    """The step key, which is the ``task_id`` of the run's events."""
    name: str
    kind: Literal["task", "map", "route", "input", "structure"]
    mode: str
    edges: tuple[Edge, ...]
    max_attempts: int = 1
    timeout: float | None = None
    """Seconds that an attempt may take."""
    cached: bool = False


def plan(target: LazyResult[Any] | list[LazyResult[Any]]) -> list[Step]:
    """Return the steps of a target, dependencies first, all routes included.

    A map is one step, because its items may be known only in the run.

    :raises UsageError: if a container was changed so that a task waits for itself.
    """
    targets = [target] if isinstance(target, LazyResult) else target
    keys: dict[Call, str] = {}
    counts: Counter[str] = Counter()
    steps: list[Step] = []
    for call, dependencies in dependencies_first(map(call_of, targets), Search()):
        name = call.definition.name
        if any(needed not in keys for needed, _ in dependencies):
            raise UsageError(f"task {name!r} {DEPENDS_ON_ITSELF}")
        keys[call] = shortened(declared_key(name, counts[name]))
        counts[name] += 1
        steps.append(_step(call, keys, dependencies))
    return steps


def _step(call: Call, keys: dict[Call, str], dependencies: Dependencies) -> Step:
    retry = call.policies.retry
    return Step(
        id=keys[call],
        name=call.definition.name,
        kind=_kind(call),
        mode=call.definition.mode,
        edges=tuple(dict.fromkeys(Edge(keys[needed], role) for needed, role in dependencies)),
        max_attempts=retry.max_attempts if retry is not None else 1,
        timeout=call.policies.timeout,
        cached=call.policies.cache is not None,
    )


def _kind(call: Call) -> Literal["task", "map", "route", "input", "structure"]:
    if isinstance(call, MapCall):
        return "map"
    if isinstance(call, RouteCall):
        return "route"
    if isinstance(call, InputCall):
        return "input"
    return "structure" if call.definition.structural else "task"


def inputs_of(targets: Sequence[LazyResult[Any]]) -> list[Input]:
    """Return the inputs that ``targets`` read from outside; two declarations of one name are two inputs."""
    return inputs_among(walk(targets))


def check_inputs(
    targets: Sequence[LazyResult[Any]], params: Mapping[str, Any], environment: Mapping[str, str]
) -> None:
    """Check the inputs of a run of ``targets`` as the run itself would.

    :raises InputsError: once for all inputs that are missing, unknown or wrong.
    """
    read_inputs(inputs_of(targets), params, environment)
